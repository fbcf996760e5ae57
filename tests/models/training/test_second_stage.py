"""Batch sizes and learning rates of an epoch follow from the settings and the reports of those before it, alone."""

import pytest

from sweepstack.models.optim.schedules import lr_factors
from sweepstack.models.settings.trial import Train
from sweepstack.models.training.second_stage import batch_size_of, rates, remaining, so_far


def test_a_batch_size_that_is_given_stays() -> None:
    assert batch_size_of(Train(batch_size=96), [{"reward": 0.1}] * 3, "reward") == 96


def test_adaptive_doubles_on_a_plateau_of_the_metric_that_counts() -> None:
    train = Train(batch_size="adaptive", batch_range=(32, 100))
    reports = [{"reward": 0.5, "log_loss": 0.9}, {"reward": 0.6, "log_loss": 0.9}, {"reward": 0.6, "log_loss": 0.8}]
    assert [batch_size_of(train, reports[:n], "reward") for n in range(4)] == [32, 32, 32, 64]
    assert [batch_size_of(train, reports[:n], "log_loss") for n in range(4)] == [32, 32, 64, 64]
    assert batch_size_of(train, [{"reward": 0.5}] * 9, "reward") == 100


def test_the_noise_of_the_gradient_is_followed_by_factors_of_two() -> None:
    train = Train(batch_size="noise_scale", batch_range=(32, 256))
    reports = [{"reward": 0.5, "noise_scale": 1000.0}] * 2 + [{"reward": 0.5, "noise_scale": 3.0}] * 5
    assert [batch_size_of(train, reports[:n], "reward") for n in range(6)] == [32, 64, 128, 64, 32, 32]


def test_the_rates_of_all_epochs_are_the_schedule() -> None:
    train = Train(epochs=3, lr=0.5, lr_schedule="cosine", lr_warmup=0.1)
    together = [rate for epoch in range(3) for rate in rates(train, epoch, 7, 64)]
    assert together == pytest.approx((0.5 * lr_factors(train, 21, 3)).tolist())


def test_where_an_epoch_has_other_steps_the_course_is_kept() -> None:
    """The second half of a linear schedule begins at a half, however many steps either half has."""
    train = Train(epochs=2, lr=1.0, lr_schedule="linear")
    assert next(iter(rates(train, 1, 4, 64))) == pytest.approx(next(iter(rates(train, 1, 400, 64))))


def test_counts_go_on_from_the_last_report() -> None:
    assert so_far([], updates=3) == {"updates": 3}
    assert so_far([{"updates": 3.0, "reward": 1.0}], updates=4, episodes=5) == {"updates": 7.0, "episodes": 5.0}


@pytest.mark.parametrize(
    ("algorithm", "sees"),
    [("ppo", 128), ("trpo", 128), ("reinforce", 512), ("rloo", 512), ("a2c", 512), ("supervised", 512)],
)
def test_a_rate_follows_the_samples_that_an_optimiser_step_sees(algorithm: str, sees: int) -> None:
    train = Train.model_validate({"algorithm": algorithm, "lr": 0.1, "lr_schedule": "constant", "lr_scaling": "sqrt"})
    assert next(rates(train, 0, 5, 512)) == pytest.approx(0.1 * (sees / 64) ** 0.5)
    assert next(rates(train, 0, 5, 64)) == 0.1
    assert next(rates(train.model_copy(update={"lr_scaling": "linear"}), 0, 5, 32)) == pytest.approx(0.05)
    assert next(rates(train.model_copy(update={"lr_scaling": "none"}), 0, 5, 512)) == 0.1


def test_what_remains_of_training_falls_from_one_rollout_to_the_next() -> None:
    train = Train(epochs=2)
    assert remaining(train, 0, 4) == (1.0, 0.875, 0.75, 0.625)
    assert remaining(train, 1, 2) == (0.5, 0.25)


def test_batches_of_rloo_have_whole_texts() -> None:
    """Powers of two, rounded down to multiples of three episodes."""
    train = Train.model_validate(
        {"algorithm": "rloo", "batch_size": "noise_scale", "batch_range": (30, 120), "rloo": {"samples": 3}}
    )
    reports = [{"reward": 0.5, "noise_scale": 64.0}] * 3
    assert [batch_size_of(train, reports[:n], "reward") for n in range(4)] == [30, 60, 63, 63]
    doubled = train.model_copy(update={"batch_size": "adaptive"})
    assert [batch_size_of(doubled, [{"reward": 0.5}] * n, "reward") for n in range(5)] == [30, 30, 60, 120, 120]
