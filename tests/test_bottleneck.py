"""What holds a run up is named: on traces of pipelines whose slowest part is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trace_kit import Stage, begun, simulated, summed

from d4pcwl.trace.bottleneck import Finding, bottleneck, findings
from d4pcwl.trace.format import (
    PE,
    Edge,
    End,
    Event,
    Instance,
    Process,
    Record,
    Sample,
    Usage,
)

SKEWED = (5.0, 1.0, 1.0)


def found_in(*stages: Stage, items: int = 600) -> Finding:
    found = bottleneck(summed(simulated(stages, items)))
    assert found is not None
    return found


# --- each case -----------------------------------------------------------------------------------


def test_a_pe_that_keeps_state() -> None:
    found = found_in(Stage({"read0": 0.001}), Stage({"count1": 0.01}, state=True))
    assert (found.kind, found.pe) == ("state", "count1")
    assert found.says == "count1 is busy 100 % of the time and keeps state, so it runs once."
    assert "Group its input by a key" in found.advice


def test_a_source() -> None:
    found = found_in(Stage({"read0": 0.01}), Stage({"count1": 0.001}, state=True))
    assert (found.kind, found.pe) == ("source", "read0")


@pytest.mark.parametrize(("copies", "enough"), [(1, 5), (2, 5)])
def test_a_pe_that_may_have_more_copies(copies: int, enough: int) -> None:
    work = Stage({"work1": 0.02}, copies)
    found = found_in(Stage({"read0": 0.002}), work, Stage({"store2": 0.0045}, state=True))
    assert (found.kind, found.pe) == ("copies", "work1")
    assert f"Give it {enough} processes" in found.advice  # then store2 is the slowest


def test_a_pe_with_few_items() -> None:
    found = found_in(Stage({"read0": 0.01}), Stage({"work1": 9.0}, 2), items=2)
    assert (found.kind, found.pe) == ("few", "work1")
    assert found.says.endswith("for 2 items.")


def test_pes_in_steps() -> None:
    """A step works as long as its tool; where the trace has the PEs in it, these are named."""
    step: list[Record] = [
        PE(pe="step9", class_="CommandLineTool", step="Work"),
        Process(process=9, host="here", pid=9, at=0.0),
        Instance(instance=9, pe="step9", copy=0, process=9),
        Sample(instance=9, start=0.0, end=6.0, taken=1, busy=6.0),
    ]
    records = simulated([Stage({"read0": 0.001}), Stage({"work1": 0.007})], 600)
    found = bottleneck(summed([*records[:-1], *step, records[-1]]))
    assert found is not None
    assert (found.kind, found.pe) == ("few", "step9")
    assert "scatter the step" in found.advice
    inner = [
        replace(r, pe="Work/work1", step="Work")
        if isinstance(r, PE) and r.pe == "work1"
        else replace(r, pe="Work/work1")
        if isinstance(r, Instance) and r.pe == "work1"
        else r
        for r in records
    ]
    found = bottleneck(summed([*inner[:-1], *step, inner[-1]]))
    assert found is not None
    assert (found.kind, found.pe) == ("copies", "Work/work1")
    assert "--shards" in found.advice


def test_keys_in_one_instance() -> None:
    keyed = Stage({"count1": 0.01}, state=True, weights=(1.0,))
    found = found_in(Stage({"read0": 0.001}), keyed)
    assert (found.kind, found.pe) == ("keys", "count1")
    assert "in one instance" in found.says


def test_keys_in_several_instances() -> None:
    keyed = Stage({"count1": 0.01}, 2, state=True, weights=(1.0, 1.0))
    found = found_in(Stage({"read0": 0.001}), keyed)
    assert (found.kind, found.pe) == ("keys", "count1")
    assert "in each of 2 instances" in found.says


def test_a_key_that_most_items_have() -> None:
    keyed = Stage({"count1": 0.01}, 3, state=True, weights=SKEWED)
    found = found_in(Stage({"read0": 0.001}), keyed)
    assert (found.kind, found.pe) == ("skew", "count1")
    assert found.says.startswith("count1[0] is busy ")
    assert "A few keys have most of them" in found.says


def test_keys_whose_items_take_longer() -> None:
    """As many items in each instance, but those of the second one take long."""
    records = simulated([Stage({"read0": 0.001}), Stage({"count1": 0.001}, 2, weights=(1, 1))], 600)
    slow = [
        replace(r, busy=0.98 * (r.end - r.start), waiting=0.0)
        if isinstance(r, Sample) and r.instance == 2
        else replace(r, busy=0.1 * (r.end - r.start))
        if isinstance(r, Sample)
        else r
        for r in records
    ]
    found = bottleneck(summed(slow))
    assert found is not None
    assert (found.kind, found.pe) == ("skew", "count1")
    assert "the items of its keys take longer" in found.says


def test_pes_that_share_a_process() -> None:
    shared = Stage({"read0": 0.003, "parse1": 0.004, "clean2": 0.004})
    found = found_in(shared, Stage({"count3": 0.001}, state=True))
    assert found.kind == "shared"
    assert found.says.startswith("read0, parse1 and clean2 share one process")
    assert "Take more processes" in found.advice


def test_all_in_one_process() -> None:
    found = found_in(Stage({"read0": 0.001, "parse1": 0.008, "count2": 0.001}))
    assert (found.kind, found.pe) == ("shared", "parse1")
    assert "parse1 takes 80 % of that" in found.says
    assert "multi" in found.advice


def test_encoding() -> None:
    found = found_in(Stage({"read0": 0.001}, encoding=0.008), Stage({"count1": 0.004}))
    assert (found.kind, found.pe) == ("encoding", "read0")
    assert "what read0 sends to count1" in found.says
    assert "into one process" in found.advice


def _one_sample(seconds: dict[str, float], *, behind: float | None = None) -> list[Record]:
    """Two processes for ten seconds; a PE in the second one, if it is ``behind``, is as busy."""
    records: list[Record] = [
        begun(processes=2),
        PE(pe="read0", class_="Read", source=True),
        Process(process=0, host="here", pid=7, at=0.0),
        Instance(instance=0, pe="read0", copy=0, process=0),
        Sample(instance=0, start=0.0, end=10.0, taken=100, **seconds),
    ]
    if behind is not None:
        records += [
            PE(pe="store1", class_="Store"),
            Edge(edge=0, source="read0", output="output", dest="store1", input="input"),
            Process(process=1, host="here", pid=8, at=0.0),
            Instance(instance=1, pe="store1", copy=0, process=1),
            Sample(instance=1, start=0.0, end=10.0, taken=100, busy=behind, waiting=10 - behind),
        ]
    return [*records, End(at=10.0, complete=True)]


def test_results_that_nobody_takes() -> None:
    found = bottleneck(summed(_one_sample({"busy": 1.0, "blocked": 9.0})))
    assert found is not None
    assert (found.kind, found.pe) == ("reader", "read0")
    assert "Check where results go" in found.advice


def test_a_slow_way_between_processes() -> None:
    found = bottleneck(summed(_one_sample({"busy": 1.0, "blocked": 9.0}, behind=1.0)))
    assert found is not None
    assert (found.kind, found.pe) == ("reader", "read0")
    assert "The connection between them is slow" in found.advice


def test_all_wait() -> None:
    found = bottleneck(summed(_one_sample({"busy": 2.0, "waiting": 8.0}, behind=1.0)))
    assert found is not None
    assert (found.kind, found.pe) == ("waiting", None)
    assert "one process is enough" in found.advice


def test_a_run_that_is_over_at_once() -> None:
    records = _one_sample({"busy": 9.0})
    found = findings(summed([*records[:-1], End(at=40.0, complete=True)]))
    assert [finding.kind for finding in found] == ["source", "start"]
    quick = simulated([Stage({"read0": 0.001})], 100, every=0.01)
    found = findings(summed([*quick[:-1], End(at=1.0, complete=True)]))
    assert [finding.kind for finding in found] == ["start"]


def test_one_after_the_other() -> None:
    """Where one PE holds up the first part, and another the second one, the longer part counts."""
    first = _one_sample({"busy": 10.0}, behind=0.0)[:-1]
    then: list[Record] = [
        Sample(instance=0, start=10.0, end=30.0, taken=0, waiting=20.0),
        Sample(instance=1, start=10.0, end=30.0, taken=500, busy=19.0, waiting=1.0),
        End(at=30.0, complete=True),
    ]
    found = bottleneck(summed([*first, *then]))
    assert found is not None
    assert found.pe == "store1"
    shorter = [r for r in [*first, *then] if not (isinstance(r, Sample) and r.end == 30.0)]
    shorter[-1:-1] = [
        Sample(instance=0, start=10.0, end=20.0, taken=0, waiting=10.0),
        Sample(instance=1, start=10.0, end=20.0, taken=500, busy=9.5, waiting=0.5),
        Sample(instance=0, start=20.0, end=40.0, taken=5, busy=20.0),
        Sample(instance=1, start=20.0, end=40.0, taken=5, waiting=20.0),
    ]
    found = bottleneck(summed([*shorter[:-1], End(at=40.0, complete=True)]))
    assert found is not None
    assert found.pe == "read0"


def test_work_that_waits_for_something_outside() -> None:
    records = simulated([Stage({"read0": 0.001}), Stage({"fetch1": 0.01})], 300)
    usage = [Usage(process=p, start=0.0, end=3.0, cpu=0.1) for p in (0, 1)]
    found = bottleneck(summed([*records[:-1], *usage, records[-1]]))
    assert found is not None
    assert (found.kind, found.pe) == ("copies", "fetch1")
    assert "it waits for files" in found.advice


def test_processes_that_wait_for_a_processor() -> None:
    """The machine leaves them a quarter of the time, so no process works for most of it."""
    records = [
        replace(record, start=4 * record.start, end=4 * record.end)
        if isinstance(record, Sample)
        else record
        for record in simulated([Stage({"read0": 0.001}), Stage({"fetch1": 0.01})], 300)
    ]
    unknown = bottleneck(summed([*records[:-1], End(at=12.0, complete=True)]))
    assert unknown is not None
    assert unknown.kind == "waiting"
    usage = Usage(process=1, start=0.0, end=12.0, cpu=3.0, ready=9.0)
    found = bottleneck(summed([*records[:-1], usage, End(at=12.0, complete=True)]))
    assert found is not None
    assert (found.kind, found.pe) == ("cores", "fetch1")
    assert "has work 100 % of the time, but 75 % of the time it waits for a processor" in found.says
    assert "More processes do not help" in found.advice


def test_nothing_was_worked_on() -> None:
    assert bottleneck(summed([begun(), End(at=1.0, complete=True)])) is None
    assert findings(summed([begun(), End(at=1.0, complete=True)])) == []


# --- what else people should know ----------------------------------------------------------------


def others(*records: Record, end: End | None = None) -> dict[str, Finding]:
    stages = [Stage({"read0": 0.001}), Stage({"count1": 0.01}, state=True)]
    simulation = simulated(stages, 600)
    ends = [simulation[-1]] if end is None else [end]
    found = findings(summed([*simulation[:-1], *records, *ends]))
    assert found[0].kind == "state"
    return {finding.kind: finding for finding in found[1:]}


def test_all_is_well() -> None:
    assert others() == {}


def test_a_worker_that_died() -> None:
    found = others(Event(at=2.5, what="death", why="process 1 was killed", process=1))
    assert str(found["death"]) == "At 2.5 s: process 1 was killed"


def test_a_run_that_failed() -> None:
    found = others(end=End(at=9.0, complete=False, failed="count1 raised ValueError"))
    assert str(found["failed"]) == "The run failed: count1 raised ValueError"
    assert others(end=End(at=9.0, complete=False))["failed"].says.startswith("The run ended before")


def test_a_trace_that_was_cut_off() -> None:
    records = simulated([Stage({"read0": 0.01})], 100)
    assert [f.kind for f in findings(summed(records[:-1]))][1:] == ["cut"]


def test_items_that_were_skipped() -> None:
    skips = [Event(at=at, what="skip", why="ValueError: x", pe="count1", number=2) for at in (1, 2)]
    assert str(others(*skips)["skip"]) == "4 items were skipped in count1: ValueError: x"
    again = Event(at=1.0, what="retry", why="OSError: y", pe="read0")
    assert str(others(again)["retry"]) == "1 item was tried again in read0: OSError: y"


def _memory(sizes: Sequence[float]) -> list[Record]:
    return [
        Usage(process=1, start=at / 2, end=at / 2 + 0.5, cpu=0.5, memory=int(size * 1e6))
        for at, size in enumerate(sizes)
    ]


def test_memory_that_grows() -> None:
    found = others(*_memory([40 + 30 * at for at in range(12)]))
    assert "process 1 grows from 130 MB to 370 MB" in found["memory"].says
    assert "count1 in it keeps state" in found["memory"].advice


@pytest.mark.parametrize(
    "sizes", [[40.0] * 12, [40, 200, *[400.0] * 20], [40.0 + at for at in range(12)]]
)
def test_memory_that_does_not_grow(sizes: list[float]) -> None:
    """It stays; it is taken at the beginning; it grows by little."""
    assert "memory" not in others(*_memory(sizes))


# --- any pipeline --------------------------------------------------------------------------------

KINDS = ("source", "state", "copies", "keys", "skew")


@st.composite
def pipelines(draw: st.DrawFn) -> tuple[str, list[Stage]]:
    """A chain of stages, one of which takes at least 1.4 times as long as any other."""
    kind = draw(st.sampled_from(KINDS))
    count = draw(st.integers(2, 6))
    slow = 0 if kind == "source" else draw(st.integers(1, count - 1))
    stages = []
    for place in range(count):
        load = 0.01 if place == slow else 0.01 * draw(st.floats(0.02, 0.7))
        copies = 1 if place == 0 else draw(st.integers(1, 3))
        name, state = f"pe{place}", place != slow and draw(st.booleans())
        if place != slow or kind == "copies":
            copies = 1 if state else copies
            stages.append(Stage({name: load * copies}, copies, state))
        elif kind in ("source", "state"):
            stages.append(Stage({name: load}, 1, kind == "state"))
        else:
            weights = SKEWED if kind == "skew" else (1.0,) * draw(st.integers(1, 3))
            seconds = load * sum(weights) / max(weights)
            stages.append(Stage({name: seconds}, len(weights), True, weights=weights))
    return kind, stages


@settings(max_examples=60)
@given(pipelines(), st.integers(0, 1000))
def test_the_slowest_part_of_any_pipeline_is_named(
    pipeline: tuple[str, list[Stage]], seed: int
) -> None:
    kind, stages = pipeline
    slowest = max(stages, key=lambda stage: stage.load)
    found = bottleneck(summed(simulated(stages, 500, seed, every=0.5)))
    assert found is not None
    assert (found.kind, found.pe) == (kind, next(iter(slowest.pes))), found
