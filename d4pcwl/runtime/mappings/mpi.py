"""``mpi``: the processes of the plan are the ranks of mpiexec, on one machine or many.

``mpiexec -n 4 dispel4py mpi SCRIPT``; without mpiexec, ``dispel4py mpi SCRIPT -n 4`` calls it.
Every rank loads the script and makes the same plan; rank 0 takes the results and prints.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from d4pcwl.errors import D4pcwlError, UsageError
from d4pcwl.runtime.job import Job
from d4pcwl.runtime.options import add_static_options

_LAUNCHED = (
    "PMI_RANK",
    "PMIX_RANK",
    "OMPI_COMM_WORLD_RANK",
    "MV2_COMM_WORLD_RANK",
    "SLURM_STEP_ID",
)
_SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Upstream's options."""
    add_static_options(parser)
    parser.add_argument(
        "--num_processes", dest="num", type=int, metavar="PROCESSES", help="the same as -n"
    )


def around(options: Any, arguments: Sequence[str], work: Callable[[], int]) -> int:
    """Do the command's work as one of several ranks: rank 0 speaks for all.

    :param arguments: of the command, for mpiexec
    """
    if not any(name in os.environ for name in _LAUNCHED) and (options.num or 1) > 1:
        return _launch(options.num, arguments)
    from d4pcwl.runtime.mpi.memory import unlink_segments

    mpi = _mpi4py()
    comm = mpi.COMM_WORLD
    first = comm.Get_rank() == 0
    unlink_segments(comm)
    mpi._set_abort_status(1)  # until all have come to the end together
    options.agreed = options.clean = False
    with ExitStack() as stack:
        if not first:
            options.quiet, options.verbose = True, False
            options.results = options.errors = None
            if options.targets or options.splits:
                _write_nowhere(options, stack.enter_context(TemporaryDirectory()))
        elif options.num not in (None, comm.Get_size()) and not options.quiet:
            sys.stderr.write(
                f"dispel4py: note: -n {options.num}, but there are {comm.Get_size()} ranks\n"
            )
        try:
            code = work()
        except D4pcwlError as error:
            if not options.agreed:
                error, options.clean = _first_error(comm, error), True
            if first:
                raise error from error.__cause__
            raise SystemExit(error.exit_code) from None
        finally:
            if options.clean or comm.Get_size() == 1:  # nobody waits for a rank that is alone
                mpi._set_abort_status(0)
                mpi.Finalize()
    return code


def run(job: Job) -> None:
    """Run the job, on every rank.

    :raises RunError: a PE failed, on whichever rank
    :raises UsageError: mpi4py is not installed, or its MPI is not that of mpiexec
    """
    from d4pcwl.runtime.mpi.memory import unlink_segments
    from d4pcwl.runtime.mpi.ranks import Ranks, agree

    mpi = _mpi4py()
    comm = mpi.COMM_WORLD
    processes = min(job.processes or comm.Get_size(), comm.Get_size())
    plan = job.plan(processes)
    if len(plan.processes) > comm.Get_size():  # more stages than ranks
        plan = replace(job, stages=None).plan(processes)
    if job.options is not None:
        job.options.agreed = True
    else:  # from Python: nobody has been around
        unlink_segments(comm)
    try:
        agree(comm, str(plan), None)
    except D4pcwlError:
        _say_clean(job)
        raise
    job.say(str(plan))
    mpi._set_abort_status(1)
    own = comm.Dup()
    ranks = Ranks(own, job, plan)
    try:
        ranks.run()
    finally:
        if ranks.clean:
            own.Free()
            mpi._set_abort_status(0)
            _say_clean(job)
    for index, count in sorted(ranks.counts.items() if ranks.rank == 0 else ()):
        job.say(f"{plan.instances[index].pe} (rank {index}): processed {count} items")


def _write_nowhere(options: Any, folder: str) -> None:
    """Rank 0 has the items of a stage's streams; the files of the others stay empty, and go."""
    names = itertools.count()

    def elsewhere(paths: Sequence[Any]) -> Iterator[Path]:
        return (Path(folder, f"{next(names)}.d4ps") for _ in paths)

    options.targets = [replace(t, paths=tuple(elsewhere(t.paths))) for t in options.targets]
    options.splits = [[*split[:2], *map(str, elsewhere(split[2:]))] for split in options.splits]


def made_by_first(make: Callable[[], Any]) -> Any:
    """What rank 0 makes, on every rank; all must call this.

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


def is_first() -> bool:
    """Whether this is rank 0."""
    return bool(_mpi4py().COMM_WORLD.Get_rank() == 0)


def _say_clean(job: Job) -> None:
    if job.options is not None:
        job.options.clean = True


def _first_error(comm: Any, error: D4pcwlError) -> D4pcwlError:
    """What all ranks tell when one cannot begin."""
    from d4pcwl.runtime.mpi.ranks import agree

    try:
        agree(comm, "", error)
    except D4pcwlError as told:
        return told
    raise AssertionError("there was an error")


def _mpi4py() -> Any:
    """mpi4py's MPI.

    :raises UsageError: it is not there, or does not fit
    """
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise UsageError(
            f"the mapping mpi needs mpi4py and an MPI: pip install 'd4pcwl[mpi]' ({error})"
        ) from None
    if MPI.Query_thread() < MPI.THREAD_SERIALIZED:
        raise UsageError("the mapping mpi needs an MPI that threads may call in turn")
    told = [int(os.environ[name]) for name in _SIZES if name in os.environ]
    if told and told[0] > 1 and MPI.COMM_WORLD.Get_size() == 1:
        raise UsageError(
            f"mpiexec has started {told[0]} processes, but mpi4py's MPI sees one: they are of "
            "different MPIs"
        )
    return MPI


def _launch(number: int, arguments: Sequence[str]) -> int:
    """Run mpiexec, and give its exit code.

    :raises UsageError: there is none
    """
    from d4pcwl.runtime.mpi.launch import launch

    folders = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    mpiexec = shutil.which("mpiexec", path=os.pathsep.join(folders))
    if mpiexec is None:
        raise UsageError(
            f"-n {number} needs mpiexec, which is not there: pip install 'd4pcwl[mpi]', or install "
            "an MPI"
        )
    sys.stdout.flush()
    # Modules in the current folder are not to go before mpi4py's, unless we lie there ourselves.
    safe = [] if Path(__file__).parents[3].samefile(os.getcwd()) else ["-P"]
    command = [sys.executable, *safe, "-m", "mpi4py", "-m", "d4pcwl", "run", *arguments]
    return launch([mpiexec, "-n", str(number), *command])
