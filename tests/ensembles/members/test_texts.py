from pathlib import Path

import numpy as np
import pytest

from sweepstack.ensembles.members.library import Member
from sweepstack.ensembles.members.texts import CandidateLibrary, pooled
from sweepstack.models.errors import StorageError
from sweepstack.models.predictions.texts import Candidates

ONE = Candidates((("a b", "a c"), ("x",)), ((-0.1, -0.4), (-0.2,)))
OTHER = Candidates((("a c",), ("",)), ((0.9,), (0.0,)))
SOURCES = ("first", "second")


def on_disk(folder: Path) -> list[Member]:
    members = [Member("trial-0", "trial", folder / "0"), Member("memory", "baseline", folder / "memory")]
    for member, said in zip(members, (ONE, OTHER), strict=True):
        said.save(member.predictions("blend"), "rows")
    return members


def test_it_holds_what_members_wrote(tmp_path: Path) -> None:
    members = on_disk(tmp_path)
    library = CandidateLibrary.load(members, "blend", "rows", SOURCES)
    assert library.candidates == (ONE, OTHER)
    assert len(library) == 2
    assert library.of_kinds(frozenset({"baseline"})) == (1,)


@pytest.mark.parametrize(
    ("part", "rows_hash", "sources", "words"),
    [
        ("blend", "others", SOURCES, "was written for 2 rows with hash rows, but blend has 2 with others"),
        ("blend", "rows", SOURCES[:1], "was written for 2 rows with hash rows, but blend has 1 with rows"),
        ("test", "rows", SOURCES, "test.safetensors cannot be read"),
    ],
)
def test_other_rows_or_none_are_refused(
    part: str, rows_hash: str, sources: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    with pytest.raises(StorageError, match=words):
        CandidateLibrary.load(on_disk(tmp_path), part, rows_hash, sources)


def test_without_members_there_is_nothing_to_load() -> None:
    with pytest.raises(StorageError, match="at least one finished trial"):
        CandidateLibrary.load([], "blend", "rows", SOURCES)


def test_a_pool_has_each_text_once_and_each_member_one_vote() -> None:
    first, second = pooled([ONE, OTHER], "chrf", "en")
    assert first.texts == ("a b", "a c")
    np.testing.assert_array_equal(first.scores, [[-0.1, -0.4], [np.nan, 0.9]])
    likelier = 1 / (1 + np.exp(-10 * 0.3))  # of the first member's vote; the second's is for "a c"
    weights = np.array([likelier, 1 - likelier + 1]) / 2
    np.testing.assert_allclose(first.weights, weights)
    # "ab" and "ac" share one of two characters and no pair: precision = recall = 1/4.
    np.testing.assert_allclose(first.expected, [[1, 0.25], [0.25, 1]] @ weights)
    assert second.texts == ("x", "")
    np.testing.assert_allclose(second.expected, [0.5, 0.0])  # an empty text is like nothing, not even itself


def test_pools_are_worked_out_once_and_go_along_with_their_rows() -> None:
    members = (Member("a", "trial", Path("a")), Member("b", "baseline", Path("b")))
    library = CandidateLibrary(members, (ONE, OTHER), SOURCES)
    pools = library.pools((0, 1), "chrf", "en")
    assert library.pools((0, 1), "chrf", "en") is pools
    second = library.rows(np.array([False, True]))
    assert (second.sources, second.candidates[0].texts) == (("second",), (("x",),))
    assert second.pools((0, 1), "chrf", "en")[0] is pools[1]
    assert library.rows(np.array([1, 0])).sources == ("second", "first")
    assert [pool.texts for pool in library.pools((0,), "bleu", "en")] == [("a b", "a c"), ("x",)]


def test_groups_go_along_with_rows() -> None:
    library = CandidateLibrary((), (ONE,), SOURCES, np.array([7, 5]))
    found = library.rows(np.array([False, True])).groups
    assert found is not None
    assert found.tolist() == [5]
