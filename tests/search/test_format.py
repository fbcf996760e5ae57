import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweepstack.ensembles.scoring.bootstrap import Gain
from sweepstack.search import format as fmt


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.895, ".895"),
        (1.0, "1.000"),
        (0.99951, "1.000"),
        (-0.12, "-.120"),
        (1.2345, "1.234"),
        (0.0, ".000"),
        (-0.0004, ".000"),
        (-0.0, ".000"),
        (-0.0006, "-.001"),
        (10.5, "10.500"),
        (None, "–"),
        (math.nan, "–"),
        (math.inf, "–"),
    ],
)
def test_a_score_has_three_decimals_and_no_leading_zero(value: float | None, text: str) -> None:
    assert fmt.score(value) == text


def test_segments_are_counted_in_tenths_and_other_metrics_are_scores() -> None:
    assert fmt.metric("segments", 3.24) == "3.2"
    assert fmt.metric("log_loss", 0.3121) == ".312"
    assert fmt.metric("reward", None) == "–"


def test_a_gain_shows_its_sign_and_interval() -> None:
    assert fmt.gain(Gain(0.023, 0.009, 0.037)) == "+.023 [.009, .037]"
    assert fmt.gain(Gain(-0.009, -0.025, 0.007)) == "-.009 [-.025, .007]"
    assert fmt.gain(None) == "–"


def test_what_rounds_to_nought_has_no_sign() -> None:
    assert fmt.gain(Gain(0.0003, -0.0004, 0.001)) == ".000 [.000, .001]"
    assert fmt.gain(Gain(-0.0004, -0.0014, 0.0006)) == ".000 [-.001, .001]"
    assert fmt.gain(Gain(-0.04, -0.04, 0.04), "chrf") == "0.0 [0.0, 0.0]"
    assert fmt.signed(-0.0) == ".000"
    assert fmt.metric("segments", -0.01) == "0.0"
    assert fmt.spread(-0.0001, 0.0002) == ".000 ± .000"
    assert fmt.spread(-0.01, 12.0) == "0.0 ± 12.0"


def test_points_are_counted_in_tenths() -> None:
    assert fmt.metric("chrf", 4.04) == "4.0"
    assert fmt.metric("bleu", 41.25) == "41.2"
    assert fmt.half("chrf", 1.06) == "1.1"
    assert fmt.half("reward", 0.0141) == ".014"
    assert fmt.gain(Gain(4.4, 3.52, 5.28), "chrf") == "+4.4 [3.5, 5.3]"
    assert fmt.gain(Gain(-0.04, -0.5, 0.42), "bleu") == "0.0 [-0.5, 0.4]"


@pytest.mark.parametrize(
    ("path", "value", "column", "sentence"),
    [
        ("train.lr", 8.1e-3, "8.1e-03", "lr 8.1e-3"),
        ("train.lr", 1.0, "1.0e+00", "lr 1.0e0"),
        ("train.lr_schedule", "cosine", "cosine", "cosine"),
        ("train.warm_start.lr_schedule", "cosine", "cosine", "start schedule cosine"),
        ("train.batch_size", 64, "64", "batch 64"),
        ("train.gamma", 0.999, ".9990", "γ .999"),
        ("train.gamma", 0.99999, ".99999", "γ .99999"),
        ("train.gamma", 1.0, "1.0000", "γ 1"),
        ("train.gae_lambda", 0.8, ".800", "λ .80"),
        ("train.gae_lambda", 0.9996, ".9996", "λ .9996"),
        ("train.beta2", 0.9999, ".9999", "β₂ .9999"),
        ("train.beta1", 0.9, ".900", "β₁ .90"),
        ("train.eps", 1e-8, "1.0e-08", "eps 1.0e-8"),
        ("train.lr_min_ratio", 0.1, ".100", "lr min ratio .100"),
        ("model.dropout", 0.25, ".250", "dropout .250"),
        ("train.ppo.entropy", 2e-4, "2.0e-04", "entropy 2.0e-4"),
        ("train.gamma", None, "–", "γ –"),
    ],
)
def test_settings_read_as_in_the_design(path: str, value: object, column: str, sentence: str) -> None:
    assert fmt.setting(path, value) == column
    assert fmt.setting_words(path, value) == sentence


@given(st.floats(min_value=0.0, max_value=1 - 1e-9))
def test_a_value_below_one_is_never_shown_as_one(value: float) -> None:
    assert float(fmt.near_one(value, 3)) < 1


def test_names_that_would_be_the_same_are_longer() -> None:
    names = fmt.short_names(["model.dropout", "train.lr", "a.epochs", "b.epochs"])
    assert names == {"model.dropout": "dropout", "train.lr": "lr", "a.epochs": "a epochs", "b.epochs": "b epochs"}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (40, "40 s"), (89, "89 s"), (150, "2 min"), (5399, "90 min"), (7500, "2 h 05 min")],
)
def test_a_duration_is_what_a_person_would_say(seconds: float, text: str) -> None:
    assert fmt.duration(seconds) == text.replace("90 min", "1 h 30 min")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "about 1 s left"), (7.2, "about 8 s left"), (37, "about 40 s left"), (95, "about 2 min left")],
)
def test_what_remains_is_rounded_up(seconds: float, text: str) -> None:
    assert fmt.remaining(seconds) == text


def test_states_say_where_and_why() -> None:
    assert fmt.state_words("pruned", 2) == "pruned at rung 2"
    assert fmt.state_words("failed", None, "the loss is not a number") == "failed: the loss is not a number"
    assert fmt.state_words("pruned", None, None, "for time") == "pruned for time"
    assert fmt.state_words("complete", 2) == "complete"


def test_sizes_have_three_figures_at_most() -> None:
    assert [fmt.decimal(x) for x in (0.94, 99.9, 1234.5, None)] == ["0.9", "99.9", "1,234", "–"]
    assert fmt.count(4500) == "4,500"


def test_a_mean_and_its_deviation_have_the_same_decimals() -> None:
    assert fmt.spread(487.24, 9.6) == "487.2 ± 9.6"
    assert fmt.spread(-0.05, 0.95) == "-.050 ± .950"
    assert fmt.spread(9.0, 12.0) == "9.0 ± 12.0"
    assert fmt.spread(None, 1.0) == fmt.spread(1.0, float("nan")) == fmt.DASH


def test_returns_beyond_ten_and_lengths_are_counted_in_tenths() -> None:
    assert [fmt.metric("reward", value) for value in (0.5, -9.99, 487.25, -1234.56)] == [
        ".500", "-9.990", "487.2", "-1234.6"
    ]  # fmt: skip
    assert fmt.metric("length", 9.0) == "9.0"
