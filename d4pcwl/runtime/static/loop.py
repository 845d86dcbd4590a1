"""Code of the static mappings, in which every instance stays in one process of the plan.

A mapping provides, in each process, an :class:`Inbox`, and a ``Sender``
(``runtime/transport/channel.py``) to every process that it sends to. This module makes the worker's
link from the senders, and handles the inbox until all instances have ended.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Protocol

from d4pcwl.runtime.engine.instance import Receive
from d4pcwl.runtime.engine.marks import LevelOf, NewLevels, wanted_levels
from d4pcwl.runtime.engine.plan import Plan
from d4pcwl.runtime.engine.worker import Worker
from d4pcwl.runtime.transport.channel import Channel, Disconnected, Sender
from d4pcwl.runtime.transport.outbox import deliver
from d4pcwl.runtime.transport.portions import Portions
from d4pcwl.trace.observer import EdgeTraffic, Way, with_sent


class Inbox(Protocol):
    """The messages from other processes to this one."""

    def receive(self, timeout: float | None) -> Iterable[tuple[int, Any]]:
        """The messages that are there, each with the number of its sender.

        :param timeout: how many seconds to wait for the first; None: as long as it takes

        A message of None means that the sender has ended.
        """


def joined(plan: Plan) -> set[tuple[int, int]]:
    """The pairs of different processes, sender and receiver, that items go between."""
    pairs = {
        (plan.instances[sender].process, receiver.process)
        for receiver in plan.instances
        for sender in plan.upstream[receiver.index]
    }
    return {(sender, receiver) for sender, receiver in pairs if sender != receiver}


def slots(plan: Plan) -> dict[tuple[str, str, int, str], int]:
    """A number for every way from an output to an input of an instance, equal in all processes."""
    ways = (
        (pe, output, target, route.input)
        for (pe, output), routes in plan.routes.items()
        for route in routes
        for target in route.targets
    )
    return {way: slot for slot, way in enumerate(sorted(ways))}


class Channels:
    """A worker's link: channels to the processes that it sends to.

    :param senders: by the number of the process
    :param result: returns the function that takes the results of an output
    """

    def __init__(
        self,
        plan: Plan,
        number: int,
        senders: Mapping[int, Sender],
        result: Callable[[str, str], Receive],
    ) -> None:
        self.plan, self.number, self.result = plan, number, result
        self.slots = slots(plan)
        names = [plan.port(pe, output) for pe, output, _, _ in self.slots]
        self.channels = {receiver: Channel(sender, names) for receiver, sender in senders.items()}
        for channel in self.channels.values():
            channel.outbox.measured = plan.measured
            channel.outbox.traced = plan.recording is not None

    def outlet(self, source: tuple[str, str], target: int, input: str) -> Receive:
        instance = self.plan.instances[target]
        marked = (instance.pe, input) in self.plan.order.marked
        slot = self.slots[(*source, target, input)]
        return self.channels[instance.process].outlet(slot, marked=marked)

    def end(self, instance: int) -> None:
        receivers = {self.plan.instances[i].process for i in self.plan.downstream[instance]}
        for process in receivers - {self.number}:
            self.channels[process].send("end", instance)

    def sent(self, source: tuple[str, str], target: int, input: str) -> Callable[[], int]:
        channel = self.channels[self.plan.instances[target].process]
        return partial(channel.outbox.count, self.slots[(*source, target, input)])

    def traffic(self, sent: Mapping[int, int] = MappingProxyType({})) -> dict[Way, EdgeTraffic]:
        """By edge, what has been sent.

        :param sent: by receiver, the bytes after compression, where there is any
        """
        ways = {slot: way for way, slot in self.slots.items()}
        found: dict[Way, EdgeTraffic] = {}
        for receiver, channel in self.channels.items():
            here: dict[Way, EdgeTraffic] = {}
            for slot, (items, size) in channel.outbox.sent().items():
                pe, output, target, input = ways[slot]
                way = (pe, output, self.plan.instances[target].pe, input)
                here[way] = here.get(way, EdgeTraffic()).plus(EdgeTraffic(items, size))
            for way, carried in with_sent(here, sent.get(receiver, 0)).items():
                found[way] = found.get(way, EdgeTraffic()).plus(carried)
        return found

    def flush(self) -> None:
        """Send what is waiting."""
        for channel in self.channels.values():
            channel.flush()

    def give_up(self) -> None:
        """Send what is waiting, and tell all receivers that nothing follows, not even an end."""
        for channel in self.channels.values():
            with contextlib.suppress(Disconnected):
                channel.send_last("gone")


class ResultChannel(Channel):
    """The channel to the process that takes the results."""

    def __init__(self, sender: Sender, plan: Plan) -> None:
        super().__init__(sender, [plan.port(*port) for port in plan.results])
        self.outbox.traced = plan.recording is not None
        self._numbers = plan.slots
        self._order = plan.order

    def result(self, pe: str, output: str) -> Receive:
        """The function that takes the results of an output."""
        port = (pe, output)
        return self.outlet(self._numbers[port], marked=port in self._order.results)


def tell_levels(plan: Plan, number: int, channels: Mapping[int, Channel], level: LevelOf) -> None:
    """Let channels send the levels of the instances of a process to their receivers.

    :param number: of the process
    :param channels: by receiver; those who take results are ``marks.RESULTS``
    """
    for receiver, wanted in wanted_levels(plan, number).items():
        if receiver in channels:
            channels[receiver].new_levels = NewLevels(wanted, level)


class Pausing(Protocol):
    """Pauses for snapshots of the run, as seen from a worker's loop."""

    def asked(self) -> bool:
        """Whether sources have to wait."""

    def enter(
        self, worker: Worker, take: Callable[[float | None], bool], flush: Callable[[], None]
    ) -> None:
        """The work begins.

        :param take: takes the messages that are there
        :param flush: sends what is waiting
        """

    def tell_quiet(self) -> None:
        """Nothing is left to do here."""

    def hear(self, what: str) -> None:
        """Take a message of the parent."""

    def leave(self) -> None:
        """The work is done."""


def work_off(
    worker: Worker,
    link: Channels,
    inbox: Inbox,
    idle: Callable[[], None],
    pausing: Pausing | None = None,
) -> None:
    """Feed the roots and handle messages of other processes, until all instances have ended.

    :param idle: called before waiting
    :param pausing: if there are snapshots of the run
    :raises Disconnected: a process has ended before it has sent everything
    """
    receivers = {
        slot: worker.receiver(target, input)
        for (_, _, target, input), slot in link.slots.items()
        if target in worker.running
    }
    portions = Portions(worker, receivers.__getitem__)

    def take(timeout: float | None) -> bool:
        taken = False
        for sender, message in inbox.receive(timeout):
            taken = True
            if message is None or message[0] == "gone":
                if worker.awaits(sender):
                    raise Disconnected("a process that sends items has ended")
            elif message[0] == "items" and message[2]:
                portions.take(message[1], message[2])
            elif message[0] == "items":
                deliver(receivers, message[1])
            elif message[0] == "end":
                worker.upstream_ended(message[1])
            elif pausing is not None:
                pausing.hear(message[0])
        return taken

    def flush() -> None:
        link.flush()
        idle()

    if pausing is not None:
        pausing.enter(worker, take, flush)
    worker.start()
    while not worker.done:
        if take(0):
            continue
        if worker.hungry and not (pausing is not None and pausing.asked()):
            worker.feed()
        else:
            flush()
            if pausing is not None:
                pausing.tell_quiet()
            take(None)
    if pausing is not None:
        flush()
        pausing.leave()
