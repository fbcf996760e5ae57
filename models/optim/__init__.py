"""Optimisation: optimisers and schedules by name, steps, batches, gradient noise and averaged weights.

May import: networks, data, predictions, settings.
A new optimiser or schedule is a function and an entry in the registry of its file.
"""
