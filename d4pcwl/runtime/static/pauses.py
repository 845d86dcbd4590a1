"""Pauses of a static run, in which snapshots of it are taken.

The parent asks for them. It sets a cell of shared memory, which sources look at between two items,
and wakes the workers that wait. While the sources wait, a worker that has nothing to do reports how
many frames it has sent to each process, and how many it has taken from each (``quiet``). If these
numbers agree for each pair of processes, no frame is on its way: only a frame gives a worker
something to do, and the first one to be taken after such an answer would be in the count of its
sender only. (This is the vector counter method of Mattern, "Algorithms for distributed termination
detection", Distributed Computing 2 (1987), doi:10.1007/BF01782776.) Then the parent asks for the
states (``keep``), writes the snapshot, and lets the sources continue.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from d4pcwl.runtime.checkpoint.kept import Snapshot
from d4pcwl.runtime.checkpoint.request import Request
from d4pcwl.runtime.checkpoint.session import Session
from d4pcwl.runtime.checkpoint.sources import Pauses
from d4pcwl.runtime.engine.marks import RESULTS, SortedResults
from d4pcwl.runtime.engine.plan import Plan
from d4pcwl.runtime.engine.worker import Worker
from d4pcwl.runtime.static.loop import Inbox, joined
from d4pcwl.runtime.transport import frames
from d4pcwl.runtime.transport.channel import Channel, Sender

_AT_THE_END = -1
"""Used as the number of a pause, for what a worker tells when it is done."""


class PausingParent:
    """The parent's side.

    :param senders: to the workers
    """

    def __init__(
        self, session: Session, plan: Plan, request: Request, senders: Mapping[int, Sender]
    ) -> None:
        self._session, self._plan, self._request, self._senders = session, plan, request, senders
        self._pairs = joined(plan)
        self._sent: dict[int, Counter[int]] = {}
        self._taken: dict[int, Counter[int]] = {}
        self._kept: dict[int, bytes] = {}
        self._open: set[int] = set()  # instances that have not ended
        self._is_keeping = False

    def wait_seconds(self, most: float) -> float:
        """How long the parent may wait for messages."""
        return most if self._request.asked() else min(most, self._session.seconds)

    def hear(self, number: int, kind: str, content: Any) -> None:
        """Take the answer of a worker."""
        if kind == "quiet":
            pause, sent, taken = content
            if pause in (self._request.number, _AT_THE_END):
                self._sent[number], self._taken[number] = sent, taken
        else:
            self._kept[number], still_open = content
            self._open |= still_open

    def look(self, working: Collection[int], results: SortedResults) -> None:
        """Do what is due.

        :param working: the numbers of the workers that have not reported their end
        :raises OutputError: the snapshot cannot be written
        """
        if not working:
            return
        if not self._request.asked():
            if self._session.due:
                for number in working:
                    self._taken.pop(number, None)
                self._turn("pause", working)
        elif not self._is_keeping:
            if self._is_quiet(working):
                self._is_keeping = True
                self._tell("keep", working)
        elif self._kept.keys() >= set(working):
            ended = {instance.index for instance in self._plan.instances} - self._open
            self._session.save(Snapshot(self._kept, frozenset(ended), results.held))
            self._kept, self._open, self._is_keeping = {}, set(), False
            self._turn("go", working)

    def _is_quiet(self, working: Collection[int]) -> bool:
        """Whether no frame is on its way."""
        return self._taken.keys() >= set(working) and all(
            self._sent[sender][receiver] == self._taken[receiver][sender]
            for sender, receiver in self._pairs
            if receiver in working
        )

    def _turn(self, what: str, working: Iterable[int]) -> None:
        self._request.next()
        self._tell(what, working)

    def _tell(self, what: str, working: Iterable[int]) -> None:
        for number in working:
            try:
                self._senders[number].send(*frames.pickled((what,)))
            except OSError:  # it has ended; the parent will notice
                continue


class PausingWorker:
    """The side of a worker.

    :param results: the channel to the parent
    :ivar senders: to the other processes, by receiver
    :ivar inbox: for their messages, and those of the parent
    """

    def __init__(
        self, request: Request, senders: Mapping[int, Sender], inbox: Inbox, results: Channel
    ) -> None:
        self.senders = {receiver: _Counting(sender) for receiver, sender in senders.items()}
        self.inbox = _CountingInbox(inbox)
        self.asked = request.asked
        self._request, self._results = request, results
        self._told: object = None

    def pauses(self, begun: Snapshot, number: int) -> Pauses:
        """For the worker.

        :param begun: what the run goes on with
        :param number: of this process
        """
        return Pauses(self.asked, self._wait, begun.processes.get(number, b""), begun.ended)

    def enter(
        self, worker: Worker, take: Callable[[float | None], bool], flush: Callable[[], None]
    ) -> None:
        """The work begins.

        :param take: takes the messages that are there
        :param flush: sends what is waiting
        """
        self._worker, self._take, self._flush = worker, take, flush

    def _wait(self) -> None:
        """Work on messages, but feed no source, until the pause is over."""
        while self.asked():
            if not self._take(0):
                self._flush()
                self.tell_quiet()
                self._take(None)

    def tell_quiet(self) -> None:
        """Nothing is left to do here; in a pause, the parent gets a report."""
        if self.asked():
            quiet = (self._request.number, self._sent, self.inbox.counts.copy())
            if quiet != self._told:
                self._told = quiet
                self._results.send("quiet", quiet)

    def leave(self) -> None:
        """The work is done. Report to the parent what was sent, for later pauses."""
        self._results.send("quiet", (_AT_THE_END, self._sent, Counter()))

    @property
    def _sent(self) -> Counter[int]:
        return Counter({receiver: sender.count for receiver, sender in self.senders.items()})

    def hear(self, what: str) -> None:
        """Take a message of the parent. Those that begin or end a pause only wake the worker.

        :raises Halt: the state of a PE cannot be kept
        """
        if what == "keep":
            still_open = self._worker.running.keys() - self._worker.ended
            self._results.send("kept", (self._worker.keep(), set(still_open)))


class _Counting:
    """A sender that counts its frames."""

    def __init__(self, sender: Sender) -> None:
        self._sender, self.count = sender, 0

    def send(self, data: bytes, buffers: Sequence[memoryview]) -> None:
        self._sender.send(data, buffers)
        self.count += 1


class _CountingInbox:
    """An inbox that counts messages, by sender, but for those of the parent."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self.counts = Counter[int]()

    def receive(self, timeout: float | None) -> Iterable[tuple[int, Any]]:
        for sender, message in self._inbox.receive(timeout):
            if message is not None and sender != RESULTS:
                self.counts[sender] += 1
            yield sender, message
