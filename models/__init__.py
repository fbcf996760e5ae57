"""The training of one trial: settings, data and text, the Transformer policy, GAE and policy gradient, checkpoints.

Public name: ``PolicyClassifier``, loaded when it is asked for. At this root stands what all rooms may import: errors,
files, checksums, seeds and a bounded memory.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweepstack.models.tasks.classification.estimator import PolicyClassifier

__all__ = ["PolicyClassifier"]


def __getattr__(name: str) -> Any:
    if name == "PolicyClassifier":
        from sweepstack.models.tasks.classification.estimator import PolicyClassifier

        return PolicyClassifier
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
