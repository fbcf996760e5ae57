import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest

from sweepstack.ensembles.evaluation.examples import Example, Examples
from sweepstack.ensembles.evaluation.table import Row
from sweepstack.models.settings.data import Data, Folds
from sweepstack.search.ledger.confirmation import Confirmation
from sweepstack.search.ledger.leaderboard import Company
from sweepstack.search.ledger.records import TrialRecord
from sweepstack.search.report.report import Contents, caution, flattery, held_out, render, write_report
from sweepstack.search.report.summary import Results
from sweepstack.search.study.space import Space
from sweepstack.search.study.study import Study

Make = Callable[..., TrialRecord]
NOW = datetime(2026, 11, 24, 3, 4, tzinfo=UTC)
NASTY = '<script>alert("x")</script>'
PROVENANCE = {
    "python": "3.11.7",
    "versions": {"torch": "2.13.0"},
    "data": {
        "hashes": {"warm": "0123abcd", "test": "4567ef00", "content": "89abcdef"},
        "rows": {"warm": 4500, "test": 1500, "valid": 750},
        "classes": ["de", NASTY],
        "notes": [f"12 rows {NASTY}"],
    },
}


@pytest.fixture
def records(make_record: Make) -> list[TrialRecord]:
    base = make_record(0, [0.8]).settings
    ended = [make_record(n, [0.8, 0.85 + n / 200], settings={**base, "train.lr": 1e-3 * (n + 1)}) for n in range(8)]
    return [
        *ended,
        make_record(8, [0.7], "pruned", rung=1),
        make_record(9, state="failed", reason=NASTY),
        make_record(10, [0.6], "running"),
    ]


@pytest.fixture
def contents(study: Study, space: Space, records: list[TrialRecord], rows: tuple[Row, ...], tmp_path: Path) -> Contents:
    named = (replace(rows[0], name=NASTY, method=NASTY, members=("trial-7", NASTY, "linear")), *rows[1:])
    results = Results(study, tmp_path, records[7], named, NASTY, f"It is better {NASTY}.", "guten Morgen")
    company = [Company("linear", "baseline", {"reward": 0.902, "accuracy": 0.934, "segments": 4.4}, 5.0)]
    return Contents(results, space, records, company, PROVENANCE, 1)


class Page(HTMLParser):
    """Collects tags and the text of each section."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.sections: dict[str, str] = {}
        self._section = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append((tag, given))
        if tag == "section":
            self._section = given["id"] or ""
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "section":
            self._section = ""

    def handle_data(self, data: str) -> None:
        self.sections[self._section] = self.sections.get(self._section, "") + " " + " ".join(data.split())


def test_every_section_is_there_and_well_formed(contents: Contents) -> None:
    page = Page(render(contents, NOW))
    assert page.open == []
    sections = [attributes["id"] for tag, attributes in page.tags if tag == "section"]
    assert sections == [
        "exported",
        "ensembles",
        "curves",
        "effects",
        "map",
        "reading",
        "leaderboard",
        "data",
        "provenance",
    ]
    assert "2026-11-24 03:04 UTC" in page.sections[""]
    ensembles, exported = page.sections["ensembles"], page.sections["exported"]
    assert "+.023 [.009, .037]" in exported
    assert exported.count("the interval includes 0") == 1  # only the gain over the baseline spans it
    assert ".914 ±.014" in ensembles
    assert "trial-7 (.50)" in " ".join(ensembles.split()).replace(" , ", ", ")
    assert "0123abcd" in page.sections["data"]
    assert "Labels of test have been scored once" in page.sections["data"]
    assert "torch 2.13.0" in page.sections["provenance"]
    assert "8 complete" in page.sections["leaderboard"]


def test_a_users_text_is_escaped_everywhere(contents: Contents) -> None:
    html = render(contents, NOW)
    assert NASTY not in html
    assert html.count("&lt;script&gt;alert(") >= 6
    assert "script" not in [tag for tag, _ in Page(html).tags]


def test_the_page_loads_nothing(contents: Contents) -> None:
    html = render(contents, NOW)
    for tag, attributes in Page(html).tags:
        assert tag not in ("script", "link", "img", "iframe", "object", "image")
        for name in ("src", "href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith("#"), f"{tag} loads {attributes[name]}"
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)
    assert "default-src 'none'" in html


def test_the_leaderboard_is_sorted_with_the_company_in_it(contents: Contents) -> None:
    html = render(contents, NOW)
    board = html[html.index('<section id="leaderboard">') :]
    names = re.findall(r"<tr class=\"[^\"]*\"><td>([^<]+)</td>", board)
    assert names == ["linear", "7", "6", "5", "4", "3", "2", "1", "0", "8", "10", "9"]


def test_the_same_contents_give_the_same_page(contents: Contents) -> None:
    assert render(contents, NOW) == render(contents, NOW)


def test_a_run_that_has_only_begun_has_a_page(study: Study, space: Space, tmp_path: Path, make_record: Make) -> None:
    for records in ([], [make_record(0, state="running")], [make_record(0, state="failed", reason="NaN")]):
        page = Page(render(Contents(Results(study, tmp_path, None), space, records), NOW))
        assert [a["id"] for t, a in page.tags if t == "section"] == ["exported", "leaderboard", "data", "provenance"]
        assert "Nothing is exported yet" in page.sections["exported"]


@pytest.mark.parametrize("metric", ["log_loss", "accuracy", "segments"])
def test_other_metrics_and_a_plain_classifier(
    metric: str, make_study: Callable[..., Study], records: list[TrialRecord], rows: tuple[Row, ...], tmp_path: Path
) -> None:
    study = make_study(reading="off", search={"metric": metric})
    space = Space.of(study.space, study.trial_settings())[0]
    results = Results(study, tmp_path, records[0], rows, "selection", "It is better.")
    page = Page(render(Contents(results, space, records), NOW))
    sections = [attributes["id"] for tag, attributes in page.tags if tag == "section"]
    assert "map" not in sections
    assert "reading" not in sections
    assert f"best {metric.replace('_', ' ')}" in page.sections[""]


def test_luck_is_said_in_points_where_texts_are_written(
    writing_study: Study, writing_rows: tuple[Row, ...], make_record: Make, tmp_path: Path
) -> None:
    # σ on 400 rows of blend: 1.06 / 1.96 = .541; on 100 of valid twice that; four trials: √(2·ln 4) = 1.665
    sizes = {"data": {"rows": {"valid": 100, "blend": 400}}}
    records = [make_record(n, [0.4]) for n in range(4)]
    results = Results(writing_study, tmp_path, records[3], writing_rows)
    space = Space.of(writing_study.space, writing_study.trial_settings())[0]
    contents = Contents(results, space, records, provenance=sizes)
    assert flattery(contents) == (
        "The best of 4 trials on 100 valid rows may owe up to about 1.8 of its valid score to having been chosen; "
        "quote test instead."
    )
    assert flattery(replace(contents, results=replace(results, rows=()))) == "", "nobody knows its spread yet"


def test_luck_and_few_trials_are_said(contents: Contents) -> None:
    # σ of a share: √(.907·.093/750) = .0106; nine trials: √(2·ln 9) = 2.096
    assert "best of 9 trials on 750 valid rows may owe up to about .022" in flattery(contents)
    folds = contents.results.study.model_copy(update={"data": Data(train="builtin:languages", splits=Folds(folds=3))})
    sizes = {"data": {"rows": {"warm": 500, "policy": 300, "out_of_fold": 750, "test": 100}}}
    folded = replace(contents, results=replace(contents.results, study=folds), provenance=sizes)
    assert "best of 9 trials on 750 out-of-fold rows may owe up to about .022 of its out-of-fold" in flattery(folded)
    assert held_out(folded.results) == "rows out of fold"
    assert flattery(replace(contents, records=contents.records[:1])) == ""
    assert caution(contents).startswith("With 9 trials this is a hint")
    study = contents.results.study
    gain = study.model_copy(update={"search": study.search.model_copy(update={"metric": "ensemble_gain"})})
    looked = caution(replace(contents, results=replace(contents.results, study=gain)))
    assert "The sampler looked where trials improved the ensemble" in looked
    assert caution(replace(contents, records=contents.records[:3])).startswith("3 trials with a result are too few")


def test_the_file_is_written_whole(contents: Contents, tmp_path: Path) -> None:
    write_report(tmp_path / "out" / "report.html", contents, now=NOW)
    assert (tmp_path / "out" / "report.html").read_text(encoding="utf-8") == render(contents, NOW)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["report.html"]


def test_an_environments_page_shows_what_was_played_and_no_data(
    environment_study: Study, played_record: Make, tmp_path: Path
) -> None:
    def settings(place: int) -> dict[str, float]:
        return {"train.lr": 1e-4 * (place + 1), "train.gamma": 0.9 + 0.09 * (place % 2), "train.gae_lambda": 0.8}

    records = [played_record(n, [20.0, 100.0 + n], settings=settings(n)) for n in range(8)]
    space = Space.of(environment_study.space, environment_study.trial_settings())[0]
    played = {"id": "CartPole-v1", "observation": "a vector of 4", "action": "one of 2", "max_episode_steps": 500}
    results = Results(environment_study, tmp_path, records[7])
    contents = Contents(results, space, records, provenance={"versions": {}, "environment": played})
    page = Page(render(contents, NOW))
    assert page.open == []
    sections = [attributes["id"] for tag, attributes in page.tags if tag == "section"]
    assert sections == ["exported", "curves", "effects", "map", "leaderboard", "environment", "provenance"]
    assert page.sections["exported"].split("#7")[0].strip() == "Best trial  Best trial"
    assert "a vector of 4 and takes one of 2; an episode is cut off after 500 decisions" in page.sections["environment"]
    assert "4 evaluated episodes after each epoch:" in page.sections["curves"]
    assert "107.0" in page.sections["leaderboard"]
    assert "valid" not in page.sections["leaderboard"] + page.sections[""]
    # 20 · √(2 ln 8) / √4 episodes
    assert "may owe up to about 20.4 of its reward to having been chosen" in flattery(contents)


def test_seeds_confirmation_and_front_are_shown(
    contents: Contents, make_study: Callable[..., Study], raced_record: Make
) -> None:
    study = make_study(search={"seeds": 2, "metric": ["reward", "seconds"]})
    objectives = {3: (0.85, 4.0), 7: (0.9, 9.0), 8: (0.8, 8.0)}
    records = [
        raced_record(n, [[reward], [reward - 0.02]], objectives={"reward": reward - 0.01, "seconds": seconds})
        for n, (reward, seconds) in objectives.items()
    ]
    confirmed = Confirmation(7, "reward", 0.89, (0.83, 0.84, 0.82), 0.83, 0.805, 0.855, "blend", 0.86)
    results = replace(
        contents.results, study=study, best=records[1], front=[records[1], records[0]], confirmed=confirmed
    )
    page = render(replace(contents, results=results, records=records), NOW)
    assert "reward .830 [.805, .855] on 3 new seeds, on blend, without the search" in page
    assert "(.890 in the search, .860 with the new seeds, on valid)" in page
    assert "blend reward, new seeds" in page
    assert ".890 ± .014" in page
    assert "complete, 2 seeds" in page
    assert 'aria-label="reward against seconds, and the Pareto front"' in page
    assert page.count('<span class="tag">front</span>') == 2
    assert "#7 reward .890, seconds 9.0" in page


@pytest.fixture
def of_texts(
    writing_study: Study, writing_rows: tuple[Row, ...], records: list[TrialRecord], tmp_path: Path
) -> Contents:
    """A page of a study that writes: right-to-left and endless texts among the examples."""
    space = Space.of(writing_study.space, writing_study.trial_settings())[0]
    written = [
        replace(record, reports=tuple({**each, "chrf": 40 * each["reward"], "bleu": 41.0} for each in record.reports))
        for record in records
    ]
    results = Results(
        writing_study, tmp_path, written[7], writing_rows, "minimum_bayes_risk", "It is better.", "Open the file"
    )
    shown = (
        Example("Open the file", "فتح الملف", "ملف", "فتح الملف", 40.0, 100.0),
        Example("x" * 1000, "y" * 1000, NASTY, "", 12.5, 0.0),
    )
    company = [Company("memory", "baseline", {"chrf": 32.9, "bleu": 34.7}, 5.0)]
    data = {**PROVENANCE["data"], "classes": []}
    examples = Examples("0123", "minimum_bayes_risk", "trial-3", "chrf", 900, 400, 200, shown)
    return Contents(results, space, written, company, {**PROVENANCE, "data": data}, 1, examples=examples)


def test_a_study_that_writes_shows_rows_of_test_side_by_side(of_texts: Contents) -> None:
    html = render(of_texts, NOW)
    page = Page(html)
    assert page.open == []
    sections = [attributes["id"] for tag, attributes in page.tags if tag == "section"]
    assert sections == [
        "exported", "ensembles", "examples", "curves", "effects", "map", "leaderboard", "data", "provenance",
    ]  # fmt: skip
    examples = page.sections["examples"]
    assert "better in 900, the trial's in 400, and 200 are equal" in examples
    assert "فتح الملف" in examples
    assert examples.index("40.0") < examples.index("100.0")
    assert "x" * 399 + "…" in examples, "a text without an end is cut"
    assert "x" * 400 not in examples
    assert html.count('dir="auto"') == 8, "each text finds its own direction"
    assert NASTY not in html
    ensembles = " ".join(page.sections["ensembles"].split())
    assert "41.7 ±1.1" in ensembles
    assert "over the memory" in ensembles
    assert "bleu" in ensembles
    assert "accuracy" not in ensembles
    assert "stops by" not in ensembles
    exported = page.sections["exported"]
    assert "+4.4 [3.5, 5.3] over the best trial" in exported
    assert "Its utility, chrF, is the metric it is measured by: BLEU +4.0 [3.1, 4.9] over the best trial" in exported
    assert "References of test have been scored once" in page.sections["data"]
    search = of_texts.results.study.search.model_copy(update={"metric": "reward"})
    rewarded = of_texts.results.study.model_copy(update={"search": search})
    assert flattery(replace(of_texts, results=replace(of_texts.results, study=rewarded))) == "", "no share of rows"


def test_a_text_of_a_data_file_cannot_spoil_the_page(of_texts: Contents) -> None:
    assert of_texts.examples is not None
    evil = replace(
        of_texts.examples.rows[0],
        source="half \ud83d nul \x00 escape \x1b[2J turned \u202edrow",
        reference="👩\u200d💻",
    )
    contents = replace(of_texts, examples=replace(of_texts.examples, rows=(evil,)))
    write_report(contents.results.folder / "page.html", contents, now=NOW)
    page = (contents.results.folder / "page.html").read_text(encoding="utf-8")
    assert "half ? nul  escape [2J turned drow" in page
    assert "👩\u200d💻" in page, "a joiner that is part of a sign stays"


def test_texts_without_references_have_no_column_for_them(of_texts: Contents) -> None:
    assert of_texts.examples is not None
    rows = tuple(replace(row, reference="") for row in of_texts.examples.rows)
    examples = replace(of_texts.examples, score="reward", rows=rows)
    page = Page(render(replace(of_texts, examples=examples), NOW))
    assert "reference" not in page.sections["examples"]
    assert "differ most in the reward" in page.sections["examples"]
    same = replace(examples, rows=tuple(replace(row, ensemble=row.trial) for row in rows))
    alike = Page(render(replace(of_texts, examples=same), NOW)).sections["examples"]
    assert "the best trial, trial-3, write the same" in alike
    assert "differ most" not in alike
    assert "examples" not in Page(render(replace(of_texts, examples=None), NOW)).sections
