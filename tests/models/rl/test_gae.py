"""Advantages against the definition summed up in float64, numbers worked out by hand, limiting cases, and what other
implementations got wrong. Both paths, torch's and Numba's, must pass everything here and agree bit by bit."""

import errno
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sweepstack.models.rl import gae as module
from sweepstack.models.rl import gae_kernel
from sweepstack.models.rl.gae import diagnostics, gae, gae_pairs, length_adaptive_lambda, normalised, value_targets

FAR = 1e6  # stands where the mask is false: were it looked at, nothing would be right
NAN = float("nan")
PATHS = {"torch": sys.maxsize, "numba": 0}
LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "by rows": lambda table: table.contiguous(),
    "by columns": lambda table: table.t().contiguous().t(),
    "strided": lambda table: table.repeat_interleave(2, 0).repeat_interleave(3, 1)[::2, ::3],
}


@pytest.fixture(params=PATHS, autouse=True)
def _path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COMPILED_FROM", PATHS[request.param])


def by_the_sum(
    rewards: Tensor,
    values: Tensor,
    mask: Tensor,
    gamma: Tensor,
    gae_lambda: Tensor,
    bootstrap: Tensor | None = None,
    ends: Tensor | None = None,
) -> list[list[float]]:
    """A_t = Σ_k (Π_{j<k} γ_{t+j} λ_{t+j}) δ_{t+k} over the decisions of an episode, everything (episodes, steps)."""
    result = [[0.0] * mask.shape[1] for _ in range(len(mask))]
    for row in range(len(mask)):
        decisions = [t for t in range(mask.shape[1]) if mask[row, t]]
        episodes: list[list[int]] = [[]]
        for t in decisions:
            episodes[-1].append(t)
            if ends is not None and ends[row, t]:
                episodes.append([])
        for places in filter(None, episodes):
            final = 0.0
            if bootstrap is not None and bootstrap.dim() == 2:
                final = float(bootstrap[row, places[-1]])
            elif bootstrap is not None and places[-1] == decisions[-1]:
                final = float(bootstrap[row])
            after = [*(float(values[row, t]) for t in places[1:]), final]
            deltas = [
                float(rewards[row, t]) + float(gamma[row, t]) * v_next - float(values[row, t])
                for t, v_next in zip(places, after, strict=True)
            ]
            decays = [float(gamma[row, t]) * float(gae_lambda[row, t]) for t in places]
            for i, t in enumerate(places):
                result[row][t] = sum(math.prod(decays[i:k]) * deltas[k] for k in range(i, len(places)))
    return result


@st.composite
def batches(draw: st.DrawFn) -> dict[str, Any]:
    """Rows with decisions at any columns, none to all, that end anywhere; floats, or one for each row or decision."""
    shape = draw(st.integers(1, 5)), draw(st.integers(1, 11))
    number, share = st.floats(-10, 10), st.floats(0, 1)

    def table(of: st.SearchStrategy[Any], shape: tuple[int, ...]) -> Tensor:
        numbers = [draw(of) for _ in range(math.prod(shape))]
        return torch.tensor(numbers, dtype=torch.bool if of is flag else torch.float64).reshape(shape)

    flag = st.booleans()
    discount = st.sampled_from(["number", (shape[0], 1), shape])
    gamma, gae_lambda = (draw(share) if kind == "number" else table(share, kind) for kind in (draw(discount),) * 2)
    cut = draw(st.sampled_from([None, shape[:1], shape]))
    return {
        "rewards": table(number, shape),
        "values": table(number, shape),
        "mask": table(flag, shape),
        "gamma": gamma,
        "gae_lambda": gae_lambda,
        "bootstrap": None if cut is None else table(number, cut),
        "ends": table(flag, shape) if draw(flag) else None,
    }


def spoilt(batch: dict[str, Any], elsewhere: float) -> dict[str, Any]:
    """The batch with something that must not be looked at wherever the mask is false."""
    mask = batch["mask"]
    return {
        name: x.where(mask, elsewhere)
        if isinstance(x, Tensor) and x.shape == mask.shape and x.is_floating_point()
        else x | ~mask
        if name == "ends" and x is not None
        else x
        for name, x in batch.items()
    }


@given(batch=batches(), elsewhere=st.sampled_from([0.0, FAR, NAN]), layout=st.sampled_from(sorted(LAYOUTS)))
@settings(deadline=None, max_examples=60)
def test_it_is_the_sum_of_discounted_td_errors(batch: dict[str, Any], elsewhere: float, layout: str) -> None:
    full = {
        name: torch.as_tensor(batch[name], dtype=torch.float64).expand(batch["mask"].shape)
        for name in ("gamma", "gae_lambda")
    }
    expected = by_the_sum(**{**batch, **full})
    given_ = {
        name: LAYOUTS[layout](x) if isinstance(x, Tensor) and x.dim() == 2 else x
        for name, x in spoilt(batch, elsewhere).items()
    }
    np.testing.assert_allclose(gae(**given_), expected, atol=1e-9)
    targets = value_targets(**{"value_lambda" if name == "gae_lambda" else name: x for name, x in given_.items()})
    np.testing.assert_allclose(
        targets, torch.where(batch["mask"], torch.tensor(expected, dtype=torch.float64) + batch["values"], 0), atol=1e-9
    )


@pytest.mark.parametrize("_path", ["torch"], indirect=True)
@given(batch=batches(), columns=st.booleans(), single=st.booleans())
@settings(deadline=None, max_examples=60)
def test_both_paths_agree_bit_by_bit(batch: dict[str, Any], columns: bool, single: bool) -> None:
    batch = {
        name: x.float() if single and isinstance(x, Tensor) and x.is_floating_point() else x
        for name, x in batch.items()
    }
    if columns:
        batch = {
            name: LAYOUTS["by columns"](x) if isinstance(x, Tensor) and x.dim() == 2 else x for name, x in batch.items()
        }
    results = []
    for module.COMPILED_FROM in PATHS.values():
        results.append(gae(**batch))
    assert torch.equal(*results)


@given(batch=batches(), numbers=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=4))
@settings(deadline=None, max_examples=60)
def test_pairs_are_what_one_after_the_other_gives(batch: dict[str, Any], numbers: list[tuple[float, float]]) -> None:
    common = {name: x for name, x in batch.items() if name not in ("gamma", "gae_lambda")}
    got = gae_pairs(**common, gammas=[g for g, _ in numbers], gae_lambdas=[x for _, x in numbers])
    assert got.shape == (len(numbers), *batch["mask"].shape)
    for each, (gamma, gae_lambda) in zip(got, numbers, strict=True):
        np.testing.assert_allclose(each, gae(**common, gamma=gamma, gae_lambda=gae_lambda), atol=1e-9)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(40, 130), (3, 66), (16, 33), (1, 70), (70, 1), (17, 150)])
def test_sizes_that_blocks_do_not_divide(layout: str, shape: tuple[int, int]) -> None:
    random = torch.Generator().manual_seed(0)
    rewards, values = (torch.rand(shape, generator=random, dtype=torch.float64) for _ in range(2))
    padded = torch.arange(shape[1]) < torch.randint(1, shape[1] + 1, (shape[0], 1), generator=random)
    for mask in (padded, padded.flip(1), torch.rand(shape, generator=random) < 0.7):
        expected = by_the_sum(rewards, values, mask, torch.full(shape, 0.99), torch.full(shape, 0.5))
        got = gae(*map(LAYOUTS[layout], (rewards, values, mask)), 0.99, 0.5)
        np.testing.assert_allclose(got, expected, atol=1e-7)
        pairs = gae_pairs(*map(LAYOUTS[layout], (rewards, values, mask)), [0.99, 0.9], [0.5, 0.5])
        np.testing.assert_allclose(pairs[0], expected, atol=1e-7)


REWARDS, VALUES = torch.tensor([[-0.01, -0.01, 1.0]]), torch.tensor([[0.5, 0.6, 0.7]])
ALL = torch.ones(1, 3, dtype=torch.bool)


def test_by_hand() -> None:
    """γ = λ = .95, r = (−.01, −.01, 1), V = (.5, .6, .7), the episode terminates: with γλ = .9025

    δ₂ = 1 − .7 = .3                        A₂ = .3
    δ₁ = −.01 + .95·.7 − .6 = .055          A₁ = .055 + .9025·.3 = .32575
    δ₀ = −.01 + .95·.6 − .5 = .06           A₀ = .06 + .9025·.32575 = .353989375
    """
    assert gae(REWARDS, VALUES, ALL, 0.95, 0.95)[0].tolist() == pytest.approx([0.353989375, 0.32575, 0.3], abs=1e-6)


def test_discounts_of_single_decisions_by_hand() -> None:
    """γ = (.9, .8, .5), λ = (.5, 1, 1), r = (1, 2, 3), V = (1, 1, 1): δ = (.9, 1.8, 2), so

    A₂ = 2        A₁ = 1.8 + .8·2 = 3.4        A₀ = .9 + .9·.5·3.4 = 2.43
    """
    rewards, values = torch.tensor([[1.0, 2.0, 3.0]]), torch.ones(1, 3)
    got = gae(rewards, values, ALL, torch.tensor([[0.9, 0.8, 0.5]]), torch.tensor([[0.5, 1.0, 1.0]]))
    assert got[0].tolist() == pytest.approx([2.43, 3.4, 2.0], abs=1e-6)


@pytest.mark.parametrize("gamma", [1.0, 0.9, 0.0])
def test_limits_of_lambda(gamma: float) -> None:
    """λ = 0 is the TD error, λ = 1 the Monte Carlo return minus the value."""
    random = torch.Generator().manual_seed(0)
    rewards, values = (torch.rand((5, 6), generator=random, dtype=torch.float64) for _ in range(2))
    mask = torch.arange(6) < torch.tensor([1, 2, 4, 6, 6])[:, None]
    td = gae(rewards, values, mask, gamma, 0.0)
    monte_carlo = gae(rewards, values, mask, gamma, 1.0)
    for row, n in enumerate(mask.sum(1).tolist()):
        for t in range(n):
            v_next = values[row, t + 1] if t + 1 < n else 0.0
            assert td[row, t] == pytest.approx(float(rewards[row, t] + gamma * v_next - values[row, t]))
            returned = sum(gamma**k * float(rewards[row, t + k]) for k in range(n - t))
            assert monte_carlo[row, t] == pytest.approx(returned - float(values[row, t]))


# What other libraries got wrong.


def test_pitfall_1_a_score_counts_undiscounted_at_the_last_decision_and_nowhere_after() -> None:
    """γ = λ = .95, V = 0, a score of 1 at the last decision: 1 there and .95² = .9025 one before, whether the row ends
    there or is padded; on the padding after it (after EOS) it is not seen at all."""
    values = torch.zeros(3, 4)
    mask = torch.tensor([[True, True, False, False], [False, False, True, True], [True, True, False, False]])
    scores = torch.tensor([[0, 1.0, 0, 0], [0, 0, 0, 1.0], [0, 0, 1.0, 0]])
    got = gae(scores, values, mask, 0.95, 0.95)
    expected = [[0.9025, 1, 0, 0], [0, 0, 0.9025, 1], [0, 0, 0, 0]]
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_pitfall_2_truncation_is_not_termination() -> None:
    """By hand as above with V₃ = .4: δ₂ rises by .95·.4 = .38, so A₂ = .68, A₁ = .055 + .9025·.68 = .6687."""
    expected = pytest.approx([0.6687, 0.68], abs=1e-6)
    assert gae(REWARDS, VALUES, ALL, 0.95, 0.95, torch.tensor([0.4]))[0, 1:].tolist() == expected
    wide = torch.tensor([[FAR, NAN, 0.4]])  # looked at where the episode ends, and nowhere else
    assert gae(REWARDS, VALUES, ALL, 0.95, 0.95, wide)[0, 1:].tolist() == expected


def test_pitfall_2_the_next_episode_in_the_row_has_no_part_in_the_one_before() -> None:
    """Two episodes of γ = λ = 1 in a row, V = (5, 6 | 70, 80), r = (1, 1 | 1, 1): the first was truncated in a state
    worth 2 (A = 2 + 2 − 5, 1 + 2 − 6), not in the next one's first of 70; or it terminated (A = 2 − 5, 1 − 6)."""
    rewards, values = torch.ones(1, 4), torch.tensor([[5.0, 6, 70, 80]])
    mask, ends = torch.ones(1, 4, dtype=torch.bool), torch.tensor([[False, True, False, False]])
    cut = torch.tensor([[NAN, 2.0, NAN, 0.0]])
    assert gae(rewards, values, mask, 1.0, 1.0, cut, ends).tolist() == [[-1, -3, -68, -79]]
    assert gae(rewards, values, mask, 1.0, 1.0, None, ends).tolist() == [[-3, -5, -68, -79]]
    assert gae(rewards, values, mask, 1.0, 1.0, torch.tensor([9.0]), ends).tolist() == [[-3, -5, -59, -70]]


@pytest.mark.parametrize("bootstrap", [None, torch.tensor([0.4]), torch.tensor([[NAN, NAN, 0.4]])])
def test_the_last_decision_ends_its_row_whether_it_is_said_or_not(bootstrap: Tensor | None) -> None:
    said = gae(REWARDS, VALUES, ALL, 0.95, 0.95, bootstrap, torch.tensor([[False, False, True]]))
    assert torch.equal(said, gae(REWARDS, VALUES, ALL, 0.95, 0.95, bootstrap, torch.zeros_like(ALL)))
    assert torch.equal(said, gae(REWARDS, VALUES, ALL, 0.95, 0.95, bootstrap))


def test_pitfall_3_values_learn_with_a_lambda_of_their_own() -> None:
    """At λ = 1 the target is the return, whatever the values say; at λ = 0 it is r + γ V'."""
    gamma = 0.95
    returns = [-0.01 + gamma * (-0.01 + gamma), -0.01 + gamma, 1.0]
    assert value_targets(REWARDS, VALUES, ALL, gamma, 1.0)[0].tolist() == pytest.approx(returns, abs=1e-6)
    bootstrapped = [-0.01 + gamma * 0.6, -0.01 + gamma * 0.7, 1.0]
    assert value_targets(REWARDS, VALUES, ALL, gamma, 0.0)[0].tolist() == pytest.approx(bootstrapped, abs=1e-6)
    assert value_targets(REWARDS, VALUES, ~ALL, gamma, 1.0).tolist() == [[0, 0, 0]]


@pytest.mark.parametrize("elsewhere", [FAR, -FAR, NAN, math.inf])
@pytest.mark.parametrize("left", [False, True])
def test_pitfall_4_what_stands_on_padding_changes_nothing(elsewhere: float, left: bool) -> None:
    """On either side; the row by hand in the middle of a batch of other lengths."""
    padding = torch.full((1, 2), elsewhere)
    beside = [padding, torch.empty(1, 0)] if left else [torch.empty(1, 0), padding]
    rewards, values, discount = (
        torch.cat([beside[0], row, beside[1]], 1) for row in (REWARDS, VALUES, torch.full((1, 3), 0.95))
    )
    mask = torch.cat([beside[0] == 0, ALL, beside[1] == 0], 1)
    got = gae(rewards, values, mask, discount, discount, discount * 0, beside[0].new_ones(mask.shape).bool() & ~mask)
    start = 2 if left else 0
    expected = [0.0] * 5
    expected[start : start + 3] = [0.353989375, 0.32575, 0.3]
    assert got[0].tolist() == pytest.approx(expected, abs=1e-6)


def test_pitfall_5_decisions_apart_are_as_decisions_side_by_side() -> None:
    """Tool output, say, between the decisions: what the compacted sequence gives, bit by bit."""
    mask = torch.tensor([[False, True, False, False, True, True, False]])
    rewards, values = torch.full((1, 7), FAR), torch.full((1, 7), NAN)
    rewards[mask], values[mask] = REWARDS[0], VALUES[0]
    got = gae(rewards, values, mask, 0.95, 0.95, torch.tensor([0.4]))
    assert torch.equal(got[mask], gae(REWARDS, VALUES, ALL, 0.95, 0.95, torch.tensor([0.4]))[0])
    assert torch.equal(got[~mask], torch.zeros(4))


def test_pitfall_6_whitening_over_what_counts_alone() -> None:
    mask = torch.tensor([[True, True, False], [True, False, False]])
    got = normalised(torch.tensor([[1.0, 2.0, FAR], [3.0, -FAR, NAN]]), mask)
    # 1, 2, 3 have mean 2 and (sample) standard deviation 1.
    assert got.flatten().tolist() == pytest.approx([-1, 0, 0, 1, 0, 0], abs=1e-6)


def test_pitfall_6_too_few_decisions_are_not_whitened() -> None:
    mask = torch.tensor([[True, False]])
    assert normalised(torch.tensor([[3.0, FAR]]), mask).tolist() == [[3.0, 0.0]]
    assert normalised(torch.tensor([[3.0, FAR]]), mask & False).tolist() == [[0.0, 0.0]]


def test_pitfall_6_equal_advantages_become_zero_and_not_nan() -> None:
    assert normalised(torch.full((2, 2), 0.5), torch.ones(2, 2, dtype=torch.bool)).tolist() == [[0.0, 0.0]] * 2


@pytest.mark.parametrize("value", [0.7, 1 / 3, 1e-20, -123.456, 1e8])
@pytest.mark.parametrize("count", [2, 1000, 4097, 65_537])
def test_pitfall_6_equal_advantages_become_zero_however_many_there_are(value: float, count: int) -> None:
    """In float32 the mean of 4,097 times .7 is not .7, and what is left over that by itself is 1."""
    assert not normalised(torch.full((1, count), value), torch.ones(1, count, dtype=torch.bool)).any()


@given(st.integers(0, 1000), st.sampled_from([1e-6, 1.0, 1e6]))
def test_pitfall_6_rounding_is_not_blown_up_and_everything_above_it_has_deviation_1(seed: int, scale: float) -> None:
    random = torch.Generator().manual_seed(seed)
    noise, mask = torch.randn((3, 50), generator=random), torch.ones(3, 50, dtype=torch.bool)
    assert not normalised(scale * (1 + 1e-6 * noise), mask).any()
    assert not normalised(1e-6 * scale * noise, mask, torch.tensor(scale)).any()  # of returns of that size
    for above in (normalised(scale * noise, mask), normalised(scale * (1 + 1e-3 * noise), mask)):
        assert float(above.double().std()) == pytest.approx(1, rel=1e-3)
        torch.testing.assert_close(above, (noise - noise.mean()) / noise.std(), atol=2e-3, rtol=2e-3)


def test_pitfall_8_diagnostics_look_past_padding() -> None:
    """γ = 1, r = (0, 4), V = (1, 2): a return of 4 twice, nothing to explain. A(1) = (3, 2), A(0) = (1, 2):
    standard deviations .5 and .5, difference (2, 0) of root mean square √2, correlation −1."""
    rewards, values = torch.tensor([[0, 4.0, FAR]]), torch.tensor([[1.0, 2.0, NAN]])
    got = diagnostics(rewards, values, torch.tensor([[True, True, False]]), 1.0, [0.0, 1.0])
    assert got == {
        "gae/explained_variance": 0.0,
        "gae/std_0": pytest.approx(0.5),
        "gae/bias_0": pytest.approx(math.sqrt(2)),
        "gae/correlation_0": pytest.approx(-1),
        "gae/std_1": pytest.approx(0.5),
    }


def test_explained_variance() -> None:
    """Returns (γ = 1) are 3, 2 and 9; V = (3, 2, 9) explains all, V = 4 nothing, V = (2, 3, 9) what is computed:
    errors (1, −1, 0) of variance 2/3 against returns of mean 14/3 and variance (25 + 64 + 169)/27 = 86/9."""
    rewards = torch.tensor([[1.0, 2.0], [9.0, 0.0]])
    mask = torch.tensor([[True, True], [True, False]])

    def explained(values: list[list[float]]) -> float:
        return diagnostics(rewards, torch.tensor(values), mask, 1.0)["gae/explained_variance"]

    assert explained([[3, 2], [9, NAN]]) == pytest.approx(1)
    assert explained([[4, 4], [4, FAR]]) == pytest.approx(0)
    assert explained([[2, 3], [9, FAR]]) == pytest.approx(1 - (2 / 3) / (86 / 9))


@pytest.mark.parametrize(
    ("rewards", "mask"),
    [
        (torch.ones(2, 3), torch.zeros(2, 3, dtype=torch.bool)),
        (torch.ones(1, 1), torch.ones(1, 1, dtype=torch.bool)),
        (torch.full((3, 2), 0.1), torch.ones(3, 2, dtype=torch.bool)),
        (torch.full((2, 2), math.inf), torch.ones(2, 2, dtype=torch.bool)),
        (torch.empty(0, 3), torch.empty(0, 3, dtype=torch.bool)),
    ],
    ids=["nothing", "one decision", "all equal", "infinite", "no episodes"],
)
def test_diagnostics_are_finite_whatever_the_batch(rewards: Tensor, mask: Tensor) -> None:
    got = diagnostics(rewards, torch.zeros_like(rewards), mask, 1.0, bootstrap=torch.zeros(len(rewards)))
    assert all(math.isfinite(number) for number in got.values())
    assert got["gae/explained_variance"] == pytest.approx(0)
    assert {"gae/std_0.95", "gae/bias_0.8", "gae/correlation_0.5", "gae/std_1"} < set(got)


def test_no_gradient_flows() -> None:
    inputs = [x.clone().requires_grad_() for x in (REWARDS, VALUES, torch.tensor([0.4]), torch.full((1, 3), 0.9))]
    rewards, values, bootstrap, discount = inputs
    assert not gae(rewards, values, ALL, discount, discount, bootstrap).requires_grad
    assert not value_targets(rewards, values, ALL, discount, discount, bootstrap).requires_grad
    assert not gae_pairs(rewards, values, ALL, [0.9, 0.8], [0.5, 0.5], bootstrap).requires_grad


def test_inputs_stay_as_they_are() -> None:
    bootstrap, ends = torch.tensor([0.4]), torch.tensor([[True, False, False]])
    inputs = REWARDS, VALUES, ALL, bootstrap, ends
    before = [x.clone() for x in inputs]
    gae(REWARDS, VALUES, ALL, 0.9, 0.5, bootstrap, ends)
    assert all(map(torch.equal, inputs, before))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single(dtype: torch.dtype) -> None:
    rewards, values = REWARDS.to(dtype), VALUES.to(dtype)
    got = gae(rewards, values, ALL, 0.95, 0.95)
    assert got.dtype == torch.float32
    assert torch.equal(got, gae(rewards.float(), values.float(), ALL, 0.95, 0.95))


def test_length_adaptive_lambda() -> None:
    """α = .05 (VAPO): 0 up to a length of 20, .9 at 200, .99 at 2000; α = 2: .5 for a single decision."""
    lengths = torch.tensor([0, 1, 20, 200, 2000])
    assert length_adaptive_lambda(lengths, 0.05).tolist() == pytest.approx([0, 0, 0, 0.9, 0.99], abs=1e-6)
    assert length_adaptive_lambda(lengths[1:2], 2.0).tolist() == [0.5]
    with pytest.raises(ValueError, match="alpha must be above 0, but got 0"):
        length_adaptive_lambda(lengths, 0.0)


def test_a_lambda_for_each_episode() -> None:
    rewards, values, mask = (x.expand(2, 3) for x in (REWARDS, VALUES, ALL))
    got = gae(rewards, values, mask, 0.9, torch.tensor([[0.0], [1.0]]))
    assert torch.equal(got[0], gae(REWARDS, VALUES, ALL, 0.9, 0.0)[0])
    assert torch.equal(got[1], gae(REWARDS, VALUES, ALL, 0.9, 1.0)[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mask": torch.ones(2, 2, dtype=torch.bool)}, "must have one shape"),
        ({"mask": torch.ones(1, 3)}, r"must be bool.*torch.float32"),
        ({"ends": torch.ones(1, 2, dtype=torch.bool)}, r"must be bool.*\(1, 2\)"),
        ({"bootstrap": torch.ones(3)}, r"bootstrap must be .* got \(3,\)"),
        ({"gamma": torch.ones(2, 3)}, r"gamma must broadcast to \(1, 3\), but got \(2, 3\)"),
        ({"gae_lambda": torch.ones(1, 1, 3)}, r"gae_lambda must broadcast"),
    ],
)
def test_shapes_must_agree(change: dict[str, Tensor], message: str) -> None:
    arguments = {"rewards": REWARDS, "values": VALUES, "mask": ALL, "gamma": 1.0, "gae_lambda": 1.0}
    with pytest.raises(ValueError, match=message):
        gae(**{**arguments, **change})


def test_every_gamma_needs_a_lambda() -> None:
    with pytest.raises(ValueError, match="got 2 γ and 1 λ"):
        gae_pairs(REWARDS, VALUES, ALL, [0.9, 0.8], [0.5])


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_nothing_gives_nothing(shape: tuple[int, int]) -> None:
    empty = torch.empty(shape)
    assert gae(empty, empty, empty.bool(), 0.9, 0.9, torch.zeros(shape[0])).shape == shape


@pytest.mark.parametrize("_path", ["torch"], indirect=True)
def test_neither_numba_nor_its_compiler_is_loaded_for_short_episodes() -> None:
    source = (
        "import sys, torch; from sweepstack.models.rl.gae import gae; x = torch.ones(256, 16);"
        "gae(x, x, x.bool(), 1.0, 0.95); assert 'numba' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", source], check=False).returncode == 0


@pytest.mark.parametrize("_path", ["torch"], indirect=True)
def test_a_cache_that_cannot_be_written_is_done_without(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nowhere at all; or the disk is full when the code that was just compiled is to be kept."""
    from numba.core.caching import FunctionCache

    def refuses(*_: object) -> None:
        raise RuntimeError("cannot cache function: no locator available")

    def is_full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def doubled(table: Any) -> None:
        for i in range(len(table)):
            table[i] *= 2

    for method, failure in (("__init__", refuses), ("save_overload", is_full)):
        with monkeypatch.context() as patch:
            patch.setattr(FunctionCache, method, failure)
            numbers = np.ones(3)
            gae_kernel.compiled(doubled)(numbers)
            assert numbers.tolist() == [2, 2, 2]
