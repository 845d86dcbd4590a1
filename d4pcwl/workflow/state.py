"""Whether a PE keeps state, found by reading its code.

A PE that keeps state gives other results when it runs in several instances. So the planner must not
copy it. A declaration (``stateful``) decides. Without one, the methods that run after the set-up
are read. If reading does not give a clear answer, the PE counts as one that keeps state: this may
cost speed, but the results are right. None of the user's code runs.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from types import FunctionType
from typing import Final, cast

from d4pcwl.workflow.reading.drawing import draws_numbers
from d4pcwl.workflow.reading.effects import Use
from d4pcwl.workflow.reading.functions import (
    StateReason,
    Traced,
    is_library,
    method_roots,
    trace,
)
from d4pcwl.workflow.reading.roots import (
    CONTAINERS,
    MISSING,
    MUTATORS,
    RNG,
    Root,
    draws,
    is_container,
    is_framework,
    plain_function,
    words,
)

__all__ = ["StateReason", "keeps_state", "keeps_state_outside", "writes_at_once"]

SETUP: Final = words(
    "__init__ __new__ __post_init__ __init_subclass__ __set_name__ __getstate__ __setstate__"
    " __reduce__ __reduce_ex__ __class_getitem__ preprocess _preprocess set_input_types"
    " setInputTypes get_output_types getOutputTypes"
)
HOOKS: Final = words("process _process postprocess _postprocess write _write log _log __call__")
PRE: Final = ("preprocess", "_preprocess")
POST: Final = ("postprocess", "_postprocess")
GIVEN: Final = words("name id rank log write __class__ __doc__")
UNREADABLE: Final = "its source cannot be read"


Definition = tuple[list[FunctionType], bool]  # a property has several; whether it is static


@dataclass(frozen=True)
class _Profile:
    """What is known about a class without an instance."""

    reason: StateReason | None
    outside: StateReason | None
    uses: tuple[tuple[Use, FunctionType], ...]
    begins: StateReason | None
    """The PE writes before its first item, so each instance would write."""


def keeps_state(pe: object) -> StateReason | None:
    """Why ``pe`` must not be copied, or None if its instances can be any number.

    :param pe: a PE, of our classes or of upstream's, or any object with such methods
    :returns: the reason with its place, or None; it never raises for what the class is like
    """
    try:
        declared = inspect.getattr_static(pe, "stateful", None)
        if isinstance(declared, bool | int | str):
            return StateReason("declared") if declared else None
        return _of_object(pe, frozenset())
    except Exception:  # noqa: BLE001 - for an unusual class, the safe answer is "state"
        return StateReason(UNREADABLE)


def keeps_state_outside(pe: object) -> StateReason | None:
    """Why a copy of the attributes of ``pe`` is not all of its state: it changes a global, a class,
    or a variable of a closure.

    :returns: the reason with its place, or None; what cannot be read is not found. A declaration
        (``stateful``) decides here, too
    """
    try:
        if isinstance(inspect.getattr_static(pe, "stateful", None), bool | int | str):
            return None
        found = _profile(cast(Hashable, type(pe)), HOOKS).outside
        for name in ("process", "_process", "compute_fn"):
            function = plain_function(inspect.getattr_static(pe, name, None))
            if found is None and function is not None and not is_library(function):
                roots = method_roots(function) if name != "compute_fn" else ()
                reasons = trace(function, roots).reasons
                found = next((reason for reason in reasons if reason.outside), None)
        return found
    except Exception:  # noqa: BLE001 - an unusual class cannot be read
        return None


def writes_at_once(pe: object) -> StateReason | None:
    """The place where ``pe`` writes before its first item: every instance would write, also with
    keys.

    :returns: the place, or None if there is none or if ``stateful = False`` is declared; it never
        raises an error because of the class
    """
    try:
        if inspect.getattr_static(pe, "stateful", None) is False:
            return None
        return _profile(cast(Hashable, type(pe)), HOOKS).begins
    except Exception:  # noqa: BLE001 - keeps_state() has the safe answer for such classes
        return None


def _of_object(pe: object, seen: frozenset[int]) -> StateReason | None:
    if id(pe) in seen:
        return None
    seen |= {id(pe)}
    cls = type(pe)
    profile = _profile(cast(Hashable, cls), HOOKS)
    if profile.reason is not None:
        return profile.reason
    for name in ("process", "_process", "compute_fn"):
        own = inspect.getattr_static(pe, name, None)
        if own is not None and (name == "compute_fn" or own is not _member(cls, name)):
            reason = _of_callable(own, pe, seen)
            if reason is not None:
                return reason
    for use, function in profile.uses:
        reason = _of_use(use, function, pe, seen)
        if reason is not None:
            return reason
    return None


# -- classes ----------------------------------------------------------------------------------


@functools.lru_cache(maxsize=1024)
def _profile(key: Hashable, hooks: frozenset[str]) -> _Profile:
    cls = cast(type, key)
    methods = {name: _traced(definitions) for name, definitions in _definitions(cls).items()}
    reached = _reached(methods, hooks, own=_own_names(cls))
    uses: list[tuple[Use, FunctionType]] = []
    reasons: list[StateReason] = []
    for name in sorted(reached, key=lambda n: (n not in ("process", "_process"), n)):
        reasons += methods[name].reasons
        uses += methods[name].uses
    reasons += [r for name in POST if name in methods for r in _at_the_end(cls, name, methods)]
    begins = next((r for name in PRE for r in _at_the_beginning(cls, name, methods)), None)
    if begins is not None:
        reasons.append(begins)
    kept = tuple(dict.fromkeys((u, f) for u, f in uses if not _is_method(cls, u)))
    outside = next((reason for reason in reasons if reason.outside), None)
    return _Profile(reasons[0] if reasons else None, outside, kept, begins)


def _is_method(cls: type, use: Use) -> bool:
    found = _member(cls, use.attribute)
    return use.method == "__call__" and isinstance(
        found, FunctionType | staticmethod | classmethod | functools.partialmethod
    )


def _definitions(cls: type) -> dict[str, list[Definition]]:
    """The functions of the class by name: the definition that is used, then those that it
    overrides."""
    found: dict[str, list[Definition]] = {}
    for base in cls.__mro__:
        if base is object or is_framework(base.__module__):
            continue
        for name, value in vars(base).items():
            functions = _functions(value)
            if functions:
                found.setdefault(name, []).append((functions, isinstance(value, staticmethod)))
    return found


def _own_names(cls: type) -> set[str]:
    """The names that classes of the user's, not those of the standard library, define."""
    bases = [b for b in cls.__mro__ if b.__module__.split(".")[0] not in sys.stdlib_module_names]
    return {n for b in bases if b is not object or b.__module__ == "__main__" for n in vars(b)}


def _functions(value: object) -> list[FunctionType]:
    if isinstance(value, property):
        parts: tuple[object, ...] = (value.fget, value.fset, value.fdel)
    elif isinstance(value, functools.cached_property | functools.partialmethod):
        parts = (value.func,)
    else:
        parts = (value,)
    return [f for f in map(plain_function, parts) if f is not None and not _made(f)]


def _made(function: FunctionType) -> bool:
    """Whether it was generated, for example by dataclasses: such methods do nothing after the
    set-up."""
    return function.__name__.startswith("__") and function.__code__.co_filename == "<string>"


def _traced(definitions: list[Definition]) -> Traced:
    """What a method does; an overridden definition counts where it is called through super()."""
    whole = Traced()
    for number, (functions, static) in enumerate(definitions):
        for function in functions:
            if number == 0 or function.__name__ in whole.parents:
                whole.add(trace(function, () if static else None))
    return whole


def _reached(methods: Mapping[str, Traced], hooks: frozenset[str], own: set[str]) -> set[str]:
    """The methods that may run after the set-up: all but those called from the set-up only."""

    def closure(start: set[str]) -> set[str]:
        waiting, done = list(start), set[str]()
        while waiting:
            name = waiting.pop()
            if name not in done and name in methods:
                done.add(name)
                waiting += (methods[name].names | methods[name].parents) - {name}
        return done

    called = {n for m, t in methods.items() for n in (t.names | t.parents) if n != m}
    roots = {n for n in methods if n in own and n not in SETUP and (n in hooks or n not in called)}
    running = closure(roots)
    return running | ((methods.keys() & own) - closure(set(SETUP)) - SETUP)


def _at_the_beginning(cls: type, name: str, methods: Mapping[str, Traced]) -> Iterator[StateReason]:
    """Items that a preprocess writes would be written by each instance."""
    waiting, done = [name] if name in methods else [], {name}
    while waiting:
        current = methods[waiting.pop()]
        used = current.names | current.parents
        if used & {"write", "_write"}:
            yield _place(f"writes in {name}", _definitions(cls)[name][0][0][0])
            return
        waiting += (used & methods.keys()) - done
        done |= used


def _at_the_end(cls: type, name: str, methods: Mapping[str, Traced]) -> Iterator[StateReason]:
    """What a postprocess writes or reads would depend on the number of instances."""
    waiting, done = [name], set[str]()
    while waiting:
        current = methods[waiting.pop()]
        for used in current.names | current.parents:
            if used in ("write", "_write") or (
                used not in GIVEN and not callable(_member(cls, used))
            ):
                yield _place(f"has a {name}", _definitions(cls)[name][0][0][0])
                return
        if (current.returns and not done) or not current.readable:
            yield _place(f"has a {name}", _definitions(cls)[name][0][0][0])
            return
        done |= current.names
        waiting += [n for n in current.names & methods.keys() if n not in (name, *waiting)]


# -- functions --------------------------------------------------------------------------------


def _of_callable(
    value: object, pe: object, seen: frozenset[int], params: Mapping[str, object] | None = None
) -> StateReason | None:
    """Whether a call of ``value``, which ``pe`` holds, changes something."""
    if isinstance(value, functools.partial):
        names = _argument_names(value.func)
        bound = {**dict(zip(names, value.args, strict=False)), **value.keywords}
        return _of_callable(value.func, pe, seen, bound)
    if inspect.isbuiltin(value):
        owner = value.__self__
        changes = value.__name__ in MUTATORS and is_container(owner)
        return StateReason(f"calls {value.__name__} of a container") if changes else None
    if (
        inspect.ismethod(value)
        and not isinstance(value.__self__, type)
        and value.__self__ is not pe
    ):
        return _of_method(value.__self__, value.__name__, seen)
    function = plain_function(value)
    if function is None:
        return None if isinstance(value, type) else _of_method(value, "__call__", seen)
    if is_library(function):
        return None
    given = dict(params or {})
    extra = inspect.getattr_static(pe, "params", None)
    given.update(extra if isinstance(extra, dict) else {})
    roots = tuple(
        (str(name), Root(f"the argument {name}", outer=True, value=item, held=True))
        for name, item in given.items()
        if is_container(item)
    )
    if inspect.ismethod(value):
        roots += method_roots(function)
    reasons = trace(function, roots).reasons
    return reasons[0] if reasons else None


def _argument_names(value: object) -> tuple[str, ...]:
    function = plain_function(value)
    return function.__code__.co_varnames[: function.__code__.co_argcount] if function else ()


def _of_method(owner: object, name: str, seen: frozenset[int]) -> StateReason | None:
    """Whether calling method ``name`` of an object, in the user's code, changes that object."""
    member = _member(type(owner), name)
    function = plain_function(member)
    if function is None or is_library(function) or id(owner) in seen:
        return None
    traced = trace(function, () if isinstance(member, staticmethod) else None)
    methods = _definitions(type(owner))
    waiting, done = list(traced.names), {name}
    reasons, uses = list(traced.reasons), list(traced.uses)
    while waiting and not reasons:
        current = waiting.pop()
        if current in methods and current not in done:
            done.add(current)
            lower = _traced(methods[current])
            reasons, waiting = lower.reasons, waiting + list(lower.names)
            uses += lower.uses
    if reasons:
        return reasons[0]
    kept = [(u, f) for u, f in uses if not _is_method(type(owner), u)]
    found = (_of_use(use, where, owner, seen | {id(owner)}) for use, where in kept)
    return next((reason for reason in found if reason is not None), None)


def _of_use(
    use: Use, function: FunctionType, pe: object, seen: frozenset[int]
) -> StateReason | None:
    """Whether the use of an attribute by ``pe`` changes it, as its value shows."""
    value = inspect.getattr_static(pe, use.attribute, MISSING)
    if value is MISSING:
        return None
    place = functools.partial(StateReason, file=function.__code__.co_filename, line=use.line)
    text = f"self.{use.attribute} in {function.__name__}"
    if use.attribute == RNG and use.method in MUTATORS:
        return None if draws_numbers(pe) else place(f"calls self.{RNG}.{use.method}")
    if use.method == "+=":
        mutable = issubclass(type(value), CONTAINERS) or hasattr(type(value), "__iadd__")
        return place(f"extends {text}") if mutable else None
    if use.method == "iter":
        return place(f"draws from {text}") if hasattr(type(value), "__next__") else None
    if draws(value):
        return place(f"draws from {text}")
    if use.method == "__call__":
        if inspect.ismethoddescriptor(value) and use.attribute in MUTATORS:
            return place(f"calls {text}")
        return None if inspect.isdatadescriptor(value) else _of_callable(value, pe, seen)
    return _of_method(value, use.method, seen)


def _member(cls: type, name: str) -> object:
    return inspect.getattr_static(cls, name, None)


def _place(message: str, function: FunctionType) -> StateReason:
    return StateReason(message, function.__code__.co_filename, function.__code__.co_firstlineno)
