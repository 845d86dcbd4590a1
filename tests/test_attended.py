"""Work in one thread while another attends to what cannot wait: how the two end each other."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

import pytest
from mapping_kit import wait_until

from d4pcwl.runtime.local import attended
from d4pcwl.runtime.local.attended import Attended, Interrupted


def fail() -> None:
    raise ValueError("in the tick")


def test_what_waits_is_attended_to_until_the_work_ends() -> None:
    ticked = threading.Event()
    threads = threading.active_count()
    assert Attended().run(lambda: ticked.wait(60) or fail(), ticked.set) is None
    assert threading.active_count() == threads


def test_what_the_work_raises_is_given_back() -> None:
    assert isinstance(Attended().run(fail, lambda: None), ValueError)


def test_a_tick_that_fails_interrupts_the_work() -> None:
    """Though the work catches all that it may."""

    def work() -> None:
        try:
            threading.Event().wait(60)
        except Exception as error:
            raise AssertionError from error

    before = signal.getsignal(signal.SIGTERM)
    assert isinstance(Attended().run(work, fail), ValueError)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_tick_that_fails_as_the_work_ends_is_not_forgotten() -> None:
    begun, end = threading.Event(), threading.Event()

    def tick() -> None:
        begun.set()
        end.wait(60)
        fail()

    def work() -> None:
        begun.wait(60)
        threading.Timer(0.01, end.set).start()

    assert isinstance(Attended().run(work, tick), ValueError)


def test_work_that_cannot_be_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attended, "_STUCK_SECONDS", 0.01)
    begun, told = threading.Event(), list[BaseException]()

    def tick() -> None:
        begun.wait(60)
        fail()

    def work() -> None:
        try:
            begun.set()
            wait_until(lambda: told)
        except Interrupted:
            wait_until(lambda: told)

    error = Attended().run(work, tick, told.append)
    assert told == [error]


def test_the_work_is_interrupted_between_frames_only() -> None:
    frame, waits = threading.RLock(), threading.Event()
    sent = list[str]()

    @contextlib.contextmanager
    def between() -> Iterator[None]:
        waits.set()
        with frame:
            yield

    def work() -> None:
        with frame:
            sent.append("head")
            waits.wait(60)
            sent.append("body")
        threading.Event().wait(60)
        sent.append("what was to be interrupted")

    def tick() -> None:
        if sent:
            fail()

    error = Attended().run(work, tick, between=between)
    assert isinstance(error, ValueError)
    assert sent == ["head", "body"]


def test_work_in_another_thread_goes_on_until_it_asks() -> None:
    found = list[BaseException | None]()

    def run() -> None:
        attended = Attended()

        def work() -> None:
            wait_until(lambda: attended.error)
            raise attended.error or AssertionError

        found.append(attended.run(work, fail))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert isinstance(found[0], ValueError)


def test_a_signal_from_outside_does_what_it_did() -> None:
    class Ended(BaseException):
        pass

    def handle(signum: int, frame: object) -> None:
        raise Ended

    def work() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(60)

    before = signal.signal(signal.SIGTERM, handle)
    try:
        assert isinstance(Attended().run(work, lambda: None), Ended)
        assert signal.getsignal(signal.SIGTERM) is handle
    finally:
        signal.signal(signal.SIGTERM, before)
