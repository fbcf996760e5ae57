"""A study with several seeds, beside peers: what the exported ensemble is worth, and every row of its table.

    python studies/benchmarks/several_seeds.py reuters_r8 [--seeds 3] [--autogluon PYTHON] [--out runs/several_seeds]
    python studies/benchmarks/several_seeds.py reading_r8
    python studies/benchmarks/several_seeds.py quickstart

A seed changes everything that a seed can: which rows are warm, policy, valid and blend, the starts, the sampler, what
is drawn in training. Only the parts of quickstart stay, whose test is a share of its rows. Of every row the mean over
seeds on test, and its paired gain over the rivals with a 95% interval: a test row counts with its mean over seeds.
Peers, fitted on all of train: TF-IDF of words and pairs with LinearSVC, calibrated by five-fold cross-validation; and
AutoGluon (best quality, eight minutes), which pins other versions and so needs an environment of its own, PYTHON's:
`pip install "autogluon.tabular[lightgbm,catboost,xgboost]"`. Where a text is read by and by, a rival is the same
ensemble with a threshold on its confidence, fitted on blend, in place of its stop. A run that is done is not done
again. reuters_r8 takes eight minutes a seed on two cores, reading_r8 three to five, quickstart two to three.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from sweepstack.ensembles.members.library import Library
from sweepstack.ensembles.scoring.bootstrap import half_width
from sweepstack.models.data.labelled import load_dataset
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.probabilities import Predictions, answer_above, fit_threshold, scores
from sweepstack.search.report.result import Result
from sweepstack.search.study.study import Study

STUDIES = Path(__file__).parents[1]
OWN_TEST = {"quickstart"}  # a share of the rows, which another seed would change
SHOWN = ("accuracy", "accuracy_full", "log_loss")
AUTOGLUON = """
import json, sys
import pandas as pd
from autogluon.tabular import TabularPredictor
train, test, found = sys.argv[1:]
predictor = TabularPredictor("label", eval_metric=json.load(open(found))["metric"], path=found + ".models", verbosity=0)
predictor.fit(pd.read_json(train, lines=True), presets="best_quality", time_limit=480)
said = predictor.predict_proba(pd.read_json(test, lines=True, dtype=False))
json.dump({"classes": [str(c) for c in said.columns], "said": said.to_numpy().tolist()}, open(found, "w"))
"""
Scores = dict[str, np.ndarray]  # by metric, (rows,)


def run(study: Path, folder: Path, seed: int) -> float | None:
    """The seconds that it took, as a user waits; None where it was done before."""
    if (folder / "report.html").exists():
        return None
    starts = len(Study.load(study).space["train.warm_start.seed"])
    changes: dict[str, Any] = {"search.seed": seed, "train.seed": seed}
    if study.stem not in OWN_TEST:
        changes["data.seed"] = seed
    changes["space.train.warm_start.seed"] = list(range(starts * seed, starts * seed + starts))
    command = [sys.executable, "-m", "sweepstack.search.cli", "run", str(study), "--out", str(folder), "--json"]
    for key, value in changes.items():
        command += ["--set", f"{key}={value}"]
    began = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


def scored(folder: Path) -> dict[str, Scores]:
    """Every row of the run's table on test, the exported one, and that one with a threshold instead of its stop."""
    result = Result.open(folder)
    dataset, built = load_dataset(result.study.data, result.study.reading), result.built
    costs = Costs(result.study.trial_settings().read_cost, dataset.costs)
    labels = dataset.parts["test"].labels
    test, part = Library.load(built.members, "test", dataset.hashes["test"]), dataset.part_for("blend")
    said = built.choice.predict(test)
    found = {built.row(name).method: scores(each, labels, costs) for name, each in said.items()}
    chosen = built.choice.combinations[built.choice.chosen]
    found["exported"] = scores(said[built.choice.chosen], labels, costs)
    if result.study.reading != "off":
        blend = chosen.predict(Library.load(built.members, part, dataset.hashes[part]).stack)
        threshold = fit_threshold(blend.probabilities, blend.n_segments, dataset.parts[part].labels, costs)
        on = said[built.choice.chosen]
        found["its threshold"] = scores(answer_above(on.probabilities, on.n_segments, threshold), labels, costs)
    return found


def whole(probabilities: np.ndarray) -> Predictions:
    """Of a classifier that reads everything."""
    rows = len(probabilities)
    ones = np.ones((rows, 1), dtype=np.float32)
    return Predictions(probabilities[:, None].astype(np.float32), ones, np.ones(rows, dtype=np.int64))


def rows_of(data: Any) -> tuple[list[str], np.ndarray, tuple[str, ...]]:
    """Everything but test."""
    dataset = load_dataset(data, "off")
    parts = [part for name, part in dataset.parts.items() if name != "test"]
    return [x for part in parts for x in part.inputs], np.concatenate([p.labels for p in parts]), dataset.classes


def linear_svc(data: Any) -> np.ndarray:
    texts, labels, _ = rows_of(data)
    features = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    model = make_pipeline(features, CalibratedClassifierCV(LinearSVC(), cv=5))
    return model.fit(texts, labels).predict_proba(load_dataset(data, "off").parts["test"].inputs)


def autogluon(data: Any, python: str, kept: Path) -> np.ndarray:
    texts, labels, classes = rows_of(data)
    if not kept.exists():
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            table = {"text": texts, "label": [classes[label] for label in labels]}
            rows = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
            (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
            test = "".join(json.dumps({"text": x}) + "\n" for x in load_dataset(data, "off").parts["test"].inputs)
            (folder / "test.jsonl").write_text(test)
            (folder / "found").write_text(json.dumps({"metric": "log_loss"}))
            files = [str(folder / each) for each in ("train.jsonl", "test.jsonl", "found")]
            subprocess.run([python, "-c", AUTOGLUON, *files], check=True, stdout=subprocess.DEVNULL)
            kept.write_text((folder / "found").read_text())
    found = json.loads(kept.read_text())
    return np.array(found["said"])[:, [found["classes"].index(name) for name in classes]]


def main(name: str, seeds: int, python: str | None, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    path = STUDIES / f"{name}.yaml"
    study = Study.load(path)
    metric, test = study.search.objective, load_dataset(study.data, study.reading).parts["test"]
    of_rows: dict[str, list[Scores]] = defaultdict(list)
    for seed in range(seeds):
        seconds = run(path, out / f"{name}-{seed}", seed)
        print(f"seed {seed}: " + ("done before" if seconds is None else f"{seconds:.0f} s"), flush=True)
        for row, of_row in scored(out / f"{name}-{seed}").items():
            of_rows[row].append(of_row)
    rivals = ["linear", "trial"]
    if study.reading == "off":
        labels, costs = test.labels, Costs()
        peers = {"LinearSVC": linear_svc(study.data)}
        if python:
            peers["AutoGluon"] = autogluon(study.data, python, out / "autogluon.json")
        for peer, said in peers.items():
            of_rows[peer] = [scores(whole(said), labels, costs)]
        rivals += peers
    else:
        rivals.append("its threshold")
    mean = {
        row: {m: np.mean([each[m] for each in found], axis=0) for m in found[0]}
        for row, found in of_rows.items()
        if len(found) in (1, seeds) and (len(found) == seeds or row in rivals)
    }
    units = test.units
    print(f"\n{name}, test: means of {seeds} seeds, ± of 95% over rows\n")
    print(f"{'':16}{metric:>16}" + "".join(f"{m:>15}" for m in SHOWN if m != metric))
    for row, found in sorted(mean.items(), key=lambda each: -each[1][metric].mean()):
        cells = f"{found[metric].mean():8.4f} ±{half_width(found[metric], units):.4f}"
        print(f"{row:16}{cells:>16}" + "".join(f"{found[m].mean():15.4f}" for m in SHOWN if m != metric))
    sign = -1 if metric == "log_loss" else 1
    for row in ("exported", "average", "stacking"):
        for rival in (each for each in rivals if row in mean and each in mean):
            gain = sign * (mean[row][metric] - mean[rival][metric])
            half = half_width(gain, units)
            print(f"{row} over {rival}: {gain.mean():+.4f} [{gain.mean() - half:+.4f}, {gain.mean() + half:+.4f}]")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("study", choices=["reuters_r8", "reading_r8", "quickstart"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--autogluon", metavar="PYTHON")
    parser.add_argument("--out", type=Path, default=Path("runs/several_seeds"))
    asked = parser.parse_args()
    main(asked.study, asked.seeds, asked.autogluon, asked.out)
