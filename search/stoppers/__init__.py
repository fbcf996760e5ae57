"""Stoppers: one file each, from the curves so far to which trials go on; and the budgets of a search.

May import: samplers, ledger, study, ensembles, models, format.
A new stopper is a file here and an entry in registry.py.
"""
