"""Execution: the trials of a sweep on Ray, its workers, their capacity, and interrupts.

May import: stoppers, samplers, ledger, study, ensembles, models, format.
What runs on Ray, or looks after its processes, is a file here.
"""
