"""Training: epochs, warm starts, folds, repetitions and resuming, whatever the task is.

May import: baselines, rl, optim, networks, data, predictions, settings. It knows no task: the stage is handed in.
What all tasks train by is a file here; what one task alone has belongs to its room.
"""
