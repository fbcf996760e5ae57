"""Report: what a run says on the terminal, in its tables and on its page, and the results of a run folder.

May import: tracking, execution, stoppers, samplers, ledger, study, ensembles, models, format.
A new table, picture or line is a file here; the templates of the page lie in templates/.
"""
