"""Combinations: fitted ensembles as plain numbers, and how they run.

May import: scoring, members, models.
A new combination of classifiers is a file here and an entry in registry.py; a new pool is one in pools.py.
"""
