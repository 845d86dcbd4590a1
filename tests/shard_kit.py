"""Running the stages of a graph and their shards one after the other, as an engine would."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from d4pcwl.cwl.emit.streams import Stream, streams_of
from d4pcwl.lineage.run_record import RunRecord
from d4pcwl.runtime.job import Job
from d4pcwl.runtime.mappings.registry import find_mapping, run_job
from d4pcwl.runtime.results import Results
from d4pcwl.runtime.stage import Target, stage_graph, stage_sink
from d4pcwl.runtime.stage_streams import READERS, SourceFile
from d4pcwl.workflow.cut import Stage
from d4pcwl.workflow.inputs import root_inputs
from d4pcwl.workflow.shards import Sharding


def run_stages(
    found: Sharding,
    folder: Path,
    mapping: str = "simple",
    processes: int | None = None,
    *,
    recorded: bool = False,
) -> Iterator[tuple[Stage, Results]]:
    """Run stage after stage, shard after shard: each with its results.

    :param recorded: each has a record, in ``folder/STAGE.SHARD``
    """
    files: dict[tuple[Stream, int], dict[int, Path]] = {}  # (stream, part) → shard → file
    for place, stage in enumerate(found.cut.stages):
        streams = streams_of(found, stage)
        for number in range(found.count if streams.sharded else 1):
            sources: list[SourceFile] = []
            for taken in streams.taken:
                split = taken.sharded and (taken.stream, 1) in files
                parts = files[taken.stream, number if split else 0]
                aligned = taken.sharded and not split and len(parts) > 1
                sources += (
                    [SourceFile(parts[number])] if aligned else map(SourceFile, parts.values())
                )
                assert taken.many == (len(parts) > 1 and not aligned)
            targets = []
            for s, (stream, count) in enumerate(streams.left.items()):
                paths = tuple(folder / f"{place}.{number}.{s}.{part}.d4ps" for part in range(count))
                targets.append(Target(stream.port, paths, stream.taken_at))
                for part, path in enumerate(paths):
                    files.setdefault((stream, part), {})[number] = path
            results = Results(found.cut.graph.names)
            graph = stage_graph(found.cut.graph, stage.pes, sources)
            place_of_record = folder / f"{place}.{number}"
            with RunRecord(place_of_record) if recorded else nullcontext() as record:
                sink, ports, written = stage_sink(
                    found.cut.graph, stage.pes, targets, results, stage=graph, record=record
                )
                inputs = root_inputs(graph)
                inputs.update({pe.id: 1 for pe in graph.pes if isinstance(pe, READERS)})
                job = Job(graph, inputs, sink, results=ports, own_pes=False, processes=processes)
                run_job(find_mapping(mapping), replace(job, record=record))
                for file in written:
                    file.close(True)
            yield stage, results
