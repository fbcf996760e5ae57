"""A trial that writes: it goes on exactly where it was killed, and keeps candidates that are worth what it reports."""

import hashlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors.torch import load_file

from sweepstack.models.data.bpe import Tokenizers
from sweepstack.models.errors import TrainingError
from sweepstack.models.predictions.texts import Candidates
from sweepstack.models.rl.rewards import make_reward
from sweepstack.models.settings.writing import WRITING_METRICS
from sweepstack.models.tasks.trainers import new_trainer
from sweepstack.models.tasks.writing.checkpoint import WriterMember
from sweepstack.models.tasks.writing.stage import candidate_metrics
from sweepstack.models.tasks.writing.supervised import ensure_writing_start, log_loss
from sweepstack.models.training.trainer import Parent, Trainer

KINDS: dict[str, dict[str, Any]] = {
    "ppo": {},
    "rloo": {"train.algorithm": "rloo"},
    "supervised": {"train.algorithm": "supervised"},
}
OTHERS: dict[str, dict[str, Any]] = {  # that have to go on exactly, too
    "reinforce": {"train.algorithm": "reinforce"},
    "a2c": {"train.algorithm": "a2c"},
    "trpo": {"train.algorithm": "trpo"},
    "an average of steps": {"train.average": "ema", "train.decay_all": False, "train.weight_decay": 0.1},
    "an average of epochs, supervised": {"train.algorithm": "supervised", "train.average": "last"},
    "whitened by minibatch": {"train.ppo.whiten": "minibatch", "train.ppo.minibatch": 8, "train.token_budget": 60},
    "a constant reward": {"train.algorithm": "rloo", "train.reward": "constant"},
    "everything of ppo": {
        "train.freeze": "encoder",
        "train.ppo.kl": 0.1,
        "train.ppo.kl_target": 1e-3,
        "train.ppo.value_warmup": 3,
        "train.ppo.cross_entropy": 0.3,
        "train.token_budget": 100,
        "train.dropout": True,
        "writing.increments": True,
        "writing.sample": {"temperature": 0.8, "top_k": 0, "top_p": 1.0},
    },
    "noise scale": {"train.batch_size": "noise_scale", "train.batch_range": (8, 32), "train.algorithm": "rloo"},
    "adaptive, supervised": {
        "train.algorithm": "supervised",
        "train.batch_size": "adaptive",
        "train.batch_range": (8, 32),
        "train.token_budget": 100,
    },
}
Report = dict[str, float]


def trial(writing: SimpleNamespace, folder: Path, values: dict[str, Any] | None = None, **changes: Any) -> Trainer:
    given = {"data": writing.data, "starts": writing.starts, "metric": "chrf", **changes}
    return new_trainer(writing.settings.with_values(values or {}), folder=folder, **given)


def finish(trainer: Trainer) -> list[Report]:
    """The reports but for how long each took."""
    while len(trainer.reports) < trainer.settings.train.epochs:
        trainer.step()
    return [{name: value for name, value in report.items() if name != "seconds"} for report in trainer.reports]


def kept(folder: Path) -> dict[str, str]:
    """Hashes by path; but those of what holds seconds: the reports, and what says their hash."""
    timed = (folder / "state.json", folder / "SHA256SUMS")
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path not in timed]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("kind", [*KINDS, *OTHERS])
def test_a_trial_goes_on_exactly_and_so_does_its_child(writing: SimpleNamespace, tmp_path: Path, kind: str) -> None:
    values = {**KINDS, **OTHERS}[kind] | {"train.epochs": 2}
    whole = trial(writing, tmp_path / "whole", values)
    whole.step()
    shutil.copytree(tmp_path / "whole", tmp_path / "again")
    shutil.copytree(tmp_path / "whole", tmp_path / "parent")
    expected, files = finish(whole), kept(tmp_path / "whole")
    torch.rand(5)  # a process that has drawn other numbers before
    again = trial(writing, tmp_path / "again", values)
    assert len(again.reports) == 1
    assert finish(again) == expected
    assert kept(tmp_path / "again") == files
    child = trial(writing, tmp_path / "child", values, parent=Parent(tmp_path / "parent", 1))
    child.step()
    assert {name: value for name, value in child.reports[0].items() if name != "seconds"} == expected[1]
    assert kept(tmp_path / "child")["resume-2.safetensors"] == files["resume-2.safetensors"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_best_epoch_is_kept_with_what_it_writes(writing: SimpleNamespace, tmp_path: Path, kind: str) -> None:
    """Its candidates are worth what its report says, and its checkpoint writes them again from raw texts."""
    reports = finish(trial(writing, tmp_path, {**KINDS[kind], "train.lr": 5e-3}))
    assert all(set(WRITING_METRICS) <= report.keys() for report in reports)
    best = max(reports, key=lambda report: report["chrf"])
    data, part = writing.data, writing.data.parts["valid"]
    valid, rows_hash = Candidates.load(tmp_path / "predictions" / "valid.safetensors")
    assert rows_hash == data.hashes["valid"]
    reward, tokenizers = make_reward("chrf", data.language, None), Tokenizers.from_json(data.tokenizers)
    found = candidate_metrics(valid, part.inputs, part.references, reward, data.language, tokenizers)
    assert found == pytest.approx({name: best[name] for name in found}, abs=1e-9)
    assert found.keys() == set(WRITING_METRICS) - {"log_loss"}
    member = WriterMember(tmp_path / "checkpoint", "cpu")
    assert log_loss(member.writer, part) == pytest.approx(best["log_loss"], rel=1e-5)
    for name in ("valid", "blend", "test"):
        stored, rows_hash = Candidates.load(tmp_path / "predictions" / f"{name}.safetensors")
        assert rows_hash == data.hashes[name]
        inputs = writing.dataset.parts[name].inputs
        assert len(stored) == len(inputs)
        again = member.write(inputs, n=2)
        assert again.texts == stored.texts
        assert np.allclose(np.concatenate(again.scores), np.concatenate(stored.scores), atol=1e-5)


def test_what_is_trained_and_what_stays(writing: SimpleNamespace, tmp_path: Path) -> None:
    start = load_file(ensure_writing_start(writing.settings, writing.data, writing.starts) / "weights.safetensors")
    heads, frozen = {"value_head"}, {"encoder", "source_tokens", "source_positions", "source_norm"}
    moved = {}
    for name, values in {
        "none": {"train.algorithm": "ppo"},
        "encoder": {"train.freeze": "encoder"},
        "supervised": {"train.algorithm": "supervised"},
    }.items():
        folder = tmp_path / name
        finish(trial(writing, folder, {**values, "train.epochs": 1}))
        weights = load_file(folder / "checkpoint" / "weights.safetensors")
        moved[name] = {each.split(".")[0] for each in start if not torch.equal(start[each], weights[each])}
    everything = {each.split(".")[0] for each in start}
    assert moved == {"none": everything, "encoder": everything - frozen, "supervised": everything - heads}


@pytest.mark.parametrize("kind", KINDS)
def test_a_learning_rate_that_blows_up_is_said(writing: SimpleNamespace, tmp_path: Path, kind: str) -> None:
    values = {**KINDS[kind], "train.lr": 1e30, "train.optimizer": "sgd", "train.lr_schedule": "constant"}
    with pytest.raises(TrainingError, match=r"not a number.*; lower") as caught:
        finish(trial(writing, tmp_path, values))
    assert "\n" not in str(caught.value)


def test_what_training_logs(writing: SimpleNamespace, tmp_path: Path) -> None:
    report = trial(writing, tmp_path / "ppo").step()
    logged = {"policy_loss", "value_loss", "entropy", "kl", "clip_fraction", "gae/explained_variance", "train_reward"}
    assert logged <= report.keys()
    assert report["episodes"] == 40
    assert 0 <= report["train_reward"] <= 1
    rloo = trial(writing, tmp_path / "rloo", KINDS["rloo"]).step()
    assert rloo["episodes"] == 160, "each text four times"
    assert rloo["noise_scale"] > 0
    control = trial(writing, tmp_path / "control", KINDS["supervised"]).step()
    assert {"train_loss", "noise_scale", "grad_noise", "updates", "lr"} <= control.keys()


def test_a_constant_reward_moves_nothing_where_texts_are_compared(writing: SimpleNamespace, tmp_path: Path) -> None:
    """RLOO compares the texts of one source: all are worth 1, so nothing is learned; their own reward is logged."""
    start = ensure_writing_start(writing.settings, writing.data, writing.starts)
    report = trial(writing, tmp_path, OTHERS["a constant reward"]).step()
    assert report["grad_norm"] == 0.0
    assert report["train_reward"] > 0
    before, after = (load_file(folder / "weights.safetensors") for folder in (start, tmp_path / "checkpoint"))
    assert all(torch.equal(weight, after[name]) for name, weight in before.items())


def test_the_reward_may_be_made_by_the_caller(writing: SimpleNamespace, tmp_path: Path) -> None:
    """What pays here is brevity: texts of a start that knew three signs and END become all but empty."""
    asked: list[str] = []

    def short(sources: Sequence[str], references: Sequence[str] | None, texts: Sequence[str]) -> NDArray[np.float64]:
        return np.array([-float(len(text)) for text in texts])

    def reward_of(language: str) -> Callable[..., NDArray[np.float64]]:
        asked.append(language)
        return short

    values = {"train.algorithm": "rloo", "train.lr": 1e-2, "train.epochs": 4, "train.lr_schedule": "constant"}
    reports = finish(trial(writing, tmp_path, values, reward_of=reward_of, metric="reward"))
    assert asked == [writing.data.language]
    assert reports[-1]["train_reward"] > reports[0]["train_reward"] + 0.5
    assert reports[-1]["length"] < 1.5
    assert reports[-1]["reward"] == pytest.approx(1 - reports[-1]["length"], abs=1e-9)


def test_trials_of_one_process_do_not_touch_each_other(writing: SimpleNamespace, tmp_path: Path) -> None:
    alone = {kind: finish(trial(writing, tmp_path / "alone" / kind, values)) for kind, values in KINDS.items()}
    together = {kind: trial(writing, tmp_path / "together" / kind, values) for kind, values in KINDS.items()}
    for _ in range(3):
        for trainer in together.values():
            trainer.step()
    assert {kind: finish(trainer) for kind, trainer in together.items()} == alone
    other = finish(trial(writing, tmp_path / "seed", {"train.seed": 1}))
    assert other != alone["ppo"]


@pytest.mark.parametrize("values", [{"train.algorithm": "trpo"}, {"train.ppo.kl": 0.1}])
def test_policies_that_cannot_write_the_same_are_not_compared(writing: SimpleNamespace, values: dict[str, Any]) -> None:
    """A cut leaves each its own tokens, and the divergence would be infinite."""
    writing.settings.with_values({**values, "writing.sample.temperature": 0.5})
    with pytest.raises(ValidationError, match="must leave every token possible"):
        writing.settings.with_values({**values, "writing.sample.top_k": 3})
