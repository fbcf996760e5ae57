import io
import os
import pty
import re
import threading
import time
from collections.abc import Callable

import pytest

from sweepstack.search.ledger.records import TrialRecord
from sweepstack.search.report.display import Display, choose_rows, header, wrap
from sweepstack.search.report.progress import Standing
from sweepstack.search.study.space import Space
from sweepstack.search.study.study import Study

Make = Callable[..., TrialRecord]
PARTS = {"warm": 4500, "policy": 3000, "valid": 750, "blend": 750, "test": 1500}


def squeezed(line: str) -> str:
    return " ".join(line.split())


def test_the_header_is_that_of_the_design(study: Study, make_study: Callable[..., Study], writing_study: Study) -> None:
    pieces = header(study, PARTS, 2, 14)
    assert "   ".join(pieces) == (
        "quickstart   which of 14 languages is it?  reads 2 letters at a time   "
        "4,500 warm · 3,000 policy · 750 valid · 750 blend · 1,500 test   2 workers"
    )
    tokens = make_study(reading={"unit": "tokens", "segment": 8})
    assert "reads 8 tokens at a time" in header(tokens, PARTS, 2, 14)[1]
    off = make_study(reading="off", data={"train": "x.csv", "splits": {"valid": 0.1}})
    folds = make_study(data={"train": "x", "splits": {"folds": 3}})
    assert header(writing_study, PARTS, 1, 0, ("en", "zh"))[1] == "translates en → zh  rewarded by chrf"
    sizes = {"warm": 50, "policy": 30, "out_of_fold": 120, "test": 40}
    assert header(folds, sizes, 2, 14)[2] == "3 folds: 50 warm · 30 policy · 120 out of fold · 40 test"
    assert header(off, {}, 1, 8)[1:] == ["which of 8 labels is it?  reads each text at once", "", "1 worker"]
    assert wrap(["name", "a" * 10, "b" * 10], 20) == ["name   " + "a" * 10, "  " + "b" * 10]


def test_without_a_terminal_a_line_is_written_when_a_trial_ends(study: Study, space: Space, make_record: Make) -> None:
    out = io.StringIO()
    display = Display(study, space, PARTS, 2, out, classes=14)
    display.start()
    display.trial(make_record(7, state="running"))
    display.trial(make_record(7, [0.85], "running"))
    assert len(out.getvalue().splitlines()) == 1
    display.trial(make_record(7, [0.85, 0.86, 0.87, 0.895]))
    display.trial(make_record(7, [0.85, 0.86, 0.87, 0.895]))
    display.trial(make_record(8, [0.84, 0.851], "pruned", rung=2))
    display.trial(make_record(0, [0.8], sweep="supervised"))
    _, heading, *rows = out.getvalue().splitlines()
    assert squeezed(heading) == "trial lr schedule batch γ λ start epoch reward accuracy read state"
    assert squeezed(rows[0]) == "7 8.1e-03 cosine 64 .9990 .800 2 4/4 .895 .917 3.2/12 complete"
    assert squeezed(rows[1]).endswith("2/4 .851 .873 3.2/12 pruned at rung 2")
    assert len(rows) == 2
    assert heading.index("state") == rows[0].index("complete") == rows[1].index("pruned")
    assert "\x1b" not in out.getvalue()


def test_the_leaderboard_ends_it_once(study: Study, space: Space, make_record: Make) -> None:
    out = io.StringIO()
    display = Display(study, space, {}, 1, out, clock=lambda: 5.0)
    display.start()
    display.adopt([make_record(n, [0.8 + n / 1000]) for n in range(25)])
    display.trial(make_record(25, [0.7], "failed", reason="the loss is not a number"))
    display.trial(make_record(26, [0.825], "running"))
    display.standing(Standing("blend", 0.915, ("linear", "trial-3"), 26, 0.82))
    display.finish()
    display.finish()
    display.note("too late")
    text = out.getvalue()
    assert text.count("Leaderboard") == 1
    assert "too late" not in text
    board = text[text.index("Leaderboard") :].splitlines()
    assert [line.split()[0] for line in board[2:22]] == ["26", *(str(n) for n in range(24, 5, -1))]
    assert board[2].endswith("unfinished")
    assert squeezed(board[22]) == "… 7 more in leaderboard.csv"
    assert board[23] == "Trial 25     failed: the loss is not a number"
    assert "26/16 trials · best .820 (trial 26) · ensemble .915 (both on blend, 2 members)" in board[24]
    assert "going on: 25 of 16 trials ended before" in text


def test_nothing_is_printed_with_json(study: Study, space: Space, make_record: Make) -> None:
    out = io.StringIO()
    display = Display(study, space, PARTS, 2, out, json=True)
    display.start()
    display.adopt([make_record(0, [0.8])])
    display.trial(make_record(1, [0.8]))
    display.note("a note")
    display.stage("refits", 0, 5)
    display.finish()
    assert out.getvalue() == ""


def test_a_stage_is_announced_once(study: Study, space: Space) -> None:
    out = io.StringIO()
    display = Display(study, space, {}, 1, out)
    display.stage("bagging refits", 0, 5)
    display.stage("bagging refits", 3, 5)
    display.stage("bagging refits", 5, 5)
    display.stage("ensembles")
    display.stage("ensembles", 1, 1)
    display.stage("all there already", 5, 5)
    assert out.getvalue().splitlines() == ["bagging refits (5) …", "ensembles …"]


def test_the_rows_that_fit_are_the_running_the_best_and_the_latest(make_record: Make) -> None:
    trials = [make_record(n, [0.9 if n == 1 else 0.8], "running" if n == 3 else "complete") for n in range(10)]
    shown, hidden = choose_rows(trials, trials[1], 6)
    assert ([r.number for r in shown], hidden) == ([1, 3, 7, 8, 9], 5)
    assert choose_rows(trials, trials[1], 10) == (trials, 0)


class Terminal:
    """A pseudo-terminal of 100 × 24, read by a thread."""

    def __init__(self) -> None:
        import fcntl
        import struct
        import termios

        self.reader, writer = pty.openpty()
        fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
        self.stream = os.fdopen(writer, "w", encoding="utf-8")
        self.seen = b""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while True:
            try:
                chunk = os.read(self.reader, 65536)
            except OSError:  # the other end was closed
                return
            if not chunk:
                return
            self.seen += chunk

    def text(self) -> str:
        return self.seen.decode("utf-8", "replace")

    def close(self) -> str:
        self.stream.close()
        self._thread.join(5)
        os.close(self.reader)
        return self.text()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return Terminal()


def test_in_a_terminal_the_table_lives_above_a_bar(
    study: Study, space: Space, make_record: Make, terminal: Terminal
) -> None:
    display = Display(study, space, PARTS, 2, terminal.stream)
    display.start()
    display.trial(make_record(7, [0.85, 0.86, 0.87, 0.895]))
    display.trial(make_record(8, [0.85, 0.887], "running"))
    display.stage("bagging refits", 2, 4)
    display.stage("ensembles")
    deadline = time.monotonic() + 10
    wanted = ("▸ running", "1/16 trials · best .895 (trial 7)", "bagging refits · 2/4", "━" * 12 + "\x1b", "ensembles")
    while not all(text in terminal.text() for text in wanted) and time.monotonic() < deadline:
        time.sleep(0.05)
    live = terminal.text()
    display.finish()
    seen = terminal.close()
    assert all(text in live for text in wanted)
    assert "Leaderboard" not in live
    assert "Leaderboard" in seen
    assert seen.rindex("\x1b[?25h") > seen.rindex("\x1b[?25l")  # the cursor is back


def test_without_colour_the_table_lives_all_the_same(
    study: Study, space: Space, make_record: Make, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    display = Display(study, space, PARTS, 2, terminal.stream)
    display.start()
    display.trial(make_record(7, [0.85, 0.895], "failed", reason="none"))
    display.finish()
    seen = terminal.close()
    assert "\x1b[?25l" in seen  # the cursor is hidden: it is drawn in place
    assert not re.findall(r"\x1b\[(?:\d+;)*[3-4]\d(?:;\d+)*m", seen), "a colour"


def test_a_terminal_that_can_do_nothing_gets_plain_text(
    study: Study,
    space: Space,
    make_record: Make,
    terminal: Terminal,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    display = Display(study, space, PARTS, 2, terminal.stream)
    display.start()
    display.trial(make_record(7, [0.85, 0.895], "failed", reason="long " * 40))
    display.finish()
    seen = terminal.close()
    assert "\x1b" not in seen
    assert max(map(len, seen.splitlines())) <= 100


def test_a_reader_that_has_gone_away_does_not_stop_the_sweep(study: Study, space: Space, make_record: Make) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "w", buffering=1)
    display = Display(study, space, PARTS, 2, stream)
    display.start()
    display.trial(make_record(1, [0.8]))
    display.finish()
    with pytest.raises(BrokenPipeError):
        stream.close()


def test_the_header_of_an_environment_says_what_is_played(environment_study: Study) -> None:
    assert header(environment_study, {}, 2, None) == [
        "balance",
        "gym:CartPole-v1  128 decisions a trial in 2 copies",
        "scored on 4 episodes",
        "2 workers",
    ]
