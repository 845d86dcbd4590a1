"""This process as one of the ranks of mpiexec: from a script, or for a whole command.

All ranks agree on the plan before anything runs. If one raises an error, the others must know it.
If they do not end together, MPI aborts them.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from d4pcwl.errors import D4pcwlError, UsageError
from d4pcwl.runtime.job import Job

_LAUNCHED = (
    "PMI_RANK",
    "PMIX_RANK",
    "OMPI_COMM_WORLD_RANK",
    "MV2_COMM_WORLD_RANK",
    "SLURM_STEP_ID",
)
_SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")


class Session:
    """The ranks during one run.

    :raises UsageError: mpi4py is not installed, or its MPI is not that of mpiexec
    """

    def __init__(self) -> None:
        from d4pcwl.runtime.mpi.memory import unlink_segments

        self._mpi = _mpi4py()
        self._comm = self._mpi.COMM_WORLD
        self.first: bool = self._comm.Get_rank() == 0
        self.size: int = self._comm.Get_size()
        self.agreed = False
        """Whether all ranks have begun together: then all of them get to know a later error."""
        self.clean = False
        """Whether all ranks have ended together, so that none must be aborted."""
        unlink_segments(self._comm)

    def run(self, job: Job, compress: str) -> None:
        """Run a job, on every rank.

        :param compress: whether batches between hosts are compressed
        :raises RunError: a PE failed, on whichever rank
        :raises UsageError: the ranks do not have the same plan, or one of them cannot compress
        """
        from d4pcwl.runtime.mpi.ranks import Ranks, agree
        from d4pcwl.runtime.transport.compression import usable

        processes = min(job.processes or self.size, self.size)
        plan = job.plan(processes)
        if len(plan.processes) > self.size:  # more stages than ranks
            plan = replace(job, assignment=None).plan(processes)
        refused = None
        try:
            compress = usable(compress)
        except UsageError as error:
            refused = error
        self.agreed = True
        try:
            agree(self._comm, str(plan), refused)
        except D4pcwlError:
            self.clean = True
            raise
        measured, recording = self._comm.bcast((plan.measured, plan.recording))
        plan = replace(plan, measured=measured, recording=recording)
        job.say(str(plan))
        self._mpi._set_abort_status(1)
        own = self._comm.Dup()
        ranks = Ranks(own, job, plan, compress)
        try:
            ranks.run()
        finally:
            if ranks.clean:
                own.Free()
                self._mpi._set_abort_status(0)
                self.clean = True
        if self.first:
            job.tell_counts(plan, ranks.counts, ranks=True)


class CommandSession(Session):
    """The ranks during a command: if one of them cannot begin, all end.

    :raises UsageError: as :class:`Session`
    """

    def do(self, work: Callable[[], int]) -> int:
        """Do the command's work, and end MPI.

        :returns: the exit code
        :raises D4pcwlError: on rank 0, what a rank has raised
        :raises SystemExit: on the others
        """
        self._mpi._set_abort_status(1)  # until all have come to the end together
        try:
            return work()
        except D4pcwlError as error:
            if not self.agreed:
                error, self.clean = self._first_error(error), True
            if self.first:
                raise error from error.__cause__
            raise SystemExit(error.exit_code) from None
        finally:
            if self.clean or self.size == 1:  # no other rank waits for a single rank
                self._mpi._set_abort_status(0)
                self._mpi.Finalize()

    def _first_error(self, error: D4pcwlError) -> D4pcwlError:
        """The message of all ranks if one cannot begin."""
        from d4pcwl.runtime.mpi.ranks import agree

        try:
            agree(self._comm, "", error)
        except D4pcwlError as told:
            return told
        raise AssertionError("there was an error")


def is_rank() -> bool:
    """Whether mpiexec, or a program like it, has started this process."""
    return any(name in os.environ for name in _LAUNCHED)


def is_first() -> bool:
    """Whether this is rank 0."""
    return bool(_mpi4py().COMM_WORLD.Get_rank() == 0)


def rank_count() -> int:
    """How many ranks there are."""
    return int(_mpi4py().COMM_WORLD.Get_size())


def made_by_first(make: Callable[[], Any]) -> Any:
    """The value that rank 0 makes, on every rank; all ranks must call this.

    :raises D4pcwlError: rank 0 could not make it
    """
    comm = _mpi4py().COMM_WORLD
    made, refused = None, None
    if comm.Get_rank() == 0:
        try:
            made = make()
        except D4pcwlError as error:
            refused = error
    made, refused = comm.bcast((made, refused))
    if refused is not None:
        raise refused
    return made


def _mpi4py() -> Any:
    """mpi4py's MPI.

    :raises UsageError: it is not installed, or does not fit
    """
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise UsageError(
            f"the mapping mpi needs mpi4py and an MPI: pip install 'd4pcwl[mpi]' ({error})"
        ) from None
    if MPI.Query_thread() < MPI.THREAD_SERIALIZED:
        raise UsageError(
            "the mapping mpi needs an MPI library with the thread level MPI_THREAD_SERIALIZED"
        )
    told = [int(os.environ[name]) for name in _SIZES if name in os.environ]
    if told and told[0] > 1 and MPI.COMM_WORLD.Get_size() == 1:
        raise UsageError(
            f"mpiexec has started {told[0]} processes, but mpi4py sees only one: use the mpiexec "
            "of the MPI library that mpi4py uses"
        )
    return MPI


def start_ranks(number: int, arguments: Sequence[str]) -> int:
    """Run a command with mpiexec, and return its exit code.

    :param arguments: of the command ``dispel4py``
    :raises UsageError: there is no mpiexec
    """
    from d4pcwl.runtime.mpi.launch import launch

    folders = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    mpiexec = shutil.which("mpiexec", path=os.pathsep.join(folders))
    if mpiexec is None:
        raise UsageError(
            f"-n {number} needs mpiexec, which was not found: pip install 'd4pcwl[mpi]', or "
            "install an MPI"
        )
    sys.stdout.flush()
    # Modules in the current folder must not replace mpi4py's, except if d4pcwl itself is there.
    safe = [] if Path(__file__).parents[3].samefile(os.getcwd()) else ["-P"]
    command = [sys.executable, *safe, "-m", "mpi4py", "-m", "d4pcwl", "run", *arguments]
    return launch([mpiexec, "-n", str(number), *command])
