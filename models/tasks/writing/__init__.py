"""Writing: policies that translate or generate texts, also while they read.

May import: every room of models below tasks, and no other task.
A new part of this task (a stage, a player, a checkpoint) is a file here.
"""
