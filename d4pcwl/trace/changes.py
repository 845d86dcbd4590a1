"""What is different between two runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from d4pcwl.trace import units
from d4pcwl.trace.bottleneck import bottleneck
from d4pcwl.trace.summary import Summary

_SAME = 0.05
"""Smaller changes are not reported: runs differ by as much without a reason."""

_SAME_SHARE = 0.02
"""The same for shares of time."""


@dataclass(frozen=True)
class Change:
    """One figure, before and after.

    :ivar told: how much it has changed
    :ivar better: None if that is not known, or nothing has changed
    """

    what: str
    before: str
    after: str
    told: str
    better: bool | None


def changes(before: Summary, after: Summary) -> list[Change]:
    """What has changed, of the run, its PEs and edges; first the time, changed or not."""
    time, *others = _figures(before, after)
    return [time, *(change for change in others if change.told)]


def verdict(before: Summary, after: Summary) -> list[str]:
    """The change in a sentence or two."""
    sentences = []
    if before.seconds > 0 and after.seconds > 0:
        ratio = before.seconds / after.seconds
        what = f"{units.seconds(after.seconds)} instead of {units.seconds(before.seconds)}"
        if abs(ratio - 1) < _SAME:
            sentences.append(f"Both take equally long: {what}.")
        elif ratio > 1:
            sentences.append(f"The second run is {units.times(ratio)} as fast: {what}.")
        else:
            sentences.append(f"The second run takes {units.times(1 / ratio)} as long: {what}.")
    old, new = bottleneck(before), bottleneck(after)
    if old and new and (old.kind, old.pe) == (new.kind, new.pe):
        sentences.append(f"Both have the same bottleneck: {new.says}")
    else:
        sentences += [f"First: {old.says}"] if old else []
        sentences += [f"Then: {new.says}"] if new else []
    return sentences


def _figures(before: Summary, after: Summary) -> Iterator[Change]:
    yield _figure("time", before.seconds, after.seconds, units.seconds, False)
    yield _words("script", before.run.script or "", after.run.script or "")
    yield _words("mapping", before.run.mapping, after.run.mapping)
    yield _figure("processes", len(before.processes), len(after.processes), units.count, None)
    yield _figure("items from sources", before.from_sources, after.from_sources, units.count, None)
    yield _figure("processes at work", before.at_work, after.at_work, units.percent, None)
    if before.memory and after.memory:
        yield _figure("memory", before.memory, after.memory, units.size, False)
    for pe in [*before.pes, *(pe for pe in after.pes if pe not in before.pes)]:
        yield from _of_pe(pe, before, after)
    for edge, sent in _sent(before).items():
        now = _sent(after).get(edge)
        if now is not None:
            yield _figure(f"bytes {edge}", sent, now, units.size, False)


def _of_pe(pe: str, before: Summary, after: Summary) -> Iterator[Change]:
    old, new = before.pes.get(pe), after.pes.get(pe)
    if old is None or new is None:
        told = [summary.name(pe) if pe in summary.pes else "" for summary in (before, after)]
        yield _words("PE", *told)
        return
    name = new.name
    if len(old.instances) != len(new.instances):
        counts = len(old.instances), len(new.instances)
        yield _figure(f"{name}: instances", *counts, units.count, None)
    if old.taken != new.taken:
        yield _figure(f"{name}: items", old.taken, new.taken, units.count, None)
    if old.mean and new.mean:
        yield _figure(f"{name}: time for an item", old.mean, new.mean, units.seconds, False)
    for state in ("busy", "blocked"):
        shares = before.share(old.instances, state), after.share(new.instances, state)
        if abs(shares[0] - shares[1]) > _SAME_SHARE:
            yield _figure(f"{name}: {state}", *shares, units.percent, None)


def _sent(summary: Summary) -> dict[str, int]:
    names = {pe.record.pe: pe.name for pe in summary.pes.values()}
    return {
        f"{names.get(e.record.source, e.record.source)}.{e.record.output} → "
        f"{names.get(e.record.dest, e.record.dest)}.{e.record.input}": e.bytes or 0
        for e in summary.edges.values()
    }


def _words(what: str, before: str, after: str) -> Change:
    return Change(what, before, after, "" if before == after else "changed", None)


def _figure(
    what: str, before: float, after: float, text: Callable[[float], str], more: bool | None
) -> Change:
    """A change of a figure.

    :param more: whether more of it is better; None if nobody can say
    """
    if abs(after - before) <= _SAME * before:
        return Change(what, text(before), text(after), "", None)
    better = None if more is None else (after > before) == more
    told = units.times(after / before) if before else "new"
    return Change(what, text(before), text(after), told, better)
