"""Signals: at once where nothing can be torn, else as a flag; and what was there before is put back."""

import os
import signal
import threading

import pytest

from sweepstack.search.execution.interrupts import SIGNALS, Interrupts


@pytest.fixture
def interrupts():
    installed = Interrupts()
    installed.install()
    yield installed
    installed.restore()


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_a_keyboard_interrupt(interrupts: Interrupts, number: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), number)
    assert interrupts.pending


def test_a_deferred_signal_is_a_flag(interrupts: Interrupts) -> None:
    with interrupts.deferred():
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupts.pending
    with pytest.raises(KeyboardInterrupt):
        interrupts.check()


def test_without_a_signal_nothing_happens(interrupts: Interrupts) -> None:
    interrupts.check()
    assert not interrupts.pending


def test_the_third_signal_is_not_put_off(interrupts: Interrupts) -> None:
    with interrupts.deferred():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_handlers_are_set_again_over_those_of_others_and_the_first_ones_come_back() -> None:
    def own(number: int, frame: object) -> None: ...

    before = signal.signal(signal.SIGTERM, own)
    try:
        interrupts = Interrupts()
        interrupts.install()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as Ray does
        interrupts.install()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
        interrupts.restore()
        assert signal.getsignal(signal.SIGTERM) is own
    finally:
        signal.signal(signal.SIGTERM, before)


def test_in_another_thread_the_handlers_are_left_alone() -> None:
    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=lambda: Interrupts().install())
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGINT) is before
