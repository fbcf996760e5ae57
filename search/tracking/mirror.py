"""What an MLflow store holds of one sweep, and how a run there is made equal to a wanted state.

A run is found again by its tags (``sweepstack.sweep``, ``sweepstack.key``), so nothing has to be remembered between
processes. What it holds already is read once, by one search for all runs; a run's metric history is read only if the
tag ``sweepstack.recorded`` does not vouch for what is wanted. So a state can be recorded any number of times.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sweepstack.search.study.tracking_uri import sqlite_path
from sweepstack.search.tracking.models import bundle_digest, log_bundle
from sweepstack.search.tracking.store import artifact_root, close_connections, local_uri, open_client

SWEEP, KEY, PARENT = "sweepstack.sweep", "sweepstack.key", "mlflow.parentRunId"
RECORDED = "sweepstack.recorded"  # a digest of the metrics that are in the store for certain
REMARK = "MLflow: "  # how a line of the log begins that the user should see
MODEL = "sweepstack.model"  # <digest of the bundle>:<id of the logged model>
Status = Literal["running", "finished", "failed", "killed"]
STATUS: dict[Status, str] = {"running": "RUNNING", "finished": "FINISHED", "failed": "FAILED", "killed": "KILLED"}
MAX_PARAM, MAX_TAG, MAX_NAME = 6000, 5000, 250  # characters; the limits of MLflow's servers
MAX_BATCH, MAX_PARAMS_OR_TAGS = 1000, 100  # of a request


@dataclass(frozen=True)
class RunState:
    """What a run should look like."""

    key: str  # unique in the sweep, e.g. "trials-7"
    name: str
    params: dict[str, Any]
    metrics: tuple[tuple[int, dict[str, float]], ...]  # (step, values)
    tags: dict[str, str]
    status: Status
    started: float  # seconds since 1970
    ended: float | None
    model: Path | None = None  # a bundle, to be logged as a model of the run
    parent: bool = True  # stands under the sweep's parent run; False for the parent run itself


@dataclass
class _Run:
    """What the store is known to hold of a run."""

    run_id: str
    status: str
    name: str
    end_time: int | None  # ms since 1970
    tags: dict[str, str]
    params: dict[str, str] = field(default_factory=dict)
    metric_names: frozenset[str] = frozenset()  # of which the store has some history
    points: set[tuple[str, int]] = field(default_factory=set)  # (name, step) in the store, of the metrics in `read`
    read: set[str] = field(default_factory=set)  # metrics whose history is known
    deleted: bool = False


class Mirror:
    """One open store. After any exception it is to be thrown away: what the store holds is not certain any more."""

    def __init__(self, uri: str, experiment: str, sweep_id: str, log: Callable[[str], None]) -> None:
        """Makes or restores the experiment and reads the sweep's runs. Takes seconds; raises whatever MLflow raises."""
        self._log = log
        self._sweep_id = sweep_id
        self._path = sqlite_path(uri)
        self._client = open_client(uri)
        self._file = self._identity()
        self._experiment_id, self._runs = self._open(experiment)

    def close(self) -> None:
        """Ends the connections to a local store, which folds its write-ahead log into the file."""
        if self._path is not None:
            close_connections(self._client)

    @property
    def parent_id(self) -> str | None:
        """Of the sweep's parent run, if it is in the store."""
        return next((run.run_id for run in self._runs.values() if PARENT not in run.tags), None)

    def is_current(self) -> bool:
        """Whether the store is still the file that was opened; writes to one that was deleted are in vain."""
        return self._file == self._identity()

    def record(self, state: RunState, times: Mapping[int, int]) -> str:
        """Makes the store equal to ``state`` and returns the run's id; ``times`` are each step's ms since 1970.

        What is in the store and not in the state stays. A param cannot change in MLflow: the new value becomes the tag
        ``changed.<name>``.
        """
        run = self._runs.get(state.key) or self._create(state)
        if run.deleted:
            self._client.restore_run(run.run_id)
            run.deleted = False
        if state.status == "running" != run.status.lower() or state.name != run.name:
            status = "RUNNING" if state.status == "running" else run.status
            self._client.update_run(run.run_id, status, state.name)
            run.status, run.name = status, state.name
        self._record_values(run, state, times)
        if state.model is not None:
            self._record_model(run, state.model, state.key)
        ended = None if state.ended is None else _milliseconds(state.ended)
        if state.status != "running" and (run.status != STATUS[state.status] or ended not in (None, run.end_time)):
            self._client.set_terminated(run.run_id, STATUS[state.status], ended)
            run.status, run.end_time = STATUS[state.status], ended
        return run.run_id

    def _record_values(self, run: _Run, state: RunState, times: Mapping[int, int]) -> None:
        from mlflow.entities import Metric, Param, RunTag

        tags = {_name(name): str(value)[:MAX_TAG] for name, value in state.tags.items()}
        params = {_name(name): _cut(str(value)) for name, value in state.params.items()}
        for name in [name for name, value in params.items() if run.params.get(name, value) != value]:
            tags[_name(f"changed.{name}")] = params.pop(name)[:MAX_TAG]
        tags = {name: value for name, value in tags.items() if run.tags.get(name) != value}
        params = {name: value for name, value in params.items() if name not in run.params}
        wanted = {(_name(name), step): value for step, values in state.metrics for name, value in values.items()}
        digest = _digest(wanted.keys())
        unread = {name for name, _ in wanted} - run.read
        if unread and run.tags.get(RECORDED) == digest:
            run.points |= set(wanted)
        elif unread:
            run.points |= self._history(run, unread)
        run.read |= unread
        points = {point: value for point, value in wanted.items() if point not in run.points}
        vouched = not wanted or state.status == "running" or run.tags.get(RECORDED) == digest
        if not vouched and _one_batch(len(points), len(params), len(tags) + 1):
            tags[RECORDED] = digest  # MLflow stores a batch's tags after its metrics
            vouched = True
        if points or params or tags:
            self._client.log_batch(  # cuts it into batches of at most 1,000 metrics and 100 params or tags
                run.run_id,
                [Metric(name, float(value), times[step], step) for (name, step), value in points.items()],
                [Param(name, value) for name, value in params.items()],
                [RunTag(name, value) for name, value in tags.items()],
            )
            run.points |= points.keys()
            run.params |= params
            run.tags |= tags
        if not vouched:
            self._client.set_tag(run.run_id, RECORDED, digest)  # after the metrics: it vouches for them
            run.tags[RECORDED] = digest

    def _record_model(self, run: _Run, bundle: Path, key: str) -> None:
        digest = bundle_digest(bundle)
        if run.tags.get(MODEL, "").startswith(f"{digest}:"):
            return
        value = f"{digest}:{log_bundle(self._client, self._experiment_id, run.run_id, key, bundle)}"
        self._client.set_tag(run.run_id, MODEL, value)
        run.tags[MODEL] = value

    def _create(self, state: RunState) -> _Run:
        tags = {
            SWEEP: self._sweep_id,
            KEY: state.key,
            "mlflow.source.name": "sweepstack",
            "mlflow.source.type": "LOCAL",
        }
        if state.parent:
            parent_id = self.parent_id
            assert parent_id is not None, "the tracker records the parent first"
            tags[PARENT] = parent_id
        tags |= {_name(name): str(value)[:MAX_TAG] for name, value in state.tags.items()}
        made = self._client.create_run(self._experiment_id, _milliseconds(state.started), tags, state.name)
        run = _Run(made.info.run_id, "RUNNING", state.name, None, tags)
        self._runs[state.key] = run
        return run

    def _open(self, name: str) -> tuple[str, dict[str, _Run]]:
        """The id of the experiment that holds the sweep's runs, whatever it is called now, else of the one named so;
        and these runs."""
        experiment = self._client.get_experiment_by_name(name)
        runs = {} if experiment is None else self._search(experiment.experiment_id)
        elsewhere = None if runs else self._where_the_sweep_is()
        if elsewhere is not None:
            experiment, runs = elsewhere, self._search(elsewhere.experiment_id)
            self._log(f"{REMARK}the experiment {name!r} is called {elsewhere.name!r} there; this run goes on in it")
        if experiment is None:
            place = None if self._path is None else artifact_root(self._path) / re.sub(r"[^\w.-]", "-", name)
            return str(self._client.create_experiment(name, None if place is None else local_uri(place))), {}
        if experiment.lifecycle_stage == "deleted":
            self._client.restore_experiment(experiment.experiment_id)
            self._log(f"{REMARK}the experiment {experiment.name!r} had been deleted; it is restored")
        return str(experiment.experiment_id), runs

    def _where_the_sweep_is(self) -> Any:
        """The experiment that holds the sweep's runs; None where there are none yet."""
        from mlflow.entities import ViewType

        token: str | None = None
        while True:
            page = self._client.search_experiments(ViewType.ALL, max_results=1000, page_token=token)
            ids = [each.experiment_id for each in page]
            found = self._client.search_runs(ids, self._wanted, ViewType.ALL, max_results=1) if ids else []
            if found:
                return self._client.get_experiment(found[0].info.experiment_id)
            token = page.token
            if not token:
                return None

    def _search(self, experiment_id: str) -> dict[str, _Run]:
        """The sweep's runs by key; of several with one key the first that was not deleted."""
        from mlflow.entities import ViewType

        runs: dict[str, _Run] = {}
        token: str | None = None
        while True:
            page = self._client.search_runs(
                [experiment_id],
                self._wanted,
                ViewType.ALL,
                max_results=1000,
                order_by=["attributes.start_time ASC"],
                page_token=token,
            )
            for found in page:
                info, data = found.info, found.data
                run = _Run(info.run_id, info.status, info.run_name, info.end_time, dict(data.tags), dict(data.params))
                run.metric_names = frozenset(data.metrics)
                run.deleted = info.lifecycle_stage == "deleted"
                key = run.tags.get(KEY, "")
                if key not in runs or (runs[key].deleted and not run.deleted):
                    runs[key] = run
            token = page.token
            if not token:
                return runs

    @property
    def _wanted(self) -> str:
        return f"tags.`{SWEEP}` = '{self._sweep_id}'"

    def _history(self, run: _Run, names: set[str]) -> set[tuple[str, int]]:
        known = sorted(names & run.metric_names)
        return {(name, point.step) for name in known for point in self._client.get_metric_history(run.run_id, name)}

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = None if self._path is None else self._path.stat()
        except FileNotFoundError:
            return None
        return None if found is None else (found.st_dev, found.st_ino)


def _one_batch(metrics: int, params: int, tags: int) -> bool:
    """Whether MLflow's client sends so many in one request."""
    return metrics + params + tags <= MAX_BATCH and max(params, tags) <= MAX_PARAMS_OR_TAGS


def _digest(points: Any) -> str:
    text = "\n".join(f"{name}\t{step}" for name, step in sorted(points))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _name(name: str) -> str:
    """Letters, digits and ``_ - . / : space`` are what MLflow allows in a name."""
    return re.sub(r"[^\w\-./: ]", "_", name)[:MAX_NAME]


def _cut(value: str) -> str:
    return value if len(value) <= MAX_PARAM else value[: MAX_PARAM - 1] + "…"


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
