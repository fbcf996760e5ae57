"""Predictions of rows, and their metrics: probabilities of labels, texts, costs, and how numbers are written.

May import: settings.
A new kind of prediction, or a family of metrics, is a file here; the direction of a metric stands in metrics.py.
"""
