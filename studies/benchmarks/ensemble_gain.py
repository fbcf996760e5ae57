"""Does it help to look for what improves the ensemble, and not for the best single trial?

    python studies/benchmarks/ensemble_gain.py [--seeds 5] [--trials 16] [--out runs/ensemble_gain]

studies/reading_r8_shares.yaml, searched by TPE from the same seeds and with as many trials, once with `search.metric:
reward` and once with `ensemble_gain`; nothing is stopped early, so that both spend the same epochs. Of each run, on
test: the best trial, greedy selection over the trials alone, fitted on blend, and the same with the baseline. The
difference is paired by seed: mean, and the 95% interval of a t distribution. The first 8 trials of a pair are the same
random ones. A run that is done is not done again. About two minutes a run on two cores, so twenty in all; the rule was
fixed before test was looked at.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
from scipy.stats import t

from sweepstack.ensembles.builders.base import ranking
from sweepstack.ensembles.builders.selection import Selection
from sweepstack.ensembles.members.library import Library, Member
from sweepstack.ensembles.scoring.objective import Objective
from sweepstack.models.data.labelled import load_dataset
from sweepstack.models.predictions.costs import Costs
from sweepstack.search.report.result import Result

STUDY = Path(__file__).parents[1] / "reading_r8_shares.yaml"
METRICS = ("reward", "ensemble_gain")
ROWS = ("best trial", "selection", "with the baseline")


def searched(folder: Path, metric: str, seed: int, trials: int) -> None:
    """Runs the search, or what of it is left."""
    changes = {"search.metric": metric, "search.seed": seed, "search.stopper": "none", "search.sampler": "tpe"}
    command = [sys.executable, "-m", "sweepstack.search.cli", "search", str(STUDY)]
    command += ["--out", str(folder), "--trials", str(trials), "--json"]
    for key, value in changes.items():
        command += ["--set", f"{key}={value}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def scored(folder: Path) -> dict[str, float]:
    """The reward on test of each of ROWS."""
    result = Result.open(folder)
    dataset = load_dataset(result.study.data, result.study.reading)
    objective = Objective("reward", Costs(result.study.trial_settings().read_cost, dataset.costs))
    trials = [r for r in result.trials if r.state == "complete"]
    members = [Member(f"trial-{r.number}", "trial", result.folder.of(r)) for r in trials]
    members.append(Member("linear", "baseline", result.folder.linear))
    blend, test = (Library.load(members, name, dataset.hashes[name]).stack for name in ("blend", "test"))
    valid = Library.load(members, "valid", dataset.hashes["valid"]).stack
    own, labels = range(len(trials)), dataset.parts["blend"].labels
    best = ranking(valid.take(own), dataset.parts["valid"].labels, objective)[0]
    said = {
        "best trial": test.member(best),
        "selection": Selection().fit(blend.take(own), labels, objective).predict(test),
        "with the baseline": Selection().fit(blend, labels, objective).predict(test),
    }
    return {name: objective.score(each, dataset.parts["test"].labels) for name, each in said.items()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--out", type=Path, default=Path("runs/ensemble_gain"))
    options = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {metric: [] for metric in METRICS}
    print(f"{'seed':5}{'metric':15}" + "".join(f"{name:>19}" for name in ROWS))
    for seed in range(options.seeds):
        for metric in METRICS:
            folder = options.out / f"{metric}-{seed}"
            searched(folder, metric, seed, options.trials)
            found[metric].append(scored(folder))
            print(f"{seed:<5}{metric:15}" + "".join(f"{found[metric][-1][name]:19.4f}" for name in ROWS), flush=True)
    for metric in METRICS:
        print(f"mean {metric:15}" + "".join(f"{np.mean([row[name] for row in found[metric]]):19.4f}" for name in ROWS))
    if options.seeds < 2:
        return
    print("\nensemble_gain over reward, paired by seed")
    for name in ROWS:
        gains = [b[name] - a[name] for a, b in zip(found["reward"], found["ensemble_gain"], strict=True)]
        half = t.ppf(0.975, len(gains) - 1) * np.std(gains, ddof=1) / np.sqrt(len(gains))
        print(f"  {name:18} {np.mean(gains):+.4f} [{np.mean(gains) - half:+.4f}, {np.mean(gains) + half:+.4f}]")


if __name__ == "__main__":
    main()
