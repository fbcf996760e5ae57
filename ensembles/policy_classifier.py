"""The documented place of PolicyClassifier, which lies with its task: models/tasks/classification/estimator.py."""

from sweepstack.models.tasks.classification.estimator import PolicyClassifier

__all__ = ["PolicyClassifier"]
