"""Whole points: what exists together, which points there are, and points as vectors and back."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

from sweepstack.models.settings.trial import TrialSettings
from sweepstack.search.samplers.points import (
    ALWAYS,
    Encoding,
    draw,
    every_point,
    groups,
    key,
    neutral,
    on_steps,
    parameters,
    unit,
    value,
)
from sweepstack.search.study.axes import Choice, Interval, Option
from sweepstack.search.study.space import Space

STEP = {"step": {"train.step_every": {"int": [1, 3]}, "train.step_factor": {"range": [0.1, 0.5]}}}
SPEC: dict[str, Any] = {
    "train.gamma": {"near_one": [0.9, 0.99]},
    "train.freeze": ["none"],
    "train.algorithm": [
        "a2c",
        {"ppo": {"train.ppo.clip": {"range": [0.1, 0.3]}, "train.lr_schedule": ["constant", STEP]}},
        {"trpo": {"train.lr_schedule": ["constant", STEP]}},
    ],
}
SPACE = Space.parse(SPEC, TrialSettings())


def test_parameters_that_exist_together_are_a_group() -> None:
    found = groups(SPACE)
    assert set(found[ALWAYS]) == {"1-train.gamma", "train.algorithm"}
    assert sorted(sorted(group) for group in found.values()) == [
        ["1-train.gamma", "train.algorithm"],
        ["train.lr_schedule"],  # under either of two algorithms
        ["train.ppo.clip"],
        ["train.step_every", "train.step_factor"],
    ]
    assert set(parameters(SPACE)) == {name for group in found.values() for name in group}, "freeze has one value"


def test_a_point_has_what_its_choices_bring() -> None:
    asked: list[str] = []

    def source(name: str, distribution: BaseDistribution) -> Any:
        asked.append(name)
        return {"train.algorithm": "ppo", "train.lr_schedule": "step"}.get(name, neutral(distribution))

    point = draw(SPACE, source)
    assert set(point) == {*parameters(SPACE), "train.freeze"}
    assert set(asked) == set(parameters(SPACE)), "one value is no question"
    assert point["train.step_every"] == 2
    assert point["1-train.gamma"] == pytest.approx(math.sqrt(0.1 * 0.01))


def test_a_finite_space_has_all_its_points() -> None:
    space = Space.parse(
        {
            "train.lr_schedule": ["constant", {"step": {"train.step_every": {"int": [1, 3]}}}],
            "train.batch_size": {"int_log": [64, 67]},
        },
        TrialSettings(),
    )
    points = every_point(space)
    assert points is not None
    assert len(set(map(key, points))) == len(points) == (1 + 3) * 4
    assert every_point(SPACE) is None
    assert every_point(Space.parse({"train.seed": {"int": [0, 10**6]}}, TrialSettings())) is None


KINDS = [
    FloatDistribution(0.1, 0.4),
    FloatDistribution(1e-4, 1e-1, log=True),
    IntDistribution(1, 7),
    IntDistribution(16, 64, log=True),
]


@pytest.mark.parametrize("distribution", KINDS, ids=str)
@given(place=st.floats(0, 1))
def test_a_place_and_its_value_say_the_same(distribution: BaseDistribution, place: float) -> None:
    found = value(distribution, place)
    assert distribution._contains(distribution.to_internal_repr(found))
    assert value(distribution, unit(distribution, found)) == pytest.approx(found)
    moved = float(on_steps(distribution, np.array([place]))[0])
    assert moved == pytest.approx(unit(distribution, found), abs=1e-9)


def test_whole_numbers_have_their_share_each() -> None:
    places = (np.arange(7000) + 0.5) / 7000
    counts = np.unique([value(IntDistribution(1, 7), place) for place in places], return_counts=True)[1]
    assert counts.tolist() == [1000] * 7


def test_a_vector_is_one_hot_and_neutral_where_nothing_is() -> None:
    space = Space((Choice("a", (Option("x"), Option("y"), Option(None))), Interval("b", "log", 1, 100)))
    encoding = Encoding(parameters(space), space)
    assert encoding.width == 4
    vectors = encoding.matrix([{"a": None, "b": 10.0}, {"a": "x", "b": 100.0}, {}])
    np.testing.assert_allclose(vectors, [[0, 0, 1, 0.5], [1, 0, 0, 1], [1 / 3, 1 / 3, 1 / 3, 0.5]])
    assert encoding.matrix([]).shape == (0, 4)
    assert encoding.axes.tolist() == [0, 0, 0, 1]


def test_places_settle_on_what_a_point_can_have() -> None:
    """Two whole numbers lie at a quarter and three quarters; c exists with a = x alone, and d with c = 1 alone."""
    inner = Choice("c", (Option(1, (Interval("d", "range", 0, 1),)), Option(2)))
    space = Space((Choice("a", (Option("x", (inner,)), Option("y"))), Interval("b", "int", 1, 2)))
    encoding = Encoding(parameters(space), space)
    assert list(encoding.parameters) == ["a", "b", "c", "d"]
    settled = encoding.settled(np.array([[1, 0, 0.1, 1, 0, 0.9], [1, 0, 0.9, 0, 1, 0.9], [0, 1, 0.9, 1, 0, 0.9]]))
    np.testing.assert_allclose(settled, [[1, 0, 0.25, 1, 0, 0.9], [1, 0, 0.75, 0, 1, 0.5], [0, 1, 0.75, 0.5, 0.5, 0.5]])
