"""What GAE is said to bring, a table for each claim, from a run of studies/gae_vs_policy_gradient_*.yaml.

    sweepstack search studies/gae_vs_policy_gradient_r8.yaml
    python studies/benchmarks/compare_algorithms.py runs/gae_vs_policy_gradient_r8

Each algorithm stands with the learning rate that is best on valid, averaged over seeds; everything shown after that is
on test, as mean ± standard deviation over seeds. Convergence: episodes until the reward on valid first reaches that of
the start's own threshold, fitted there (in brackets how many of the seeds ever do). Noise: the variance of the
gradient of one batch over the squared norm of the true gradient, median over epochs. Robustness: the reward on test
texts of which a tenth of the words is left out and a tenth has two letters exchanged. About two minutes.
"""

import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

from sweepstack.models.data.labelled import load_dataset
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.probabilities import Ints, Predictions, answer_above, fit_threshold, metrics
from sweepstack.models.seeds import derive_seed
from sweepstack.models.tasks.classification.checkpoint import load_member
from sweepstack.search.ledger.records import TrialRecord
from sweepstack.search.report.result import Result

SEED = "train.seed"
LR = "train.lr"
DAMAGE = 0.1  # share of the words


def damaged(text: str, random: np.random.Generator) -> str:
    """Words left out, and neighbouring letters exchanged in others."""
    words = []
    for word in text.split(" "):
        fate = random.random()
        if fate < DAMAGE and len(words) > 0:
            continue
        if fate > 1 - DAMAGE and len(word) > 1:
            i = int(random.integers(len(word) - 1))
            word = word[:i] + word[i + 1] + word[i] + word[i + 2 :]
        words.append(word)
    return " ".join(words)


def above(said: Predictions, threshold: float, labels: Ints, costs: Costs) -> dict[str, float]:
    return metrics(answer_above(said.probabilities, said.n_segments, threshold, costs), labels, costs)


def name_of(settings: dict[str, object]) -> str:
    said = [str(settings["train.algorithm"])]
    if "train.reinforce.baseline" in settings:
        said.append(f"baseline {settings['train.reinforce.baseline']}")
    if "train.gae_lambda" in settings:
        said.append(f"λ {settings['train.gae_lambda']}")
    if "train.batch_size" in settings:
        said.append(f"batch {settings['train.batch_size']}")
    return ", ".join(said)


def spread(values: list[float]) -> str:
    return f"{np.mean(values):.4f} ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else f"{values[0]:.4f}"


def main(folder: Path) -> None:
    result = Result.open(folder)
    study, metric = result.study, result.study.search.objective
    dataset = load_dataset(study.data, study.reading)
    costs = Costs(study.trial_settings().read_cost, dataset.costs)
    test, valid = dataset.parts["test"], dataset.parts["valid"]
    random = np.random.default_rng(derive_seed(0, "damage"))
    shifted = [damaged(text, random) for text in test.inputs]

    start = next(path for path in sorted(result.folder.starts.iterdir()) if path.is_dir())
    said = load_member(start).read(valid.inputs)
    threshold = fit_threshold(said.probabilities, said.n_segments, valid.labels, costs)
    goal = above(said, threshold, valid.labels, costs)["reward"]
    bound = above(load_member(start).read(test.inputs), threshold, test.labels, costs)
    print(
        f"the start's own threshold: valid {goal:.4f}, test {bound['reward']:.4f}, accuracy {bound['accuracy']:.4f}\n"
    )

    trials: dict[str, dict[float, list[TrialRecord]]] = defaultdict(lambda: defaultdict(list))
    for trial in result.trials:
        trials[name_of(trial.settings)][trial.settings[LR]].append(trial)
    print(
        f"{'':32}{'lr':>7}  {'test reward':18}{'accuracy':18}{'read':>5}{'episodes':>10}   "
        f"{'noise':>8}  {'damaged text':18}{'worst lr':>9}"
    )
    for name, by_lr in trials.items():
        means = {lr: np.mean([t.value if t.value is not None else 0.0 for t in found]) for lr, found in by_lr.items()}
        lr = max(means, key=lambda each: means[each])
        rows = defaultdict(list)
        reached = []
        for trial in by_lr[lr]:
            place = result.folder.trial(trial.number)
            stored, _ = Predictions.load(place / "predictions" / "test.safetensors")
            for key, value in metrics(stored, test.labels, costs).items():
                rows[key].append(value)
            on_damaged = load_member(place / "checkpoint").read(shifted)
            rows["damaged"].append(metrics(on_damaged, test.labels, costs)["reward"])
            rows["noise"].append(float(np.median([r.get("grad_noise", np.nan) for r in trial.reports])))
            first = [r["episodes"] for r in trial.reports if r[metric] >= goal]
            if first:
                reached.append(first[0])
        episodes = f"{np.mean(reached):,.0f} ({len(reached)})" if reached else "never"
        print(
            f"{name:32}{lr:7g}  {spread(rows['reward']):18}{spread(rows['accuracy']):18}"
            f"{np.mean(rows['segments']):5.2f}"
            f"{episodes:>12} {np.mean(rows['noise']):8.2g}   {spread(rows['damaged']):18}{min(means.values()):9.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
