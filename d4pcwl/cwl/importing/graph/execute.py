"""A run of a document: the graph runs with jobs under a mapping, and makes output objects."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from typing import Any

from d4pcwl.cwl.emit.parameter import TRACE_FORMAT
from d4pcwl.cwl.files import local_path
from d4pcwl.cwl.importing.cwltool.document import Document
from d4pcwl.cwl.importing.cwltool.outdir import relocated
from d4pcwl.cwl.importing.cwltool.research_object import ResearchObject
from d4pcwl.cwl.importing.graph.cwl_graph import DocumentGraph, runner_graph
from d4pcwl.cwl.importing.graph.loops import ITERATION, LoopPE
from d4pcwl.cwl.importing.graph.pes import EVENTS, FAILURES, TASK, ToolPE
from d4pcwl.errors import UnsupportedFeature
from d4pcwl.runtime.engine.instance import Receive
from d4pcwl.runtime.engine.plan import usable_cores
from d4pcwl.runtime.job import Job
from d4pcwl.runtime.mappings.registry import Mapping, find_mapping, run_job
from d4pcwl.runtime.options import Options
from d4pcwl.trace.observer import Observer
from d4pcwl.workflow.flat import FlatGraph, flatten
from d4pcwl.workflow.inputs import RootInputs


@dataclass
class Finished:
    """The end of one job.

    :param number: its number, from 0
    :param outputs: its output object, with final locations
    :param failed: whether something in it failed; missing outputs are null
    """

    number: int
    outputs: dict[str, Any]
    failed: bool


@dataclass
class Run:
    """One run of a document.

    :param jobs: the input objects
    :param outdir: where output files go
    :param mapping: the name of the mapping; None: the best for this graph
    :param processes: how many tools run at a time; None: the usable cores
    :param options: the mapping's own options; None: its defaults
    :param finished: called with each job's end, in the order of the jobs
    :param failed: called with the message of each failure
    :param observer: takes what the processes measure, if anybody needs it
    :param empty_printed: also return the printed text of ``d4p2cwl``'s tools if it is empty
    :param research: the record of what runs, if there is one; then there is one job
    :param apart: each job's files go to a separate folder with its number, from 1, as the name
    """

    document: Document
    jobs: list[dict[str, Any]]
    outdir: str
    finished: Callable[[Finished], None]
    failed: Callable[[str], None]
    mapping: str | None = None
    processes: int | None = None
    options: Options | None = None
    say: Callable[[str], None] = lambda message: None
    apart: bool = False
    empty_printed: bool = False
    observer: Observer | None = None
    research: ResearchObject | None = None
    _waiting: dict[int, tuple[dict[str, Any], bool]] = field(default_factory=dict)
    _next: int = 0
    _failed: set[int] = field(default_factory=set)
    _unsupported: list[str] = field(default_factory=list)
    _move: bool = True
    _printed: set[str] = field(default_factory=set)

    def run(self) -> None:
        """Run all jobs.

        :raises UnsupportedFeature: a tool needs a feature that is not supported
        :raises RunError: a worker died
        """
        graph, flat, mapping, number = self.settled()
        self._move = not (graph.dead_ends() and len(self.jobs) > 1)
        self._printed = set() if self.empty_printed else graph.printed()
        if self.research is not None:
            (given,) = self.jobs
            self.research.begin(self.document, ((), (0,)), given)
        jobs = [{"job": (number, job)} for number, job in enumerate(self.jobs)]
        inputs: RootInputs = {graph.inputs.id: jobs}
        job = Job(flat, inputs, self, say=self.say, processes=number, observer=self.observer)
        run_job(mapping, job, self.options)
        if self._unsupported:
            raise UnsupportedFeature("\n".join(self._unsupported))

    def settled(self) -> tuple[DocumentGraph, FlatGraph, Mapping[Any], int]:
        """The graph, its flat form, the mapping, and the number of its processes.

        :raises InputError: with all faults of the document's links
        """
        graph = runner_graph(self.document)
        flat = flatten(graph)
        followed = graph.let_follow()
        mapping = find_mapping(self.mapping or self._best_mapping(flat, followed))
        number = self.processes or usable_cores()
        if mapping.pooled:
            # That many processes run tools. One more is for the joins, and some for tools that read
            # streams while they are written: they mostly wait.
            number += 1 + min(followed, number)
        return graph, flat, mapping, number

    def _best_mapping(self, graph: FlatGraph, followed: int) -> str:
        """``simple`` if no two tools can run side by side, otherwise ``dyn_multi``."""
        many = (
            followed or len(self.jobs) > 1 or any(getattr(pe, "scatter", None) for pe in graph.pes)
        )
        alone = not many and _is_chain(graph)
        return "simple" if alone or (self.processes or usable_cores()) == 1 else "dyn_multi"

    # --- what comes out (a Sink of the runtime) -----------------------------------------------

    def take(self, pe: str, output: str) -> Receive:
        """See :class:`d4pcwl.runtime.results.Sink`."""
        if output == EVENTS:
            assert self.research is not None
            return self.research.take
        return self._take_failure if output == FAILURES else self._take_result

    def _take_failure(self, report: dict[str, Any]) -> None:
        message = report["message"]
        self._failed.add(report["job"])
        if len(self.jobs) > 1:
            message = f"job {report['job'] + 1}: {message}"
        if report["unsupported"]:
            self._unsupported.append(message)
        else:
            self.failed(message)

    def _take_result(self, result: tuple[int, dict[str, Any], bool]) -> None:
        number, outputs, failed = result
        self._waiting[number] = (outputs, failed)
        if self.observer is not None:
            self.observer.note("job", f"job {number + 1} {'failed' if failed else 'is done'}")
            for file in _traces(outputs):
                self.observer.join(file)
        if len(self.jobs) > 1:
            self.hand_out()

    def hand_out(self) -> None:
        """Pass on the outputs that are there, in the order of the jobs. Call it at the end."""
        while self._next in self._waiting:
            outputs, failed = self._waiting.pop(self._next)
            failed = failed or self._next in self._failed
            if self.research is not None:
                self.research.end(outputs)
            final = self._relocated(self._next, outputs)
            self.finished(Finished(self._next, final, failed))
            self._next += 1

    def _relocated(self, number: int, outputs: dict[str, Any]) -> dict[str, Any]:
        for name in self._printed & outputs.keys():
            outputs[name] = _without_empty(outputs[name])
        settings = self.document.settings
        action = settings.outputs if self._move or settings.outputs != "move" else "copy"
        outdir = os.path.join(self.outdir, str(number + 1)) if self.apart else self.outdir
        return relocated(outputs, outdir, action, settings)


def _traces(outputs: Any) -> Iterator[str]:
    """The traces among output files."""
    if isinstance(outputs, list):
        for entry in outputs:
            yield from _traces(entry)
    elif isinstance(outputs, dict):
        if outputs.get("class") == "File" and outputs.get("format") == TRACE_FORMAT:
            yield local_path(outputs)
        elif "class" not in outputs:
            yield from _traces(list(outputs.values()))


def _without_empty(files: Any) -> Any:
    """A file, or the files of a list, without empty ones."""
    if isinstance(files, list):
        return [file for file in files if _without_empty(file) is not None]
    return None if isinstance(files, dict) and files.get("size") == 0 else files


def _is_chain(graph: FlatGraph) -> bool:
    """Whether each tool depends on another, so that no two run at a time."""
    # A loop counts as two nodes, one before its iterations and one after them.
    before: dict[tuple[int, bool], set[tuple[int, bool]]] = {}
    for pe in graph.pes:
        before[id(pe), False] = set()
        if isinstance(pe, LoopPE):
            before[id(pe), True] = {(id(pe), False)}
    for edge in graph.edges:
        leaves = isinstance(edge.source, LoopPE) and edge.output != ITERATION
        returns = isinstance(edge.target, LoopPE) and edge.input != TASK
        before[id(edge.target), returns].add((id(edge.source), leaves))
    tools = {(id(pe), False) for pe in graph.pes if isinstance(pe, ToolPE)}
    after: dict[tuple[int, bool], int] = {}  # the tools on the longest way to its end
    for node in TopologicalSorter(before).static_order():
        after[node] = max((after[other] for other in before[node]), default=0) + (node in tools)
    return max(after.values()) == len(tools)
