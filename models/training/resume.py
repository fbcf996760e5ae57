"""What an unfinished trial needs to go on: weights and optimiser as ``resume-<epoch>.safetensors``, reports as JSON.

``state.json`` is written last, because it says which of them is whole. What an optimiser holds beside tensors (counts
of steps, sums, lists) stands as JSON in the metadata of the safetensors file, so that there is no pickle.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor
from torch.nn import Parameter

from sweepstack.models import checksums
from sweepstack.models.errors import DamagedError
from sweepstack.models.files import as_json, read_json
from sweepstack.models.optim.optimizers import average_of, to_evaluation, to_training

AVERAGE = "average/"  # what the names of tensors begin with that averaging.Average keeps
Reports = Sequence[Mapping[str, float]]
log = logging.getLogger(__name__)


def read_reports(folder: Path) -> list[dict[str, float]]:
    """Of the epochs that are done, in order; none where no trial was interrupted. Raises DamagedError."""
    path = folder / "state.json"
    checksums.check(path)
    return [dict(report) for report in read_json(path)["reports"]] if path.exists() else []


def whole_reports(folder: Path) -> list[dict[str, float]]:
    """As :func:`read_reports`; but where what a trial would go on from is damaged or gone, it is forgotten: the trial
    is trained from its beginning, and comes to the same."""
    try:
        reports = read_reports(folder)
        if reports:
            checksums.check(_tensors_of(folder, len(reports)), there=True)
    except DamagedError as error:
        log.warning("a trial begins again, as %s", error)
        forget_state(folder)
        return []
    return reports


def save_state(
    folder: Path,
    trained: Mapping[str, Parameter],
    optimizer: torch.optim.Optimizer,
    reports: Reports,
    extra: Mapping[str, float] | None = None,
) -> None:
    """``trained``: by name, the parameters that the optimiser was made of and others; ``extra``: what else to keep.

    Inside :func:`optimizers.evaluating` or outside: training goes on from it either way.
    """
    average = average_of(optimizer)
    weights: Mapping[str, Tensor] = trained if average is None else {**trained, **average.weights()}
    tensors = {f"weight/{name}": p.detach() for name, p in weights.items()}
    kept: dict[str, Any] = {"extra": dict(extra or {})}
    if average is not None:
        kept["averaged"] = average.steps
        tensors |= {AVERAGE + name: t for name, t in average.tensors().items()}
    kept["state"] = {
        name: {key: _packed(value, f"optimizer/{name}/{key}", tensors) for key, value in optimizer.state[p].items()}
        for name, p in trained.items()
        if p in optimizer.state
    }
    # Its settings are not kept, only what training has changed: those are the caller's to say.
    kept["groups"] = [
        {key: value for key, value in group.items() if key in optimizer.defaults and value != optimizer.defaults[key]}
        for group in optimizer.param_groups
    ]
    epoch = len(reports)
    content = save({name: t.cpu().contiguous() for name, t in tensors.items()}, {"kept": json.dumps(kept)})
    checksums.put(folder, {_tensors_of(folder, epoch).name: content})
    checksums.put(folder, {"state.json": as_json({"reports": list(reports)})})
    checksums.remove(_tensors_of(folder, epoch - 1))


def load_state(
    folder: Path, trained: Mapping[str, Parameter], optimizer: torch.optim.Optimizer, epoch: int
) -> dict[str, float]:
    """The state after ``epoch`` epochs, into the parameters and their optimiser, ready to train; returns ``extra``."""
    checksums.check(_tensors_of(folder, epoch))
    with safe_open(_tensors_of(folder, epoch), framework="pt") as file:
        # Copied to where torch allocates: a dot product sums in an order that depends on the alignment of its memory.
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        kept = json.loads(file.metadata()["kept"])
    average = average_of(optimizer)
    if average is not None:
        of_average = {name.removeprefix(AVERAGE): t for name, t in tensors.items() if name.startswith(AVERAGE)}
        average.restore(kept["averaged"], of_average)
    else:
        to_evaluation(optimizer)  # what it is by default, and what is kept differs from
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(tensors[f"weight/{name}"])
    places = {p: i for i, p in enumerate(chain.from_iterable(group["params"] for group in optimizer.param_groups))}
    state = {
        places[parameter]: {key: _unpacked(value, tensors) for key, value in kept["state"][name].items()}
        for name, parameter in trained.items()
        if name in kept["state"]
    }
    groups = [{**now, **then} for now, then in zip(optimizer.state_dict()["param_groups"], kept["groups"], strict=True)]
    # The optimiser puts each tensor where it needs it: moments beside the weights, its count of steps where it counts.
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    if average is None:
        to_training(optimizer)
    return dict(kept["extra"])


def holds_state(folder: Path, epoch: int) -> bool:
    return _tensors_of(folder, epoch).exists()


def forget_state(folder: Path) -> None:
    """Removes what a trial that has ended no longer needs."""
    for path in (folder / checksums.NAME, folder / "state.json", *folder.glob("resume-*.safetensors")):
        path.unlink(missing_ok=True)


def _packed(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """``value`` as JSON, its tensors put into ``tensors`` and referred to by name; lists may hold some, too."""
    if isinstance(value, Tensor):
        tensors[name] = value.detach()
        return {"tensor": name}
    if isinstance(value, list):
        return [_packed(each, f"{name}/{i}", tensors) for i, each in enumerate(value)]
    return value


def _unpacked(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, dict):
        return tensors[value["tensor"]]
    if isinstance(value, list):
        return [_unpacked(each, tensors) for each in value]
    return value


def _tensors_of(folder: Path, epoch: int) -> Path:
    return folder / f"resume-{epoch}.safetensors"
