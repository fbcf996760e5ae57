"""Settings of a trial: the sections of a study file that say what is trained, and their checks.

May import: nothing of models but its root (errors, files, seeds). Everything else reads settings.
A new section of the study file is a file here; an option of an existing section goes into its file.
"""
