"""The stages from a study file to an exported ensemble. Each may be stopped anywhere; called again, it goes on.

search     trials, the supervised control and the baseline, all on Ray
ensemble   refits, builders, the choice (in the ledger before any label of test is looked at), its score on test
export     the chosen ensemble as a bundle; report.html
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from sweepstack.models.errors import StorageError, StudyError
from sweepstack.models.settings.trial import TrialSettings
from sweepstack.search.ensembling import stage as ensembling
from sweepstack.search.ensembling.members import begin_pipelines, keep_pipelines, why_none
from sweepstack.search.ensembling.multi_run import LINEAR, adopted, on_record, recorded, sources, study_of
from sweepstack.search.execution.executor import Job, run_sweeps
from sweepstack.search.execution.futures import Task
from sweepstack.search.execution.sweep import Sweep
from sweepstack.search.execution.trainers import MakeTrainer
from sweepstack.search.ledger.leaderboard import best, write_leaderboard
from sweepstack.search.ledger.run_folder import RunFolder
from sweepstack.search.report.notes import ENDED, RUNS
from sweepstack.search.report.result import Result, no_ensembles
from sweepstack.search.report.summary import print_results
from sweepstack.search.run.baselines import control_settings, fit_linear, fit_memory, is_fitted
from sweepstack.search.run.confirmation_scores import score_on_blend
from sweepstack.search.run.requests import DONE, LIFTED
from sweepstack.search.run.session import Session
from sweepstack.search.study.study import Study
from sweepstack.search.tracking.run_states import member_state

MEMORY = "memory"  # the attribute that holds what the translation memory came to


def run(study: Study, out: Path | None = None, *, address: str | None = None, json: bool = False) -> Result:
    """Everything. Raises the errors of :meth:`Session.open`, and KeyboardInterrupt when it is told to stop."""
    return _whole(study, out, address=address, json=json, anew=True)


def go_on(
    folder: Path, ask: Callable[[], None] | None = None, *, address: str | None = None, json: bool = False
) -> Result:
    """Everything that a run folder's study still wants, what was queued by hand included; its sampler asks for no
    further trial where the run was stopped by hand. ``ask`` makes requests, as soon as nothing refuses the run."""
    stored = RunFolder.at(folder)
    return _whole(Study.stored(stored.study), stored.root, address=address, json=json, anew=False, ask=ask)


def _whole(
    study: Study,
    out: Path | None,
    *,
    address: str | None,
    json: bool,
    anew: bool,
    ask: Callable[[], None] | None = None,
) -> Result:
    """``anew``: a stop by hand that has come to its end is lifted."""
    with Session.open(study, out, address=address, json=json) as session:
        if anew:
            session.inbox.move_stop(DONE, LIFTED)
        if ask is not None:
            session.check_tracking()
            ask()
            session.take_requests()
        while True:
            _search(session)
            if study.environment is None:
                ensembling.build(session)
            if not session.take_requests():
                break
    result = _closed(session, json)
    if study.environment is not None and result.best is None:
        why = why_none(result.trials, result.ledger.attribute(ENDED))
        raise StorageError(f"{result.folder.root} has no trial that came to a result; {why}")
    return result


def search(study: Study, out: Path | None = None, *, address: str | None = None, json: bool = False) -> Result:
    """Only the search."""
    with Session.open(study, out, address=address, json=json) as session:
        session.inbox.move_stop(DONE, LIFTED)
        _search(session)
    return _closed(session, json)


def ensemble(folder: Path, *, address: str | None = None, json: bool = False) -> Result:
    """Only the ensembles of a run that was searched, finished or not; the chosen one is exported."""
    stored = RunFolder.at(folder)
    if not stored.study.exists():
        raise StudyError(f"{folder} is not the folder of a run; sweepstack run STUDY makes one")
    runs = Result.open(stored.root).ledger.attribute(RUNS) if stored.ledger.exists() else None
    if runs:
        return combine(recorded(runs, stored.root), stored.root, address=address, json=json)
    study = Study.stored(stored.study)
    if study.environment is not None:
        raise StudyError(no_ensembles(study, stored))
    with Session.open(study, stored.root, address=address, json=json) as session:
        _keep_baseline(session, _begin_baseline(session))  # which may have been damaged
        ensembling.build(session)
    return _closed(session, json)


def combine(
    folders: Sequence[Path], out: Path | None = None, *, address: str | None = None, json: bool = False
) -> Result:
    """The ensembles of several finished runs with the same data, in ``out`` or runs/<a>-and-<b>; again it goes on.

    Raises InputError or StudyError where the runs do not fit together, or where ``out`` is another run's folder.
    """
    found = sources(folders)
    study = study_of(found)
    target = RunFolder.at(out or Path("runs") / study.name)
    if target.ledger.exists() and not Result.open(target.root).ledger.attribute(RUNS):
        raise StudyError(f"{target.root} is the folder of a run that was searched; choose another with --out")
    with Session.open(study, target.root, address=address, json=json) as session:
        for name, value in ((RUNS, on_record(found, target.root)), (LINEAR, found[0].result.ledger.attribute(LINEAR))):
            if session.ledger.attribute(name) != value:
                session.ledger.set_attribute(name, value)
        session.adopted = adopted(found, session.settings)
        ensembling.build(session)
    return _closed(session, json)


def _search(session: Session) -> None:
    """Trials and control in one Tune run; the baseline is fitted on the side. An environment has trials only."""
    if session.ledger.attribute(RUNS):
        raise StudyError(
            f"{session.folder.root} combines other runs and searches nothing itself; "
            f"sweepstack ensemble {session.folder.root} builds it again"
        )
    if session.trials.unfinished:
        session.tracker.begin()  # which takes as long as Ray does
    of_texts = session.study.environment is None
    baseline = _begin_baseline(session) if of_texts else None
    pipelines = begin_pipelines(session) if of_texts else {}
    jobs = [
        (session.trials, session.settings, session.folder.trial),
        *(
            [(session.control, control_settings(session.settings), session.folder.supervised)]
            if session.control
            else []
        ),
    ]
    if any(sweep.unfinished for sweep, *_ in jobs):
        session.check_tracking()
    while any(sweep.unfinished for sweep, *_ in jobs):  # a trial may be queued as the last one ends
        session.search_goes_on()
        _run(session, jobs, session.study.search.seeds)
    session.search_has_ended()
    session.decided()
    if of_texts:
        _keep_baseline(session, baseline)
        keep_pipelines(session, pipelines)
    _confirm(session)


Jobs = Sequence[tuple[Sweep, TrialSettings, Callable[[int], Path]]]
"""Sweeps with what their trials are before a setting is searched, and the folders of these."""


def _run(session: Session, jobs: Jobs, seeds: int, *, confirms: bool = False) -> None:
    """Everything that the sweeps still want, together; each trial ``seeds`` times at most."""
    if not any(sweep.unfinished for sweep, *_ in jobs):
        return
    data = None if session.encoded is None else session.cluster.share(session.encoded)
    metric, starts = session.study.search.objective, session.folder.starts
    run_sweeps(
        [
            Job(
                sweep,
                MakeTrainer(settings, data, starts, folder, metric, session.cost, seeds, confirms, session.reward_of),
                session.packing_of(sweep, settings),
            )
            for sweep, settings, folder in jobs
        ],
        cluster=session.cluster,
        slots=session.workers,
        resources=session.study.search.resources,
        on_change=session.changed,
        poll=session.poll,
    )


def _confirm(session: Session) -> None:
    """Where seeds raced, the winner is trained with others, and these are scored on blend."""
    winner = best(session.trials.trials(), session.study.search.objective)
    if session.study.search.seeds == 1 or winner is None:
        return
    settings = session.settings.with_values(winner.settings)
    folder, sweep = partial(session.folder.confirmation, winner.number), session.confirm(winner)
    _run(session, [(sweep, settings, folder)], seeds=1, confirms=True)
    score_on_blend(session, sweep)


def _begin_baseline(session: Session) -> Task | None:
    """Fits it on Ray; None where that was done before, and is there."""
    name, folder = baseline_of(session)
    if session.ledger.attribute(name) is not None and is_fitted(folder):
        return None
    submit, share = session.cluster.submit, session.cluster.share
    if session.study.writing is not None:
        texts = share(session.pairs), share(session.encoded)
        return submit(fit_memory, *texts, session.study.writing, session.reward_of, folder, session.study.reading)
    return submit(fit_linear, share(session.dataset), session.settings.reading, session.cost, folder)


def _keep_baseline(session: Session, begun: Task | None) -> None:
    """``begun``: the fit, or None where it was done before."""
    name, folder = baseline_of(session)
    if begun is not None:
        stage = "linear baseline" if name == LINEAR else "translation memory"
        session.display.stage(stage)
        session.ledger.set_attribute(name, begun.result())
        session.display.stage(stage, 1, 1)
    result = session.ledger.attribute(name)
    session.tracker.put(member_state(name, name, "baseline", folder, [result["valid"]], {}, result["seconds"]))


def baseline_of(session: Session) -> tuple[str, Path]:
    """What a run's baseline is called, in the ledger, too, and its folder."""
    return (MEMORY, session.folder.memory) if session.study.writes else (LINEAR, session.folder.linear)


def _closed(session: Session, json: bool) -> Result:
    """What a reader finds in the run folder now, written beside it as tables and report, and printed."""
    result = Result.open(session.folder.root)
    write_leaderboard(session.folder.leaderboard, result.leaderboard())
    result.write_report()
    if not json:
        print_results(result.printable(), sys.stdout)
    return result
