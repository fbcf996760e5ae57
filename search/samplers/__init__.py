"""Samplers: one file each, which say where the next trial looks.

May import: ledger, study, ensembles, models, format.
A new sampler is a file here and an entry in registry.py.
"""
