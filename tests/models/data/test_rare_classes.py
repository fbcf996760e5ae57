"""Rare classes by hand: kept, left out, made one; in the test file, too."""

from sweepstack.models.data.rare_classes import counted, named, without_rare
from sweepstack.models.data.tables import Rows

TRAIN = Rows(tuple("abcdefg"), ("1", "1", "1", "2", "2", "3", "other"), tuple("xxyyzzz"), "train", "int")
TEST = Rows(tuple("hij"), ("1", "3", "9"), None, "test", "int")


def test_none_is_rare_or_all_are_kept() -> None:
    assert without_rare(TRAIN, TEST, 1, "drop") == (TRAIN, TEST, [])
    assert without_rare(TRAIN, TEST, 5, "keep") == (TRAIN, TEST, [])


def test_they_are_left_out_with_their_rows_of_test() -> None:
    train, test, notes = without_rare(TRAIN, TEST, 2, "drop")
    assert (train.inputs, train.targets) == (tuple("abcde"), ("1", "1", "1", "2", "2"))
    assert train.groups == tuple("xxyyz")
    assert test is not None
    assert (test.inputs, test.targets) == (("h", "j"), ("1", "9"))
    assert notes == ["2 rows of 2 classes with fewer than 2 rows ('3', 'other') left out"]


def test_they_are_made_one_class_whose_name_is_a_text() -> None:
    train, test, notes = without_rare(TRAIN, TEST, 3, "merge")
    assert (train.targets, train.label_type) == (("1", "1", "1", "other", "other", "other", "other"), "text")
    assert test is not None
    assert (test.targets, test.label_type) == (("1", "other", "9"), "text")
    assert notes == ["4 rows of 3 classes with fewer than 3 rows ('2', '3', 'other') made one class, 'other'"]


def test_names_and_numbers_in_words() -> None:
    assert named(set("gfedcba")) == "'a', 'b', 'c', 'd', 'e' and 2 more"
    assert (counted(1, "class"), counted(2, "class"), counted(1200, "row")) == ("1 class", "2 classes", "1,200 rows")
