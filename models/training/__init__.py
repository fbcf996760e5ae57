"""Training: epochs, warm starts, folds, repetitions and resuming, the same for every task.

May import: baselines, rl, optim, networks, data, predictions, settings. It knows no task: the stage is handed in.
Training that all tasks share is a file here; a part that one task alone has belongs to its room.
"""
