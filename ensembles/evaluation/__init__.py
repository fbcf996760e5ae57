"""Evaluation: the table of ensembles, the choice, the verdict, what serving costs, and trust on test.

May import: builders, refits, combinations, scoring, members, models.
A new diagnosis of an ensemble is a file here.
"""
