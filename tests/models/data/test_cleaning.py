"""What a text is after cleaning, by hand and for every input."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweepstack.models.data.cleaning import clean, name_of, printable, window

ANY = st.text(st.characters() | st.sampled_from("\u200d\u0301\u0323\u0310\ufe0f\xad \xa0aeé\u1100\u1161\u11a8"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("e\u0301", "é"),
        ("e\u200d\u0301", "é"),  # what is not shown does not keep them apart
        ("\ufeffa", "a"),  # a byte-order mark
        ("har\xadvest", "harvest"),
        ("\u200eab\u202c", "ab"),
        ("a\x00b\x07", "ab"),
        ("\u2764\ufe0f", "\u2764"),
        ("3\xa0km\u202f/\u2009h", "3 km / h"),
        ("a\u200bb", "a b"),  # a word may end there
        ("a\u2028b\x85c\x1fd\x0be", "a b c d e"),
        (" \n\ta\t\nb ", "a\t\nb "),
        ("x\ud83d", "x?"),
    ],
)
def test_by_hand(text: str, expected: str) -> None:
    assert clean(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\ud83d", "a?"),
        ("\ud83d\ude00", "??"),  # two halves are no character either: Python joins them nowhere
        ("a\x00b\x1b[2Jc\x9bd\x7f", "ab[2Jcd"),
        ("tab\there\r\nand there", "tab\there\r\nand there"),
        ("\u202eabc\u202c \u2066d\u2069", "abc d"),
        (
            "👩\u200d💻 e\u0301 \u2764\ufe0f \u200eא",
            "👩\u200d💻 e\u0301 \u2764\ufe0f \u200eא",
        ),  # is shown as it is meant
    ],
)
def test_what_is_printed_by_hand(text: str, expected: str) -> None:
    assert printable(text) == expected


@given(ANY)
def test_what_is_printed_can_be_encoded(text: str) -> None:
    printable(text + "\udcff").encode()


def test_names_that_look_alike_are_one() -> None:
    assert {name_of(each) for each in ("é t", " e\u0301  t ", "é\xa0t\n", "\u202eé\x00 t\u200b")} == {"é t"}


@given(ANY)
def test_what_is_clean_stays_as_it_is(text: str) -> None:
    once = clean(text)
    assert clean(once) == once
    assert unicodedata.is_normalized("NFC", once)
    assert not {unicodedata.category(character) for character in once if character not in "\t\n\r"} & {"Cc", "Cf", "Cs"}


@given(ANY, st.data())
def test_a_beginning_of_what_is_clean_is_clean(text: str, data: st.DataObject) -> None:
    whole = clean(text)
    beginning = whole[: data.draw(st.integers(0, len(whole)))]
    assert clean(beginning) == beginning


@given(ANY, st.integers(0, 20))
def test_nothing_behind_a_window_changes_more_than_its_last_character(text: str, size: int) -> None:
    seen = clean(window(text, size))
    assert clean(text).startswith(seen[:-1])
