from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState

from sweepstack.search.ledger.journal import Journal
from sweepstack.search.ledger.storage import LedgerStorage


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(tmp_path / "ledger.log")
    yield opened
    opened.close()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.sampled_from(["ask", "queue", "tell", "fail"]), max_size=12))
def test_it_answers_as_optunas_own_storage_does_whatever_has_happened(journal: Journal, steps: list[str]) -> None:
    storage = LedgerStorage(journal)
    study = optuna.create_study(storage=storage)
    running: list[optuna.Trial] = []
    for step in steps:
        if step == "ask":
            trial = study.ask()
            trial.suggest_float("x", 0.0, 1.0 + len(running) % 2)
            trial.suggest_categorical("kind", ["a", "b"])
            running.append(trial)
        elif step == "queue":
            study.enqueue_trial({"x": 1.0})
        elif running:
            state = TrialState.FAIL if step == "fail" else None
            study.tell(running.pop(0), None if state else 0.5, state=state)
        theirs = optuna.storages.JournalStorage(journal)
        study_id = study._study_id
        for states in ((TrialState.WAITING,), (TrialState.RUNNING, TrialState.WAITING), None):
            expected = theirs.get_all_trials(study_id, states=states)
            assert storage.get_all_trials(study_id, states=states) == expected
            assert storage.get_n_trials(study_id, states) == len(expected)


def test_a_distribution_that_contradicts_the_first_is_refused_ever_again(journal: Journal) -> None:
    study = optuna.create_study(storage=LedgerStorage(journal))
    study.ask().suggest_categorical("kind", ["a", "b"])
    for _ in range(2):
        with pytest.raises(ValueError, match="dynamic value space"):
            study.ask().suggest_categorical("kind", ["a", "c"])
    assert study.ask().suggest_categorical("kind", ["a", "b"]) in ("a", "b")
    assert [set(trial.params) for trial in LedgerStorage(journal).get_all_trials(0)] == [
        {"kind"},
        set(),
        set(),
        {"kind"},
    ]


def test_two_studies_have_trials_of_their_own(journal: Journal) -> None:
    storage = LedgerStorage(journal)
    first, second = (optuna.create_study(storage=storage, study_name=name) for name in ("a", "b"))
    second.enqueue_trial({"x": 1.0})
    first.ask()
    assert [storage.get_n_trials(study._study_id) for study in (first, second)] == [1, 1]
    assert storage.get_all_trials(first._study_id, states=(TrialState.WAITING,)) == []
    waiting = storage.get_all_trials(second._study_id, deepcopy=False, states=(TrialState.WAITING,))
    assert [trial.number for trial in waiting] == [0]
