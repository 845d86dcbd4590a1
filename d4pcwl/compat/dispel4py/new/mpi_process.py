"""``dispel4py.new.mpi_process``: running graphs with the mapping ``mpi``."""

from functools import partial

from d4pcwl.compat.processing import (
    STATUS_ACTIVE,
    STATUS_TERMINATED,
    parse_with,
    process_with,
)

process = partial(process_with, "mpi")
parse_args = partial(parse_with, "mpi")

__all__ = ["STATUS_ACTIVE", "STATUS_TERMINATED", "parse_args", "process"]
