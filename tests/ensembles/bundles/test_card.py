from dataclasses import replace

import numpy as np

from sweepstack.ensembles.bundles.card import Card, markdown, versions
from sweepstack.ensembles.evaluation.table import Row
from sweepstack.ensembles.scoring.conformal import GUARANTEED, REFITTED, Calibration

CARD = Card(
    "reuters",
    "classification",
    ("acq", "a|b"),
    "text",
    {"unit": "words", "segment": 5, "max_segments": 16, "cost": 0.01},
    {"warm": "abc"},
)
ROW = Row(
    "selection",
    "selection",
    "ensemble",
    ("trial-1", "linear"),
    (0.75, 0.25),
    "averaged",
    {"reward": 0.9},
    {"reward": 0.91},
)


def test_it_says_what_where_from_and_how_good() -> None:
    scored = replace(ROW, test={"reward": 0.912}, test_interval={"reward": 0.014})
    text = markdown(CARD, scored, {"python": "3.11.1"})
    for piece in (
        "# reuters: selection",
        "It reads 5 words at a time, at most 16 times; stop: averaged.",
        "Classes (2): acq, a|b.",
        "| metric | valid | blend | test |",
        "| reward | .9000 | .9100 | .9120 ± .0140 |",
        "| trial-1 | .750 |",
        "| warm | abc |",
        "| python | 3.11.1 |",
    ):
        assert piece in text


def test_costs_of_wrong_answers_are_said_where_there_are_some() -> None:
    assert "costs least in expectation" in markdown(replace(CARD, costs=[[0, 2], [1, 0]]), ROW, {})
    assert "costs" not in markdown(CARD, ROW, {})


def test_what_is_guaranteed_of_sets_is_said() -> None:
    known = Calibration(np.float32([0.5]), np.ones(1))
    assert f"give sets of labels. {GUARANTEED}" in markdown(CARD, ROW, {}, known)
    assert f"give sets of labels. {REFITTED}" in markdown(CARD, ROW, {}, known.with_caveat(REFITTED))
    assert "sets of labels" not in markdown(CARD, ROW, {})


def test_what_is_not_known_is_said() -> None:
    text = markdown(replace(CARD, reading=None), replace(ROW, weights=None), {})
    assert "It reads each text at once." in text
    assert "| reward | .9000 | .9100 | not scored |" in text
    assert "| linear |  |" in text


def test_versions_are_of_what_predictions_depend_on() -> None:
    found = versions()
    assert {"python", "sweepstack", "torch", "numpy", "safetensors", "tokenizers"} <= found.keys()
    assert all(found.values())
