import math
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sweepstack.models.errors import TrackingError
from sweepstack.search.study.tracking_uri import sqlite_uri
from sweepstack.search.tracking import mirror
from sweepstack.search.tracking import tracker as tracking
from sweepstack.search.tracking.store import open_client
from sweepstack.search.tracking.tracker import RunState, Tracker, check_tracking, ui_command

STARTED = 1_700_000_000.0
FRESH = """
import sys, time
from pathlib import Path
from sweepstack.search.tracking.tracker import RunState, Tracker, check_tracking
from sweepstack.search.study.tracking_uri import sqlite_uri

uri = sqlite_uri(Path(sys.argv[1]) / "mlflow.db")
check_tracking(uri)
assert "mlflow" not in sys.modules, "the check must be cheap"
assert not Path(sys.argv[1], "mlflow.db").exists(), "the check must write nothing"
tracker = Tracker(uri, "fresh", "sweep", lambda key, run_id: None, lambda line: None)
begin = time.perf_counter()
tracker.put(RunState("sweep", "sweep", {}, (), {}, "finished", time.time(), time.time(), parent=False))
assert time.perf_counter() - begin < 0.1, "put must not wait for the store"
assert tracker.close(60), tracker.missing()
"""


@pytest.fixture(scope="session")
def migrated_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that a tracker made in a process of its own, to be copied: making one takes seconds."""
    folder = tmp_path_factory.mktemp("fresh 100%")
    done = subprocess.run([sys.executable, "-c", FRESH, folder], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout + done.stderr == "", "MLflow's chatter must not reach the terminal"
    return folder / "mlflow.db"


class Store:
    """A copy of the migrated store with one sweep's trackers."""

    def __init__(self, folder: Path, template: Path) -> None:
        self.template, self.path = template, folder / "mlflow.db"
        self.uri = sqlite_uri(self.path)
        self.ids: dict[str, str] = {}
        self.lines: list[str] = []
        self.restore()

    def restore(self) -> None:
        shutil.copyfile(self.template, self.path)

    def tracker(self, **changes: Any) -> Tracker:
        given = {"uri": self.uri, "experiment": "study", "sweep_id": "sweep-1", "on_run": self.ids.__setitem__}
        return Tracker(**given | {"log": self.lines.append, "mirror": mirror.Mirror} | changes)

    def record(self, *states: RunState) -> None:
        tracker = self.tracker()
        for state in states:
            tracker.put(state)
        assert tracker.close(30), tracker.missing()

    @property
    def client(self) -> Any:
        return open_client(self.uri)

    def runs(self) -> dict[str, Any]:
        """By key; fails where two runs have one key."""
        experiment = self.client.get_experiment_by_name("study")
        found = self.client.search_runs([experiment.experiment_id], max_results=1000)
        runs = {run.data.tags["sweepstack.key"]: run for run in found}
        assert len(runs) == len(found), "a run is doubled"
        return runs

    def steps(self, key: str, name: str) -> list[int]:
        return sorted(point.step for point in self.client.get_metric_history(self.runs()[key].info.run_id, name))


@pytest.fixture
def store(tmp_path: Path, migrated_store: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(tracking, "GATHER", 0.01)
    monkeypatch.setattr(tracking, "FIRST_RETRY", 0.02)
    return Store(tmp_path, migrated_store)


PARENT = RunState("sweep", "the sweep", {}, (), {"state": "complete"}, "finished", STARTED, STARTED + 60, parent=False)


def trial(number: int = 0, epochs: int = 3, **changes: Any) -> RunState:
    state = RunState(
        key=f"trials-{number}",
        name=f"trial {number}",
        params={"train.lr": 0.001, "1-train.gamma": 0.01},
        metrics=tuple((step, {"reward": step / 10, "log_loss": 1 / step}) for step in range(1, epochs + 1)),
        tags={"state": "complete", "checkpoint": "/runs/trials/0/checkpoint"},
        status="finished",
        started=STARTED,
        ended=STARTED + 30,
    )
    return replace(state, **changes)


def running(state: RunState) -> RunState:
    return replace(state, status="running", ended=None, tags=state.tags | {"state": "running"})


def test_a_run_is_recorded_as_it_was_put(store: Store) -> None:
    store.record(PARENT, trial())
    runs = store.runs()
    assert {key: run.info.run_id for key, run in runs.items()} == store.ids
    child, parent = runs["trials-0"], runs["sweep"]
    assert "mlflow.parentRunId" not in parent.data.tags
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert child.data.tags["sweepstack.sweep"] == "sweep-1"
    assert child.data.tags["checkpoint"] == "/runs/trials/0/checkpoint"
    assert child.data.params == {"train.lr": "0.001", "1-train.gamma": "0.01"}
    assert child.data.metrics == {"reward": 0.3, "log_loss": pytest.approx(1 / 3)}
    info = child.info
    assert (info.run_name, info.status) == ("trial 0", "FINISHED")
    assert (info.start_time, info.end_time) == (1_700_000_000_000, 1_700_000_030_000)
    history = store.client.get_metric_history(info.run_id, "reward")
    assert sorted((point.step, point.value) for point in history) == [(1, 0.1), (2, 0.2), (3, 0.3)]
    assert sorted(point.timestamp - info.start_time for point in history) == [10_000, 20_000, 30_000]


def test_epochs_of_a_running_trial_are_timed_when_they_are_put(store: Store) -> None:
    before = time.time()
    tracker = store.tracker()
    tracker.put(PARENT)
    for epochs in (1, 2):
        tracker.put(running(trial(epochs=epochs)))
    assert tracker.close(30)
    run = store.runs()["trials-0"]
    assert run.info.status == "RUNNING"
    times = [point.timestamp for point in store.client.get_metric_history(run.info.run_id, "reward")]
    assert all(1000 * before - 1 <= moment <= 1000 * time.time() + 1 for moment in times)


@pytest.mark.parametrize(
    ("status", "expected"),
    [("finished", "FINISHED"), ("failed", "FAILED"), ("killed", "KILLED"), ("running", "RUNNING")],
)
def test_every_status_has_its_counterpart(store: Store, status: Any, expected: str) -> None:
    store.record(PARENT, trial(status=status))
    assert store.runs()["trials-0"].info.status == expected


def test_the_same_states_again_change_nothing(store: Store) -> None:
    store.record(PARENT, trial(0), trial(1))
    before, ids = store.runs(), dict(store.ids)
    store.ids.clear()
    store.record(PARENT, trial(0), trial(1))
    assert store.ids == ids, "on_run is told of runs that were found again"
    after = store.runs()
    assert {key: run.to_dictionary() for key, run in after.items()} == {
        key: run.to_dictionary() for key, run in before.items()
    }
    assert store.steps("trials-0", "reward") == [1, 2, 3]


def test_finished_runs_cost_no_history_when_they_are_put_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    states = [PARENT, *(trial(number) for number in range(5)), running(trial(5))]
    store.record(*states)
    calls: list[str] = []
    monkeypatch.setattr(mirror, "open_client", lambda uri: Chaos(open_client(uri), calls=calls))
    store.record(*states)
    assert calls.count("search_runs") == 1
    assert calls.count("get_metric_history") == 2, "only of the trial that was not finished, one a metric"
    assert not {"log_batch", "create_run", "set_terminated", "update_run", "set_tag"} & set(calls)


def test_an_interrupted_trial_goes_on_in_its_run(store: Store) -> None:
    store.record(PARENT, trial(epochs=2, status="killed", ended=STARTED + 5))
    run_id = store.ids["trials-0"]
    store.record(running(trial(epochs=3)))
    assert store.runs()["trials-0"].info.status == "RUNNING"
    store.record(trial(epochs=4))
    run = store.runs()["trials-0"]
    assert (run.info.run_id, run.info.status, run.info.end_time) == (run_id, "FINISHED", 1_700_000_030_000)
    assert store.steps("trials-0", "reward") == [1, 2, 3, 4]
    assert run.data.tags["state"] == "complete"


def test_a_metric_that_is_put_later_is_looked_up_before_it_is_recorded_again(store: Store) -> None:
    """A killed session has recorded it; the next one begins with a state that does not know of it yet."""
    store.record(PARENT, trial(epochs=2))
    tracker = store.tracker()
    tracker.put(PARENT)
    tracker.put(running(trial(epochs=0)))
    while "trials-0" not in tracker._known:
        time.sleep(0.05)
    tracker.put(trial(epochs=2))
    assert tracker.close(30), tracker.missing()
    run = store.runs()["trials-0"]
    assert [point.step for point in store.client.get_metric_history(run.info.run_id, "reward")] == [1, 2]


def test_what_exceeds_a_request_of_mlflow_is_cut_into_batches(store: Store) -> None:
    metrics = tuple((step, {f"m{place}": float(step) for place in range(5)}) for step in range(500))
    params = {f"p{place}": place for place in range(250)} | {"long": "x" * 7000, "odd (γ)?": 1}
    store.record(PARENT, trial(metrics=metrics, params=params, tags={"long": "y" * 9000}))
    run = store.runs()["trials-0"]
    assert store.steps("trials-0", "m3") == list(range(500))
    assert len(run.data.params) == 252
    assert run.data.params["long"] == "x" * 5999 + "…"
    assert run.data.params["odd _γ__"] == "1"
    assert run.data.tags["long"] == "y" * 5000


def test_values_that_are_no_numbers_are_recorded(store: Store) -> None:
    store.record(PARENT, trial(metrics=((1, {"loss": math.nan, "kl": math.inf}),), status="failed"))
    metrics = store.runs()["trials-0"].data.metrics
    assert math.isnan(metrics["loss"])
    assert metrics["kl"] > 1e300


def test_a_changed_param_becomes_a_tag(store: Store) -> None:
    store.record(PARENT, trial(params={"members": "trial 3", "top": 8}))
    store.record(PARENT, trial(params={"members": "trial 9", "top": 8}))
    data = store.runs()["trials-0"].data
    assert data.params == {"members": "trial 3", "top": "8"}
    assert data.tags["changed.members"] == "trial 9"


def test_metrics_may_be_added_to_a_finished_run(store: Store) -> None:
    store.record(PARENT, trial())
    scored = trial(metrics=(*trial().metrics, (3, {"test_reward": 0.9})))
    store.record(scored)
    assert store.runs()["trials-0"].data.metrics["test_reward"] == 0.9
    assert store.steps("trials-0", "reward") == [1, 2, 3]


def test_a_deleted_experiment_and_a_deleted_run_come_back(store: Store) -> None:
    store.record(PARENT, trial(0), trial(1))
    client = store.client
    client.delete_run(store.ids["trials-0"])
    client.delete_experiment(client.get_experiment_by_name("study").experiment_id)
    ids = dict(store.ids)
    store.record(PARENT, trial(0), trial(1), trial(2))
    assert ids.items() <= store.ids.items()
    assert set(store.runs()) == {"sweep", "trials-0", "trials-1", "trials-2"}
    assert any("restored" in line for line in store.lines)


def test_an_experiment_that_was_renamed_is_gone_on_with(store: Store) -> None:
    store.record(PARENT, trial(0))
    before = store.client.get_experiment_by_name("study")
    store.client.rename_experiment(before.experiment_id, "my best one")
    for another in (False, True):  # also where the old name has been given to another experiment
        if another:
            store.client.create_experiment("study")
        tracker = store.tracker()
        for state in (PARENT, trial(0), trial(1)):
            tracker.put(state)
        assert tracker.close(30)
        found = store.client.search_runs([before.experiment_id])
        assert sorted(run.data.tags["sweepstack.key"] for run in found) == ["sweep", "trials-0", "trials-1"]
    assert "MLflow: the experiment 'study' is called 'my best one' there; this run goes on in it" in store.lines
    other = store.client.get_experiment_by_name("study")
    assert store.client.search_runs([other.experiment_id]) == []


def test_two_sweeps_share_an_experiment_without_meeting(store: Store) -> None:
    store.record(PARENT, trial())
    other = store.tracker(sweep_id="sweep-2")
    other.put(PARENT)
    other.put(trial())
    assert other.close(30)
    experiment = store.client.get_experiment_by_name("study")
    found = store.client.search_runs([experiment.experiment_id])
    parents = {run.info.run_id: run.data.tags["sweepstack.sweep"] for run in found if run.info.run_name == "the sweep"}
    children = [run.data.tags for run in found if run.info.run_name == "trial 0"]
    assert {parents[tags["mlflow.parentRunId"]] for tags in children} == {"sweep-1", "sweep-2"}
    assert all(parents[tags["mlflow.parentRunId"]] == tags["sweepstack.sweep"] for tags in children)


def test_a_trial_waits_for_its_parent(store: Store) -> None:
    tracker = store.tracker()
    tracker.put(trial())
    time.sleep(0.3)
    assert store.ids == {}
    tracker.put(PARENT)
    assert tracker.close(30)
    assert set(store.ids) == {"sweep", "trials-0"}


def test_close_says_at_once_what_lacks_a_parent(store: Store) -> None:
    tracker = store.tracker()
    tracker.put(trial())
    begin = time.monotonic()
    assert not tracker.close(30)
    assert time.monotonic() - begin < 10
    line = tracker.missing()
    assert line is not None
    assert "1 of 1 runs" in line
    assert "parent" in line


def test_a_listener_that_fails_stops_nothing(store: Store) -> None:
    def fail(key: str, run_id: str) -> None:
        raise OSError("no space")

    tracker = store.tracker(on_run=fail)
    tracker.put(PARENT)
    tracker.put(trial())
    assert tracker.close(30)
    assert set(store.runs()) == {"sweep", "trials-0"}
    assert any("no space" in line for line in store.lines)


def wait_until(condition: Any, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def test_a_store_deleted_in_mid_sweep_is_filled_again(store: Store) -> None:
    tracker = store.tracker()
    tracker.put(PARENT)
    tracker.put(trial(0))
    wait_until(lambda: "trials-0" in store.ids)
    first = dict(store.ids)
    for name in ("mlflow.db", "mlflow.db-wal", "mlflow.db-shm"):
        store.path.with_name(name).unlink()
    store.restore()
    tracker.put(trial(1))
    assert tracker.close(30), tracker.missing()
    assert set(store.runs()) == {"sweep", "trials-0", "trials-1"}
    assert store.steps("trials-0", "reward") == [1, 2, 3]
    assert store.ids["trials-0"] != first["trials-0"], "the listener hears of the new run"


def test_a_store_that_another_process_locks_is_waited_for(store: Store) -> None:
    tracker = store.tracker()
    tracker.put(PARENT)
    wait_until(lambda: "sweep" in store.ids)
    with closing(sqlite3.connect(store.path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        begin = time.perf_counter()
        tracker.put(trial())
        assert time.perf_counter() - begin < 0.1, "the sweep must not wait for the store"
        time.sleep(0.5)
        assert "trials-0" not in store.ids
        other.execute("ROLLBACK")
    assert tracker.close(30), tracker.missing()
    assert store.steps("trials-0", "reward") == [1, 2, 3]


def test_a_damaged_store_is_reported_and_reconciled_when_it_is_mended(store: Store) -> None:
    tracker = store.tracker()
    tracker.put(PARENT)
    wait_until(lambda: "sweep" in store.ids)
    good = store.path.read_bytes()
    store.path.write_bytes(b"no database" * 1000)
    for number in range(3):
        tracker.put(trial(number))
    wait_until(lambda: any("refuses" in line for line in store.lines))
    for name in ("mlflow.db-wal", "mlflow.db-shm"):
        store.path.with_name(name).unlink(missing_ok=True)
    store.path.write_bytes(good)
    wait_until(lambda: any("records again" in line for line in store.lines))
    assert tracker.close(30), tracker.missing()
    assert set(store.runs()) == {"sweep", "trials-0", "trials-1", "trials-2"}


def test_a_store_that_never_opens_is_told_in_one_line(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    tracker = store.tracker(uri=sqlite_uri(tmp_path / "file" / "mlflow.db"))
    tracker.put(PARENT)
    assert tracker.refusal(30) == "File exists"
    begin = time.monotonic()
    assert not tracker.close(60)
    assert time.monotonic() - begin < 20, "it is not tried again for the whole minute"
    line = tracker.missing()
    assert line is not None
    assert "\n" not in line
    assert "1 of 1 runs" in line
    assert "File exists); mend that, and the same command again completes them" in line


def test_a_store_that_takes_a_run_refuses_nothing(store: Store) -> None:
    tracker = store.tracker()
    tracker.put(PARENT)
    assert tracker.refusal(30) is None
    assert tracker._known
    assert tracker.close(30)


class Chaos:
    """A client whose calls fail at random, before or after they did their work (an answer that was lost)."""

    def __init__(self, client: Any, seed: int = 0, probability: float = 0.0, calls: list[str] | None = None) -> None:
        self._client, self._random, self._probability = client, random.Random(seed), probability
        self._calls = [] if calls is None else calls

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        if name.startswith("_"):
            return method

        def call(*args: Any, **kwargs: Any) -> Any:
            self._calls.append(name)
            luck = self._random.random()
            if luck < self._probability / 2:
                raise ConnectionError(f"{name} never arrived")
            answer = method(*args, **kwargs)
            if luck < self._probability:
                raise ConnectionError(f"the answer to {name} was lost")
            return answer

        return call


@pytest.mark.parametrize("seed", range(3))
def test_calls_that_fail_at_random_lose_and_double_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    made: list[int] = []

    def open_badly(uri: str) -> Any:
        made.append(1)
        return Chaos(open_client(uri), seed=1000 * seed + len(made), probability=0.15)

    monkeypatch.setattr(tracking, "LAST_RETRY", 0.02)
    monkeypatch.setattr(mirror, "open_client", open_badly)
    tracker = store.tracker()
    tracker.put(running(PARENT))
    for epochs in (1, 2):
        for number in range(3):
            tracker.put(running(trial(number, epochs)))
        time.sleep(0.05)
    for number in range(3):
        tracker.put(trial(number))
    tracker.put(PARENT)
    assert tracker.close(60), tracker.missing()
    assert len(made) > 1, "the seed must make something fail"
    runs = store.runs()
    assert set(runs) == {"sweep", "trials-0", "trials-1", "trials-2"}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    for number in range(3):
        assert store.steps(f"trials-{number}", "reward") == [1, 2, 3]
        assert runs[f"trials-{number}"].data.tags["state"] == "complete"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """The files of a bundle that logging looks at; ensembles/bundles/test_pyfunc.py loads a whole one."""
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "bundle.json").write_text(
        '{"classes": ["de", "en"], "input_column": "phrase", "versions": {"python": "3.11.7", "torch": "2.9.0+cpu"}}'
    )
    (folder / "SHA256SUMS").write_text("first\n")
    return folder


def logged_models(store: Store) -> list[Any]:
    return list(store.client.search_logged_models([store.client.get_experiment_by_name("study").experiment_id]))


def test_a_bundle_becomes_one_model_of_its_run(store: Store, bundle: Path) -> None:
    ensemble = trial(key="ensemble-selection", model=bundle)
    for _ in range(2):
        store.record(PARENT, ensemble)
    (model,) = logged_models(store)
    run = store.runs()["ensemble-selection"]
    assert (str(model.status), model.source_run_id) == ("READY", run.info.run_id)
    assert run.data.tags["sweepstack.model"].endswith(f":{model.model_id}")
    assert [output.model_id for output in run.outputs.model_outputs] == [model.model_id]
    folder = Path(model.artifact_location)
    assert folder.is_relative_to(store.path.with_name("mlartifacts"))
    assert (folder / "artifacts" / "bundle" / "SHA256SUMS").read_text() == "first\n"
    assert not list(folder.rglob("*.pkl"))
    assert "torch==2.9.0" in (folder / "requirements.txt").read_text().split()
    assert '"name": "phrase"' in (folder / "MLmodel").read_text()

    (bundle / "SHA256SUMS").write_text("exported anew\n")
    store.record(PARENT, ensemble)
    assert len(logged_models(store)) == 2


def test_a_model_that_a_kill_left_half_logged_is_replaced(store: Store, bundle: Path) -> None:
    ensemble = trial(key="ensemble-selection")
    store.record(PARENT, ensemble)
    client, run_id = store.client, store.ids["ensemble-selection"]
    experiment = client.get_experiment_by_name("study").experiment_id
    client.create_logged_model(experiment, "ensemble-selection", source_run_id=run_id)
    store.record(PARENT, replace(ensemble, model=bundle))
    assert [str(model.status) for model in logged_models(store)] == ["READY"]


def test_a_bundle_that_is_not_whole_holds_up_only_its_run(store: Store, tmp_path: Path) -> None:
    tracker = store.tracker()
    tracker.put(PARENT)
    tracker.put(trial(0, key="ensemble-selection", model=tmp_path / "nowhere"))
    tracker.put(trial(1))
    wait_until(lambda: "trials-1" in store.ids)
    assert not tracker.close(1)
    line = tracker.missing()
    assert line is not None
    assert "1 of 3 runs" in line
    assert "nowhere" in line


def closed_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def server(store: Store) -> Iterator[Any]:
    """Starts and stops MLflow's own server on the store; ``server()`` starts it and gives its process."""
    port = closed_port()
    processes: list[subprocess.Popen[bytes]] = []

    def start() -> tuple[str, subprocess.Popen[bytes]]:
        command = ui_command(store.uri, port)
        log = (store.path.parent / "server.txt").open("ab")
        processes.append(subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True))
        log.close()
        uri = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 60
        while True:
            try:
                check_tracking(uri)
                return uri, processes[-1]
            except TrackingError:
                assert time.monotonic() < deadline
                time.sleep(0.2)

    yield start
    for process in processes:
        stop(process)


def stop(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.slow
def test_a_server_that_stops_in_mid_sweep_is_reconciled(store: Store, server: Any, bundle: Path) -> None:
    uri, process = server()
    tracker = store.tracker(uri=uri)
    tracker.put(running(PARENT))
    tracker.put(running(trial(0, 1)))
    wait_until(lambda: "trials-0" in store.ids)
    stop(process)
    tracker.put(running(trial(0, 2)))
    tracker.put(trial(1))
    wait_until(lambda: any("refused" in line for line in store.lines))
    uri, process = server()
    tracker.put(trial(0))
    tracker.put(trial(2, key="ensemble-selection", model=bundle))
    tracker.put(PARENT)
    assert tracker.close(60), tracker.missing()
    stop(process)
    runs = store.runs()
    assert set(runs) == {"sweep", "trials-0", "trials-1", "ensemble-selection"}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert store.steps("trials-0", "reward") == [1, 2, 3]
    assert [str(model.status) for model in logged_models(store)] == ["READY"]
