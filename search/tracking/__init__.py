"""Tracking: MLflow as a mirror of a run, from a thread and a process of its own.

May import: execution, stoppers, samplers, ledger, study, ensembles, models, format.
A new kind of record in MLflow is a file here.
"""
