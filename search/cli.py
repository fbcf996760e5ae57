"""The command line: parses, calls one function of the pipeline, prints, turns errors into one line and an exit code.

Exit codes: 0 done, 2 wrong usage, study file or data, 1 anything else that failed, 130 interrupted. Everything heavy is
imported by the command that needs it, so that ``--help`` answers at once.
"""

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn

from sweepstack.models.errors import InputError, StorageError, SweepstackError
from sweepstack.models.files import user_path
from sweepstack.search.report.terminal import json_line, never_fail

INTERRUPTED = 130


class Parser(argparse.ArgumentParser):
    """argparse, but an error is one line that says how to get help."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def parser() -> Parser:
    top = Parser(prog="sweepstack", description="One study file in, one exported ensemble out.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)

    def command(name: str, run: Callable[[argparse.Namespace], None], text: str) -> Parser:
        sub: Parser = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        sub.add_argument("--json", action="store_true", help="print one JSON object for machines, nothing else")
        return sub

    def of_run(name: str, run: Callable[[argparse.Namespace], None], text: str) -> Parser:
        sub = command(name, run, text)
        sub.add_argument("run_folder", metavar="RUN", help="a run folder")
        return sub

    for name, run, text in (
        ("run", run_study, "search, ensembles, bundle and report; the same command again goes on where it was stopped"),
        ("search", search_study, "only the search: trials, baseline and supervised control"),
    ):
        sub = command(name, run, text)
        sub.add_argument("study", metavar="STUDY", help="a study file (YAML)")
        sub.add_argument(
            "--trials", type=int, metavar="N", help="how many trials in all (short for --set search.trials=N)"
        )
        sub.add_argument("--out", metavar="DIR", help="the run folder (default: runs/<name>)")
        sub.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="KEY=VALUE",
            dest="overrides",
            help="replace a value of the study",
        )
        sub.add_argument("--address", metavar="HOST:PORT", help="a Ray cluster (default: this machine)")

    sub = command("ensemble", ensemble_run, "build the ensembles of a run or over several, choose and score the best")
    sub.add_argument(
        "run_folders",
        nargs="+",
        metavar="RUN",
        help="a run folder; several finished ones with the same data are combined",
    )
    sub.add_argument("--out", metavar="DIR", help="the folder for several runs (default: runs/<a>-and-<b>)")
    sub.add_argument("--address", metavar="HOST:PORT", help="a Ray cluster for refits (default: this machine)")
    sub = of_run("export", export_run, "export the chosen ensemble of a run as a bundle, or another one by name")
    sub.add_argument("--ensemble", metavar="NAME", help="a name of the ensembles table (default: the chosen one)")
    sub.add_argument("-o", "--out", metavar="DIR", help="the bundle's folder (default: RUN/bundle)")
    sub.add_argument("--force", action="store_true", help="replace a bundle that is there")
    sub = command(
        "predict", predict_file, "what a bundle says of the texts of a file or of standard input (-), as JSON lines"
    )
    sub.add_argument("bundle", metavar="BUNDLE", help="an exported bundle")
    sub.add_argument(
        "file", metavar="FILE", help=".jsonl .csv .tsv .parquet, plain text (a text a line), or - for standard input"
    )
    sub.add_argument("-o", "--out", metavar="OUT", help="a file for the predictions (default, or -: standard output)")
    sub.add_argument("--force", action="store_true", help="replace a file that is there")
    sub.add_argument("--cost", type=float, metavar="C", help="what a READ costs, of a bundle trained for several")
    sub.add_argument(
        "--coverage", type=float, metavar="P", help="with sets of labels, a share P of which holds the right one (0.95)"
    )
    sub.add_argument("--candidates", type=int, metavar="N", help="with the N best texts, of a bundle that writes")
    sub = of_run(
        "add", add_trial, "one trial by hand: into a run that works, or into one that has ended, which then goes on"
    )
    sub.add_argument(
        "--set",
        action="append",
        required=True,
        metavar="KEY=VALUE",
        dest="overrides",
        help="a searched setting (train.lr=1e-2); what is not given is as in the best trial so far",
    )
    sub.add_argument("--address", metavar="HOST:PORT", help="a Ray cluster, where the run goes on here")
    sub = of_run("retry", retry_trials, "failed trials once more, with the same settings, as new trials")
    which = sub.add_mutually_exclusive_group(required=True)
    which.add_argument("--failed", action="store_true", help="all failed trials that were not tried again yet")
    which.add_argument("--trial", type=int, action="append", default=[], metavar="N", help="this one; may be repeated")
    sub.add_argument("--address", metavar="HOST:PORT", help="a Ray cluster, where the run goes on here")
    sub = of_run("stop", stop_run, "end the search of a run that works, and go on to its ensembles; or end one trial")
    sub.add_argument("--trial", type=int, metavar="N", help="only this trial, at its next report")
    of_run("status", show_status, "where a run stands; may be asked while it works")
    of_run("report", write_report, "write the report of a run: one page of tables and pictures")
    sub = of_run("ui", open_ui, "MLflow's user interface on the run's tracking store, on this machine only")
    sub.add_argument("--port", type=int, default=5000, help="the port on 127.0.0.1 (default: 5000)")
    return top


def main(arguments: Sequence[str] | None = None) -> None:
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the shell, as by >&-
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - until the process ends
    never_fail(sys.stdout, sys.stderr)
    options = parser().parse_args(arguments)
    try:
        os.getcwd()
    except FileNotFoundError:
        fail("the working directory was removed; go to another one (cd ~) and run the same again", 2, options.json)
    try:
        options.run(options)
        sys.stdout.flush()
    except SweepstackError as error:
        fail(str(error), error.exit_code, options.json)
    except KeyboardInterrupt:
        fail(getattr(options, "go_on", None) or "interrupted", INTERRUPTED, options.json)
    except BrokenPipeError:  # the reader of our output (head, say) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        fail(str(StorageError(f"{error.filename or 'a file'}: {error.strerror or error}")), 1, options.json)


def fail(message: str, code: int, as_json: bool) -> NoReturn:
    line = " ".join(message.split())
    if as_json:
        print_json({"error": line, "exit_code": code})
    print(f"sweepstack: {line}", file=sys.stderr)
    raise SystemExit(code)


def print_json(content: Any) -> None:
    sys.stdout.write(json_line(content, sys.stdout.encoding))


def search_study(options: argparse.Namespace) -> None:
    _with_study(options, "search")


def run_study(options: argparse.Namespace) -> None:
    _with_study(options, "run")


def _with_study(options: argparse.Namespace, stage: Literal["run", "search"]) -> None:
    from sweepstack.search.study.study import Study

    overrides = list(options.overrides)
    if options.trials is not None:
        overrides.append(f"search.trials={options.trials}")
    study = Study.load(options.study, overrides)
    given = [("--trials", options.trials), *(("--set", each) for each in options.overrides)]
    given += [("--out", options.out), ("--address", options.address)]
    flags = [word for flag, value in given if value is not None for word in (flag, str(value))]
    again = shlex.join(["sweepstack", options.command, options.study, *flags])
    options.go_on = f"interrupted; what is finished is kept, and the same command goes on: {again}"
    from sweepstack.search import pipeline  # after the study was found to be right: it takes seconds

    result = getattr(pipeline, stage)(
        study, Path(options.out) if options.out else None, address=options.address, json=options.json
    )
    if options.json:
        print_json(result.summary())


def ensemble_run(options: argparse.Namespace) -> None:
    from sweepstack.search import pipeline

    runs, out = [Path(run) for run in options.run_folders], Path(options.out) if options.out else None
    again = shlex.join([*options.run_folders, *(["--out", options.out] if out else [])])
    options.go_on = f"interrupted; what is finished is kept: sweepstack ensemble {again} goes on"
    if len(runs) == 1 and out is not None:
        raise InputError("--out is for several runs; what is built of one lies in its own folder")
    if len(runs) == 1:
        result = pipeline.ensemble(runs[0], address=options.address, json=options.json)
    else:
        result = pipeline.combine(runs, out, address=options.address, json=options.json)
    if options.json:
        print_json(result.summary())


def export_run(options: argparse.Namespace) -> None:
    from sweepstack.search.report.result import Result

    result = Result.open(Path(options.run_folder))
    chosen = result.ensemble(options.ensemble)
    if options.out == "-":
        raise InputError("-o -: a bundle is a folder, which standard output cannot hold; name one")
    target = chosen.export(result.folder.bundle if options.out is None else options.out, force=options.force)
    if options.json:
        print_json({"ensemble": chosen.name, "bundle": str(target)})
    else:
        print(f"Exported {chosen.name} to {target}")


def predict_file(options: argparse.Namespace) -> None:
    from sweepstack.search.predict import predict

    if options.out is not None and options.out.endswith(("/", os.sep)):
        raise InputError(f"-o {options.out} is the name of a folder; name a file")
    out = None if options.out in (None, "-") else user_path(options.out)
    bundle = user_path(options.bundle)
    file = options.file if options.file == "-" else str(user_path(options.file))
    summary = predict(bundle, file, out, options.cost, options.coverage, options.candidates, force=options.force)
    if options.json and out:
        print_json(summary)


def add_trial(options: argparse.Namespace) -> None:
    from sweepstack.search import interventions

    options.go_on = _kept(options.run_folder)
    run = Path(options.run_folder)
    done = interventions.add(run, options.overrides, _say(options), address=options.address, json=options.json)
    if options.json:
        print_json(done)


def retry_trials(options: argparse.Namespace) -> None:
    from sweepstack.search import interventions

    options.go_on = _kept(options.run_folder)
    run, say = Path(options.run_folder), _say(options)
    done = interventions.retry(
        run, options.trial, say, failed=options.failed, address=options.address, json=options.json
    )
    if options.json:
        print_json(done)


def stop_run(options: argparse.Namespace) -> None:
    from sweepstack.search import interventions

    done = interventions.stop(Path(options.run_folder), options.trial, _say(options))
    if options.json:
        print_json(done)


def _say(options: argparse.Namespace) -> Callable[[str], None]:
    """Prints a line at once, where a person reads."""

    def say(line: str) -> None:
        if not options.json:
            print(line, flush=True)

    return say


def _kept(run: str) -> str:
    return f"interrupted; what was queued is kept: sweepstack run {Path(run) / 'study.yaml'} --out {run} goes on"


def show_status(options: argparse.Namespace) -> None:
    from sweepstack.search.report.result import Result

    status = Result.open(Path(options.run_folder)).status()
    if options.json:
        print_json(status)
    else:
        from sweepstack.search.report.summary import print_status

        print_status(status, sys.stdout)


def write_report(options: argparse.Namespace) -> None:
    from sweepstack.search.report.result import Result

    path = Result.open(Path(options.run_folder)).write_report()
    if options.json:
        print_json({"report": str(path)})
    else:
        print(path)


def open_ui(options: argparse.Namespace) -> None:
    from sweepstack.search.report.result import Result
    from sweepstack.search.tracking.tracker import ui_command

    uri = Result.open(Path(options.run_folder)).study.tracking_uri
    argv = ui_command(uri, options.port)
    url = f"http://127.0.0.1:{options.port}"
    if options.json:
        print_json({"url": url, "tracking_uri": uri})
    else:
        print(f"MLflow on {url} (Ctrl-C ends it)")
    sys.stdout.flush()
    os.execvp(argv[0], argv)


if __name__ == "__main__":
    main()
