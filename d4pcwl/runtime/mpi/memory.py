"""Memory that the ranks of one machine share, and what MPI itself shares there."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from d4pcwl.runtime.transport.arena import Arena, arena_bytes

if TYPE_CHECKING:
    from mpi4py import MPI

_OF_MPICH = "/dev/shm/mpich_shm_"


def share(
    comm: MPI.Intracomm, pairs: set[tuple[int, int]]
) -> tuple[dict[int, Arena], dict[int, Arena]]:
    """Memory shared with the ranks of this machine: by receiver, and by sender."""
    rank, size = comm.Get_rank(), arena_bytes(len(pairs))
    fds: dict[int, int] = {}
    if hasattr(os, "memfd_create"):
        fds = {to: os.memfd_create("d4pcwl") for sender, to in pairs if sender == rank}
    ways_out = {to: Arena(size, fd) for to, fd in fds.items()}
    ways_in: dict[int, Arena] = {}
    here = machine()
    offers = comm.allgather((here, os.getpid(), fds))
    for sender, (there, pid, theirs) in enumerate(offers):
        if here and there == here and rank in theirs:
            with contextlib.suppress(OSError):
                fd = os.open(f"/proc/{pid}/fd/{theirs[rank]}", os.O_RDWR)
                ways_in[sender] = Arena(size, fd)
                os.close(fd)
    taken = comm.allgather(set(ways_in))
    for fd in fds.values():
        os.close(fd)
    return {to: arena for to, arena in ways_out.items() if rank in taken[to]}, ways_in


def machine() -> str:
    """A value that is equal for processes that can open each other's descriptors; empty where that
    cannot be known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        return boot + os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def unlink_segments(comm: MPI.Intracomm) -> None:
    """Remove the names of MPICH's segments of shared memory, after all ranks have mapped them.
    MPICH does so itself when all ranks finish, but not if one is killed. The memory exists as long
    as a rank does. Only segments that this process has mapped are touched.
    """
    comm.Barrier()
    unlink(segments(os.getpid()))


def segments(pid: int) -> set[str]:
    """What a process has of MPICH's shared memory under a name: mapped, or just opened."""
    names: set[str] = set()
    with contextlib.suppress(OSError):
        maps = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8", errors="replace")
        names = {line.split(maxsplit=5)[5] for line in maps.splitlines() if _OF_MPICH in line}
    with contextlib.suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # that of the folder itself
                names.add(os.readlink(link))
    return {name for name in names if name.startswith(_OF_MPICH) and " (deleted)" not in name}


def unlink(names: Iterable[str]) -> None:
    """Remove the names of segments, as far as nobody else has done so."""
    for name in names:
        with contextlib.suppress(OSError):
            os.unlink(name)
