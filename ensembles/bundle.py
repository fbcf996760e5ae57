"""The path that earlier models in MLflow import: see bundles/bundle.py."""

from sweepstack.ensembles.bundles.bundle import Bundle, load

__all__ = ["Bundle", "load"]
