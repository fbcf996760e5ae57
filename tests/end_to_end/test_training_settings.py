"""What a study may ask of training, from its file to predictions: a policy for many costs, other algorithms, tokens."""

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import sweepstack, write_study

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
TEXTS = "guten Morgen liebe Leute\nbonjour tout le monde\nbuongiorno a tutti quanti\n"


def records(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_bundle_that_was_trained_for_an_interval_of_costs_is_asked_for_one(workplace: Path) -> None:
    """The dearer a READ, the less is read; outside the interval, and of a bundle for one cost, that is refused."""
    reading = {"unit": "characters", "segment": 1, "max_segments": 12, "cost": {"condition": [0, 0.3]}}
    study = write_study(workplace, reading=reading, ensembles={"builders": ["average"]})
    done = sweepstack("run", study, cwd=workplace)
    assert done.returncode == 0, done.stderr
    bundle = workplace / "runs" / "small" / "bundle"
    read = []
    for cost in ("0", "0.3"):
        said = sweepstack("predict", bundle, "-", "--cost", cost, cwd=workplace, stdin=TEXTS)
        assert said.returncode == 0, said.stderr
        read.append(sum(record["segments"] for record in records(said.stdout)))
    assert read[0] > read[1]
    refused = sweepstack("predict", bundle, "-", "--cost", "0.5", cwd=workplace, stdin=TEXTS)
    assert refused.returncode == 2
    assert "from 0 to 0.3, but got 0.5" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_algorithms_tokens_costs_and_another_metric_in_one_study(workplace: Path) -> None:
    """A grid over algorithms with settings of their own; every row of the leaderboard has come to a result."""
    study = write_study(
        workplace,
        name="many.yaml",
        data={
            "train": "phrases.jsonl",
            "splits": {"test": 0.2, "policy": 0.3, "valid": 0.15, "blend": 0.15},
            "costs": {"de": {"fr": 3}},
            "text": {"vocabulary": 400},
        },
        reading={"unit": "tokens", "segment": 3, "max_segments": 5, "cost": 0.02},
        space={
            "train.algorithm": [
                "supervised",
                "exact",
                {"reinforce": {"train.reinforce.baseline": ["none", "mean", "value"]}},
                "rloo",
                "a2c",
                {"ppo": {"train.ppo.kl": [0.0, 0.1]}},
                "trpo",
            ]
        },
        search={"sampler": "grid", "stopper": "none", "trials": 10, "metric": "f1_macro"},
        ensembles={"builders": ["selection"]},
    )
    done = sweepstack("run", study, "--json", cwd=workplace)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["trials"]["complete"] == 10
    assert summary["metric"] == "f1_macro"
    assert 0.3 < summary["best"]["f1_macro"] <= 1
    said = sweepstack("predict", summary["bundle"], "-", cwd=workplace, stdin=TEXTS)
    assert len(records(said.stdout)) == 3
    refused = sweepstack("predict", summary["bundle"], "-", "--cost", "0.01", cwd=workplace, stdin=TEXTS)
    assert refused.returncode == 2
    assert "was trained for one cost of reading" in refused.stderr
