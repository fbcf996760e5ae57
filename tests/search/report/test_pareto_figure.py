from collections.abc import Sequence
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from sweepstack.ensembles.evaluation.table import Row
from sweepstack.search.report.pareto_figure import serving


def texts(svg: str) -> list[str]:
    return ["".join(node.itertext()) for node in ElementTree.fromstring(svg).iter() if node.tag.endswith("text")]


def test_every_measured_row_is_named_at_its_latency(rows: Sequence[Row]) -> None:
    svg = serving([replace(rows[0], front=True), replace(rows[2], front=True, over_budget="size_mb 2 > 1")], "reward")
    said = texts(svg)
    assert {"selection", "linear, sure enough", "milliseconds a text, alone"} <= set(said)
    assert "1" in said, "ticks are plain numbers on the logarithmic axis"
    assert not any("$" in text for text in said)


def test_nothing_is_drawn_before_anything_was_measured(rows: Sequence[Row]) -> None:
    assert serving([replace(row, latency_ms=None) for row in rows], "reward") == ""


@pytest.mark.parametrize("metric", ["reward", "log_loss"])
def test_one_row_alone_is_a_picture_too(metric: str, rows: Sequence[Row]) -> None:
    assert "selection" in texts(serving([replace(rows[0], front=True)], metric))
