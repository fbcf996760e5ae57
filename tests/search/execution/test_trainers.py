"""What a worker imports to train: nothing of the driver."""

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from sweepstack.models.settings.trial import TrialSettings
from sweepstack.search.execution.trainers import MakeTrainer
from sweepstack.search.execution.writing_reward import RewardOf
from sweepstack.search.ledger.run_folder import RunFolder

LOOK = """
import pickle, sys
with open(sys.argv[1], "rb") as file:
    pickle.load(file)
print(*sorted(sys.modules))
"""
OF_THE_DRIVER = {"optuna", "mlflow", "matplotlib", "sklearn"}
ROOMS = {"execution", "ledger", "study"}  # of search, that what trains may lie in


@pytest.mark.parametrize("reward_of", [None, RewardOf("chrf")], ids=["labels", "texts"])
def test_a_worker_imports_what_it_trains_with_and_nothing_of_the_driver(
    tmp_path: Path, reward_of: RewardOf | None
) -> None:
    run = RunFolder.at(tmp_path)
    make = MakeTrainer(TrialSettings(), None, run.starts, run.trial, "reward", 0.0, reward_of=reward_of)
    (tmp_path / "make").write_bytes(pickle.dumps(make))
    done = subprocess.run(
        [sys.executable, "-c", LOOK, str(tmp_path / "make")], capture_output=True, text=True, check=True, timeout=300
    )
    modules = done.stdout.split()
    assert "torch" in modules
    assert not OF_THE_DRIVER.intersection(modules)
    rooms = {name.split(".")[2] for name in modules if name.startswith("sweepstack.search.")}
    assert rooms <= ROOMS
