"""A run goes on with more trials and other resources, and refuses any other study with its keys."""

import shutil
from pathlib import Path

import pytest

from sweepstack.models.errors import StudyError
from sweepstack.models.settings.trial import TrialSettings
from sweepstack.search.execution.sweep import open_sweep
from sweepstack.search.ledger.ledger import MAIN, Ledger
from sweepstack.search.run.resume_checks import check_extends, sweep_of
from sweepstack.search.study.search_section import Search
from sweepstack.search.study.space import Space
from sweepstack.search.study.study import Study

MINIMAL = "task: classification\ndata: {train: texts.jsonl}\n"


def write(folder: Path, text: str = MINIMAL) -> Path:
    path = folder / "s.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_more_trials_and_other_resources_extend_a_study(tmp_path: Path) -> None:
    stored = Study.load(write(tmp_path))
    for override in (
        "search.trials=17",
        "search.concurrency=3",
        "search.resources={cpu: 2}",
        "ensembles={builders: [average], library: [trials]}",
        "tracking.uri=http://localhost:5000",
        "search.wall_time=60",
        "search.total_epochs=9",
        "search.target=.9",
        "search.patience=3",
        "search.keep={disk_gb: 1}",
        "device=cpu",
    ):
        check_extends(stored, Study.load(tmp_path / "s.yaml", [override]))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("search.trials=15", "search.trials can only be raised: the run folder has 16, but got 15"),
        (
            "train.lr=0.5",
            r"differs in train\.lr \(stored 0\.003, now 0\.5\); .*start afresh with another name or --out",
        ),
        ("space.train.lr=[0.5]", r"space\.train\.lr \(stored \{'log': \[0\.0003, 0\.03\]\}, now \[0\.5\]\)"),
        ("space={train.lr: [0.5]}", r"space\.train\.gamma \(stored \{'near_one'.*, now null\)"),
        ("search.stopper=none", r"search\.stopper\.asha\.min_epochs \(stored 1, now null\)"),
        ("reading=off", r"reading \(stored null, now off\)"),
        ("name=other", r"name \(stored s, now other\)"),
        ("data.seed=1", r"data\.seed"),
    ],
)
def test_any_other_difference_is_refused_with_its_key(tmp_path: Path, override: str, message: str) -> None:
    stored = Study.load(write(tmp_path))
    with pytest.raises(StudyError, match=message):
        check_extends(stored, Study.load(tmp_path / "s.yaml", [override]))


def test_a_run_to_start_from_may_have_been_moved(tmp_path: Path) -> None:
    for name, sweep in (("a", "1"), ("b", "1"), ("c", "2")):
        (tmp_path / name).mkdir()
        with Ledger.open(tmp_path / name / "ledger.log") as ledger:
            space = Space.parse({"train.lr": [0.1, 0.2]}, TrialSettings())
            open_sweep(ledger, MAIN, space=space, search=Search(sampler="random", stopper="none"), epochs=1)
            ledger.set_attribute("sweep_id", sweep)
    path = write(tmp_path, f"{MINIMAL}search: {{start_from: a}}\n")
    stored, moved, other = (Study.load(path, [f"search.start_from={tmp_path / name}"]) for name in "abc")
    check_extends(stored, moved)
    with pytest.raises(StudyError, match=r"differs in search\.start_from"):
        check_extends(stored, other)
    shutil.rmtree(tmp_path / "a")
    check_extends(stored, moved)
    assert sweep_of(tmp_path / "a") is None


def test_a_study_of_an_environment_extends_itself_and_nothing_else(tmp_path: Path) -> None:
    stored = Study.load(write(tmp_path, "task: gym:CartPole-v1\n"))
    check_extends(stored, Study.load(tmp_path / "s.yaml", ["search.trials=99"]))
    for override, message in (("train.env.steps=8", r"train\.env\.steps"), ("task=gym:Acrobot-v1", "task")):
        with pytest.raises(StudyError, match=message):
            check_extends(stored, Study.load(tmp_path / "s.yaml", [override]))
