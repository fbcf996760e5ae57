"""Networks: policies and writers, their layers and kernels, decoding, precision and device.

May import: data, predictions, settings.
A new backbone or layer is a file here. Nothing here trains.
"""
