import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sweepstack import ensembles as sweepstack_ensembles
from sweepstack.ensembles.bundles.bundle import load
from sweepstack.search import cli

COMMANDS = ["run", "search", "ensemble", "export", "predict", "add", "retry", "stop", "status", "report", "ui"]
HEAVY = ["torch", "ray", "mlflow", "sklearn", "scipy", "matplotlib", "optuna", "pandas", "numpy", "pydantic"]
IMPORTED = """
import sys
from sweepstack.search import cli
try:
    cli.main(sys.argv[1:])
except SystemExit as end:
    assert end.code == 0, end
print("imported:", *(name for name in {heavy} if name in sys.modules))
"""


@dataclass
class Done:
    code: int
    out: str
    err: str


@pytest.fixture
def sweepstack(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The command line in this process, in an empty working directory."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Done:
        code: Any = 0
        try:
            cli.main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = end.code
        return Done(code, *capsys.readouterr())

    return run


Sweepstack = Callable[..., Done]


def test_help_lists_what_is_built_and_waits_for_no_library() -> None:
    code = IMPORTED.format(heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True)
    assert re.findall(r"^    (\w+)  ", done.stdout, re.MULTILINE) == COMMANDS
    assert done.stdout.splitlines()[-1] == "imported:"
    assert done.stderr == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself_and_takes_json(command: str, sweepstack: Sweepstack) -> None:
    done = sweepstack(command, "--help")
    assert done.code == 0
    assert done.out.startswith(f"usage: sweepstack {command}")
    assert "--json" in done.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ("COMMAND", "sweepstack --help")),
        (["rnu", "study.yaml"], ("'rnu'", "run", "export", "sweepstack --help")),
        (["status"], ("RUN", "sweepstack status --help")),
        (["run", "study.yaml", "--trials", "many"], ("--trials", "'many'", "sweepstack run --help")),
        (["ui", "run", "--prot", "1"], ("--prot",)),
    ],
)
def test_wrong_usage_is_one_line_that_points_to_the_help(
    arguments: list[str], words: Sequence[str], sweepstack: Sweepstack
) -> None:
    done = sweepstack(*arguments)
    assert (done.code, done.out) == (2, "")
    assert len(done.err.splitlines()) == 1
    for word in words:
        assert word in done.err


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["run", "nowhere.yaml"], 2, ("nowhere.yaml", "no such study file")),
        (["search", "nowhere.yaml"], 2, ("nowhere.yaml", "no such study file")),
        (["run", "STUDY", "--trials", "0"], 2, ("search.trials", "0")),
        (["run", "STUDY", "--set", "train.lr=-1"], 2, ("--set train.lr", "-1")),
        (["run", "STUDY", "--set", "search.stopper=pbt"], 2, ("search.trials", "must be 8 under pbt", "got 4")),
        (["run", "STUDY", "--set", "data.train=nowhere.csv"], 2, ("nowhere.csv", "no such file")),
        (["run", "STUDY", "--set", "tracking.uri=gopher://x"], 1, ("gopher", "sqlite:")),
        (["run", "STUDY", "--out", "mine"], 2, ("mine", "holds other files", "--out")),
        (["run", "STUDY", "--address", "nowhere"], 2, ("--address", "nowhere", "host:port")),
        (["run", "STUDY", "--address", "127.0.0.1:9"], 1, ("127.0.0.1:9", "ray start --head", "--address")),
        (["run", "STUDY", "--out", "mine/thesis.txt"], 2, ("thesis.txt is a file", "--out")),
        (["ensemble", "mine"], 2, ("mine is not the folder of a run", "sweepstack run STUDY")),
        (["export", "mine"], 2, ("mine is not the folder of a run",)),
        (["status", "nowhere"], 2, ("nowhere is not the folder of a run",)),
        (["report", "mine"], 2, ("mine is not the folder of a run",)),
        (["ui", "mine"], 2, ("mine is not the folder of a run",)),
        (["export", "SEARCHED"], 2, ("no ensembles yet", "sweepstack ensemble")),
        (["export", "FINISHED", "--ensemble", "boosting"], 2, ("'boosting'", "selection")),
        (["export", "FINISHED", "-o", "mine"], 1, ("mine", "is no bundle")),
        (["export", "FINISHED", "-o", "."], 2, ("is the working directory",)),
        (["export", "FINISHED", "-o", "FINISHED/../copy/.."], 1, ("is no bundle",)),
        (["export", "FINISHED", "-o", "FINISHED/bundle/sub"], 2, ("lies in the bundle",)),
        (["export", "FINISHED", "-o", "-"], 2, ("a bundle is a folder",)),
        (["predict", "FINISHED/bundle", "mine/thesis.txt", "-o", "mine/thesis.txt"], 2, ("is the file that is read",)),
        (["predict", "FINISHED/bundle", "STUDY", "-o", "mine/thesis.txt"], 2, ("thesis.txt exists", "--force")),
        (["predict", "FINISHED/bundle", "STUDY", "-o", "FINISHED/bundle/out"], 2, ("lies in the bundle",)),
        (["predict", "FINISHED/bundle", "STUDY", "-o", "/dev/null", "--force"], 2, ("/dev/null is a device",)),
        (["predict", "mine", "-"], 2, ("mine",)),
        (["predict", "FINISHED/bundle", "nowhere.txt"], 2, ("nowhere.txt", "no such file")),
        (
            ["predict", "FINISHED/bundle", "mine/thesis.txt", "-o", "mine/thesis.txt/out"],
            2,
            ("thesis.txt/out: Not a dir",),
        ),
    ],
)
def test_every_error_is_one_line_and_its_exit_code(
    arguments: list[str],
    code: int,
    words: Sequence[str],
    as_json: bool,
    sweepstack: Sweepstack,
    tmp_path: Path,
    study_file: Callable[..., Path],
    searched_run: Path,
    finished_run: Path,
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work\n")
    places = {"STUDY": study_file(tmp_path), "SEARCHED": searched_run, "FINISHED": finished_run}
    before = sorted(tmp_path.rglob("*"))
    given = [re.sub("^[A-Z]{5,}", lambda match: str(places[match[0]]), argument) for argument in arguments]
    done = sweepstack(*given, *(["--json"] if as_json else []))
    assert done.code == code, done.err
    assert len(done.err.splitlines()) == 1, done.err
    assert done.err.startswith("sweepstack: ")
    for word in words:
        assert word in done.err
    if as_json:
        assert json.loads(done.out) == {"error": done.err.removeprefix("sweepstack: ").strip(), "exit_code": code}
    else:
        assert done.out == ""
    assert sorted(tmp_path.rglob("*")) == before, "nothing half-written"


def test_an_error_of_the_system_is_one_line(sweepstack: Sweepstack, tmp_path: Path, finished_run: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(finished_run, copy)
    (copy / "report.html").unlink()
    (copy / "report.html").mkdir()
    done = sweepstack("report", copy)
    assert done.code == 1
    assert len(done.err.splitlines()) == 1
    assert "report.html" in done.err
    assert "--out" not in done.err  # which it does not take


def test_a_home_folder_is_meant_by_its_sign(
    sweepstack: Sweepstack, tmp_path: Path, finished_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "run").symlink_to(finished_run)
    (tmp_path / "home" / "texts.txt").write_text("cat dog cow\n")
    assert sweepstack("predict", "~/run/bundle", "~/texts.txt", "-o", "~/out.jsonl").code == 0
    assert json.loads((tmp_path / "home" / "out.jsonl").read_text())["label"] == "animal"
    assert sweepstack("export", "~/run", "-o", "~/mine").code == 0
    assert sweepstack_ensembles.load("~/mine").predict(["seven"]) == ["number"]
    assert sweepstack("run", "~/run/study.yaml", "--out", "~/texts.txt").err.endswith("choose another with --out\n")
    assert sweepstack("status", "~nobody-of-that-name/run").code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_an_output_of_any_encoding_takes_every_command(tmp_path: Path, finished_run: Path, encoding: str) -> None:
    """Paths and labels that it lacks, and a path that is no UTF-8 at all."""
    named = os.fsdecode(b"l\xc3\xa4uft \xe4\xb8\xad \xff")
    (tmp_path / named).symlink_to(finished_run)
    (tmp_path / "texts.txt").write_text("cat dog cow\n")
    environment = {**os.environ, "PYTHONIOENCODING": encoding}

    def said(*arguments: str) -> str:
        command = [sys.executable, "-m", "sweepstack.search.cli", *arguments]
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
        return done.stdout.decode(encoding)

    assert Path(json.loads(said("status", named, "--json"))["folder"]).name == named
    assert "report.html" in said("report", named)
    assert json.loads(said("predict", f"{named}/bundle", "texts.txt"))["label"] == "animal"


def test_an_interrupted_command_says_how_to_go_on(
    sweepstack: Sweepstack, tmp_path: Path, study_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from sweepstack.search import pipeline

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    for stage in ("run", "search", "ensemble"):
        monkeypatch.setattr(pipeline, stage, interrupted)
    study = study_file(tmp_path)
    done = sweepstack("run", study, "--out", "here")
    assert (done.code, done.out) == (130, "")
    assert done.err.endswith(f"the same command goes on: sweepstack run {study} --out here\n")
    done = sweepstack("search", study, "--trials", "2", "--set", "search.metric=[reward, seconds]")
    assert done.err.endswith(f"sweepstack search {study} --trials 2 --set 'search.metric=[reward, seconds]'\n")
    done = sweepstack("ensemble", "here", "--json")
    assert done.code == json.loads(done.out)["exit_code"] == 130
    assert "sweepstack ensemble here goes on" in done.err


def test_a_command_that_keeps_nothing_is_only_interrupted(
    sweepstack: Sweepstack, finished_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Keyboard:
        def __iter__(self) -> Any:
            raise KeyboardInterrupt

    monkeypatch.setattr(sys, "stdin", Keyboard())
    done = sweepstack("predict", finished_run / "bundle", "-")
    assert (done.code, done.out, done.err) == (130, "", "sweepstack: interrupted\n")


def test_status_for_people_and_for_machines(sweepstack: Sweepstack, finished_run: Path, searched_run: Path) -> None:
    done = sweepstack("status", finished_run)
    assert (done.code, done.err) == (0, "")
    assert "4 complete; 4 asked for" in done.out
    answer = json.loads(sweepstack("status", searched_run, "--json").out)
    assert answer["trials"]["complete"] == 4
    assert (answer["name"], answer["exported"]) == ("small", None)


def test_report_tells_where_it_is(sweepstack: Sweepstack, finished_run: Path) -> None:
    assert sweepstack("report", finished_run).out == f"{finished_run / 'report.html'}\n"
    answer = json.loads(sweepstack("report", finished_run, "--json").out)
    assert answer == {"report": str(finished_run / "report.html")}


def test_export_takes_a_name_and_a_folder(sweepstack: Sweepstack, tmp_path: Path, finished_run: Path) -> None:
    done = sweepstack("export", finished_run, "--ensemble", "average", "-o", "mine")
    assert (done.code, done.out) == (0, f"Exported average to {tmp_path / 'mine'}\n")
    assert load(tmp_path / "mine").metadata["method"] == "average"
    answer = json.loads(sweepstack("export", finished_run, "-o", "chosen", "--json").out)
    assert load(Path(answer["bundle"])).metadata["method"] in answer["ensemble"]


def test_predict_writes_lines_or_a_file(sweepstack: Sweepstack, tmp_path: Path, finished_run: Path) -> None:
    (tmp_path / "texts.txt").write_text("cat dog cow\nseven six\n")
    bundle = finished_run / "bundle"
    done = sweepstack("predict", bundle, "texts.txt")
    assert [json.loads(line)["label"] for line in done.out.splitlines()] == ["animal", "number"]
    assert sweepstack("predict", bundle, "texts.txt", "-o", "out.jsonl").out == ""
    assert (tmp_path / "out.jsonl").read_text() == done.out
    answer = json.loads(sweepstack("predict", bundle, "texts.txt", "-o", "out.jsonl", "--force", "--json").out)
    assert answer == {"texts": 2, "predictions": "out.jsonl"}
    assert sweepstack("predict", bundle, "texts.txt", "-o", "-").out == done.out
    assert not (tmp_path / "-").exists()


def test_a_reader_that_has_seen_enough_is_no_error(finished_run: Path) -> None:
    command = [sys.executable, "-m", "sweepstack.search.cli", "predict", str(finished_run / "bundle"), "-"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write("cat dog\n" * 2000)
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["label"] == "animal"
        process.stdout.close()
        process.stdin.close()
        assert process.stderr.read() == ""
        assert process.wait(60) == 0


def test_ui_becomes_mlflow_on_the_store_of_the_run(
    sweepstack: Sweepstack, finished_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    became: list[list[str]] = []
    monkeypatch.setattr(os, "execvp", lambda file, argv: became.append([file, *argv]))
    assert "http://127.0.0.1:5000" in sweepstack("ui", finished_run).out
    answer = json.loads(sweepstack("ui", finished_run, "--port", "5001", "--json").out)
    assert answer["url"] == "http://127.0.0.1:5001"
    for command, port in zip(became, ("5000", "5001"), strict=True):
        assert command[0] == command[1]
        assert answer["tracking_uri"] in command
        assert port in command
        assert "127.0.0.1" in command


def test_running_a_finished_study_again_adds_nothing(
    sweepstack: Sweepstack, tmp_path: Path, finished_run: Path
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(finished_run, copy)
    done = sweepstack("run", copy / "study.yaml", "--out", copy, "--json")
    assert (done.code, done.err) == (0, "")
    answer = json.loads(done.out)
    assert answer["trials"]["complete"] == 4
    assert answer["folder"] == str(copy)
    refused = sweepstack("run", copy / "study.yaml", "--out", copy, "--trials", "3")
    assert refused.code == 2
    assert "search.trials can only be raised" in refused.err


def test_a_working_directory_that_was_removed_is_said(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    command = 'rmdir "$1"; exec "$2" -m sweepstack.search.cli status runs/x'
    done = subprocess.run(
        ["bash", "-c", command, "bash", str(gone), sys.executable],
        cwd=gone,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1] == (
        "sweepstack: the working directory was removed; go to another one (cd ~) and run the same again"
    )
