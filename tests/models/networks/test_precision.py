"""What is computed in which precision, and that the faster one is chosen."""

import time

import pytest
import torch
import torch.nn.functional as F

from sweepstack.models.networks import precision
from sweepstack.models.networks.policy import ReadingPolicy, Shape
from sweepstack.models.networks.precision import MARGIN, Precision, autocast, calibrate, supports_bfloat16
from sweepstack.models.settings.trial import Model, Reading

CPU = torch.device("cpu")
TOKENS = torch.randint(1, 30, (6, 4, 3), generator=torch.Generator().manual_seed(0))
needs_bfloat16 = pytest.mark.skipif(not supports_bfloat16(CPU), reason="this CPU does not multiply in bfloat16")


@pytest.fixture
def policy() -> ReadingPolicy:
    torch.manual_seed(0)
    return ReadingPolicy(Shape(30, 5), Reading(segment=3, max_segments=4), Model(d_model=16, heads=2)).eval()


def test_autocast_says_it_all() -> None:
    """Matrix products are made in the precision that the innermost context names."""
    x = torch.ones(2, 2)
    with autocast("bfloat16", CPU):
        assert (x @ x).dtype == torch.bfloat16
        with autocast("float32", CPU):
            assert (x @ x).dtype == torch.float32
    assert (x @ x).dtype == torch.float32


@needs_bfloat16
def test_a_policy_in_bfloat16_says_nearly_the_same_in_float32(policy: ReadingPolicy) -> None:
    exact = policy(TOKENS)
    policy.precision = "bfloat16"
    rounded = policy(TOKENS)
    for a, b in zip(exact, rounded, strict=True):
        assert b.dtype == torch.float32
        torch.testing.assert_close(a, b, atol=0.1, rtol=0.05)
    assert not torch.equal(exact.label_logits, rounded.label_logits)
    rounded.label_logits.log_softmax(-1).sum().backward()
    assert all(p.grad is None or p.grad.dtype == torch.float32 for p in policy.parameters())
    # Heads are exact: from the same states they say the same under any precision.
    states = policy.states(TOKENS)
    policy.precision = "float32"
    for a, b in zip(policy.heads(states), rounded, strict=True):
        assert torch.equal(a, b)


@needs_bfloat16
def test_attention_on_a_cpu_stays_in_float32(policy: ReadingPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    attend = F.scaled_dot_product_attention

    def spy(query: torch.Tensor, *rest: torch.Tensor, **more: torch.Tensor) -> torch.Tensor:
        out = attend(query, *rest, **more)
        seen.append((query.dtype, out.dtype))
        return out

    monkeypatch.setattr(F, "scaled_dot_product_attention", spy)
    policy.precision = "bfloat16"
    policy(TOKENS)
    assert seen == [(torch.float32, torch.float32)] * 3  # encoder; decoder: itself and the encoder


@pytest.mark.parametrize(
    ("float32", "bfloat16", "chosen"), [(4.0, 1.0, "bfloat16"), (1.0, 4.0, "float32"), (4.0, 3.95, "float32")]
)
def test_the_faster_is_chosen(
    monkeypatch: pytest.MonkeyPatch, float32: float, bfloat16: float, chosen: Precision
) -> None:
    """By a clock that the steps move; bfloat16 has to be clearly faster."""
    now = [0.0]
    monkeypatch.setattr(precision, "supports_bfloat16", lambda device: True)
    monkeypatch.setattr(precision.time, "perf_counter", lambda: now[0])
    noise = iter([50.0, *[0.0] * 10] * 100)

    def step(which: Precision) -> None:
        now[0] += 1e-3 * ((float32 if which == "float32" else bfloat16) + next(noise))

    found = calibrate(step, CPU)
    assert found["precision"] == chosen
    assert found["float32_ms"] == pytest.approx(float32)
    assert found["bfloat16_ms"] == pytest.approx(bfloat16)
    assert (bfloat16 < MARGIN * float32) == (chosen == "bfloat16")


def test_calibrating_takes_less_than_a_second(policy: ReadingPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "supports_bfloat16", lambda device: True)

    def step(which: Precision) -> None:
        policy.precision = which
        policy(TOKENS).label_logits.sum().backward()

    began = time.perf_counter()
    found = calibrate(step, CPU)
    assert time.perf_counter() - began < 1
    assert found["float32_ms"] is not None
    assert 0 < found["float32_ms"] < 500


def test_where_there_is_no_bfloat16_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "supports_bfloat16", lambda device: False)

    def step(which: Precision) -> None:
        raise AssertionError(f"measured {which}")

    assert calibrate(step, CPU) == {"precision": "float32", "float32_ms": None, "bfloat16_ms": None}
