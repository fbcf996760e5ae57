"""Tasks: one room each, and trainers.py, which makes the trainer of a trial by its task.

May import: every other room of models. The rooms of two tasks import nothing of each other.
A new task is a room here and an entry in trainers.py.
"""
