from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sweepstack.ensembles.scoring.temperature import (
    LARGEST,
    PRIOR,
    best_temperature,
    fit_temperature,
    log_losses,
    logs,
    normalised,
    tempered,
)
from sweepstack.models.predictions.probabilities import Floats, Predictions

PROBABILITIES = arrays(np.float32, (6, 3, 4), elements=st.floats(2**-10, 1, width=32)).map(
    lambda raw: np.asarray(raw / raw.sum(axis=2, keepdims=True), np.float32)
)


def made(temperature: float, rows: int, seed: int = 0) -> tuple[Floats, np.ndarray]:
    """Logits whose labels are drawn at ``temperature``."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(rows, 4)).astype(np.float32) * 2
    labels = np.array([random.choice(4, p=p / p.sum()) for p in normalised(logits / temperature).astype(float)])
    return logits, labels


@settings(deadline=None)
@given(PROBABILITIES, st.floats(0.2, 5))
def test_any_temperature_keeps_the_order_of_classes(probabilities: Floats, temperature: float) -> None:
    after = tempered(probabilities, temperature)
    np.testing.assert_allclose(after.sum(axis=2), 1, atol=1e-5)
    likeliest = np.take_along_axis(after, probabilities.argmax(axis=2)[..., None], axis=2)[..., 0]
    np.testing.assert_allclose(likeliest, after.max(axis=2), rtol=1e-5)


def test_one_changes_nothing_and_a_half_squares_by_hand() -> None:
    probabilities = np.array([[[0.8, 0.2]]], np.float32)
    assert tempered(probabilities, 1.0) is probabilities
    np.testing.assert_allclose(tempered(probabilities, 0.5), [[[0.64 / 0.68, 0.04 / 0.68]]], rtol=1e-5)


def test_the_best_temperature_is_scipys() -> None:
    from scipy.optimize import minimize_scalar

    logits, labels = made(0.6, 400)
    expected = normalised(logits).astype(float)

    def loss(temperature: float) -> float:
        as_they_say = [expected[:, c] @ log_losses(logits, np.full(400, c), temperature) for c in range(4)]
        return float(log_losses(logits, labels, temperature).sum() + PRIOR / 400 * sum(as_they_say))

    found = minimize_scalar(loss, bounds=(0.1, 5), method="bounded", options={"xatol": 1e-8})
    assert best_temperature(logits, labels) == pytest.approx(found.x, rel=1e-5)
    assert best_temperature(logits, labels) == pytest.approx(0.6, rel=0.1)


def test_log_losses_are_scikit_learns() -> None:
    from sklearn.metrics import log_loss

    logits, labels = made(1.0, 50)
    probabilities = normalised(logits / 2).astype(float)
    expected = log_loss(labels, probabilities / probabilities.sum(axis=1, keepdims=True), labels=range(4))
    assert log_losses(logits, labels, 2.0).mean() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("rows", "right", "expected"),
    [
        (5, True, np.log(9) / np.log(14)),  # ten rows of the prior, nine of them right: 14 of 15 in all
        (5, False, np.log(9) / np.log(1.5)),
        (100, False, LARGEST),  # it would be negative
    ],
)
def test_few_rows_say_little_by_hand(rows: int, right: bool, expected: float) -> None:
    logits = logs(np.array([[0.9, 0.1]] * rows, np.float32))
    assert best_temperature(logits, np.full(rows, 0 if right else 1)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("temperature", "kept"), [(1.0, False), (0.5, True), (2.0, True)])
def test_it_is_kept_only_where_it_helps(temperature: float, kept: bool) -> None:
    logits, labels = made(temperature, 500)
    predictions = Predictions(normalised(logits)[:, None], np.ones((500, 1), np.float32), np.ones(500, np.int64))
    fitted = fit_temperature(predictions, labels, np.zeros(500, np.int64))
    assert fitted == pytest.approx(temperature, rel=0.15) if kept else fitted == 1.0


def test_one_row_is_no_reason(synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([3.0], rows=1)
    assert fit_temperature(stack.member(0), labels, stack.n_segments - 1) == 1.0


@pytest.mark.parametrize("temperature", [0.0, -1242.0, float("nan"), float("inf")])
def test_what_is_no_temperature_is_refused(temperature: float) -> None:
    with pytest.raises(ValueError, match=f"temperature must be a number above 0, but got {temperature}"):
        tempered(np.full((1, 1, 2), 0.5, np.float32), temperature)


def test_where_none_is_needed_one_is_seldom_kept_and_then_does_little_harm() -> None:
    """A gain of more than one standard error comes by chance about one time in six."""
    kept, harms = 0, []
    for seed in range(60):
        random = np.random.default_rng(seed)
        logits = random.normal(size=(4060, 3)).astype(np.float32) * 2
        odds = normalised(logits).astype(np.float64)
        labels = (random.random((4060, 1)) > odds.cumsum(axis=1)).sum(axis=1).clip(max=2)
        few = Predictions(normalised(logits[:60])[:, None], np.ones((60, 1), np.float32), np.ones(60, np.int64))
        fitted = fit_temperature(few, labels[:60], np.zeros(60, np.int64))
        kept += fitted != 1.0
        harm = log_losses(logits[60:], labels[60:], fitted) - log_losses(logits[60:], labels[60:], 1.0)
        harms.append(harm.mean())
    assert kept <= 20
    assert np.mean(harms) < 0.01


@pytest.mark.parametrize("seed", [1, 5, 11])
def test_copies_of_rows_say_no_more_than_the_rows(seed: int) -> None:
    """60 rows of honest probabilities, each 20 times: by rows noise would be told for sure, by groups none is kept."""
    random = np.random.default_rng(seed)
    odds = normalised(random.normal(size=(60, 3)).astype(np.float32) * 2)
    labels = (random.random((60, 1)) > odds.cumsum(axis=1)).sum(axis=1).clip(max=2)
    groups = np.repeat(np.arange(60), 20)
    copies = Predictions(odds[groups][:, None], np.ones((1200, 1), np.float32), np.ones(1200, np.int64))
    at = np.zeros(1200, np.int64)
    assert fit_temperature(copies, labels[groups], at) != 1.0
    assert fit_temperature(copies, labels[groups], at, groups) == 1.0
    assert fit_temperature(copies, labels[groups], at, np.zeros(1200, np.int64)) == 1.0, "one group is no reason"
