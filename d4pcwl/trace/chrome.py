"""Traces as Chrome's trace events, which Perfetto and chrome://tracing show.

The format is that of the "Trace Event Format" document of the Chromium project. A process of the
run is a process there, and one more stands for the run. An instance has two threads: what it did
for the most part of each interval, and its calls. Amounts over time (items a second, queues,
memory) are counters.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from d4pcwl.trace.format import Event
from d4pcwl.trace.summary import STATES, OfInstance, Summary

Json = dict[str, Any]

_RUN = 1
_FIRST = 2
"""Numbers of processes: that of the run, and the first of its own. Zero is an idle processor."""


def chrome_trace(summary: Summary) -> Json:
    """The JSON object of a trace file."""
    run = summary.run
    told = {"script": run.script, "mapping": run.mapping, "began": run.began, "id": run.id}
    return {
        "traceEvents": list(_events(summary)),
        "displayTimeUnit": "ms",
        "otherData": {key: value for key, value in told.items() if value is not None},
    }


def _events(summary: Summary) -> Iterator[Json]:
    yield _named("process_name", summary.run.script or summary.run.mapping, _RUN)
    for place in summary.processes.values():
        record = place.record
        number = _FIRST + record.process
        title = f"process {record.process} (pid {record.pid} on {record.host})"
        yield _named("process_name", title, number)
        for usage in place.usages:
            cpu = usage.cpu / (usage.end - usage.start) if usage.end > usage.start else 0.0
            yield _counter("processor", usage.start, {"cores": cpu}, number)
            if usage.memory is not None:
                yield _counter("memory", usage.end, {"bytes": usage.memory}, number)
    for instance in summary.instances.values():
        yield from _of_instance(summary, instance)
    for event in summary.events:
        yield from _instant(summary, event)


def _of_instance(summary: Summary, instance: OfInstance) -> Iterator[Json]:
    title, place = summary.title(instance), _FIRST + instance.record.process
    states, calls = (2 * instance.record.instance + number for number in (1, 2))
    yield _named("thread_name", title, place, states)
    if instance.calls:
        yield _named("thread_name", f"{title} calls", place, calls)
    for sample in instance.samples:
        width = sample.end - sample.start
        shares = {state: round(getattr(sample, state) / width, 4) for state in STATES}
        parts = shares | {"others": 1 - sum(shares.values())}
        name = max(parts, key=parts.__getitem__)
        figures = {**shares, "in": sample.taken}
        if sample.written is not None:
            figures["out"] = sample.written
        yield _slice(name, "sample", sample.start, sample.end, place, states) | {"args": figures}
        yield _counter(title, sample.start, {"items/s": sample.taken / width}, place)
        if sample.queue is not None:
            yield _counter(title, sample.end, {"queue": sample.queue}, place)
    for call in instance.calls:
        what = _slice(title, "call", call.start, call.end, place, calls)
        yield what | ({} if call.item is None else {"args": {"item": call.item}})


def _instant(summary: Summary, event: Event) -> Iterator[Json]:
    """Something that happened: to an instance, to a process, or to the run."""
    instance = None if event.instance is None else summary.instances.get(event.instance)
    place = instance.record.process if instance else event.process
    args = {"why": event.why, "pe": event.pe, "number": event.number}
    yield {
        "name": event.what,
        "cat": "event",
        "ph": "i",
        "ts": _microseconds(event.at),
        "s": "t" if instance else "p",
        "pid": _RUN if place is None else _FIRST + place,
        "tid": 2 * instance.record.instance + 1 if instance else 0,
        "args": {key: value for key, value in args.items() if value is not None},
    }
    if event.what == "scale" and event.number is not None:
        yield _counter("workers", event.at, {"workers": event.number}, _RUN)


def _slice(name: str, kind: str, start: float, end: float, place: int, thread: int) -> Json:
    first = _microseconds(start)
    where = {"pid": place, "tid": thread}
    # From both ends in whole numbers, so that neighbours do not overlap.
    length = _microseconds(end) - first
    return {"name": name, "cat": kind, "ph": "X", "ts": first, "dur": length} | where


def _counter(name: str, at: float, values: dict[str, float], place: int) -> Json:
    shown = {key: round(value, 4) for key, value in values.items()}
    return {"name": name, "ph": "C", "ts": _microseconds(at), "pid": place, "args": shown}


def _named(what: str, name: str, place: int, thread: int = 0) -> Json:
    return {"name": what, "ph": "M", "pid": place, "tid": thread, "args": {"name": name}}


def _microseconds(at: float) -> int:
    return round(at * 1e6)
