"""Study: the study file with its search and ensembles sections, the space, and messages about mistakes.

May import: ensembles, models, format.
A new section of the study file that says how to search is a file here.
"""
