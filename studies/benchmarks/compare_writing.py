"""Whether GAE pays where an episode is a text, from a run of studies/gae_vs_policy_gradient_translation.yaml.

    sweepstack search studies/gae_vs_policy_gradient_translation.yaml --set data.train=… --set data.test=…
    python studies/benchmarks/compare_writing.py runs/gae_vs_policy_gradient_translation

Each algorithm stands with the learning rate that is best on valid, averaged over seeds; what is shown after that is on
test: corpus chrF as mean ± standard deviation over seeds, and its paired gain over the start and over more supervised
training, each with a 95% interval over rows (of the means over seeds). Worst: chrF on valid with the
other learning rate. Explained: the variance of returns that the critic explains in the last epoch. Half a minute.
"""

import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sweepstack.ensembles.scoring.bootstrap import Sample, Values, half_width
from sweepstack.ensembles.scoring.text_objective import TextObjective
from sweepstack.models.data.pairs import load_pairs
from sweepstack.models.predictions.text_metrics import language_of
from sweepstack.models.predictions.texts import Candidates
from sweepstack.models.tasks.writing.checkpoint import load_writing_member
from sweepstack.search.ledger.records import TrialRecord
from sweepstack.search.report.result import Result

LR = "train.lr"
EXPLAINED = "gae/explained_variance"


def name_of(settings: dict[str, object]) -> str:
    said = [str(settings["train.algorithm"])]
    if "train.gae_lambda" in settings:
        said.append(f"λ {settings['train.gae_lambda']}")
    if settings.get("train.reward") == "constant":
        said.append("constant reward")
    return ", ".join(said)


def influence(samples: Sequence[Sample]) -> Values:
    """(rows,): on the mean over seeds, the same rows for all."""
    return np.mean([sample.influence for sample in samples], axis=0)


def gain(samples: Sequence[Sample], rivals: Sequence[Sample]) -> str:
    mean = np.mean([each.score for each in samples]) - np.mean([each.score for each in rivals])
    half = half_width(influence(samples) - influence(rivals), samples[0].groups)
    return f"{mean:+.2f} [{mean - half:+.2f}, {mean + half:+.2f}]"


def spread(values: Sequence[float]) -> str:
    return f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else f"{values[0]:.2f}"


def main(folder: Path) -> None:
    result = Result.open(folder)
    study = result.study
    dataset = load_pairs(study.data, study.task, study.writing, study.reading)
    valid, test = dataset.parts["valid"], dataset.parts["test"]
    objective = TextObjective("chrf", language_of(valid.references))

    def sample(texts: Sequence[str]) -> Sample:
        return objective.samples(test.inputs, test.references, texts, groups=test.units)["chrf"]

    start = load_writing_member(next(path for path in sorted(result.folder.starts.iterdir()) if path.is_dir()))
    of_start = [sample(start.write(test.inputs).best)]
    on_valid = objective.score(valid.inputs, valid.references, start.write(valid.inputs).best)
    print(f"the start: chrF {on_valid:.2f} on valid, {of_start[0].score:.2f} on test\n")

    trials: dict[str, dict[float, list[TrialRecord]]] = defaultdict(lambda: defaultdict(list))
    for trial in result.trials:
        if trial.value is not None:
            trials[name_of(trial.settings)][trial.settings[LR]].append(trial)
    chosen: dict[str, tuple[float, float, list[TrialRecord], list[Sample]]] = {}
    for name, by_lr in trials.items():
        means = {lr: float(np.mean([trial.value for trial in found])) for lr, found in by_lr.items()}
        best = max(means, key=lambda lr: means[lr])
        stored = [
            Candidates.load(result.folder.trial(trial.number) / "predictions" / "test.safetensors")[0]
            for trial in by_lr[best]
        ]
        chosen[name] = best, min(means.values()), by_lr[best], [sample(each.best) for each in stored]
    control = chosen["supervised"][3]
    print(f"{'':24}{'lr':>7}  {'chrF':14}{'over the start':25}{'over the control':25}{'worst':>6}{'explained':>11}")
    for name, (lr, worst, records, samples) in chosen.items():
        explained = [record.reports[-1][EXPLAINED] for record in records if EXPLAINED in record.reports[-1]]
        print(
            f"{name:24}{lr:7g}  {spread([each.score for each in samples]):14}{gain(samples, of_start):25}"
            f"{gain(samples, control):25}{worst:6.2f}" + (f"{np.mean(explained):11.2f}" if explained else "")
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
