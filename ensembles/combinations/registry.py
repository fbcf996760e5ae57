"""Restores a combination of any kind from what a ledger or a bundle holds of it: a new kind is one entry here."""

from collections.abc import Callable
from typing import Any

from sweepstack.ensembles.combinations.cascade import Cascade
from sweepstack.ensembles.combinations.combination import Combination
from sweepstack.ensembles.combinations.pools import Arrays

KINDS: dict[str, Callable[[Combination, Any], Combination]] = {"cascade": Cascade.of_state}
"""By the key of its own part in the state: from the plain combination and that part."""


def from_state(state: dict[str, Any], arrays: Arrays) -> Combination:
    """The inverse of ``Combination.state``, of any kind; raises ValueError, TypeError or KeyError where it is none."""
    whole = Combination.from_state(state, arrays)
    for key, restore in KINDS.items():
        if key in state:
            return restore(whole, state[key])
    return whole
