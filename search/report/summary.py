"""The last lines of a run: the best trial, the ensembles beside their rivals, what was exported, what to do next."""

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from sweepstack.models.settings.tasks import is_environment
from sweepstack.search import format as fmt
from sweepstack.search.ledger.leaderboard import best_metrics
from sweepstack.search.ledger.run_folder import RunFolder
from sweepstack.search.report.progress import Standing
from sweepstack.search.report.tables import Column, fit, labelled, line
from sweepstack.search.report.terminal import Stream

if TYPE_CHECKING:
    from sweepstack.ensembles.evaluation.table import Row
    from sweepstack.search.ledger.confirmation import Confirmation
    from sweepstack.search.ledger.records import TrialRecord
    from sweepstack.search.study.study import Study

MARKS = {"trial": "(best trial)", "baseline": "(baseline)", "control": "(control)", "constant": "(constant reward)"}
OF_32 = "in 32"  # the heading of the milliseconds of one of 32 texts
FRONT = 12  # trials of a front that are printed
NAMES = {"chrf": "chrF", "bleu": "BLEU"}
BOLD, DIM, GOOD = "1", "2", "1;32"  # SGR codes
RIVALS = {"baseline": "the baseline", "memory": "the memory", "trial": "the best trial"}
OF_TEXTS = ("chrf", "bleu", "lagging")  # what a writer is measured by beside its objective, where there are references


@dataclass(frozen=True)
class Results:
    """What the last lines of a run say; anything may be missing where the run has not come so far."""

    study: "Study"
    folder: Path
    best: "TrialRecord | None"
    rows: Sequence["Row"] = ()
    chosen: str | None = None  # the name of the exported row
    reason: str = ""
    example: str | None = None  # a text to try
    front: Sequence["TrialRecord"] = ()  # of several objectives
    confirmed: "Confirmation | None" = None
    remarks: Mapping[str, str] = field(default_factory=dict)  # lines by their label, see notes.py

    def row(self, name: str | None) -> "Row | None":
        return next((row for row in self.rows if row.name == name), None)

    def best_row(self) -> "Row | None":
        return next((row for row in self.rows if row.role == "trial"), None)

    @property
    def metric(self) -> str:
        """What ensembles are compared by: the objective, or, where that cannot be worked out of texts, chrF."""
        objective = self.study.search.objective
        return "chrf" if self.study.writes and self.rows and objective not in self.rows[0].blend else objective

    @property
    def beside(self) -> tuple[str, ...]:
        """The metrics that tables show beside that one."""
        if not self.study.writes:
            return () if self.metric == "accuracy" else ("accuracy",)
        known = self.rows[0].blend if self.rows else best_metrics(self.best) if self.best else {}
        return tuple(name for name in OF_TEXTS if name != self.metric and name in known)

    @property
    def baseline(self) -> str:
        """What the baseline is called in a sentence."""
        return RIVALS["memory" if self.study.writes else "baseline"]


def print_results(results: Results, stream: TextIO) -> None:
    """Writes what is known; in a terminal the labels are bold and the company is dim."""
    out = Stream(stream)
    width = out.size()[0]
    for text, style in result_lines(results, width):
        out.line(f"\x1b[{style}m{text}\x1b[0m" if style and out.live else text)


def print_status(status: Mapping[str, Any], stream: TextIO) -> None:
    """Where a run stands, from ``Result.status()``."""
    out = Stream(stream)
    width, metric, trials = out.size()[0], status["metric"], status["trials"]
    name = fmt.metric_name(metric)
    states = ", ".join(f"{number} {state}" for state, number in trials.items() if state != "asked_for" and number)
    lines = labelled("Trials", [f"{states or 'none yet'}; {trials['asked_for']} asked for"], width)
    for label, remark in status.get("remarks", {}).items():
        lines += labelled(label, [remark], width)
    if status["best"]:
        part = "" if is_environment(status["task"]) else "valid "
        text = f"#{status['best']['trial']}   {part}{name} {fmt.metric(metric, status['best'][metric])}"
        lines += labelled("Best trial", [text], width)
        if is_environment(status["task"]):
            lines += labelled("Checkpoint", [shown_path(Path(status["checkpoint"]))], width)
    standing = Standing.from_json(status.get("live_ensemble"))
    if standing is not None and not status["ensembles"]:
        lines += labelled("So far", [f"{name}: {standing.words(metric)}"], width)
    for label, part, found in (("Company", "valid", status["company"]), ("Ensembles", "blend", status["ensembles"])):
        if found:
            values = [f"{who} {fmt.metric(metric, value)}" for who, value in found.items()]
            lines += labelled(label, [*values, f"({part} {name})"], width)
    if status["exported"]:
        bundle = shown_path(RunFolder(Path(status["folder"])).bundle)
        lines += labelled("Exported", [bundle, status["exported"]], width)
    for text in [f"{status['name']}   {shown_path(Path(status['folder']))}", *lines]:
        out.line(text)


def result_lines(results: Results, width: int) -> list[tuple[str, str]]:
    """Each line with its style (an SGR code or nothing)."""
    lines = [(text, BOLD) for text in _best(results, width)]
    if results.confirmed is not None:
        lines += [(text, "") for text in labelled("Confirmed", confirmation_words(results.confirmed), width)]
    if results.front:
        lines += [(text, "") for text in labelled("Pareto front", front_words(results), width)]
    lines += _ensembles(results, width)
    if results.chosen is not None:
        lines += [(text, BOLD) for text in _exported(results, width)]
    for label, remark in results.remarks.items():
        lines += [(text, "") for text in labelled(label, [remark], width)]
    lines += [(text, "") for text in _next(results, width)]
    return lines


def _best(results: Results, width: int) -> list[str]:
    best = results.best
    only = results.best_row()
    if best is None and only is not None:  # of another run
        at, values = ("test", only.test) if only.test else ("blend", only.blend)
        metric = results.study.search.objective
        value = f"{fmt.metric_name(metric)} {fmt.metric(metric, values.get(metric))}"
        return labelled("Best trial", [only.name, f"  {at} {value}"], width)
    if best is None:
        return labelled(
            "Best trial", ["none: no trial has come to a result (see the reasons in the leaderboard)"], width
        )
    row = results.best_row()
    part, values = ("test", row.test) if row and row.test else ("valid", best_metrics(best))
    metric, repeated = results.study.search.objective, "seeds" if results.study.search.seeds > 1 else "folds"
    pieces = [f"#{best.number}  {fmt.settings_words(best.settings)}".rstrip()]
    if results.study.environment is not None:
        played = fmt.spread(values.get("reward"), values.get("reward_std"))
        pieces.append(f"  reward {played} over {results.study.train.env.eval_episodes} episodes")
        lines = labelled("Best trial", pieces, width)
        if best.spread is not None:
            lines += labelled("", [f"{fmt.spread(best.value, best.spread)} over {best.seeds} {repeated}"], width)
        checkpoint = RunFolder(results.folder).of(best) / "checkpoint"
        return [*lines, *labelled("Checkpoint", [shown_path(checkpoint)], width)]
    repeats = ""
    if best.spread is not None:
        repeats = f"{fmt.metric_name(metric)} {fmt.spread(best.value, best.spread)} over {best.seeds} {repeated}"
    value = f"{fmt.metric_name(metric)} {fmt.metric(metric, values.get(metric))}"
    pieces.append(f"  {part} {repeats if repeats and part == 'valid' else value}")
    pieces += [f"{named(name)} {fmt.metric(name, values[name])}" for name in results.beside if name in values]
    if results.study.reading != "off" and "segments" in values:
        pieces[-1] += f" after {values['segments']:.1f} of {results.study.reading.max_segments} segments"
    if repeats and part != "valid":
        pieces.append(f"valid {repeats}")
    return labelled("Best trial", pieces, width)


def confirmation_words(confirmed: "Confirmation") -> list[str]:
    """``reward .885 [.880, .890] on 3 new seeds, on blend``, what that leaves out, and what it won with."""
    name, mean = fmt.metric_name(confirmed.metric), fmt.metric(confirmed.metric, confirmed.mean)
    interval = ""
    if confirmed.low is not None and confirmed.high is not None:
        low, high = (fmt.metric(confirmed.metric, end) for end in (confirmed.low, confirmed.high))
        interval = f" [{low}, {high}]"
    new = f"{len(confirmed.values)} new seed{'s' * (len(confirmed.values) != 1)}"
    searched = f"{fmt.metric(confirmed.metric, confirmed.searched)} in the search"
    if confirmed.on_valid is not None:
        searched += f", {fmt.metric(confirmed.metric, confirmed.on_valid)} with the new seeds, on valid"
    return [f"{name} {mean}{interval} on {new}, on {confirmed.removes}", f"({searched})"]


def front_words(results: Results) -> list[str]:
    """``#7 reward .895, seconds 12.3`` for each trial on the front."""
    objectives = results.study.search.objectives
    words = [
        f"#{r.number} " + ", ".join(f"{fmt.metric_name(o)} {fmt.metric(o, r.objectives[o])}" for o in objectives)
        for r in results.front
    ]
    more = len(words) - FRONT
    return [*words[:FRONT], f"and {more} more in leaderboard.csv"] if more > 0 else words


def ensemble_columns(
    rows: Iterable["Row"], metric: str, reading: bool, beside: Sequence[str] = ("accuracy",)
) -> list[Column]:
    """The columns of the ensembles' table; what no row has is left out."""
    rows = list(rows)
    columns = [Column("name", max(len(row.title) for row in rows), right=False)]
    columns += [Column("valid", 5, importance=6), Column("blend", 5)]
    scored = any(row.test for row in rows)
    if scored:
        columns.append(Column(f"test {fmt.metric_name(metric)}", len(f"test {metric}")))
    for name in (fmt.metric_name(each) for each in beside):
        columns.append(Column(name, max(4, len(name)), importance=8))
    if reading:
        columns.append(Column("read", 4, importance=8))
    columns += [Column("members", 7, importance=5), Column("MB", 4, importance=3), Column("ms/row", 6, importance=4)]
    if any(row.latency_32_ms is not None for row in rows):
        columns.append(Column(OF_32, len(OF_32), importance=2))
    return [*columns, Column("mark", max(len(mark(row)) for row in rows), right=False, importance=7)]


def mark(row: "Row") -> str:
    """``(baseline, front)``, ``(over budget)``: what a table says behind a row."""
    words = [role_words(row), "over budget" if row.over_budget else ""]
    words.append("front" if row.front else "")
    said = ", ".join(word for word in words if word)
    return f"({said})" if said else ""


def role_words(row: "Row") -> str:
    """``baseline``, ``constant reward``; nothing of an ensemble."""
    return (MARKS.get(row.method) or MARKS.get(row.role, "")).strip("()")


def ensemble_cells(row: "Row", metric: str) -> dict[str, str]:
    shown = row.test or row.blend
    test = fmt.DASH
    if row.test is not None:
        half = (row.test_interval or {}).get(metric)
        test = fmt.metric(metric, row.test.get(metric)) + (f" ±{fmt.half(metric, half)}" if half is not None else "")
    return {
        **{fmt.metric_name(name): fmt.metric(name, shown.get(name)) for name in OF_TEXTS},
        "name": row.title,
        "valid": fmt.metric(metric, row.valid.get(metric)),
        "blend": fmt.metric(metric, row.blend.get(metric)),
        f"test {fmt.metric_name(metric)}": test,
        "accuracy": fmt.score(shown.get("accuracy")),
        "read": fmt.metric("segments", shown.get("segments")),
        "members": str(len(row.members)),
        "MB": fmt.decimal(row.size_mb),
        "ms/row": fmt.decimal(row.latency_ms),
        OF_32: fmt.DASH if row.latency_32_ms is None else f"{row.latency_32_ms:.2f}",
        "mark": mark(row),
    }


def _ensembles(results: Results, width: int) -> list[tuple[str, str]]:
    if not results.rows:
        return []
    metric = results.metric
    wanted = ensemble_columns(
        results.rows, metric, results.study.reading != "off" and not results.study.writes, results.beside
    )
    columns, gap = fit(wanted, width, indent=2)
    head = line(columns, gap, {c.name: c.name for c in columns if c.name not in ("name", "mark")}, indent=2)
    title = "Ensembles" if any(row.role == "ensemble" for row in results.rows) else "Compared"
    lines = [(title + head[len(title) :], BOLD)]
    for row in results.rows:
        text = line(columns, gap, ensemble_cells(row, metric), indent=2)
        lines.append((text, GOOD if row.name == results.chosen else "" if row.role == "ensemble" else DIM))
    return lines


def gains(row: "Row", results: Results) -> list[str]:
    """``+.023 [.009, .037] over the best trial``, for each rival that it was compared with."""
    rivals = ((row.gain_over_trial, RIVALS["trial"]), (row.gain_over_linear, results.baseline))
    return [f"{fmt.gain(gain, results.metric)} over {rival}" for gain, rival in rivals if gain is not None]


def utility_words(row: "Row", results: Results) -> str:
    """Where texts were picked by the very metric that they are measured by: what they gain in another one."""
    if not row.utility or row.utility != results.metric or not row.other_gains:
        return ""
    others = [f"{named(name)} {fmt.gain(gain, name)} over {RIVALS['trial']}" for name, gain in row.other_gains.items()]
    return f"its utility, {named(row.utility)}, is the metric it is measured by: {', '.join(others)}"


def named(metric: str) -> str:
    """In a sentence: as its authors write it."""
    return NAMES.get(metric, fmt.metric_name(metric))


def _exported(results: Results, width: int) -> list[str]:
    row = results.row(results.chosen)
    over = gains(row, results) if row else []
    compared = f"{results.chosen}: {', '.join(over)}" if over else str(results.chosen)
    pieces = [shown_path(RunFolder(results.folder).bundle), compared]
    lines = labelled("Exported", pieces, width)
    if row is not None and utility_words(row, results):
        lines += labelled("", [utility_words(row, results)], width)
    if results.reason:
        lines += labelled("", [results.reason], width)
    student = next((each for each in results.rows if each.method == "student"), None)
    if student is not None and student.name != results.chosen:
        said = f"it says what the ensemble says, in {fmt.decimal(student.latency_ms)} ms"
        lines += labelled("Student", [shown_path(RunFolder(results.folder).student), said], width)
    return lines


def _next(results: Results, width: int) -> list[str]:
    folder = RunFolder(results.folder)
    commands = []
    if results.chosen is not None:
        text = quoted(results.example or "some text")
        commands.append((f"echo {text} | sweepstack predict {shown_path(folder.bundle)} -", ""))
    commands.append((f"sweepstack ui {shown_path(folder.root)}", "every trial in MLflow"))
    commands.append((shown_path(folder.report), "what mattered, in pictures"))
    place = max(len(command) for command, note in commands if note) + 3
    lines = []
    for at, (command, note) in enumerate(commands):
        label = "Next" if at == 0 else ""
        lines.append(f"{label:<13}{command.ljust(place) if note else command}{note}")
    return lines


def shown_path(path: Path) -> str:
    """As a user would type it in a shell: relative where it lies below the working directory."""
    relative = os.path.relpath(path)
    return shlex.quote(str(path) if relative.startswith("..") else relative)


def quoted(text: str) -> str:
    """``text`` for a shell, in double quotes where that is safe."""
    text = " ".join(text.split())
    return shlex.quote(text) if set(text) & set('"$`\\!') else f'"{text}"'
