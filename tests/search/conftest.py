"""Studies, trials and rows to show: made by hand, in the real shapes, with numbers that a test can check by eye."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from sweepstack.ensembles.choose import Row
from sweepstack.ensembles.comparison import Gain
from sweepstack.search.ledger import TrialRecord
from sweepstack.search.space import Space
from sweepstack.search.study import Study

SETTINGS = {
    "train.lr": 8.1e-3,
    "train.lr_schedule": "cosine",
    "train.batch_size": 64,
    "train.gamma": 0.999,
    "train.gae_lambda": 0.8,
    "train.warm_start.seed": 2,
}


@pytest.fixture
def make_study() -> Callable[..., Study]:
    def make(**changes: Any) -> Study:
        tree: dict[str, Any] = {
            "name": "quickstart",
            "task": "classification",
            "data": {"train": "builtin:languages"},
            "reading": {"unit": "characters", "segment": 2, "max_segments": 12, "cost": 0.01},
            "train": {"epochs": 4},
        }
        return Study.model_validate({**tree, **changes})

    return make


@pytest.fixture
def study(make_study: Callable[..., Study]) -> Study:
    return make_study()


@pytest.fixture
def space(study: Study) -> Space:
    return Space.of(study.space, study.trial_settings())[0]


@pytest.fixture
def make_record() -> Callable[..., TrialRecord]:
    """A trial with a reward after each epoch; accuracy is a hundredth more for each segment read after the first."""

    def make(number: int, rewards: Sequence[float] = (), state: Any = "complete", **fields: Any) -> TrialRecord:
        reports = tuple(
            {
                "reward": r,
                "accuracy": r + 0.022,
                "segments": 3.2,
                "accuracy_full": 0.94,
                "log_loss": 0.25,
                "seconds": 1.5,
            }
            for r in rewards
        )
        value = max(rewards, default=None)
        best = None if value is None else list(rewards).index(value) + 1
        given: dict[str, Any] = {
            "sweep": "trials",
            "settings": SETTINGS,
            "value": value,
            "best_epoch": best,
            "reason": None,
            "attributes": {},
            "started": 1000.0,
            "ended": None if state == "running" else 1010.0,
            "rung": None,
        }
        return TrialRecord(number=number, state=state, reports=reports, **{**given, **fields})

    return make


@pytest.fixture
def rows() -> tuple[Row, ...]:
    """The table of design.md, less stacking."""

    def metrics(reward: float, accuracy: float = 0.9, segments: float = 3.3) -> dict[str, float]:
        return {"reward": reward, "accuracy": accuracy, "segments": segments, "accuracy_full": 0.95, "log_loss": 0.2}

    half = {"reward": 0.014, "accuracy": 0.012, "segments": 0.1, "accuracy_full": 0.01, "log_loss": 0.02}
    mine = dict.fromkeys(("test_interval",), half)
    return (
        Row(
            "selection",
            "selection",
            "ensemble",
            ("trial-7", "trial-3", "linear"),
            (0.5, 0.25, 0.25),
            "its own",
            metrics(0.921),
            metrics(0.919),
            metrics(0.914, 0.937),
            gain_over_trial=Gain(0.023, 0.009, 0.037),
            gain_over_linear=Gain(0.014, -0.003, 0.025),
            size_mb=3.1,
            latency_ms=1.2,
            **mine,
        ),
        Row(
            "trial-7",
            "trial",
            "trial",
            ("trial-7",),
            (1.0,),
            "its own",
            metrics(0.895),
            metrics(0.893),
            metrics(0.891, 0.913, 3.2),
            gain_over_linear=Gain(-0.009, -0.025, 0.007),
            **mine,
        ),
        Row(
            "linear",
            "linear",
            "baseline",
            ("linear",),
            (1.0,),
            "its own",
            metrics(0.902),
            metrics(0.899),
            metrics(0.9, 0.934, 4.4),
            gain_over_trial=Gain(0.009, -0.007, 0.025),
            size_mb=0.9,
            latency_ms=0.1,
            **mine,
        ),
    )
