"""Baselines: linear models, pipelines and the translation memory, which every study is compared with.

May import: rl, optim, networks, data, predictions, settings.
A new baseline is a file here.
"""
