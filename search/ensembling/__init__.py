"""Ensembling: the stages after the search, from finished trials to a chosen and exported ensemble.

May import: every other room of search, ensembles, models, format.
A new stage after the search is a file here.
"""
