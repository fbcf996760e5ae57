from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sweepstack.ensembles.members.library import Library, Member, Stack
from sweepstack.models.errors import StorageError
from sweepstack.models.predictions.probabilities import Predictions


def saved(folder: Path, stack: Stack, rows_hash: str = "abc") -> list[Member]:
    members = [Member(f"trial-{i}", "trial", folder / str(i)) for i in range(len(stack))]
    for i, member in enumerate(members):
        stack.member(i).save(member.predictions("blend"), rows_hash)
    return members


def test_what_members_saved_comes_back_stacked_in_their_order(tmp_path: Path, synthetic: SimpleNamespace) -> None:
    stack, _ = synthetic.stack([1.0, 2.0, 3.0], rows=20)
    members = saved(tmp_path, stack)
    library = Library.load(members[::-1], "blend", "abc")
    assert [member.name for member in library.members] == ["trial-2", "trial-1", "trial-0"]
    np.testing.assert_array_equal(library.stack.probabilities, stack.probabilities[::-1])
    np.testing.assert_array_equal(library.stack.answer, stack.answer[::-1])
    assert library.stack.probabilities.dtype == np.float32


def test_predictions_of_other_rows_are_refused(tmp_path: Path, synthetic: SimpleNamespace) -> None:
    members = saved(tmp_path, synthetic.stack([1.0], rows=20)[0])
    with pytest.raises(
        StorageError, match=r"blend.safetensors was predicted for rows with hash abc, but blend has xyz"
    ):
        Library.load(members, "blend", "xyz")


def test_a_missing_or_torn_file_is_one_line(tmp_path: Path, synthetic: SimpleNamespace) -> None:
    members = saved(tmp_path, synthetic.stack([1.0, 2.0], rows=20)[0])
    path = members[1].predictions("blend")
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(StorageError, match="cannot be read") as torn:
        Library.load(members, "blend", "abc")
    path.unlink()
    with pytest.raises(StorageError, match="cannot be read") as missing:
        Library.load(members, "blend", "abc")
    assert "\n" not in str(torn.value) + str(missing.value)
    with pytest.raises(StorageError, match="no member"):
        Library.load([], "blend", "abc")


def test_members_of_another_shape_are_refused(tmp_path: Path, synthetic: SimpleNamespace) -> None:
    members = saved(tmp_path, synthetic.stack([1.0, 2.0], rows=20)[0])
    other, _ = synthetic.stack([1.0], rows=20, classes=7)
    other.member(0).save(members[1].predictions("blend"), "abc")
    with pytest.raises(StorageError, match=r"does not fit trial-0: .*\(20, 7\) and \(20, 4\)"):
        Library.load(members, "blend", "abc")


def test_shorter_predictions_are_padded_by_their_last_segment() -> None:
    n_segments = np.array([1, 2])
    short = Predictions(np.full((2, 2, 2), 0.5, np.float32), np.ones((2, 2), np.float32), n_segments)
    long_probabilities = np.full((2, 4, 2), 0.5, np.float32)
    stack = Stack.of([short, Predictions(long_probabilities, np.ones((2, 4), np.float32), n_segments)])
    assert stack.probabilities.shape == (2, 2, 4, 2)
    np.testing.assert_array_equal(stack.probabilities[0, :, 3], short.probabilities[:, 1])


def test_members_that_cut_texts_differently_are_refused(synthetic: SimpleNamespace) -> None:
    predictions = synthetic.stack([1.0], rows=5)[0].member(0)
    other = Predictions(predictions.probabilities, predictions.answer, predictions.n_segments % 5 + 1)
    with pytest.raises(ValueError, match="same number of segments"):
        Stack.of([predictions, other])


def test_kinds_are_found_by_place(synthetic: SimpleNamespace) -> None:
    stack, _ = synthetic.stack([1.0, 1.0, 1.0], rows=5)
    library = synthetic.library(stack, ["trial", "refit", "trial"])
    assert library.of_kinds(frozenset({"trial"})) == (0, 2)
    assert library.of_kinds(frozenset({"baseline"})) == ()


def test_groups_go_along_with_rows_and_members(synthetic: SimpleNamespace) -> None:
    stack, _ = synthetic.stack([1.0, 1.0], rows=5)
    assert stack.rows(np.array([0, 1])).groups is None
    grouped = replace(stack, groups=np.array([4, 4, 9, 9, 2]))
    assert grouped.rows(np.array([True, False, True, False, True])).groups.tolist() == [4, 9, 2]
    assert grouped.take([1]).rows(np.array([3, 0])).groups.tolist() == [9, 4]
    assert Stack.of([stack.member(0)], grouped.groups).groups is grouped.groups
