from typing import Any

import numpy as np
import pandas as pd
import pytest

from sweepstack.ensembles.bundles.input_texts import texts_of
from sweepstack.models.errors import DataError


@pytest.mark.parametrize(
    "given",
    [
        ["a", "b"],
        np.array([["a"], ["b"]]),
        pd.Series(["a", "b"]),
        pd.DataFrame({"only": ["a", "b"]}),
        pd.DataFrame({"id": [1, 2], "text": ["a", "b"]}),
        {"text": np.array([["a"], ["b"]])},
        [["a"], ["b"]],
        (text for text in "ab"),
        pd.Series(["a", "b"], dtype="string"),
        pd.Series(["a", "b"], dtype="category"),
    ],
    ids=["list", "array", "series", "one column", "table", "mapping", "nested", "generator", "string", "category"],
)
def test_texts_are_found_in_any_shape(given: Any) -> None:
    assert texts_of(given, "text") == ["a", "b"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (pd.DataFrame({"a": ["x"], "b": ["y"]}), r"no column 'text', only \['a', 'b'\]"),
        (["a", None], "row 1 of the input must be a text, but got None"),
        (["a", 3], "row 1 of the input must be a text, but got 3"),
        (["a", b"b"], "row 1 of the input must be a text, but got b'b'"),
        (pd.DataFrame([["a", "b"]], columns=["text", "text"]), "2 columns named 'text'"),
        (None, "must be a list, an array or a table of texts, but got None"),
    ],
)
def test_what_is_no_text_is_refused(given: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        texts_of(given, "text")


@pytest.mark.parametrize("nothing", [None, float("nan"), np.nan, pd.NA, pd.NaT])
def test_nothing_is_no_text_in_any_shape(nothing: Any) -> None:
    for given in (["a", nothing], pd.Series(["a", nothing]), pd.DataFrame({"id": [1, 2], "text": ["a", nothing]})):
        with pytest.raises(DataError, match=r"row 1 of the input must be a text, but got .*; mend it, leave it out"):
            texts_of(given, "text")
