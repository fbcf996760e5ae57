"""Who goes on from whom, by hand; what a child is given; and which population cannot be."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from sweepstack.models.settings.base import SettingError
from sweepstack.models.settings.trial import TrialSettings
from sweepstack.search.stoppers.pbt import Birth, Cell, Population, drawn, perturbed
from sweepstack.search.study.population_checks import check, may_change
from sweepstack.search.study.search_section import PBT, PBTStopper, Search
from sweepstack.search.study.space import Space

SPEC: dict[str, Any] = {
    "train.lr": {"log": [3e-4, 3e-2]},
    "train.gamma": {"near_one": [0.9, 0.9999]},
    "train.batch_size": [64, 128, 256, 512],
    "train.lr_schedule": ["constant", {"step": {"train.step_every": {"int": [1, 4]}}}],
    "train.warm_start.seed": [0, 1, 2, 3],
    "model.dropout": {"range": [0.0, 0.5]},
}
SPACE = Space.parse(SPEC, TrialSettings())
SIZE, GENERATIONS = 4, 3


def population(**settings: Any) -> Population:
    return Population(PBT(population=SIZE, **settings), GENERATIONS, seed=0)


def cells(*generations: str) -> dict[tuple[int, int], Cell]:
    """A word a generation, a letter a member: a digit is its value, r runs, f has failed, - has not begun."""
    found = {}
    for generation, letters in enumerate(generations):
        for member, letter in enumerate(letters):
            if letter != "-":
                value = float(letter) if letter.isdigit() else None
                found[member, generation] = Cell(10 * generation + member, letter == "r", value)
    return found


def test_all_members_begin_before_any_goes_on() -> None:
    assert population().next({}) == Birth(0, 0)
    assert population().next(cells("9r")) == Birth(2, 0)
    assert population().next(cells("95--")) == Birth(2, 0)


def test_the_worst_goes_on_from_the_best_and_all_others_from_themselves() -> None:
    """A quarter of four is one."""
    first = population().next(cells("5931"))
    assert first == Birth(0, 1, parent=0, epochs_before=1)
    assert population().next(cells("5931", "r--")) == Birth(1, 1, parent=1, epochs_before=1)
    assert population().next(cells("5931", "rrr")) == Birth(3, 1, parent=1, epochs_before=1, explores=True)
    assert population().next(cells("5931", "5555")) == Birth(0, 2, parent=10, epochs_before=2)
    assert population(interval=3).next(cells("5931", "5555")) == Birth(0, 2, parent=10, epochs_before=6)
    assert population().next(cells("5931", "5931", "5931")) is None


def test_half_of_a_population_may_go_on_from_the_other_half() -> None:
    parents = {population(quantile=0.5).parent_of(member, 1, cells("5931")) for member in (2, 3)}
    assert parents <= {0, 1}
    assert [population(quantile=0.5).parent_of(member, 1, cells("5931")) for member in (0, 1)] == [0, 1]


def test_a_member_waits_only_while_its_rank_is_open() -> None:
    assert population().next(cells("5rrr")) is None, "it may be the worst"
    assert population().next(cells("53rr")) == Birth(0, 1, parent=0, epochs_before=1), "it cannot be any more"
    assert population().parent_of(1, 1, cells("53rr")) is None
    assert population().parent_of(1, 1, cells("532r")) == 1
    assert population().parent_of(2, 1, cells("532r")) is None
    assert population().parent_of(2, 1, cells("5327")) == 3
    assert population().next(cells("53rr", "2---")) is None, "nor does it in its next generation"


def test_who_has_failed_goes_on_from_the_best() -> None:
    for letters, parents in (("5f31", [0, 0, 2, 3]), ("ff31", [2, 2, 2, 3]), ("fff1", [3, 3, 3, 3])):
        assert [population().parent_of(member, 1, cells(letters)) for member in range(SIZE)] == parents
    assert population().next(cells("ffff")) is None
    assert population().died_out(cells("ffff"))
    assert not population().died_out(cells("fffr"))
    assert not population().died_out(cells("fff1"))


def test_equals_have_an_order() -> None:
    assert [population().parent_of(member, 1, cells("5555")) for member in range(SIZE)] == [0, 1, 2, 0]


@given(st.lists(st.none() | st.integers(0, 9), min_size=6, max_size=6), st.randoms(), st.floats(0.01, 0.5))
def test_what_is_decided_does_not_depend_on_when_values_come(
    values: list[int | None], order: random.Random, quantile: float
) -> None:
    """Whatever is known before all have ended stays so."""
    rules = Population(PBT(population=6, quantile=quantile), 2, seed=3)
    whole = {(m, 0): Cell(m, False, None if v is None else float(v)) for m, v in enumerate(values)}
    expected = [rules.parent_of(member, 1, whole) for member in range(6)]
    assert (None in expected) == (set(values) == {None})
    edge = max(1, int(quantile * 6))
    assert sum(parent != member for member, parent in enumerate(expected)) == max(edge, values.count(None)) or (
        None in expected
    )
    known = {key: Cell(cell.number, True, None) for key, cell in whole.items()}
    ended = list(whole)
    order.shuffle(ended)
    for key in ended:
        known[key] = whole[key]
        for member, parent in enumerate(expected):
            assert rules.parent_of(member, 1, known) in (None, parent)
    assert [rules.parent_of(member, 1, known) for member in range(6)] == expected


def test_a_state_is_kept_until_the_whole_population_has_passed_it() -> None:
    assert population().needed(cells("59rf")) == {0, 1, 2}
    assert population().needed(cells("5931", "5rrr")) == {0, 1, 2, 3, 10, 11, 12, 13}
    assert population().needed(cells("5931", "593f")) == {10, 11, 12}
    assert population().needed(cells("5931", "5931", "r9--")) == {10, 11, 12, 13, 20}
    assert population().needed(cells("5931", "5931", "5931")) == set()


def test_what_may_change_in_the_middle_of_training() -> None:
    changes = ("train.lr", "train.gamma", "train.gae_lambda", "train.batch_size", "train.lr_schedule", "train.ppo.clip")
    assert all(map(may_change, (*changes, "train.step_every", "train.weight_decay", "train.ppo.kl")))
    lasting = ("model.d_model", "model.dropout", "train.warm_start.lr", "train.warm_start.seed", "reading.cost")
    assert not any(map(may_change, (*lasting, "train.epochs", "train.freeze", "train.optimizer", "train.algorithm")))
    states = ("train.momentum", "train.decay_all", "train.average", "train.average_decay", "train.env.normalize_reward")
    assert not any(map(may_change, states)), "an optimizer that goes on holds what they decide on"
    assert all(map(may_change, ("train.beta1", "train.eps", "train.lr_min_ratio", "train.ppo.entropy_schedule")))


def explored(parameters: dict[str, Any], generation: int, resample: float = 0.0) -> dict[str, Any]:
    rules = population(resample=resample)
    return rules.explored(Birth(0, generation, 0, 1, True), parameters, SPACE)[0]


PARENT = {
    "train.lr": 1e-3,
    "1-train.gamma": 0.01,
    "train.batch_size": 128,
    "train.lr_schedule": "step",
    "train.step_every": 2,
    "train.warm_start.seed": 3,
    "model.dropout": 0.2,
}


def test_a_child_is_a_little_different_from_its_parent() -> None:
    children = [explored(PARENT, generation) for generation in range(80)]
    assert {child["train.lr"] for child in children} == {0.8e-3, 1.2e-3}
    assert {child["1-train.gamma"] for child in children} == {0.008, 0.012}, "1 − γ, as it is searched"
    assert {child["train.batch_size"] for child in children} == {64, 256}
    assert {child["train.step_every"] for child in children} == {1, 3}
    for child in children:
        assert child | {name: PARENT[name] for name in [*list(PARENT)[:3], "train.step_every"]} == PARENT
    assert len({tuple(child.values()) for child in children}) == 2**4, "each on its own"
    assert explored(PARENT, 5) == explored(PARENT, 5)


def test_what_is_drawn_anew_is_anywhere_and_what_hangs_on_a_choice_goes_with_it() -> None:
    children = [explored(PARENT, generation, resample=1.0) for generation in range(60)]
    assert {child["train.batch_size"] for child in children} == {64, 128, 256, 512}
    assert min(child["train.lr"] for child in children) < 6e-4
    assert max(child["train.lr"] for child in children) > 1.5e-2
    assert {child["train.lr_schedule"] for child in children} == {"constant", "step"}
    for child in children:
        assert ("train.step_every" in child) == (child["train.lr_schedule"] == "step")
        assert (child["train.warm_start.seed"], child["model.dropout"]) == (3, 0.2)
    without = {name: value for name, value in PARENT.items() if name != "train.step_every"}
    moved = [explored({**without, "train.lr_schedule": "constant"}, n, resample=1.0) for n in range(20)]
    assert {child.get("train.step_every") for child in moved} == {None, 1, 2, 3, 4}


@given(st.integers(1, 30), st.integers(0, 30), st.booleans(), st.data())
def test_nothing_leaves_its_bounds(low: int, length: int, log: bool, data: st.DataObject) -> None:
    draw = data.draw(st.randoms(use_true_random=False))
    whole = IntDistribution(low, low + length, log=log)
    real = FloatDistribution(low / 7, (low + length) / 7, log=log)
    number = data.draw(st.integers(low, low + length))
    for value in (drawn(whole, draw), perturbed(number, whole, draw)):
        assert isinstance(value, int)
        assert low <= value <= low + length
    assert length < 2 or perturbed(low + 1, whole, draw) != low + 1
    for value in (drawn(real, draw), perturbed(number / 7, real, draw)):
        assert low / 7 <= value <= (low + length) / 7


def test_words_stay_and_numbers_of_a_choice_go_to_a_neighbour_whatever_their_order() -> None:
    numbers = CategoricalDistribution([256, 64, 128])
    assert {perturbed(128, numbers, random.Random(n)) for n in range(9)} == {64, 256}
    assert {perturbed(64, numbers, random.Random(n)) for n in range(9)} == {64, 128}
    for choices in (["a", "b"], [True, False], [64, "adaptive"]):
        assert {perturbed(choices[0], CategoricalDistribution(choices), random.Random(n)) for n in range(9)} == {
            choices[0]
        }


@pytest.mark.parametrize(
    ("changes", "epochs", "spec", "line"),
    [
        ({"trials": 13}, 3, SPEC, r"must be 12 under pbt \(4 members, 3 generations to come to train.epochs, 3\), but"),
        ({}, 4, SPEC, r"must be 16 under pbt \(4 members, 4 generations"),
        ({"sampler": "grid"}, 3, SPEC, "grid visits every point once"),
        ({"stopper": PBTStopper(pbt=PBT(interval=2))}, 3, SPEC, "must divide train.epochs, 3, but got 2"),
        ({}, 3, {"train.epochs": [1, 2], "train.lr": [1e-3, 1e-2]}, "cannot be searched under pbt"),
        (
            {},
            3,
            {"model.dropout": [0.1, 0.2], "train.warm_start.seed": [0, 1]},
            "needs a setting of train that pbt may",
        ),
    ],
)
def test_a_population_that_cannot_be_is_one_line(
    changes: dict[str, Any], epochs: int, spec: dict[str, Any], line: str
) -> None:
    good = {"stopper": PBTStopper(), "trials": 12, "sampler": "random"}
    check(Search(**good), 3, SPACE)
    with pytest.raises(SettingError, match=line) as error:
        check(Search(**{**good, **changes}), epochs, Space.parse(spec, TrialSettings()))
    assert "\n" not in str(error.value)
    check(Search(stopper="none", trials=1), epochs, Space.parse(spec, TrialSettings()))
