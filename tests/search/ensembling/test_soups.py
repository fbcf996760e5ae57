"""Which trials become a soup, in a run whose small policies are trained here."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sweepstack.ensembles.builders.average import Average
from sweepstack.ensembles.builders.soup import Soup
from sweepstack.ensembles.members.library import Library
from sweepstack.ensembles.scoring.objective import Objective
from sweepstack.models.files import read_json
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.tasks.trainers import make_trainer
from sweepstack.search.ensembling import soups
from sweepstack.search.ensembling.soups import Souped, souped
from sweepstack.search.run.session import Session
from sweepstack.search.study.study import Study

pytestmark = pytest.mark.filterwarnings("ignore::Warning:mlflow")  # its warnings are not ours to mend
TINY = {"model": {"d_model": 16, "heads": 2}, "train": {"epochs": 1, "warm_start": {"epochs": 1, "lr": 1e-2}}}


class Inline:
    """Ray's part, in this process."""

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Any:
        return SimpleNamespace(result=lambda: fn(*args))


def trained(file: Path, run: Path) -> None:
    torch.set_num_threads(1)
    session = Session.open(Study.load(file), run)
    while (record := session.trials.ask()) is not None:
        settings = session.settings.with_values({**record.settings, "precision": "float32"})
        trainer = make_trainer(
            settings, session.data, session.folder.starts, session.folder.trial(record.number), "reward", session.cost
        )
        session.trials.report(record.number, 1, trainer.step())
        session.trials.complete(record.number)
    session.ledger.close()


def soup_of(file: Path, run: Path, kind: str = "greedy") -> tuple[Souped, list[tuple[str, ...]]]:
    """What a session makes of the trials, and what its MLflow run says of the ingredients."""
    with Session.open(Study.load(file), run, json=True) as session:
        session.cluster.executor = lambda resources: Inline()  # type: ignore[assignment,return-value]
        session.cluster.share = lambda value: value  # type: ignore[method-assign]
        objective = Objective("reward", Costs(session.cost))
        made = souped(session, session.trials.trials(), [Average(), Soup(kind)], objective)
        for member in made.members:
            for part in ("valid", "blend", "test"):
                Library.load([member], part, session.data.hashes[part])
    return made, [(builder.name,) for builder in made.builders]


@pytest.fixture
def file_of(study_file: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    def write(seeds: list[int], **search: Any) -> Path:
        space = {"train.lr": {"log": [1e-3, 3e-2]}, "train.warm_start.seed": [0, 1, 2]}
        start = [{"train.lr": 1e-2 + 1e-3 * n, "train.warm_start.seed": seed} for n, seed in enumerate(seeds)]
        settings = {"sampler": "random", "stopper": "none", "trials": len(seeds), "start": start, **search}
        return study_file(tmp_path, **TINY, precision="float32", space=space, search=settings)

    return write


def test_trials_of_one_start_become_a_member_of_all_parts(file_of: Callable[..., Path], tmp_path: Path) -> None:
    file = file_of([0, 1, 0])
    trained(file, tmp_path / "run")
    made, builders = soup_of(file, tmp_path / "run", "uniform")
    (member,) = made.members
    assert (member.kind, member.folder.parent) == ("soup", tmp_path / "run" / "soups")
    assert builders == [("average",), ("soup",)]
    assert made.notes == ()
    assert sorted(read_json(member.folder / "done")["ingredients"][0]) == ["trial-0", "trial-2"], "not trial-1's start"


def test_it_is_made_once(file_of: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = file_of([0, 0])
    trained(file, tmp_path / "run")
    first, _ = soup_of(file, tmp_path / "run")

    def never(*_: Any) -> None:
        raise AssertionError("it is there")

    monkeypatch.setattr(soups, "cook", never)
    again, _ = soup_of(file, tmp_path / "run")
    assert again.members == first.members


def test_separate_starts_are_refused_with_the_reason(file_of: Callable[..., Path], tmp_path: Path) -> None:
    file = file_of([0, 1])
    trained(file, tmp_path / "run")
    made, builders = soup_of(file, tmp_path / "run")
    assert made.members == ()
    assert builders == [("average",)]
    (note,) = made.notes
    assert note.startswith("soup was left out: no two of 2 trials have the same supervised start")


def test_one_trial_is_no_soup_and_nobody_has_to_want_one(file_of: Callable[..., Path], tmp_path: Path) -> None:
    file = file_of([0])
    trained(file, tmp_path / "run")
    made, _ = soup_of(file, tmp_path / "run")
    assert made.notes == ("soup was left out: a soup needs two trials of one supervised start, and there is but one trial",)  # fmt: skip # noqa: E501
    with Session.open(Study.load(file), tmp_path / "run", json=True) as session:
        plain = souped(session, session.trials.trials(), [Average()], Objective("reward"))
    assert plain == Souped((), (Average(),))
