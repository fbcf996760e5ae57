"""Samplers: one file each, from the trials so far to the next point.

May import: ledger, study, ensembles, models, format.
A new sampler is a file here and an entry in registry.py.
"""
