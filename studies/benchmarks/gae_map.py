"""The γ × λ map of a grid study: the metric as mean ± standard deviation over seeds, with rows γ and columns λ.

sweepstack search studies/gae_sensitivity_r8.yaml
python studies/benchmarks/gae_map.py runs/gae_sensitivity_r8
"""

import sys
from pathlib import Path

from sweepstack.models.data.labelled import load_dataset
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.probabilities import DIRECTION, Predictions, metrics
from sweepstack.search.report.result import Result

GAMMA, LAMBDA = "train.gamma", "train.gae_lambda"


def main(folder: Path) -> None:
    result = Result.open(folder)
    study, metric = result.study, result.study.search.objective
    values = {trial.number: trial.value for trial in result.trials if trial.value is not None}
    what = f"{metric} of evaluation"
    if study.data is not None:
        dataset = load_dataset(study.data, study.reading)
        costs, test = Costs(study.trial_settings().read_cost, dataset.costs), dataset.parts["test"]
        for number in values:
            stored, _ = Predictions.load(result.folder.trial(number) / "predictions" / "test.safetensors")
            values[number] = metrics(stored, test.labels, costs)[metric]
        what = f"{metric} on test"
    cells: dict[tuple[float, float], list[float]] = {}
    for trial in result.trials:
        if trial.number in values:
            cells.setdefault((trial.settings[GAMMA], trial.settings[LAMBDA]), []).append(values[trial.number])
    gammas, lambdas = (sorted({cell[i] for cell in cells}) for i in (0, 1))
    means = {cell: sum(found) / len(found) for cell, found in cells.items()}
    best = max(means, key=lambda cell: DIRECTION[metric] * means[cell])
    print(f"{what}, mean ± sd over {max(map(len, cells.values()))} seeds; * best\n")
    print(f"{'γ':>8}  " + "".join(f"{f'λ {each:g}':^20}" for each in lambdas))
    for gamma in gammas:
        row = []
        for gae_lambda in lambdas:
            found = cells[gamma, gae_lambda]
            mean = means[gamma, gae_lambda]
            spread = (sum((x - mean) ** 2 for x in found) / max(len(found) - 1, 1)) ** 0.5
            digits = 1 if abs(mean) >= 10 else 4
            mark = "*" if (gamma, gae_lambda) == best else ""
            row.append(f"{f'{mean:.{digits}f} ± {spread:.{digits}f}{mark}':^20}")
        print(f"{gamma:8g}  " + "".join(row))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
