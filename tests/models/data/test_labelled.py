import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweepstack.models.data.labelled import PARTS, Dataset, load_dataset
from sweepstack.models.errors import DataError
from sweepstack.models.settings.data import Data, Folds, Splits, Text
from sweepstack.models.settings.trial import Reading

LETTERS = Reading(unit="characters", segment=2, max_segments=12)
ROWS = [{"text": f"text number {i}", "label": "ab"[i % 2]} for i in range(100)]


def written(folder: Path, rows: list[dict[str, Any]], name: str = "rows.jsonl") -> str:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def loaded(folder: Path, rows: list[dict[str, Any]], **changes: Any) -> Dataset:
    reading = changes.pop("reading", LETTERS)
    return load_dataset(Data(train=written(folder, rows), **changes), reading)


def refusal(folder: Path, rows: list[dict[str, Any]], **changes: Any) -> str:
    with pytest.raises(DataError) as caught:
        loaded(folder, rows, **changes)
    message = str(caught.value)
    assert "\n" not in message
    return message


def placed(dataset: Dataset) -> dict[str, str]:
    return {text: name for name, part in dataset.parts.items() for text in part.inputs}


def test_test_is_carved_first_and_the_rest_is_shared_out(tmp_path: Path) -> None:
    dataset = loaded(tmp_path, ROWS, splits=Splits(test=0.2))
    assert list(dataset.parts) == list(PARTS)
    # 20 for test; of the other 80 three tenths are policy, a tenth each valid and blend.
    assert [len(part.inputs) for part in dataset.parts.values()] == [40, 24, 8, 8, 20]
    assert dataset.classes == ("a", "b")
    known = {row["text"]: row["label"] for row in ROWS}
    for part in dataset.parts.values():
        assert [dataset.classes[label] for label in part.labels] == [known[text] for text in part.inputs]


def test_a_test_file_is_the_test_part(tmp_path: Path) -> None:
    test = [{"text": "another", "label": "b"}, {"text": "one more", "label": "a"}]
    dataset = loaded(tmp_path, ROWS, test=written(tmp_path, test, "test.jsonl"))
    assert dataset.parts["test"].inputs == ("another", "one more")
    assert dataset.parts["test"].labels.tolist() == [1, 0]
    assert dataset.notes == ()
    assert sum(len(part.inputs) for part in dataset.parts.values()) == 102


def test_rows_of_train_that_stand_in_test_are_left_out_and_noted(tmp_path: Path) -> None:
    test = [{"text": "  TEXT  number 7\n", "label": "b"}]
    dataset = loaded(
        tmp_path, [*ROWS, {"text": "Text number 7", "label": "b"}], test=written(tmp_path, test, "t.jsonl")
    )
    assert "text number 7" not in placed(dataset)
    assert dataset.notes[0] == "2 rows of rows.jsonl are read the same as a row of test and were left out of train"


def test_a_share_for_test_beside_a_test_file_is_not_ignored_silently(tmp_path: Path) -> None:
    test = written(tmp_path, [{"text": "new", "label": "a"}], "test.jsonl")
    notes = loaded(tmp_path, ROWS, test=test, splits=Splits(test=0.3)).notes
    assert notes[0] == f"data.splits.test (0.3) is not used: {test} brings the test part"


def test_inputs_that_differ_in_case_and_gaps_never_straddle_two_parts(tmp_path: Path) -> None:
    rows = [{"text": text, "label": "ab"[i % 2]} for i in range(50) for text in (f"same {i}", f" SAME\t{i} ")]
    where = placed(loaded(tmp_path, rows))
    assert all(where[f"same {i}"] == where[f" SAME\t{i} "] for i in range(50))
    assert len(set(where.values())) == 5


def test_groups_never_straddle_two_parts(tmp_path: Path) -> None:
    rows = [{**row, "speaker": i // 4} for i, row in enumerate(ROWS)]
    where = placed(loaded(tmp_path, rows, group="speaker"))
    for begin in range(0, 100, 4):
        assert len({where[ROWS[i]["text"]] for i in range(begin, begin + 4)}) == 1


def test_groups_that_stand_in_test_are_left_out_of_train(tmp_path: Path) -> None:
    rows = [{**row, "speaker": i // 4} for i, row in enumerate(ROWS)]
    test = written(tmp_path, [{"text": "new", "label": "a", "speaker": 3}], "test.jsonl")
    dataset = loaded(tmp_path, rows, group="speaker", test=test)
    assert not {f"text number {i}" for i in range(12, 16)} & placed(dataset).keys()
    assert "4 rows" in dataset.notes[0]


def test_integer_labels_are_read_as_names(tmp_path: Path) -> None:
    rows = [{"text": f"t{i}", "label": (2, 10)[i % 2]} for i in range(60)]
    assert loaded(tmp_path, rows).classes == ("10", "2")


def test_hashes_tell_rows_their_order_and_labels_apart(tmp_path: Path) -> None:
    first, again = loaded(tmp_path, ROWS), loaded(tmp_path, ROWS)
    assert first.hashes == again.hashes
    assert list(first.hashes) == [*PARTS, "content"]
    assert len(set(first.hashes.values())) == 6
    other_seed = loaded(tmp_path, ROWS, seed=1)
    assert other_seed.hashes["warm"] != first.hashes["warm"]
    victim = first.parts["valid"].inputs[0]
    swapped = [{**row, "label": "ab"[row["label"] == "a"]} if row["text"] == victim else row for row in ROWS]
    assert loaded(tmp_path, swapped).hashes["content"] != first.hashes["content"]


def test_half_a_surrogate_pair_is_a_text_like_any_other(tmp_path: Path) -> None:
    assert "x \ud83d" in placed(loaded(tmp_path, [*ROWS, {"text": "x \ud83d", "label": "a"}]))


def test_a_class_of_one_row_can_be_learned(tmp_path: Path) -> None:
    dataset = loaded(tmp_path, [*ROWS, {"text": "rare", "label": "c"}])
    assert placed(dataset)["rare"] == "warm"
    assert dataset.notes == ("not every part has rows of 'c'",)


@pytest.mark.parametrize(
    ("rows", "changes", "words"),
    [
        ([{**row, "label": "a"} for row in ROWS], {}, ("rows.jsonl", "'a'", "at least two classes")),
        ([], {}, ("rows.jsonl", "empty")),
        (ROWS, {"input": "body"}, ("rows.jsonl", "'body'", "text, label")),
        (ROWS, {"group": "speaker"}, ("rows.jsonl", "'speaker'", "text, label")),
        ([*ROWS, {"text": " ", "label": "a"}], {}, ("rows.jsonl", "101", "'text'")),
        ([*ROWS, {"text": "x", "label": None}], {}, ("rows.jsonl", "no label in 'label'", "line 101")),
        (ROWS[:6], {}, ("data.splits", "6 rows", "valid")),
        ([{**row, "text": "same"} for row in ROWS], {}, ("rows.jsonl", "policy gets 0 rows", "100 of 100")),
    ],
    ids=["one class", "empty", "column", "group", "blank text", "no label", "too few rows", "one text only"],
)
def test_data_that_cannot_be_used_is_refused(
    tmp_path: Path, rows: list[dict[str, Any]], changes: dict[str, Any], words: tuple[str, ...]
) -> None:
    message = refusal(tmp_path, rows, **changes)
    assert all(word in message for word in words), message


def test_a_label_that_train_never_had_is_refused(tmp_path: Path) -> None:
    test = written(tmp_path, [{"text": "q", "label": "c"}], "test.jsonl")
    message = refusal(tmp_path, ROWS, test=test)
    assert "test.jsonl: 1 row of 1 label that never stand in" in message
    test = written(tmp_path, [{"text": f"q{i}", "label": "cda"[i % 3]} for i in range(9)], "test.jsonl")
    assert "6 rows of 2 labels that never stand in" in refusal(tmp_path, ROWS, test=test), "all at once"


def test_a_train_file_that_is_the_test_file_leaves_nothing_to_learn(tmp_path: Path) -> None:
    assert "every row is read the same as one of" in refusal(tmp_path, ROWS, test=written(tmp_path, ROWS, "test.jsonl"))


def test_a_builtin_has_no_groups(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="builtin:languages has no groups"):
        load_dataset(Data(train="builtin:languages", group="speaker"), LETTERS)


def test_the_quickstart_data_have_the_sizes_of_the_design() -> None:
    splits = Splits(test=0.1429, policy=0.3333, valid=0.0833, blend=0.0833)
    dataset = load_dataset(Data(train="builtin:languages", splits=splits), LETTERS)
    sizes = {name: len(part.inputs) for name, part in dataset.parts.items()}
    assert sizes == {"warm": 4500, "policy": 3000, "valid": 750, "blend": 750, "test": 1500}
    for part in dataset.parts.values():
        counts = np.bincount(part.labels, minlength=14)
        assert counts.max() - counts.min() <= 1


def test_what_is_done_to_texts_goes_with_them(tmp_path: Path) -> None:
    how = Text(stem="german", min_frequency=3)
    rows = [{**row, "text": " ".join(str(i >> place & 1) for place in range(7))} for i, row in enumerate(ROWS)]
    assert loaded(tmp_path, rows, text=how, reading="off").text == how.model_copy(update={"max_words": 7})


def test_costs_of_wrong_answers_are_a_matrix_in_the_order_of_the_classes(tmp_path: Path) -> None:
    assert loaded(tmp_path, ROWS).costs is None
    costs = loaded(tmp_path, ROWS, costs={"b": {"a": 3.0}}).costs
    assert costs is not None
    assert costs.tolist() == [[0, 1], [3, 0]]


def test_costs_of_a_label_that_is_none_are_refused(tmp_path: Path) -> None:
    message = refusal(
        tmp_path,
        [{**row, "label": {"a": "ham", "b": "spam"}[row["label"]]} for row in ROWS],
        costs={"ham": {"spma": 3.0}},
    )
    assert message.startswith("data.costs.ham: the label 'spma' never stands in ")
    assert message.endswith("nearest: 'spam'")


def test_folds_hold_out_every_row_of_train_exactly_once(tmp_path: Path) -> None:
    dataset = loaded(tmp_path, ROWS, splits=Folds(folds=4, policy=0.25, test=0.2))
    assert list(dataset.parts) == ["out_of_fold", "test"]
    assert len(dataset.parts["test"].inputs) == 20
    held_out = dataset.parts["out_of_fold"]
    assert sorted(held_out.inputs + dataset.parts["test"].inputs) == sorted(row["text"] for row in ROWS)
    known = {row["text"]: row["label"] for row in ROWS}
    assert [dataset.classes[label] for label in held_out.labels] == [known[text] for text in held_out.inputs]
    # Four folds of 20; of the 60 rows that each trains on a quarter is policy.
    assert [[len(part.inputs) for part in fold.parts.values()] for fold in dataset.folds] == [[45, 15, 20, 20]] * 4
    assert dataset.fold.tolist() == [0] * 20 + [1] * 20 + [2] * 20 + [3] * 20
    for k, fold in enumerate(dataset.folds):
        inputs = {name: set(part.inputs) for name, part in fold.parts.items()}
        assert inputs["valid"] == {text for text, of in zip(held_out.inputs, dataset.fold, strict=True) if of == k}
        assert inputs["warm"] | inputs["policy"] == set(held_out.inputs) - inputs["valid"]
        assert inputs["test"] == set(dataset.parts["test"].inputs)
    assert dataset.sizes == {"warm": 45, "policy": 15, "out_of_fold": 80, "test": 20}
    assert (dataset.part_for("valid"), dataset.part_for("blend")) == ("out_of_fold", "out_of_fold")


def test_neither_duplicates_nor_groups_straddle_folds(tmp_path: Path) -> None:
    rows = [{**row, "group": f"g{i // 2}"} for i, row in enumerate(ROWS)]
    rows += [{"text": f"  TEXT number {i}", "label": "ab"[i % 2], "group": f"other{i}"} for i in range(0, 100, 10)]
    dataset = loaded(tmp_path, rows, group="group", splits=Folds(folds=3))
    group_of = {row["text"]: row["group"] for row in rows}
    places: dict[str, set[str]] = {}
    for name, part in (
        ("test", dataset.parts["test"]),
        *((str(k), f.parts["valid"]) for k, f in enumerate(dataset.folds)),
    ):
        for text in part.inputs:
            places.setdefault(" ".join(text.lower().split()), set()).add(name)
            places.setdefault(group_of[text], set()).add(name)
    assert all(len(found) == 1 for found in places.values())


def test_folds_are_known_again_by_their_hashes(tmp_path: Path) -> None:
    first, again = (loaded(tmp_path, ROWS, splits=Folds(folds=3)) for _ in range(2))
    assert first.hashes == again.hashes
    assert list(first.hashes) == ["out_of_fold", "test", "fold 1", "fold 2", "fold 3", "content"]
    assert len(set(first.hashes.values())) == 6
    assert loaded(tmp_path, ROWS, splits=Folds(folds=3, policy=0.5)).hashes["fold 1"] != first.hashes["fold 1"]


def test_folds_that_would_be_too_small_are_refused(tmp_path: Path) -> None:
    said = refusal(tmp_path, ROWS[:20], splits=Folds(folds=12))
    assert "data.splits leaves 1 of 20 rows for each fold" in said


def test_a_test_file_that_leaves_one_class_to_learn_is_refused(tmp_path: Path) -> None:
    rows = [*ROWS[::2], {"text": "only one of its class", "label": "b"}]
    test = [{"text": "Only one  of its class", "label": "b"}, {"text": "new", "label": "a"}]
    message = refusal(tmp_path, rows, test=written(tmp_path, test, "test.jsonl"))
    assert "every row has the class 'a'" in message


RARE = [
    *ROWS,
    {"text": "the only one", "label": "c"},
    {"text": "one of two", "label": "d"},
    {"text": "two", "label": "d"},
]


def test_a_class_of_one_row_is_in_warm_of_every_fold_and_that_is_said(tmp_path: Path) -> None:
    dataset = loaded(tmp_path, RARE, splits=Folds(folds=3, test=0.2))
    assert dataset.classes == ("a", "b", "c", "d")
    assert all("the only one" in fold.parts["warm"].inputs for fold in dataset.folds)
    assert "the only one" not in dataset.parts["out_of_fold"].inputs, "no fold can hold it out"
    for fold in dataset.folds:
        assert set(fold.parts["warm"].labels.tolist()) == {0, 1, 2, 3}
        assert not set(fold.parts["warm"].inputs) & set(fold.parts["valid"].inputs)
        assert len(set(fold.parts["warm"].inputs)) == len(fold.parts["warm"].inputs)
    everything = set(dataset.parts["out_of_fold"].inputs + dataset.parts["test"].inputs) | {"the only one"}
    assert everything == {row["text"] for row in RARE}
    assert "not every part has rows of 'c', 'd'" in dataset.notes


@pytest.mark.parametrize("splits", [Splits(), Folds(folds=4)])
def test_a_class_that_stands_in_one_group_is_in_warm(splits: Splits | Folds, tmp_path: Path) -> None:
    rows = [{**row, "group": f"g{i // 2}"} for i, row in enumerate(ROWS)]
    rows += [{"text": f"c{i}", "label": "c", "group": "g7"} for i in range(4)]
    dataset = loaded(tmp_path, rows, group="group", splits=splits)
    group_of = {row["text"]: row["group"] for row in rows}
    for fold in dataset.folds or (dataset,):
        groups = {name: {group_of[text] for text in part.inputs} for name, part in fold.parts.items()}
        assert "g7" in groups["warm"]
        assert all(not groups["warm"] & groups[name] for name in groups if name != "warm")


def test_rare_classes_may_be_left_out_or_made_one(tmp_path: Path) -> None:
    test = written(tmp_path, [{"text": f"q{i}", "label": "abcd"[i % 4]} for i in range(8)], "test.jsonl")
    left = loaded(tmp_path, RARE, rare_classes="drop", splits=Folds(folds=3), test=test)
    assert (left.classes, len(left.parts["out_of_fold"].labels), len(left.parts["test"].labels)) == (("a", "b"), 100, 4)
    assert left.notes[0] == "3 rows of 2 classes with fewer than 3 rows ('c', 'd') left out"
    merged = loaded(tmp_path, RARE, rare_classes="merge", test=test)
    assert merged.classes == ("a", "b", "other")
    assert merged.notes[0] == "3 rows of 2 classes with fewer than 4 rows ('c', 'd') made one class, 'other'"
    labels = np.concatenate([part.labels for part in merged.parts.values()])
    assert np.bincount(labels).tolist() == [52, 52, 7]
    kept = loaded(tmp_path, ROWS, rare_classes="merge")
    assert kept.classes == ("a", "b"), "where none is rare nothing changes"


def of_groups(*sizes: int, by_group: bool = False) -> list[dict[str, Any]]:
    rows = []
    for group, size in enumerate(sizes):
        for i in range(size):
            label = "ab"[group % 2] if by_group else "ab"[i % 2]
            rows.append({"text": f"group {group} text {i}", "label": label, "group": f"g{group}"})
    return rows


@pytest.mark.parametrize("splits", [Splits(), Folds(folds=5)])
@pytest.mark.parametrize("by_group", [False, True])
def test_parts_far_from_their_planned_size_are_refused(by_group: bool, splits: Splits | Folds, tmp_path: Path) -> None:
    rows = of_groups(*[140] * 4, *[1] * 10, by_group=by_group)
    message = refusal(tmp_path, rows, group="group", splits=splits)
    assert "data.splits plans" in message
    assert "the largest has 140 of 570; give more and smaller groups" in message


def test_a_part_of_one_unit_has_no_interval_and_is_refused(tmp_path: Path) -> None:
    message = refusal(
        tmp_path, of_groups(*[100] * 5), group="group", splits=Splits(policy=0.25, valid=0.25, blend=0.25, test=0.2)
    )
    assert "gets 100 rows in 1 unit, and data.splits plans " in message


@pytest.mark.parametrize("by_group", [False, True])
@pytest.mark.parametrize(
    "sizes",
    [[25] * 24, [10] * 60, [5] * 40 + [100], [1] * 300 + [60, 50, 40], [2**k for k in range(6)] * 8, [30] * 20],
)
def test_groups_that_can_be_dealt_out_are(sizes: list[int], by_group: bool, tmp_path: Path) -> None:
    """Each part is within a quarter of its plan, or within the rows of one group."""
    dataset = loaded(tmp_path, of_groups(*sizes, by_group=by_group), group="group")
    rows = sum(sizes)
    left = rows - round(0.15 * rows)
    wanted = {"warm": 0.5 * left, "policy": 0.3 * left, "valid": 0.1 * left, "blend": 0.1 * left, "test": 0.15 * rows}
    for name, size in dataset.sizes.items():
        assert abs(size - wanted[name]) <= max(0.25 * wanted[name], max(sizes))
