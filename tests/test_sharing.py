"""How dynamic mappings share out tasks that take time: nobody waits for what another could do.

Nothing here is timed: tasks wait for one another, for ever if they are in one hand.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import pytest
from mapping_kit import (
    DiesAlways,
    DiesOnce,
    Flight,
    FlightSource,
    Gate,
    Homed,
    Mapping,
    Plus,
    Source,
    Tag,
    Trail,
    chain,
    named,
    nothing_left,
    wait_until,
)

import d4pcwl
from d4pcwl import GenericPE, IterativePE, ProducerPE, WorkflowGraph
from d4pcwl.cli.dispel4py import main
from d4pcwl.errors import PEError, WorkerDied
from d4pcwl.runtime.engine.plan import make_plan
from d4pcwl.runtime.pool.exchange import SLOW_SECONDS, TASK_SECONDS, task_size
from d4pcwl.runtime.pool.links import _portions
from d4pcwl.runtime.pool.queues import QUEUE_BATCHES, Batch, Queues
from d4pcwl.runtime.pool.scale import fixed
from d4pcwl.runtime.pool.scheduler import Scheduler
from d4pcwl.workflow.flat import flatten
from d4pcwl.workflow.inputs import root_inputs

KINDS = ["dyn_multi", "dyn_redis", "hybrid_redis"]
ALL_KINDS = [*KINDS, "dyn_auto_multi", "dyn_auto_redis"]


def wait_for(trail: Trail, lines: int) -> None:
    """Wait until there are so many lines on a trail."""
    wait_until(lambda: len(trail.lines()) >= lines)


class Meets(IterativePE):
    """Lets an item go when so many have begun: each must be in the hands of another worker."""

    def __init__(self, trail: Trail, number: int) -> None:
        super().__init__()
        self.trail, self.number = trail, number

    def _process(self, data: Any) -> Any:
        if data == "quick":
            return data
        if data == "slow":
            time.sleep(4 * TASK_SECONDS)  # it is overdue before it is done
            return data
        self.trail.leave(data)
        wait_for(self.trail, self.number)
        return data


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("items", [2, 4])
def test_every_worker_gets_a_task_before_any_gets_two(kind: str, items: int, trail: Trail) -> None:
    """Four processes; the source's is free when it has written."""
    results = Mapping(kind, 4).items(chain(Source(range(items)), Meets(trail, items)))
    assert sorted(results) == list(range(items))


@pytest.mark.parametrize("kind", KINDS)
def test_the_rest_of_a_batch_that_turns_out_slow_is_shared(
    kind: str, trail: Trail, tmp_path: Path
) -> None:
    """Quick items have made batches large; then comes one with a slow item at its head.

    It is one batch, since what a task writes is handed over when it ends. A quick item that ends
    after the slow one would make batches large again.
    """
    done = tmp_path / "done"

    class InTurn(ProducerPE):
        def _process(self, inputs: Any) -> None:
            self.write("output", ["quick"] * 5000)
            wait_until(done.exists)
            self.write("output", ["slow", 1, 2, 3])

    class Each(IterativePE):
        def _process(self, data: list[Any]) -> None:
            for item in data:
                self.write("output", item)

    class Counts(IterativePE):
        """An item comes here when its task has ended."""

        def __init__(self) -> None:
            super().__init__()
            self.count = 0

        def _process(self, data: Any) -> Any:
            self.count += 1
            if self.count == 5000:
                done.touch()
            return data

    graph = chain(InTurn(), Each(), Meets(trail, 3), Counts())
    results = Mapping(kind, 4).items(graph)
    assert Counter(results) == {"quick": 5000, "slow": 1, 1: 1, 2: 1, 3: 1}


@pytest.mark.parametrize("kind", [*KINDS, "dyn_auto_multi", "dyn_auto_redis"])
def test_no_task_waits_behind_a_busy_pinned_pe(kind: str, trail: Trail) -> None:
    """The source does not return before its items are done."""

    class Stays(ProducerPE):
        def _process(self, inputs: Any) -> None:
            for number in range(3):
                self.write("output", number)
            wait_for(trail, 3)

    class Pooled(IterativePE):
        def _process(self, data: int) -> int:
            trail.leave(data)
            return data

    assert sorted(Mapping(kind, 2).items(chain(Stays(), Pooled()))) == [0, 1, 2]


@pytest.mark.parametrize(
    ("kind", "processes", "is_heavy"),
    [
        ("simple", 1, False),
        ("multi", 3, False),
        ("zmq_multi", 3, False),
        ("dyn_multi", 1, False),
        ("dyn_multi", 4, False),
        ("dyn_multi", 2, True),  # the process of the other PEs takes no heavy item
    ],
)
def test_what_a_task_writes_is_forwarded_when_it_ends(
    kind: str, processes: int, is_heavy: bool, gate: Gate
) -> None:
    """The second item is not done before the first has reached the next PE."""

    class Waits(IterativePE):
        heavy = is_heavy

        def _process(self, data: int) -> int:
            if data == 1:
                gate.wait()
            return data

    class Opens(IterativePE):
        stateful = True

        def _process(self, data: int) -> int:
            if data == 0:
                gate.open()
            return data

    graph = chain(Source(range(2)), Waits(), Opens())
    assert sorted(Mapping(kind, processes).items(graph)) == [0, 1]


def test_what_a_task_writes_is_a_result_when_it_ends(gate: Gate) -> None:
    """The same for results, as they are streamed."""

    class Waits(IterativePE):
        def _process(self, data: int) -> int:
            if data == 1:
                gate.wait()
            return data

    run = d4pcwl.stream(chain(Source(range(2)), Waits()), mapping="dyn_multi", processes=2)
    assert next(run).item == 0
    gate.open()
    assert [result.item for result in run] == [1]


@pytest.mark.parametrize("kind", ["dyn_multi", "dyn_redis"])
@pytest.mark.parametrize("copies", [1, 2])
def test_results_do_not_wait_for_room_in_queues(kind: str, copies: int, trail: Trail) -> None:
    """The source and the last PE share a process, and the queue of the PE in between is full."""
    flight = Flight()

    class Waits(IterativePE):
        stateful = False
        heavy = True  # so that another process has it

        def _process(self, data: int) -> tuple[int, int]:
            flight.take(1)  # first of all, the source comes to a stop
            wait_for(trail, data)
            return data % 3, data

    source = FlightSource(flight, int, 1, 100_000)
    last = Tag([0], numprocesses=copies)
    last.stateful = True
    run = d4pcwl.stream(chain(source, Waits(), last), mapping=kind, processes=2)
    for number in range(8):
        _, (_, found) = next(run).item
        assert found == number
        trail.leave("seen")
    run.close()


@pytest.mark.parametrize("kind", ["dyn_multi", "dyn_auto_multi", "dyn_redis", "dyn_auto_redis"])
def test_upstreams_consumer_timeout_is_refused(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """There it is parsed and never looked at, and our runs end when all is done, not in time."""
    script = tmp_path / "script.py"
    script.write_text(
        "from dispel4py.base import ProducerPE\n"
        "from dispel4py.workflow_graph import WorkflowGraph\n"
        "graph = WorkflowGraph()\n"
        "graph.add(ProducerPE())\n"
    )
    assert main([kind, str(script), "-n", "2", "-ct", "1000"]) == 2
    assert "unrecognized arguments: -ct 1000" in capsys.readouterr().err


# --- sizes and queues -----------------------------------------------------------------------------


# --- full queues ----------------------------------------------------------------------------------


class Spreads(GenericPE):
    """Writes each item so many times; pinned to a process if it is said to keep state."""

    def __init__(self, inputs: int, times: int) -> None:
        super().__init__()
        for number in range(inputs):
            self._add_input(f"in{number}")
        self._add_output("output")
        self.times = times

    def _process(self, inputs: dict[str, int]) -> None:
        for item in inputs.values():
            for number in range(self.times):
                self.write("output", item + number)


class Pinned(Spreads):
    stateful: ClassVar[bool] = True


class Pooled(Spreads):
    stateful: ClassVar[bool] = False


@pytest.mark.parametrize("number", [2, 3])
@pytest.mark.parametrize("kind", ALL_KINDS)
def test_pinned_pes_of_one_process_do_not_wait_for_each_others_room(kind: str, number: int) -> None:
    """The source and the third PE share a process; the queues before both get full."""
    source, first, third, last = Source(range(60_000)), Pooled(1, 1), Pinned(1, 1), Pooled(1, 1)
    graph = WorkflowGraph()
    graph.connect(source, "output", first, "in0")
    graph.connect(first, "output", third, "in0")
    graph.connect(third, "output", last, "in0")
    assert sorted(Mapping(kind, number).items(graph)) == list(range(60_000))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kind", ["dyn_multi", "dyn_redis"])
def test_no_graph_gets_stuck(kind: str, seed: int) -> None:
    def graph() -> WorkflowGraph:
        dice, made = random.Random(seed), WorkflowGraph()
        pes: list[Any] = [Source(range(10_000)) for _ in range(dice.randint(1, 2))]
        for _ in range(dice.randint(3, 7)):
            sources = dice.sample(pes, min(len(pes), dice.choice([1, 1, 2])))
            pe = dice.choice([Pinned, Pooled])(len(sources), dice.choice([1, 1, 2]))
            for place, source in enumerate(sources):
                made.connect(source, "output", pe, f"in{place}")
            pes.append(pe)
        return made

    def counted(mapping: Mapping) -> dict[str, Counter[int]]:
        results = mapping.run(graph())
        return {pe: Counter(outputs["output"]) for pe, outputs in results.items()}

    expected = counted(Mapping("simple", 1))
    for processes in (2, 4):
        assert counted(Mapping(kind, processes)) == expected


# --- workers that die -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["dyn_multi", "dyn_auto_multi"])
def test_what_a_dead_worker_had_in_hand_is_done_by_others(kind: str, tmp_path: Path) -> None:
    """test_redis.py has the same for the kinds of its own."""
    mark = tmp_path / "mark"
    with nothing_left():
        items = Mapping(kind, 4).items(chain(Homed(range(5000)), Plus(0), DiesOnce(mark), Plus(0)))
    assert items == list(range(5000))
    assert mark.exists()


@pytest.mark.parametrize("kind", ["dyn_multi", "dyn_auto_multi"])
def test_a_task_that_kills_its_workers_ends_the_run(kind: str) -> None:
    graph = chain(Homed(range(1000)), named(DiesAlways(), "victim"), Plus())
    with nothing_left(), pytest.raises(WorkerDied, match="PE victim: 3 worker processes died"):
        Mapping(kind, 3).run(graph)


def test_a_worker_that_has_told_of_its_failure_is_no_death() -> None:
    """The parent may hear of both at once."""
    flat = flatten(chain(Source([]), Plus()))
    plan = make_plan(flat, 2, pooled=True, given=root_inputs(flat))
    scheduler, failure = Scheduler(plan, fixed(2)), PEError("a PE failed")
    scheduler.hear(0, "failed", failure)
    scheduler.lost(0, "exited with code 0")
    assert scheduler.failure is failure


def test_sizes_of_tasks() -> None:
    assert task_size(10 * SLOW_SECONDS) == task_size(1.01 * SLOW_SECONDS) == 1
    assert task_size(SLOW_SECONDS) > 1
    assert task_size(1e-9) == 1000
    for count in (0, 1, 3, 64, 100, 5000):
        for size in (0, 1, 7, 1000):
            portions = _portions(count, size)
            assert [i for start, stop in portions for i in range(start, stop)] == [*range(count)]
    assert all(stop - start == 1 for start, stop in _portions(64, 0))
    assert len(_portions(1000, 0)) < 100


def test_queues() -> None:
    flat = flatten(chain(Source([]), IterativePE(), IterativePE()))
    queues = Queues(make_plan(flat, 3, pooled=True, given=root_inputs(flat)))
    first, second = (1, "input"), (2, "input")
    assert queues.pool == {1, 2}
    assert queues.next() is None
    queues.put(Batch(first, 1, b"x"))
    queues.put(Batch(second, 1, b"x"))
    assert queues.next() == second  # what is downstream goes first
    batch = queues.take(second)
    assert not queues.is_idle(2)
    assert not queues.is_quick(second)  # that is not known yet
    queues.done(batch, 1, 1e-4)
    assert queues.is_idle(2)
    assert queues.is_quick(second)
    assert queues.sizes_after(1) == {second: 200}
    for _ in range(QUEUE_BATCHES):
        queues.put(Batch(second, 1, b"x"))
    assert queues.full_after(1)
    assert queues.next() == second
    assert queues.pooled_batches() == QUEUE_BATCHES + 1
    taken = queues.take(first)
    queues.put_back(taken)
    assert queues.has(first)
    assert queues.at_work[1] == 0
