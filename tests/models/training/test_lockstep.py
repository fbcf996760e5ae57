"""Trials that are trained together come to what each comes to alone, whatever they differ in and whatever one meets."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sweepstack.models.errors import TrainingError
from sweepstack.models.settings.trial import TrialSettings
from sweepstack.models.tasks.gymnasium.stage import EnvironmentStage
from sweepstack.models.tasks.trainers import new_trainer
from sweepstack.models.training.lockstep import is_free, shape_of, train_together
from sweepstack.models.training.packing import PACKING_FILE, Calibration, Packer, calibrate, known_width, step_together
from sweepstack.models.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("one_thread")

ENVIRONMENT = TrialSettings.model_validate(
    {
        "task": "gym:CartPole-v1",
        "train": {
            "epochs": 3,
            "batch_size": 32,
            "ppo": {"epochs": 2, "minibatch": 16},
            "env": {"copies": 2, "steps": 96, "eval_episodes": 2},
        },
    }
)
OWN: list[dict[str, Any]] = [  # what the trials of a pack have of their own
    {"train.seed": 0, "train.lr": 1e-2, "train.gamma": 0.9, "train.ppo.clip": 0.1},
    {"train.seed": 1, "train.lr_schedule": "step", "train.gae_lambda": 0.5, "train.weight_decay": 0.1},
    {"train.seed": 2, "train.max_grad_norm": None, "train.value_lambda": 0.8, "train.ppo.entropy": 0.01},
    {"train.seed": 3, "train.lr_warmup": 0.2, "train.lambda_alpha": 0.5, "train.ppo.whiten": False},
    {
        "train.seed": 4,
        "train.ppo.whiten": "minibatch",
        "train.ppo.clip_schedule": "linear",
        "train.ppo.entropy": 0.1,
        "train.ppo.entropy_schedule": "linear",
        "train.lr_schedule": "polynomial",
        "train.lr_min_ratio": 0.2,
        "train.lr_scaling": "linear",
        "train.lr_reference": 8,
    },
]
KINDS: dict[str, dict[str, Any]] = {
    "ppo": {},
    "a2c": {"train.algorithm": "a2c"},
    "reinforce": {"train.algorithm": "reinforce"},
    "reinforce with a value": {"train.algorithm": "reinforce", "train.reinforce.baseline": "value"},
    "adam": {"train.optimizer": "adam"},
    "value_clip": {"train.ppo.value_clip": 0.1},
    "huber": {"train.value_loss": "huber"},
    "betas": {"train.beta1": 0.8, "train.beta2": 0.9, "train.eps": 1e-5},
    "no decay of biases": {"train.decay_all": False, "train.weight_decay": 0.1},
    "no decay of biases, adam": {"train.decay_all": False, "train.weight_decay": 0.1, "train.optimizer": "adam"},
    "an average of epochs": {"train.average": "last"},
    "scaled rewards": {"train.env.normalize_reward": True},
}
NOT_PACKED = (
    {"train.algorithm": "trpo"},
    {"train.optimizer": "sgd"},
    {"train.optimizer": "schedule_free"},
    {"train.batch_size": "adaptive"},
    {"train.ppo.kl": 0.1},
    {"train.ppo.target_kl": 0.1},
    {"train.ppo.value_warmup": 1},
    {"train.average": "ema"},
)


def played(folder: Path, settings: TrialSettings, values: dict[str, Any]) -> Trainer:
    return new_trainer(settings.with_values(values), None, folder / "starts", folder, "reward")


def compare(trainer: Trainer, other: Trainer, tolerance: float) -> None:
    assert len(trainer.reports) == len(other.reports)
    for a, b in zip(trainer.reports, other.reports, strict=True):
        assert a.keys() == b.keys()
        for name in a.keys() - {"seconds"}:
            assert a[name] == pytest.approx(b[name], rel=tolerance, abs=tolerance), name
    weights = zip(trainer.stage().trained.items(), other.stage().trained.values(), strict=True)
    for (name, p), q in weights:
        torch.testing.assert_close(p, q, atol=tolerance, rtol=tolerance, msg=name)


def step_and_compare(alone: list[Trainer], packed: list[Trainer], tolerance: float) -> None:
    """Two epochs of trials of one shape, apart and as one program."""
    assert len({shape_of(trainer.settings) for trainer in packed}) == 1
    for _ in range(2):
        for trainer in alone:
            trainer.step()
        assert not [outcome for outcome in step_together(packed) if isinstance(outcome, Exception)]
    for one, other in zip(alone, packed, strict=True):
        compare(one, other, tolerance)


@pytest.mark.parametrize("kind", KINDS)
def test_environments_together_come_bit_by_bit_to_what_each_comes_to_alone(tmp_path: Path, kind: str) -> None:
    alone = [played(tmp_path / f"a{i}", ENVIRONMENT, {**KINDS[kind], **own}) for i, own in enumerate(OWN)]
    packed = [played(tmp_path / f"p{i}", ENVIRONMENT, {**KINDS[kind], **own}) for i, own in enumerate(OWN)]
    step_and_compare(alone, packed, 0.0)


@pytest.mark.parametrize("kind", KINDS)
def test_an_epoch_in_lockstep_is_that_of_the_optimiser_that_torch_has(kind: str) -> None:
    """The program that K trials share against the plain one, of one trial with torch's own optimiser."""
    for own in (*OWN[:3], OWN[4]):
        settings = ENVIRONMENT.with_values({**KINDS[kind], **own})
        plain, packed = EnvironmentStage(settings, "reward"), EnvironmentStage(settings, "reward")
        for epoch in range(2):
            logs = plain.optimisation.epoch(epoch, [{"rollouts": 1.0}] * epoch, "reward")
            (told,) = train_together([packed.optimisation], [[{"rollouts": 1.0}] * epoch], "reward")
            assert isinstance(told, dict)
            assert told == pytest.approx(logs, rel=1e-2, abs=1e-4)
            for p, q in zip(plain.trained.values(), packed.trained.values(), strict=True):
                torch.testing.assert_close(p, q, atol=1e-4, rtol=1e-4)
        states = [stage.optimizer.state_dict() for stage in (plain, packed)]
        torch.testing.assert_close(states[0]["state"], states[1]["state"], atol=1e-4, rtol=1e-3)
        assert states[0]["param_groups"][0]["lr"] == pytest.approx(states[1]["param_groups"][0]["lr"])


@pytest.mark.parametrize("algorithm", ["ppo", "a2c", "reinforce", "rloo"])
def test_reading_policies_together_come_to_what_each_comes_to_alone(
    topics: SimpleNamespace, tmp_path: Path, algorithm: str
) -> None:
    values = {"train.algorithm": algorithm, "train.batch_size": 64, "train.ppo.minibatch": 32}
    own = [{**each, "train.warm_start.seed": i % 2, "reading.cost": 0.01 * i} for i, each in enumerate(OWN)]

    def trainers(kind: str) -> list[Trainer]:
        return [
            new_trainer(
                topics.settings.with_values({**values, **each}),
                topics.data,
                tmp_path / "starts",
                tmp_path / f"{kind}{i}",
                "reward",
            )
            for i, each in enumerate(own)
        ]

    alone, packed = trainers("alone"), trainers("packed")
    step_and_compare(alone, packed, 1e-4)


def test_a_trial_may_leave_its_pack_and_go_on_in_another_or_alone(tmp_path: Path) -> None:
    alone = [played(tmp_path / f"a{i}", ENVIRONMENT, own) for i, own in enumerate(OWN[:4])]
    for trainer in alone:
        for _ in range(3):
            trainer.step()
    packed = [played(tmp_path / f"p{i}", ENVIRONMENT, own) for i, own in enumerate(OWN[:4])]
    step_together(packed)
    step_together([*packed[:1], *packed[2:]])  # the second is left behind,
    packed[1] = played(tmp_path / "p1", ENVIRONMENT, OWN[1])  # killed, and goes on in a pack of other epochs
    packed[3] = played(tmp_path / "p3", ENVIRONMENT, OWN[3])
    step_together(packed[1:3])
    packed[3].step()
    step_together([packed[1], packed[0]])
    for one, other in zip(alone, packed, strict=True):
        compare(one, other, 0.0)


def test_a_trial_whose_weights_are_no_numbers_fails_alone(tmp_path: Path) -> None:
    alone = played(tmp_path / "alone", ENVIRONMENT, OWN[0])
    packed = [played(tmp_path / f"p{i}", ENVIRONMENT, own) for i, own in enumerate(OWN[:3])]
    alone.step()
    step_together(packed)
    with torch.no_grad():
        next(iter(packed[1].stage().trained.values())).fill_(float("nan"))
    alone.step()
    outcomes = step_together(packed)
    assert isinstance(outcomes[1], TrainingError)
    assert len(packed[1].reports) == 1
    compare(alone, packed[0], 0.0)
    assert all(isinstance(outcome, TrainingError) for outcome in step_together([packed[1], packed[1]]))


@pytest.mark.parametrize("values", NOT_PACKED)
def test_what_cannot_be_packed_is_trained_alone(tmp_path: Path, values: dict[str, Any]) -> None:
    settings = ENVIRONMENT.with_values(values)
    assert shape_of(settings) is None
    outcomes = step_together([played(tmp_path / str(i), settings, {"train.seed": i}) for i in range(2)])
    assert all(isinstance(outcome, dict) for outcome in outcomes)


def test_what_is_free_does_not_change_a_shape_and_the_rest_does() -> None:
    whole = shape_of(ENVIRONMENT)
    for own in OWN:
        assert all(is_free(path) for path in own)
        assert shape_of(ENVIRONMENT.with_values(own)) == whole
    for path, value in {"model.d_model": 32, "train.batch_size": 64, "train.ppo.epochs": 3}.items():
        assert not is_free(path)
        assert shape_of(ENVIRONMENT.with_values({path: value})) != whole
    text = TrialSettings()
    assert shape_of(text) is not None
    assert shape_of(text.with_values({"train.freeze": "none"})) is None
    assert shape_of(text.with_values({"reading": "off"})) is None


def test_a_calibration_is_made_once_and_leaves_the_trial_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweepstack.models.training.packing.SECONDS", 0.0)
    whole, measured = (played(tmp_path / name, ENVIRONMENT, {}) for name in ("whole", "measured"))
    starts = tmp_path / "starts"
    assert known_width(starts) is None
    found = calibrate(measured, 2)
    assert found["width"] in (1, 2)
    assert min(found["alone_ms"] or 0, found["together_ms"] or 0) > 0
    packer = Packer(starts, 2, measures=True)
    packer([measured])
    whole.step()
    compare(whole, measured, 0.0)
    assert known_width(starts) in (1, 2)
    before = (starts / PACKING_FILE).read_bytes()
    packer([measured])
    assert (starts / PACKING_FILE).read_bytes() == before


@pytest.mark.parametrize(("together", "width"), [(0.5, 4), (0.9, 1), (1.5, 1)])
def test_a_pack_must_be_clearly_cheaper(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, together: float, width: int
) -> None:
    now = 0.0

    def spend(trials: list[object], *_: object, **__: object) -> None:
        nonlocal now
        now += 1.0 if len(trials) == 1 else together * len(trials)

    monkeypatch.setattr("sweepstack.models.training.packing.train_together", spend)
    monkeypatch.setattr("sweepstack.models.training.packing.time.perf_counter", lambda: now)
    expected = Calibration(width=width, alone_ms=1e3, together_ms=pytest.approx(together * 1e3))
    assert calibrate(played(tmp_path, ENVIRONMENT, {}), 4) == expected
