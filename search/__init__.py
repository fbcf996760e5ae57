"""What finds trained policies: study file, space, samplers, Ray Tune trials, ledger, MLflow, pipeline, command line.

Public names: ``Study``, ``Result`` and ``on_ray``. Each is loaded when it is asked for, so that the command line's
``--help`` does not wait for it. At this root stand ``format``, which all rooms may import, and the doors, which none
may: the Python interface, the command line, the pipeline, interventions and prediction.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweepstack.search.api import Study
    from sweepstack.search.execution.joblib import on_ray
    from sweepstack.search.report.result import Result

__all__ = ["Result", "Study", "on_ray"]


def __getattr__(name: str) -> Any:
    if name == "Study":
        from sweepstack.search.api import Study

        return Study
    if name == "Result":
        from sweepstack.search.report.result import Result

        return Result
    if name == "on_ray":
        from sweepstack.search.execution.joblib import on_ray

        return on_ray
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
