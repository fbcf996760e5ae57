"""A run folder opened for work: study, data, ledger, tracking and display, checked before anything expensive starts.

Opening refuses what cannot go well (another study in the folder, other data than before, a tracking store that refuses,
no space, no permission) in one line and leaves nothing half-written. Closing keeps everything and leaves nothing
running.
"""

import re
import shutil
import time
import uuid
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sweepstack.models.data.encoding import TaskData
from sweepstack.models.data.labelled import Dataset
from sweepstack.models.data.pairs import PairDataset, WritingData
from sweepstack.models.errors import StorageError, StudyError
from sweepstack.models.files import read_json, write_atomic, write_json
from sweepstack.models.settings.trial import PRECISION_FILE, TrialSettings
from sweepstack.models.tasks.gymnasium.environment import describe
from sweepstack.models.training.packing import PACKING_FILE
from sweepstack.search.execution.capacity import check_device, slots
from sweepstack.search.execution.cluster import Cluster, check_address
from sweepstack.search.execution.executor import Packing
from sweepstack.search.execution.log_capture import Chatter
from sweepstack.search.execution.packing import packing_of
from sweepstack.search.execution.retention import REMOVED, Keeper, deleted, deleted_words, put_back, remove_damaged
from sweepstack.search.execution.sweep import Sweep, open_sweep
from sweepstack.search.execution.writing_reward import RewardOf, check_reward, reward_hash, reward_of
from sweepstack.search.ledger.confirmation import new_seeds, search_of, sweep_name
from sweepstack.search.ledger.ledger import MAIN, Ledger
from sweepstack.search.ledger.records import CONTROL, Adopted, TrialRecord
from sweepstack.search.ledger.restored import read_built
from sweepstack.search.ledger.run_folder import RunFolder
from sweepstack.search.report.display import Display
from sweepstack.search.report.notes import ENDED, SHARED
from sweepstack.search.report.task_words import languages_of
from sweepstack.search.run.baselines import control_search, control_space
from sweepstack.search.run.data import HoldsTexts, encode_texts, load_texts
from sweepstack.search.run.live_ensemble import LiveEnsemble
from sweepstack.search.run.provenance import check_provenance, provenance
from sweepstack.search.run.requests import DONE, IN_FORCE, Inbox
from sweepstack.search.run.resume_checks import check_extends
from sweepstack.search.run.shared_starts import shared_starts
from sweepstack.search.run.unlabelled import unlabelled
from sweepstack.search.run.wall_time import (
    Plan,
    WallClock,
    builders_of,
    candidates_of,
    chained_of,
    refits_of,
    text_builders_of,
)
from sweepstack.search.samplers.ensemble_gain import EnsembleGain
from sweepstack.search.samplers.initial_points import best_points
from sweepstack.search.study.axes import SpaceError
from sweepstack.search.study.search_section import Search
from sweepstack.search.study.space import Space, check_points, with_candidates
from sweepstack.search.study.study import Study
from sweepstack.search.tracking.run_tracker import SessionTracker, tracked
from sweepstack.search.tracking.tracker import check_tracking

BEGINNING = "beginning"  # the attribute that holds the points a search begins with
NEEDED_MB = 200  # free disk to start with: weights and predictions of a small sweep


def _spec(study: Study, texts: Dataset | PairDataset | None) -> dict[str, Any]:
    """The ``space:`` of a study with the batch sizes that suit its data."""
    units = study.train.env.steps if texts is None else texts.sizes["policy"]
    return with_candidates(study.space, units, study.trial_settings())


class Session(HoldsTexts):
    """Use as a context manager; :meth:`open` raises StudyError, DataError, TrackingError or StorageError."""

    @classmethod
    def open(cls, study: Study, out: Path | None, *, address: str | None = None, json: bool = False) -> "Session":
        folder = RunFolder.at(out or Path("runs") / study.name)
        stored = Study.stored(folder.study) if folder.study.exists() else None
        study, said = tracked(study, stored, folder.root)
        if stored is not None:
            check_extends(stored, study)
        elif folder.root.exists() and not folder.root.is_dir():
            raise StudyError(f"{folder.root} is a file and not the folder of a run; choose another with --out")
        elif folder.root.exists() and any(folder.root.iterdir()) and not folder.ledger.exists():
            raise StudyError(
                f"{folder.root} holds other files and is not the folder of a run; choose another with --out"
            )
        began = time.monotonic()
        texts = load_texts(study)
        if texts is not None:
            check_provenance(folder, texts, reward_hash(study))
        try:
            check_points(study.search.start, _spec(study, texts), study.trial_settings())
        except SpaceError as error:  # with the batch sizes of these data
            raise StudyError(f"{error.path}: {error}") from None
        encoded = None if texts is None else encode_texts(study, texts)
        if isinstance(texts, Dataset) and isinstance(encoded, TaskData):
            unlabelled(study, texts, encoded)
        check_reward(study)
        builders_of(study)
        text_builders_of(study)
        played = None if study.environment is None else describe(study.environment)
        if address is None:
            check_device(study.device, study.search.resources)
            slots(study.search.concurrency, study.search.resources)
        elif address != "auto":
            check_address(address)
        check_tracking(study.tracking_uri)
        check_space(folder.root)
        return cls(study, folder, texts, encoded, played, address, json, began, said)

    def __init__(
        self,
        study: Study,
        folder: RunFolder,
        texts: Dataset | PairDataset | None,
        encoded: TaskData | WritingData | None,  # the same
        played: dict[str, Any] | None,  # the environment, where there are no texts
        address: str | None,
        json: bool,
        began: float,  # by time.monotonic
        said: tuple[str, ...] = (),  # what else the user should know
    ) -> None:
        self.study, self.folder = study, folder
        self.reward_of: RewardOf | None = reward_of(study)
        self.texts, self.encoded = texts, encoded
        try:
            folder.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"cannot create {folder.root}: {error.strerror}; choose another folder with --out"
            ) from error
        self.ledger = Ledger.open(folder.ledger)
        with ExitStack() as opened:  # what fails from here on leaves the folder to the next driver
            opened.callback(self.ledger.close)
            write_atomic(folder.study, study.dump(folder.root))
            write_json(folder.provenance, provenance(texts, played, folder, reward_hash(study)))
            self.settings = study.trial_settings()
            spec = _spec(study, texts)
            self.space, notes = Space.of(spec, self.settings)
            self.notes = (*said, *(encoded.notes if encoded else ()), *notes, *study.search.notes())
            beginning = self.ledger.attribute(BEGINNING) or self._beginning()
            self.notes = (*self.notes, *beginning["notes"])
            self._start = beginning["points"]
            labelled = texts if isinstance(texts, Dataset) else None
            self.trials = self._sweep(MAIN, self.space, study.search, EnsembleGain.of(study, labelled, folder))
            self.control: Sweep | None = None
            space = None if texts is None else control_space(spec, self.settings)
            self.confirmed: Sweep | None = None
            if space is not None:
                self.control = self._sweep(CONTROL, space, control_search(study.search))
            if self.ledger.attribute(BEGINNING) is None:  # another run, which they may come from, need not stay
                self.ledger.set_attribute(BEGINNING, beginning)
            self.clock = WallClock(self.ledger, began)
            self.inbox = Inbox(folder.requests, self.ledger, self.trials)
            self.plan = Plan(
                self.ledger,
                self.clock,
                self.trials,
                self.control,
                stopped=lambda: self.inbox.stopped,
                wall_time=study.search.wall_time,
                refits=refits_of(study),
                chained=chained_of(study),
                starts=folder.starts,
            )
            if self.ledger.attribute("sweep_id") is None:
                self.ledger.set_attribute("sweep_id", uuid.uuid4().hex)
            self._open = opened.pop_all()
        self._keeper = Keeper(study.search, self.trials, folder.trial, top=candidates_of(study), members=self._in_use)
        self.adopted = Adopted()
        self._address = address
        self._json = json
        self.tracker = SessionTracker(study, self.ledger, folder, lambda: self.sweeps)
        self._live: LiveEnsemble | None = None
        self.left_out: list[str] = []  # why trials are no members, though they have what members need

    def decided(self) -> TrialSettings:
        """The settings with what trials have found out: the precision, which then stands in provenance.json, too, as
        what was measured of packing does."""
        self._keep_measured(PACKING_FILE, "packing")
        found = self.folder.starts / PRECISION_FILE
        if self.settings.precision != "auto" or not found.exists():
            return self.settings
        return self.settings.with_values({"precision": self._keep_measured(PRECISION_FILE, "precision")["precision"]})

    def _keep_measured(self, file: str, name: str) -> Any:
        """What a calibration has measured, in provenance.json too from now on; None where nothing was."""
        found = self.folder.starts / file
        if not found.exists():
            return None
        measured = read_json(found)
        known = read_json(self.folder.provenance)
        if known.get(name) != measured:
            write_json(self.folder.provenance, {**known, name: measured})
        return measured

    def packing_of(self, sweep: Sweep, settings: TrialSettings) -> Packing | None:
        """How trials of a sweep share workers, if they do."""
        if self.study.folds > 1:  # which are trained one after the other
            return None
        search, starts = self.study.search, self.folder.starts
        return packing_of(search, sweep.space, settings, starts, trials=sweep.budget, slots=self.workers)

    @property
    def cost(self) -> float:
        """Of a READ, for scoring."""
        return self.settings.read_cost

    @property
    def scratch(self) -> Path:
        """Bundles that are there only until MLflow has taken them."""
        return self.folder.root / ".bundles"

    def _sweep(self, name: str, space: Space, search: Search, worth: EnsembleGain | None = None) -> Sweep:
        return open_sweep(
            self.ledger,
            name,
            space=space,
            search=search,
            epochs=self.study.train.epochs,
            start=self._start,
            folds=self.study.folds,
            worth=worth,
        )

    def _beginning(self) -> dict[str, Any]:
        """The points that the search begins with, and what to say about them."""
        search = self.study.search
        points, notes = list(search.start), []
        if search.start_from is not None:
            others, note = best_points(Path(search.start_from), search.objectives, self.space)
            points += others
            notes.append(note)
        return {"points": points, "notes": notes}

    def confirm(self, winner: TrialRecord) -> Sweep:
        """Begins, or adopts, the sweep that trains the best trial's settings with seeds that the search never used."""
        search = self.study.search
        self.confirmed = open_sweep(
            self.ledger,
            sweep_name(winner.number),
            space=new_seeds(self.settings, self.space, search.seeds),
            search=search_of(search),
            epochs=int(winner.settings.get("train.epochs", self.study.train.epochs)),
        )
        self.confirmed.obey(self.plan)
        return self.confirmed

    @property
    def sweeps(self) -> list[Sweep]:
        """Those that were begun or adopted."""
        return [sweep for sweep in (self.trials, self.control, self.confirmed) if sweep is not None]

    def _in_use(self) -> set[int]:
        """The trials that are members of the ensembles which were built last."""
        built = read_built(self.ledger, self.folder.root, writes=self.study.writes)
        names = set() if built is None else {name for row in built.choice.rows for name in row.members}
        return {int(name.removeprefix("trial-")) for name in names if re.fullmatch(r"trial-\d+", name)}

    def trial_records(self) -> list[TrialRecord]:
        """Those that ensembles are built of."""
        return [*self.trials.trials(), *self.adopted.trials]

    def control_records(self) -> list[TrialRecord]:
        return [*(self.control.trials() if self.control else []), *self.adopted.controls]

    @property
    def linear(self) -> Path:
        """The folder of the linear baseline."""
        return RunFolder(self.adopted.company or self.folder.root).linear

    @property
    def memory(self) -> Path:
        """The folder of the translation memory, the baseline of tasks that write."""
        return RunFolder(self.adopted.company or self.folder.root).memory

    def changed(self, record: TrialRecord) -> None:
        """A trial has changed in the ledger: the screen and MLflow follow."""
        self.display.trial(record)
        self.tracker.trial(record)
        if record.has_ended and record.sweep == MAIN:
            if self._live is not None:
                self._live.ended(record)
            self.keep_within_bounds()

    def find_deleted(self) -> None:
        """A trial whose folder somebody has deleted is removed, as under ``search.keep``, until it is put back."""
        for sweep in self.sweeps:
            for number in put_back(sweep.trials(), self.folder.of):
                sweep.set_trial_attribute(number, REMOVED, None)
            for number in deleted(sweep.trials(), self.folder.of, folds=self.study.folds > 1):
                sweep.set_trial_attribute(number, REMOVED, 0)
        note = deleted_words(self.trials.trials())
        if note is not None:
            self.display.note(note)

    def keep_within_bounds(self) -> None:
        """Removes weights that nothing can use, as far as ``search.keep`` wants it."""
        note = self._keeper.look()
        if note is not None:
            self.display.note(note)

    def poll(self) -> None:
        """What is looked at now and then while trials run: the clock, and requests."""
        self.clock.beat()
        for record in self.inbox.poll():
            self.changed(record)

    def take_requests(self) -> bool:
        """Takes what was asked by hand; whether there is a trial to run since."""
        for record in self.inbox.take():
            self.changed(record)
        return self.trials.unfinished

    def check_tracking(self) -> None:
        """Raises TrackingError where MLflow will take nothing of this run."""
        self.tracker.check()
        for note in self.tracker.remarks():
            self.display.note(note)

    def search_has_ended(self) -> None:
        """Puts on record which budget it was, and what its trials have shared."""
        ended = self.trials.ended()
        if self._put_on_record(ENDED, None if ended is None else vars(ended)) and ended and ended.budget != "trials":
            self.display.note(f"search ended by {ended.words}")
        trials, controls = self.trials.trials(), self.control_records()
        shared = shared_starts(self.decided(), self.encoded, self.folder.starts, trials, controls)
        self._put_on_record(SHARED, shared)

    def search_goes_on(self) -> None:
        self._put_on_record(ENDED, None)

    def _put_on_record(self, name: str, value: Any) -> bool:
        """Whether it was not so before."""
        new = bool(self.ledger.attribute(name) != value)
        if new:
            self.ledger.set_attribute(name, value)
        return new

    def __enter__(self) -> Self:
        search = self.study.search
        with self._open as opened:  # a cluster that refuses must not leave the terminal turned to the log
            chatter = opened.enter_context(Chatter(self.folder.log))
            self.cluster = Cluster(
                self.folder,
                self._address,
                concurrency=search.concurrency,
                resources=search.resources,
                device=self.study.device,
            )
            opened.callback(self.cluster.close)
            self.workers = self.plan.workers = self.cluster.slots
            self.inbox.take()
            for sweep in self.sweeps:
                sweep.obey(self.plan)
            texts = self.texts
            self.display = Display(
                self.study,
                self.space,
                texts.sizes if texts else {},
                self.workers,
                chatter.terminal,
                json=self._json,
                classes=len(texts.classes) if texts else None,
                languages=languages_of(self.study, texts) if isinstance(texts, PairDataset) else None,
                most_words=texts.text.max_words if isinstance(texts, Dataset) else None,
            )
            self.display.start()
            self.find_deleted()
            self.keep_within_bounds()
            for folder in remove_damaged(self.folder):
                self.display.note(f"{folder} was damaged, and is made anew")
            self.display.adopt([*self.trials.trials(), *self.control_records()])
            labelled = texts if isinstance(texts, Dataset) else None
            self._live = LiveEnsemble.of(self.study, labelled, self.ledger, self.folder, self.display.standing)
            if self._live is not None:
                self._live.resume(self.trials.trials())
            for note in self.notes:
                self.display.note(note)
            self._open = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            good = kind is None
            missing = self.tracker.close(self.trials.trials(), self.confirmed, good=good)
            for note in [*self.tracker.remarks(), *([missing] if missing and good else [])]:
                self.display.note(note)
        finally:
            with suppress(StorageError):  # a full disk has been heard of
                if kind is None:
                    self.inbox.move_stop(IN_FORCE, DONE)
                self.clock.keep()
            shutil.rmtree(self.scratch, ignore_errors=True)
            self.display.finish()
            self._open.close()


def check_space(folder: Path) -> None:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free >> 20
    if free < NEEDED_MB:
        raise StorageError(
            f"{existing} has {free} MB of free disk and a run needs {NEEDED_MB} MB to start; "
            "free some space there, or take a folder on another disk"
        )
