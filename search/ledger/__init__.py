"""Ledger: the run folder, the journal and its records; the truth that a run goes on from.

May import: study, ensembles, models, format.
A new kind of record is a file here, and the name of its attribute stands in attributes.py.
"""
