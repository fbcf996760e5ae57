"""The rows of the report's two big tables, as text: the leaderboard and the ensembles."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sweepstack.models.predictions.probabilities import ROW_METRICS
from sweepstack.search import format as fmt
from sweepstack.search.ledger.leaderboard import SD, Company, behind, best_metrics, most_seeds, rank, ranked, seconds
from sweepstack.search.ledger.objectives import SECONDS
from sweepstack.search.report.summary import OF_32, Results, ensemble_cells, role_words

if TYPE_CHECKING:
    from sweepstack.ensembles.evaluation.table import Row
    from sweepstack.search.ledger.records import TrialRecord


def ensemble_row(row: "Row", results: Results) -> dict[str, Any]:
    metric = results.metric
    cells, half = ensemble_cells(row, metric), (row.blend_interval or {}).get(metric)
    weights = [""] * len(row.members) if row.weights is None else [fmt.score(weight, 2) for weight in row.weights]
    return {
        **cells,
        "test": cells[f"test {fmt.metric_name(metric)}"],
        "blend": cells["blend"] + (f" ±{fmt.half(metric, half)}" if half is not None else ""),
        "beside": [cells[fmt.metric_name(name)] for name in beside(results)],
        "role": row.role,
        "chosen": row.name == results.chosen,
        "mark": role_words(row),
        "front": row.front,
        "over": row.over_budget,
        "in_32": cells[OF_32],
        "over_trial": fmt.gain(row.gain_over_trial, metric),
        "over_linear": fmt.gain(row.gain_over_linear, metric),
        "stop": row.stop,
        "who": list(zip(row.members, weights, strict=True)),
    }


def beside(results: Results) -> tuple[str, ...]:
    """The columns beside that of the metric: a classifier's accuracy in any case."""
    return results.beside if results.study.writes else ("accuracy",)


def shown_metrics(results: Results) -> list[str]:
    """The study's metric first; a plain classifier reads everything, so its accuracies are one."""
    study = results.study
    if study.writes:
        return list(dict.fromkeys([name for name in (*study.search.objectives, *study.metrics) if name != SECONDS]))
    if study.environment is not None:
        return list(study.metrics)
    rest = ["accuracy", "log_loss"] if study.reading == "off" else list(ROW_METRICS)
    objectives = [name for name in study.search.objectives if name != SECONDS]  # which have a column in any case
    return list(dict.fromkeys([*objectives, *rest]))


def board(
    results: Results, records: Sequence["TrialRecord"], company: Sequence[Company], paths: Sequence[str]
) -> list[dict[str, Any]]:
    """The leaderboard's rows, trials and company together, best first, failed trials last."""
    metric, shown = results.study.search.objective, shown_metrics(results)
    best = results.best.number if results.best else None
    front, most = {record.number for record in results.front}, most_seeds(records)
    rows: list[tuple[tuple[int, float], dict[str, Any]]] = []
    for record in ranked(records, metric):
        at, took = best_metrics(record), seconds(record)
        row = {
            "name": str(record.number),
            "role": "trial",
            "best": record.number == best,
            "state": record.state,
            "words": _words(results, record),
            "front": record.number in front,
            "settings": [fmt.setting(path, record.settings.get(path)) for path in paths],
            "epoch": f"{record.best_epoch} of {len(record.reports)}" if record.best_epoch else fmt.DASH,
            "metrics": [
                fmt.spread(record.value, record.spread)
                if name == metric and record.spread is not None
                else fmt.metric(name, at.get(name))
                for name in shown
            ],
            "seconds": fmt.decimal(took),
        }
        rows.append(((behind(record, most), rank(record.value, metric)), row))
    for other in company:
        settings = other.settings or {}
        row = {
            "name": other.name,
            "role": other.role,
            "best": False,
            "state": other.state,
            "words": other.role,
            "front": False,
            "settings": [fmt.setting(path, settings.get(path)) for path in paths],
            "epoch": "",
            "metrics": [
                fmt.spread(other.valid[name], other.valid[name + SD])
                if name == metric and name + SD in other.valid
                else fmt.metric(name, other.valid.get(name))
                for name in shown
            ],
            "seconds": fmt.decimal(other.seconds),
        }
        rows.append(((0, rank(other.valid.get(metric), metric)), row))
    return [row for _, row in sorted(rows, key=lambda pair: pair[0])]


def _words(results: Results, record: "TrialRecord") -> str:
    words = fmt.state_words(record.state, record.rung, cut=record.cut)
    if results.study.search.seeds == 1:
        return words
    return f"{words}, {record.seeds} seed{'s' * (record.seeds != 1)}"
