"""The texts that a served model is given: a table with a column of them, or a list."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Union

import numpy as np

from sweepstack.models.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

Texts = Union["pd.DataFrame", Mapping[str, Any], Iterable[Any]]


def texts_of(model_input: Texts, wanted: str) -> list[str]:
    """The column ``wanted`` of a table, or its only one.

    Raises DataError where there is no such column, or a cell is no text. None, nan and NA are none: only the caller
    knows what is missing there.
    """
    import pandas as pd  # half a second

    if isinstance(model_input, str | bytes):
        raise TypeError(f"texts must be a sequence of strings, but got one string: [{model_input[:40]!r}] may be meant")
    if isinstance(model_input, Mapping):  # what a scoring server makes of {"inputs": {"text": [...]}}
        model_input = pd.DataFrame({name: np.ravel(cells) for name, cells in model_input.items()})
    if isinstance(model_input, pd.DataFrame):
        present = list(model_input.columns)
        if wanted not in present and len(present) != 1:
            raise DataError(f"the input has no column {wanted!r}, only {present}; name the texts {wanted!r}")
        model_input = model_input[wanted if wanted in present else present[0]]
        if isinstance(model_input, pd.DataFrame):
            raise DataError(f"the input has {model_input.shape[1]} columns named {wanted!r}; leave one of them")
    if not isinstance(model_input, Iterable):
        raise DataError(f"the input must be a list, an array or a table of texts, but got {model_input!r}")
    cells = list(np.ravel(np.asarray([*model_input], dtype=object)))
    for row, cell in enumerate(cells):
        if not isinstance(cell, str):
            raise DataError(
                f"row {row} of the input must be a text, but got {cell!r}; mend it, leave it out, or give ''"
            )
    return [str(cell) for cell in cells]
