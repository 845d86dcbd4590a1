"""A record as W3C PROV: PROV-JSON and PROV-N, made by the package prov.

=============  ====================================================================================
entities       items, inputs of roots, files, PEs (as plans), the results and others (collections)
activities     the run, and each invocation of a PE; or one for each PE, if that was asked for
agents         instances of PEs, and the person who started the run
=============  ====================================================================================

``docs/provenance.md`` has the relations. Documents are made and written in pieces, so that the
memory they take does not grow with the run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote

from d4pcwl.lineage.identity import SIZE, each, sources
from d4pcwl.lineage.opened import READ
from d4pcwl.lineage.record import (
    COLLECTION,
    GIVEN,
    HELD,
    INVOCATION,
    RESULT,
    WORKER,
    Record,
    files_behind,
    reading,
)
from d4pcwl.lineage.selection import SUMMED

if TYPE_CHECKING:
    from prov.model import ProvDocument  # type: ignore[import-untyped]

JSON_NAME, N_NAME = "prov.json", "prov.provn"

_TERMS = {
    "d4p": "urn:d4pcwl:terms:",
    "s-prov": "http://s-prov/ns/#",
    "provone": "http://purl.dataone.org/provone/2015/01/15/ontology#",
    "meta": "urn:d4pcwl:metadata:",
}
_PIECE = 1000
"""Records in a piece of a document."""


def write_prov(record: Record) -> None:
    """Write ``prov.json`` and ``prov.provn`` into the folder of a record.

    :raises LineageError: the record is damaged
    :raises OSError: they cannot be written
    """
    places = [record.folder / f"{name}.partial" for name in (JSON_NAME, N_NAME)]
    with ExitStack() as stack:
        files = [
            stack.enter_context(place.open("w", encoding="utf-8", errors="backslashreplace"))
            for place in places
        ]
        with reading(record.path):
            _Writer(record, *files).write(stack)
    for place in places:
        os.replace(place, place.with_suffix(""))


class _Writer:
    """Writes both documents, piece by piece."""

    def __init__(self, record: Record, as_json: IO[str], as_n: IO[str]) -> None:
        self._record, self._json, self._n = record, as_json, as_n
        self._sections: dict[str, IO[str]] = {}
        self._unnamed = 0

    def write(self, stack: ExitStack) -> None:
        from prov.serializers.provjson import (  # type: ignore[import-untyped]
            encode_json_container,
        )

        head: list[str] = []
        prefixes: dict[str, str] = {}
        for document in documents(self._record):
            lines = document.get_provn().split("\n")
            if not head:
                head = lines[: next(i for i, line in enumerate(lines) if not line.strip()) + 1]
                self._n.write("\n".join(head) + "\n")
            self._n.write("".join(line + "\n" for line in lines[len(head) : -1]))
            for section, entries in encode_json_container(document).items():
                if section == "prefix":
                    prefixes.update(entries)
                else:
                    self._add(section, entries, stack)
        self._n.write("endDocument\n")
        self._json.write('{"prefix": ' + json.dumps(prefixes))
        for section, file in self._sections.items():
            self._json.write(f',\n"{section}": {{')
            file.seek(0)
            while block := file.read(1 << 20):
                self._json.write(block)
            self._json.write("\n}")
        self._json.write("}\n")

    def _add(self, section: str, entries: dict[str, Any], stack: ExitStack) -> None:
        file = self._sections.get(section)
        between = ","
        if file is None:
            made = TemporaryFile(  # noqa: SIM115
                "w+", encoding="utf-8", errors="backslashreplace", dir=self._record.folder
            )
            file = stack.enter_context(made)
            self._sections[section], between = file, ""
        for name, entry in entries.items():
            if name.startswith("_:"):  # each piece counts from one
                self._unnamed += 1
                name = f"_:id{self._unnamed}"
            text = json.dumps(entry, ensure_ascii=False, default=str)
            file.write(f"{between}\n{json.dumps(name)}: {text}")
            between = ","


def documents(record: Record) -> Iterator[ProvDocument]:
    """A record as PROV, in pieces. Nothing is in two of them."""
    return _Pieces(record).made()


class _Pieces:
    def __init__(self, record: Record) -> None:
        self._record, self._head = record, record.head
        self._names = {pe["pe"]: pe["name"] or pe["pe"] for pe in self._head["pes"]}
        self._summed = self._head["activities"] == SUMMED
        self._namespaces = {**_TERMS, "run": f"urn:d4pcwl:run:{quote(self._head['run'])}:"}
        self._worker = ""
        self._agents: set[str] = set()
        self._files: dict[str, str] = {}
        self._sums: dict[str, list[float]] = {}
        self._going_on: dict[bytes, tuple[str, list[Any], str]] = {}
        self._document: ProvDocument

    def made(self) -> Iterator[ProvDocument]:
        self._document = self._fresh()
        self._about_run()
        tellers: dict[int, Callable[[list[Any]], None]] = {
            INVOCATION: self._invocation,
            GIVEN: self._input,
            HELD: self._held,
            RESULT: self._result,
            COLLECTION: self._collection,
        }
        count = 0
        for value in self._record:
            if value[0] == WORKER:
                self._worker = "-".join(map(str, value[2:]))
                continue
            tellers[value[0]](value)
            count += 1
            if count % _PIECE == 0:
                yield self._document
                self._document = self._fresh()
        for unfinished in self._going_on.values():
            self._activity(*unfinished)
        self._sum_up()
        self._end()
        yield self._document

    def _fresh(self) -> ProvDocument:
        from prov.model import ProvDocument

        made = ProvDocument()
        for prefix, uri in self._namespaces.items():
            made.add_namespace(prefix, uri)
        return made

    # --- the run --------------------------------------------------------------------------------

    def _about_run(self) -> None:
        head, document = self._head, self._document
        about = {term: _text(value) for term, value in head["about"].items()}
        user = about.get("provone:User") or head["user"]
        if user is not None:
            document.agent("run:user", {"prov:type": _type("prov:Person"), "prov:label": user})
        for pe in head["pes"]:
            told = {
                "prov:type": _type("prov:Plan"),
                "prov:label": self._names[pe["pe"]],
                "d4p:class": pe["class_"],
                "d4p:state": pe["state"],
                "d4p:parameters": _text(pe["parameters"]) if pe["parameters"] else None,
                "s-prov:prov-cluster": head["clusters"].get(pe["pe"]),
            }
            document.entity(self._pe(pe["pe"]), _known(told))
        told = {
            "prov:type": _type("prov:Plan"),
            "prov:label": "graph",
            "d4p:edges": _text(head["edges"]),
        }
        document.entity("run:graph", told)
        for path, digest in head["code"].items():
            document.entity(self._file(path), _file(path, {"role": "code", "sha256": digest}))

    def _end(self) -> None:
        """The run itself: how it ended is known last."""
        head, tail, document = self._head, self._record.tail, self._document
        told = {
            "prov:type": _type("s-prov:WFExecution"),
            "d4p:complete": bool(tail.get("complete")),
            "d4p:failed": tail.get("failed"),
            "d4p:arguments": _text(head["arguments"]) if head["arguments"] else None,
            "d4p:parameters": _text(head["parameters"]) if head["parameters"] else None,
            "d4p:packages": _text(head["packages"]),
            "d4p:one-in": head["one_in"] if head["one_in"] > 1 else None,
            **{f"d4p:{name}": head[name] for name in ("mapping", "processes", "seed", "host")},
            **{f"d4p:{name}": head[name] for name in ("python", "platform", "script")},
            **{term: _text(value) for term, value in head["about"].items()},
        }
        ended = tail.get("ended")
        document.activity(
            "run:run", _time(head["began"]), None if ended is None else _time(ended), _known(told)
        )
        user = (head["about"].get("provone:User") or head["user"]) is not None
        document.wasAssociatedWith("run:run", "run:user" if user else None, "run:graph")
        for path in head["code"]:
            document.used("run:run", self._file(path))
        for path, told in tail.get("files", {}).items():
            known = path in head["code"]
            if not known:
                document.entity(self._file(path), _file(path, told))
            if told["role"] == "input":
                document.used("run:run", self._file(path))
            elif told["role"] == "stream":
                document.wasGeneratedBy(self._file(path), "run:run")
            elif told["role"] == "results":
                document.wasGeneratedBy(self._file(path), "run:run")
                document.wasDerivedFrom(self._file(path), "run:results")
        document.entity(
            "run:results", {"prov:type": _type("prov:Collection"), "prov:label": "results"}
        )

    # --- what happened --------------------------------------------------------------------------

    def _invocation(self, value: list[Any]) -> None:
        _, pe, number, _, own, used, _, _, writes, files, _, ended = value
        document, agent = self._document, self._agent(pe, number)
        read = [path for path, how, *_ in files if how == READ]
        if self._summed:
            activity = f"run:work_{quote(pe, safe='')}"
        else:
            activity = f"run:invocation_{own.hex()}"
        if ended is None:
            self._going_on[own] = activity, value, agent
        else:
            self._going_on.pop(own, None)
            self._activity(activity, value, agent)
            for source in each(used):
                document.used(activity, _item(source))
            for path in read:
                document.used(activity, self._file(path))
        for path, how, *came in files:
            if how != READ:
                document.wasGeneratedBy(self._file(path), activity)
                self._derive(self._file(path), came[0], (*read, *came[1]))
        for written in writes:
            self._written(written, pe, activity, agent, used, read)

    def _activity(self, activity: str, value: list[Any], agent: str) -> None:
        _, pe, _, name, _, _, began, took, _, _, alone, ended = value
        if self._summed:
            sums = self._sums.setdefault(pe, [0, began, began, 0])
            sums[0] += 1
            sums[1], sums[2] = min(sums[1], began), max(sums[2], began + took)
            sums[3] += took
            return
        told = {
            "prov:type": _type("s-prov:Invocation"),
            "d4p:pe": pe,
            "d4p:input": None if alone or not name else name,
            "d4p:method": name if alone else None,
            "d4p:complete": None if ended else False,
        }
        self._document.activity(activity, _time(began), _time(began + took), _known(told))
        self._document.wasAssociatedWith(activity, agent, self._pe(pe))

    def _written(
        self, written: list[Any], pe: str, activity: str, agent: str, used: bytes, read: list[str]
    ) -> None:
        own, output, digest, shown, derived = written[:5]
        extra = written[5] if len(written) > 5 else {}
        told = [
            ("prov:type", _type("s-prov:Data")),
            ("prov:value", shown),
            ("d4p:pe", pe),
            ("d4p:output", output),
            ("d4p:sha256", None if digest is None else digest.hex()),
            ("prov:location", extra.get("location")),
            ("d4p:format", extra.get("format")),
        ]
        for term, found in extra.get("metadata", {}).items():
            told.append((f"meta:{quote(term, safe='')}", _text(found)))
        document = self._document
        document.entity(_item(own), [pair for pair in told if pair[1] is not None])
        document.wasGeneratedBy(_item(own), activity)
        document.wasAttributedTo(_item(own), agent)
        owns = used if derived is None else derived
        self._derive(_item(own), owns, files_behind(written, read))

    def _derive(self, what: str, owns: bytes, paths: Iterable[str]) -> None:
        for source in each(owns):
            self._document.wasDerivedFrom(what, _item(source))
        for path in dict.fromkeys(paths):
            self._document.wasDerivedFrom(what, self._file(path))

    def _input(self, value: list[Any]) -> None:
        _, own, pe, place, digest, shown = value
        told = {
            "prov:type": _type("d4p:Input"),
            "prov:value": shown,
            "d4p:pe": pe,
            "d4p:place": place,
            "d4p:sha256": None if digest is None else digest.hex(),
        }
        self._document.entity(_item(own), _known(told))

    def _held(self, value: list[Any]) -> None:
        _, pe, number, path, came, read = value
        self._document.wasAttributedTo(self._file(path), self._agent(pe, number))
        self._derive(self._file(path), came, read)

    def _collection(self, value: list[Any]) -> None:
        _, own, members, paths = value
        self._document.entity(_item(own), {"prov:type": _type("prov:Collection")})
        for member in (*map(_item, each(members)), *map(self._file, paths)):
            self._document.hadMember(_item(own), member)
        self._derive(_item(own), members, paths)

    def _result(self, value: list[Any]) -> None:
        _, _, _, trace, went_to = value
        for stream in went_to:
            for source in each(sources(trace)):
                self._document.wasDerivedFrom(
                    self._file(self._head["streams"][stream]), _item(source)
                )
        if not went_to and len(trace) == SIZE:
            self._document.hadMember("run:results", _item(trace))

    def _sum_up(self) -> None:
        for pe, (count, began, ended, seconds) in self._sums.items():
            told = {
                "prov:type": _type("s-prov:Component"),
                "d4p:pe": pe,
                "d4p:invocations": int(count),
                "d4p:seconds": seconds,
            }
            activity = f"run:work_{quote(pe, safe='')}"
            self._document.activity(activity, _time(began), _time(ended), told)
            self._document.wasAssociatedWith(activity, None, self._pe(pe))

    # --- names ----------------------------------------------------------------------------------

    def _agent(self, pe: str, number: int) -> str:
        name = f"run:instance_{quote(pe, safe='')}_{number}_{quote(self._worker, safe='')}"
        if name not in self._agents:
            self._agents.add(name)
            told = {
                "prov:type": _type("s-prov:ComponentInstance"),
                "prov:label": f"{self._names.get(pe, pe)} {number}",
                "d4p:process": self._worker,
            }
            self._document.agent(name, told)
            if (self._head["about"].get("provone:User") or self._head["user"]) is not None:
                self._document.actedOnBehalfOf(name, "run:user")
        return name

    def _pe(self, pe: str) -> str:
        return f"run:pe_{quote(pe, safe='')}"

    def _file(self, path: str) -> str:
        return self._files.setdefault(path, f"run:file_{len(self._files) + 1}")


@cache
def _type(name: str) -> Any:
    """A type, as a qualified name."""
    from prov.constants import PROV  # type: ignore[import-untyped]
    from prov.identifier import Namespace  # type: ignore[import-untyped]

    prefix, _, local = name.partition(":")
    return PROV[local] if prefix == "prov" else Namespace(prefix, _TERMS[prefix])[local]


def _item(own: bytes) -> str:
    return f"run:item_{own.hex()}"


def _file(path: str, told: dict[str, Any]) -> dict[str, Any]:
    return _known(
        {
            "prov:type": _type("d4p:File"),
            "prov:label": Path(path).name,
            "prov:location": path,
            "d4p:role": told["role"],
            "d4p:sha256": told.get("sha256"),
            "d4p:bytes": told.get("bytes"),
        }
    )


def _known(told: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in told.items() if value is not None}


def _text(value: Any) -> Any:
    """A value as an attribute: numbers and texts as they are, others as JSON."""
    if isinstance(value, (str, int, float)):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
