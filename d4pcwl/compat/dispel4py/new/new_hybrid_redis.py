"""``dispel4py.new.new_hybrid_redis``: running graphs with the mapping ``hybrid_redis``."""

from functools import partial

from d4pcwl.compat.processing import parse_with, process_with

process = partial(process_with, "hybrid_redis")
parse_args = partial(parse_with, "hybrid_redis")

__all__ = ["parse_args", "process"]
