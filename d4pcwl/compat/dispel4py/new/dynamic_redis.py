"""``dispel4py.new.dynamic_redis``: running graphs with the mapping ``redis``."""

from functools import partial

from d4pcwl.compat.processing import parse_with, process_with

process = partial(process_with, "redis")
parse_args = partial(parse_with, "redis")

__all__ = ["parse_args", "process"]
