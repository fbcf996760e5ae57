"""The documented place of on_ray, which lies with what runs on Ray: execution/joblib.py."""

from sweepstack.search.execution.joblib import on_ray

__all__ = ["on_ray"]
