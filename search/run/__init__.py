"""Run: a run folder opened for work, with its data, baselines, wall time, provenance and requests.

May import: report, tracking, execution, stoppers, samplers, ledger, study, ensembles, models, format.
What a session prepares or looks after is a file here.
"""
