"""Refits: members that are trained for an ensemble, and students of one.

May import: combinations, scoring, members, models.
A new way to train a member is a file here.
"""
