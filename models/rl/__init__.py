"""Policy optimisation: episodes, advantages, the algorithms by name, and the rewards of texts.

May import: optim, networks, data, predictions, settings.
A new algorithm is a file here and an entry in algorithms.py; a new reward is a function and an entry in rewards.py.
"""
