"""Runs the command line as a user would: in processes of its own, on a small study of real data."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

LANGUAGES = ("de", "fr", "it", "tr")
MARK = "SWEEPSTACK_TEST_FOLDER"
ROWS = 220  # of each language

STUDY: dict[str, Any] = {
    "version": 1,
    "name": "small",
    "task": "classification",
    "data": {
        "train": "phrases.jsonl",
        "splits": {"test": 0.2, "policy": 0.3, "valid": 0.15, "blend": 0.15},
    },
    "reading": {"unit": "characters", "segment": 3, "max_segments": 5, "cost": 0.02},
    "model": {"d_model": 16, "heads": 2},
    "train": {"warm_start": {"epochs": 3, "lr": 1e-2}, "epochs": 2},
    "space": {
        "train.lr": {"log": [1e-3, 3e-2]},
        "train.lr_schedule": ["constant", "cosine"],
        "train.batch_size": [64, 128],
        "train.gamma": {"near_one": [0.9, 0.9999]},
        "train.gae_lambda": {"near_one": [0.5, 0.999]},
        "train.warm_start.seed": [0, 1],
    },
    "search": {"sampler": "random", "stopper": "none", "trials": 4},
    "ensembles": {
        "builders": ["average", "selection", {"stacking": {"top": 4}}, {"bagging": {"top": 1, "members": 2}}]
    },
}


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "sweepstack.search.cli", *map(str, arguments)]


def marked(folder: Path) -> dict[str, str]:
    """The environment, with a mark that every process inherits, by which processes_of finds it."""
    return {**os.environ, MARK: str(folder)}


def sweepstack(
    *arguments: object, cwd: Path, stdin: str = "", timeout: float = 300
) -> subprocess.CompletedProcess[str]:
    """The finished command, with its output; a user's terminal is not simulated."""
    return subprocess.run(
        command(*arguments),
        cwd=cwd,
        env=marked(cwd),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def write_study(folder: Path, name: str = "small.yaml", **changes: Any) -> Path:
    """The small study as a file in ``folder``, with top-level parts replaced, or left out where the change is None."""
    content = {key: value for key, value in {**STUDY, **changes}.items() if value is not None}
    path = folder / name
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")  # JSON is YAML
    return path


def processes_of(folder: Path) -> list[str]:
    """Command lines of live processes that commands run in ``folder`` have started, however far removed."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if f"{MARK}={folder}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            except OSError:
                continue
    return found
