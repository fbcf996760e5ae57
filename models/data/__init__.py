"""Data: from files over rows and disjoint parts to the arrays that are trained on.

May import: predictions, settings.
A new file format goes into file_formats.py; a new source of data, a way to split or to encode is a file here.
"""
