"""``dispel4py.new.new_dynamic_redis``: running graphs with the mapping ``dyn_redis``."""

from functools import partial

from d4pcwl.compat.processing import parse_with, process_with

process = partial(process_with, "dyn_redis")
parse_args = partial(parse_with, "dyn_redis")

__all__ = ["parse_args", "process"]
