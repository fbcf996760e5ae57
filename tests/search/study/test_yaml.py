"""YAML 1.2 scalars, and what is refused."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweepstack.models.errors import StudyError
from sweepstack.search.study.yaml import dump_yaml, load_yaml, parse_override

SCALARS: dict[str, Any] = {
    "1e-3": 1e-3, "3E4": 3e4, "-2.5": -2.5, "12": 12, "012": 12, "0x1F": 31, ".inf": float("inf"),
    "off": "off", "on": "on", "yes": "yes", "No": "No", "true": True, "False": False,
    "null": None, "~": None, "": None, "1:30": "1:30", "2024-01-02": "2024-01-02", "'1e-3'": "1e-3", "nan": "nan",
    "[a, 1e-4]": ["a", 1e-4], "{log: [3e-4, 3e-2]}": {"log": [3e-4, 3e-2]},
}  # fmt: skip


@pytest.mark.parametrize("text", SCALARS)
def test_scalars_are_those_of_yaml_1_2_in_files_and_in_set(text: str) -> None:
    value = load_yaml(text, "x.yaml")
    assert value == SCALARS[text]
    assert type(value) is type(SCALARS[text])
    assert parse_override(f"train.lr={text}") == ("train.lr", SCALARS[text])


trees = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=6,
)
printable = st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])


@settings(deadline=None, max_examples=40)
@given(st.dictionaries(st.text(printable, min_size=1, max_size=8), trees, max_size=4))
def test_what_is_dumped_loads_equal(tree: dict[str, Any]) -> None:
    assert load_yaml(dump_yaml(tree), "x.yaml") == tree


def test_text_that_looks_like_something_else_stays_text() -> None:
    words = [
        "true",
        "null",
        "~",
        "1e-3",
        ".5",
        "0x1",
        "0o7",
        "1_0",
        "12",
        "off",
        "2024-01-01",
        "- a",
        "a: b",
        "#x",
        ":0",
        ".",
    ]
    assert load_yaml(dump_yaml({"words": words, **{word: word for word in words}}), "") == {
        "words": words,
        **{word: word for word in words},
    }


def test_keys_keep_their_order_and_aliases_are_spelt_out() -> None:
    shared = {"top": 8}
    assert dump_yaml({"b": shared, "a": shared}) == "b: {top: 8}\na: {top: 8}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", r'^x\.yaml line 3, column 1: found duplicate key "a"; keep one of them$'),
        ("a: {b: 1, b: 1}", 'duplicate key "b"'),
        ("a: [1,", "line 1, column 7"),
        ("a: b: c", "line 1, column 5: mapping values are not allowed here"),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("a: *b", "undefined alias"),
        ("a\n---\nb", "a second document begins there"),
        ("%YAML 1.1\n---\na: off", "YAML 1.2; take the %YAML line out"),
        ("a: \x00", "is not YAML: unacceptable character"),
        ("[" * 1100, "is not a study"),
    ],
)
def test_what_is_not_safe_yaml_is_refused_on_one_line(text: str, message: str) -> None:
    with pytest.raises(StudyError, match=message) as caught:
        load_yaml(text, "x.yaml")
    assert "\n" not in str(caught.value)


def test_an_override_is_key_and_value() -> None:
    assert parse_override(" search.trials = 8 ") == ("search.trials", 8)
    assert parse_override("data.train=a=b.csv") == ("data.train", "a=b.csv")
    for text in ("search.trials", "=8", ""):
        with pytest.raises(StudyError, match=r"must be KEY=VALUE, for example --set search\.trials=8"):
            parse_override(text)
    with pytest.raises(StudyError, match=r"^--set train\.lr line 1, column 3"):
        parse_override("train.lr=[1")


def test_an_anchor_may_be_given_again(recwarn: pytest.WarningsRecorder) -> None:
    """YAML 1.2 has an alias mean the last anchor before it; nothing is warned of."""
    assert load_yaml("a: &x 1\nb: *x\nc: &x 2\nd: *x\n", "s.yaml") == {"a": 1, "b": 1, "c": 2, "d": 2}
    assert not recwarn.list


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a:\n\tb: 1", "x.yaml line 2, column 1: a tab stands where only spaces may; indent with spaces"),
        (
            "a: *.csv",
            "x.yaml line 1, column 4: found undefined alias '.csv': no plain text begins so; put it in quotes",
        ),
        ("a: @b", "found character '@' that cannot start any token: no plain text begins so; put it in quotes"),
        ('a: "C:\\Users"', "in double quotes a backslash begins an escape; write \\\\ for it, or a path with / or in"),
        ("a:\n  'b\n  c", "found unexpected end of stream, while scanning a quoted scalar from line 2; mend the YAML"),
    ],
)
def test_what_is_wrong_with_yaml_comes_with_the_way_out(text: str, line: str) -> None:
    with pytest.raises(StudyError) as caught:
        load_yaml(text, "x.yaml")
    assert line in str(caught.value)


@pytest.mark.parametrize("text", [".trials=2", "search..trials=2", "search.=2"])
def test_an_override_without_a_whole_key_is_refused(text: str) -> None:
    with pytest.raises(StudyError, match="must be KEY=VALUE"):
        parse_override(text)
