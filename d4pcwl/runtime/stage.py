"""Running one stage of a cut graph by itself: streams come from files, and go to files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from d4pcwl.errors import GraphError, StreamFileError, UsageError, nearest, raise_faults
from d4pcwl.runtime.results import Sink, SinkByPort, StreamFileSink
from d4pcwl.workflow.flat import FlatGraph
from d4pcwl.workflow.graph import Edge
from d4pcwl.workflow.pe import GenericPE

Files = Mapping[str, Path]
"""From ``PE.output`` (ids) to a stream file."""


class StreamFileReader(GenericPE):
    """Stands in for the PE of another stage: it writes the items of its stream file."""

    def __init__(self, name: str, path: Path, allow_pickle: bool) -> None:
        super().__init__()
        self.name = self.id = name
        self.path = path
        self.allow_pickle = allow_pickle
        self._add_output("output")

    def check(self) -> None:
        """Look at the head of the file: a wrong file is told of before anything runs.

        :raises StreamFileError: it is no stream file, or has the items of another output
        """
        from d4pcwl.runtime.stream_file import StreamReader

        if self.path.is_fifo():
            return  # what is read from it is gone
        with StreamReader(self.path, allow_pickle=self.allow_pickle) as reader:
            held = [".".join(port) for port in reader.ports]
        if held != [self.id]:
            raise StreamFileError(
                f"--from {self.id}: {self.path} holds the items of {', '.join(held) or 'nothing'}"
            )

    def process(self, inputs: dict[str, Any]) -> Iterator[dict[str, Any]]:
        from d4pcwl.runtime.stream_file import StreamReader

        with StreamReader(self.path, allow_pickle=self.allow_pickle) as reader:
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
    graph: FlatGraph, pes: Sequence[Any], sources: Files, *, allow_pickle: bool = False
) -> FlatGraph:
    """The graph of one stage, with a reader of a stream file for each output that it takes from
    another stage.

    :param pes: the PEs of the stage
    :param sources: the stream file of each such output
    :raises UsageError: an output has no file, or a file is given for what is no such output
    :raises StreamFileError: a file cannot be opened, or holds the items of another output
    """
    inside = {id(pe) for pe in pes}
    readers: dict[str, StreamFileReader] = {}
    edges: list[Edge] = []
    taken: set[str] = set()
    for edge in graph.edges:
        if id(edge.target) not in inside:
            continue
        if id(edge.source) in inside:
            edges.append(edge)
            continue
        port = f"{edge.source.id}.{edge.output}"
        taken.add(port)
        if port in sources:
            if port not in readers:
                readers[port] = StreamFileReader(port, sources[port], allow_pickle)
            edges.append(Edge(readers[port], "output", edge.target, edge.input))
    _check_ports("--from", sources, taken)
    for reader in readers.values():
        reader.check()
    ordered = [pe for pe in graph.pes if id(pe) in inside]
    return FlatGraph((*readers.values(), *ordered), tuple(edges), graph.composites)


def leaving(graph: FlatGraph, pes: Sequence[Any]) -> list[tuple[Any, str]]:
    """The outputs of a stage that other stages take items from, each once."""
    inside = {id(pe) for pe in pes}
    ports = {
        (id(edge.source), edge.output): (edge.source, edge.output)
        for edge in graph.edges
        if id(edge.source) in inside and id(edge.target) not in inside
    }
    return list(ports.values())


def stage_sink(
    graph: FlatGraph,
    pes: Sequence[Any],
    targets: Files,
    results: Sink,
    *,
    allow_pickle: bool = False,
) -> tuple[SinkByPort, list[tuple[Any, str]]]:
    """Where a stage's items go, and the outputs that they come from.

    :param targets: the stream file of each output that other stages take from
    :param results: takes the items of outputs that nobody takes from
    :raises UsageError: an output has no file, or a file is given for what is no such output
    """
    ports = leaving(graph, pes)
    _check_ports("--to", targets, {f"{pe.id}.{output}" for pe, output in ports})
    sinks: dict[tuple[str, str], list[Sink]] = {}
    for pe, output in ports:
        path = targets[f"{pe.id}.{output}"]
        port = (pe.id, output)
        sinks[port] = [StreamFileSink(path, [port], allow_pickle=allow_pickle)]
    chosen = {id(pe) for pe in pes}
    ends = [(pe, output) for pe, output in graph.unconnected if id(pe) in chosen]
    for pe, output in ends:
        sinks[pe.id, output] = [results]
    return SinkByPort(sinks), [*ports, *ends]


def _check_ports(option: str, given: Files, needed: set[str]) -> None:
    faults = [
        f"{option} {port}=FILE is missing: the stage exchanges these items with others"
        for port in sorted(needed - set(given))
    ]
    faults += [
        f"{option} {port}: no such stream at this stage{nearest(port, needed)}"
        for port in sorted(set(given) - needed)
    ]
    raise_faults(UsageError, faults)
