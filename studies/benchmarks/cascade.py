"""What is cheaper than an ensemble and nearly as good: a cascade of its members, and a student of it.

    sweepstack run studies/reading_r8_shares.yaml --set "ensembles.distill={model: {d_model: 32, layers: 1}}"
    python studies/benchmarks/cascade.py runs/reading_r8_shares

On test, beside the best single trial: greedy selection over the run's trials and its baseline, the same members as a
cascade (both fitted on blend), and the student that the run has distilled from what it exports. The difference from
selection is paired, with its 95% interval; a latency is the mean over texts that come alone, each the quickest of
three readings, one thread. Aims: the cascade within .002 at 1.5 times one member's latency, the student within .005
at one times it. About a minute. What thresholds a cascade may have was set on valid and blend of runs on R8 and
languages.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from sweepstack.ensembles.builders.base import ranking
from sweepstack.ensembles.builders.cascade import CascadeBuilder
from sweepstack.ensembles.builders.selection import Selection
from sweepstack.ensembles.combinations.cascade import Cascade
from sweepstack.ensembles.combinations.combination import Combination
from sweepstack.ensembles.evaluation.latency import Meter
from sweepstack.ensembles.members.library import Library, Member, Stack
from sweepstack.ensembles.scoring.bootstrap import gain
from sweepstack.ensembles.scoring.objective import Objective
from sweepstack.models.data.labelled import load_dataset
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.probabilities import metrics
from sweepstack.models.tasks.classification.checkpoint import load_member
from sweepstack.search.report.result import Result

TEXTS = 256  # of test, that latency is measured on
MEMBERS = 8
ONE = np.ones(1, dtype=np.float32)


def members_of(result: Result) -> list[Member]:
    """The run's trials, its baseline and, last, its student where there is one."""
    trials = [r for r in result.trials if r.state in ("complete", "pruned")]
    found = [Member(f"trial-{r.number}", "trial", result.folder.of(r)) for r in trials]
    found.append(Member("linear", "baseline", result.folder.linear))
    return found + [member for member in result.built.members if member.name == "student"]


def main(folder: Path) -> None:
    result = Result.open(folder)
    dataset = load_dataset(result.study.data, result.study.reading)
    objective = Objective("reward", Costs(result.study.trial_settings().read_cost, dataset.costs))
    members = members_of(result)
    blend, test = (Library.load(members, name, dataset.hashes[name]).stack for name in ("blend", "test"))
    labels, truth = dataset.parts["blend"].labels, dataset.parts["test"].labels
    own = [place for place, member in enumerate(members) if member.name != "student"]
    trials = [place for place in own if members[place].kind == "trial"]

    def fitted(fit: Callable[[Stack], Combination]) -> Combination:
        found = fit(blend.take(own))
        return replace(found, members=tuple(own[m] for m in found.members))

    best = trials[ranking(blend.take(trials), labels, objective)[0]]
    whole = fitted(lambda stack: Selection(members=MEMBERS).fit(stack, labels, objective))
    rows = {
        "best trial": Combination((best,), ONE),
        "selection": whole,
        "cascade": fitted(lambda stack: CascadeBuilder(members=MEMBERS).fit(stack, labels, objective)),
    }
    if members[-1].name == "student":
        rows["student"] = Combination((len(members) - 1,), ONE)

    meter = Meter(members, dataset.parts["test"].inputs[:TEXTS], load_member)
    served = {name: meter(each) for name, each in rows.items()}
    slowest = max(meter(Combination((place,), ONE)).latency_ms for place in whole.members)
    target = objective.sample(whole.predict(test), truth)
    print(f"{folder.name}; test, n = {len(truth):,}; members {', '.join(members[m].name for m in whole.members)}\n")
    print(f"{'':12}{'reward':>8}{'accuracy':>10}{'read':>6}  {'against selection':26}{'run':>5}{'MB':>6}{'ms':>7}"
          f"{'of 32':>7}{'× trial':>9}")  # fmt: skip
    for name, combination in rows.items():
        said = combination.predict(test)
        figures = metrics(said, truth, objective.costs)
        depth = combination.depths(test).mean() if isinstance(combination, Cascade) else len(combination.members)
        cost = served[name]
        print(
            f"{name:12}{figures['reward']:8.4f}{figures['accuracy']:10.4f}{figures['segments']:6.2f}  "
            f"{gain(objective.sample(said, truth), target)!s:26}{depth:5.2f}{cost.size_mb:6.1f}"
            f"{cost.latency_ms:7.2f}{cost.latency_32_ms:7.2f}"
            f"{cost.latency_ms / served['best trial'].latency_ms:9.2f}",
            flush=True,
        )
    print(f"\nthe slowest member alone: {slowest:.2f} ms")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
