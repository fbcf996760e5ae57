"""The report: one self-contained page of what a run found, how sure that is, and where it came from.

No script, no network, no font or picture outside the file; everything that a user wrote is escaped by the template.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweepstack.ensembles.scoring.bootstrap import NORMAL_95
from sweepstack.models.data.cleaning import printable
from sweepstack.models.data.labelled import OUT_OF_FOLD
from sweepstack.models.files import write_atomic
from sweepstack.models.predictions.metrics import direction
from sweepstack.search import format as fmt
from sweepstack.search.ledger.leaderboard import Company, best_metrics, seconds
from sweepstack.search.ledger.run_folder import RunFolder
from sweepstack.search.report import figures
from sweepstack.search.report.effects import FEWEST, effects, importances, usable
from sweepstack.search.report.pareto_figure import pareto, serving
from sweepstack.search.report.report_rows import beside, board, ensemble_row, shown_metrics
from sweepstack.search.report.report_texts import examples_page
from sweepstack.search.report.report_trust import trust_page
from sweepstack.search.report.summary import (
    NAMES,
    Results,
    confirmation_words,
    front_words,
    gains,
    quoted,
    shown_path,
    utility_words,
)

if TYPE_CHECKING:
    from sweepstack.ensembles.evaluation.examples import Examples
    from sweepstack.ensembles.evaluation.table import Row
    from sweepstack.ensembles.evaluation.trust import Trust
    from sweepstack.ensembles.scoring.bootstrap import Gain
    from sweepstack.search.ledger.records import TrialRecord
    from sweepstack.search.study.space import Space

TEMPLATE = "report.html"
USES = {
    "warm": "fits the supervised start",
    "policy": "policy optimisation plays on it",
    "valid": "scores trials and stops them",
    "blend": "fits the ensembles and chooses what is exported",
    OUT_OF_FOLD: "scores trials, fits ensembles and chooses; of each row counts what the policy says that never saw it",
    "test": "scored once the choice stood in the ledger; never chosen on",
}
FEW = 30  # trials below which importances are read with care


@dataclass(frozen=True)
class Contents:
    """All that a report is written from; what a run has not come to yet is left empty."""

    results: Results
    space: "Space"
    records: Sequence["TrialRecord"] = ()
    company: Sequence[Company] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)  # as in provenance.json
    scorings: int = 0  # how often labels of test have been scored
    trust: "Trust | None" = None  # of what is exported
    examples: "Examples | None" = None  # of what is written


def write_report(path: Path, contents: Contents, *, now: datetime | None = None) -> None:
    """Writes the page, whole or not at all; raises StorageError where the disk refuses."""
    write_atomic(path, render(contents, now or datetime.now(UTC)))


def render(contents: Contents, now: datetime) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("sweepstack.search.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(count=fmt.count, score=fmt.score, words=fmt.metric_name, begins=begins)
    return printable(environment.get_template(TEMPLATE).render(**page(contents, now)))


def page(contents: Contents, now: datetime) -> dict[str, Any]:
    """Everything that the template shows, by name; values are text already."""
    results = contents.results
    study, metric = results.study, results.study.search.objective
    data = contents.provenance.get("data", {})
    row = results.row(results.chosen)
    ended = [r for r in contents.records if r.has_ended]
    return {
        "study": study,
        "metric": metric,
        "written": now.strftime("%Y-%m-%d %H:%M UTC"),
        "question": question(contents),
        "played": contents.provenance.get("environment", {}),
        "held_out": held_out(results),
        "chosen": row,
        "chosen_name": results.chosen,
        "reason": results.reason,
        "tiles": tiles(contents),
        "gains": [
            (text, gain.low <= 0 <= gain.high) for text, gain in zip(gains(row, results), paired(row), strict=True)
        ]
        if row
        else [],
        "utility": utility_words(row, results) if row else "",
        "rival": results.baseline,
        "command": f"echo {quoted(results.example or 'some text')} | sweepstack predict "
        f"{shown_path(RunFolder(results.folder).bundle)} -",
        "combined": any(each.role == "ensemble" for each in results.rows),
        "ensembles": [ensemble_row(each, results) for each in results.rows],
        "compared_by": results.metric,
        "beside": beside(results),
        "best": results.best,
        "confirmed": " ".join(confirmation_words(results.confirmed)) if results.confirmed else "",
        "front": front_words(results),
        "best_words": fmt.settings_words(results.best.settings) if results.best else "",
        "best_folder": shown_path(RunFolder(results.folder).of(results.best)) if results.best else "",
        "states": {state: sum(r.state == state for r in contents.records) for state in STATES},
        "ended": len(ended),
        "seconds": fmt.duration(math.fsum(seconds(r) or 0.0 for r in contents.records)),
        "flattery": flattery(contents),
        "board": board(results, contents.records, contents.company, contents.space.paths()),
        "paths": fmt.short_names(contents.space.paths()),
        "failures": [(r.number, r.reason) for r in contents.records if r.state == "failed" and r.reason],
        "board_metrics": shown_metrics(results),
        "pictures": pictures(contents),
        "importances": shares(contents),
        "caution": caution(contents),
        "parts": [
            {
                "name": name,
                "rows": fmt.count(rows),
                "use": USES.get(name, ""),
                "hash": data.get("hashes", {}).get(name, ""),
            }
            for name, rows in data.get("rows", {}).items()
        ],
        "content_hash": data.get("hashes", {}).get("content", ""),
        "classes": data.get("classes", []),
        "data_notes": data.get("notes", []),
        "scorings": contents.scorings,
        "trust": trust_page(contents.trust, results),
        "examples": examples_page(contents.examples),
        "remarks": results.remarks,
        "versions": {"python": contents.provenance.get("python", ""), **contents.provenance.get("versions", {})},
        "study_file": study.dump(),
    }


def begins(metric: str) -> str:
    """A metric as the first word of a sentence."""
    return NAMES.get(metric, fmt.metric_name(metric).capitalize())


STATES = ("complete", "pruned", "failed", "running", "waiting")


def question(contents: Contents) -> str:
    from sweepstack.search.report.display import header

    study = contents.results.study
    data = contents.provenance.get("data", {})
    classes = len(data.get("classes", [])) or None
    return header(study, {}, 1, classes, most_words=data.get("most_words"))[1]


def held_out(results: Results) -> str:
    """What trials are scored on."""
    study = results.study
    if study.folds > 1:
        return "rows out of fold"
    return "valid" if study.environment is None else f"{study.train.env.eval_episodes} evaluated episodes"


def tiles(contents: Contents) -> list[tuple[str, str, str]]:
    """(label, figure, remark) of what a reader wants to know first."""
    results, metric = contents.results, contents.results.study.search.objective
    name = fmt.metric_name(metric)
    found = []
    row = results.row(results.chosen)
    if row is not None:
        shown = results.metric
        part, values = ("test", row.test) if row.test else ("blend", row.blend)
        half = (row.test_interval or {}).get(shown) if row.test else None
        remark = f"± {fmt.half(shown, half)} (95%)" if half is not None else "cross-fitted"
        found.append((f"{part} {fmt.metric_name(shown)}, exported", fmt.metric(shown, values.get(shown)), remark))
        if results.study.writes:
            found += [(f"{part} {each}, exported", fmt.metric(each, values.get(each)), "") for each in results.beside]
        elif results.study.reading != "off" and metric != "accuracy":
            after = f"after {values['segments']:.1f} of {results.study.reading.max_segments} segments"
            found.append((f"{part} accuracy", fmt.score(values["accuracy"]), after))
    if results.best is not None:
        at = best_metrics(results.best)
        part = "valid" if results.study.environment is None else "mean"
        found.append((f"{part} {name}, best trial", fmt.metric(metric, at.get(metric)), f"trial {results.best.number}"))
    if results.confirmed is not None:
        won = f"{fmt.metric(metric, results.confirmed.searched)} in the search"
        rows = results.confirmed.rows if part == "valid" else part
        found.append((f"{rows} {name}, new seeds", fmt.metric(metric, results.confirmed.mean), won))
    ended = sum(r.has_ended for r in contents.records)
    found.append(("trials", str(ended), f"of {results.study.search.trials}"))
    return found


def paired(row: "Row") -> list["Gain"]:
    return [gain for gain in (row.gain_over_trial, row.gain_over_linear) if gain is not None]


def flattery(contents: Contents) -> str:
    """How much the best of K trials on n rows may owe to luck, σ·√(2 ln K), where the metric is a share of the rows, a
    mean over n episodes, or of texts whose σ is known on blend."""
    study, best = contents.results.study, contents.results.best
    sizes = contents.provenance.get("data", {}).get("rows", {})
    rows = sizes.get("valid") or sizes.get(OUT_OF_FOLD)
    trials = len(usable(contents.records))
    if best is None or trials < 2:
        return ""
    at, chance = best_metrics(best), math.sqrt(2 * math.log(trials))
    if study.environment is not None:
        luck = at.get("reward_std", 0.0) / math.sqrt(study.train.env.eval_episodes) * chance
        if luck == 0:
            return ""
        return (
            f"The best of {trials} trials on {held_out(contents.results)} may owe up to about "
            f"{fmt.metric('reward', luck)} of its reward to having been chosen; play its checkpoint again elsewhere."
        )
    metric, part = study.search.objective, "valid" if study.folds == 1 else "out-of-fold"
    if study.writes:
        row = contents.results.best_row()
        half = None if row is None else (row.blend_interval or {}).get(metric)
        if half is None or not {"valid", "blend"} <= set(sizes):
            return ""
        luck = half / NORMAL_95 * math.sqrt(sizes["blend"] / sizes["valid"]) * chance
    elif rows and metric in ("reward", "accuracy", "accuracy_full"):
        accuracy = (at.get("accuracy", 0.5) * rows + 2) / (rows + 4)  # Agresti & Coull, see scoring/bootstrap.py
        luck = math.sqrt(accuracy * (1 - accuracy) / rows) * chance
    else:
        return ""
    return (
        f"The best of {trials} trials on {fmt.count(rows)} {part} rows may owe up to about {fmt.half(metric, luck)} of "
        f"its {part} score to having been chosen; quote test instead."
    )


def shares(contents: Contents) -> list[tuple[str, str, float]]:
    """(path, percent, share of the largest) for the bars."""
    found = importances(contents.records, contents.space, direction(contents.results.study.search.objective))
    names = fmt.short_names(contents.space.paths())
    largest = max(found.values(), default=1.0) or 1.0
    return [
        (names[path.removeprefix("1-")], f"{share:.0%}", round(100 * share / largest, 1))
        for path, share in found.items()
    ]


def caution(contents: Contents) -> str:
    trials = len(usable(contents.records))
    if trials < FEWEST:
        return f"{trials} trials with a result are too few to say what mattered; the points below are all there is."
    few = (
        f"With {trials} trials this is a hint, not a finding: another seed may order the settings differently. "
        if trials < FEW
        else ""
    )
    search = contents.results.study.search
    looked = "The sampler looked where trials were good" if search.sampler == "tpe" else ""
    if search.looks_for_gain:
        looked = "The sampler looked where trials improved the ensemble, and not where they were best"
    pruned = "" if search.stopper == "none" else "pruned trials stand with the value that they had reached"
    said = ", and ".join(each for each in (looked, pruned) if each)
    return few + (f"{said[0].upper()}{said[1:]}." if said else "")


def pictures(contents: Contents) -> dict[str, Any]:
    """SVG by name, safe to stand in the page as it is; empty text where there is nothing to draw."""
    from markupsafe import Markup

    results, metric = contents.results, contents.results.study.search.objective
    reading, objectives = results.study.reading, results.study.search.objectives
    best = results.best.number if results.best else None
    reported = [r for r in contents.records if r.reports and r.state != "failed"]
    found = effects(contents.records, contents.space)
    by_path = {effect.axis.path: effect for effect in found}
    pair = [by_path.get(path) for path in ("train.gamma", "train.gae_lambda")]
    drawn: dict[str, Any] = {
        "curves": figures.learning_curves(reported, best, metric, held_out(results)) if reported else "",
        "pareto": pareto(contents.records, [r.number for r in results.front], objectives, best)
        if results.front
        else "",
        "map": figures.gamma_lambda(pair[0], pair[1], best, metric) if pair[0] and pair[1] else "",
        "intervals": figures.intervals(results.rows, results.metric, results.baseline),
        "serving": serving(results.rows, results.metric),
        "reading": ""
        if reading == "off" or not reported
        else figures.reading(reported, contents.company, results.rows, best, reading.score_cost),
    }
    safe: dict[str, Any] = {name: Markup(svg) for name, svg in drawn.items()}
    safe["effects"] = [Markup(figures.effect(effect, metric, best)) for effect in found]
    return safe
