"""The path that earlier models in MLflow import: see bundles/writing_bundle.py."""

from sweepstack.ensembles.bundles.writing_bundle import WritingBundle, load

__all__ = ["WritingBundle", "load"]
