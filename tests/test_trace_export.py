"""Traces for Perfetto and OpenTelemetry: by the rules of the formats, and their own readers."""

from __future__ import annotations

import base64
import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import cwl_kit as kit
import pytest
from trace_kit import Stage, begun, simulated, write

from d4pcwl.trace.chrome import chrome_trace
from d4pcwl.trace.format import End, Event, Instance, Record, Sample, Span, Usage
from d4pcwl.trace.otlp import otlp_traces
from d4pcwl.trace.summary import summed

FLOW = [Stage({"read0": 0.002}), Stage({"parse1": 0.004, "count2": 0.003}, copies=2)]

TOLD: list[Record] = [
    Event(at=0.5, what="scale", why="12 batches wait", number=3),
    Event(at=0.6, what="skip", why="ValueError: n/a", pe="parse1", instance=1, number=2),
    Event(at=0.7, what="death", why="killed", process=1),
    Event(at=0.8, what="retry", why="OSError", instance=99),
    Usage(process=0, start=0.0, end=0.5, cpu=0.25, memory=1 << 20),
    Span(instance=1, start=0.1, end=0.2, item=3),
    Span(instance=1, start=0.2, end=0.35),
]


def records() -> list[Record]:
    found = simulated(FLOW, 300)
    return [*found[:-1], *TOLD, found[-1]]


# --- OpenTelemetry -------------------------------------------------------------------------------


def parsed(told: dict[str, Any]) -> Any:
    """The spans as OpenTelemetry's own classes read them.

    Protocol Buffers have bytes in base64, and only OTLP's ids are in hexadecimal.
    """
    trace_pb2 = pytest.importorskip("opentelemetry.proto.trace.v1.trace_pb2")
    from google.protobuf import json_format

    def based(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: based(inner, name) for name, inner in value.items()}
        if isinstance(value, list):
            return [based(inner) for inner in value]
        if key in ("traceId", "spanId", "parentSpanId"):
            return base64.b64encode(bytes.fromhex(value)).decode()
        return value

    return json_format.ParseDict(based(told), trace_pb2.TracesData())


def attributes(of: Any) -> dict[str, Any]:
    """Values by their keys."""
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in of.attributes}


def test_opentelemetry_reads_the_spans() -> None:
    summary = summed(records())
    data = parsed(otlp_traces(summary))
    found = [(r, span) for r in data.resource_spans for s in r.scope_spans for span in s.spans]
    spans = [span for _, span in found]
    assert {len(span.trace_id) for span in spans} == {16}
    assert len({span.trace_id for span in spans}) == 1
    by_id = {span.span_id: span for span in spans}
    assert len(by_id) == len(spans) == 1 + 5 + 2  # the run, its instances, calls
    (run,) = [span for span in spans if not span.parent_span_id]
    assert run.status.code == run.status.STATUS_CODE_OK
    assert run.start_time_unix_nano == 1795255200 * 10**9  # 2026-11-21T10:00:00Z
    assert run.end_time_unix_nano - run.start_time_unix_nano == round(summary.seconds * 1e9)
    for span in spans:
        parent = by_id.get(span.parent_span_id, span)
        assert parent.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
        assert span.end_time_unix_nano <= parent.end_time_unix_nano
        assert span.kind == span.SPAN_KIND_INTERNAL
    parents = Counter(by_id[s.parent_span_id].name for s in spans if s.parent_span_id)
    assert parents == {"flow.py": 5, "parse1[0]": 2}
    told = {span.name: attributes(span) for span in spans}
    assert told["read0[0]"]["d4pcwl.items.in"] == 300
    assert told["read0[0]"]["d4pcwl.seconds.busy"] == pytest.approx(0.6, rel=0.05)
    assert [event.name for event in run.events] == ["scale", "death", "retry"]
    (skip,) = next(span for span in spans if span.name == "parse1[0]").events
    assert attributes(skip)["d4pcwl.why"] == "ValueError: n/a"
    resources = {span.name: attributes(resource.resource) for resource, span in found}
    assert resources["read0[0]"] == {
        "service.name": "flow.py",
        "host.name": "here",
        "process.pid": 100,
    }


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (End(at=9.0, complete=False, failed="raised"), 2),
        (End(at=9.0, complete=False), 2),
        (None, 0),
    ],
)
def test_the_status_of_a_run(end: End | None, code: int) -> None:
    (resource,) = parsed(otlp_traces(summed([begun(), *([end] if end else [])]))).resource_spans
    ((run,),) = [scope.spans for scope in resource.scope_spans]
    assert run.status.code == code
    assert run.status.message == (end.failed or "the run ended before all was done" if end else "")


# --- Chrome --------------------------------------------------------------------------------------

NEEDED = {
    "X": {"name": str, "cat": str, "ts": int, "dur": int, "pid": int, "tid": int},
    "C": {"name": str, "ts": int, "pid": int, "args": dict},
    "M": {"name": str, "pid": int, "tid": int, "args": dict},
    "i": {"name": str, "cat": str, "ts": int, "s": str, "pid": int, "tid": int, "args": dict},
}
"""What events of each phase have, after the document "Trace Event Format"."""


def test_chrome_events_are_as_the_format_asks() -> None:
    told = chrome_trace(summed(records()))
    assert set(told) == {"traceEvents", "displayTimeUnit", "otherData"}
    assert told["displayTimeUnit"] in ("ms", "ns")
    events = told["traceEvents"]
    for event in events:
        needed = NEEDED[event["ph"]]
        assert {key: type(event[key]) for key in needed} == needed
        assert set(event) - set(needed) <= {"ph", "args"}
        assert event.get("ts", 0) >= 0
        assert event.get("dur", 0) >= 0
        assert event["pid"] > 0  # 0 is the idle process
        if event["ph"] == "C":
            assert all(isinstance(value, int | float) for value in event["args"].values())
        if event["ph"] == "i":
            assert event["s"] in ("g", "p", "t")
    named = {(e["pid"], e["tid"]) for e in events if e["name"] == "thread_name"}
    assert {(e["pid"], e["tid"]) for e in events if e["ph"] == "X"} == named
    processes = {e["pid"] for e in events if e["name"] == "process_name"}
    assert {e["pid"] for e in events} == processes


def test_slices_of_a_thread_do_not_overlap() -> None:
    told = chrome_trace(summed(records()))["traceEvents"]
    slices: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for event in told:
        if event["ph"] == "X":
            found = slices.setdefault((event["pid"], event["tid"]), [])
            found.append((event["ts"], event["ts"] + event["dur"]))
    assert len(slices) == 6  # five instances, and the calls of one
    for found in slices.values():
        assert all(end <= start for (_, end), (start, _) in pairwise(sorted(found)))


def test_chrome_events_have_the_figures() -> None:
    summary = summed(records())
    told = chrome_trace(summary)["traceEvents"]
    taken = sum(e["args"]["in"] for e in told if e.get("cat") == "sample")
    assert taken == sum(pe.taken for pe in summary.pes.values())
    (call, other) = [e for e in told if e.get("cat") == "call"]
    assert (call["ts"], call["dur"], call["args"]) == (100_000, 100_000, {"item": 3})
    assert "args" not in other
    (memory,) = [e for e in told if e["name"] == "memory"]
    assert memory["args"] == {"bytes": 1 << 20}
    (workers,) = [e for e in told if e["name"] == "workers"]
    assert (workers["ts"], workers["args"]) == (500_000, {"workers": 3})
    scopes = {e["name"]: e["s"] for e in told if e["ph"] == "i"}
    assert scopes == {"scale": "p", "skip": "t", "death": "p", "retry": "p"}


def test_a_slice_is_named_after_most_of_its_time() -> None:
    seconds = {"busy": 0.2, "blocked": 0.3}
    parts = [
        Instance(instance=0, pe="read0", copy=0, process=0),
        Sample(instance=0, start=0.0, end=1.0, taken=1, **seconds),
        Sample(instance=0, start=1.0, end=1.4, taken=1, **seconds),
    ]
    found = simulated([Stage({"read0": 0.001})], 1)
    told = [record for record in found if not isinstance(record, Sample | Instance)]
    events = chrome_trace(summed([*told[:-1], *parts, told[-1]]))["traceEvents"]
    assert [e["name"] for e in events if e["ph"] == "X"] == ["others", "blocked"]


# --- the command ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("form", "make"), [("chrome", chrome_trace), ("otlp", otlp_traces)])
def test_the_command(form: str, make: Any, tmp_path: Path) -> None:
    write(tmp_path / "run.jsonl", records())
    done = kit.command("d4pcwl", "trace", "export", f"--{form}", "run.jsonl", cwd=tmp_path)
    assert done.stdout.count("\n") == 1  # one line, as collectors read files
    kit.command("d4pcwl", "trace", "export", f"--{form}", "run.jsonl", "-o", "o.json", cwd=tmp_path)
    assert (tmp_path / "o.json").read_text(encoding="utf-8") == done.stdout
    assert list(json.loads(done.stdout)) == list(make(summed(records())))
