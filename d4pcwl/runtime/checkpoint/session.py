"""A run with snapshots, in the process that started it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from d4pcwl.errors import CheckpointError, UsageError
from d4pcwl.lineage.identity import described
from d4pcwl.runtime.checkpoint.kept import Snapshot
from d4pcwl.runtime.checkpoint.store import Store

EVERY_SECONDS = 60.0

Port = tuple[str, str]
_FINISHED = "finished"


class Sink(Protocol):
    """What results go to: a sink of ``runtime/results.py``."""

    def take(self, pe: str, output: str) -> Callable[[Any], None]:
        """A function that takes the items of one output."""

    def close(self, complete: bool) -> None:
        """The run is over."""


def _silent(message: str) -> None:
    """Show no messages."""


class Session:
    """The snapshots of one run. It is a context: at its end, others may use the folder.

    :param folder: for them
    :param every: seconds from one to the next
    :param resume: go on after the newest one, if there is one
    :param parameters: values of the workflow's parameters
    :param say: takes messages
    :raises UsageError: the folder cannot be used, or has a run that this one does not go on with
    :ivar every: the same
    """

    _sink: Sink

    def __init__(
        self,
        folder: str | os.PathLike[str],
        every: float | None = None,
        *,
        resume: bool = False,
        parameters: Mapping[str, Any] | None = None,
        say: Callable[[str], None] = _silent,
    ) -> None:
        every = EVERY_SECONDS if every is None else every
        if not every > 0:
            raise UsageError(f"--every {every:g}: more than 0 seconds are needed")
        self.every, self._resume, self._say = every, resume, say
        self._facts: dict[str, Any] = {}
        self._parameters = {name: _told(value) for name, value in (parameters or {}).items()}
        self._is_finished = False
        self._store = Store(Path(folder))
        self._ports: dict[Port, int] = {}
        self._next = float("inf")
        if not resume and self._store.is_used:
            self._store.close()
            raise UsageError(
                f"--checkpoint {folder}: the folder has snapshots of a run; add --resume to "
                "continue "
                "this run, or remove the folder"
            )

    # --- of who runs it -------------------------------------------------------------------------

    def join(self, sink: Sink, facts: Mapping[str, Any]) -> Sink:
        """The sink to which the run gives its results: it writes them to the log, too.

        :param facts: what the run is; a resumed run must be the same
        """
        self._sink, self._facts = sink, {"parameters": self._parameters, **facts}
        return _Logged(sink, self._log)

    def begin(self, results: Iterable[Port], plan: str) -> Snapshot | None:
        """The run begins. The results of before the snapshot go to the sink.

        :param results: the outputs whose items are results, as in the plan
        :param plan: what runs where
        :returns: the snapshot to continue from; None if the run was already complete
        :raises CheckpointError: the run before was another one, or nothing of it can be read
        """
        self._facts["plan"] = plan.splitlines()
        self._ports = {port: number for number, port in enumerate(results)}
        found = self._store.newest(self._say) if self._resume else None
        if found is not None:
            self._compare(found.facts)
            self._is_finished = bool(found.facts.get(_FINISHED))
        takers = [self._sink.take(*port) for port in self._ports]

        def take(result: tuple[int, Any]) -> None:
            takers[result[0]](result[1])

        self._store.begin(found, take)
        self._next = time.monotonic() + self.every
        if found is None:
            if self._resume:
                self._say("there is no snapshot yet, so the run starts from the beginning")
            return Snapshot()
        if self._is_finished:
            self._say("the run was already complete; these are its results")
            return None
        self._say(f"the run continues after snapshot {found.number}")
        return found.snapshot

    def _log(self, port: Port, item: Any) -> None:
        self._store.add((self._ports[port], item))

    @property
    def seconds(self) -> float:
        """How long it is until the next snapshot; 0 if it is time for it."""
        return max(0.0, self._next - time.monotonic())

    @property
    def due(self) -> bool:
        """Whether it is time for a snapshot."""
        return time.monotonic() >= self._next

    def save(self, snapshot: Snapshot) -> None:
        """Write a snapshot.

        :raises OutputError: that is not possible
        """
        self._store.save(snapshot, self._facts)
        self._next = time.monotonic() + self.every

    # --- of who asks for it ---------------------------------------------------------------------

    def finish(self) -> None:
        """The run is complete: a resumed run only gives the results again.

        :raises OutputError: the last snapshot cannot be written
        """
        if not self._is_finished:
            self._store.save(Snapshot(), {**self._facts, _FINISHED: True})

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and self._next < float("inf") and self._store.has_snapshots:
            self._say("the same command with --resume continues after the last snapshot")
        self._store.close()

    def _compare(self, before: Mapping[str, Any]) -> None:
        """:raises CheckpointError: the run before was another one; says in what"""
        differing = [
            line
            for name, value in self._facts.items()
            if before.get(name) != value
            for line in _differences(name, before.get(name), value)
        ]
        if differing:
            raise CheckpointError(
                f"--resume: the run in {self._store.folder} was different:\n  "
                + "\n  ".join(differing)
            )


class _Logged:
    """A sink whose results are written to the log, too."""

    def __init__(self, sink: Sink, log: Callable[[Port, Any], None]) -> None:
        self._sink, self._log = sink, log

    def take(self, pe: str, output: str) -> Callable[[Any], None]:
        log, take, port = self._log, self._sink.take(pe, output), (pe, output)

        def receive(item: Any) -> None:
            log(port, item)
            take(item)

        return receive

    def close(self, complete: bool) -> None:
        self._sink.close(complete)


def _told(value: Any) -> str:
    """A value of a parameter. What has no plain form has no text that stays the same."""
    return repr(value) if described(value)[0] is not None else type(value).__qualname__


def _differences(name: str, before: Any, now: Any) -> list[str]:
    """What differs, in lines."""
    if not isinstance(before, list) or not isinstance(now, list):
        return [f"{name}: {before} before, {now} now"]
    return [
        *(f"{name}, only before: {line}" for line in before if line not in now),
        *(f"{name}, only now: {line}" for line in now if line not in before),
    ] or [f"{name}: in another order"]
