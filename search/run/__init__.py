"""Run: a run folder opened for work, with its data, baselines, wall time, provenance and requests.

May import: report, tracking, execution, stoppers, samplers, ledger, study, ensembles, models, format.
A new part of a session (data, baseline, request, check) is a file here.
"""
