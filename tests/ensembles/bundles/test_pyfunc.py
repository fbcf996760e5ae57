"""The model that MLflow loads, on a whole bundle of a linear member."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sweepstack.ensembles.bundles.bundle import export, load
from sweepstack.ensembles.bundles.card import Card
from sweepstack.ensembles.combinations.combination import Combination
from sweepstack.ensembles.evaluation.table import Row
from sweepstack.ensembles.members.library import Member
from sweepstack.models.baselines.linear import LinearBaseline
from sweepstack.models.data.labelled import Dataset, Part
from sweepstack.models.settings.trial import Reading
from sweepstack.search.study.tracking_uri import sqlite_uri
from sweepstack.search.tracking.models import log_bundle
from sweepstack.search.tracking.store import close_connections, open_client

pytestmark = pytest.mark.filterwarnings("ignore::Warning:mlflow")  # its warnings are not ours to mend

WORDS = {"fruit": ("apple", "pear", "plum"), "label": ("red", "green", "blue")}  # a class may be called like a column
TEXTS = ["apple pear", "red blue green red", "plum green plum plum"]
LOAD = """
import json, sys
import pandas as pd
import mlflow.pyfunc

answer = mlflow.pyfunc.load_model(sys.argv[1]).predict(pd.DataFrame({"phrase": json.loads(sys.argv[2])}))
assert not {"ray", "optuna"} & set(sys.modules)
print(answer.to_json(orient="split"))
"""


def part(rows: int, seed: int) -> Part:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, rows)
    texts = (" ".join(random.choice(list(WORDS.values())[label], 4)) for label in labels)
    return Part(tuple(texts), labels.astype(np.int64))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("a folder #1 100%")
    parts = {name: part(60, seed) for seed, name in enumerate(("warm", "policy", "valid"))}
    baseline = LinearBaseline.fit(Dataset(tuple(WORDS), parts, {}, ()), Reading(segment=1, max_segments=4))
    baseline.save(folder / "linear" / "checkpoint")
    figures = {"reward": 0.9}
    row = Row("linear", "linear", "baseline", ("linear",), (1.0,), "averaged", figures, figures)
    card = Card(
        "words", "classification", tuple(WORDS), "phrase", {"unit": "words", "segment": 1, "max_segments": 4}, {}
    )
    member = Member("linear", "linear", folder / "linear")
    export(folder / "bundle", row, Combination((0,), np.ones(1, np.float32)), [member], card)
    return folder / "bundle"


@pytest.fixture(scope="module")
def logged(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the bundle's logged model."""
    client = open_client(sqlite_uri(tmp_path_factory.mktemp("store") / "mlflow.db"))
    experiment = client.create_experiment("words", str(tmp_path_factory.mktemp("artifacts #2 100%")))
    model_id = log_bundle(client, experiment, client.create_run(experiment).info.run_id, "ensemble-linear", bundle)
    location = client.get_logged_model(model_id).artifact_location
    close_connections(client)
    return Path(location)


@pytest.fixture(scope="module")
def model(logged: Path) -> Any:
    import mlflow.pyfunc

    return mlflow.pyfunc.load_model(str(logged))


def test_it_answers_as_the_bundle_does(bundle: Path, model: Any) -> None:
    answer = model.predict(pd.DataFrame({"phrase": TEXTS}, index=[7, 8, 9]))
    assert list(answer.columns) == ["label", "probability", "segments", "probability_fruit", "probability_label"]
    assert list(answer.index) == [7, 8, 9]
    readings = load(bundle).read(TEXTS)
    assert answer["label"].tolist() == [reading.label for reading in readings] == ["fruit", "label", "fruit"]
    assert answer["segments"].tolist() == [reading.segments for reading in readings]
    np.testing.assert_allclose(answer["probability"], [reading.probability for reading in readings])
    np.testing.assert_allclose(answer["probability_fruit"] + answer["probability_label"], 1, atol=1e-6)
    np.testing.assert_allclose(answer["probability"], answer.filter(like="probability_").max(axis=1))


def test_columns_beside_the_texts_do_no_harm(model: Any) -> None:
    frame = pd.DataFrame({"id": ["red", "red", "red"], "phrase": TEXTS})
    pd.testing.assert_frame_equal(model.predict(frame), model.predict(frame[["phrase"]]))


@pytest.mark.parametrize(
    "texts",
    [
        TEXTS,
        tuple(TEXTS),
        np.array(TEXTS),
        pd.Series(TEXTS),
        pd.DataFrame({"only": TEXTS}),
        {"phrase": TEXTS},
        {"phrase": np.array(TEXTS)[:, None]},
    ],
    ids=["list", "tuple", "array", "series", "one column", "mapping", "mapping of columns"],
)
def test_the_model_itself_takes_texts_in_any_shape(model: Any, texts: Any) -> None:
    answer = model.unwrap_python_model().predict(None, texts)
    assert answer["label"].tolist() == ["fruit", "label", "fruit"]


def test_no_texts_give_no_rows(model: Any) -> None:
    answer = model.unwrap_python_model().predict(None, [])
    assert answer.shape == (0, 5)


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (pd.DataFrame({"a": ["x"], "b": ["y"]}), ("'phrase'", "['a', 'b']")),
        (["apple", None], ("row 1", "None")),
        (pd.DataFrame({"phrase": ["apple", float("nan")]}), ("row 1", "nan")),
        ([3], ("row 0", "3")),
    ],
)
def test_what_is_no_text_is_refused_in_one_line(model: Any, texts: Any, words: tuple[str, ...]) -> None:
    with pytest.raises(Exception, match="text") as caught:
        model.unwrap_python_model().predict(None, texts)
    assert type(caught.value).__name__ == "DataError"
    for word in words:
        assert word in str(caught.value)


def test_the_signature_and_the_example_are_the_bundles(model: Any, logged: Path) -> None:
    signature = model.metadata.signature
    assert signature.inputs.input_names() == ["phrase"]
    assert signature.outputs.input_names() == [
        "label", "segments", "probability", "probability_fruit", "probability_label",
    ]  # fmt: skip
    example = model.input_example
    assert model.predict(example)["label"].tolist()[0] in WORDS
    requirements = (logged / "requirements.txt").read_text().splitlines()
    assert any(line.startswith("torch==") and "+" not in line for line in requirements)


def test_a_process_that_has_only_the_model_loads_it_and_nothing_is_pickled(logged: Path, model: Any) -> None:
    assert {path.suffix for path in logged.rglob("*") if path.is_file()} <= {
        "", ".json", ".md", ".py", ".safetensors", ".txt", ".yaml",
    }  # fmt: skip
    command = [sys.executable, "-c", LOAD, str(logged), json.dumps(TEXTS)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=logged.parent, timeout=120)
    assert done.returncode == 0, done.stderr
    table = json.loads(done.stdout)
    assert [row[0] for row in table["data"]] == ["fruit", "label", "fruit"]


def test_a_changed_weight_is_refused(logged: Path) -> None:
    import mlflow.pyfunc

    weights = logged / "artifacts" / "bundle" / "members" / "linear" / "weights.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    try:
        with pytest.raises(Exception, match="was changed since the export"):
            mlflow.pyfunc.load_model(str(logged))
    finally:
        weights.write_bytes(content)
