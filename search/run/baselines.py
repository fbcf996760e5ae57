"""The honest company of a sweep: a baseline, text pipelines beside it, and the supervised control.

None counts as a trial. The baseline is a linear model, or, where texts are written, a translation memory; it and the
pipelines are fitted once. The control is a small sweep of its own over the same space less γ and λ, with a quarter of
the trials, whose second stage is spent on more supervised training.
"""

import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from sweepstack.models import checksums
from sweepstack.models.baselines.linear import LinearBaseline
from sweepstack.models.baselines.pipelines import PIPELINES
from sweepstack.models.baselines.translation_memory import TranslationMemory
from sweepstack.models.data.bpe import Tokenizers
from sweepstack.models.data.labelled import Dataset
from sweepstack.models.data.pairs import PairDataset, WritingData
from sweepstack.models.files import as_json, read_json
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.probabilities import Predictions
from sweepstack.models.predictions.probabilities import metrics as metrics_of
from sweepstack.models.rl.rewards import RewardOf
from sweepstack.models.settings.trial import Reading, TrialSettings
from sweepstack.models.settings.writing import Writing
from sweepstack.models.tasks.writing.lagging import whole_lagging
from sweepstack.models.tasks.writing.stage import candidate_metrics
from sweepstack.models.training.folds import forget_folds, put_together, unfinished
from sweepstack.models.training.second_stage import PREDICTED
from sweepstack.search.study.axes import Choice
from sweepstack.search.study.search_section import PBTStopper, Search
from sweepstack.search.study.space import Space

CONTROL_SHARE = 4  # the control has a quarter of the trials
FITS = {"linear": LinearBaseline.fit, **PIPELINES}


def is_fitted(folder: Path) -> bool:
    """Whether a member without an optimiser is there, and nobody has deleted it since."""
    return (folder / "result.json").exists() and (folder / "checkpoint" / "config.json").exists()


def fit_linear(
    dataset: Dataset, reading: Reading | Literal["off"], cost: float, folder: Path, name: str = "linear"
) -> dict[str, Any]:
    """Fits and keeps the linear baseline, or a pipeline by its ``name``, as a member in ``folder``; returns its valid
    metrics and the seconds it took.

    What was done before a kill is not done again: ``result.json`` is written last. Under folds there is one a fold. The
    baseline's regularisation, one of six strengths, is still chosen by the rows that the fold holds out, and so is what
    pipelines choose: that flatters them by next to nothing, and never the policies.
    """
    done = folder / "result.json"
    if is_fitted(folder):
        return dict(read_json(done))
    began = time.monotonic()
    costs = Costs(cost, dataset.costs)
    if dataset.folds:
        shutil.rmtree(folder / "checkpoint", ignore_errors=True)  # of a fit that was killed
        for k, fold in enumerate(dataset.folds):
            _fit(name, fold, reading, unfinished(folder, k))
        interval = None if reading == "off" else reading.interval
        labels = [fold.parts["valid"].labels for fold in dataset.folds]
        put_together(folder, labels, dataset.hashes, costs, interval)
        forget_folds(folder, len(labels))
    else:
        _fit(name, dataset, reading, folder)
    part = dataset.part_for("valid")
    said, _ = Predictions.load(folder / "predictions" / f"{part}.safetensors")
    valid = metrics_of(said, dataset.parts[part].labels, costs)
    result = {"valid": valid, "seconds": time.monotonic() - began}
    checksums.put(folder, {done.name: as_json(result)})
    return result


def _fit(name: str, dataset: Dataset, reading: Reading | Literal["off"], folder: Path) -> None:
    member = FITS[name](dataset, reading, None)
    member.save(folder / "checkpoint")
    for part in (part for part in ("valid", "blend", "test") if part in dataset.parts):
        predictions = member.read(dataset.parts[part].inputs)
        predictions.save(folder / "predictions" / f"{part}.safetensors", dataset.hashes[part])


def fit_memory(
    pairs: PairDataset,
    data: WritingData,
    writing: Writing,
    reward_of: RewardOf,
    folder: Path,
    reading: Reading | Literal["off"] = "off",
) -> dict[str, Any]:
    """Fits and keeps the translation memory as a member in ``folder``, with what it proposes for valid, blend and test;
    returns its valid metrics and the seconds it took. What was done before a kill is not done again."""
    done = folder / "result.json"
    if is_fitted(folder):
        return dict(read_json(done))
    began = time.monotonic()
    memory = TranslationMemory.fit(pairs)
    memory.save(folder / "checkpoint")
    proposed = {
        name: memory.write(data.parts[name].inputs, writing.decode.candidates)
        for name in PREDICTED
        if name in data.parts
    }
    if reading != "off":  # a memory looks for the whole source
        proposed = {
            name: replace(each, lagging=whole_lagging(data.parts[name].inputs)) for name, each in proposed.items()
        }
    for name, candidates in proposed.items():
        candidates.save(folder / "predictions" / f"{name}.safetensors", data.hashes[name])
    valid, tokenizers = data.parts["valid"], Tokenizers.from_json(data.tokenizers)
    assert valid.references is not None
    reward = reward_of(data.language)
    cost = 0.0 if reading == "off" else reading.score_cost
    metrics = candidate_metrics(
        proposed["valid"], valid.inputs, valid.references, reward, data.language, tokenizers, cost
    )
    result = {"valid": metrics, "seconds": time.monotonic() - began}
    checksums.put(folder, {done.name: as_json(result)})
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
    return space.without("train.algorithm").fitting(control_settings(settings))[0]


def control_trials(trials: int) -> int:
    return max(1, trials // CONTROL_SHARE)


def control_search(search: Search) -> Search:
    """How the control is searched: as the trials are, but where these are a population. Then it has a quarter of the
    members as trials that nothing stops: they are trained as long as a lineage."""
    if not isinstance(search.stopper, PBTStopper):
        return search.model_copy(update={"trials": control_trials(search.trials)})
    trials = control_trials(search.stopper.pbt.population)
    return search.model_copy(update={"stopper": "none", "trials": trials})
