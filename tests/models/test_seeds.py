import json
import os
import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from sweepstack.models.seeds import derive_seed

PURPOSE = st.lists(st.one_of(st.integers(), st.text(max_size=5), st.booleans()), max_size=4)


@given(PURPOSE)
def test_a_seed_is_a_31_bit_number_and_a_function_of_its_purpose(purpose: list[object]) -> None:
    seed = derive_seed(*purpose)
    assert 0 <= seed < 2**31
    assert derive_seed(*purpose) == seed


def test_purposes_that_look_alike_are_told_apart() -> None:
    purposes = [(1, 2), (12,), ("1", 2), (1, "2"), ("1", "2"), ("12",), (), ("",), ("", ""), (2, 1), (1.0, 2)]
    assert len({derive_seed(*each) for each in purposes}) == len(purposes)


def test_seeds_of_successive_epochs_have_no_pattern() -> None:
    """1,000 draws from 2³¹: a repeat has probability .0002; the mean lies within 4 standard errors of the middle."""
    seeds = [derive_seed(0, "policy", epoch) for epoch in range(1000)]
    assert len(set(seeds)) == 1000
    assert abs(sum(seeds) / 1000 / 2**31 - 0.5) < 4 * (1 / 12) ** 0.5 / 1000**0.5


def test_another_process_derives_the_same() -> None:
    """hash() of a string differs from process to process; a seed must not."""
    code = "from sweepstack.models.seeds import derive_seed; print(derive_seed(3, 'ppo', 'γ'))"
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert [json.loads(each) for each in found] == [derive_seed(3, "ppo", "γ")]
