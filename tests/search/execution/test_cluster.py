"""Ray's life in a session: it starts quietly, leaves nothing behind, and clears up after drivers that were killed."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ray import cloudpickle

from sweepstack.models.errors import InputError, SweepstackError, TrainingError
from sweepstack.search.execution.cluster import Cluster
from sweepstack.search.ledger.run_folder import RunFolder
from sweepstack.search.study.search_section import Resources

cloudpickle.register_pickle_by_value(sys.modules[__name__])

DRIVER = """
import sys, time
from pathlib import Path
from sweepstack.search.ledger.run_folder import RunFolder
from sweepstack.search.execution.cluster import Cluster
from sweepstack.search.execution.log_capture import Chatter

folder = RunFolder(Path(sys.argv[1]))
with Chatter(folder.log) as chatter:
    cluster = Cluster(folder)
    try:
        work = cluster.submit(time.sleep, 100)
        cluster.submit(exec, "import os; os.system('echo a child of the worker speaks')").result()
        import psutil
        mine = [process.pid for process in psutil.Process().children(recursive=True)]
        print(cluster._scratch.path, *mine, file=chatter.terminal, flush=True)
        work.result()
    finally:
        cluster.close()
"""


@pytest.fixture
def short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for temporary files, in which nothing may be left; ``tmp_path`` is made first, elsewhere."""
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as path:
        monkeypatch.setattr(tempfile, "tempdir", path)
        monkeypatch.setenv("TMPDIR", path)
        monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
        yield Path(path)


def alive(pids: list[int]) -> list[str]:
    """The command lines of those processes that are there, and no zombies."""
    found = []
    for pid in pids:
        status = Path(f"/proc/{pid}/stat")
        try:
            if status.read_text().rpartition(")")[2].split()[0] != "Z":
                found.append(Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")[:80])
        except OSError:
            continue
    return found


def children() -> list[int]:
    import psutil  # type: ignore[import-not-found, unused-ignore]  # Ray's own copy

    return [process.pid for process in psutil.Process().children(recursive=True)]


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(("RAY_", "TUNE_"))}


def dies_once(marker: Path) -> str:
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"


def fails() -> None:
    raise TrainingError("lower train.lr")


def dies() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def sum_of(values: list[int], more: int) -> int:
    return sum(values) + more


def threads() -> str:
    print("a worker prints")
    return os.environ["OMP_NUM_THREADS"]


@pytest.mark.slow  # it sends signals to its own process, which no runner may share
def test_a_session_works_and_leaves_nothing(short: Path, tmp_path: Path) -> None:
    before, handler = environment(), signal.getsignal(signal.SIGTERM)
    others = children()  # scikit-learn's own workers, which outlive the test that wanted them
    cluster = Cluster(RunFolder(tmp_path / "run"))
    try:
        cluster.start()
        pids = children()
        assert len(set(pids) - set(others)) >= 3
        (folder,) = short.iterdir()
        assert folder.name.startswith("sweepstack-")
        assert folder.stat().st_mode & 0o77 == 0, "Ray opens its own to everybody"
        values = [1, 2, 3]
        assert cluster.share(values) is cluster.share(values), "put into the store once"
        assert cluster.submit(sum_of, cluster.share(values), 4).result() == 10
        assert cluster.submit(threads).result() == "1"
        assert cluster.submit(dies_once, tmp_path / "marker").result() == "done"
        with pytest.raises(TrainingError, match=r"^lower train\.lr$"):
            cluster.submit(fails).result()
        with pytest.raises(SweepstackError, match="a worker process died"):
            cluster.submit(dies).result()
        sleeping = cluster.submit(time.sleep, 100)
        assert not sleeping.done()
        began = time.monotonic()
        signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(KeyboardInterrupt):
            sleeping.result()
        assert time.monotonic() - began < 2
        pids += children()
    finally:
        cluster.close()
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
    assert alive([pid for pid in pids if pid not in others]) == []
    assert list(short.iterdir()) == []
    assert environment() == before
    assert signal.getsignal(signal.SIGTERM) == handler
    assert "a worker prints" in (tmp_path / "run" / "log.txt").read_text()
    cluster.close()  # again: nothing to do


def started(folder: Path) -> tuple["subprocess.Popen[str]", list[int]]:
    """A driver in a process group of its own, and what it started."""
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, folder],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    _, *pids = process.stdout.readline().split()
    return process, [int(pid) for pid in pids]


@pytest.mark.slow
def test_a_killed_drivers_leavings_are_cleared_before_the_next_one_works(short: Path, tmp_path: Path) -> None:
    first, pids = started(tmp_path / "run")
    first.kill()
    first.communicate()
    assert alive(pids), "its agents and workers live on for a while"
    cluster = Cluster(RunFolder(tmp_path / "run"))
    try:
        cluster.start()
        assert alive(pids) == []
        assert len(list(short.iterdir())) == 1, "the folder of the living"
    finally:
        cluster.close()
    assert list(short.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("send", "number"),
    [(os.killpg, signal.SIGINT), (os.kill, signal.SIGTERM)],
    ids=["a terminal's Ctrl-C", "kill"],
)
def test_a_signal_ends_everything_quietly(
    send: Callable[[int, int], None], number: signal.Signals, short: Path, tmp_path: Path
) -> None:
    process, pids = started(tmp_path / "run")
    send(process.pid, number)
    began = time.monotonic()
    out, errors = process.communicate(timeout=30)
    assert time.monotonic() - began < 6
    assert process.returncode != 0
    assert out == ""
    assert errors.splitlines()[-1] == "KeyboardInterrupt"
    assert alive(pids) == []
    assert list(short.iterdir()) == []
    assert "a child of the worker speaks" in (tmp_path / "run" / "log.txt").read_text()


def test_workers_of_an_earlier_driver_are_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "run" / "log.txt"
    log.parent.mkdir()
    worker = subprocess.Popen(
        [sys.executable, "-c", "import fcntl, sys, time; f = open(sys.argv[1], 'a'); "
         "fcntl.flock(f, fcntl.LOCK_SH); print(flush=True); time.sleep(0.7)", log],
        stdout=subprocess.PIPE,
    )  # fmt: skip
    assert worker.stdout is not None
    with worker.stdout:
        worker.stdout.readline()
        cluster = Cluster(RunFolder(tmp_path / "run"))
        try:
            monkeypatch.setattr("sweepstack.search.execution.cluster.LINGERING", 0.1)
            with pytest.raises(SweepstackError, match=r"workers of an earlier run still work in .*run"):
                cluster._wait_for_workers()
            monkeypatch.setattr("sweepstack.search.execution.cluster.LINGERING", 30.0)
            cluster._wait_for_workers()
            assert worker.poll() is not None or worker.wait(5) == 0
            with log.open("a") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # nothing is held on
        finally:
            cluster.close()


@pytest.mark.parametrize("address", ["localhost", "ray://localhost:10001", "localhost:port"])
def test_an_address_that_is_none_is_refused(address: str, tmp_path: Path) -> None:
    cluster = Cluster(RunFolder(tmp_path / "run"), address)
    try:
        with pytest.raises(InputError, match="must be host:port"):
            cluster.start()
    finally:
        cluster.close()


def test_a_cluster_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    cluster = Cluster(RunFolder(tmp_path / "run"), address)
    try:
        with pytest.raises(SweepstackError, match=rf"no Ray cluster answers at {address} \(.*ray start --head"):
            cluster.slots  # noqa: B018
    finally:
        cluster.close()


def test_local_slots_need_no_ray(tmp_path: Path) -> None:
    cluster = Cluster(RunFolder(tmp_path / "run"), concurrency=5, resources=Resources(cpu=3.0))
    try:
        assert cluster.slots == 5
        assert not (tmp_path / "run").exists()
    finally:
        cluster.close()
