"""Sending from one instance to others: copies of values in the same process, and the distribution
of items to all receivers, in turn, or by key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Any

from d4pcwl.runtime.engine.chain import Receive, Take
from d4pcwl.runtime.engine.values import IMMUTABLE, snapshot
from d4pcwl.workflow.grouping import GroupBy

Complain = Callable[[Exception, Any], None]
"""Takes an item that cannot be sent, and the reason."""


def local(take: Take, complain: Complain, *, marked: bool = False) -> Receive:
    """Send to an instance in the same process: it gets its own copy of the value.

    :param marked: items come with their marks, as pairs
    """

    def send(sent: Any) -> None:
        item = sent[1] if marked else sent
        if type(item) not in IMMUTABLE:
            try:
                own = snapshot(item)
            except Exception as error:  # noqa: BLE001 - users' code
                complain(error, item)
                return
            sent = (sent[0], own) if marked else own
        take((sent,))

    return send


def or_complain(take: Receive, complain: Complain, *, marked: bool) -> Receive:
    """A function that sends to ``take``, and reports an error that the PE cannot catch."""

    def send(item: Any) -> None:
        try:
            take(item)
        except Exception as error:  # noqa: BLE001 - copying and encoding run users' code
            complain(error, item[1] if marked else item)

    return send


def fan_out(takers: Sequence[Receive]) -> Receive:
    """Every item goes to all of them."""
    if len(takers) == 1:
        return takers[0]

    def send(item: Any) -> None:
        for take in takers:
            take(item)

    return send


def counting(emit: Receive) -> tuple[Receive, Callable[[], int]]:
    """``emit``, and how many items it has taken."""
    number = 0

    def send(item: Any) -> None:
        nonlocal number
        emit(item)
        number += 1

    return send, lambda: number


def in_turn(takers: Sequence[Receive]) -> Receive:
    """The first item goes to the first of them, the second to the second, and so on, in turn."""
    following = cycle(takers).__next__
    return lambda item: following()(item)


class InTurn:
    """The same, and it is known how many items there were.

    :ivar passed: how many
    """

    def __init__(self, takers: Sequence[Receive]) -> None:
        self._takers, self.passed = takers, 0

    def __call__(self, item: Any) -> None:
        number = self.passed
        self.passed = number + 1
        self._takers[number % len(self._takers)](item)


def by_key(
    takers: Sequence[Receive],
    grouping: GroupBy,
    where: str,
    refuse: Complain,
    *,
    marked: bool = False,
    traced: bool = False,
) -> Receive:
    """Items with equal keys go to the same one of them.

    :param where: the input that is grouped, for the message
    :param refuse: called with the error for an item without such a key
    :param marked: items come with their marks, as pairs
    :param traced: items come with their traces, as pairs
    """
    owner = grouping.owner(len(takers))
    if traced:
        owner = _of_traced(owner)

    def send(sent: Any) -> None:
        item = sent[1] if marked else sent
        try:
            number = owner(item)
        except (LookupError, TypeError) as error:
            keys = ", ".join(map(repr, grouping.keys))
            kind = type(item[1] if traced else item)
            refuse(
                type(error)(
                    f"{where} is grouped by {keys}, which this {kind.__name__} does not "
                    f"have: {error}"
                ),
                item,
            )
            return
        takers[number](sent)

    return send


def _of_traced(owner: Callable[[Any], int]) -> Callable[[Any], int]:
    return lambda pair: owner(pair[1])
