"""The journal survives being cut at any byte, refuses a second driver, and never half-writes."""

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sweepstack.models.errors import StorageError
from sweepstack.search.ledger import journal as module
from sweepstack.search.ledger.journal import Journal, driver_of

LOGS = [{"op_code": 4, "n": 0}, {"text": "zwei\nZeilen é", "n": 1}, {"x": [1.5, None], "n": 2}]


def written(path: Path, logs: list[dict[str, object]] = LOGS) -> bytes:
    journal = Journal(path)
    for log in logs:
        journal.append_logs([log])
    journal.close()
    return path.read_bytes()


def read(path: Path) -> list[dict[str, object]]:
    journal = Journal(path, writable=False)
    try:
        return list(journal.read_logs(0))
    finally:
        journal.close()


def test_a_log_is_a_line_and_reads_back(tmp_path: Path) -> None:
    content = written(tmp_path / "ledger.log")
    assert [json.loads(line) | {"crc32": ""} for line in content.splitlines()] == [{**log, "crc32": ""} for log in LOGS]
    assert read(tmp_path / "ledger.log") == LOGS


def test_cut_at_any_byte_it_keeps_the_whole_lines_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "ledger.log"
    content = written(path)
    for size in range(len(content) + 1):
        path.write_bytes(content[:size])
        whole = LOGS[: content[:size].count(b"\n")]
        assert read(path) == whole, "a reader ignores the torn line and leaves it alone"
        assert path.stat().st_size == size
        journal = Journal(path)
        assert list(journal.read_logs(0)) == whole
        journal.append_logs([{"n": "next"}])
        assert list(journal.read_logs(len(whole))) == [{"n": "next"}]
        journal.close()
        assert read(path) == [*whole, {"n": "next"}]


def test_a_torn_line_longer_than_one_look_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TAIL", 8)
    path = tmp_path / "ledger.log"
    content = written(path)
    path.write_bytes(content + b'{"text": "' + b"x" * 50)
    Journal(path).close()
    assert path.read_bytes() == content
    path.write_bytes(b"x" * 50)
    Journal(path).close()
    assert path.read_bytes() == b""


def test_logs_can_be_read_from_any_number(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "ledger.log")
    journal.append_logs(list(LOGS))
    assert list(journal.read_logs(0)) == LOGS
    assert list(journal.read_logs(3)) == []
    assert list(journal.read_logs(1)) == LOGS[1:]
    journal.append_logs([{"n": 3}])
    assert list(journal.read_logs(2)) == [LOGS[2], {"n": 3}]
    journal.close()


def test_a_reader_follows_a_working_driver(tmp_path: Path) -> None:
    driver = Journal(tmp_path / "ledger.log")
    driver.append_logs([LOGS[0]])
    reader = Journal(tmp_path / "ledger.log", writable=False)
    assert list(reader.read_logs(0)) == LOGS[:1]
    driver.append_logs([LOGS[1]])
    assert list(reader.read_logs(1)) == [LOGS[1]]
    with pytest.raises(RuntimeError, match="for reading only"):
        reader.append_logs([LOGS[2]])
    reader.close()
    driver.close()


def test_a_second_driver_is_refused_with_the_process_of_the_first(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, pathlib; from sweepstack.search.ledger.journal import Journal\n"
            "journal = Journal(pathlib.Path(sys.argv[1])); journal.append_logs([{'n': 0}])\n"
            "print('open', flush=True); sys.stdin.read()",
            str(tmp_path / "ledger.log"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(
            StorageError, match=rf"^run {tmp_path} is in use by process {holder.pid}; wait for it to end"
        ):
            Journal(tmp_path / "ledger.log")
    finally:
        holder.kill()
        holder.communicate()
    journal = Journal(tmp_path / "ledger.log")  # the lock died with its holder
    assert list(journal.read_logs(0)) == [{"n": 0}]
    journal.close()
    journal.close()


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ledger.log"
    content = written(path)
    for damage in (b"\0" * 20, b"[1]", b"{}{}", b"1],[2"):
        lines = content.splitlines()
        lines[1] = damage
        path.write_bytes(b"\n".join(lines) + b"\n")
        with pytest.raises(StorageError, match=r"ledger\.log is damaged at line 2 .*put back a copy"):
            read(path)


def test_every_changed_bit_but_of_a_torn_end_is_located(tmp_path: Path) -> None:
    """A changed number is JSON all the same. A line without a checksum is one that another program wrote, so a bit of
    the checksum's own name is found at the line after it."""
    path = tmp_path / "ledger.log"
    content = written(path)
    ends = [place for place, byte in enumerate(content) if byte == ord("\n")]
    for place in range(ends[1]):
        damaged = bytearray(content)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        line = 1 + content[:place].count(b"\n")
        with pytest.raises(
            StorageError, match=rf"ledger\.log is damaged at line ({line}|{line + 1}) .*put back a copy"
        ):
            read(path)
        journal = Journal(path)
        with pytest.raises(StorageError, match="is damaged at line"):
            journal.append_logs([{"n": 3}])
        journal.close()


@pytest.mark.parametrize("order", [[0, 2], [0, 0, 1, 2], [1, 0, 2], [2], [1, 2]], ids=str)
def test_a_line_that_was_lost_doubled_or_moved_is_located(tmp_path: Path, order: list[int]) -> None:
    path = tmp_path / "ledger.log"
    lines = written(path).splitlines(keepends=True)
    path.write_bytes(b"".join(lines[place] for place in order))
    first = next(n for n, place in enumerate(order, start=1) if place != n - 1)
    with pytest.raises(StorageError, match=f"damaged at line {first} "):
        read(path)


def test_lines_without_checksums_of_earlier_versions_and_other_tools_are_read(tmp_path: Path) -> None:
    path = tmp_path / "ledger.log"
    plain = "".join(json.dumps(log) + "\n" for log in LOGS)
    path.write_text(plain)
    journal = Journal(path)
    journal.append_logs([{"n": 3}])
    journal.close()
    with path.open("a") as file:
        file.write('{"note": "of a dashboard"}\n')
    journal = Journal(path)
    journal.append_logs([{"n": 4}])
    journal.close()
    assert read(path) == [*LOGS, {"n": 3}, {"note": "of a dashboard"}, {"n": 4}]
    path.write_bytes(path.read_bytes().replace(b"dashboard", b"dashb0ard"))
    with pytest.raises(StorageError, match="damaged at line 6 "):
        read(path)


def test_an_append_that_the_disk_refuses_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ledger.log"
    content = written(path)
    journal = Journal(path)
    full_write = os.pwrite
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", lambda file, data, offset: full_write(file, data[:5], offset))
        with pytest.raises(StorageError, match=r"cannot write .*ledger\.log: no space left.*free some space"):
            journal.append_logs([{"n": 3}])
    assert path.read_bytes() == content
    journal.append_logs([{"n": 4}])
    assert list(journal.read_logs(0)) == [*LOGS, {"n": 4}]
    journal.close()
    with pytest.raises(StorageError, match="it is closed"):
        journal.append_logs([{"n": 5}])


def test_appends_reach_the_disk_soon_and_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_size))
    journal = Journal(tmp_path / "ledger.log")
    journal.append_logs([LOGS[0]])
    assert synced == [], "no append waits for the disk"
    journal.close()
    assert synced == [(tmp_path / "ledger.log").stat().st_size]


def test_a_missing_ledger_and_an_unwritable_place_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"No such file.*is this the folder of a run\?"):
        Journal(tmp_path / "ledger.log", writable=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="make its folder writable, or take another one"):
        Journal(tmp_path / "file" / "ledger.log")


def test_who_drives_a_journal_is_known_to_others_and_looking_does_not_disturb(tmp_path: Path) -> None:
    path = tmp_path / "ledger.log"
    assert driver_of(path) is None
    journal = Journal(path)
    assert driver_of(path) == str(os.getpid())
    journal.close()
    assert driver_of(path) is None


def test_a_driver_waits_for_one_who_only_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ledger.log"
    Journal(path).close()
    looking = os.open(path.with_name(".ledger.log.lock"), os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    monkeypatch.setattr("sweepstack.search.ledger.journal.time.sleep", lambda seconds: os.close(looking))
    Journal(path).close()
