"""The folder of supervised starts, whatever they are starts of: each is trained once, and named by what it depends on.

``starts/<hash>/`` appears when it is whole, however many workers ask for it at once and whatever kills them. Beside the
starts stands the precision that a study trains in, decided by the first process that asks.
"""

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sweepstack.models import checksums
from sweepstack.models.files import locked, read_json, write_json
from sweepstack.models.networks.precision import Calibration
from sweepstack.models.settings.trial import PRECISION_FILE, TrialSettings

log = logging.getLogger(__name__)
START_FILE = "start.json"  # beside a start's weights: the seconds that it took


def hash_of(depends_on: Sequence[Any]) -> str:
    """Sixteen hex digits of what a start depends on, as JSON."""
    return hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()[:16]


def ensure(starts: Path, name: str, train: Callable[[Path], None]) -> Path:
    """The folder ``starts/name``, made now if nobody has or if it is damaged; waits while somebody else makes it.

    ``train`` writes the start into the folder that it is given, which has another name until it is whole.
    """
    folder = starts / name
    if folder.exists() and checksums.is_whole(folder):
        return folder
    with locked(starts / f".{name}.lock"):
        if folder.exists() and not checksums.is_whole(folder):
            log.warning("the supervised start %s was damaged, and is trained again", folder)
            shutil.rmtree(folder)
        if not folder.exists():
            unfinished = starts / f".{name}.new"
            shutil.rmtree(unfinished, ignore_errors=True)
            began = time.monotonic()
            train(unfinished)
            write_json(unfinished / START_FILE, {"seconds": time.monotonic() - began})
            unfinished.rename(folder)
    return folder


def decided_precision(
    settings: TrialSettings, starts: Path, calibrate: Callable[[TrialSettings], Calibration]
) -> TrialSettings:
    """The settings with a precision that is decided: where it is auto, by the first process that asks, for all trials.

    The measurement stands in ``starts/.precision.json`` from then on. What ``calibrate`` raises where the device has
    not what the settings want is passed on.
    """
    decided = starts / PRECISION_FILE
    if settings.precision == "auto" and not decided.exists():
        with locked(starts / f"{PRECISION_FILE}.lock"):
            if not decided.exists():
                write_json(decided, calibrate(settings))
    found = read_json(decided) if settings.precision == "auto" else calibrate(settings)
    return settings.with_values({"precision": found["precision"]})
