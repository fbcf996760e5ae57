"""Scoring: objectives, bootstrap, cross-fitting, temperature, conformal sets and chances.

May import: members, models.
A new statistic of predictions is a file here.
"""
