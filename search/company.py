"""The honest company of a sweep: the linear baseline and the supervised control.

Neither counts as a trial. The baseline is fitted once; the control is a small sweep of its own over the same space less
γ and λ, with a quarter of the trials, whose second stage is spent on more supervised training.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from sweepstack.models.costs import Costs
from sweepstack.models.data import Dataset
from sweepstack.models.files import read_json, write_json
from sweepstack.models.linear import LinearBaseline
from sweepstack.models.predictions import metrics
from sweepstack.models.settings import Reading, TrialSettings
from sweepstack.search.axes import Choice
from sweepstack.search.space import Space

CONTROL_SHARE = 4  # the control has a quarter of the trials


def fit_linear(dataset: Dataset, reading: Reading | Literal["off"], cost: float, folder: Path) -> dict[str, Any]:
    """Fits and keeps the linear baseline as a member in ``folder``; returns its valid metrics and the seconds it took.

    What was done before a kill is not done again: ``result.json`` is written last.
    """
    done = folder / "result.json"
    if done.exists():
        return dict(read_json(done))
    began = time.monotonic()
    baseline = LinearBaseline.fit(dataset, reading)
    baseline.save(folder / "checkpoint")
    for part in ("valid", "blend", "test"):
        predictions = baseline.read(dataset.parts[part].inputs)
        predictions.save(folder / "predictions" / f"{part}.safetensors", dataset.hashes[part])
        if part == "valid":
            valid = metrics(predictions, dataset.parts[part].labels, Costs(cost, dataset.costs))
    result = {"valid": valid, "seconds": time.monotonic() - began}
    write_json(done, result)
    return result


def control_settings(settings: TrialSettings) -> TrialSettings:
    return settings.with_values({"train.algorithm": "supervised"})


def control_space(spec: Mapping[str, Any], settings: TrialSettings) -> Space | None:
    """The ``space:`` of a study as its control searches it; None where trials are supervised training themselves."""
    space = Space.parse(spec, settings)
    searched = [axis for axis in space.axes if axis.path == "train.algorithm" and isinstance(axis, Choice)]
    algorithms = [option.value for axis in searched for option in axis.options] or [settings.train.algorithm]
    if "supervised" in algorithms:
        return None
    return space.without(["train.algorithm"]).fitting(control_settings(settings))[0]


def control_trials(trials: int) -> int:
    return max(1, trials // CONTROL_SHARE)
