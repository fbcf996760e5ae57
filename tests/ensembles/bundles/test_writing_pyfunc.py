"""The model that MLflow loads, on a bundle of a writer and a translation memory."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from sweepstack.ensembles.bundles.card import Card
from sweepstack.ensembles.bundles.writing_bundle import export, load
from sweepstack.ensembles.combinations.text_combination import TextCombination
from sweepstack.ensembles.evaluation.table import Row
from sweepstack.models.errors import DataError

pytestmark = pytest.mark.filterwarnings("ignore::Warning:mlflow")  # its warnings are not ours to mend

TEXTS = ["one two", "three four one"]


@pytest.fixture(scope="module")
def bundle(small_writers: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = {"utility": "chrf", "language": "zh", "counts": [2, 2]}
    combination = TextCombination("minimum_bayes_risk", (0, 3), options)
    row = Row("risk", "minimum_bayes_risk", "ensemble", ("trial-0", "memory"), (0.5, 0.5), "", {}, {})
    folder = tmp_path_factory.mktemp("served") / "bundle"
    export(folder, row, combination, small_writers.members, Card("signs", "translation", (), "phrase", None, {}))
    return folder


@pytest.fixture(scope="module")
def model(bundle: Path) -> Any:
    from sweepstack.ensembles.bundles.writing_pyfunc import WritingModel

    loaded = WritingModel()
    loaded.load_context(SimpleNamespace(artifacts={"bundle": str(bundle)}))  # type: ignore[arg-type]
    return loaded


def test_it_writes_as_the_bundle_does(bundle: Path, model: Any) -> None:
    answer = model.predict(None, pd.DataFrame({"phrase": TEXTS, "id": ["x", "y"]}, index=[7, 8]))
    assert list(answer.columns) == ["text", "score", "cut", "candidates"]
    assert list(answer.index) == [7, 8]
    written = load(bundle).write(TEXTS)
    assert answer["text"].tolist() == [each.text for each in written]
    assert answer["score"].tolist() == [each.score for each in written]
    assert [len(json.loads(cell)) for cell in answer["candidates"]] == [1, 1]


def test_candidates_are_given_on_request(bundle: Path, model: Any) -> None:
    answer = model.predict(None, TEXTS, {"candidates": 3})
    written = load(bundle).write(TEXTS, 3)
    for cell, each in zip(answer["candidates"], written, strict=True):
        assert json.loads(cell) == [{"text": text, "score": score} for text, score in each.candidates]


def test_no_texts_give_no_rows_and_what_is_none_is_refused(model: Any) -> None:
    assert model.predict(None, []).shape == (0, 4)
    for texts in (["one", None], ["one", ""]):
        with pytest.raises(DataError, match="row 1 of the input"):
            model.predict(None, texts)
