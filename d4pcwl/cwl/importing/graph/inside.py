"""The PEs of a CWL document's graph as the mappings run it by themselves: in scripts and from
Python, without ``d4pcwl-runner`` around.

What the runner does around a run is done here by the root (:class:`JobsPE`) before and after it,
and by the end (:class:`ResultsPE`), which puts output files into their places. A failure ends the
run, as a failure of any PE does.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from d4pcwl.cwl.importing.cwltool.document import Document, StepPath
from d4pcwl.cwl.importing.graph.ends import RESULT, LeavePE, OutputsPE
from d4pcwl.cwl.importing.graph.links import Link
from d4pcwl.cwl.importing.graph.loops import LoopPE
from d4pcwl.cwl.importing.graph.pes import (
    FAILURES,
    JOB,
    EnterPE,
    InputsPE,
    JoinPE,
    PassPE,
    ToolPE,
)
from d4pcwl.errors import GraphError, InputError, PEError, UsageError
from d4pcwl.workflow import pe as ports
from d4pcwl.workflow.pe import GenericPE, PreparingPE


@dataclass
class Place:
    """Where a run works, known to all PEs of a graph. It is set before workers are forked.

    :param outdir: where output files go; empty while nothing runs
    :param apart: each job's files go to a folder of their own, named by its number from 1
    :param move: whether output files may be moved, since nothing reads them any more when a job's
        outputs are complete
    """

    outdir: str = ""
    apart: bool = False
    move: bool = True
    _open: Any = field(default_factory=threading.Lock, repr=False)

    def __deepcopy__(self, memo: Any) -> Place:
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": None}


def _without_results(pe: GenericPE, *results: str) -> None:
    """Have only ``results`` among the outputs of a PE be results; failures have no output."""
    pe.outputconnections.pop(FAILURES, None)
    for name, port in pe.outputconnections.items():
        port[ports.RESULT] = name in results


class _RaisingPE(GenericPE):
    def report(self, failure: dict[str, Any]) -> None:
        raise PEError(failure["message"])


class JobsPE(InputsPE, PreparingPE):
    """The root: its inputs are those of the document, and each item is a job order.

    :param names: the inputs of the document
    :param prepare: called before anything runs, when the graph's links are what they will be
    """

    job_orders: ClassVar[bool] = True
    stateful: ClassVar[bool] = False

    def __init__(
        self,
        document: Document,
        place: Place,
        names: Iterable[str],
        prepare: Callable[[], None],
    ) -> None:
        InputsPE.__init__(self, names)
        self.document, self.place, self.prepare = document, place, prepare
        self.inputconnections.clear()
        for name in self.names:
            self._add_input(name)
        _without_results(self)

    @contextmanager
    def around_run(
        self, given: list[dict[str, Any]] | int, mapping: str
    ) -> Iterator[list[dict[str, Any]]]:
        """Check the job orders, and have folders for what is in between while the run lasts.

        :raises InputError: a job order does not fit the document
        :raises UsageError: there can be no such folder, or ranks of ``mpi`` do not share it
        """
        from d4pcwl.cwl.files import with_locations
        from d4pcwl.cwl.importing.cwltool.joborder import initial_inputs, of_script, prepared

        place, document, settings = self.place, self.document, self.document.settings
        given = [{}] * given if isinstance(given, int) else given
        if any("cwl:tool" in order for order in given):
            raise InputError("the job order has cwl:tool, but the script has its document already")
        orders = [of_script(with_locations(order, ""), document.location) for order in given]
        amendments = [(order.requirements, order.overrides) for order in orders] or [([], [])]
        if any(other != amendments[0] for other in amendments):
            raise InputError(
                "cwl:requirements and cwltool:overrides hold for all job orders of a run; these "
                "job orders differ in them: give each alone"
            )
        if not place._open.acquire(blocking=False):
            raise GraphError("this graph is running already; load it once more for another run")
        try:
            with _folders(mapping) as (outdir, folder, scratch), document.amended(*amendments[0]):
                document.settings = replace(settings, folder=folder, scratch=scratch)
                place.outdir, place.apart = outdir, len(orders) > 1
                self.prepare()
                jobs = [initial_inputs(order, document.process) for order in orders]
                yield [{JOB: numbered} for numbered in enumerate(prepared(document, jobs))]
        finally:
            document.settings, place.outdir = settings, ""
            place._open.release()

    def process(self, inputs: dict[str, Any]) -> None:
        super().process({"job": inputs[JOB]})


class GatherPE(JoinPE):
    """The join of a step."""

    def __init__(
        self, path: StepPath, links: Iterable[Link], scatter: Iterable[str], method: str
    ) -> None:
        super().__init__(path, links, scatter, method)
        _without_results(self)


class TurnPE(_RaisingPE, LoopPE):
    """Goes round the loop of a step.

    :param links: how the inputs that change come about
    """

    def __init__(
        self, document: Document, path: StepPath, outputs: Iterable[str], links: Iterable[Link]
    ) -> None:
        super().__init__(document, path, outputs, links)
        _without_results(self)


class RunToolPE(_RaisingPE, ToolPE):
    """A step's tool."""

    def __init__(self, document: Document, path: StepPath, outputs: Iterable[str]) -> None:
        super().__init__(document, path, outputs)
        _without_results(self)

    def preprocess(self) -> None:
        super().preprocess()
        if not self.document.settings.folder:
            raise PEError(
                "this worker has not been started by the run itself: workers from elsewhere cannot "
                "take part in the run of a CWL document"
            )


class BeginPE(_RaisingPE, EnterPE):
    """The beginning of a subworkflow.

    :param names: the inputs of the subworkflow
    """

    def __init__(
        self, document: Document, path: StepPath, outputs: Iterable[str], names: Iterable[str]
    ) -> None:
        super().__init__(document, path, outputs, names)
        self.all_names = list(self.names)
        _without_results(self)

    def leave_to_pass(self, names: Iterable[str]) -> None:
        """Say which inputs go in another way, see :class:`PassPE`."""
        self.passed = set(names)
        self.names = [name for name in self.all_names if name not in self.passed]


class ElementsPE(PassPE):
    """The inputs of a subworkflow that go in element by element."""

    def __init__(self, path: StepPath) -> None:
        super().__init__(path, ())

    def admit(self, name: str) -> None:
        """Let an input go in this way."""
        self._add_input(name)
        self._add_output(name)
        _without_results(self)

    def dismiss(self, name: str) -> None:
        """Let it no longer."""
        del self.inputconnections[name], self.outputconnections[name]


class FinishPE(_RaisingPE, LeavePE):
    """The end of a subworkflow."""

    def __init__(self, path: StepPath, links: Iterable[Link], outputs: Iterable[str]) -> None:
        super().__init__(path, links, outputs)
        _without_results(self)


class ResultsPE(_RaisingPE, OutputsPE):
    """The end: the output objects of the jobs, in order, with their files where they stay.

    :param links: the outputs of the document
    """

    def __init__(self, document: Document, place: Place, links: Iterable[Link]) -> None:
        super().__init__(links)
        self.document, self.place = document, place
        _without_results(self, RESULT)

    def preprocess(self) -> None:
        super().preprocess()
        self.waiting: dict[int, dict[str, Any]] = {}
        self.next = 0

    def hand_out(self, number: int, outputs: dict[str, Any], failed: bool) -> None:
        self.waiting[number] = outputs
        while self.next in self.waiting:
            self.write(RESULT, self._relocated(self.next, self.waiting.pop(self.next)))
            self.next += 1

    def postprocess(self) -> None:
        """Hand out what waits for a job that a failure policy has left out."""
        for number in sorted(self.waiting):
            self.write(RESULT, self._relocated(number, self.waiting.pop(number)))

    def _relocated(self, number: int, outputs: dict[str, Any]) -> dict[str, Any]:
        from d4pcwl.cwl.importing.cwltool.document import plain
        from d4pcwl.cwl.importing.cwltool.outdir import placing, relocated

        place = self.place
        outdir = os.path.join(place.outdir, str(number + 1)) if place.apart else place.outdir
        action = "move" if place.move else "copy"
        with placing(outdir):
            final = relocated(outputs, outdir, action, self.document.settings)
        moved: dict[str, Any] = plain(final)
        return moved


@contextmanager
def _folders(mapping: str) -> Iterator[tuple[str, str, str]]:
    """The current folder, one for intermediate files, and one in that for tools' temporary ones.

    In the end the latter are gone, and so is every process that works in them. All ranks of ``mpi``
    have the same.

    :raises UsageError: there is no such folder
    """
    from d4pcwl.cwl.importing.cwltool.evaluate import end_javascript
    from d4pcwl.cwl.importing.graph.execute import adopt_orphans, remove_folder

    first = True
    if mapping == "mpi":
        from d4pcwl.runtime.mappings.mpi import is_first, made_by_first

        first = is_first()
        here, folder, scratch = made_by_first(_make_folders)
    else:
        here, folder, scratch = _make_folders()
    adopt_orphans(True)
    try:
        if not os.path.isdir(scratch):
            raise UsageError(
                f"{socket.gethostname()} does not see {folder}, where the steps exchange files: "
                "set TMPDIR to a folder that all ranks share"
            )
        yield here, folder, scratch
    finally:
        _end_processes_in(folder)
        end_javascript()
        adopt_orphans(False)
        if first:
            remove_folder(folder)


def _make_folders() -> tuple[str, str, str]:
    from d4pcwl.cwl.importing.cwltool.settings import make_folder

    try:
        folder = make_folder(None)
        scratch = os.path.join(folder, "tmp")
        os.mkdir(scratch)
    except OSError as error:
        raise UsageError(f"no folder can be made for temporary files: {error}") from error
    return os.getcwd(), folder, scratch


def _end_processes_in(folder: str) -> None:
    """Kill what tools have left running: a worker that was stopped leaves its tool behind."""
    import psutil

    from d4pcwl.cwl.importing.graph.execute import end_container

    inside = os.path.join(folder, "")
    for _ in range(20):  # one that is killed may have started another
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                where = [process.environ().get("HOME", ""), process.cwd()]
                if any(os.path.join(place, "").startswith(inside) for place in where):
                    found.append(process)
        if not found:
            return
        for process in found:
            with suppress(psutil.Error):
                end_container(process.cmdline())
                process.kill()
        psutil.wait_procs(found, timeout=0.5)
