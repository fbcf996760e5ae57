"""Stoppers: one file each, which say when a trial ends early; and the budgets of a search.

May import: samplers, ledger, study, ensembles, models, format.
A new stopper is a file here and an entry in registry.py.
"""
