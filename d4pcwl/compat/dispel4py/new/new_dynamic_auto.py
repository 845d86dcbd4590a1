"""``dispel4py.new.new_dynamic_auto``: running graphs with the mapping ``dyn_auto_multi``."""

from functools import partial

from d4pcwl.compat.processing import parse_with, process_with

process = partial(process_with, "dyn_auto_multi")
parse_args = partial(parse_with, "dyn_auto_multi")

__all__ = ["parse_args", "process"]
