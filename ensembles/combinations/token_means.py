"""The means of several members' next tokens, by name, as token_average.py makes them."""

MEANS = ("probabilities", "log_probabilities")  # of next tokens, see token_average.py
