"""Execution: the trials of a sweep on Ray, its workers, their capacity, and interrupts.

May import: stoppers, samplers, ledger, study, ensembles, models, format.
A new way to run something on Ray, or to look after its processes, is a file here.
"""
