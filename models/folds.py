"""A trial under folds: K policies, each trained without another part of the rows, one after the other, as one member.

What it says of training rows are its *out-of-fold* predictions: each row's are by the one policy that has not seen it
(Stone 1974; Wolpert 1992). What it says of any other text is the mean of all K.

No choice is made by a row that it is then scored on. So a fold keeps its last epoch, not its best one; and where a
member has no learned stop, the threshold that a fold's rows are answered at was fitted on the other folds' rows. New
texts are answered at the one that was fitted on all rows.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from sweepstack.models import checksums
from sweepstack.models.checkpoints import fold_folders, save_folds
from sweepstack.models.costs import Costs
from sweepstack.models.data import OUT_OF_FOLD
from sweepstack.models.encoding import TaskData, labels_of
from sweepstack.models.files import as_json, read_json
from sweepstack.models.pairs import WritingData
from sweepstack.models.parts import PartsTrainer, TrainerLike
from sweepstack.models.predictions import (
    Ints,
    Predictions,
    answer_above,
    fit_threshold,
    mean_of,
    one_after_another,
    thresholds_over,
)
from sweepstack.models.settings import TrialSettings
from sweepstack.models.trainer import Trainer
from sweepstack.models.writing_stage import RewardOf


def make_trainer(
    settings: TrialSettings,
    data: TaskData | WritingData | None,
    starts: Path,
    folder: Path,
    metric: str,
    cost: float | None = None,
    chosen: bool = True,
    until: int | None = None,
    reward_of: RewardOf | None = None,
) -> TrainerLike:
    """A trainer of one trial, see :class:`Trainer`; under folds its epochs are those of one fold after the other, and
    the last epoch of each is kept."""
    if not isinstance(data, TaskData) or not data.folds:
        return Trainer(settings, data, starts, folder, metric, cost, chosen, until=until, reward_of=reward_of)
    folds = data.folds

    def of_fold(k: int) -> Trainer:
        return Trainer(settings, folds[k], starts, unfinished(folder, k), metric, cost, chosen=False)

    def ended(k: int) -> None:
        if k == len(folds) - 1:
            read_cost = settings.read_cost if cost is None else cost
            interval = None if settings.reading == "off" else settings.reading.interval
            labels = [labels_of(fold, "valid") for fold in folds]
            put_together(folder, labels, data.hashes, Costs(read_cost, data.costs), interval)

    return _FoldsTrainer(folder, len(folds), settings.train.epochs, of_fold, ended)


class _FoldsTrainer(PartsTrainer):
    @property
    def kept(self) -> bool:
        """Without all its folds nobody knows what a trial would say of the other rows."""
        return self._ended == self.parts

    def close(self, finished: bool) -> None:
        super().close(finished)
        if finished:
            forget_folds(self.folder, self.parts)


def unfinished(folder: Path, k: int) -> Path:
    """The folder of fold ``k`` (from 0) of a member in ``folder``, until all are put together."""
    return folder / f"fold-{k + 1}"


def put_together(
    folder: Path, labels: Sequence[Ints], hashes: Mapping[str, str], costs: Costs, interval: tuple[float, float] | None
) -> None:
    """Makes one member of the K whose folders are :func:`unfinished`, each with ``checkpoint/`` and predictions of the
    rows that it was not trained on, ``valid``, and of ``test``.

    Then ``folder`` has ``checkpoint/``, and predictions of ``out_of_fold`` and ``test``. It may be called again, after
    a kill. ``labels``: of the rows that each fold holds out; ``interval`` of costs of a READ: as in
    predictions.thresholds_over.
    """
    checkpoint, folds = folder / "checkpoint", len(labels)
    if (checkpoint / "config.json").exists():
        return
    for k, kept in enumerate(fold_folders(checkpoint, folds)):
        if not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            (unfinished(folder, k) / "checkpoint").rename(kept)
    held_out = [_predictions(unfinished(folder, k), "valid") for k in range(folds)]
    test = [_predictions(unfinished(folder, k), "test") for k in range(folds)]
    configs = [path / "config.json" for path in fold_folders(checkpoint, folds)]
    if read_json(configs[0])["threshold"] is not None:
        held_out, threshold = nested_thresholds(held_out, labels, costs)
        test = [answer_above(each.probabilities, each.n_segments, threshold, costs) for each in test]
        rows = one_after_another(held_out)
        table = thresholds_over(interval, rows.probabilities, rows.n_segments, np.concatenate(labels), costs)
        own = {"threshold": threshold, "thresholds": None if table is None else [list(pair) for pair in table]}
        for config in configs:
            checksums.put(config.parent, {config.name: as_json({**read_json(config), **own})})
    for name, predictions in ((OUT_OF_FOLD, one_after_another(held_out)), ("test", mean_of(test))):
        predictions.save(folder / "predictions" / f"{name}.safetensors", hashes[name])
    save_folds(checkpoint, folds)


def forget_folds(folder: Path, folds: int) -> None:
    """Removes what folds have left that were put together, or never will be."""
    for k in range(folds):
        shutil.rmtree(unfinished(folder, k), ignore_errors=True)


def nested_thresholds(
    held_out: Sequence[Predictions], labels: Sequence[Ints], costs: Costs
) -> tuple[list[Predictions], float]:
    """For a member without a learned stop: the folds' predictions, each answering at the threshold that suits the rows
    of the others; and the threshold that suits all rows."""

    def fitted(folds: list[int]) -> float:
        rows = one_after_another([held_out[k] for k in folds])
        return fit_threshold(rows.probabilities, rows.n_segments, np.concatenate([labels[k] for k in folds]), costs)

    everything = list(range(len(held_out)))
    answered = []
    for k, each in enumerate(held_out):
        threshold = fitted([other for other in everything if other != k])
        answered.append(answer_above(each.probabilities, each.n_segments, threshold, costs))
    return answered, fitted(everything)


def _predictions(folder: Path, part: str) -> Predictions:
    return Predictions.load(folder / "predictions" / f"{part}.safetensors")[0]
