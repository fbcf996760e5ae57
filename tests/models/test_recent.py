"""A memory is bounded by the size of what it keeps, and keeps what was used last."""

from hypothesis import given
from hypothesis import strategies as st

from sweepstack.models.recent import Recent


def test_what_was_used_least_recently_goes_first() -> None:
    made: list[str] = []

    def make(key: str) -> str:
        made.append(key)
        return key.upper()

    recent = Recent(make, len, 5)
    assert [recent(key) for key in ("aa", "bb", "aa", "cc", "aa", "bb")] == ["AA", "BB", "AA", "CC", "AA", "BB"]
    assert made == ["aa", "bb", "cc", "bb"], "cc drove out bb, which was used before aa"
    assert recent("longer") == "LONGER"
    assert (len(recent), recent.total) == (2, 4), "what would fill it all is not kept, and drives nothing out"


@given(st.lists(st.text(max_size=8)), st.integers(0, 20))
def test_the_bound_holds_and_values_are_right(keys: list[str], limit: int) -> None:
    recent = Recent(lambda key: key + "!", len, limit)
    for key in keys:
        assert recent(key) == key + "!"
        assert recent.total <= limit
        assert recent.total >= len(recent)
