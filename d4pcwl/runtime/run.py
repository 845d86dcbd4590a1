"""Running graphs from Python: :func:`run` and :func:`stream`."""

from __future__ import annotations

import inspect
import os
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from types import FunctionType
from typing import TYPE_CHECKING, Any

from d4pcwl.errors import ScriptError, UsageError, nearest
from d4pcwl.runtime.engine.instance import Halt, Receive
from d4pcwl.runtime.engine.policy import Policy, parse_policy
from d4pcwl.runtime.engine.values import IMMUTABLE, snapshot, weight
from d4pcwl.runtime.job import Job
from d4pcwl.runtime.mappings.registry import (
    BuiltIn,
    Mapping,
    find_mapping,
    require_checkpoints,
    run_job,
)
from d4pcwl.runtime.options import Options
from d4pcwl.runtime.progress import NotebookBlock, notebook
from d4pcwl.runtime.results import Named, Results, Sink
from d4pcwl.trace.format import TraceWriter
from d4pcwl.trace.observer import Observer, Take
from d4pcwl.workflow.edges import is_graph
from d4pcwl.workflow.flat import FlatGraph
from d4pcwl.workflow.inputs import root_inputs
from d4pcwl.workflow.load import Script, build, load
from d4pcwl.workflow.numbering import to_run
from d4pcwl.workflow.parameters import read_builder

if TYPE_CHECKING:
    from d4pcwl.lineage.run_record import RunRecord
    from d4pcwl.runtime.checkpoint.session import Session

_AHEAD = 1000
"""How many results :func:`stream` runs ahead of its reader."""

_AHEAD_BYTES = 8 << 20


@dataclass(frozen=True)
class Result:
    """One result: the PE's name (its id, if the name is not unique), the output, and the item."""

    pe: str
    output: str
    item: Any


def run(
    workflow: Any,
    inputs: Any = None,
    *,
    mapping: BuiltIn | str | Mapping[Any] = "simple",
    processes: int | None = None,
    options: Options | dict[str, Any] | None = None,
    iterations: int = 1,
    on_error: str = "fail",
    time_out: float | None = None,
    seed: int = 0,
    trace: str | os.PathLike[str] | None = None,
    provenance: str | os.PathLike[str] | None = None,
    provenance_config: dict[str, Any] | str | os.PathLike[str] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    every: float | None = None,
    resume: bool = False,
    **parameters: Any,
) -> Results:
    """Run a graph and return the items of its unconnected outputs.

    :param workflow: a graph, a loaded :class:`~d4pcwl.Script`, the path of a script, or a function
        that makes a graph
    :param inputs: the inputs of the roots: a dictionary from PE (object, id or name) to a list of
        input dictionaries or a number of iterations. Without it, each root runs ``iterations``
        times
    :param mapping: how to run the graph: ``simple``, ``multi``, …; or a mapping of your own
    :param processes: how many processes the mapping may use (default: the usable cores)
    :param options: the mapping's own options, by the names that ``dispel4py MAPPING --help`` shows:
        ``{"shared_memory": 64}`` for ``multi`` is its ``--shared-memory 64``, and
        ``{"redis_url": "redis://…"}`` names the server of the Redis mappings. Or an instance of the
        mapping's class of options, such as
        ``d4pcwl.runtime.mappings.multi.MultiOptions(shared_memory=64)``
    :param on_error: what happens when a PE fails on an item: ``fail``, ``retry:N``, ``skip``
        or ``retry:N,skip``; see :mod:`d4pcwl.runtime.engine.policy`
    :param time_out: an item fails if a PE works on it for more than this time, in seconds
    :param seed: the seed of the random numbers that PEs draw with ``self.rng``. Equal seeds give
        equal numbers under every mapping, with any number of processes
    :param trace: a file for the trace of the run, see docs/watching-a-run.md
    :param provenance: a new folder for the record of which items each item comes from, see
        docs/provenance.md
    :param provenance_config: which items are recorded; or a file, or JSON, that says so
    :param checkpoint: a folder for snapshots, with which a run that was killed can go on; see
        docs/resuming.md
    :param every: seconds from one snapshot to the next (default: 60)
    :param resume: go on after the newest snapshot in that folder, if there is one
    :param parameters: arguments of the function that makes the graph
    :returns: PE → output → list of items
    :raises UsageError: there is no such mapping or option, or a value is not valid
    :raises D4pcwlError: the graph or its inputs are not valid, or a PE failed

    A notebook shows the progress of the run below the cell.

    The graph's PEs do not change, because copies of them run. PEs that cannot be copied, such as
    those that hold a lock, run themselves.

    >>> from d4pcwl import SimpleFunctionPE, WorkflowGraph, run
    >>> def double(number):
    ...     return 2 * number
    >>> def increase(number):
    ...     return number + 1
    >>> graph, first, second = WorkflowGraph(), SimpleFunctionPE(double), SimpleFunctionPE(increase)
    >>> graph.connect(first, "output", second, "input")
    >>> results = run(graph, {first: [{"input": 1}, {"input": 5}]})
    >>> results[second]["output"]
    [3, 11]
    >>> run(graph, {first: 1}, mapping="multi", options={"shared_memroy": 64})
    Traceback (most recent call last):
    d4pcwl.errors.UsageError: the mapping multi has no option 'shared_memroy'; did you mean \
shared_memory?
    """
    flat = _flat(workflow, parameters)
    results = Results(flat.names)
    policy = parse_policy(on_error, time_out, ("on_error", "time_out"))
    chosen = find_mapping(mapping)
    own = chosen.options.of(options, chosen.name)
    job = _job(flat, inputs, iterations, processes, results, policy, seed)
    script = os.fspath(workflow) if isinstance(workflow, (str, os.PathLike)) else None
    takers: list[Take] = [] if notebook() is None else [NotebookBlock().take]
    # Each is made when those before it are entered: they clean up if it cannot be made.
    with (
        _record(provenance, provenance_config, chosen, script, parameters) as record,
        _snapshots(chosen, checkpoint, every, resume, parameters) as session,
        TraceWriter(trace) if trace is not None else nullcontext() as writer,
    ):
        if writer is not None:
            takers.append(writer.write)
        if takers:
            observer = Observer(takers, script=script, thorough=writer is not None)
            job = replace(job, observer=observer)
        run_job(chosen, replace(job, record=record, checkpoint=session), own)
    return results


def _snapshots(
    mapping: Mapping[Any],
    folder: str | os.PathLike[str] | None,
    every: float | None,
    resume: bool,
    parameters: dict[str, Any],
) -> AbstractContextManager[Session | None]:
    """The snapshots of a run, if they are asked for."""
    if folder is None:
        if every is not None or resume:
            raise UsageError("every, resume: name the folder of the snapshots: checkpoint=…")
        return nullcontext()
    require_checkpoints(mapping)
    from d4pcwl.runtime.checkpoint.session import Session

    return Session(folder, every, resume=resume, parameters=parameters)


def _record(
    folder: str | os.PathLike[str] | None,
    config: dict[str, Any] | str | os.PathLike[str] | None,
    mapping: Mapping[Any],
    script: str | None,
    parameters: dict[str, Any],
) -> AbstractContextManager[RunRecord | None]:
    """The record of a run, if it is asked for."""
    if folder is None:
        if config is not None:
            raise UsageError("provenance_config: name the folder of the record: provenance=…")
        return nullcontext()
    if mapping.ranks:
        from d4pcwl.runtime.mpi.session import is_first

        if not is_first():
            return nullcontext()
    from d4pcwl.lineage.run_record import RunRecord

    return RunRecord(folder, config, script=script, parameters=parameters)


def stream(
    workflow: Any,
    inputs: Any = None,
    *,
    mapping: BuiltIn | str | Mapping[Any] = "simple",
    processes: int | None = None,
    options: Options | dict[str, Any] | None = None,
    iterations: int = 1,
    on_error: str = "fail",
    time_out: float | None = None,
    seed: int = 0,
    **parameters: Any,
) -> Iterator[Result]:
    """Run a graph and yield each result as soon as it is there. For the arguments see :func:`run`.

    At most a thousand results, or 8 MiB of results, wait for the reader; then the run waits. To end
    the run early, close the iterator. If an item was left out, there is a
    ``Result("", "errors", description)`` for it.

    >>> from d4pcwl import SimpleFunctionPE, WorkflowGraph, stream
    >>> graph, square = WorkflowGraph(), SimpleFunctionPE(lambda number: number**2)
    >>> _ = graph.add(square)
    >>> [result.item for result in stream(graph, {square: [{"input": n} for n in range(4)]})]
    [0, 1, 4, 9]
    """
    flat = _flat(workflow, parameters)
    sink = _QueueSink()
    policy = parse_policy(on_error, time_out, ("on_error", "time_out"))
    named = Named(sink, flat.names)
    job = replace(_job(flat, inputs, iterations, processes, named, policy, seed), check=sink.check)
    chosen = find_mapping(mapping)
    own = chosen.options.of(options, chosen.name)
    thread = threading.Thread(target=sink.feed_from, args=(lambda: run_job(chosen, job, own),))
    thread.start()
    try:
        yield from sink
    finally:
        sink.stop()
        thread.join()


def _flat(workflow: Any, parameters: dict[str, Any]) -> FlatGraph:
    if isinstance(workflow, (str, os.PathLike)):
        return load(workflow, None, parameters).flat()
    if isinstance(workflow, FunctionType):
        return build(read_builder(workflow), parameters).flat()
    if parameters:
        known = [name for name, value in _KEYWORDS.items() if value.kind is value.KEYWORD_ONLY]
        name = next(iter(parameters))
        raise UsageError(
            f"there is no argument '{name}'{nearest(name, known)}; only a workflow that a function "
            "makes has parameters"
        )
    if isinstance(workflow, Script):
        return workflow.flat()
    if isinstance(workflow, FlatGraph):
        return workflow
    if not is_graph(workflow):
        raise ScriptError(
            f"expected a WorkflowGraph, a function that makes one, or a script, not "
            f"{type(workflow).__name__}"
        )
    return to_run(workflow)


def _job(
    flat: FlatGraph,
    inputs: Any,
    iterations: int,
    processes: int | None,
    sink: Sink,
    policy: Policy,
    seed: int,
) -> Job:
    if processes is not None and processes < 1:
        raise UsageError(f"at least one process is needed, not {processes}")
    given = root_inputs(flat, inputs, iterations)
    return Job(flat, given, sink, processes=processes, own_pes=False, policy=policy, seed=seed)


class _Closed(BaseException):
    """Nobody reads the results any more."""


class _QueueSink:
    """Passes results from the thread that runs the graph to the thread that reads them."""

    def __init__(self) -> None:
        self._queue: queue.Queue[tuple[Result, int] | BaseException | None] = queue.Queue(_AHEAD)
        self._bytes = 0  # in the queue
        self._room = threading.Condition()
        self._stopped = False

    def take(self, pe: str, output: str) -> Receive:
        def receive(item: Any) -> None:
            size = weight(item)
            with self._room:
                self._room.wait_for(lambda: self._bytes < _AHEAD_BYTES or self._stopped)
                self._bytes += size
            self.check()
            own = item if type(item) in IMMUTABLE else snapshot(item)
            self._queue.put((Result(pe, output, own), size))

        return receive

    def check(self) -> None:
        """Raise an error if nobody reads the results any more."""
        if self._stopped:
            raise _Closed

    def feed_from(self, work: Callable[[], None]) -> None:
        end: BaseException | None = None
        try:
            work()
        except _Closed:
            pass
        except BaseException as error:  # noqa: BLE001 - raised again in the reader's thread
            end = error.error if isinstance(error, Halt) else error
        self._put_end(end)

    def _put_end(self, end: BaseException | None) -> None:
        while True:
            try:
                self._queue.put(end, timeout=0.1)
                return
            except queue.Full:
                if self._stopped:
                    return

    def stop(self) -> None:
        with self._room:
            self._stopped = True
            self._room.notify_all()
        while not self._queue.empty():
            self._queue.get_nowait()

    def __iter__(self) -> Iterator[Result]:
        while True:
            found = self._queue.get()
            if found is None:
                return
            if isinstance(found, BaseException):
                raise found
            result, size = found
            with self._room:
                self._bytes -= size
                self._room.notify_all()
            yield result


_KEYWORDS = inspect.signature(run).parameters
