"""Gymnasium: policies that play environments of the package gymnasium.

May import: every room of models below tasks, and no other task.
A new part of this task (a stage, a player, a checkpoint) is a file here.
"""
