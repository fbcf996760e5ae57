import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sweepstack.models.data.splits import split, split_folds, units_of

QUICKSTART = {"warm": 4500, "policy": 3000, "valid": 750, "blend": 750, "test": 1500}
SMALL = {"warm": 50, "policy": 30, "valid": 10, "blend": 10}


def singles(rows: int) -> NDArray[np.int64]:
    return np.arange(rows, dtype=np.int64)


def counts(parts: dict[str, NDArray[np.int64]], labels: NDArray[np.int64], classes: int) -> dict[str, list[int]]:
    return {name: np.bincount(labels[rows], minlength=classes).tolist() for name, rows in parts.items()}


def test_the_quickstart_has_its_exact_sizes_and_equal_classes() -> None:
    labels = np.repeat(np.arange(14), 750)
    parts = split(labels, singles(10_500), QUICKSTART, seed=0)
    assert {name: len(rows) for name, rows in parts.items()} == QUICKSTART
    for name, found in counts(parts, labels, 14).items():
        assert max(found) - min(found) <= 1, name


def test_a_seed_always_gives_the_same_parts_and_another_gives_others() -> None:
    labels = np.arange(100) % 2
    first, again, other = (split(labels, singles(100), SMALL, seed)["warm"].tolist() for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert first == sorted(first)


def test_a_rare_class_stands_in_every_part_that_it_has_rows_for() -> None:
    labels = np.array([0] * 90 + [1] * 5 + [2] * 4 + [3])
    parts = split(labels, singles(100), SMALL, seed=0)
    assert {name: len(rows) for name, rows in parts.items()} == SMALL
    found = counts(parts, labels, 4)
    for name in SMALL:
        assert found[name][1] >= 1
        assert found[name][2] == 1
    assert found["warm"][3] == 1  # what has one row only can be learned, but not be scored


@given(data=st.data(), seed=st.integers(0, 1000))
def test_every_row_stands_once_sizes_are_exact_and_classes_spread(data: st.DataObject, seed: int) -> None:
    sizes = {name: data.draw(st.integers(10, 40), label=name) for name in SMALL}
    total = sum(sizes.values())
    labels = np.array(data.draw(st.lists(st.integers(0, 4), min_size=total, max_size=total)))
    parts = split(labels, singles(total), sizes, seed)
    assert {name: len(rows) for name, rows in parts.items()} == sizes
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(total))
    found = counts(parts, labels, 5)
    for label, count in enumerate(np.bincount(labels, minlength=5)):
        for place, name in enumerate(sizes):
            if count > place:
                assert found[name][label] >= 1, (name, label, count)


@given(groups=st.lists(st.integers(0, 30), min_size=60, max_size=60), seed=st.integers(0, 1000))
def test_units_are_never_divided(groups: list[int], seed: int) -> None:
    units = units_of([str(row) for row in range(60)], [str(group) for group in groups])
    parts = split(np.arange(60) % 3, units, {"warm": 30, "policy": 15, "valid": 8, "blend": 7}, seed)
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(60))
    part_of = {row: name for name, rows in parts.items() for row in rows.tolist()}
    for group in set(groups):
        assert len({part_of[row] for row in range(60) if groups[row] == group}) == 1


def test_a_class_of_few_groups_has_one_in_each_of_the_first_parts() -> None:
    """Ten groups of ten rows: by shares valid and blend would get none."""
    groups = [str(row // 10) for row in range(100)]
    labels = np.array([int(group) % 2 for group in groups])
    parts = split(labels, units_of([str(row) for row in range(100)], groups), {**SMALL, "warm": 40, "test": 10}, seed=0)
    assert {name: len(rows) for name, rows in parts.items()} == dict.fromkeys(parts, 20)


def test_groups_that_share_an_input_are_one_unit() -> None:
    #         a-b and b-c share a text, d shares its group with c; e stands alone
    units = units_of(["x", "x", "y", "y", "z", "w"], ["a", "b", "b", "c", "c", "e"])
    assert len(set(units[:5].tolist())) == 1
    assert units[5] not in units[:5]


@pytest.mark.parametrize("groups", [None, ["g", "h", "i"]])
def test_equal_inputs_are_one_unit_with_and_without_groups(groups: list[str] | None) -> None:
    units = units_of(["x", "y", "x"], groups)
    assert units[0] == units[2] != units[1]


@given(data=st.data(), seed=st.integers(0, 1000), folds=st.integers(2, 5), test=st.sampled_from([0, 20]))
def test_folds_hold_every_row_out_once_and_nothing_that_belongs_together_straddles_them(
    data: st.DataObject, seed: int, folds: int, test: int
) -> None:
    labels = np.array(data.draw(st.lists(st.integers(0, 3), min_size=90, max_size=90)))
    units = units_of([str(data.draw(st.integers(0, 69))) for _ in labels], None)
    found, tested = split_folds(labels, units, folds, 0.4, test, seed)
    assert len(found) == folds
    held_out = [*(fold.held_out for fold in found), tested]
    assert sorted(np.concatenate(held_out).tolist()) == list(range(90))
    for fold in found:
        parts = [fold.warm, fold.policy, fold.held_out, tested]
        assert sorted(np.concatenate(parts).tolist()) == list(range(90))
        seen = [set(units[part].tolist()) for part in parts]
        assert sum(map(len, seen)) == len(set(units.tolist())), "a unit stands in one part only"


def test_folds_are_as_large_and_as_mixed_as_each_other() -> None:
    labels = np.array([0] * 60 + [1] * 30 + [2] * 12)
    found, tested = split_folds(labels, singles(102), 3, 0.375, 12, seed=0)
    assert len(tested) == 12
    for fold in found:
        # A fold of 30 is held out; of the other 60 rows .375 are 22.5, which Python rounds to 22.
        assert (len(fold.held_out), len(fold.warm), len(fold.policy)) == (30, 38, 22)
        for part in (fold.held_out, fold.warm, fold.policy):
            share = np.bincount(labels[part], minlength=3) / len(part)
            np.testing.assert_allclose(share, [60 / 102, 30 / 102, 12 / 102], atol=0.05)


def test_folds_are_drawn_from_their_seed() -> None:
    labels = np.arange(100) % 2
    first, again, other = (split_folds(labels, singles(100), 4, 0.5, 0, seed)[0] for seed in (0, 0, 1))
    assert [fold.warm.tolist() for fold in first] == [fold.warm.tolist() for fold in again]
    assert first[0].held_out.tolist() != other[0].held_out.tolist()


def test_units_of_several_classes_keep_the_classes_even() -> None:
    """A unit counts for each class that it has rows of, not for that of its first row: every part has its shares."""
    labels = np.array([0] + [1] * 39 + [0] * 199 + [1] * 161)
    units = np.array([0] * 40 + list(range(40, 400)))
    sizes = {"warm": 200, "policy": 100, "valid": 50, "blend": 50}
    parts = split(labels, units, sizes, seed=0)
    assert {name: len(rows) for name, rows in parts.items()} == sizes
    for name, rows in parts.items():
        assert np.bincount(labels[rows]).tolist() == [sizes[name] // 2] * 2


def test_large_groups_of_several_classes_leave_no_part_empty() -> None:
    """Ten groups of twenty rows: none fits into valid or blend, which have room for ten."""
    groups = [str(row // 20) for row in range(200)]
    sizes = {"warm": 100, "policy": 60, "valid": 20 - 10, "blend": 10, "test": 20}
    parts = split(np.arange(200) % 2, units_of(groups), sizes, seed=0)
    assert all(len(rows) >= 20 for rows in parts.values())


@pytest.mark.parametrize("change", ["two units become one", "a row is left out"])
def test_few_others_change_their_part_where_little_changes(change: str) -> None:
    """A vocabulary is fitted on parts: were they dealt out anew, it would know other rare words each time."""
    labels = np.arange(3000) % 5
    before = split(labels, singles(3000), {"warm": 1500, "policy": 900, "valid": 300, "test": 300}, seed=1)
    if change == "a row is left out":
        rows = np.delete(np.arange(3000), 7)
        sizes = {"warm": 1499, "policy": 900, "valid": 300, "test": 300}
        found = split(labels[rows], singles(2999), sizes, 1, rows)
        after = {name: rows[own] for name, own in found.items()}
    else:
        units = singles(3000)
        units[2999] = 4
        after = split(labels, units, {"warm": 1500, "policy": 900, "valid": 300, "test": 300}, seed=1)
    stayed = sum(len(np.intersect1d(before[name], after[name])) for name in before)
    assert stayed > 2950


@pytest.mark.parametrize(
    ("sizes", "classes"), [([2] * 23, 7), ([16] * 27, 7), ([1, 2, 3] * 8 + [60, 50, 40], 5), ([7, 8, 9, 10, 11] * 6, 6)]
)
def test_large_units_of_one_class_are_dealt_out_by_their_size(sizes: list[int], classes: int) -> None:
    """No class has as many units as there are parts, so that classes alone would leave parts empty, or nearly so."""
    units = np.repeat(np.arange(len(sizes)), sizes)
    rows = len(units)
    left = rows - round(0.15 * rows)
    plan = {"policy": round(0.3 * left), "valid": round(0.1 * left), "blend": round(0.1 * left)}
    plan = {"warm": left - sum(plan.values()), **plan, "test": rows - left}
    parts = split(units % classes, units, plan, seed=0)
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(rows))
    for name, part in parts.items():
        assert len(part) >= plan[name] / 2, name
        assert set(units[part]).isdisjoint(np.delete(units, part)), "a unit is never divided"
    assert len(set((units % classes)[parts["warm"]])) == classes
