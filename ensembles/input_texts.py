"""The texts that a served model is given: a table with a column of them, or a list."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from sweepstack.models.errors import DataError


def texts_of(model_input: pd.DataFrame | Mapping[str, Any] | Iterable[Any], wanted: str) -> list[str]:
    """The column ``wanted`` of a table, or its only one. Raises DataError where there is none, or a cell is no text."""
    if isinstance(model_input, Mapping):  # what a scoring server makes of {"inputs": {"text": [...]}}
        model_input = pd.DataFrame({name: np.ravel(cells) for name, cells in model_input.items()})
    if isinstance(model_input, pd.DataFrame):
        present = list(model_input.columns)
        if wanted not in present and len(present) != 1:
            raise DataError(f"the input has no column {wanted!r}, only {present}; name the texts {wanted!r}")
        model_input = model_input[wanted if wanted in present else present[0]]
    cells = list(np.ravel(np.asarray(model_input, dtype=object)))
    for row, cell in enumerate(cells):
        if not isinstance(cell, str):
            raise DataError(f"row {row} of the input must be a text, but got {cell!r}; mend or leave out the row")
    return [str(cell) for cell in cells]
