"""The options of ``dispel4py`` that run one stage of a cut graph, as compiled CWL does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from d4pcwl.lineage.run_record import RunRecord
    from d4pcwl.runtime.results import Sink, StreamFileSink
    from d4pcwl.runtime.stage import Target
    from d4pcwl.runtime.stage_streams import SourceFile
    from d4pcwl.workflow.flat import FlatGraph
    from d4pcwl.workflow.inputs import RootInputs


def add_options(group: argparse._ArgumentGroup) -> None:
    """Add the options for the PEs of a stage, and for the files of its streams."""
    group.add_argument("--stage", metavar="ID,ID,…", help="run only the stage with these PEs")
    group.add_argument("--expect", metavar="DIGEST", help="fail if the stage has another digest")
    group.add_argument(
        "--from",
        dest="sources",
        action="append",
        default=[],
        type=_source,
        metavar="[PE.PORT=]FILE",
        help="a stream file with items from another stage; without --stage, the trace of a run to "
        "learn from",
    )
    group.add_argument(
        "--to",
        dest="targets",
        action="append",
        default=[],
        type=_target,
        metavar="PE.PORT=FILE",
        help="write the items of this output, which another stage takes, to FILE",
    )
    group.add_argument(
        "--split",
        dest="splits",
        action="append",
        default=[],
        nargs="+",
        metavar=("PE.PORT PE.PORT FILE", "FILE"),
        help="write the items of the first PE.PORT to these files, one for each shard of the "
        "stage that has the second PE.PORT as an input",
    )


def read(
    options: argparse.Namespace,
    whole: FlatGraph,
    given: Any,
    make_sink: Callable[[list[tuple[str, str]]], Sink],
    record: RunRecord | None,
) -> tuple[FlatGraph, RootInputs, Sink, list[tuple[Any, str]], list[StreamFileSink]]:
    """The graph, inputs, sink and results of the stage that the options name, and the stream files
    that it writes.

    :param given: the inputs of roots; they may contain roots of other stages, too
    :param make_sink: makes the sink for the results of the given outputs
    :param record: the record of the run, if it has one
    :raises D4pcwlError: there is no such stage, or its files are not valid
    """
    from dataclasses import replace

    from d4pcwl.runtime.stage import chosen_pes, stage_graph, stage_sink
    from d4pcwl.runtime.stage_streams import READERS
    from d4pcwl.workflow.inputs import root_inputs

    pes = chosen_pes(whole, _stage_names(whole, options.stage), options.expect)
    pickles = options.allow_pickle

    def named(port: str) -> str:
        pe, _, output = port.rpartition(".")
        found = whole.find(pe)
        return f"{whole.names[found[0].id]}.{output}" if len(found) == 1 else port

    sources = [replace(source, port=named(source.port)) for source in options.sources]
    graph = stage_graph(whole, pes, sources, allow_pickle=pickles)
    if given is None:
        inputs = root_inputs(graph, None, options.iter)
    else:
        inside = {pe.id for pe in pes}
        inputs = {pe: v for pe, v in root_inputs(whole, given).items() if pe in inside}
    inputs.update({pe.id: 1 for pe in graph.pes if isinstance(pe, READERS)})
    ends = [(pe.id, output) for pe, output in whole.unconnected if pe in pes]
    targets = [
        replace(target, port=named(target.port), input=named(target.input))
        for target in (*options.targets, *map(_split, options.splits))
    ]
    # A compiled step has no way to get --allow-pickle.
    asked = None if options.expect and not pickles else pickles
    sink, ports, written = stage_sink(
        whole, pes, targets, make_sink(ends), stage=graph, allow_pickle=asked, record=record
    )
    return graph, inputs, sink, ports, written


def _stage_names(whole: FlatGraph, text: str) -> list[str]:
    """The names in ``--stage``; a name may contain a comma."""
    names: list[str] = []
    parts = [part for part in text.split(",") if part]
    while parts:
        ends = range(len(parts), 0, -1)
        end = next((n for n in ends if whole.find(",".join(parts[:n]))), 1)
        names.append(",".join(parts[:end]))
        parts = parts[end:]
    return names


def _source(text: str) -> SourceFile:
    from d4pcwl.runtime.stage_streams import SourceFile

    port, equals, path = text.partition("=")
    if equals and path and "." in port and "/" not in port:
        return SourceFile(Path(path), port)
    return SourceFile(Path(text))


def _target(text: str) -> Target:
    from argparse import ArgumentTypeError

    from d4pcwl.runtime.stage import Target

    port, equals, path = text.partition("=")
    if not equals or not path or "." not in port:
        raise ArgumentTypeError(f"expected PE.PORT=FILE, not {text!r}")
    return Target(port, (Path(path),))


def _split(values: list[str]) -> Target:
    """The files of a ``--split``.

    :raises UsageError: it names no files
    """
    from d4pcwl.errors import UsageError
    from d4pcwl.runtime.stage import Target

    if len(values) < 3:
        raise UsageError(
            f"--split {' '.join(values)}: expected PE.PORT, the PE.PORT that takes its items, and "
            "a FILE for each shard"
        )
    port, taken_at, *paths = values
    return Target(port, tuple(map(Path, paths)), taken_at)
