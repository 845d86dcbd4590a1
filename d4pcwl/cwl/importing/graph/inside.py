"""The ends of a CWL document's graph in scripts and in Python, without ``d4pcwl-runner``.

The root (:class:`JobsPE`) does the runner's work before and after a run. The end
(:class:`ResultsPE`) puts output files into their places. A failure ends the run, as a failure of
any PE does.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from d4pcwl.cwl.importing.cwltool.document import Document
from d4pcwl.cwl.importing.graph.ends import RESULT, OutputsPE
from d4pcwl.cwl.importing.graph.pes import JOB, InputsPE
from d4pcwl.cwl.importing.graph.workplace import adopt_orphans, end_processes_in, remove_folder
from d4pcwl.errors import GraphError, InputError, UsageError
from d4pcwl.workflow.pe import PreparingPE


@dataclass
class Place:
    """The folders of a run, known to all PEs of a graph. They are set before workers are forked.

    :param outdir: the folder for output files; empty while nothing runs
    :param apart: each job's files go to a separate folder with its number, from 1, as the name
    :param move: whether output files may be moved, because nothing reads them when a job's outputs
        are complete
    """

    outdir: str = ""
    apart: bool = False
    move: bool = True
    _open: Any = field(default_factory=threading.Lock, repr=False)

    def __deepcopy__(self, memo: Any) -> Place:
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": None}


class JobsPE(InputsPE, PreparingPE):
    """The root: its inputs are those of the document, and each item is a job order.

    :param prepare: called before anything runs, when the graph's links are final
    """

    job_orders: ClassVar[bool] = True
    stateful: ClassVar[bool] = False

    def __init__(self, document: Document, place: Place, prepare: Callable[[], None]) -> None:
        InputsPE.__init__(self, document)
        self.document, self.place, self.prepare = document, place, prepare
        self.inputconnections.clear()
        for name in self.names:
            self._add_input(name)

    @contextmanager
    def around_run(
        self, given: list[dict[str, Any]] | int, *, ranks: bool
    ) -> Iterator[list[dict[str, Any]]]:
        """Check the job orders, and make folders for intermediate files during the run.

        :raises InputError: a job order does not fit the document
        :raises UsageError: no such folder can be made, or ranks of ``mpi`` do not share it
        """
        from d4pcwl.cwl.files import with_locations
        from d4pcwl.cwl.importing.cwltool.joborder import initial_inputs, of_script, prepared

        place, document, settings = self.place, self.document, self.document.settings
        given = [{}] * given if isinstance(given, int) else given
        if any("cwl:tool" in order for order in given):
            raise InputError(
                "the job order has cwl:tool, but the script already has a document; remove cwl:tool"
            )
        orders = [of_script(with_locations(order, ""), document.location) for order in given]
        amendments = [(order.requirements, order.overrides) for order in orders] or [([], [])]
        if any(other != amendments[0] for other in amendments):
            raise InputError(
                "cwl:requirements and cwltool:overrides apply to all job orders of a run, but "
                "these job orders have different ones: run each of them by itself"
            )
        if not place._open.acquire(blocking=False):
            raise GraphError("this graph is running already; load it once more for another run")
        try:
            with _folders(ranks) as (outdir, folder, scratch), document.amended(*amendments[0]):
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


class ResultsPE(OutputsPE):
    """The end: the output objects of the jobs, in order, with their files in their final places."""

    def __init__(self, document: Document, place: Place) -> None:
        super().__init__(document, reports=False)
        self.document, self.place = document, place

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
        """Send the outputs that wait for a job that was left out after a failure."""
        for number in sorted(self.waiting):
            self.write(RESULT, self._relocated(number, self.waiting.pop(number)))

    def _relocated(self, number: int, outputs: dict[str, Any]) -> dict[str, Any]:
        from d4pcwl.cwl.importing.cwltool.document import plain
        from d4pcwl.cwl.importing.cwltool.outdir import relocated

        place = self.place
        outdir = os.path.join(place.outdir, str(number + 1)) if place.apart else place.outdir
        action = "move" if place.move else "copy"
        final: dict[str, Any] = plain(relocated(outputs, outdir, action, self.document.settings))
        return final


@contextmanager
def _folders(ranks: bool) -> Iterator[tuple[str, str, str]]:
    """The current folder, a folder for intermediate files, and inside it one for tools' temporary
    files. At the end the last two are removed, and every process that works in them is ended.

    :param ranks: all ranks of ``mpi`` call this, and have the same folders
    :raises UsageError: there is no such folder
    """
    from d4pcwl.cwl.importing.cwltool.evaluate import end_javascript

    first = True
    if ranks:
        from d4pcwl.runtime.mpi.session import is_first, made_by_first

        first = is_first()
        here, folder, scratch = made_by_first(_make_folders)
    else:
        here, folder, scratch = _make_folders()
    adopt_orphans(True)
    try:
        if not os.path.isdir(scratch):
            raise UsageError(
                f"{socket.gethostname()} cannot see {folder}, where the steps exchange files: "
                "set TMPDIR to a folder that all ranks share"
            )
        yield here, folder, scratch
    finally:
        end_processes_in(folder)
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
