"""Running one stage of a cut graph by itself: streams come from files, and go to files.

A file holds the items of one output: all of them, or a *split*, which is the part that an edge's
grouping sends to one shard of the stage that takes it. The head of a file says what it holds.

If a PE after a sharded stage depends on the order of items, each item in a file has a *mark*, its
place in the order. The stage that splits the items numbers them. A shard passes their marks on
(``runtime/engine/order.py``). The stage that takes the files of several shards merges them by the
marks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d4pcwl.errors import (
    ITEM_LETTERS,
    GraphError,
    ItemError,
    StreamFileError,
    UsageError,
    brief,
    nearest,
    raise_faults,
)
from d4pcwl.runtime.engine.instance import Receive
from d4pcwl.runtime.engine.order import Entrance
from d4pcwl.runtime.engine.routing import by_key, in_turn
from d4pcwl.runtime.recorded import StreamSink
from d4pcwl.runtime.results import Named, Sink, SinkByPort, StreamFileSink
from d4pcwl.runtime.stage_streams import (
    READERS,
    SPLIT,
    WRITER,
    MarkedReader,
    SourceFile,
    StreamFileReader,
    StreamFiles,
    split_name,
    streams_by_name,
)
from d4pcwl.workflow.edges import Edge
from d4pcwl.workflow.flat import FlatGraph
from d4pcwl.workflow.grouping import GroupBy, Grouping
from d4pcwl.workflow.ordering import OrderedEdges

if TYPE_CHECKING:
    from d4pcwl.lineage.run_record import RunRecord

_Port = tuple[str, str]


@dataclass(frozen=True)
class Target:
    """A stream file, or several, that a stage writes.

    :param port: the ``PE.output`` whose items they get
    :param paths: one for each shard of the stage that takes them; a single one gets all
    :param input: the ``PE.input`` whose grouping distributes items to several files
    """

    port: str
    paths: tuple[Path, ...]
    input: str = ""


def chosen_pes(graph: FlatGraph, names: Sequence[str], expected: str | None = None) -> list[Any]:
    """The PEs of these names or ids.

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
            "ports or their edges are different, or other values of its parameters make a "
            "different graph; compile it again with d4p2cwl"
        )
    shown = graph.names
    faults = [
        (
            f"--stage: several PEs have the name '{name}'; use "
            f"{', '.join(shown[pe.id] for pe in pes)}"
        )
        if pes
        else f"--stage: the graph has no PE '{name}'{nearest(name, shown.values())}"
        for name, pes in found.items()
        if len(pes) != 1
    ]
    raise GraphError("\n".join(faults))


def stage_graph(
    graph: FlatGraph,
    pes: Sequence[Any],
    sources: Iterable[SourceFile],
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
        edge: f"{graph.names[edge.source.id]}.{edge.output}"
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
    streams = streams_by_name(sources, allow_pickle)
    edges = [
        edge for edge in graph.edges if id(edge.source) in inside and id(edge.target) in inside
    ]
    shard = _shard(streams.values())
    unread = set(streams)
    taken: dict[Edge, StreamFiles] = {}
    for edge, port in entering.items():
        stream = streams.get(split_name(port, graph.grouping(edge))) or streams.get(port)
        if stream is None:
            missing.add(port)
        else:
            unread.discard(stream.name)
            taken[edge] = stream
    _raise_port_faults("--from", missing, unread, needed)
    ordered = [pe for pe in graph.pes if id(pe) in inside]
    readers: dict[str, tuple[Any, str]] = {}
    entrance = _entrance(graph, ordered, taken, shard)
    if entrance is not None:
        marked = {
            f"output{number}": stream
            for number, stream in enumerate(s for s in streams.values() if s.marked)
        }
        reader = MarkedReader(marked, entrance)
        readers = {stream.name: (reader, output) for output, stream in marked.items()}
    for name, stream in streams.items():
        if name not in readers:
            readers[name] = (StreamFileReader(name, stream), "output")
    edges += [
        Edge(*readers[stream.name], edge.target, edge.input) for edge, stream in taken.items()
    ]
    roots = {id(pe): pe for pe, _ in readers.values()}
    names = {**graph.names, **{pe.id: pe.id for pe in roots.values()}}
    return FlatGraph((*roots.values(), *ordered), tuple(edges), names, graph.composites)


def _shard(streams: Iterable[StreamFiles]) -> tuple[int, int] | None:
    """The shard that the files are for, and the number of shards; None if they are for all.

    :raises StreamFileError: they are for different ones
    """
    shards: dict[tuple[int, int], Path] = {}
    for stream in streams:
        shards |= {n: path for n, path in stream.shards().items() if n not in shards}
    if len(shards) > 1:
        told = (f"{path} is for shard {n} of {count}" for (n, count), path in shards.items())
        raise StreamFileError(f"--from: these files are from different shards: {', '.join(told)}")
    return next(iter(shards), None)


def _entrance(
    graph: FlatGraph,
    pes: Sequence[Any],
    taken: Mapping[Edge, StreamFiles],
    shard: tuple[int, int] | None,
) -> Entrance | None:
    """The entrance for marks that come into a shard and leave it, if there are any.

    :param pes: those of the stage
    :param taken: the edges from other stages, and the files that have their items
    """
    inside = {id(pe) for pe in pes}
    if shard is None or inside & graph.cyclic:
        return None
    ordered = OrderedEdges(graph)
    marked: set[int] = set()  # the PEs to which all items come with marks
    for pe in graph.in_order():
        into = graph.into(pe) if id(pe) in inside else []
        if into and all(
            taken[edge].marked if edge in taken else id(edge.source) in marked for edge in into
        ):
            marked.add(id(pe))
    wanted = frozenset(
        (edge.source.id, edge.output)
        for edge in graph.edges
        if id(edge.source) in marked
        and id(edge.target) not in inside
        and ordered.needed_at_or_after(edge)
    )
    depths = {pe.id: depth for depth, pe in enumerate(graph.in_order())}
    return Entrance(wanted, depths, *shard) if wanted else None


def stage_sink(
    graph: FlatGraph,
    pes: Sequence[Any],
    targets: Iterable[Target],
    results: Sink,
    *,
    stage: FlatGraph,
    allow_pickle: bool | None = False,
    record: RunRecord | None = None,
) -> tuple[SinkByPort, list[tuple[Any, str]]]:
    """The sink of a stage's items, and the outputs that they come from.

    :param targets: the stream files of each output that other stages take from
    :param results: takes the items of outputs that nobody takes from
    :param stage: the graph of the stage
    :param record: notes which items go to which file, if the run is recorded
    :raises UsageError: an output has no file, or a file is given for what is no such output
    """
    chosen, names = {id(pe) for pe in pes}, graph.names
    leaving = {
        (f"{names[edge.source.id]}.{edge.output}", f"{names[edge.target.id]}.{edge.input}"): edge
        for edge in graph.edges
        if id(edge.source) in chosen and id(edge.target) not in chosen
    }
    ports = {port: (edge.source, edge.output) for (port, _), edge in leaving.items()}
    targets = list(targets)
    given = {target.port for target in targets}
    _raise_port_faults("--to", set(ports) - given, given - set(ports), set(ports))
    sinks: dict[_Port, list[Sink]] = {}
    make = _Sinks(graph, leaving, stage, allow_pickle, record)
    for target in targets:
        port = (ports[target.port][0].id, ports[target.port][1])
        sinks.setdefault(port, []).append(make(target, port))
    ends = [(pe, output) for pe, output in graph.unconnected if id(pe) in chosen]
    for pe, output in ends:
        sinks[pe.id, output] = [results]
    return SinkByPort(sinks), [*ports.values(), *ends]


class _Sinks:
    """Makes the sinks of a stage.

    :param leaving: the edges to other stages, by output and input
    """

    def __init__(
        self,
        graph: FlatGraph,
        leaving: Mapping[tuple[str, str], Edge],
        stage: FlatGraph,
        allow_pickle: bool | None,
        record: RunRecord | None,
    ) -> None:
        self._graph, self._leaving, self._pickle = graph, leaving, allow_pickle
        self._record = record
        self._ordered = OrderedEdges(graph)
        roots = [pe for pe in stage.pes if isinstance(pe, READERS)]
        self._entrance = next((pe.entrance for pe in roots if isinstance(pe, MarkedReader)), None)
        self._in_shard = any(pe.in_shard for pe in roots)

    def __call__(self, target: Target, port: _Port) -> Sink:
        """The sink of one output for one target."""
        metadata: dict[str, Any] = {}
        passed = self._entrance is not None and port in self._entrance.wanted
        if self._entrance is not None and passed:
            metadata[WRITER] = {"shard": self._entrance.shard, "of": self._entrance.of}
        if target.input:
            return self._split(target, port, metadata, passed)
        return self._file(target.paths[0], port, metadata, passed)

    def _split(
        self, target: Target, port: _Port, metadata: dict[str, Any], passed: bool
    ) -> SplitSink:
        edge = self._leaving.get((target.port, target.input))
        if edge is None:
            known = [input for output, input in self._leaving if output == target.port]
            raise UsageError(
                f"--split {target.port}: no other stage takes these items at {target.input}"
                f"{nearest(target.input, known)}"
            )
        grouping, count = self._graph.grouping(edge), len(target.paths)
        alike = (  # what is split for one input may be read for others
            other
            for (output, _), other in self._leaving.items()
            if output == target.port and self._graph.grouping(other) == grouping
        )
        numbered = not self._in_shard and any(map(self._ordered.needed_after, alike))
        sinks = []
        for shard, path in enumerate(target.paths):
            split = {"grouping": str(grouping), "shard": shard, "of": count}
            sinks.append(self._file(path, port, {**metadata, SPLIT: split}, passed or numbered))
        return SplitSink(grouping, target.input, sinks, marked=passed, numbered=numbered)

    def _file(self, path: Path, port: _Port, metadata: dict[str, Any], marked: bool) -> Sink:
        names = self._graph.names
        ports = [(names[port[0]], port[1])]
        file = StreamFileSink(
            path, ports, allow_pickle=self._pickle, metadata=metadata, marked=marked
        )
        sink = file if self._record is None else StreamSink(file, self._record, path)
        return Named(sink, names)


class SplitSink:
    """Distributes items to sinks: by key, or in turn if the grouping has no key.

    :param where: the input that is grouped, for messages
    :param marked: items come with their marks, as pairs
    :param numbered: items get marks here, because they come in order
    """

    def __init__(
        self,
        grouping: Grouping,
        where: str,
        sinks: Sequence[Sink],
        *,
        marked: bool = False,
        numbered: bool = False,
    ) -> None:
        self._grouping, self._where, self._sinks = grouping, where, sinks
        self._marked, self._numbered = marked, numbered

    def take(self, pe: str, output: str) -> Receive:
        share = self._sharing(pe, output)
        if not self._numbered:
            return share
        number = 0

        def mark(item: Any) -> None:
            nonlocal number
            share(((number,), item))
            number += 1

        return mark

    def _sharing(self, pe: str, output: str) -> Receive:
        takers = [sink.take(pe, output) for sink in self._sinks]
        if not isinstance(self._grouping, GroupBy):
            return in_turn(takers)

        def refuse(error: Exception, item: Any) -> None:
            raise ItemError(f"{error}\nitem: {brief(item, ITEM_LETTERS)}") from error

        marked = self._marked or self._numbered
        return by_key(takers, self._grouping, self._where, refuse, marked=marked)

    def close(self, complete: bool) -> None:
        for sink in self._sinks:
            sink.close(complete)


def _raise_port_faults(option: str, missing: set[str], unknown: set[str], known: set[str]) -> None:
    faults = [
        f"{option} {port}=FILE is missing: the stage exchanges these items with others"
        for port in sorted(missing)
    ]
    faults += [
        f"{option} {port}: this stage has no such stream{nearest(port, known)}"
        for port in sorted(unknown)
    ]
    raise_faults(UsageError, faults)
