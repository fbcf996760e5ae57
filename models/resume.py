"""What an unfinished trial needs to go on: weights and optimiser as ``resume-<epoch>.safetensors``, reports as JSON.

``state.json`` is written last, because it says which of them is whole.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch.nn import Parameter

from sweepstack.models.files import read_json, write_atomic, write_json

Reports = Sequence[Mapping[str, float]]


def read_reports(folder: Path) -> list[dict[str, float]]:
    """Of the epochs that are done, in order; none where no trial was interrupted."""
    path = folder / "state.json"
    return [dict(report) for report in read_json(path)["reports"]] if path.exists() else []


def save_state(
    folder: Path, trained: Mapping[str, Parameter], optimizer: torch.optim.Optimizer, reports: Reports
) -> None:
    """``trained``: by name, the parameters that the optimiser was made of, in its order."""
    tensors = {f"weight/{name}": p.detach() for name, p in trained.items()}
    for name, parameter in trained.items():
        for key, value in optimizer.state.get(parameter, {}).items():
            if value is not None:
                tensors[f"optimizer/{name}/{key}"] = torch.as_tensor(value)
    epoch = len(reports)
    write_atomic(_tensors_of(folder, epoch), save({name: t.cpu().contiguous() for name, t in tensors.items()}))
    write_json(folder / "state.json", {"reports": list(reports)})
    _tensors_of(folder, epoch - 1).unlink(missing_ok=True)


def load_state(folder: Path, trained: Mapping[str, Parameter], optimizer: torch.optim.Optimizer, epoch: int) -> None:
    """The state after ``epoch`` epochs, into the parameters and their optimiser."""
    tensors = load_file(_tensors_of(folder, epoch))
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(tensors[f"weight/{name}"])
    state: dict[int, dict[str, torch.Tensor]] = {}
    for i, name in enumerate(trained):
        prefix = f"optimizer/{name}/"
        found = {key.removeprefix(prefix): t for key, t in tensors.items() if key.startswith(prefix)}
        if found:
            state[i] = found
    # The optimiser puts each tensor where it needs it: moments beside the weights, its count of steps where it counts.
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def forget_state(folder: Path) -> None:
    """Removes what a trial that has ended no longer needs."""
    for path in (folder / "state.json", *folder.glob("resume-*.safetensors")):
        path.unlink(missing_ok=True)


def _tensors_of(folder: Path, epoch: int) -> Path:
    return folder / f"resume-{epoch}.safetensors"
