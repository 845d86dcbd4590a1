"""Shared memory for arrays: they arrive whole, are the receiver's own, and nobody waits for it."""

from __future__ import annotations

import gc
import os
import pickle
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mapping_kit import Homed, Identity, Source, chain, wait_until

import d4pcwl
from d4pcwl import IterativePE, SimpleFunctionPE
from d4pcwl.runtime.transport import pipes
from d4pcwl.runtime.transport.arena import PAGE, TOTAL_BYTES, Arena, Memory, arena_bytes


def put(arena: Arena, size: int, fill: int = 1) -> int:
    return arena.put(memoryview(bytes([fill]) * size))


def array(arena: Arena, place: int, size: int) -> Any:
    return np.frombuffer(arena.get(place, size), np.uint8)


def test_a_place_is_free_when_nobody_holds_it() -> None:
    arena = Arena(4 * PAGE)
    places = [put(arena, PAGE, fill) for fill in range(4)]
    assert (len(set(places)), put(arena, 1)) == (4, 0)
    received = [array(arena, place, PAGE) for place in places]
    assert [int(values.max()) for values in received] == [0, 1, 2, 3]
    part = received[1][5:7].reshape(2, 1)  # a view of a view
    received.clear()
    gc.collect()
    assert [put(arena, PAGE) for _ in range(4)] == [places[0], places[2], places[3], 0]
    del part
    assert put(arena, PAGE) == places[1]


def test_no_memory_no_place() -> None:
    assert put(Arena(0), 1) == 0
    assert put(Arena(2 * PAGE), 2 * PAGE + 1) == 0


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 5 * PAGE)), max_size=40))
def test_buffers_never_overlap(steps: list[tuple[bool, int]]) -> None:
    arena, held = Arena(16 * PAGE), list[tuple[Any, int]]()
    for number, (drop, size) in enumerate(steps):
        if drop and held:
            held.pop(size % len(held))
        place = put(arena, size, number % 256)
        if place:
            held.append((array(arena, place, size), number % 256))
        else:
            assert sum(-(-len(values) // PAGE) for values, _ in held) + -(-size // PAGE) > 4
        for values, fill in held:
            assert (values == fill).all()


def test_a_process_that_a_pe_forks_frees_nothing() -> None:
    arena = Arena(PAGE)
    received = array(arena, put(arena, PAGE), PAGE)
    pid = os.fork()
    if pid == 0:
        del received
        os._exit(0)
    os.waitpid(pid, 0)
    assert put(arena, PAGE) == 0
    del received
    assert put(arena, PAGE) == 1


def test_who_comes_in_place_of_a_dead_worker_frees_what_was_not_handed_over() -> None:
    """And nothing else: others may still need it."""
    arena = Arena(8 * PAGE)
    lost, handed_over = put(arena, 2 * PAGE, 1), put(arena, 2 * PAGE, 2)
    arena.hand_over(handed_over)
    arena.adopt()
    places = {put(arena, 2 * PAGE, 3) for _ in range(3)}
    assert put(arena, PAGE) == 0
    assert lost in places
    assert handed_over not in places
    assert arena.copy(handed_over, 2 * PAGE) == bytes([2]) * 2 * PAGE
    arena.free(handed_over)
    assert put(arena, 2 * PAGE) == handed_over


def test_workers_of_a_pool_have_an_arena_each() -> None:
    memory = Memory(2)
    codes = []
    for number in range(3):
        pid = os.fork()
        if pid == 0:
            memory.enter(number)
            place = memory.put(memoryview(bytes([number]) * PAGE))
            if place:
                memory.hand_over([(place, PAGE)])
            os._exit(0 if place else 7)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    assert codes == [0, 0, 7]  # the third has none
    found = [(1, PAGE), ((1 << 32) + 1, PAGE)]
    assert [set(memory.copy(*place)) for place in found] == [{0}, {1}]
    assert [set(memory.take(*place)) for place in found] == [{0}, {1}]
    memory.enter(1)
    assert memory.put(memoryview(bytes(PAGE))) == found[1][0]  # taken, and so free


def test_memory_is_bounded() -> None:
    for arenas in (1, 3, 100, 10_000):
        assert arenas * arena_bytes(arenas) <= TOTAL_BYTES
    assert arena_bytes(0) > 0
    assert arena_bytes(5, 0) == 0


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for three arrays of 64 KiB."""
    monkeypatch.setattr(pipes, "arena_bytes", lambda count, total: 3 * PAGE)


class Keeps(IterativePE):
    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Any] = []

    def _process(self, data: Any) -> None:
        assert data.flags.writeable
        data += 1
        self.kept.append(data)

    def _postprocess(self) -> None:
        self.write("output", [float(values.mean()) for values in self.kept])


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("number", [2, 3])
def test_a_receiver_that_keeps_everything(number: int) -> None:
    arrays = [np.full(PAGE // 8, value, float) for value in range(50)]
    results = d4pcwl.run(
        chain(Source(arrays), Identity(), Keeps()), mapping="multi", processes=number
    )
    assert results["Keeps"]["output"] == [[value + 1 for value in range(50)]]


@pytest.mark.parametrize("dtype", ["f8", "c16", "M8[s]", "S5", [("a", "i4"), ("b", "f8")]])
def test_arrays_of_all_kinds(dtype: Any) -> None:
    arrays = [np.zeros((300, 200), dtype), np.asfortranarray(np.ones((300, 200), dtype))]
    described = SimpleFunctionPE(lambda a: (a.dtype.descr, a.shape, a.strides, pickle.dumps(a)))
    graphs = [chain(Source(arrays), Identity(), described) for _ in range(2)]
    simple, multi = (
        d4pcwl.run(graph, mapping=mapping, processes=3)
        for graph, mapping in zip(graphs, ["simple", "multi"], strict=True)
    )
    assert list(simple.values()) == list(multi.values())


class DiesOver(IterativePE):
    """Changes an array where it is. One process is killed over the third or a later one, and not
    that of a :class:`Homed`."""

    def __init__(self, flag: Path) -> None:
        super().__init__()
        self.flag = flag

    def _process(self, data: Any) -> Any:
        data += 1
        if data[0] >= 3 and not self.flag.exists():
            if Homed.here():
                wait_until(self.flag.exists)
            else:
                self.flag.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return data


def _shared_files() -> set[str]:
    """What rests in shared memory, but for the ranks of MPI: those are of tests beside this one."""
    return {name for name in os.listdir("/dev/shm") if not name.startswith("mpich")}


@pytest.mark.parametrize("name", ["dyn_multi", "dyn_redis"])
def test_a_task_of_a_worker_that_died_is_done_again_with_what_was_written(
    name: str, tmp_path: Path
) -> None:
    before, flag = _shared_files(), tmp_path / "flag"
    source = Homed([np.full(PAGE, float(value)) for value in range(40)])
    ends = SimpleFunctionPE(lambda data: (float(data[0]), float(data[-1]), data.flags.writeable))
    results = d4pcwl.run(chain(source, DiesOver(flag), ends), mapping=name, processes=3)
    assert flag.exists()
    ((_, outputs),) = results.items()
    assert sorted(outputs["output"]) == [(value + 1, value + 1, True) for value in range(40)]
    assert _shared_files() == before
