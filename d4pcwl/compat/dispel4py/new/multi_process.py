"""``dispel4py.new.multi_process``: running graphs with the mapping ``multi``."""

from functools import partial

from d4pcwl.compat.processing import (
    STATUS_ACTIVE,
    STATUS_TERMINATED,
    parse_with,
    process_with,
)

process = partial(process_with, "multi")
parse_args = partial(parse_with, "multi")

__all__ = ["STATUS_ACTIVE", "STATUS_TERMINATED", "parse_args", "process"]
