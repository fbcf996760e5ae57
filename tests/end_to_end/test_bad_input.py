"""Wrong input: one line that names what, where, the value and the way out, and nothing half-written."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import STUDY, command, sweepstack, write_study


def with_data(**changes: Any) -> dict[str, Any]:
    return {"data": {**STUDY["data"], **changes}}


def with_lines(folder: Path, edit: Callable[[list[str]], list[str]]) -> None:
    path = folder / "phrases.jsonl"
    path.write_text("\n".join(edit(path.read_text(encoding="utf-8").splitlines())) + "\n", encoding="utf-8")


def only_german(lines: list[str]) -> list[str]:
    return [line for line in lines if json.loads(line)["label"] == "de"]


def with_an_unreadable_line_17(lines: list[str]) -> list[str]:
    return [*lines[:16], '{"text": "halb', *lines[17:]]


def add_a_test_file_with_a_new_label(folder: Path) -> None:
    (folder / "test.jsonl").write_text('{"text": "goeden dag", "label": "nl"}\n', encoding="utf-8")


NOTHING = lambda folder: None  # noqa: E731

CASES: dict[str, tuple[dict[str, Any], Callable[[Path], Any], tuple[str, ...]]] = {
    "unknown key": ({"serch": {"trials": 4}}, NOTHING, ("serch", "search")),
    "unknown nested key": ({"train": {"lr_shedule": "cosine"}}, NOTHING, ("train.lr_shedule", "lr_schedule")),
    "wrong type": ({"search": {"trials": "many"}}, NOTHING, ("search.trials", "many", "integer")),
    "no population": ({"search": {"stopper": "pbt", "trials": 3}}, NOTHING, ("search.trials", "under pbt", "got 3")),
    "unknown task": ({"task": "summarisation"}, NOTHING, ("task", "summarisation", "translation", "classification")),
    "log bound of zero": ({"space": {"train.lr": {"log": [0, 0.1]}}}, NOTHING, ("space.train.lr", "0", "log")),
    "unknown setting in space": ({"space": {"train.gama": [0.9, 1.0]}}, NOTHING, ("train.gama", "train.gamma")),
    "splits above one": (
        with_data(splits={"policy": 0.6, "valid": 0.3, "blend": 0.3}),
        NOTHING,
        ("data.splits", "1.2", "0.1"),
    ),
    "missing file": (with_data(train="phrasen.jsonl"), NOTHING, ("phrasen.jsonl", "no such file")),
    "missing column": (with_data(input="texts"), NOTHING, ("texts", "phrases.jsonl", "label")),
    "empty file": ({}, lambda folder: (folder / "phrases.jsonl").write_text(""), ("phrases.jsonl", "empty")),
    "one class only": ({}, lambda folder: with_lines(folder, only_german), ("de", "class")),
    "new label in test": (with_data(test="test.jsonl"), add_a_test_file_with_a_new_label, ("test.jsonl", "nl")),
    "unreadable line": (
        {},
        lambda folder: with_lines(folder, with_an_unreadable_line_17),
        ("phrases.jsonl", "line 17"),
    ),
    "refusing tracking store": (
        {"tracking": {"uri": "http://127.0.0.1:9"}},
        NOTHING,
        ("http://127.0.0.1:9", "tracking"),
    ),
    "unknown tracking scheme": ({"tracking": {"uri": "gopher://x"}}, NOTHING, ("gopher",)),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_one_line_and_writes_nothing(name: str, workplace: Path) -> None:
    changes, spoil, words = CASES[name]
    spoil(workplace)
    study = write_study(workplace, **changes)
    before = sorted(workplace.rglob("*"))
    done = sweepstack("run", study, cwd=workplace)
    assert done.returncode == (1 if "tracking" in changes else 2), done.stderr
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    for word in words:
        assert word in done.stderr
    assert sorted(workplace.rglob("*")) == before


def test_json_gives_the_error_as_an_object(workplace: Path) -> None:
    done = sweepstack("run", "nowhere.yaml", "--json", cwd=workplace)
    assert done.returncode == 2
    answer = json.loads(done.stdout)
    assert answer["exit_code"] == 2
    assert "nowhere.yaml" in answer["error"]


def test_a_misspelt_command_names_the_commands(workplace: Path) -> None:
    done = sweepstack("rnu", "small.yaml", cwd=workplace)
    assert done.returncode == 2
    assert "run" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_folder_of_something_else_is_left_alone(workplace: Path) -> None:
    study = write_study(workplace)
    (workplace / "mine").mkdir()
    (workplace / "mine" / "thesis.txt").write_text("years of work")
    done = sweepstack("run", study, "--out", "mine", cwd=workplace)
    assert done.returncode == 2
    assert "mine" in done.stderr
    assert "--out" in done.stderr
    assert [p.name for p in (workplace / "mine").iterdir()] == ["thesis.txt"]


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/usr/bin/setpriv").exists(), reason="root writes everywhere")
def test_no_permission_to_write(workplace: Path) -> None:
    study = write_study(workplace)
    closed = workplace / "closed"
    closed.mkdir(mode=0o555)
    drop = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search,-fowner", "--inh-caps=-all"]
    line = command("run", study, "--out", closed / "run")
    done = subprocess.run(
        [*(drop if os.geteuid() == 0 else []), *line],
        cwd=workplace,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "closed" in done.stderr
    assert "ermission" in done.stderr
    assert list(closed.iterdir()) == []


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 1 MB."""
    folder = tmp_path / "full"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root may mount a small file system")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_no_free_disk(workplace: Path, full_disk: Path) -> None:
    study = write_study(workplace)
    done = sweepstack("run", study, "--out", full_disk / "run", cwd=workplace)
    assert done.returncode == 1, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "MB" in done.stderr
    assert "take a folder on another" in done.stderr
    assert list(full_disk.iterdir()) == []
