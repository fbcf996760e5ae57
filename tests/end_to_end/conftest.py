"""A user's folder with real data in it."""

import json
from pathlib import Path

import pytest
from command_line import LANGUAGES, ROWS

from sweepstack.models.data.builtin import builtin


@pytest.fixture(scope="session")
def phrases() -> str:
    """JSON lines of phrases in four languages, from the names that the package emoji brings."""
    rows, _ = builtin("languages")
    taken: dict[str, int] = dict.fromkeys(LANGUAGES, 0)
    lines = []
    for text, label in zip(rows.inputs, rows.targets, strict=True):
        if taken.get(label, ROWS) < ROWS:
            taken[label] += 1
            lines.append(json.dumps({"text": text, "label": label}, ensure_ascii=False))
    return "\n".join(lines) + "\n"


@pytest.fixture
def workplace(tmp_path: Path, phrases: str) -> Path:
    """A user's folder with the data in it."""
    (tmp_path / "phrases.jsonl").write_text(phrases, encoding="utf-8")
    return tmp_path
