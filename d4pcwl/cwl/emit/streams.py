"""The streams of a stage as parameters and outputs of its tool.

A stream in a file has the items of one output of a PE. If the stage that takes them runs in shards,
there is one file for each shard. If the stage that writes them runs in shards, each shard writes
such files. So another stage may take one file or several.
"""

from __future__ import annotations

from dataclasses import dataclass

from d4pcwl.cwl.emit.parameter import STREAM_FORMAT, Output, Parameter, option
from d4pcwl.cwl.emit.parts import SHARD, Tool
from d4pcwl.cwl.emit.references import literal
from d4pcwl.workflow.cut import Stage
from d4pcwl.workflow.edges import Edge
from d4pcwl.workflow.shards import Passage, Sharding


@dataclass(frozen=True)
class Stream:
    """Items of an output that cross a cut.

    :param port: the output, ``PE.output``
    :param taken_at: the input, ``PE.input``, whose shards it is split for; empty: all items
    """

    port: str
    taken_at: str = ""

    @property
    def name(self) -> str:
        """A name for parameters and outputs."""
        name = self.port.replace(".", "_")
        return f"{name}_for_{self.taken_at.replace('.', '_')}" if self.taken_at else name

    def __str__(self) -> str:
        return f"{self.port} for {self.taken_at}" if self.taken_at else self.port


@dataclass(frozen=True)
class Taken:
    """A stream that a stage takes.

    :param many: whether it comes in several files
    :param sharded: whether each shard takes a part of its own
    """

    stream: Stream
    many: bool
    sharded: bool


@dataclass(frozen=True)
class StageStreams:
    """The streams that a stage takes and writes.

    :param left: to each stream the number of files: one, or one for each shard that takes them
    :param sharded: whether the stage runs in shards
    """

    taken: tuple[Taken, ...]
    left: dict[Stream, int]
    sharded: bool


def streams_of(sharding: Sharding, stage: Stage) -> StageStreams:
    """The streams of one stage, each once, in the order of the graph's edges."""
    taken: dict[Stream, Taken] = {}
    for edge in sharding.cut.entering(stage):
        passage, stream = sharding.passage(edge), _stream(sharding, edge)
        from_shards = sharding.cut.stage_of(edge.source) in sharding.sharded
        taken[stream] = Taken(
            stream,
            many=from_shards and passage is not Passage.ALIGNED,
            sharded=passage in (Passage.ALIGNED, Passage.SPLIT),
        )
    left: dict[Stream, int] = {}
    for edge in sharding.cut.leaving(stage):
        split = sharding.passage(edge) is Passage.SPLIT
        left[_stream(sharding, edge)] = sharding.count if split else 1
    return StageStreams(tuple(taken.values()), left, stage in sharding.sharded)


def _stream(sharding: Sharding, edge: Edge) -> Stream:
    names = sharding.cut.graph.names
    port = f"{names[edge.source.id]}.{edge.output}"
    if sharding.passage(edge) in (Passage.WHOLE, Passage.ALIGNED):
        return Stream(port)
    first = sharding.first_alike(edge)
    return Stream(port, f"{names[first.target.id]}.{first.input}")


def add_taken(tool: Tool, streams: StageStreams) -> None:
    """The parameters for streams, and the one for the shard's number."""
    if streams.sharded:
        tool.add(Parameter(SHARD, "int", "The number of the shard, from 0", sample=0))
    for taken in streams.taken:
        many = {"type": "array", "items": "File", "inputBinding": {"prefix": "--from"}}
        tool.add(
            Parameter(
                tool.free(taken.stream.name),
                many if taken.many else "File",
                f"The items of {taken.stream}",
                format=STREAM_FORMAT,
                streamable=True,
                binding={"position": 6} if taken.many else {"position": 6, "prefix": "--from"},
                sample=taken.stream.port,
                key=taken,
            )
        )


def add_left(tool: Tool, streams: StageStreams) -> None:
    """The outputs that are streams, and the options that name their files."""
    suffix = f".$(inputs.{SHARD})" if streams.sharded else ""
    for stream, count in streams.left.items():
        files = []
        for number in range(count):
            name = stream.name if count == 1 else f"{stream.name}_{number}"
            name = tool.free_output(name)
            files.append(f"{name}{suffix}.d4ps")
            part = "" if count == 1 else f", shard {number}"
            tool.outputs.append(
                Output(
                    name,
                    "File",
                    files[-1],
                    f"The items of {stream}{part}",
                    format=STREAM_FORMAT,
                    streamable=True,
                    key=stream,
                )
            )
        if stream.taken_at:
            values = [literal(stream.port), literal(stream.taken_at), *files]
            tool.arguments.append({"position": 6, "prefix": "--split", "valueFrom": values[0]})
            tool.arguments += [{"position": 6, "valueFrom": value} for value in values[1:]]
        else:
            port = literal(stream.port, beside_reference=streams.sharded)
            tool.arguments.append(option(6, "--to", f"{port}={files[0]}"))
