"""What happens when a PE fails on an item: the run ends, the item is tried again, or left out.

A policy is given for a run (``--on-error``, ``--time-out``), or for a PE, with the attributes
``on_error`` and ``time_out`` of its class or object. The policy of a PE overrides that of the run:

===============  ==================================================================================
``fail``         the run ends (the default)
``retry:N``      the item is tried up to N times more; if it still fails, the run ends
``skip``         the item is left out, and reported on the error stream
``retry:N,skip`` first the one, then the other
===============  ==================================================================================

If an item may be tried again or left out, or has a time-out, the items that the PE writes for it
are held back until the PE is done with it. So a failed attempt has written nothing. But its changes
of the PE's own state remain. The policy of a run does not apply to sources; the attributes of a
source do.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any, NoReturn

from d4pcwl.errors import UsageError, brief

ERRORS = ("", "errors")
"""The PE and output under which items that were left out are passed on, beside the results."""

_FORM = re.compile(r"fail|skip|retry:(?P<retries>[0-9]+)(?P<skip>,skip)?")


@dataclass(frozen=True)
class Policy:
    """What happens when a PE fails on an item.

    :param retries: further attempts
    :param skip: whether to leave the item out after these, instead of ending the run
    :param time_out: seconds after which an attempt has failed; None for no limit
    """

    retries: int = 0
    skip: bool = False
    time_out: float | None = None


FAIL = Policy()


def parse_policy(
    text: str,
    time_out: float | None = None,
    where: tuple[str, str] = ("--on-error", "--time-out"),
) -> Policy:
    """Read a policy.

    >>> parse_policy("retry:2,skip", time_out=60)
    Policy(retries=2, skip=True, time_out=60.0)

    :param where: what the policy and the time-out are called in messages
    :raises UsageError: it has none of the forms above, or the time-out is not positive
    """
    found = _FORM.fullmatch(text)
    if found is None:
        raise UsageError(f"{where[0]}: expected fail, skip, retry:N or retry:N,skip, not {text!r}")
    limit = None if time_out is None else _limit(time_out, where[1])
    skip = text == "skip" or bool(found["skip"])
    return Policy(int(found["retries"] or 0), skip, limit)


def _limit(given: Any, where: str) -> float:
    """The seconds of a time-out.

    :raises UsageError: they are not a positive number
    """
    try:
        seconds = float(given)
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise UsageError(
            f"{where}: a time-out must be more than 0 s, and finite, not {brief(given)}"
        )
    return seconds


def policy_of(pe: Any, is_source: bool, default: Policy) -> Policy:
    """The policy for a PE: from its own attributes, or that of the run.

    :raises UsageError: an attribute is not valid
    """
    policy = FAIL if is_source else default
    own, time_out = getattr(pe, "on_error", None), getattr(pe, "time_out", None)
    where = (f"{pe.name}.on_error", f"{pe.name}.time_out")
    if time_out is not None:
        policy = replace(policy, time_out=_limit(time_out, where[1]))
    return policy if own is None else parse_policy(str(own), policy.time_out, where)


class TimeOut(Exception):
    """An attempt took longer than its policy allows."""


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Raise :class:`TimeOut` in the block if it takes longer.

    :raises UsageError: this is not the main thread, which is the only one that can be interrupted
    """
    if seconds is None:
        yield
        return
    import signal
    import threading

    if threading.current_thread() is not threading.main_thread():
        raise UsageError("a time-out needs the main thread: use run, or a mapping with processes")

    def expire(signum: int, frame: FrameType | None) -> NoReturn:
        raise TimeOut(f"it took longer than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
