"""What finds trained policies: study file, space, samplers, Ray Tune trials, ledger, MLflow, pipeline, command line.

``Study`` is loaded when it is asked for, so that the command line's ``--help`` does not wait for it.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweepstack.search.api import Study

__all__ = ["Study"]


def __getattr__(name: str) -> Any:
    if name == "Study":
        from sweepstack.search.api import Study

        return Study
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
