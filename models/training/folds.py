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
from sweepstack.models.data.labelled import OUT_OF_FOLD
from sweepstack.models.files import as_json, read_json
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.probabilities import (
    Ints,
    Predictions,
    answer_above,
    fit_threshold,
    mean_of,
    one_after_another,
    thresholds_over,
)
from sweepstack.models.training.fold_checkpoint import fold_folders, save_folds
from sweepstack.models.training.parts import PartsTrainer


class FoldsTrainer(PartsTrainer):
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
    probabilities.thresholds_over.
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
