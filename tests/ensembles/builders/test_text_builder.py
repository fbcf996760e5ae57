from pathlib import Path

from sweepstack.ensembles.builders.text_builder import differing, with_memory
from sweepstack.ensembles.members.library import Member
from sweepstack.ensembles.members.texts import CandidateLibrary
from sweepstack.models.predictions.texts import Candidates


def library(*texts: str, memory: int | None = None) -> CandidateLibrary:
    """Members that write one character a row."""
    candidates = tuple(Candidates(tuple((t,) for t in own), ((0.0,),) * len(own)) for own in texts)
    kinds = ["baseline" if place == memory else "trial" for place in range(len(texts))]
    members = tuple(Member(f"{kind}-{i}", kind, Path()) for i, kind in enumerate(kinds))  # type: ignore[arg-type]
    return CandidateLibrary(members, candidates, ("source",) * len(texts[0]))


def test_of_members_that_write_nine_rows_in_ten_alike_only_the_better_counts() -> None:
    three = library("aaaaaaaaaa", "aaaaaaaaab", "aaaaaaaabb")
    assert differing(three, (0, 1, 2), 3) == (0, 2)
    assert differing(three, (1, 0, 2), 3) == (1,)
    assert differing(three, (0, 1, 2), 1) == (0,)


def test_the_memory_is_a_member_however_it_ranks() -> None:
    four = library("aaaa", "bbbb", "cccc", "dddd", memory=3)
    assert with_memory(four, (0, 1, 2, 3), 3) == (0, 1, 3)
    assert with_memory(four, (3, 0, 1, 2), 2) == (3, 0)
    assert with_memory(four, (0, 1, 2), 3) == (0, 1, 2)
