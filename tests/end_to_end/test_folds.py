"""A study with folds, from its file to predictions: what it is scored by, what it exports, and that it goes on."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import sweepstack, write_study

from sweepstack.ensembles import load
from sweepstack.models.data.labelled import load_dataset
from sweepstack.models.predictions.probabilities import Predictions
from sweepstack.search.ledger.run_folder import RunFolder
from sweepstack.search.report.result import Result
from sweepstack.search.study.study import Study

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
TEXTS = "guten Morgen liebe Leute\nbonjour tout le monde\nbuongiorno a tutti quanti\n"


def test_a_study_with_folds_from_its_file_to_predictions(workplace: Path) -> None:
    data = {"train": "phrases.jsonl", "splits": {"folds": 3, "test": 0.2}}
    study = write_study(workplace, data=data)
    done = sweepstack("run", study, "--json", cwd=workplace)
    assert done.returncode == 0, done.stderr
    summary: dict[str, Any] = json.loads(done.stdout)
    folder = RunFolder(workplace / "runs" / "small")
    result = Result.open(folder.root)
    resolved = Study.load(folder.study)
    assert resolved.data is not None
    dataset = load_dataset(resolved.data, resolved.reading)

    assert result.provenance["data"]["hashes"] == dataset.hashes
    assert {name: len(part.labels) for name, part in dataset.parts.items()} == {"out_of_fold": 704, "test": 176}
    for record in result.trials:
        assert (record.state, len(record.reports)) == ("complete", 3 * 2)
        assert record.value == pytest.approx(np.mean([record.reports[i]["reward"] for i in (1, 3, 5)]))
        said, rows_hash = Predictions.load(folder.trial(record.number) / "predictions" / "out_of_fold.safetensors")
        assert (len(said), rows_hash) == (704, dataset.hashes["out_of_fold"])
    starts = {path.name for path in folder.starts.iterdir() if not path.name.startswith(".")}
    seeds = {record.settings["train.warm_start.seed"] for record in result.trials}
    assert len(starts) == 3 * len(seeds), "a start for each fold and each of the settings that it depends on"

    rows = {row["name"]: row for row in summary["rows"]}
    assert {"average", "selection", "stacking", "bagging", "linear"} <= set(rows)
    assert len(rows["bagging"]["members"]) == 2
    for row in rows.values():
        assert row["test"]["accuracy"] > 0.5
        # Rewards of rows, unlike choices, are the same in and out of fold: there is no optimism to speak of.
        assert abs(row["blend"]["reward"] - row["test"]["reward"]) < 0.12

    # The bundle says of test what was scored.
    bundle = load(folder.bundle)
    texts = list(dataset.parts["test"].inputs)
    built = result.built
    stored = [Predictions.load(member.predictions("test"))[0] for member in built.members]
    from sweepstack.ensembles.members.library import Stack

    expected = built.choice.combinations[summary["exported"]].predict(Stack.of(stored))
    np.testing.assert_allclose(bundle.predict_proba(texts), expected.at(expected.stops()), atol=1e-4)
    folds = sorted(path.name for path in folder.bundle.glob("members/*/fold-*"))
    assert set(folds) == {"fold-1", "fold-2", "fold-3"}
    said_ = sweepstack("predict", folder.bundle, "-", cwd=workplace, stdin=TEXTS)
    assert [json.loads(line)["label"] for line in said_.stdout.splitlines()] == ["de", "fr", "it"]

    page = folder.report.read_text(encoding="utf-8")
    assert "out of fold" in page
    again = sweepstack("run", study, "--json", cwd=workplace)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["rows"] == summary["rows"], "nothing is trained or scored again"

    refused = sweepstack("run", study, "--set", "data.splits={folds: 4}", cwd=workplace)
    assert refused.returncode == 2
    assert "data.splits.folds (stored 3, now 4)" in refused.stderr
