"""``dispel4py.new.new_dynamic``: running graphs with the mapping ``dyn_multi``."""

from functools import partial

from d4pcwl.compat.processing import parse_with, process_with

process = partial(process_with, "dyn_multi")
parse_args = partial(parse_with, "dyn_multi")

__all__ = ["parse_args", "process"]
