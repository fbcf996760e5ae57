from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from example_trust import TRUST

from sweepstack.ensembles.evaluation.table import Row
from sweepstack.ensembles.evaluation.trust import Sets
from sweepstack.models.files import write_json
from sweepstack.search.report.report import Contents, render
from sweepstack.search.report.report_trust import read_trust, trust_page
from sweepstack.search.report.summary import Results
from sweepstack.search.report.trust_figures import single_sets
from sweepstack.search.study.space import Space
from sweepstack.search.study.study import Study

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def contents(study: Study, space: Space, rows: tuple[Row, ...], tmp_path: Path) -> Contents:
    return Contents(Results(study, tmp_path, None, rows=rows, chosen="selection"), space, trust=TRUST)


def test_the_page_has_all_of_it_and_a_users_text_is_escaped(contents: Contents) -> None:
    page = render(contents, NOW)
    assert "calibration error where it answers is .0120; before the temperature of 0.7, which" in page
    assert "it was .0500." in page
    assert page.count("accuracy against confidence, in bins") == 1
    assert "<td>.90</td><td>.910 ±.028</td><td>1.05</td><td>.900</td><td>.970</td>" in page
    assert "Nothing is guaranteed of it." in page
    assert "&lt;script&gt;alert(" in page
    assert "<script" not in page
    assert "<b>often</b>" not in page
    assert "&lt;b&gt;often&lt;/b&gt;: trial-7, trial-3; other: linear" in page
    assert page.index("&lt;b&gt;often&lt;/b&gt;</td><td>.970</td>") < page.index(">rare</td><td>.750</td>")


def test_before_test_is_scored_there_is_nothing_of_it(contents: Contents) -> None:
    page = render(replace(contents, trust=None), NOW)
    assert 'id="trust"' not in page
    assert 'id="diversity"' not in page
    assert trust_page(None, contents.results) is None


def test_without_a_temperature_or_an_ensemble_less_is_shown(contents: Contents) -> None:
    plain = replace(TRUST, temperature=1.0, before=TRUST.after, diversity=None, sets=())
    page = render(replace(contents, trust=plain), NOW)
    assert "without a temperature" in page
    assert "without it" not in page
    assert 'id="diversity"' not in page
    assert "Sets of labels" not in page


def test_the_calibration_error_of_the_tables_is_named_beside_that_of_the_answers(
    contents: Contents, rows: tuple[Row, ...]
) -> None:
    for full, said in ((0.0118, True), (0.01199, False), (None, False)):
        own = {} if full is None else {"calibration_error": full}
        scored = tuple(replace(row, test={**(row.test or {}), **own}) for row in rows)
        page = render(replace(contents, results=replace(contents.results, rows=scored)), NOW)
        assert ("is .0120 (after reading everything, which is calibration_error in the tables, .0118);" in page) == said


def test_tables_are_shaded_by_their_largest_number_and_the_diagonal_is_empty(contents: Contents) -> None:
    page = trust_page(TRUST, contents.results)
    assert page is not None
    assert page["diversity"]["disagreement"][0] == [("", 0), (".08", 24), (".20", 60)]
    assert page["diversity"]["correlation"][0] == [("", 0), (".50", 60), ("–", 0)]
    assert page["diversity"]["correlation"][1][2] == ("-.10", 0)


def test_marks_that_lie_together_share_a_label() -> None:
    near = Sets(0.95, 0.95, 0.02, 1.2, 0.91, 0.975)
    far = Sets(0.8, 0.8, 0.04, 1.3, 0.7, 0.975)
    marks = single_sets(replace(TRUST, sets=(far, *TRUST.sets, near)))
    assert marks == {(0.7, 0.975): [0.8], (0.9, 0.97): [0.9, 0.95]}


def test_only_what_belongs_to_this_build_is_read(tmp_path: Path) -> None:
    path = tmp_path / "trust.json"
    assert read_trust(path, "0123") is None
    write_json(path, TRUST.to_json())
    assert read_trust(path, "0123") == TRUST
    assert read_trust(path, "4567") is None
    write_json(path, {"digest": "0123"})
    assert read_trust(path, "0123") is None
