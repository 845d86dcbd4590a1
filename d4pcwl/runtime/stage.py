"""Running one stage of a cut graph by itself: streams come from files, and go to files.

A file holds the items of one output: all of them, or a *split*, which is the part that an edge's
grouping sends to one shard of the stage that takes it. The head of a file says what it holds.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from d4pcwl.errors import (
    GraphError,
    ItemError,
    StreamFileError,
    UsageError,
    nearest,
    raise_faults,
)
from d4pcwl.runtime.engine.instance import Receive
from d4pcwl.runtime.engine.routing import by_key, in_turn
from d4pcwl.runtime.results import Sink, SinkByPort, StreamFileSink
from d4pcwl.workflow.edges import Edge
from d4pcwl.workflow.flat import FlatGraph
from d4pcwl.workflow.grouping import GroupBy, Grouping
from d4pcwl.workflow.pe import GenericPE

_SPLIT = "split"
"""The entry of a stream file's metadata that says which part of an output it holds."""


@dataclass(frozen=True)
class Source:
    """A stream file that a stage takes.

    :param path: the file
    :param port: the ``PE.output`` whose items it has, where the file is not to say so itself
    """

    path: Path
    port: str = ""


@dataclass(frozen=True)
class Target:
    """A stream file, or several, that a stage writes.

    :param port: the ``PE.output`` whose items they get
    :param paths: one for each shard of the stage that takes them; one alone gets all
    :param input: the ``PE.input`` by whose grouping items are shared out among several
    """

    port: str
    paths: tuple[Path, ...]
    input: str = ""


class StreamFileReader(GenericPE):
    """Stands in for the PE of another stage: it writes the items of its stream files."""

    def __init__(self, name: str, paths: Sequence[Path], allow_pickle: bool) -> None:
        super().__init__()
        self.name = self.id = name
        self.paths = [Path(os.path.abspath(path)) for path in paths]  # PEs may go elsewhere
        self.allow_pickle = allow_pickle
        self._add_output("output")

    def process(self, inputs: dict[str, Any]) -> Iterator[dict[str, Any]]:
        from d4pcwl.streams.writer import StreamReader

        for path in self.paths:
            with StreamReader(path, allow_pickle=self.allow_pickle) as reader:
                for _, item in reader:
                    yield {"output": item}


def chosen_pes(graph: FlatGraph, names: Sequence[str], expected: str | None = None) -> list[Any]:
    """The PEs with these ids, or names that only one PE has.

    :param expected: the digest of the stage that a CWL document was compiled for
    :raises GraphError: there are no such PEs, or their structure is not the expected one
    """
    found = {name: graph.find(name) for name in names}
    if all(len(pes) == 1 for pes in found.values()):
        chosen = [pes[0] for pes in found.values()]
        if expected in (None, graph.digest(chosen)):
            return chosen
    if expected is not None:
        raise GraphError(
            f"the script has changed since this CWL was made: the PEs {', '.join(names)}, their "
            "ports or their edges are not what they were; compile it again with d4p2cwl"
        )
    known = [pe.id for pe in graph.pes]
    faults = [
        f"--stage: several PEs are called '{name}'; use {', '.join(pe.id for pe in pes)}"
        if pes
        else f"--stage: the graph has no PE '{name}'{nearest(name, known)}"
        for name, pes in found.items()
        if len(pes) != 1
    ]
    raise GraphError("\n".join(faults))


def stage_graph(
    graph: FlatGraph,
    pes: Sequence[Any],
    sources: Iterable[Source],
    *,
    allow_pickle: bool = False,
) -> FlatGraph:
    """The graph of one stage, with a reader of stream files for each output that it takes from
    another stage.

    :param pes: the PEs of the stage
    :param sources: the stream files of these outputs; several of one output are read in their order
    :raises UsageError: an output has no file, or a file is given for what is no such output
    :raises StreamFileError: a file cannot be opened, holds the items of another output, or belongs
        to another shard than the rest
    """
    inside = {id(pe) for pe in pes}
    entering = {
        edge: f"{edge.source.id}.{edge.output}"
        for edge in graph.edges
        if id(edge.target) in inside and id(edge.source) not in inside
    }
    needed, sources = set(entering.values()), list(sources)
    named = {source.port for source in sources if source.port}
    missing = needed - named if all(source.port for source in sources) else set()
    _raise_port_faults("--from", missing, named - needed, needed)
    absent = [
        f"--from {source.path}: no such file" for source in sources if not source.path.exists()
    ]
    raise_faults(UsageError, absent)
    readers = _readers(sources, allow_pickle)
    edges = [
        edge for edge in graph.edges if id(edge.source) in inside and id(edge.target) in inside
    ]
    unread = set(readers)
    for edge, port in entering.items():
        reader = readers.get(_split_name(port, graph.grouping(edge))) or readers.get(port)
        if reader is None:
            missing.add(port)
        else:
            unread.discard(reader.id)
            edges.append(Edge(reader, "output", edge.target, edge.input))
    _raise_port_faults("--from", missing, unread, needed)
    ordered = [pe for pe in graph.pes if id(pe) in inside]
    return FlatGraph((*readers.values(), *ordered), tuple(edges), graph.composites)


def _split_name(port: str, grouping: object) -> str:
    return f"{port} ({grouping})"


def _readers(sources: Iterable[Source], allow_pickle: bool) -> dict[str, StreamFileReader]:
    """A reader for each output, or split of one: the heads of the files are looked at, so that a
    wrong file is reported before anything runs."""
    files: dict[str, list[Path]] = {}
    shards: dict[tuple[int, int], Path] = {}
    for source in sources:
        if source.port and source.path.is_fifo():
            files.setdefault(source.port, []).append(source.path)
            continue  # what is read from it is gone
        port, split = _head(source.path, allow_pickle)
        if source.port not in ("", port):
            raise StreamFileError(
                f"--from {source.port}: {source.path} holds the items of {port or 'nothing'}"
            )
        if split and split["of"] > 1:
            shards.setdefault((split["shard"], split["of"]), source.path)
        name = _split_name(port, split["grouping"]) if split else port
        files.setdefault(name, []).append(source.path)
    if len(shards) > 1:
        told = (f"{path} is for shard {n} of {count}" for (n, count), path in shards.items())
        raise StreamFileError(f"--from: these are of different shards: {', '.join(told)}")
    return {name: StreamFileReader(name, paths, allow_pickle) for name, paths in files.items()}


def _head(path: Path, allow_pickle: bool) -> tuple[str, dict[str, Any] | None]:
    """The output whose items a stream file has, and which split of them it is."""
    from d4pcwl.streams.writer import StreamReader

    with StreamReader(path, allow_pickle=allow_pickle) as reader:
        return ", ".join(".".join(port) for port in reader.ports), reader.header["metadata"].get(
            _SPLIT
        )


def stage_sink(
    graph: FlatGraph,
    pes: Sequence[Any],
    targets: Iterable[Target],
    results: Sink,
    *,
    allow_pickle: bool | None = False,
) -> tuple[SinkByPort, list[tuple[Any, str]]]:
    """Where a stage's items go, and the outputs that they come from.

    :param targets: the stream files of each output that other stages take from
    :param results: takes the items of outputs that nobody takes from
    :raises UsageError: an output has no file, or a file is given for what is no such output
    """
    chosen = {id(pe) for pe in pes}
    leaving = {
        (f"{edge.source.id}.{edge.output}", f"{edge.target.id}.{edge.input}"): edge
        for edge in graph.edges
        if id(edge.source) in chosen and id(edge.target) not in chosen
    }
    ports = {port: (edge.source, edge.output) for (port, _), edge in leaving.items()}
    targets = list(targets)
    given = {target.port for target in targets}
    _raise_port_faults("--to", set(ports) - given, given - set(ports), set(ports))
    sinks: dict[tuple[str, str], list[Sink]] = {}
    for target in targets:
        port = (ports[target.port][0].id, ports[target.port][1])
        sinks.setdefault(port, []).append(
            _split_sink(graph, leaving, target, port, allow_pickle)
            if target.input
            else StreamFileSink(target.paths[0], [port], allow_pickle=allow_pickle)
        )
    ends = [(pe, output) for pe, output in graph.unconnected if id(pe) in chosen]
    for pe, output in ends:
        sinks[pe.id, output] = [results]
    return SinkByPort(sinks), [*ports.values(), *ends]


def _split_sink(
    graph: FlatGraph,
    leaving: Mapping[tuple[str, str], Edge],
    target: Target,
    port: tuple[str, str],
    allow_pickle: bool | None,
) -> Sink:
    edge = leaving.get((target.port, target.input))
    if edge is None:
        known = [input for output, input in leaving if output == target.port]
        raise UsageError(
            f"--split {target.port}: no other stage takes these items at {target.input}"
            f"{nearest(target.input, known)}"
        )
    grouping, count = graph.grouping(edge), len(target.paths)
    sinks = [
        StreamFileSink(
            path,
            [port],
            allow_pickle=allow_pickle,
            metadata={_SPLIT: {"grouping": str(grouping), "shard": shard, "of": count}},
        )
        for shard, path in enumerate(target.paths)
    ]
    return SplitSink(grouping, target.input, sinks)


class SplitSink:
    """Shares items out among sinks: by key, or in turn where the grouping has none.

    :param where: the input that is grouped, for messages
    """

    def __init__(self, grouping: Grouping, where: str, sinks: Sequence[Sink]) -> None:
        self._grouping, self._where, self._sinks = grouping, where, sinks

    def take(self, pe: str, output: str) -> Receive:
        takers = [sink.take(pe, output) for sink in self._sinks]
        if not isinstance(self._grouping, GroupBy):
            return in_turn(takers)

        def refuse(error: Exception) -> None:
            raise ItemError(str(error)) from error

        return by_key(takers, self._grouping, self._where, refuse)

    def close(self, complete: bool) -> None:
        for sink in self._sinks:
            sink.close(complete)


def _raise_port_faults(option: str, missing: set[str], unknown: set[str], known: set[str]) -> None:
    faults = [
        f"{option} {port}=FILE is missing: the stage exchanges these items with others"
        for port in sorted(missing)
    ]
    faults += [
        f"{option} {port}: no such stream at this stage{nearest(port, known)}"
        for port in sorted(unknown)
    ]
    raise_faults(UsageError, faults)
