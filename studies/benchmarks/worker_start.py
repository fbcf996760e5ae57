"""What a worker waits for before its first trial: the imports that unpickling its MakeTrainer brings.

Seconds and megabytes of a fresh process that unpickles one, beside one that imports torch and Ray Tune alone, which no
trial on Ray can do without, and one that imports the whole pipeline, as a driver does. Medians of five, taken in turn.

    python studies/benchmarks/worker_start.py
"""

import pickle
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from sweepstack.models.settings.trial import TrialSettings
from sweepstack.search.execution.trainers import MakeTrainer
from sweepstack.search.ledger.run_folder import RunFolder

ROUNDS = 5
MEASURED = """
import resource, sys, time
began = time.perf_counter()
{what}
print(time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, len(sys.modules))
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        run, path = RunFolder.at(Path(scratch)), Path(scratch) / "make"
        path.write_bytes(pickle.dumps(MakeTrainer(TrialSettings(), None, run.starts, run.trial, "reward", 0.0)))
        imports = {
            "torch and Ray Tune": "import torch, ray.tune",
            "a worker": f"import pickle; pickle.loads(open({str(path)!r}, 'rb').read())",
            "the pipeline": "import sweepstack.search.pipeline",
        }
        found: dict[str, list[list[float]]] = {name: [] for name in imports}
        for _ in range(ROUNDS):
            for name, what in imports.items():
                command = [sys.executable, "-c", MEASURED.format(what=what)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                found[name].append([float(value) for value in done.stdout.split()])
    print(f"{'':22}{'seconds':>9}{'MB':>7}{'modules':>9}")
    for name, rows in found.items():
        seconds, size, modules = (statistics.median(column) for column in zip(*rows, strict=True))
        print(f"{name:22}{seconds:9.2f}{size:7.0f}{modules:9.0f}")


if __name__ == "__main__":
    main()
