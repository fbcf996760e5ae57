"""Accuracy against text read as the cost of reading goes from 0 to .1: one policy told the cost, and its rivals.

    sweepstack run studies/reading_cost.yaml
    python studies/benchmarks/reading_front.py runs/reading_cost

For each cost, on test: the best single policy of the run, asked for that cost; the linear baseline, and that
policy's own label probabilities, each answering above the threshold that is best at that cost on valid. The policy's
reward over the baseline's is paired, with its 95% interval. Under a minute.
"""

import sys
from pathlib import Path

import numpy as np

from sweepstack.ensembles.scoring.bootstrap import Sample, gain
from sweepstack.models.data.labelled import load_dataset
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.probabilities import Predictions, answer_above, fit_threshold, scores
from sweepstack.models.tasks.classification.checkpoint import load_member
from sweepstack.search.report.result import Result

COSTS = (0.0, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1)


def main(folder: Path) -> None:
    result = Result.open(folder)
    dataset = load_dataset(result.study.data, result.study.reading)
    valid, test = dataset.parts["valid"], dataset.parts["test"]
    assert result.best is not None
    policy = load_member(result.folder.trial(result.best.number) / "checkpoint")
    linear = load_member(result.folder.linear / "checkpoint")
    of_linear = linear.read(valid.inputs), linear.read(test.inputs)
    of_policy = policy.read(valid.inputs), policy.read(test.inputs)

    def sure_enough(said: tuple[Predictions, Predictions], costs: Costs) -> Predictions:
        threshold = fit_threshold(said[0].probabilities, said[0].n_segments, valid.labels, costs)
        return answer_above(said[1].probabilities, said[1].n_segments, threshold, costs)

    print(f"trial {result.best.number} of {folder.name}; test, n = {len(test.labels):,}\n")
    print(f"{'':8}{'told the cost':^26}{'its own threshold':^26}{'linear, threshold':^26}  reward over linear")
    print(f"{'cost':8}{'accuracy    read  reward':26}" + f"{'accuracy    read  reward':26}" * 2)
    for cost in COSTS:
        costs = Costs(cost, dataset.costs)
        rows = [policy.read(test.inputs, cost), sure_enough(of_policy, costs), sure_enough(of_linear, costs)]
        each = [scores(row, test.labels, costs) for row in rows]
        over_linear = gain(Sample.mean_of(each[0]["reward"]), Sample.mean_of(each[2]["reward"]))
        shown = "".join(
            f"{np.mean(s['accuracy']):8.4f}{np.mean(s['segments']):8.2f}{np.mean(s['reward']):8.4f}  " for s in each
        )
        print(f"{cost:<8g}{shown}  {over_linear}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
