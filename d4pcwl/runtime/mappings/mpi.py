"""``mpi``: the processes of the plan are the ranks of mpiexec, on one machine or many.

``mpiexec -n 4 dispel4py mpi SCRIPT``; without mpiexec, ``dispel4py mpi SCRIPT -n 4`` calls it.
Every rank loads the script and makes the same plan; rank 0 takes the results and prints.
"""

from __future__ import annotations

from dataclasses import dataclass

from d4pcwl.runtime.job import Job
from d4pcwl.runtime.mappings.registry import Command, Mapping, Work
from d4pcwl.runtime.options import STATIC_PROCESSES, CompressOptions, StaticOptions


@dataclass(frozen=True)
class MpiOptions(CompressOptions, StaticOptions):
    """Upstream's options, and whether to compress between hosts."""


def run(job: Job, options: MpiOptions) -> None:
    """Run the job, on every rank.

    :raises RunError: a PE failed, on any rank
    :raises UsageError: mpi4py is not installed, or its MPI library is not the one of mpiexec
    """
    from d4pcwl.runtime.mpi.session import Session

    Session().run(job.placed(options.assignment(job.graph)), options.compress)


def around(command: Command, work: Work[MpiOptions]) -> int:
    """Do the command's work as one of several ranks, or start the ranks. Rank 0 shows messages for
    all.

    :raises D4pcwlError: on rank 0, the error of any rank
    """
    from d4pcwl.runtime.mpi.session import CommandSession, is_rank, start_ranks

    if not is_rank() and (command.processes or 1) > 1:
        return start_ranks(command.processes or 1, command.arguments)
    session = CommandSession()
    if session.first:
        from d4pcwl.runtime.mpi import terminal

        terminal.use()

    def run_in_session(job: Job, options: MpiOptions) -> None:
        session.run(job.placed(options.assignment(job.graph)), options.compress)

    if session.first and command.processes not in (None, session.size):
        command.say(f"dispel4py: note: -n {command.processes}, but there are {session.size} ranks")
    return session.do(lambda: work(run_in_session, session.first))


MAPPING = Mapping(
    "mpi",
    "the ranks of mpiexec, on this machine or many",
    run,
    MpiOptions,
    processes=STATIC_PROCESSES,
    processes_flags=("--num_processes",),
    ranks=True,
    modules=("mpi4py",),
    upstream="mpi_process",
    around=around,
)
