"""A checkpoint of several folds: one folder a fold below it, and a config.json that counts them."""

from pathlib import Path

from sweepstack.models import checksums
from sweepstack.models.files import as_json

FOLDS_FORMAT = 1


def fold_folders(checkpoint: Path, folds: int) -> list[Path]:
    """Where a checkpoint of several folds has those of each."""
    return [checkpoint / f"fold-{k}" for k in range(1, folds + 1)]


def save_folds(checkpoint: Path, folds: int) -> None:
    """Makes one checkpoint of those that lie in :func:`fold_folders`."""
    checksums.put(checkpoint, {"config.json": as_json({"format": FOLDS_FORMAT, "kind": "folds", "folds": folds})})
