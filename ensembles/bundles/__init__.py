"""Bundles: the folder that holds an ensemble, its card, and its scripts for MLflow.

May import: every other room of ensembles, and models.
A new form of export is a file here.
"""
