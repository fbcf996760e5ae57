import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sweepstack.ensembles import load
from sweepstack.ensembles.bundles.card import Card
from sweepstack.ensembles.bundles.writing_bundle import WritingBundle, Written, export
from sweepstack.ensembles.combinations.member_decoding import decode
from sweepstack.ensembles.combinations.reranking import PLAIN
from sweepstack.ensembles.combinations.text_combination import TextCombination
from sweepstack.ensembles.evaluation.table import Row
from sweepstack.models import checksums
from sweepstack.models.errors import BundleError, DataError, StorageError

CARD = Card("signs", "translation", (), "phrase", None, {"warm": "f"}, digest="d")
PICKING = {"utility": "chrf", "language": "zh", "counts": [2, 2]}
COMBINATIONS = {
    "single": TextCombination("single", (1,), {"counts": [2]}),
    "token_average": TextCombination(
        "token_average", (1, 0), {"mean": "probabilities", "decode": {"beam": 2, "candidates": 2}}
    ),
    "minimum_bayes_risk": TextCombination("minimum_bayes_risk", (0, 3), PICKING),
    "reranker": TextCombination(
        "reranker",
        (0, 3),
        {**PICKING, "memories": [False, True], "usual": 0.1},
        {"coefficients": np.linspace(0, 1, len(PLAIN) + 2)},
    ),
}
RISK = COMBINATIONS["minimum_bayes_risk"]


def row(combination: TextCombination) -> Row:
    names = tuple(["trial-0", "trial-1", "trial-2", "memory"][m] for m in combination.members)
    figures = {"chrf": 61.25, "bleu": 40.5}
    return Row(
        "best", combination.kind, "ensemble", names, combination.weights, "", figures, figures,
        utility=combination.utility,
    )  # fmt: skip


@pytest.fixture
def exported(small_writers: SimpleNamespace, tmp_path: Path) -> Path:
    export(tmp_path / "bundle", row(RISK), RISK, small_writers.members, CARD)
    return tmp_path / "bundle"


@pytest.mark.parametrize("kind", COMBINATIONS)
def test_it_writes_what_the_combination_does(kind: str, small_writers: SimpleNamespace, tmp_path: Path) -> None:
    combination, texts = COMBINATIONS[kind], small_writers.dataset.parts["blend"].inputs
    export(tmp_path / "bundle", row(combination), combination, small_writers.members, CARD)
    bundle = load(tmp_path / "bundle")
    assert isinstance(bundle, WritingBundle)
    assert bundle.input_column == "phrase"
    expected = decode(combination, small_writers.members, texts, "cpu")
    written = bundle.write(texts, n=2)
    assert [each.text for each in written] == expected.best
    assert [each.score for each in written] == pytest.approx([scores[0] for scores in expected.scores], abs=1e-5)
    assert [[text for text, _ in each.candidates] for each in written] == [list(t[:2]) for t in expected.texts]
    assert all(each.candidates[0] == (each.text, each.score) for each in written)
    assert [each.text for each in bundle.write(texts)] == expected.best
    assert all(len(each.candidates) == 1 for each in bundle.write(texts))
    more = bundle.write(texts, n=3)[0].candidates
    assert 2 <= len(more) <= 4


def test_what_was_written_while_reading_says_how_far_it_lagged(small_writers: SimpleNamespace, tmp_path: Path) -> None:
    """A translation memory has read all words first."""
    memory = TextCombination("single", (3,), {"counts": [1]})
    for figures, expected in (({"lagging": 2.0}, [2.0, 3.0]), ({}, [None, None])):
        of_study = replace(row(memory), blend=figures)
        export(tmp_path / "bundle", of_study, memory, small_writers.members, CARD)
        bundle = load(tmp_path / "bundle")
        assert isinstance(bundle, WritingBundle)
        assert bundle.lags == bool(figures)
        assert [each.lagging for each in bundle.write(["one two", "one two two"])] == expected


def test_what_is_in_it(exported: Path) -> None:
    files = checksums.files(exported)
    assert {path.split("/")[1] for path in files if path.startswith("members/")} == {"trial-0", "memory"}
    assert {Path(path).suffix for path in files} == {".json", ".md", ".safetensors"}
    content = json.loads((exported / "bundle.json").read_text())
    assert (content["kind"], content["task"], content["digest"]) == ("writing", "translation", "d")
    assert content["combination"]["members"] == [0, 1]
    assert content["metrics"]["blend"] == {"chrf": 61.25, "bleu": 40.5}
    card = (exported / "README.md").read_text()
    for words in ("# signs: best", "`phrase`", "bundle.write(", "| chrf | 61.2500 | 61.2500 | not scored |"):
        assert words in card
    assert "Texts are picked by their chrf with each other" in card
    assert "Classes" not in card


def test_nothing_in_is_nothing_out_and_mistakes_are_told(exported: Path) -> None:
    bundle = load(exported)
    assert isinstance(bundle, WritingBundle)
    assert bundle.write([]) == []
    with pytest.raises(TypeError, match="sequence of strings"):
        bundle.write("one two")
    with pytest.raises(ValueError, match="n must be at least 1, but got 0"):
        bundle.write(["one"], n=0)
    with pytest.raises(DataError, match="row 1 of the input is empty"):
        bundle.write(["one", " \t", "two"])


def test_a_long_source_is_cut_and_an_unknown_script_is_told(exported: Path) -> None:
    bundle = load(exported)
    assert isinstance(bundle, WritingBundle)
    short, long, other = bundle.write(["one two", "one two " * 20, "один"])
    assert isinstance(short, Written)
    assert (short.cut, long.cut, other.cut) == (False, True, False)
    assert (short.unknown, long.unknown, other.unknown) == (0, 0, 1)
    assert other.text


def changed(content: dict[str, Any], **values: Any) -> dict[str, Any]:
    return {**content, **values}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"format": 9}, "bundle format 9 is not known, only 1"),
        ({"members": [{"name": "../evil"}, {"name": "memory"}]}, "names a member '../evil'"),
        ({"members": [{"name": "memory"}]}, "1 members but"),
        ({"combination": {"kind": "code", "members": [0], "options": {}}}, "cannot be read"),
        ({"combination": {}}, "cannot be read"),
    ],
)
def test_a_wrong_content_is_refused_in_one_line(values: dict[str, Any], words: str, exported: Path) -> None:
    path = exported / "bundle.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    checksums.write(exported)
    with pytest.raises(BundleError, match=words) as caught:
        load(exported)
    assert "\n" not in str(caught.value)


def test_a_changed_file_is_refused(exported: Path) -> None:
    path = exported / "members" / "trial-0" / "weights.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(BundleError, match="was changed since the export"):
        load(exported)


def test_what_is_no_bundle_is_left_as_it_is(small_writers: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    with pytest.raises(StorageError, match="is no bundle; it is left as it is"):
        export(tmp_path / "mine", row(RISK), RISK, small_writers.members, CARD)
    with pytest.raises(BundleError, match="SHA256SUMS is missing"):
        load(tmp_path / "mine")


def test_it_is_loaded_without_what_searches(exported: Path) -> None:
    code = (
        "import sys; from sweepstack.ensembles import load; "
        f"print(load({str(exported)!r}).write(['one two'])[0].text); "
        "assert not {'ray', 'optuna', 'mlflow'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
