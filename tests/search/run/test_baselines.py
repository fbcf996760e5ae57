from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_writing import SMALL, pairs_data, pairs_dataset

from sweepstack.models import checksums
from sweepstack.models.baselines.linear import LinearBaseline
from sweepstack.models.baselines.translation_memory import TranslationMemory
from sweepstack.models.data.labelled import Dataset, load_dataset
from sweepstack.models.errors import StorageError
from sweepstack.models.files import read_json
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.probabilities import Predictions, metrics
from sweepstack.models.predictions.text_metrics import corpus_scores, sentence_chrf
from sweepstack.models.predictions.texts import Candidates
from sweepstack.models.settings.data import Folds
from sweepstack.models.settings.trial import Reading, TrialSettings
from sweepstack.models.tasks.classification.checkpoint import load_member
from sweepstack.search.execution.writing_reward import RewardOf
from sweepstack.search.run.baselines import (
    control_search,
    control_settings,
    control_space,
    control_trials,
    fit_linear,
    fit_memory,
)
from sweepstack.search.study.search_section import PBT, ASHAStopper, PBTStopper, Search
from sweepstack.search.study.study import Study

READING = Reading(unit="words", segment=1, max_segments=4, cost=0.02)


@pytest.fixture(scope="module")
def dataset(finished_run: Path) -> Dataset:
    study = Study.load(finished_run / "study.yaml")
    assert study.data is not None
    return load_dataset(study.data, study.reading)


def test_the_baseline_is_a_member_with_predictions_of_every_held_out_part(dataset: Dataset, tmp_path: Path) -> None:
    result = fit_linear(dataset, READING, 0.02, tmp_path)
    member = LinearBaseline.load(tmp_path / "checkpoint")
    assert member.classes == dataset.classes
    for part in ("valid", "blend", "test"):
        stored, rows_hash = Predictions.load(tmp_path / "predictions" / f"{part}.safetensors")
        assert rows_hash == dataset.hashes[part]
        own = member.read(dataset.parts[part].inputs)
        assert np.array_equal(stored.probabilities, own.probabilities)
        assert np.array_equal(stored.answer, own.answer)
    valid, _ = Predictions.load(tmp_path / "predictions" / "valid.safetensors")
    assert result["valid"] == metrics(valid, dataset.parts["valid"].labels, Costs(0.02))
    assert result["valid"]["accuracy"] > 0.55, "a baseline that learned nothing would be at a third"
    assert result["seconds"] > 0


def test_what_stands_beside_the_sweep_never_holds_a_score_on_test(dataset: Dataset, tmp_path: Path) -> None:
    fit_linear(dataset, READING, 0.02, tmp_path)
    assert set(read_json(tmp_path / "result.json")) == {"valid", "seconds"}


def test_a_second_fit_is_the_first_ones_result(dataset: Dataset, tmp_path: Path) -> None:
    first = fit_linear(dataset, READING, 0.02, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert fit_linear(dataset, READING, 0.02, tmp_path) == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_fit_that_was_killed_is_done_again_with_the_same_bytes(dataset: Dataset, tmp_path: Path) -> None:
    first = fit_linear(dataset, READING, 0.02, tmp_path)
    (tmp_path / "result.json").unlink()
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    (tmp_path / "checkpoint" / "weights.safetensors").write_bytes(b"half")
    again = fit_linear(dataset, READING, 0.02, tmp_path)
    assert again["valid"] == first["valid"]
    timed = tmp_path / checksums.NAME  # of the result, which holds seconds
    assert all(path.read_bytes() == content for path, content in files.items() if path != timed)


def test_the_result_is_written_last(dataset: Dataset, tmp_path: Path) -> None:
    """Where the disk refuses the last of the predictions there is no result to be taken for a whole one."""
    (tmp_path / "predictions" / "test.safetensors").mkdir(parents=True)
    with pytest.raises(StorageError, match=r"cannot write .*test\.safetensors"):
        fit_linear(dataset, READING, 0.02, tmp_path)
    assert (tmp_path / "predictions" / "blend.safetensors").is_file()
    assert not (tmp_path / "result.json").exists()


def test_a_plain_classifier_has_a_plain_baseline(dataset: Dataset, tmp_path: Path) -> None:
    result = fit_linear(dataset, "off", 0.0, tmp_path)
    assert result["valid"]["segments"] == 1.0
    assert result["valid"]["reward"] == result["valid"]["accuracy"] == result["valid"]["accuracy_full"]


def test_the_control_differs_in_nothing_but_its_algorithm() -> None:
    settings = TrialSettings().with_values({"train.lr": 0.01, "model.d_model": 32})
    changed: Any = control_settings(settings).model_dump()
    assert changed["train"].pop("algorithm") == "supervised"
    before = settings.model_dump()
    assert before["train"].pop("algorithm") == "ppo"
    assert changed == before


@pytest.mark.parametrize(("trials", "controls"), [(1, 1), (4, 1), (7, 1), (8, 2), (16, 4), (50, 12)])
def test_the_control_has_a_quarter_of_the_trials_and_at_least_one(trials: int, controls: int) -> None:
    assert control_trials(trials) == controls


def test_the_control_of_a_population_is_a_quarter_of_its_members_trained_to_their_end() -> None:
    pbt = control_search(Search(stopper=PBTStopper(pbt=PBT(population=8)), trials=64, sampler="random", seed=3))
    assert (pbt.stopper, pbt.trials, pbt.sampler, pbt.seed) == ("none", 2, "random", 3)
    plain = control_search(Search(stopper=ASHAStopper(), trials=64))
    assert plain == Search(stopper=ASHAStopper(), trials=16)


def test_the_control_searches_the_same_space_less_what_supervised_training_does_not_use() -> None:
    spec = {
        "train.lr": [1e-3, 1e-2],
        "train.gamma": [0.9, 1.0],
        "train.algorithm": ["ppo", {"a2c": {"train.a2c.entropy": [0.0]}}],
    }
    space = control_space(spec, TrialSettings())
    assert space is not None
    assert space.paths() == ("train.lr",)


def test_a_study_that_trains_supervised_anyway_has_no_control() -> None:
    assert control_space({"train.lr": [1e-3]}, control_settings(TrialSettings())) is None
    assert control_space({"train.algorithm": ["ppo", "supervised"]}, TrialSettings()) is None


def test_under_folds_the_baseline_knows_no_row_that_it_is_scored_on(finished_run: Path, tmp_path: Path) -> None:
    data = Study.load(finished_run / "study.yaml").data
    assert data is not None
    dataset = load_dataset(data.model_copy(update={"splits": Folds(folds=3, test=0.25)}), READING)
    result = fit_linear(dataset, READING, 0.02, tmp_path)
    said, rows_hash = Predictions.load(tmp_path / "predictions" / "out_of_fold.safetensors")
    rows = dataset.parts["out_of_fold"]
    assert rows_hash == dataset.hashes["out_of_fold"]
    assert result["valid"] == metrics(said, rows.labels, Costs(0.02))
    for k, fold in enumerate(dataset.folds):
        own = LinearBaseline.fit(fold, READING)
        held_out = np.flatnonzero(dataset.fold == k)
        assert np.array_equal(own.read(fold.parts["valid"].inputs).probabilities, said.rows(held_out).probabilities)
    member = load_member(tmp_path / "checkpoint")
    test, _ = Predictions.load(tmp_path / "predictions" / "test.safetensors")
    read = member.read(dataset.parts["test"].inputs)
    assert np.array_equal(read.probabilities, test.probabilities)
    assert np.array_equal(read.answer, test.answer)
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert len([path for path in files if path.name != checksums.NAME]) == 1 + 3 * 2 + 2 + 1
    (tmp_path / "result.json").unlink()
    (tmp_path / "checkpoint" / "fold-1" / "weights.safetensors").write_bytes(b"half")
    assert fit_linear(dataset, READING, 0.02, tmp_path)["valid"] == result["valid"]
    timed = {tmp_path / "result.json", tmp_path / checksums.NAME}
    assert {path: path.read_bytes() for path in files if path not in timed} == {
        path: content for path, content in files.items() if path not in timed
    }


def test_the_memory_is_a_member_with_what_it_proposes_for_every_held_out_part(tmp_path: Path) -> None:
    pairs, data, writing = pairs_dataset(), pairs_data(), SMALL.writing
    assert writing is not None
    result = fit_memory(pairs, data, writing, RewardOf("chrf"), tmp_path)
    member = TranslationMemory.load(tmp_path / "checkpoint")
    for part in ("valid", "blend", "test"):
        stored, rows_hash = Candidates.load(tmp_path / "predictions" / f"{part}.safetensors")
        assert rows_hash == data.hashes[part]
        assert stored == member.write(pairs.parts[part].inputs, writing.decode.candidates)
    said, references = (
        Candidates.load(tmp_path / "predictions" / "valid.safetensors")[0],
        pairs.parts["valid"].references,
    )
    corpus = corpus_scores(said.best, references, "zh")
    assert result["valid"] == {
        **corpus,
        "reward": pytest.approx(float(sentence_chrf(said.best, references).mean())),
        "length": pytest.approx(sum(len(text) + 1 for text in said.best) / len(said)),
    }
    assert corpus["chrf"] > 30, "every phrase is made of words that it has seen"
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert fit_memory(pairs, data, writing, RewardOf("chrf"), tmp_path) == result
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert set(read_json(tmp_path / "result.json")) == {"valid", "seconds"}


def test_a_memory_lags_by_all_words_where_a_study_reads(tmp_path: Path) -> None:
    pairs, data, writing, reward = pairs_dataset(), pairs_data(), SMALL.writing, RewardOf("chrf")
    assert writing is not None
    plain = fit_memory(pairs, data, writing, reward, tmp_path / "off")["valid"]
    found = fit_memory(pairs, data, writing, reward, tmp_path / "on", Reading(segment=1, cost=0.1))["valid"]
    words = [len(text.split()) for text in pairs.parts["valid"].inputs]
    assert found["lagging"] == pytest.approx(sum(words) / len(words))
    assert found["reward"] == pytest.approx(plain["reward"] - 0.1 * found["lagging"])
    stored, _ = Candidates.load(tmp_path / "on" / "predictions" / "valid.safetensors")
    assert stored.lagging == tuple(map(float, words))


def test_a_memory_whose_fit_was_killed_is_fitted_again(tmp_path: Path) -> None:
    writing = SMALL.writing
    assert writing is not None
    (tmp_path / "predictions" / "test.safetensors").mkdir(parents=True)
    with pytest.raises(StorageError, match=r"cannot write .*test\.safetensors"):
        fit_memory(pairs_dataset(), pairs_data(), writing, RewardOf("chrf"), tmp_path)
    assert not (tmp_path / "result.json").exists()
    (tmp_path / "predictions" / "test.safetensors").rmdir()
    assert fit_memory(pairs_dataset(), pairs_data(), writing, RewardOf("chrf"), tmp_path)["seconds"] > 0


def test_the_control_of_a_writer_searches_no_discount() -> None:
    spec = {"train.lr": [1e-5, 1e-4], "train.gamma": [0.9, 1.0], "train.reward": ["task", "constant"]}
    space = control_space(spec, SMALL)
    assert space is not None
    assert space.paths() == ("train.lr",)
    assert control_settings(SMALL).train.algorithm == "supervised"
