from typing import Any

import numpy as np
import pandas as pd
import pytest

from sweepstack.ensembles.input_texts import texts_of
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
    ],
    ids=["list", "array", "series", "one column", "table", "mapping"],
)
def test_texts_are_found_in_any_shape(given: Any) -> None:
    assert texts_of(given, "text") == ["a", "b"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (pd.DataFrame({"a": ["x"], "b": ["y"]}), r"no column 'text', only \['a', 'b'\]"),
        (["a", None], "row 1 of the input must be a text, but got None"),
    ],
)
def test_what_is_no_text_is_refused(given: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        texts_of(given, "text")
