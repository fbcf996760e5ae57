"""Soups of small policies that are trained here, of one start or of two."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from killing import Killed, killed
from safetensors.torch import load_file
from topic_words import SMALL, topics_dataset

from sweepstack.ensembles.builders import soup as module
from sweepstack.ensembles.builders.soup import Ingredient, Soup, SoupJob, SoupResult, cook, mean_weights
from sweepstack.ensembles.members.library import Library
from sweepstack.ensembles.scoring.objective import Objective
from sweepstack.models.data.encoding import encode
from sweepstack.models.data.labelled import OUT_OF_FOLD, Dataset, Part
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.probabilities import Predictions, metrics
from sweepstack.models.settings.trial import Reading
from sweepstack.models.tasks.classification.checkpoint import load_member
from sweepstack.models.tasks.trainers import make_trainer

assert isinstance(SMALL.reading, Reading)
OBJECTIVE = Objective("reward", Costs(SMALL.reading.score_cost))


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Three trials of one start with everything learning, one of another start, and a supervised one."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("soup")
    data = encode(topics_dataset(), SMALL.reading)
    ingredients = []
    for number, values in enumerate(
        (
            {"train.lr": 1e-3},
            {"train.lr": 3e-3},
            {"train.lr": 3e-2, "train.seed": 5},
            {"train.warm_start.seed": 9, "train.lr": 1e-3},
            {"train.algorithm": "supervised", "train.lr": 1e-3},
            {"train.algorithm": "supervised", "train.lr": 3e-3},
        )
    ):
        settings = SMALL.with_values({"train.freeze": "none", "train.epochs": 1, **values})
        trainer = make_trainer(settings, data, root / "starts", root / str(number), "reward")
        trainer.step()
        ingredients.append(Ingredient(f"trial-{number}", root / str(number) / "checkpoint"))
    return SimpleNamespace(data=data, ingredients=ingredients)


def made(
    trials: Any, numbers: list[int], kind: str, soups: Path, objective: Objective = OBJECTIVE
) -> SoupResult[SoupJob]:
    ingredients = [trials.ingredients[n] for n in numbers]
    return cook(SoupJob.of(kind, ingredients, objective, trials.data.hashes, soups, "cpu"), trials.data)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "weights.safetensors")


def test_a_uniform_soup_has_the_mean_weights_and_predictions_of_its_own(trials: Any, tmp_path: Path) -> None:
    result = made(trials, [0, 1], "uniform", tmp_path)
    assert result.ingredients == (("trial-0", "trial-1"),)
    first, second = (weights(trials.ingredients[n].checkpoint) for n in (0, 1))
    mixed = weights(result.job.member.checkpoint)
    assert any(not torch.equal(first[name], second[name]) for name in mixed)
    for name, tensor in mixed.items():
        if tensor.is_floating_point():
            assert torch.equal(tensor, ((first[name].double() + second[name].double()) / 2).float()), name
    dataset = topics_dataset()
    member = load_member(result.job.member.checkpoint)
    for part in ("valid", "blend", "test"):
        library = Library.load([result.job.member], part, trials.data.hashes[part])
        said = member.read(dataset.parts[part].inputs)
        assert library.stack.probabilities[0] == pytest.approx(said.probabilities, abs=1e-6)
    valid, _ = Predictions.load(result.job.member.predictions("valid"))
    assert result.valid == metrics(valid, dataset.parts["valid"].labels, OBJECTIVE.costs)


def test_one_ingredient_alone_is_that_policy(trials: Any, tmp_path: Path) -> None:
    result = made(trials, [1], "greedy", tmp_path)
    own, mixed = weights(trials.ingredients[1].checkpoint), weights(result.job.member.checkpoint)
    assert all(torch.equal(own[name], mixed[name]) for name in own)


def test_a_greedy_soup_takes_what_does_no_harm_on_valid(
    trials: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By hand: the first is worth .5, with the second .6, with the third .55, with the fourth as much as before."""
    worth = {(0,): 0.5, (0, 1): 0.6, (0, 1, 2): 0.55, (0, 1, 4): 0.6}
    monkeypatch.setattr(module._Kitchen, "_score", lambda self, chosen, folds: worth[chosen])
    ingredients = [trials.ingredients[n] for n in (0, 1, 2)]
    job = SoupJob.of("greedy", ingredients, OBJECTIVE, trials.data.hashes, tmp_path, "cpu")
    assert cook(job, trials.data).ingredients == (("trial-0", "trial-1"),)
    kitchen = module._Kitchen(job, trials.data)
    worth |= {(0, 1, 2): 0.6}
    assert kitchen._greedy([0]) == (0, 1, 2), "a tie is no harm: more ingredients vary less"


def test_a_greedy_soup_is_on_valid_no_worse_than_its_best_ingredient(trials: Any, tmp_path: Path) -> None:
    labels = topics_dataset().parts["valid"].labels
    order = sorted(
        range(3),
        key=lambda n: (
            -OBJECTIVE.score(
                Predictions.load(trials.ingredients[n].checkpoint.parent / "predictions" / "valid.safetensors")[0],
                labels,
            )
        ),
    )
    best, _ = Predictions.load(trials.ingredients[order[0]].checkpoint.parent / "predictions" / "valid.safetensors")
    result = made(trials, order, "greedy", tmp_path)
    assert result.valid["reward"] >= OBJECTIVE.score(best, labels) - 1e-6


def test_weights_of_separate_starts_are_worth_less_than_either(trials: Any, tmp_path: Path) -> None:
    """Why whoever makes a job keeps starts apart: the same two trials, but for the seed of one's start."""
    full = Objective("log_loss", OBJECTIVE.costs)
    together = made(trials, [0, 1], "uniform", tmp_path, full).valid["log_loss"]
    apart = made(trials, [0, 3], "uniform", tmp_path, full).valid["log_loss"]
    assert apart > 1.5 * together


def test_policies_without_a_learned_stop_get_a_threshold_of_their_own(trials: Any, tmp_path: Path) -> None:
    result = made(trials, [4, 5], "uniform", tmp_path)
    member = load_member(result.job.member.checkpoint)
    assert 0 < member.threshold < 1  # type: ignore[attr-defined]
    blend, _ = Predictions.load(result.job.member.predictions("blend"))
    assert blend.answer == pytest.approx(member.read(topics_dataset().parts["blend"].inputs).answer, abs=1e-5)


def test_what_was_made_is_not_made_again_and_a_kill_leaves_nothing_half_made(
    trials: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(module._Kitchen, "serve", killed)
        with pytest.raises(Killed):
            made(trials, [0, 1], "greedy", tmp_path)
    first = made(trials, [0, 1], "greedy", tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(module, "_Kitchen", killed)
        assert made(trials, [0, 1], "greedy", tmp_path) == first
    folders = {made(trials, n, kind, tmp_path).job.folder for n, kind in (([0, 1], "uniform"), ([0, 2], "uniform"))}
    assert len({first.job.folder, *folders}) == 3, "the folder is named by all that it depends on"


def test_other_shapes_and_other_buffers_have_no_mean() -> None:
    a = {"w": torch.ones(2), "codes": torch.tensor([1, 2])}
    assert mean_weights([a, a])["codes"].tolist() == [1, 2]
    with pytest.raises(ValueError, match="its trials differ in the shape of w"):
        mean_weights([a, {**a, "w": torch.ones(3)}])
    with pytest.raises(ValueError, match="its trials differ in codes, so they are not of one start"):
        mean_weights([a, {**a, "codes": torch.tensor([1, 3])}])


def test_an_impossible_soup_is_a_result_too(trials: Any, tmp_path: Path) -> None:
    data = encode(topics_dataset(), SMALL.reading)
    wide = SMALL.with_values({"model.d_model": 32, "train.epochs": 1})
    make_trainer(wide, data, tmp_path / "starts", tmp_path / "wide", "reward").step()
    ingredients = [trials.ingredients[0], Ingredient("wide", tmp_path / "wide" / "checkpoint")]
    result = cook(SoupJob.of("greedy", ingredients, OBJECTIVE, data.hashes, tmp_path, "cpu"), data)
    assert result.error is not None
    assert "differ in the shape of" in result.error
    assert result.ingredients == ()


def folds_dataset() -> Dataset:
    """Two folds of the topics, each holding out what the other one trains on."""
    whole = topics_dataset()
    rows = [whole.parts["valid"], whole.parts["blend"]]
    folds = tuple(
        replace(whole, parts={**{n: whole.parts[n] for n in ("warm", "policy", "test")}, "valid": rows[k]})
        for k in (0, 1)
    )
    inputs = tuple(text for part in rows for text in part.inputs)
    parts = {OUT_OF_FOLD: Part(inputs, np.concatenate([part.labels for part in rows])), "test": whole.parts["test"]}
    return replace(whole, parts=parts, folds=folds, hashes={**whole.hashes, OUT_OF_FOLD: "both"})


def test_under_folds_the_rows_of_the_others_choose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = folds_dataset()
    data = encode(dataset, SMALL.reading)
    ingredients = []
    for number, lr in enumerate((1e-3, 3e-3)):
        settings = SMALL.with_values({"train.freeze": "none", "train.epochs": 1, "train.lr": lr})
        trainer = make_trainer(settings, data, tmp_path / "starts", tmp_path / str(number), "reward")
        for _ in data.folds:
            trainer.step()
        ingredients.append(Ingredient(f"trial-{number}", tmp_path / str(number) / "checkpoint"))
    looked: list[tuple[int, ...]] = []
    score = module._Kitchen._score

    def seen(self: Any, chosen: tuple[int, ...], folds: Any) -> float:
        looked.append(tuple(folds))
        return score(self, chosen, folds) if folds != [0] else float(len(chosen) == 1)

    monkeypatch.setattr(module._Kitchen, "_score", seen)
    result = cook(SoupJob.of("greedy", ingredients, OBJECTIVE, data.hashes, tmp_path, "cpu"), data)
    assert looked == [(1,), (1,), (0,), (0,)]
    assert result.ingredients[1] == ("trial-0",), "the rows of the first fold wanted no second one"
    said, rows_hash = Predictions.load(result.job.member.predictions(OUT_OF_FOLD))
    assert rows_hash == "both"
    assert len(said) == len(dataset.parts[OUT_OF_FOLD].labels)
    member = load_member(result.job.member.checkpoint)
    test, _ = Predictions.load(result.job.member.predictions("test"))
    assert test.probabilities == pytest.approx(member.read(dataset.parts["test"].inputs).probabilities, abs=1e-6)
    assert not list(result.job.folder.glob("fold-*"))


def test_the_builder_is_its_best_soup(synthetic: Any) -> None:
    stack, labels = synthetic.stack([1.0, 3.0])
    assert Soup().fit(stack, labels, OBJECTIVE).members == (1,)
    assert Soup("uniform").kinds == {"soup"}
    with pytest.raises(ValueError, match="kind must be greedy or uniform, but got 'thick'"):
        Soup("thick")
