"""The data protocol, attacked: labels without a meaning, rows in two parts, a member that learned by heart, a look at
test before the choice. Each attack must show, or come to nothing."""

import ast
import csv
import inspect
import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import LANGUAGES, STUDY, sweepstack, write_study

from sweepstack import ensembles, search
from sweepstack.ensembles.builders.registry import BUILDERS, make
from sweepstack.ensembles.evaluation.choose import Choice, choose, choose_out_of_fold
from sweepstack.ensembles.members.library import Kind, Library, Member, Stack
from sweepstack.ensembles.scoring.crossfit import folds
from sweepstack.ensembles.scoring.objective import Objective
from sweepstack.models.data.encoding import encode
from sweepstack.models.data.labelled import load_dataset
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.probabilities import Ints, Predictions, answer_above
from sweepstack.models.settings.data import Data
from sweepstack.models.settings.trial import Reading

LETTERS = Reading(unit="characters", segment=2, max_segments=12)
CLASSES = 4
SURE = 4.0  # standard errors: a builder among ten is off by more once in a thousand runs
TRIED: dict[str, dict[str, Any]] = {  # cheap options, where a builder has some
    "bagging": {"members": 2},
    "boosting": {"members": 2},
    "snapshots": {"cycles": 2},
    "neural": {"hidden": 4},
}
FITTED = [name for name, builder in BUILDERS.items() if "trial" in builder.kinds]  # they need no trained members


@pytest.fixture(autouse=True)
def _quick_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop that a policy learns takes seconds; it has a test of its own."""
    monkeypatch.setattr("sweepstack.ensembles.combinations.stop.FEWEST", 10**9)


def spoken(probabilities: np.ndarray) -> Predictions:
    """What a plain classifier says; probabilities (rows, classes)."""
    rows = len(probabilities)
    return answer_above(probabilities[:, None].astype(np.float32), np.ones(rows, dtype=np.int64), 0.5)


def guesses(rows: int, seed: int, labels: Ints | None = None, skill: float = 0.0) -> np.ndarray:
    """(rows, classes) of a member that knows nothing; or the ``labels``, with ``skill`` nats of evidence for each."""
    logits = 2 * np.random.default_rng(seed).normal(size=(rows, CLASSES))
    if labels is not None:
        logits[np.arange(rows), labels] += skill
    odds = np.exp(logits)
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))


def library(members: Sequence[np.ndarray], kinds: Sequence[Kind] | None = None) -> Library:
    kinds = kinds or ["trial"] * len(members)
    named = tuple(Member(f"{kind}-{i}", kind, Path(str(i))) for i, kind in enumerate(kinds))
    return Library(named, Stack.of([spoken(each) for each in members]))


def chosen(members: Sequence[Sequence[np.ndarray]], labels: Sequence[Ints], names: Sequence[str]) -> Choice:
    """``members`` and ``labels`` of blend and of valid."""
    blend, valid = (library(each) for each in members)
    builders = [make(name) for name in names]
    return choose(blend, labels[0], valid, labels[1], builders, Objective("accuracy", Costs(0.0)))


@pytest.mark.parametrize("name", FITTED)
def test_what_is_fitted_to_labels_without_a_meaning_scores_at_chance_on_blend(name: str) -> None:
    rows, studies, found = 150, 3, []
    for study in range(studies):
        draw = np.random.default_rng(study)
        labels = [draw.integers(0, CLASSES, rows) for _ in range(2)]
        members = [[guesses(rows, 100 * study + 10 * part + i) for i in range(6)] for part in range(2)]
        found.append(chosen(members, labels, [name]).row(name).blend["accuracy"])
    standard_error = math.sqrt(0.25 * 0.75 / (rows * studies))
    assert np.mean(found) == pytest.approx(1 / CLASSES, abs=SURE * standard_error)


def test_out_of_fold_it_is_at_chance_too() -> None:
    rows = 600
    labels = np.random.default_rng(0).integers(0, CLASSES, rows)
    own = library([guesses(rows, seed) for seed in range(6)])
    choice = choose_out_of_fold(
        own, labels, np.arange(rows) % 5, [make(name) for name in FITTED], Objective("accuracy", Costs(0.0))
    )
    for row in choice.rows:
        assert row.blend["accuracy"] < 0.25 + SURE * math.sqrt(0.25 * 0.75 / rows), row.name


def test_the_better_of_two_that_know_nothing_is_flattered_by_as_much_as_is_said() -> None:
    """What the winner's blend score has above chance is what the choice says that it owes to having been chosen."""
    rows, above, said = 200, [], []
    for study in range(80):
        labels = np.random.default_rng(study).integers(0, CLASSES, rows)
        own = library([guesses(rows, 1000 * study + i) for i in range(2)], ["trial", "baseline"])
        choice = choose(own, labels, own, labels, [], Objective("accuracy", Costs(0.0)))
        assert choice.optimism is not None
        assert choice.optimism.candidates == 2
        said_so = "; the best of 2 looks too good on blend by about ." in choice.reason
        assert said_so == choice.optimism.told("accuracy")
        above.append(max(row.blend["accuracy"] for row in choice.rows) - 1 / CLASSES)
        said.append(choice.optimism.flattered)
    assert np.mean(said) == pytest.approx(np.mean(above), abs=3 * np.std(above) / math.sqrt(len(above)))


@pytest.mark.parametrize("name", ["selection", "stacking"])
def test_a_member_that_learned_its_training_rows_by_heart_gets_no_weight(name: str, tmp_path: Path) -> None:
    """It is certain of whatever it says, right on every row of warm and policy, and at chance on all others."""
    draw = random.Random(1)
    words = [f"w{i}" for i in range(40)]
    texts = {" ".join(draw.choices(words, k=6)): draw.randrange(CLASSES) for _ in range(900)}
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": t, "label": f"c{c}"}) + "\n" for t, c in texts.items()))
    dataset = load_dataset(Data(train=str(path)), "off")
    learned = {
        text: label
        for part in ("warm", "policy")
        for text, label in zip(dataset.parts[part].inputs, dataset.parts[part].labels.tolist(), strict=True)
    }

    def by_heart(inputs: Sequence[str]) -> np.ndarray:
        said = [learned.get(text, draw.randrange(CLASSES)) for text in inputs]
        return np.asarray(0.99 * np.eye(CLASSES)[said] + 0.01 / CLASSES)

    for part in ("warm", "policy"):
        assert (by_heart(dataset.parts[part].inputs).argmax(axis=1) == dataset.parts[part].labels).all()
    parts = [dataset.parts[part] for part in ("blend", "valid")]
    members = [
        [*(guesses(len(part.labels), 7 * place + i, part.labels, 3.0) for i in range(3)), by_heart(part.inputs)]
        for place, part in enumerate(parts)
    ]
    choice = chosen(members, [part.labels for part in parts], [name])
    row = choice.row(name)
    assert row.weights is not None
    weight = dict(zip(row.members, row.weights, strict=True)).get("trial-3", 0.0)
    assert weight < 0.02
    assert row.blend["accuracy"] > 0.7


def test_a_planted_duplicate_never_stands_in_two_parts(tmp_path: Path) -> None:
    """Neither as it is, nor with other white space and letter case, nor within a group; with folds or without."""
    draw = random.Random(2)
    rows = [
        {"text": f"{draw.choice('abcd')} text {number}", "label": f"c{number % 2}", "source": f"s{number // 3}"}
        for number in range(300)
    ]
    planted = [{**row, "text": variant} for row in rows[::10] for variant in (row["text"], f"  {row['text'].upper()} ")]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in draw.sample(rows + planted, len(rows + planted))))
    group_of = {" ".join(row["text"].lower().split()): row["source"] for row in rows}
    for group in (None, "source"):
        for splits in ({}, {"splits": {"folds": 3}}):
            dataset = load_dataset(Data.model_validate({"train": str(path), "group": group, **splits}), LETTERS)
            for each in dataset.folds or (dataset,):
                keys = {
                    name: {" ".join(text.lower().split()) for text in part.inputs} for name, part in each.parts.items()
                }
                if group:
                    keys = {name: {group_of[key] for key in found} for name, found in keys.items()}
                names = list(keys)
                shared = [keys[a] & keys[b] for i, a in enumerate(names) for b in names[i + 1 :]]
                assert not any(shared)


def test_rows_of_test_that_stand_in_train_are_left_out_and_said(tmp_path: Path) -> None:
    def written(name: str, texts: Sequence[str]) -> str:
        path = tmp_path / name
        rows = (json.dumps({"text": text, "label": f"c{i % 2}"}) for i, text in enumerate(texts))
        path.write_text("\n".join(rows) + "\n", encoding="utf-8")
        return str(path)

    train = written("train.jsonl", [f"text {i}" for i in range(100)])
    test = written("test.jsonl", ["TEXT  7", "text 8", "new", "newer"])
    dataset = load_dataset(Data(train=train, test=test), LETTERS)
    assert any("2 rows of train.jsonl are read the same as a row of test" in note for note in dataset.notes)
    assert not {"text 7", "text 8"} & {t for name, p in dataset.parts.items() if name != "test" for t in p.inputs}


def test_a_duplicate_within_blend_never_teaches_the_row_that_it_copies() -> None:
    """Where blend holds the same input twice, both are in one fold of the cross-fitting."""
    groups = np.repeat(np.arange(40), 2)
    fold = folds(np.tile([0, 1], 40), 0, groups)
    assert all(len(set(fold[groups == group])) == 1 for group in range(40))


def test_no_label_of_test_reaches_what_trains_or_chooses(tmp_path: Path) -> None:
    """What goes to the workers has none, what chooses has no parameter for any, and one function alone opens them."""
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": f"text {i}", "label": f"c{i % 2}"}) + "\n" for i in range(80)))
    assert encode(load_dataset(Data(train=str(path)), LETTERS), LETTERS).parts["test"].labels is None
    for function in (choose, choose_out_of_fold):
        assert not [name for name in inspect.signature(function).parameters if "test" in name]
    readers = []
    for package in (search, ensembles):
        for file in sorted(Path(str(package.__file__)).parent.rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                code = ast.unparse(node).replace("'", '"') if isinstance(node, ast.FunctionDef) else ""
                if '.parts["test"]' in code and ".labels" in code:
                    readers.append((f"{file.parent.name}/{file.name}", node.name))
    assert readers == [("ensembling/stage.py", "_scored")]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_with_shuffled_labels_nothing_is_learned_from_the_file_to_the_table(workplace: Path) -> None:
    """The whole pipeline, every builder and every member: all at chance on test, no blend estimate above the noise;
    and the choice stands in the ledger before the first scoring of test."""
    rows = [json.loads(line) for line in (workplace / "phrases.jsonl").read_text(encoding="utf-8").splitlines()]
    labels = [row["label"] for row in rows]
    random.Random(4).shuffle(labels)
    lines = (json.dumps({**row, "label": label}) for row, label in zip(rows, labels, strict=True))
    (workplace / "phrases.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    built = {
        "library": ["trials", "linear", "supervised", "naive_bayes", "char_linear"],
        "builders": [{name: TRIED[name]} if name in TRIED else name for name in BUILDERS],
    }
    done = sweepstack("run", write_study(workplace, ensembles=built), "--json", cwd=workplace, timeout=1100)
    assert done.returncode == 0, done.stderr
    run = workplace / "runs" / "small"
    with (run / "ensembles.csv").open(encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert {row["name"] for row in table} >= set(BUILDERS)
    left = len(rows) * (1 - STUDY["data"]["splits"]["test"])
    sizes = {"test": len(rows) - left, "blend": left * STUDY["data"]["splits"]["blend"]}
    for row in table:
        for part, size in sizes.items():
            noise = SURE * math.sqrt(0.25 * 0.75 / size)
            assert float(row[f"{part}_accuracy"]) < 1 / len(LANGUAGES) + noise, (row["name"], part)
    ledger = [json.loads(line) for line in (run / "ledger.log").read_text(encoding="utf-8").splitlines()]
    attributes = [entry.get("user_attr") or {} for entry in ledger]
    scored = [each["ensembles"]["scored"] if "ensembles" in each else None for each in attributes]
    assert scored.index(False) < next(i for i, each in enumerate(attributes) if "test_scorings" in each)
    summary = json.loads(done.stdout)
    assert "the choice among" in summary["reason"]
