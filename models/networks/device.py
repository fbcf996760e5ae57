"""The device of a policy: torch's, by the name that a study gives it."""

import torch

from sweepstack.models.errors import TrainingError


def pick_device(name: str) -> torch.device:
    """The device of that name; auto is a GPU where there is one. Raises TrainingError where there is no such device."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise TrainingError(f"device is {name}, but torch finds no CUDA device on this machine; take auto or cpu")
    return torch.device(name)
