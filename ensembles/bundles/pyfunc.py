"""A bundle as an MLflow model, by the models-from-code way: MLflow keeps this file as it stands and runs it to load.

The bundle lies beside it as the artifact ``bundle``, so nothing is pickled and every file is checked by its SHA-256.
"""

from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from sweepstack.ensembles.bundles.bundle import Bundle, load
from sweepstack.ensembles.bundles.input_texts import texts_of


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
        texts = texts_of(model_input, self.bundle.input_column)
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


set_model(BundleModel())
