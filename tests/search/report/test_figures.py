import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace

import pytest

from sweepstack.ensembles.evaluation.table import Row
from sweepstack.models.settings.trial import TrialSettings
from sweepstack.search.ledger.leaderboard import Company
from sweepstack.search.ledger.records import TrialRecord
from sweepstack.search.report import figures
from sweepstack.search.report.effects import effects
from sweepstack.search.report.svg import COLOUR, Picture, scale_ticks, short_score
from sweepstack.search.study.space import Space

Make = Callable[..., TrialRecord]


@pytest.fixture
def records(make_record: Make) -> list[TrialRecord]:
    found = []
    for n in range(9):
        settings = {
            "train.lr": 1e-3 * (n + 1),
            "train.lr_schedule": "cosine",
            "train.batch_size": 64,
            "train.gamma": 1 - 0.01 * (n + 1),
            "train.gae_lambda": 0.9,
            "train.warm_start.seed": n % 4,
        }
        found.append(make_record(n, [0.8, 0.85 + n / 200], "pruned" if n % 3 == 0 else "complete", settings=settings))
    return found


def check(svg: str) -> ET.Element:
    """Well-formed, coloured by the page, no id without a use."""
    root = ET.fromstring(svg)
    assert not any(colour in svg for colour in COLOUR.values())
    ids = re.findall(r' id="([^"]+)"', svg)
    assert len(ids) == len(set(ids))
    assert all(f"#{each}" in svg for each in ids)
    assert "DejaVu" not in svg
    return root


def texts(root: ET.Element) -> list[str]:
    return ["".join(node.itertext()).strip() for node in root.iter("{http://www.w3.org/2000/svg}text")]


def test_learning_curves_name_the_best_trial(records: list[TrialRecord]) -> None:
    root = check(figures.learning_curves(records, 8, "reward"))
    assert root.get("aria-label") == "reward on valid after each epoch, a line a trial"
    assert {"trial 8", "epoch", "reward", "1", "2"} <= set(texts(root))
    assert "var(--best)" in figures.learning_curves(records, 8, "reward")
    assert "trial 8" not in texts(check(figures.learning_curves(records, None, "reward")))


def test_each_effect_has_the_ticks_of_its_scale(records: list[TrialRecord], space: Space) -> None:
    found = {e.axis.path: texts(check(figures.effect(e, "reward", 8))) for e in effects(records, space)}
    assert {"1e-3", "3e-3", "0.01", "lr"} <= set(found["train.lr"])
    assert {".9", ".99", ".999", ".9999", "γ"} <= set(found["train.gamma"])
    assert {"64", "128", "256", "512"} <= set(found["train.batch_size"])
    assert {"constant", "cosine"} <= set(found["train.lr_schedule"])


def test_gamma_against_lambda(records: list[TrialRecord], space: Space) -> None:
    by_path = {e.axis.path: e for e in effects(records, space)}
    svg = figures.gamma_lambda(by_path["train.gamma"], by_path["train.gae_lambda"], 8, "reward")
    assert {"γ", "λ"} <= set(texts(check(svg)))
    assert all(f"var(--step{step})" in svg for step in range(5))


def test_intervals_show_every_row_and_the_gains_that_there_are(rows: tuple[Row, ...]) -> None:
    shown = texts(check(figures.intervals(rows, "reward")))
    assert {"selection", "trial-7", "linear, sure enough", "gain over the best trial", "gain over the baseline"} <= set(
        shown
    )
    alone = [replace(rows[0], gain_over_trial=None, gain_over_linear=None)]
    assert not any(text.startswith("gain") for text in texts(check(figures.intervals(alone, "reward"))))
    assert figures.intervals([replace(rows[0], test=None)], "reward") == ""


def test_reading_shows_trials_and_company(records: list[TrialRecord], rows: tuple[Row, ...]) -> None:
    company = [Company("linear", "baseline", {"reward": 0.9, "accuracy": 0.93, "segments": 4.4})]
    shown = texts(check(figures.reading(records, company, rows, 8, 0.01)))
    assert {"trial 8", "linear", "selection", "segments read"} <= set(shown)
    check(figures.reading([], [], (), None, 0.01))


def test_a_users_text_stays_text() -> None:
    picture = Picture('<b> & "$x$"', 3, 2)
    with picture as axes:
        axes.set_title("<script> $\\frac{")
    root = check(picture.svg)
    assert "<script> $\\frac{" in texts(root)
    assert root.get("aria-label") == '<b> & "$x$"'


def test_an_error_leaves_matplotlib_as_it_was() -> None:
    import matplotlib as mpl

    before = mpl.rcParams["svg.fonttype"]
    with pytest.raises(ZeroDivisionError), Picture("x", 3, 2):
        raise ZeroDivisionError
    assert mpl.rcParams["svg.fonttype"] == before


def test_a_choice_of_numbers_has_them_as_ticks(space: Space) -> None:
    picture = Picture("batch", 3, 2)
    with picture as axes:
        scale_ticks(axes, "y", next(axis for axis in space.axes if axis.path == "train.batch_size"))
    assert {"64", "512"} <= set(texts(check(picture.svg)))


def test_ticks_have_two_decimals_or_three() -> None:
    assert [short_score(x) for x in (0.9, 0.895, 0.0, 1.5)] == [".90", ".895", "0", "1.50"]
    assert short_score(0.02, signed=True) == "+.02"


def test_trials_at_one_place_of_the_map_stand_with_their_mean(make_record: Callable[..., TrialRecord]) -> None:
    """Three seeds at each of two places: the luckiest trial is where the mean is worse, and keeps its ring."""
    settings = TrialSettings(task="gym:CartPole-v1")
    space = Space.parse({"train.gamma": [0.9, 0.99], "train.gae_lambda": [0.8, 0.95]}, settings)
    scores = {(0.9, 0.8): [0.1, 0.2, 0.9], (0.99, 0.95): [0.5, 0.6, 0.7]}
    records = []
    for (gamma, lam), rewards in scores.items():
        for reward in rewards:
            place = {"train.gamma": gamma, "train.gae_lambda": lam}
            records.append(make_record(len(records), [reward], settings=place))
    gamma, lam = effects(records, space)
    svg = figures.gamma_lambda(gamma, lam, 2, "reward")
    check(svg)
    drawn = re.findall(r'd="M ([\d.]+) [^"]*"[^>]*style="fill: var\(--step(\d)\)', svg)
    assert [int(step) for _, step in sorted(drawn, key=lambda pair: float(pair[0]))] == [0, 2]
    ring = re.findall(r'd="M ([\d.]+) [^"]*"[^>]*style="fill: none; stroke: var\(--best\)', svg)
    assert len(ring) == 1
    assert float(ring[0]) == min(float(x) for x, _ in drawn)
