"""Whether a PE draws random numbers from ``self.rng``, found by reading the code that it may
run."""

from __future__ import annotations

import dis
import functools
import inspect
from collections.abc import Hashable, Iterator
from types import CodeType, FunctionType
from typing import Any, cast

from d4pcwl.workflow.reading.roots import RNG, is_framework, named_by, plain_function


def draws_numbers(pe: Any) -> bool:
    """Whether ``pe`` uses the generator of the runtime, and not its own."""
    given = inspect.getattr_static(pe, RNG, None)
    if not is_framework(type(given).__module__) or RNG in vars(pe):
        return False
    own = [f for f in map(plain_function, vars(pe).values()) if f is not None]
    return _class_draws(cast(Hashable, type(pe))) or any(_uses(f)[0] for f in _reached(own))


@functools.lru_cache(maxsize=1024)
def _class_draws(key: Hashable) -> bool:
    bases = [base for base in cast(type, key).__mro__ if not is_framework(base.__module__)]
    values = [value for base in bases if base is not object for value in vars(base).values()]
    properties = [v.fget for v in values if isinstance(v, property)]
    methods = [f for f in map(plain_function, [*values, *properties]) if f is not None]
    if any(_uses(method)[1] for method in methods):
        return False
    return any(_uses(function)[0] for function in _reached(methods))


def _reached(functions: list[FunctionType]) -> Iterator[FunctionType]:
    """Functions, and the user's functions that they use, directly or not."""
    waiting, seen = list(functions), set[int]()
    while waiting:
        function = waiting.pop()
        if id(function) not in seen:
            seen.add(id(function))
            yield function
            waiting += [f for f in named_by(function) if isinstance(f, FunctionType)]


def _uses(function: FunctionType) -> tuple[bool, bool]:
    """Whether a function reads an attribute of that name, and whether it sets one."""
    reads = sets = False
    waiting: list[CodeType] = [function.__code__]
    while waiting:
        code = waiting.pop()
        waiting += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
        for step in dis.get_instructions(code) if RNG in code.co_names else ():
            if step.argval == RNG:
                reads = reads or step.opname in ("LOAD_ATTR", "LOAD_METHOD")
                sets = sets or step.opname == "STORE_ATTR"
    return reads, sets
