"""Builders: one file each, from the predictions of members to a combination.

May import: refits, combinations, scoring, members, models.
A new builder is a file here and an entry in registry.py, or in text_builders.py where texts are combined.
"""
