"""Tracking: MLflow as a mirror of a run, from a thread and a process of its own.

May import: execution, stoppers, samplers, ledger, study, ensembles, models, format.
What MLflow is told of something new is a file here.
"""
