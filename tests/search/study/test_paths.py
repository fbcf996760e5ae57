"""Paths as a study has them: absolute in memory, relative in the run folder where they were given so."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweepstack.models.errors import DataError
from sweepstack.search.run.session import Session
from sweepstack.search.study.paths import PATHS, make_absolute, make_relative
from sweepstack.search.study.study import Study
from sweepstack.search.study.yaml import load_yaml


def tree_of(values: dict[str, str]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in values.items():
        *parents, name = key.split(".")
        section = tree
        for parent in parents:
            section = section.setdefault(parent, {})
        section[name] = value
    return tree


def test_every_path_is_made_absolute_and_comes_back_relative_to_another_folder() -> None:
    """From /a/studies to the run folder /a/runs/s: two folders up."""
    tree = tree_of(dict.fromkeys(PATHS, "../x%y/z") | {"tracking.uri": "sqlite:///../x%25y/z?timeout=3"})
    keys = make_absolute(tree, Path("/a/studies"))
    assert keys == set(PATHS)
    uri = "sqlite+pysqlite:////a/x%25y/z?timeout=3"
    assert tree == tree_of(dict.fromkeys(PATHS, "/a/x%y/z") | {"tracking.uri": uri})
    make_relative(tree, frozenset(keys), Path("/a/runs/s"))
    assert tree == tree_of(dict.fromkeys(PATHS, "../../x%y/z") | {"tracking.uri": "sqlite:///../../x%25y/z?timeout=3"})


def test_what_is_absolute_or_no_path_stays_as_it_is() -> None:
    given = dict.fromkeys(PATHS, "/x/z") | {"data.test": "builtin:languages", "tracking.uri": "http://localhost:5000"}
    tree = tree_of(given)
    assert make_absolute(tree, Path("/a/studies")) == set()
    assert tree == tree_of(given)
    for uri in ("sqlite:////x/m.db", "databricks", "sqlite:///:memory:"):
        tree = tree_of({"tracking.uri": uri})
        assert make_absolute(tree, Path("/a/studies")) == set()
        assert tree == tree_of({"tracking.uri": uri})
    assert make_absolute({"data": None, "writing": {"reward": "chrf"}, "search": []}, Path("/a")) == set()


def test_a_value_that_replaces_another_is_relative_as_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text("task: classification\ndata: {train: a.jsonl}\n")
    for override, stored in (
        ("data.train=b.jsonl", "../../b.jsonl"),
        ("data.train=/x/b.jsonl", "/x/b.jsonl"),
        ("data={train: /x/b.jsonl}", "/x/b.jsonl"),
        ("data.seed=1", "../../a.jsonl"),
    ):
        study = Study.load("s.yaml", [override])
        assert load_yaml(study.dump(tmp_path / "runs" / "s"), "s")["data"]["train"] == stored


@pytest.fixture
def project(tmp_path: Path, phrases: Path, study_file: Callable[..., Path]) -> Path:
    """A folder with data, study and a run that was begun."""
    folder = tmp_path / "project"
    folder.mkdir()
    shutil.copy(phrases, folder / "d.jsonl")
    data = {"train": "d.jsonl", "input": "text", "target": "label", "splits": {"test": 0.15}}
    begin(study_file(folder, data=data, tracking={}), folder / "runs" / "small")
    return folder


def begin(study: Path, out: Path, *overrides: str) -> Session:
    session = Session.open(Study.load(study, overrides), out)
    session.ledger.close()
    return session


@pytest.mark.parametrize("how", [os.rename, shutil.copytree])
def test_a_project_that_was_moved_or_copied_goes_on(project: Path, tmp_path: Path, how: Callable[..., Any]) -> None:
    there = tmp_path / "deep" / "there"
    there.parent.mkdir()
    how(project, there)
    run = there / "runs" / "small"
    for study in (there / "small.yaml", run / "study.yaml"):
        found = begin(study, run).study
        assert found.data is not None
        assert found.data.train == str(there / "d.jsonl")
        assert found.tracking_uri == f"sqlite:///{there / 'runs' / 'mlflow.db'}"
    assert str(project) not in (run / "study.yaml").read_text()


def test_a_run_goes_on_with_the_same_data_elsewhere_and_with_no_other(project: Path, tmp_path: Path) -> None:
    study, run = project / "small.yaml", project / "runs" / "small"
    elsewhere = shutil.copy(project / "d.jsonl", tmp_path / "same.jsonl")
    begin(study, run, f"data.train={elsewhere}")
    lines = Path(elsewhere).read_text().splitlines(keepends=True)
    (tmp_path / "other.jsonl").write_text("".join(lines[:-1]))
    with pytest.raises(DataError, match="has changed since the study began"):
        begin(study, run, f"data.train={tmp_path / 'other.jsonl'}")


def test_a_run_from_when_paths_were_stored_absolute_goes_on_too(project: Path, tmp_path: Path) -> None:
    run, there = project / "runs" / "small", tmp_path / "there"
    (run / "study.yaml").write_text(Study.load(run / "study.yaml").dump())
    assert str(project) in (run / "study.yaml").read_text()
    os.rename(project, there)
    found = begin(there / "small.yaml", there / "runs" / "small").study
    assert found.tracking_uri == f"sqlite:///{there / 'runs' / 'mlflow.db'}"
