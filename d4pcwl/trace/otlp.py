"""Traces in OpenTelemetry's protocol, as JSON: what its collectors take, from a file or by HTTP.

The run is a span, its instances are spans in it, and calls that the trace has seen are spans in
these. Ids are in hexadecimal, and whole numbers of 64 bits are texts, as the "JSON Protobuf
Encoding" of the OpenTelemetry Protocol Specification asks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from d4pcwl.trace.format import Event
from d4pcwl.trace.summary import STATES, OfInstance, Summary

Json = dict[str, Any]

_INTERNAL = 1
"""The kind of spans that are not requests."""

_OK, _ERROR = 1, 2


def otlp_traces(summary: Summary) -> Json:
    """The JSON object of one export: ``TracesData``."""
    return _Export(summary).data()


class _Export:
    def __init__(self, summary: Summary) -> None:
        self._summary = summary
        run = summary.run
        self._trace = hashlib.sha256(run.id.encode()).hexdigest()[:32]
        began = datetime.fromisoformat(run.began)
        began = began if began.tzinfo else began.replace(tzinfo=UTC)
        self._began = round(began.timestamp() * 1e6) * 1000
        self._scope = {"name": "d4pcwl", "version": run.versions.get("d4pcwl", "")}

    def data(self) -> Json:
        """A resource for the command, with the span of the run, and one for each process."""
        run = self._summary.run
        resources = [self._resource({"host.name": run.host}, [self._run()])]
        for number, place in self._summary.processes.items():
            told = {"host.name": place.record.host, "process.pid": place.record.pid}
            found = self._summary.in_process(number)
            spans = [span for instance in found for span in self._of_instance(instance)]
            if spans:
                resources.append(self._resource(told, spans))
        return {"resourceSpans": resources}

    def _resource(self, told: Mapping[str, object], spans: list[Json]) -> Json:
        named = {"service.name": self._summary.run.script or "d4pcwl", **told}
        return {
            "resource": {"attributes": list(_attributes(named))},
            "scopeSpans": [{"scope": self._scope, "spans": spans}],
        }

    def _run(self) -> Json:
        summary = self._summary
        run, end = summary.run, summary.end
        told = {
            "d4pcwl.mapping": run.mapping,
            "d4pcwl.processes": run.processes,
            "d4pcwl.arguments": " ".join(run.arguments) or None,
            "d4pcwl.run": run.id,
        }
        events = [event for event in summary.events if event.instance not in summary.instances]
        span = self._span("run", "", run.script or run.mapping, 0.0, summary.seconds, told, events)
        if end is not None:
            failed = end.failed or ("" if end.complete else "the run ended before all was done")
            span["status"] = {"code": _ERROR, "message": failed} if failed else {"code": _OK}
        return span

    def _of_instance(self, instance: OfInstance) -> Iterator[Json]:
        summary, number = self._summary, instance.record.instance
        told = {
            "d4pcwl.pe": instance.record.pe,
            "d4pcwl.copy": instance.record.copy,
            "d4pcwl.process": instance.record.process,
            "d4pcwl.items.in": instance.taken,
            "d4pcwl.items.out": instance.written,
        } | {f"d4pcwl.seconds.{state}": getattr(instance.seconds, state) for state in STATES}
        events = [event for event in summary.events if event.instance == number]
        title, own = summary.title(instance), f"instance {number}"
        yield self._span(own, "run", title, instance.since, instance.until, told, events)
        for place, call in enumerate(instance.calls):
            item = {"d4pcwl.item": call.item}
            name = summary.name(instance.record.pe)
            yield self._span(f"{own} call {place}", own, name, call.start, call.end, item)

    def _span(
        self,
        key: str,
        parent: str,
        name: str,
        start: float,
        end: float,
        told: Mapping[str, object],
        events: Iterable[Event] = (),
    ) -> Json:
        span: Json = {"traceId": self._trace, "spanId": self._id(key)}
        if parent:
            span["parentSpanId"] = self._id(parent)
        span |= {"name": name, "kind": _INTERNAL}
        span |= {"startTimeUnixNano": self._time(start), "endTimeUnixNano": self._time(end)}
        span["attributes"] = list(_attributes(told))
        happened = [self._event(event) for event in events]
        return span | ({"events": happened} if happened else {})

    def _event(self, event: Event) -> Json:
        told = {"d4pcwl.why": event.why, "d4pcwl.pe": event.pe, "d4pcwl.process": event.process}
        attributes = list(_attributes(told | {"d4pcwl.number": event.number}))
        at = self._time(event.at)
        return {"timeUnixNano": at, "name": event.what, "attributes": attributes}

    def _time(self, at: float) -> str:
        """Nanoseconds since 1970."""
        return str(self._began + round(at * 1e9))

    def _id(self, key: str) -> str:
        return hashlib.sha256(f"{self._summary.run.id} {key}".encode()).hexdigest()[:16]


def _attributes(told: Mapping[str, object]) -> Iterator[Json]:
    for key, value in told.items():
        match value:
            case None:
                continue
            case int():
                yield {"key": key, "value": {"intValue": str(value)}}
            case float():
                yield {"key": key, "value": {"doubleValue": value}}
            case _:
                yield {"key": key, "value": {"stringValue": str(value)}}
