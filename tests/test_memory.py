"""Memory: what is under way between a fast PE and a slow one is bounded, in items and in bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from mapping_kit import Flight, FlightConsumer, FlightSource, Identity, Mapping, Source, chain

import d4pcwl
from d4pcwl.runtime.engine.plan import make_plan
from d4pcwl.runtime.job import Job
from d4pcwl.runtime.mappings.registry import find_mapping, run_job
from d4pcwl.runtime.pool.exchange import queue_bytes
from d4pcwl.runtime.pool.links import Writer
from d4pcwl.runtime.transport.arena import Memory
from d4pcwl.runtime.transport.channel import Channel
from d4pcwl.workflow.flat import flatten
from d4pcwl.workflow.inputs import root_inputs

MB = 1 << 20
SIZE = MB // 4

MAKERS: dict[str, Callable[[int], Any]] = {
    "text": lambda number: f"{number:09}" + "x" * SIZE,
    "bytes": lambda number: b"%09d" % number + bytes(SIZE),
    "int": lambda number: (1 << 8 * SIZE) + number,
    "tuple": lambda number: (*range(9), number, "x" * SIZE),
    "dict": lambda number: {"a": {"b": [{"c": "x" * SIZE}]}, "number": number},
    "keys": lambda number: {f"{number:09}" + "x" * SIZE: number},
    "frozenset": lambda number: frozenset([number, "x" * SIZE]),
    "objects": lambda number: np.array([number, "x" * SIZE], dtype=object),
    "arrays": lambda number: [np.full(SIZE // 8, number)],
}


@pytest.mark.processes(3)
def test_bytes_in_flight_are_bounded(mapping: Mapping) -> None:
    """Fast source, a PE that may be pooled, slow consumer; simple has one item under way."""
    flight, count = Flight(), 400
    graph = chain(
        FlightSource(flight, MAKERS["text"], SIZE, count), Identity(), FlightConsumer(flight, SIZE)
    )
    mapping.run(graph)
    assert flight.taken == count * SIZE
    assert flight.most <= 60 * MB < flight.taken


@pytest.mark.processes(3)
def test_small_items_in_flight_are_bounded(mapping: Mapping) -> None:
    flight, count = Flight(), 100_000
    graph = chain(
        FlightSource(flight, lambda number: f"{number:01024}", 1024, count),
        Identity(),
        FlightConsumer(flight, 1024),
    )
    mapping.run(graph)
    assert flight.taken == count * 1024
    assert flight.most <= 60 * MB < flight.taken


@pytest.mark.processes(3)
def test_results_in_flight_to_a_slow_sink_are_bounded(mapping: Mapping) -> None:
    class SlowSink:
        def take(self, pe: str, output: str) -> Callable[[Any], None]:
            return lambda item: flight.take(SIZE)

    flight, count = Flight(), 400
    flat = flatten(chain(FlightSource(flight, MAKERS["tuple"], SIZE, count), Identity()))
    job = Job(flat, root_inputs(flat), SlowSink(), processes=mapping.processes)
    run_job(find_mapping(mapping.name), job)
    assert flight.taken == count * SIZE
    assert flight.most <= 60 * MB < flight.taken


@pytest.mark.parametrize("name", ["simple", "multi", "dyn_multi"])
def test_a_stream_is_not_far_ahead_of_its_reader(name: str) -> None:
    flight, count = Flight(), 400
    graph = chain(FlightSource(flight, MAKERS["bytes"], SIZE, count))
    for _ in d4pcwl.stream(graph, mapping=name, processes=2):
        flight.take(SIZE)
    assert flight.taken == count * SIZE
    assert flight.most <= 60 * MB < flight.taken


@pytest.mark.parametrize("kind", MAKERS)
def test_what_waits_for_company_is_bounded_in_bytes(kind: str) -> None:
    """Of every kind of item, in the static mappings and in the dynamic ones."""
    make, sent = MAKERS[kind], list[int]()

    class Way:
        def send(self, data: bytes, buffers: Any) -> None:
            sent.append(len(data) + sum(buffer.nbytes for buffer in buffers))

    channel = Channel(Way(), ["a.output"])
    take = channel.outlet(0)
    for number in range(8):
        take(make(number))
    assert len(sent) == 8
    assert max(sent) <= 2 * SIZE

    class NoExchange:
        memory = Memory(1)

    graph = flatten(chain(Source([]), Identity()))
    plan = make_plan(graph, 2, pooled=True, given=root_inputs(graph))
    writer, written, full = Writer(plan, NoExchange()), 0, list[int]()  # type: ignore[arg-type]
    take = writer.outlet(("a", "output"), (1, "input"), lambda: full.append(written))
    for number in range(8):
        written += 1
        take(((0, number), make(number)))
    assert 3 <= min(full) <= 5


def test_all_queues_together_hold_a_bounded_number_of_bytes() -> None:
    assert queue_bytes(1) == 16 * MB
    for queues in range(1, 17):
        assert queues * queue_bytes(queues) <= 64 * MB
    assert queue_bytes(10_000) >= MB  # of each a batch can wait
