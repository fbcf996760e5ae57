"""A trial goes on exactly where it was killed, keeps its best epoch, and depends on nothing but what it was given."""

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from sweepstack.models import checksums
from sweepstack.models.data.encoding import TaskData, encode, resample
from sweepstack.models.errors import TrainingError
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.probabilities import DIRECTION, Predictions, metrics
from sweepstack.models.settings.trial import Optimizer, Reading, TrialSettings
from sweepstack.models.tasks.classification.checkpoint import load_member
from sweepstack.models.tasks.classification.stage import PolicyStage
from sweepstack.models.tasks.classification.supervised import ensure_start
from sweepstack.models.tasks.trainers import new_trainer
from sweepstack.models.training.trainer import Parent, Trainer

Topics = SimpleNamespace
KINDS: dict[str, dict[str, Any]] = {
    "ppo": {"train.lr": 1e-2},
    "ppo of everything": {"train.freeze": "none", "train.lr": 3e-3},
    "supervised": {"train.algorithm": "supervised", "train.batch_size": 32, "train.lr": 3e-3},
}
OTHERS: dict[str, dict[str, Any]] = {  # that have to go on exactly, too
    **{name: {"train.algorithm": name, "train.lr": 1e-2} for name in ("exact", "reinforce", "rloo", "a2c", "trpo")},
    "reinforce of everything": {"train.algorithm": "reinforce", "train.freeze": "none"},
    "trpo of everything": {"train.algorithm": "trpo", "train.freeze": "none"},
    "exact of everything": {"train.algorithm": "exact", "train.freeze": "none", "train.token_budget": 200},
    "a reference": {"train.ppo.kl": 0.1, "train.ppo.kl_target": 1e-3, "train.ppo.value_warmup": 3},
    "everything of ppo": {
        "train.freeze": "none",
        "train.ppo.kl": 0.1,
        "train.ppo.cross_entropy": 0.3,
        "train.token_budget": 300,
        "train.dropout": True,
        "train.class_weights": "balanced",
    },
    "adaptive": {"train.batch_size": "adaptive", "train.batch_range": (16, 64)},
    "noise scale": {"train.batch_size": "noise_scale", "train.batch_range": (16, 128), "train.lr": 1e-2},
    "adaptive, supervised": {
        "train.algorithm": "supervised",
        "train.batch_size": "noise_scale",
        "train.batch_range": (16, 64),
    },
    "a constant reward": {"train.reward": "constant"},
    "an average of steps": {"train.average": "ema", "train.average_decay": 0.9, "train.lr": 1e-2},
    "an average of epochs": {"train.average": "last", "train.average_last": 2, "train.freeze": "none"},
    "an average, supervised": {"train.algorithm": "supervised", "train.average": "ema", "train.batch_size": 32},
    "schedules": {
        "train.ppo.entropy": 0.1,
        "train.ppo.entropy_schedule": "linear",
        "train.ppo.clip_schedule": "linear",
        "train.ppo.whiten": "minibatch",
        "train.lr_schedule": "cosine_restarts",
    },
    "no decay of biases": {"train.freeze": "none", "train.weight_decay": 0.1, "train.decay_all": False},
    "a rate by the batch": {
        "train.batch_size": "noise_scale",
        "train.batch_range": (16, 128),
        "train.algorithm": "rloo",
        "train.lr_scaling": "sqrt",
    },
    "momentum": {"train.optimizer": "rmsprop", "train.momentum": 0.9, "train.eps": 1e-5},
}
Report = dict[str, float]


def trial(topics: Topics, folder: Path, values: dict[str, Any] | None = None, **changes: Any) -> Trainer:
    given = {"data": topics.data, "starts": topics.starts, "metric": "reward", **changes}
    return new_trainer(topics.settings.with_values(values or {}), folder=folder, **given)


def finish(trainer: Trainer) -> list[Report]:
    """The reports but for how long each took."""
    while len(trainer.reports) < trainer.settings.train.epochs:
        trainer.step()
    return [{name: value for name, value in report.items() if name != "seconds"} for report in trainer.reports]


def kept(folder: Path) -> dict[str, str]:
    """Digests of all that a trial leaves but its reports, which hold times, and the sums that name those."""
    timed = (folder / "state.json", folder / checksums.NAME)
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path not in timed]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def best_of(reports: list[Report], metric: str) -> float:
    return max((report[metric] for report in reports), key=lambda value: DIRECTION[metric] * value)


@pytest.mark.parametrize("kind", [*KINDS, *OTHERS])
def test_a_trial_goes_on_exactly_from_the_end_of_every_epoch(topics: Topics, tmp_path: Path, kind: str) -> None:
    values = {**KINDS, **OTHERS}[kind]
    undisturbed = trial(topics, tmp_path / "whole", values)
    for epoch in range(3):
        undisturbed.step()
        shutil.copytree(tmp_path / "whole", tmp_path / str(epoch + 1))
    expected, files = finish(undisturbed), kept(tmp_path / "whole")
    for epoch in (1, 2, 3):
        again = trial(topics, tmp_path / str(epoch), values)
        assert len(again.reports) == epoch
        torch.rand(5)  # a process that has drawn other numbers before
        assert finish(again) == expected
        assert kept(tmp_path / str(epoch)) == files


@pytest.mark.parametrize("name", ["state.json", "resume-2.safetensors"])
def test_a_trial_whose_state_is_damaged_begins_again_and_comes_to_the_same(
    topics: Topics, tmp_path: Path, name: str
) -> None:
    values = KINDS["supervised"]
    expected, files = finish(trial(topics, tmp_path / "whole", values)), kept(tmp_path / "whole")
    interrupted = trial(topics, tmp_path / "damaged", values)
    interrupted.step()
    interrupted.step()
    path = tmp_path / "damaged" / name
    path.write_bytes(path.read_bytes()[:-9])
    again = trial(topics, tmp_path / "damaged", values)
    assert again.reports == []
    assert finish(again) == expected
    assert kept(tmp_path / "damaged") == files


@pytest.mark.parametrize("kind", [*KINDS, *OTHERS])
def test_a_lineage_of_trials_is_one_trial(topics: Topics, tmp_path: Path, kind: str) -> None:
    """Each begins in the folder of the one before: the same reports and weights, bit by bit, and a parent that was only
    read. So nothing that goes from one epoch to the next is forgotten."""
    values = {**KINDS, **OTHERS}[kind]
    expected, files = finish(trial(topics, tmp_path / "whole", values)), kept(tmp_path / "whole")
    epochs, parent, reports = len(expected), None, []
    for epoch in range(epochs):
        folder = tmp_path / str(epoch)
        before = None if parent is None else kept(parent.folder)
        child = trial(topics, folder, values, parent=parent)
        assert child.reports == []
        child.step()
        reports += [{name: value for name, value in child.reports[0].items() if name != "seconds"}]
        assert (folder / "checkpoint").is_dir(), "every trial has one to be used by"
        assert before is None or kept(parent.folder) == before
        parent = Parent(folder, epoch + 1)
    assert reports == expected
    state = f"resume-{epochs}.safetensors"
    assert kept(parent.folder)[state] == files[state]


@pytest.mark.parametrize("name", get_args(Optimizer))
def test_a_lineage_keeps_what_its_optimizer_holds(topics: Topics, tmp_path: Path, name: str) -> None:
    values = {"train.optimizer": name, "train.epochs": 2, "train.lr": 3e-3}
    if name == "lbfgs":
        values["train.algorithm"] = "supervised"
    finish(trial(topics, tmp_path / "whole", values))
    trial(topics, tmp_path / "0", values).step()
    trial(topics, tmp_path / "1", values, parent=Parent(tmp_path / "0", 1)).step()
    state = "resume-2.safetensors"
    assert kept(tmp_path / "1")[state] == kept(tmp_path / "whole")[state]


def last_report(name: str, value: float) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        state = json.loads((folder / "state.json").read_text())
        assert state["reports"][-1][name] != value
        state["reports"][-1][name] = value
        (folder / "state.json").write_text(json.dumps(state))
        (folder / checksums.NAME).unlink()

    return change


def tensors(change: Callable[[str, torch.Tensor], torch.Tensor]) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        [path] = folder.glob("resume-*.safetensors")
        with safe_open(path, framework="pt") as file:
            about = file.metadata()
            all_of_them = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        save_file({name: change(name, tensor) for name, tensor in all_of_them.items()}, path, about)
        (folder / checksums.NAME).unlink()

    return changed


PIECES: dict[str, tuple[dict[str, Any], Callable[[Path], None]]] = {  # settings, and the piece that is spoilt
    "weights": ({}, tensors(lambda name, t: t * 1.5 if name.startswith("weight/read_head") else t)),
    "the weights of the value": ({}, tensors(lambda name, t: t * 1.5 if name.startswith("weight/value") else t)),
    "first moments": ({}, tensors(lambda name, t: -t if name.endswith("exp_avg") else t)),
    "second moments": ({}, tensors(lambda name, t: t * 100 if name.endswith("exp_avg_sq") else t)),
    "steps of the optimiser": ({}, tensors(lambda name, t: t + 1000 if name.endswith("step") else t)),
    "rollouts": ({"train.ppo.value_warmup": 2}, last_report("rollouts", 0.0)),
    "updates": ({}, last_report("updates", 0.0)),
    "episodes": ({}, last_report("episodes", 0.0)),
    "the weight of the divergence": ({"train.ppo.kl": 0.1, "train.ppo.kl_target": 1e-3}, last_report("kl_weight", 9.0)),
    "what an adaptive batch size has seen": (
        {"train.batch_size": "adaptive", "train.batch_range": (16, 64)},
        last_report("reward", -1.0),
    ),
    "the gradient's noise": (
        {"train.batch_size": "noise_scale", "train.batch_range": (16, 128)},
        last_report("noise_scale", 64.0),
    ),
}


@pytest.mark.parametrize("piece", PIECES)
def test_every_piece_of_a_parents_state_matters_to_its_clone(topics: Topics, tmp_path: Path, piece: str) -> None:
    """What it comes to is another thing if the piece is another one."""
    values, spoil = PIECES[piece]
    values = {"train.lr": 1e-2, **values}
    parent = trial(topics, tmp_path / "parent", values)
    parent.step()
    parent.step()
    shutil.copytree(tmp_path / "parent", tmp_path / "spoilt")
    spoil(tmp_path / "spoilt")
    clones = [
        trial(topics, tmp_path / f"of {name}", values, parent=Parent(tmp_path / name, 2))
        for name in ("parent", "spoilt")
    ]
    whole, other = ({n: v for n, v in clone.step().items() if n != "seconds"} for clone in clones)
    assert whole != other


def test_the_place_in_the_schedule_and_the_random_numbers_go_on(topics: Topics, tmp_path: Path) -> None:
    """Seen where the rest stays: at a rate of next to nothing, and in the rates that are reported."""
    values = {"train.lr": 1e-30, "train.optimizer": "sgd", "train.lr_schedule": "linear", "train.epochs": 4}
    reports = [trial(topics, tmp_path / "0", values).step()]
    for epoch in (1, 2, 3):
        parent = Parent(tmp_path / str(epoch - 1), epoch)
        reports.append(trial(topics, tmp_path / str(epoch), values, parent=parent).step())
    rates = [report["lr"] for report in reports]
    assert rates == sorted(rates, reverse=True)
    assert len(set(rates)) == 4
    assert len({report["value_loss"] for report in reports}) == 4


def test_a_clone_has_settings_of_its_own(topics: Topics, tmp_path: Path) -> None:
    """The rate, γ, the batch size, the weight of a divergence: what a child is given counts from its first step on."""
    base = {"train.lr": 1e-2, "train.ppo.kl": 0.1}
    trial(topics, tmp_path / "parent", base).step()
    same, *others = [
        trial(topics, tmp_path / str(i), {**base, **own}, parent=Parent(tmp_path / "parent", 1)).step()
        for i, own in enumerate(
            [{}, {"train.lr": 5e-3}, {"train.gamma": 0.5}, {"train.batch_size": 16}, {"train.ppo.kl": 0.4}]
        )
    ]
    assert others[0]["lr"] == pytest.approx(same["lr"] / 2)
    assert others[1]["value_loss"] != same["value_loss"]
    assert others[2]["batch_size"] == 16
    assert others[3]["kl_weight"] == 0.4
    assert {report["entropy"] for report in others}.isdisjoint({same["entropy"]})


def test_a_clone_goes_on_after_a_kill_and_needs_its_parent_no_more(topics: Topics, tmp_path: Path) -> None:
    values = {"train.epochs": 3, "train.lr": 1e-2}
    parent = Parent(tmp_path / "parent", 1)
    trial(topics, tmp_path / "parent", values).step()
    whole = trial(topics, tmp_path / "whole", values, parent=parent)
    expected = [whole.step() for _ in range(2)]
    trial(topics, tmp_path / "killed", values, parent=parent).step()
    shutil.rmtree(tmp_path / "parent")
    again = trial(topics, tmp_path / "killed", values, parent=parent)
    assert len(again.reports) == 1, "its own"
    again.step()
    for report, other in zip(again.reports, expected, strict=True):
        assert {**report, "seconds": 0} == {**other, "seconds": 0}


def test_a_parent_that_is_gone_is_said_in_one_line(topics: Topics, tmp_path: Path) -> None:
    parent = Parent(tmp_path / "parent", 1)
    with pytest.raises(TrainingError, match=r"parent does not hold what it came to after epoch 1, where this") as error:
        trial(topics, tmp_path / "child", parent=parent).step()
    assert "\n" not in str(error.value)
    trial(topics, tmp_path / "parent").step()
    (tmp_path / "parent" / "resume-1.safetensors").unlink()
    with pytest.raises(TrainingError, match="does not hold"):
        trial(topics, tmp_path / "child", parent=parent).step()


@pytest.mark.parametrize("name", get_args(Optimizer))
def test_every_optimizer_goes_on_exactly(topics: Topics, tmp_path: Path, name: str) -> None:
    values = {"train.optimizer": name, "train.epochs": 2, "train.lr": 3e-3}
    if name == "lbfgs":
        values["train.algorithm"] = "supervised"
    whole = trial(topics, tmp_path / "whole", values)
    whole.step()
    shutil.copytree(tmp_path / "whole", tmp_path / "half")
    expected = finish(whole)
    assert finish(trial(topics, tmp_path / "half", values)) == expected
    assert kept(tmp_path / "half") == kept(tmp_path / "whole")


@pytest.mark.parametrize("kind", ["ppo", "supervised"])
def test_a_kill_between_any_two_writes_repeats_one_epoch_at_most(
    topics: Topics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The folder as it is after every single file that two epochs write: from each, the same end is reached."""
    values = {**KINDS[kind], "train.epochs": 2}
    replace, copies = os.replace, []
    ensure_start(topics.settings, topics.data, topics.starts)

    def copying(source: Any, target: Any) -> None:
        replace(source, target)
        copies.append(shutil.copytree(tmp_path / "whole", tmp_path / f"copy{len(copies)}"))

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", copying)
        whole = trial(topics, tmp_path / "whole", values)
        expected = finish(whole)
    whole.close(finished=True)
    assert len(copies) >= 2 * 2 + 6  # the state twice, a checkpoint and predictions once or twice
    for copy in copies:
        again = trial(topics, copy, values)
        assert finish(again) == expected
        again.close(finished=True)  # a state that the killed process had no time to remove goes, too
        assert kept(copy) == kept(tmp_path / "whole"), copy.name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("metric", ["reward", "log_loss", "segments"])
def test_the_best_epoch_is_kept(topics: Topics, tmp_path: Path, kind: str, metric: str) -> None:
    """Its predictions score what its report says, and its checkpoint reads raw texts as they say."""
    values = {**KINDS[kind], "train.epochs": 4, "train.lr": 0.05, "train.lr_schedule": "constant"}
    trainer = trial(topics, tmp_path, values, metric=metric)
    reports = finish(trainer)
    valid, rows_hash = Predictions.load(tmp_path / "predictions" / "valid.safetensors")
    assert rows_hash == topics.data.hashes["valid"]
    got = metrics(valid, topics.data.parts["valid"].labels, Costs(topics.settings.reading.cost))
    assert got[metric] == pytest.approx(best_of(reports, metric), abs=1e-12)
    assert got in [{name: report[name] for name in got} for report in reports]
    member = load_member(tmp_path / "checkpoint")
    for part in ("valid", "blend", "test"):
        stored, rows_hash = Predictions.load(tmp_path / "predictions" / f"{part}.safetensors")
        assert rows_hash == topics.data.hashes[part]
        read = member.read(topics.dataset.parts[part].inputs)
        np.testing.assert_allclose(read.probabilities, stored.probabilities, atol=1e-5)
        np.testing.assert_allclose(read.answer, stored.answer, atol=1e-5)
        assert np.array_equal(read.n_segments, stored.n_segments)


def test_a_worse_epoch_replaces_nothing(topics: Topics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rewards of .5, .7, .7, .6: what the second epoch said stays, also where an equal one follows."""
    from sweepstack.models.tasks.classification import stage as module

    rewards = iter([0.5, 0.7, 0.7, 0.6])
    score = metrics
    monkeypatch.setattr(module, "metrics", lambda *given: {**score(*given), "reward": next(rewards)})
    trainer = trial(topics, tmp_path, {"train.epochs": 4, "train.lr": 1e-2})
    left = []
    for _ in range(4):
        trainer.step()
        left.append({name: digest for name, digest in kept(tmp_path).items() if not name.startswith("resume")})
    assert left[0] != left[1] == left[2] == left[3]


@pytest.mark.parametrize("kind", KINDS)
def test_a_learning_rate_that_blows_up_is_said(topics: Topics, tmp_path: Path, kind: str) -> None:
    values = {**KINDS[kind], "train.lr": 1e30, "train.optimizer": "sgd", "train.lr_schedule": "constant"}
    trainer = trial(topics, tmp_path, values)
    with pytest.raises(TrainingError, match=r"not a number.*; lower") as caught:
        finish(trainer)
    assert "\n" not in str(caught.value)
    reports = json.loads((tmp_path / "state.json").read_text())["reports"] if trainer.reports else []
    assert reports == trainer.reports


@pytest.mark.parametrize("kind", ["ppo", "supervised", "freeze none"])
def test_what_is_not_a_number_leaves_the_best_epoch_before_it(topics: Topics, tmp_path: Path, kind: str) -> None:
    """The trial fails, and its checkpoint and predictions are those of an epoch before."""
    values = {"train.freeze": "none", "train.lr": 1e-3} if kind == "freeze none" else KINDS[kind]
    trainer = trial(topics, tmp_path, {**values, "train.epochs": 4})
    assert not trainer.kept
    trainer.step()
    trainer.step()
    assert trainer.kept
    before = kept(tmp_path)
    with torch.no_grad():
        next(iter(trainer.stage().trained.values())).fill_(float("nan"))
    with pytest.raises(TrainingError):
        trainer.step()
    assert trainer.kept
    assert kept(tmp_path) == before
    best = max(report["reward"] for report in trainer.reports)
    said, _ = Predictions.load(tmp_path / "predictions" / "valid.safetensors")
    labels = topics.data.parts["valid"].labels
    assert metrics(said, labels, Costs(topics.settings.read_cost))["reward"] == pytest.approx(best)
    assert all(p.isfinite().all() for p in load_file(tmp_path / "checkpoint" / "weights.safetensors").values())
    trainer.close(True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint", "predictions"]


def test_a_prediction_that_is_not_a_number_is_never_kept(
    topics: Topics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of rows that no metric is of: valid is as it was, and the checkpoint stays that of the epoch before."""
    trainer = trial(topics, tmp_path, {"train.epochs": 3})
    trainer.step()
    before = kept(tmp_path)
    stage = trainer.stage()
    assert isinstance(stage, PolicyStage)
    parts = stage._actor._parts  # type: ignore[union-attr]
    logits = parts["test"].label_logits.clone()  # trials of a process share them
    logits[0] = float("nan")
    monkeypatch.setitem(parts, "test", dataclasses.replace(parts["test"], label_logits=logits))
    with pytest.raises(TrainingError, match=r"a prediction of test is not a number; lower train\.lr"):
        stage.keep(tmp_path)
    assert kept(tmp_path) == before


def test_trials_of_one_process_do_not_touch_each_other(topics: Topics, tmp_path: Path) -> None:
    """Whatever ran before or runs in between: other kinds, another sample of the rows, a start that is shared."""
    sampled = resample(topics.data, 1)
    runs: dict[str, Callable[[Path], Trainer]] = {
        kind: lambda folder, kind=kind: trial(topics, folder, KINDS[kind]) for kind in KINDS
    }
    runs["resampled"] = lambda folder: trial(topics, folder, KINDS["ppo"], data=sampled)
    alone = {}
    for name, make in reversed(runs.items()):
        alone[name] = finish(make(tmp_path / "alone" / name)), kept(tmp_path / "alone" / name)
    together = {name: make(tmp_path / "together" / name) for name, make in runs.items()}
    for _ in range(topics.settings.train.epochs):
        for trainer in together.values():
            trainer.step()
    for name, trainer in together.items():
        assert (finish(trainer), kept(tmp_path / "together" / name)) == alone[name], name
    assert len({json.dumps(reports) for reports, _ in alone.values()}) == len(runs)


def test_training_seeds_matter_and_nothing_global_does(topics: Topics, tmp_path: Path) -> None:
    rewards = []
    for i, (seed, global_seed) in enumerate([(0, 0), (0, 1), (1, 0)]):
        torch.manual_seed(global_seed)
        np.random.seed(global_seed)
        rewards.append(finish(trial(topics, tmp_path / str(i), {"train.seed": seed})))
    assert rewards[0] == rewards[1] != rewards[2]


def test_every_epoch_plays_other_episodes(topics: Topics, tmp_path: Path) -> None:
    """At a rate so low that no weight moves, epochs differ by what was drawn in them alone."""
    values = {"train.lr": 1e-30, "train.optimizer": "sgd", "train.epochs": 3}
    reports = finish(trial(topics, tmp_path, values))
    assert len({report["reward"] for report in reports}) == 1
    assert len({report["value_loss"] for report in reports}) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_trained_and_what_stays(topics: Topics, tmp_path: Path, kind: str) -> None:
    start = load_file(ensure_start(topics.settings, topics.data, topics.starts) / "weights.safetensors")
    finish(trial(topics, tmp_path, {**KINDS[kind], "train.epochs": 1}))
    weights = load_file(tmp_path / "checkpoint" / "weights.safetensors")
    moved = {name.split(".")[0] for name in start if not torch.equal(start[name], weights[name])}
    heads = {"read_head", "value_head"}
    assert moved == {"ppo": heads, "ppo of everything": moved | heads, "supervised": moved - heads}[kind]
    if kind != "ppo":
        assert {"tokens", "encoder", "decoder", "label_head"} <= moved


def test_the_rates_reported_are_those_of_the_schedule(topics: Topics, tmp_path: Path) -> None:
    """step: 3 epochs, halved after each; an epoch's last step has the epoch's rate."""
    values = {"train.lr_schedule": "step", "train.step_every": 1, "train.lr": 0.008}
    assert [report["lr"] for report in finish(trial(topics, tmp_path, values))] == pytest.approx([0.008, 0.004, 0.002])


def test_reports_have_every_metric_and_what_training_logs(topics: Topics, tmp_path: Path) -> None:
    report = trial(topics, tmp_path).step()
    assert DIRECTION.keys() <= report.keys()
    assert {"policy_loss", "value_loss", "entropy", "kl", "clip_fraction", "lr", "seconds"} <= report.keys()
    assert report["reward"] == pytest.approx(report["accuracy"] - 0.02 * (report["segments"] - 1))
    assert "train_loss" in trial(topics, tmp_path / "s", KINDS["supervised"]).step()


def test_the_cost_of_scoring_is_not_trained_with(topics: Topics, tmp_path: Path) -> None:
    """The same policy, other rewards: at .5 a READ instead of .02."""
    own, scored = tmp_path / "own", tmp_path / "scored"
    one_epoch = {"train.epochs": 1, "train.lr": 1e-2}
    plain = finish(trial(topics, own, one_epoch))[0]
    dear = finish(trial(topics, scored, one_epoch, cost=0.5))[0]
    assert kept(own) == kept(scored)
    assert dear["segments"] == plain["segments"] > 1
    assert dear["reward"] == pytest.approx(plain["accuracy"] - 0.5 * (plain["segments"] - 1))


def test_the_trials_own_cost_is_trained_with(topics: Topics, tmp_path: Path) -> None:
    """Where reading is dearer than all that can be gained, PPO learns to answer sooner."""
    values = {"train.lr": 3e-2, "train.epochs": 6, "train.batch_size": 32, "train.ppo.minibatch": 32}
    free, dear = (
        finish(trial(topics, tmp_path / str(cost), {**values, "reading.cost": cost}, cost=0.0))[-1]["segments"]
        for cost in (0.0, 1.0)
    )
    assert dear < free - 0.5


@pytest.mark.parametrize("reading", ["off", Reading(unit="words", segment=9, max_segments=1, cost=0.3)])
@pytest.mark.parametrize("freeze", ["encoder", "none"])
def test_one_segment_is_a_classifier_whose_labels_are_learned(
    topics: Topics, tmp_path: Path, reading: Any, freeze: str
) -> None:
    """A start of one epoch knows little; PPO goes on from there, and no READ is ever paid for."""
    data: TaskData = encode(topics.dataset, reading)
    values = {"train.warm_start.epochs": 1, "train.freeze": freeze, "train.epochs": 8, "train.lr": 1e-2}
    settings = TrialSettings.model_validate({**topics.settings.model_dump(), "reading": reading}).with_values(
        {**values, "train.batch_size": 32, "train.lr_schedule": "linear"}
    )
    trainer = new_trainer(settings, data, topics.starts, tmp_path, "reward")
    reports = finish(trainer)
    start = load_member(ensure_start(settings, data, topics.starts)).read(topics.dataset.parts["valid"].inputs)
    before = metrics(start, topics.data.parts["valid"].labels, Costs(0.0))["log_loss"]
    assert min(report["log_loss"] for report in reports) < before - 0.02
    assert {report["segments"] for report in reports} == {1.0}
    assert all(report["reward"] == report["accuracy"] for report in reports)
    assert Predictions.load(tmp_path / "predictions" / "test.safetensors")[0].answer.tolist() == [[1.0]] * 50


def test_what_goes_on_is_removed_only_when_a_trial_has_ended(topics: Topics, tmp_path: Path) -> None:
    trainer = trial(topics, tmp_path)
    trainer.step()
    trainer.close(finished=False)
    assert len(trial(topics, tmp_path).reports) == 1
    again = trial(topics, tmp_path)
    finish(again)
    again.close(finished=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint", "predictions"]


def test_making_one_does_nothing_yet(topics: Topics, tmp_path: Path) -> None:
    trial(topics, tmp_path / "new", starts=tmp_path / "starts")
    assert list(tmp_path.iterdir()) == []


def test_a_trial_may_end_before_its_schedule_does_and_keep_what_it_came_to(topics: Topics, tmp_path: Path) -> None:
    """Two of three epochs: each as if the third came, and the second is kept, whether it was the best or not."""
    whole = trial(topics, tmp_path / "whole")
    reports = finish(whole)
    short = trial(topics, tmp_path / "short", chosen=False, until=2)
    for _ in range(2):
        short.step()
    assert [{n: v for n, v in report.items() if n != "seconds"} for report in short.reports] == reports[:2]
    said, _ = Predictions.load(tmp_path / "short" / "predictions" / "valid.safetensors")
    labels = topics.data.parts["valid"].labels
    costs = Costs(topics.settings.read_cost)
    assert metrics(said, labels, costs)["reward"] == pytest.approx(reports[1]["reward"])


@pytest.mark.parametrize("average", ["ema", "last"])
@pytest.mark.parametrize("kind", ["ppo", "supervised"])
def test_what_is_scored_and_kept_is_the_average_and_training_goes_on_from_the_weights(
    topics: Topics, tmp_path: Path, kind: str, average: str
) -> None:
    """Training ends with the weights that it ends with alone; a checkpoint has only the average of what is trained."""
    values = {**KINDS[kind], "train.epochs": 3}
    plain = trial(topics, tmp_path / "plain", values, chosen=False)
    averaged = trial(topics, tmp_path / "averaged", {**values, "train.average": average}, chosen=False)
    finish(plain)
    said = finish(averaged)[-1]
    [state], [other] = ((tmp_path / name).glob("resume-*.safetensors") for name in ("plain", "averaged"))
    weights, of_average = load_file(state), load_file(other)
    checkpoint = load_file(tmp_path / "averaged" / "checkpoint" / "weights.safetensors")
    before = load_file(tmp_path / "plain" / "checkpoint" / "weights.safetensors")
    trained = [name.removeprefix("weight/") for name in weights if name.startswith("weight/")]
    places = {name.split("/")[1] for name in of_average if name.startswith("average/")}
    assert places == ({"0"} if average == "ema" else {"0", "1", "2"})
    for name in trained:
        assert torch.equal(of_average[f"weight/{name}"], weights[f"weight/{name}"]), name
        mean = torch.stack([of_average[f"average/{place}/{name}"] for place in sorted(places)]).mean(0)
        assert torch.equal(checkpoint[name], mean), name
    moved = [name for name in trained if not torch.equal(checkpoint[name], before[name])]
    assert len(moved) > 2
    for name in set(checkpoint) - set(trained):
        assert torch.equal(checkpoint[name], before[name]), "what is frozen stays"
    predictions, _ = Predictions.load(tmp_path / "averaged" / "predictions" / "valid.safetensors")
    found = metrics(predictions, topics.data.parts["valid"].labels, Costs(topics.settings.read_cost))
    assert found["log_loss"] == pytest.approx(said["log_loss"])
    member = load_member(tmp_path / "averaged" / "checkpoint").read(topics.dataset.parts["valid"].inputs)
    np.testing.assert_allclose(member.probabilities, predictions.probabilities, atol=1e-5)
