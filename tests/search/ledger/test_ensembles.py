import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from sweepstack.ensembles.bundles.bundle import load
from sweepstack.ensembles.combinations.combination import Combination
from sweepstack.ensembles.combinations.fitted_pools import Graph
from sweepstack.ensembles.combinations.pools import LOGARITHMIC
from sweepstack.ensembles.combinations.stop import Stop
from sweepstack.ensembles.evaluation.choose import Choice
from sweepstack.ensembles.evaluation.table import Row
from sweepstack.ensembles.members.library import Library, Member
from sweepstack.ensembles.scoring.conformal import Calibration
from sweepstack.models.data.labelled import load_dataset
from sweepstack.models.errors import DamagedError, InputError
from sweepstack.models.predictions.probabilities import DIRECTION
from sweepstack.search.execution.sweep import open_sweep
from sweepstack.search.ledger.ensembles import ATTRIBUTE, BuiltEnsembles, card, read_calibration, write_calibration
from sweepstack.search.ledger.ledger import Ledger
from sweepstack.search.ledger.run_folder import RunFolder
from sweepstack.search.report.result import Result
from sweepstack.search.study.search_section import Search
from sweepstack.search.study.space import Space


@pytest.fixture
def ledger(tmp_path: Path, space: Space) -> Ledger:
    ledger = Ledger.open(tmp_path / "ledger.log")
    open_sweep(ledger, "trials", space=space, search=Search(sampler="random", stopper="none"), epochs=1, trials=1)
    return ledger


@pytest.fixture
def built(rows: tuple[Row, ...], tmp_path: Path) -> BuiltEnsembles:
    """Combinations of every kind, with numbers that have no short decimal form."""
    weights = (np.ones(3) / 3).astype(np.float32)
    combinations = {
        "selection": Combination((0, 2, 1), weights, LOGARITHMIC, Stop(0.1 + 0.2), 0.7 + 0.1),
        "trial-7": Combination((1,), np.ones(1, dtype=np.float32)),
        "linear": Combination((2,), np.ones(1, dtype=np.float32)),
        "graph": Combination((0, 2), weights[:2], Graph(np.arange(3), np.arange(256, dtype=np.uint8), np.array([6]))),
    }
    members = tuple(
        Member(name, kind, tmp_path / folder)
        for name, kind, folder in (
            ("trial-3", "trial", "trials/3"),
            ("trial-7", "trial", "trials/7"),
            ("linear", "baseline", "company/linear"),
        )
    )
    unscored = replace(rows[1], test=None, test_interval=None, gain_over_linear=None, weights=None)
    choice = Choice((rows[0], unscored, rows[2]), combinations, "selection", "it is the best.", ("bagging: none",))
    return BuiltEnsembles("0123456789ab", members, choice, scored=True)


def test_what_another_version_wrote_is_as_good_as_nothing(
    ledger: Ledger, built: BuiltEnsembles, tmp_path: Path
) -> None:
    built.write(ledger, tmp_path)
    stored = ledger.attribute(ATTRIBUTE)
    del stored["combinations"]["selection"]["temperature"]
    ledger.set_attribute(ATTRIBUTE, stored)
    assert BuiltEnsembles.read(ledger, tmp_path) is None


def same(one: Combination, other: Combination) -> bool:
    (state, arrays), (other_state, other_arrays) = one.state(), other.state()
    exact = all(
        np.array_equal(array, other_arrays[name]) and array.dtype == other_arrays[name].dtype
        for name, array in arrays.items()
    )
    return state == other_state and list(arrays) == list(other_arrays) and exact


def test_what_is_written_is_read_again_number_for_number(ledger: Ledger, built: BuiltEnsembles, tmp_path: Path) -> None:
    built.write(ledger, tmp_path)
    ledger.close()
    with Ledger.open(tmp_path / "ledger.log", writable=False) as reader:
        found = BuiltEnsembles.read(reader, tmp_path)
    assert found is not None
    assert (found.digest, found.members, found.scored) == (built.digest, built.members, built.scored)
    assert replace(found.choice, combinations={}) == replace(built.choice, combinations={})
    assert list(found.choice.combinations) == list(built.choice.combinations)
    for name, combination in built.choice.combinations.items():
        assert same(found.choice.combinations[name], combination), name


def test_nothing_is_read_where_nothing_was_written(ledger: Ledger, tmp_path: Path) -> None:
    assert BuiltEnsembles.read(ledger, tmp_path) is None


def test_the_last_that_was_written_stands(ledger: Ledger, built: BuiltEnsembles, tmp_path: Path) -> None:
    built.write(ledger, tmp_path)
    replace(built, digest="f" * 12, scored=False).write(ledger, tmp_path)
    found = BuiltEnsembles.read(ledger, tmp_path)
    assert found is not None
    assert (found.digest, found.scored) == ("f" * 12, False)


def test_a_run_folder_may_be_moved(ledger: Ledger, built: BuiltEnsembles, tmp_path: Path) -> None:
    built.write(ledger, tmp_path)
    elsewhere = BuiltEnsembles.read(ledger, Path("/elsewhere"))
    assert elsewhere is not None
    assert [str(m.folder) for m in elsewhere.members] == [
        "/elsewhere/trials/3",
        "/elsewhere/trials/7",
        "/elsewhere/company/linear",
    ]


def test_an_unknown_name_is_answered_with_those_there_are(built: BuiltEnsembles) -> None:
    assert built.row("linear").name == "linear"
    with pytest.raises(InputError, match="no ensemble 'stackng'; there are selection, trial-7, linear"):
        built.row("stackng")


def test_the_table_has_a_row_for_each_and_a_column_for_every_figure(built: BuiltEnsembles) -> None:
    table = built.table().set_index("name")
    assert list(table.index) == ["selection", "trial-7", "linear"]
    assert table["exported"].tolist() == [True, False, False]
    assert table.loc["selection", "members"] == "trial-7 trial-3 linear"
    assert table.loc["selection", "weights"] == "0.5 0.25 0.25"
    assert table.loc["trial-7", "weights"] == ""
    assert (table.loc["selection", "valid_reward"], table.loc["selection", "blend_reward"]) == (0.921, 0.919)
    assert table.loc["selection", "test_interval_accuracy"] == 0.012
    assert table.loc["selection", "gain_over_linear_low"] == -0.003
    assert table.loc[["trial-7"], ["test_reward", "gain_over_linear_mean", "size_mb"]].isna().all(axis=None)
    wanted = {f"{part}_{metric}" for part in ("valid", "blend", "test", "test_interval") for metric in DIRECTION}
    assert wanted | {"method", "role", "stop", "size_mb", "latency_ms"} <= set(table.columns)


def test_the_card_says_how_a_study_reads(make_study: Callable[..., Any]) -> None:
    about = card(make_study(), ("de", "fr"), {"content": "ab"})
    assert (about.name, about.classes, about.input_column, about.data) == (
        "quickstart", ("de", "fr"), "text", {"content": "ab"},
    )  # fmt: skip
    assert about.reading == {"unit": "characters", "segment": 2, "max_segments": 12, "cost": 0.01}
    assert card(make_study(reading="off", space={}), ("de", "fr"), {}).reading is None


def test_the_same_bundle_is_exported_from_the_ledger_alone(finished_run: Path, tmp_path: Path) -> None:
    """Byte for byte the bundle that the run exported while it had everything in memory."""
    result = Result.open(finished_run)
    hashes = result.provenance["data"]
    about = card(result.study, tuple(hashes["classes"]), hashes["hashes"])
    result.built.export(result.built.choice.chosen, tmp_path / "bundle", about)
    mine, theirs = (
        {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in (tmp_path / "bundle", finished_run / "bundle")
    )
    assert mine == theirs


def test_every_row_can_be_exported_and_answers_as_it_did_in_the_run(finished_run: Path, tmp_path: Path) -> None:
    result = Result.open(finished_run)
    library = Library.load(result.built.members, "test", result.provenance["data"]["hashes"]["test"])
    texts = load_dataset(result.study.data, result.study.reading).parts["test"].inputs
    predicted = result.built.choice.predict(library)
    for row in result.built.choice.rows:
        target = result.ensemble(row.name).export(tmp_path / row.name)
        assert json.loads((target / "bundle.json").read_text())["digest"] == result.built.digest
        stops = predicted[row.name].stops()
        probabilities = load(target).predict_proba(texts)
        assert probabilities == pytest.approx(predicted[row.name].at(stops), abs=1e-6)


def test_the_table_says_what_serving_costs_and_what_it_may(built: BuiltEnsembles) -> None:
    half = {"reward": 0.02}
    rows = (
        replace(
            built.choice.rows[0], latency_32_ms=0.3, over_budget="size_mb 3.1 > 1", front=True, blend_interval=half
        ),
        *built.choice.rows[1:],
    )
    table = replace(built, choice=replace(built.choice, rows=rows)).table().set_index("name")
    assert table.loc["selection", ["size_mb", "latency_ms", "latency_32_ms"]].tolist() == [3.1, 1.2, 0.3]
    assert table["over_budget"].tolist() == ["size_mb 3.1 > 1", "", ""]
    assert table["front"].tolist() == [True, False, False]
    assert table.loc["selection", "blend_interval_reward"] == 0.02


def test_what_sets_are_calibrated_by_is_kept_beside_the_ledger(
    ledger: Ledger, built: BuiltEnsembles, tmp_path: Path
) -> None:
    scores = {
        "selection": Calibration(np.float32([0, 0.25, 0.9]), np.array([0.5, 0.5, 1]), "It was fitted there."),
        "linear": Calibration(np.float32([0.5]), np.ones(1)),
    }
    kept = replace(built, choice=replace(built.choice, calibration=scores))
    kept.write(ledger, tmp_path)
    again = BuiltEnsembles.read(ledger, tmp_path)
    assert again is not None
    assert repr(again.choice.calibration) == repr(scores)
    write_calibration(RunFolder(tmp_path).calibration, scores, "of another build")
    other = BuiltEnsembles.read(ledger, tmp_path)
    assert other is not None
    assert other.choice.calibration == {}
    (tmp_path / "SHA256SUMS").unlink()  # as older versions wrote it
    RunFolder(tmp_path).calibration.write_bytes(save({"linear": np.float32([0.5])}, {"digest": built.digest}))
    assert read_calibration(RunFolder(tmp_path).calibration, built.digest) == {}, "of another version"
    RunFolder(tmp_path).calibration.write_bytes(b"torn")
    with pytest.raises(DamagedError, match=r"calibration\.safetensors is damaged"):
        read_calibration(RunFolder(tmp_path).calibration, built.digest)


def test_a_damaged_calibration_is_told_and_nothing_is_exported_without_it(
    ledger: Ledger, built: BuiltEnsembles, make_study: Callable[..., Any], tmp_path: Path
) -> None:
    scores, about = {"linear": Calibration(np.float32([0.25, 0.5]), np.ones(2))}, card(make_study(), ("a", "b"), {})
    replace(built, choice=replace(built.choice, calibration=scores)).write(ledger, tmp_path)
    path = RunFolder(tmp_path).calibration
    content = path.read_bytes()
    for damaged in (content[:-4], content[:-1] + bytes([content[-1] ^ 1]), b"", None):
        if damaged is None:
            path.unlink()
        else:
            path.write_bytes(damaged)
        again = BuiltEnsembles.read(ledger, tmp_path)
        assert again is not None
        assert again.choice.rows == built.choice.rows, "the table is in the ledger, and stays readable"
        with pytest.raises(DamagedError, match=r"calibration\.safetensors is (damaged|missing).*run the study again"):
            again.export(built.choice.chosen, tmp_path / "bundle", about)
        assert not (tmp_path / "bundle").exists()
