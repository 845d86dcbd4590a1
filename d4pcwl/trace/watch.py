"""How a run goes, as text: what a terminal shows of a trace that is still written."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from d4pcwl.trace import units
from d4pcwl.trace.bottleneck import bottleneck
from d4pcwl.trace.summary import OfPE, Summary
from d4pcwl.trace.text import columns

_BAR = 12
"""Letters of a bar."""

_EIGHTHS = " ▏▎▍▌▋▊▉"
_EVENTS = 3
"""How many of the last events are shown."""

_SILENT = 10.0
"""Seconds without a new record after which that is told."""


def line(summary: Summary) -> str:
    """How the run goes, in one line."""
    counts = [f"{pe.name} {units.count(pe.taken)}" for pe in summary.pes.values()]
    return ", ".join([units.seconds(summary.seconds), *_state(summary), *counts])


def screen(summary: Summary, width: int, silent: float = 0.0) -> list[str]:
    """How the run goes, in lines.

    :param width: letters of a line
    :param silent: seconds since the last record has come
    """
    return [line[:width] for line in _screen(summary, width, silent)]


def _screen(summary: Summary, width: int, silent: float) -> Iterator[str]:
    run = summary.run
    told = [run.script or "", run.mapping, units.number(len(summary.processes), "process")]
    told += [units.seconds(summary.seconds), *_state(summary)]
    if summary.end is None and silent > _SILENT:
        told.append(f"no news for {units.seconds(silent)}")
    yield ", ".join(filter(None, told))
    yield ""
    heads = ["PE", "busy", "", "inst.", "items in", "now", "in queue"]
    yield from columns([heads, *(_row(summary, pe) for pe in summary.pes.values())], texts=2)
    usages = [place.usages[-1] for place in summary.processes.values() if place.usages]
    if usages:
        cores = sum(u.cpu / (u.end - u.start) for u in usages if u.end > u.start)
        memory = units.size(sum(u.memory or 0 for u in usages))
        yield ""
        yield f"{cores:.1f} processors in use, {memory} of memory"
    found = bottleneck(summary)
    if found is not None:
        yield ""
        yield from textwrap.wrap(str(found), width)
    for event in summary.events[-_EVENTS:]:
        yield f"{units.seconds(event.at)}: {event.what}: {event.why}"


def _state(summary: Summary) -> Iterator[str]:
    """Whether it goes on, and how much is left."""
    if summary.end is not None:
        yield "done" if summary.end.complete else "ended before all was done"
        return
    inputs = summary.run.inputs
    done = sum(pe.taken for pe in summary.pes.values() if pe.record.source)
    if inputs and 0 < done < inputs:
        yield f"{units.percent(done / inputs)} of the inputs"
        yield f"about {units.seconds(summary.seconds * (inputs - done) / done)} left"
    else:
        yield "running"


def _row(summary: Summary, pe: OfPE) -> list[str]:
    """What a PE does now."""
    latest = [found for i in pe.instances if (found := i.latest(summary.seconds)) is not None]
    rate = sum(sample.taken / (sample.end - sample.start) for sample in latest)
    shares = [min(1.0, sample.busy / (sample.end - sample.start)) for sample in latest]
    busy = sum(shares) / len(shares) if shares else 0.0
    queues = [sample.queue for sample in latest if sample.queue is not None]
    return [
        pe.name,
        _bar(busy),
        units.percent(busy),
        str(len(pe.instances)),
        units.count(pe.taken),
        f"{units.count(rate)}/s",
        units.count(sum(queues)) if queues else "",
    ]


def _bar(share: float) -> str:
    whole, rest = divmod(round(share * _BAR * 8), 8)
    return ("█" * whole + _EIGHTHS[rest]).ljust(_BAR)[:_BAR]
