"""The path that earlier models in MLflow import: see bundles/input_texts.py."""

from sweepstack.ensembles.bundles.input_texts import texts_of

__all__ = ["texts_of"]
