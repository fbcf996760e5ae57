"""A bundle that writes as an MLflow model, by the models-from-code way, as pyfunc.py is for classifiers.

The bundle lies beside it as the artifact ``bundle``, so nothing is pickled and every file is checked by its SHA-256.
"""

import json
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from sweepstack.ensembles.bundles.input_texts import texts_of
from sweepstack.ensembles.bundles.writing_bundle import WritingBundle, load

CANDIDATES = 1  # the default of the parameter ``candidates``


class WritingModel(PythonModel):
    """Texts in, one row a text out."""

    bundle: WritingBundle

    def load_context(self, context: PythonModelContext) -> None:
        self.bundle = load(Path(context.artifacts["bundle"]))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """text, score, cut, and candidates (JSON: a list of {text, score}, best first), and lagging where the study
        counts it; the input's index.

        ``model_input`` is a DataFrame with the bundle's input column (or with one column only), or a list of texts;
        ``params`` may hold ``candidates``, how many of them a row has at most. Raises DataError where there is no such
        column, or a cell holds no text or an empty one.
        """
        count = int((params or {}).get("candidates", CANDIDATES))
        written = self.bundle.write(texts_of(model_input, self.bundle.input_column), count)
        columns: dict[str, list[Any]] = {
            "text": [each.text for each in written],
            "score": [each.score for each in written],
            "cut": [each.cut for each in written],
            "candidates": [
                json.dumps([{"text": text, "score": score} for text, score in each.candidates], ensure_ascii=False)
                for each in written
            ],
        }
        if self.bundle.lags:
            columns["lagging"] = [each.lagging for each in written]
        index = model_input.index if isinstance(model_input, pd.DataFrame) else None
        return pd.DataFrame(columns, index=index)


set_model(WritingModel())
