"""What the modules of ``dispel4py.new`` share: running a graph with a mapping, upstream's way."""

from __future__ import annotations

import argparse
import queue
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from d4pcwl.workflow.inputs import root_inputs
from d4pcwl.workflow.numbering import to_run

if TYPE_CHECKING:
    from d4pcwl.runtime.engine.instance import Receive

STATUS_ACTIVE = 10
STATUS_INACTIVE = 11
STATUS_TERMINATED = 12
STATUS = {STATUS_ACTIVE: "ACTIVE", STATUS_INACTIVE: "INACTIVE", STATUS_TERMINATED: "TERMINATED"}


def process_with(
    mapping: str, workflow: Any, inputs: Any = None, args: Any = None
) -> queue.Queue[Any] | None:
    """Run a graph with a mapping.

    :param args: ``num``, how many processes; ``results``, whether the results are wanted; and the
        mapping's own options, such as ``simple`` or ``redis_ip``
    :returns: with ``args.results`` a queue of the results as (PE id, output, item), ended by
        ``STATUS_TERMINATED``; otherwise they are dropped
    :raises D4pcwlError: the graph, its inputs or ``args`` are not right, or a PE failed
    """
    from d4pcwl.runtime.job import Job
    from d4pcwl.runtime.mappings.registry import find_mapping, run_job
    from d4pcwl.runtime.options import kinds

    chosen = find_mapping(mapping)
    given = {
        name: bool(value) if kind is bool else value
        for name, (kind, _) in kinds(chosen.options).items()
        if (value := getattr(args, name, None)) is not None
    }
    flat = to_run(workflow)
    sink = _QueueSink(keep=bool(getattr(args, "results", False)))
    job = Job(
        flat,
        root_inputs(flat, inputs),
        sink,
        processes=getattr(args, "num", None),
        own_pes=False,
    )
    run_job(chosen, job, chosen.options(**given))
    return sink.ended()


def parse_with(
    mapping: str, args: Sequence[str], namespace: argparse.Namespace | None = None
) -> argparse.Namespace:
    """Read the options of a mapping; what is not one of them is left alone."""
    from d4pcwl.runtime.mappings.registry import find_mapping

    parser = argparse.ArgumentParser(prog=f"dispel4py {mapping}")
    find_mapping(mapping).add_options(parser)
    return parser.parse_known_args(args, namespace)[0]


class _QueueSink:
    """Results in a queue, where they are wanted."""

    def __init__(self, *, keep: bool) -> None:
        self._queue: queue.Queue[Any] | None = queue.Queue() if keep else None

    def take(self, pe: str, output: str) -> Receive:
        from d4pcwl.runtime.engine.values import IMMUTABLE, snapshot

        results = self._queue
        if results is None:
            return lambda item: None
        return lambda item: results.put(
            (pe, output, item if type(item) in IMMUTABLE else snapshot(item))
        )

    def ended(self) -> queue.Queue[Any] | None:
        """The queue, with its end marked."""
        if self._queue is not None:
            self._queue.put(STATUS_TERMINATED)
        return self._queue
