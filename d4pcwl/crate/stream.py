"""From the record of a stream to a run: its PEs are the steps, and what each PE did, summed up, is
an activity."""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from d4pcwl.crate.reading import Source
from d4pcwl.crate.runs import (
    FILE,
    STREAM,
    Activity,
    Engine,
    Link,
    Person,
    Plan,
    Port,
    Run,
    Stored,
    Stream,
    files_in,
)
from d4pcwl.errors import UsageError, raise_faults
from d4pcwl.lineage.opened import READ
from d4pcwl.lineage.record import GIVEN, HELD, INVOCATION, RESULT, WORKER, Record
from d4pcwl.lineage.run_record import sha256_of

DISPEL4PY = "dispel4py"
_SHOWN = 20
"""The largest number of inputs of a root that are listed one by one."""

_READ, _WRITTEN = "files_read", "files_written"
_RESULTS = "results"
_OPTIONS = {
    "mapping": "How the graph was run",
    "processes": "How many processes it used",
    "seed": "Of the random numbers",
}
_TYPES = {bool: "Boolean", int: "Integer", float: "Float"}


def stream_run(folder: Path) -> Run:
    """The run of a stream by itself.

    :param folder: that of its record
    :raises LineageError: there is no record, or it cannot be read
    """
    stream = _Stream(Record(folder), {})
    head = stream.head
    source = Source(head["script"], head["code"], {})
    raise_faults(
        UsageError,
        (
            f"{path}: it has changed since the run, or is gone; put the version that ran there"
            for path in source.missing
        ),
    )
    about = head["about"]
    stem = Path(head["script"]).stem if head["script"] else "graph"
    title = str(about.get("s-prov:workflowName") or source.title or stem)
    doc = str(about.get("s-prov:description") or source.doc)
    plan = Plan("", title, "dispel4py workflow", doc)
    user = about.get("provone:User") or head["user"]
    agent = Person(str(user)) if user else None
    activity = Activity(head["run"], plan, f"Run of {title}", agent=agent)
    stream.fill(activity, source)
    stream.fill_ports(activity, source)
    stream.link(activity)
    documents: dict[str, Path | str] = dict(source.files)
    if not documents:  # the graph was made in a process that had no script
        told = {name: head[name] for name in ("pes", "edges")}
        documents = {"graph.json": json.dumps(told, indent=1) + "\n"}
    return Run(activity, documents, DISPEL4PY, metadata=source.metadata)


def fill_step(activity: Activity, folder: Path) -> None:
    """Put the record of a stream into the activity of the step that it ran in: its plan becomes a
    workflow whose steps are PEs.

    :param folder: that of the record
    :raises LineageError: the record cannot be read
    """
    known = {file.digest: file for file in activity.files() if file.path is not None}
    stream = _Stream(Record(folder), known)
    places = {digest: file.path for digest, file in known.items() if file.path is not None}
    source = Source(stream.head["script"], stream.head["code"], places)
    stream.fill(activity, source)
    stream.link(activity)


@dataclass
class _OfPE:
    """What one PE did."""

    invocations: int = 0
    seconds: float = 0.0
    began: float = float("inf")
    ended: float = 0.0
    instances: set[tuple[Any, ...]] = field(default_factory=set)
    written: Counter[str] = field(default_factory=Counter)
    given: list[str] = field(default_factory=list)
    given_count: int = 0
    read: dict[str, None] = field(default_factory=dict)
    wrote: dict[str, None] = field(default_factory=dict)


class _Stream:
    """A record, added up by PE.

    :param known: files that the activity around it has, by digest
    """

    def __init__(self, record: Record, known: Mapping[str, Stored]) -> None:
        self.record, self.head = record, record.head
        self._known = known
        self._pes: dict[str, _OfPE] = defaultdict(_OfPE)
        self._went: dict[tuple[str, str], set[str]] = defaultdict(set)
        worker: tuple[Any, ...] = ()
        for value in record:
            if value[0] == WORKER:
                worker = tuple(value[1:])
            elif value[0] == INVOCATION:
                self._add(value, worker)
            elif value[0] == GIVEN:
                given = self._pes[value[2]]
                given.given_count += 1
                if len(given.given) < _SHOWN:
                    given.given.append(value[5])
            elif value[0] == HELD:
                self._pes[value[1]].wrote.setdefault(value[3])
            elif value[0] == RESULT:
                _, pe, output, _, numbers = value
                went = self._went[pe, output]
                went |= {self.head["streams"][at] for at in numbers} or {_RESULTS}
        tail = record.tail  # it came last
        # A file without a digest was no ordinary file, or was gone when the run ended.
        files = {path: told for path, told in tail.get("files", {}).items() if told["sha256"]}
        self._files = {path: self._stored(path, told) for path, told in files.items()}
        self._roles = {path: told["role"] for path, told in files.items()}
        results = {path for path, role in self._roles.items() if role == _RESULTS}
        for went in self._went.values():
            if _RESULTS in went:
                went.symmetric_difference_update({_RESULTS, *results})

    def _add(self, value: list[Any], worker: tuple[Any, ...]) -> None:
        _, name, number, _, _, _, began, took, writes, files, *_ = value
        pe = self._pes[name]
        pe.invocations += 1
        pe.seconds += took
        pe.began, pe.ended = min(pe.began, began), max(pe.ended, began + took)
        pe.instances.add((*worker, number))
        for write in writes:
            pe.written[write[1]] += 1
        for path, how, *_ in files:
            (pe.read if how == READ else pe.wrote).setdefault(path)

    def _stored(self, path: str, told: Mapping[str, Any]) -> Stored:
        """A file of the run: the one that the step around it has, or else itself, if it still has
        the same bytes."""
        digest = told["sha256"]
        if digest in self._known:
            return self._known[digest]
        there = Path(path) if sha256_of(path) == digest else None
        within = os.path.relpath(path, self.head["folder"])
        within = "" if within.startswith(os.pardir) else within
        hidden = any(part.startswith(".") for part in Path(within or path).parts)
        private = "it is hidden, or in a hidden folder" if hidden else ""
        name, size = os.path.basename(path), told.get("bytes", 0)
        return Stored(name, there, digest, size, within=within, private=private)

    # --- plans and activities -------------------------------------------------------------------

    def fill(self, activity: Activity, source: Source) -> None:
        """Make PEs the steps of an activity's plan, and what they did its parts."""
        head, tail, plan = self.head, self.record.tail, activity.plan
        activity.record = self.record.folder
        activity.command = [DISPEL4PY, *head["arguments"]] if head["arguments"] else ()
        activity.began = activity.began or head["began"]
        activity.ended = activity.ended or tail.get("ended")
        if not tail.get("complete"):
            activity.failed = tail.get("failed") or "its processes were killed"
        versions = head["packages"]
        activity.engine = Engine("d4pcwl", versions.get("d4pcwl", ""))
        activity.told = {
            "mapping": head["mapping"],
            "host": head["host"],
            "Python": head["python"],
            "platform": head["platform"],
        }
        for told in head["pes"]:
            step = plan.steps.setdefault(told["pe"], self._plan(plan, told, source))
            activity.parts.append((told["pe"], self._activity(activity, step, told["pe"])))

    def _plan(self, whole: Plan, told: Mapping[str, Any], source: Source) -> Plan:
        pe = told["pe"]
        key = f"{whole.key}/{pe}" if whole.key else pe
        title, doc = source.described(told["class_"])
        plan = Plan(
            key, told["name"] or pe, f"PE ({told['class_']})", "\n\n".join([title, doc]).strip()
        )
        plan.state = told["state"]
        for edge in self.head["edges"]:
            if edge["dest"] == pe:
                plan.inputs[edge["input"]] = Port(edge["input"], STREAM)
            if edge["source"] == pe:
                plan.outputs[edge["output"]] = Port(edge["output"], STREAM)
        for name in [*self._pes[pe].written, *(out for of, out in self._went if of == pe)]:
            plan.outputs.setdefault(name, Port(name, STREAM))
        if self._pes[pe].given_count:
            plan.inputs["given"] = Port("given", "Text", "The items that it was given", many=True)
        for name, files in ((_READ, self._pes[pe].read), (_WRITTEN, self._pes[pe].wrote)):
            if files:
                ports = plan.inputs if name == _READ else plan.outputs
                ports[name] = Port(name, FILE, name.replace("_", " ").capitalize(), many=True)
        return plan

    def _activity(self, whole: Activity, plan: Plan, pe: str) -> Activity:
        of = self._pes[pe]
        title = f"{plan.title}, all invocations"
        made = Activity(f"{whole.key}-{pe}", plan, title, agent=whole.agent)
        if of.invocations:
            made.began, made.ended = of.began, of.ended
        made.usage = {
            "invocations": of.invocations,
            "instances": len(of.instances),
            "seconds": round(of.seconds, 6),
        }
        for edge in self.head["edges"]:
            if edge["dest"] == pe:
                streams = made.inputs.setdefault(edge["input"], [])
                streams.append(self._items(edge["source"], edge["output"]))
        for output, port in plan.outputs.items():
            if port.type == STREAM:
                made.outputs[output] = self._items(pe, output)
        if of.given_count:
            more = [f"… {of.given_count} in all"] if of.given_count > len(of.given) else []
            made.inputs["given"] = [*of.given, *more]
        for name, paths, values in (
            (_READ, of.read, made.inputs),
            (_WRITTEN, of.wrote, made.outputs),
        ):
            if paths:
                values[name] = self._known_files(paths)
        return made

    def _items(self, pe: str, output: str) -> Stream:
        return Stream(f"{pe}.{output}", self._pes[pe].written[output])

    def link(self, activity: Activity) -> None:
        """Connect the PEs of an activity's plan, and its ports to those of the PEs that read or
        wrote the same files."""
        plan = activity.plan
        found = []
        for edge in self.head["edges"]:
            told = "" if edge["grouping"] == "shuffle" else edge["grouping"]
            found.append(Link(edge["source"], edge["output"], edge["dest"], edge["input"], told))
        into = _ports_by_file(activity.inputs)
        out = _ports_by_file(activity.outputs)
        for pe, of in self._pes.items():
            for file in self._known_files(of.read):
                found += [Link(None, port, pe, _READ) for port in into[file.key]]
            for file in self._known_files(of.wrote):
                found += [Link(pe, _WRITTEN, None, port) for port in out[file.key]]
        for (pe, output), paths in self._went.items():
            for file in self._known_files(paths):
                found += [Link(pe, output, None, port) for port in out[file.key]]
        # Another element of a scatter may have made some of them already.
        plan.links = list(dict.fromkeys([*plan.links, *found]))

    def _known_files(self, paths: Iterable[str]) -> list[Stored]:
        return [self._files[path] for path in paths if path in self._files]

    # --- the ports of a whole stream ------------------------------------------------------------

    def fill_ports(self, activity: Activity, source: Source) -> None:
        """Give a stream that ran by itself its inputs and outputs."""
        plan = activity.plan
        options = {name: self.head[name] for name in _OPTIONS}
        for name, value in {**self.head["parameters"], **options}.items():
            if value is not None:
                kind = "Text" if isinstance(value, str) else _TYPES.get(type(value), "Text")
                plan.inputs[name] = Port(
                    name, kind, source.parameters.get(name, _OPTIONS.get(name, ""))
                )
                activity.inputs[name] = value
        for pe, step in plan.steps.items():
            values = next(part for name, part in activity.parts if name == pe)
            if "given" in step.inputs:
                plan.inputs[step.title] = Port(step.title, "Text", f"Items for {step.title}", True)
                activity.inputs[step.title] = values.inputs["given"]
                plan.links.append(Link(None, step.title, pe, "given"))
        self._add_files(activity, activity.inputs, plan.inputs, ("read", "input"), _READ)
        self._add_files(activity, activity.outputs, plan.outputs, ("written",), _WRITTEN)
        self._add_files(activity, activity.outputs, plan.outputs, ("results",), _RESULTS)

    def _add_files(
        self,
        activity: Activity,
        values: dict[str, Any],
        ports: dict[str, Port],
        roles: Iterable[str],
        name: str,
    ) -> None:
        found = [self._files[path] for path, role in self._roles.items() if role in roles]
        if found:
            ports[name] = Port(name, FILE, name.replace("_", " ").capitalize(), many=len(found) > 1)
            values[name] = found if len(found) > 1 else found[0]


def _ports_by_file(values: Mapping[str, Any]) -> dict[tuple[str, str], list[str]]:
    """The ports that each file is a value of, or is in a value of."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, value in values.items():
        for file in files_in(value):
            found[file.key].append(name)
    return found
