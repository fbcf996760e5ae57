"""The leaderboard: a row a trial with what was searched and what came of it, best first, and the company beside it.

The linear baseline and the best supervised control are rows without a number: they are compared with, and never count
as trials. A trial stands with the valid metrics of its best epoch, whether it was completed, pruned or still runs; one
with several seeds with their means over its repetitions.
"""

import math
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sweepstack.models.files import write_atomic
from sweepstack.models.predictions.metrics import direction
from sweepstack.models.predictions.probabilities import DIRECTION
from sweepstack.search.ledger.objectives import pareto_front

if TYPE_CHECKING:
    import pandas as pd

    from sweepstack.search.ledger.records import TrialRecord

METRICS = tuple(DIRECTION)
SD = "_sd"  # behind a metric's name: its standard deviation over seeds


@dataclass(frozen=True)
class Company:
    """A row that no trial of the sweep stands behind."""

    name: str  # "linear", "supervised"
    role: Literal["baseline", "control"]
    valid: Mapping[str, float]
    seconds: float | None = None
    settings: Mapping[str, Any] | None = None  # of the best control
    state: str = "complete"


def best_metrics(record: "TrialRecord") -> dict[str, float]:
    """The metrics of the best epoch on valid, means over repetitions; empty before the first report."""
    return {name: statistics.fmean(values) for name, values in _at_best(record).items()}


def spreads(record: "TrialRecord") -> dict[str, float]:
    """Their standard deviations over repetitions (n - 1); empty where there are not two of them."""
    return {name: statistics.stdev(values) for name, values in _at_best(record).items() if len(values) > 1}


def with_spreads(record: "TrialRecord") -> dict[str, float]:
    """Both in one: ``<metric>``, and ``<metric>_sd`` behind them."""
    return {**best_metrics(record), **{name + SD: deviation for name, deviation in spreads(record).items()}}


def _at_best(record: "TrialRecord") -> dict[str, list[float]]:
    """What each repetition that counts had at its best epoch."""
    epochs = record.best_epochs or ((record.best_epoch,) if record.best_epoch else ())
    found = [record.reports[epoch - 1] for epoch in epochs if 1 <= epoch <= len(record.reports)]
    names = [name for name in found[0] if name not in ("repetition", "fold")] if found else []
    return {name: [report[name] for report in found if name in report] for name in names}


def best_so_far(record: "TrialRecord", metrics: Sequence[str]) -> dict[int, dict[str, float]]:
    """What a leaderboard would have said after each epoch, as ``best_<metric>`` and ``best_epoch``, by epoch, where it
    has changed. The last one is what it says of the trial now. ``metrics``: the first is what trials are ranked by.

    As in :func:`trial_record.record_of` these are means over the repetitions that are finished, or the values of the
    first until it is; of a fold the last epoch counts.
    """
    if not record.reports:
        return {}
    sign, folds = direction(metrics[0]), "fold" in record.reports[-1]

    def value(epoch: int) -> float:
        return sign * record.reports[epoch - 1][metrics[0]]

    found: dict[int, dict[str, float]] = {}
    ended: tuple[int, ...] = ()  # the best epochs of the repetitions before the one at work
    before: tuple[int, ...] = ()
    place, begin, length, best = 0.0, 1, 0, 1
    for epoch, report in enumerate(record.reports, start=1):
        at = report.get("fold", report.get("repetition", 0.0))
        if at != place:
            if epoch > 1:
                ended, length = (*ended, best), length or epoch - begin
            place, begin, best = at, epoch, epoch
        if folds or value(epoch) > value(best):
            best = epoch
        counting = (*ended, best) if not ended or epoch - begin + 1 == length else ended
        if counting != before:
            known = [record.reports[each - 1] for each in counting]
            means = {f"best_{name}": statistics.fmean(r[name] for r in known) for name in metrics if name in known[0]}
            found[epoch] = {**means, "best_epoch": float(counting[-1] if folds else max(counting, key=value))}
        before = counting
    return found


def seconds(record: "TrialRecord") -> float | None:
    """Seconds of work, over all sessions that a trial needed; without them, from its start to its end."""
    worked = [report["seconds"] for report in record.reports if "seconds" in report]
    if worked:
        return math.fsum(worked)
    return None if record.ended is None else record.ended - record.started


def rank(value: float | None, metric: str) -> float:
    """A key to sort by, best first, with what has no value last."""
    return math.inf if value is None or math.isnan(value) else -direction(metric) * value


def ranked(records: Iterable["TrialRecord"], metric: str) -> list["TrialRecord"]:
    """Best first; equals in the order of their numbers; failed trials, whose value counts for nothing, last.

    Those with the most seeds stand before the others: a mean over fewer was never confirmed by the rest.
    """
    records = list(records)
    most = most_seeds(records)
    return sorted(records, key=lambda r: (behind(r, most), rank(r.value, metric), r.number))


def most_seeds(records: Iterable["TrialRecord"]) -> int:
    return max((r.seeds for r in records if r.state != "failed"), default=1)


def behind(record: "TrialRecord", most: int) -> int:
    """A key to sort by before the value: 0, 1 with fewer than the ``most`` seeds, 2 where it failed."""
    return 2 if record.state == "failed" else int(record.seeds < most)


def best(records: Iterable["TrialRecord"], metric: str) -> "TrialRecord | None":
    """The trial with the best value of those with the most seeds that did not fail, or None while there is none."""
    order = [r for r in ranked(records, metric) if r.state != "failed" and rank(r.value, metric) < math.inf]
    return order[0] if order else None


def front(records: Iterable["TrialRecord"], objectives: Sequence[str]) -> tuple[int, ...]:
    """The numbers of the trials that no other is better than in every objective, best first by the first of them.

    Only complete trials: one that the stopper ended was judged by the first objective alone, and half-trained; its
    seconds would be a bargain.
    """
    return pareto_front({r.number: r.objectives for r in records if r.state == "complete"}, objectives)


def control(records: Iterable["TrialRecord"], metric: str) -> Company | None:
    """The best trial of the supervised control's own small sweep, as a row of the company."""
    record = best(records, metric)
    if record is None:
        return None
    valid = with_spreads(record)
    return Company("supervised", "control", valid, seconds(record), record.settings, record.state)


def leaderboard(
    records: Sequence["TrialRecord"],
    company: Sequence[Company],
    paths: Sequence[str],
    metric: str = "reward",
    metrics: Sequence[str] = METRICS,
    *,
    seeds: int = 1,
    part: str = "seeds",
    pareto: Collection[int] | None = None,
) -> "pd.DataFrame":
    """One row a trial and one a company member, best first by ``metric``.

    Columns: number (nullable integer), name, role (trial, baseline, control), state, one for each searched path, the
    epochs reported and the best of them, the valid ``metrics`` there, seconds, rung, reason (of a failure, or of being
    cut short). With several ``seeds`` (asked for) the metrics are means over those that are finished, behind each
    stands its standard deviation as ``<metric>_sd``, and ``seeds`` says over how many: 0 where the first was cut, and
    the metrics are what it had come to. Under folds their column is named so by ``part``. ``pareto`` are the numbers of
    the trials on the front, where there is one.
    """
    import pandas as pd

    def row(values: Mapping[str, float], settings: Mapping[str, Any], **rest: Any) -> dict[str, Any]:
        return {**rest, **{p: settings.get(p) for p in paths}, **{m: values.get(m) for m in shown}}

    shown = [name for m in metrics for name in ((m, m + SD) if seeds > 1 else (m,))]
    most = most_seeds(records)
    trials = [
        row(
            with_spreads(r),
            r.settings,
            behind=behind(r, most),
            pareto=r.number in (pareto or ()),
            number=r.number,
            name=f"trial {r.number}",
            role="trial",
            state=r.state,
            epochs=len(r.reports),
            best_epoch=r.best_epoch,
            seconds=seconds(r),
            rung=r.rung,
            reason=r.reason or _cut_words(r, seeds),
            **{part: r.seeds},
        )
        for r in ranked(records, metric)
    ]
    others = [
        row(
            c.valid, c.settings or {}, behind=0, pareto=False, name=c.name, role=c.role, state=c.state,
            seconds=c.seconds,
        )
        for c in company
    ]  # fmt: skip
    rows = sorted(trials + others, key=lambda r: (r["behind"], rank(r[metric], metric)))
    columns = ["number", "name", "role", "state", *paths, "epochs", "best_epoch", *shown, "seconds", "rung", "reason"]
    numbers = ["number", "epochs", "best_epoch", "rung"]
    if seeds > 1:
        columns.insert(columns.index("epochs"), part)
        numbers.append(part)
    if pareto is not None:
        columns.insert(columns.index("epochs"), "pareto")
    frame = pd.DataFrame(rows, columns=columns)
    return frame.astype({**dict.fromkeys(numbers, "Int64"), **dict.fromkeys([*shown, "seconds"], "float64")})


def _cut_words(record: "TrialRecord", seeds: int) -> str | None:
    short = record.state == "pruned" or (record.state == "complete" and record.seeds < seeds)
    return f"ended {record.cut}" if short and record.cut else None


def write_leaderboard(path: Path, frame: "pd.DataFrame") -> None:
    """The table as CSV, whole or not at all; floats keep all their digits."""
    write_atomic(path, frame.to_csv(index=False))
