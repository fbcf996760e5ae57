"""A bundle as an MLflow model, by the models-from-code way: MLflow keeps this file as it stands and runs it to load.

The bundle lies beside it as the artifact ``bundle``, so nothing is pickled and every file is checked by its SHA-256.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from sweepstack.ensembles.bundle import Bundle, load
from sweepstack.models.errors import DataError


class BundleModel(PythonModel):
    """Texts in, one row a text out."""

    bundle: Bundle

    def load_context(self, context: PythonModelContext) -> None:
        self.bundle = load(Path(context.artifacts["bundle"]))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """label, probability (of it), segments (read), then ``probability_<class>`` for each class; the input's index.

        ``model_input`` is a DataFrame with the bundle's input column (or with one column only), or a list of texts.
        Raises DataError where there is no such column or a cell holds no text.
        """
        texts = self._texts(model_input)
        readings = self.bundle.read(texts)
        columns: dict[str, list[Any]] = {
            "label": [reading.label for reading in readings],
            "probability": [reading.probability for reading in readings],
            "segments": [reading.segments for reading in readings],
        }
        for name in self.bundle.classes:
            columns[f"probability_{name}"] = [reading.probabilities[name] for reading in readings]
        index = model_input.index if isinstance(model_input, pd.DataFrame) else None
        return pd.DataFrame(columns, index=index)

    def _texts(self, model_input: pd.DataFrame | Mapping[str, Any] | Iterable[Any]) -> list[str]:
        if isinstance(model_input, Mapping):  # what a scoring server makes of {"inputs": {"text": [...]}}
            model_input = pd.DataFrame({name: np.ravel(cells) for name, cells in model_input.items()})
        if isinstance(model_input, pd.DataFrame):
            wanted, present = self.bundle.input_column, list(model_input.columns)
            if wanted not in present and len(present) != 1:
                raise DataError(f"the input has no column {wanted!r}, only {present}; name the texts {wanted!r}")
            model_input = model_input[wanted if wanted in present else present[0]]
        cells = list(np.ravel(np.asarray(model_input, dtype=object)))
        for row, cell in enumerate(cells):
            if not isinstance(cell, str):
                raise DataError(f"row {row} of the input must be a text, but got {cell!r}; mend or leave out the row")
        return [str(cell) for cell in cells]


set_model(BundleModel())
