import re
from dataclasses import replace

import pytest
from example_trust import TRUST

from sweepstack.search.report import trust_figures


@pytest.mark.parametrize("draw", [trust_figures.reliability, trust_figures.risk_coverage])
def test_a_picture_is_one_svg_in_the_pages_colours(draw: object) -> None:
    svg = draw(TRUST)  # type: ignore[operator]
    assert svg.startswith("<svg")
    assert svg.rstrip().endswith("</svg>")
    assert "var(--ensemble)" in svg
    assert not re.search(r"#0[0-9a-f]0b0c", svg)
    assert svg == draw(TRUST)  # type: ignore[operator]


def test_what_was_before_the_temperature_is_drawn_only_where_there_is_one() -> None:
    assert "var(--pruned)" in trust_figures.reliability(TRUST)
    assert "var(--pruned)" not in trust_figures.reliability(replace(TRUST, temperature=1.0))


def test_the_first_few_texts_do_not_set_the_scale() -> None:
    """At a share of .05 its accuracy is .2, that of a handful of texts: the axis begins above that."""
    ticks = [float(x) for x in re.findall(r">(\d?\.\d+)<", trust_figures.risk_coverage(TRUST))]
    assert [t for t in ticks if 0.8 < t < 1 and t != 0.9]  # .9 is the label of a mark
