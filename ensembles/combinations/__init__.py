"""Combinations: what an ensemble is once it is fitted, as plain numbers, and how it runs.

May import: scoring, members, models.
A new combination of classifiers is a file here and an entry in registry.py; a new pool is one in pools.py.
"""
