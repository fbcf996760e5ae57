"""Report: terminal, tables, pictures and page of a run, and the results read from a run folder.

May import: tracking, execution, stoppers, samplers, ledger, study, ensembles, models, format.
A new table, picture or line is a file here; the templates of the page lie in templates/.
"""
