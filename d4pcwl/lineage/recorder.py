"""Recording, in the processes of a run: which items each instance was given, and what it wrote.

A :class:`Recorder` writes one file for each worker. A :class:`Lineage` follows one instance of a
PE: it takes the traces off the items that come in, and gives traces to those that go out
(``identity.py``). Both exist only if the run is recorded.

An item derives from the items of the invocation in which it was written. If the PE keeps state, it
derives from all items that came since the last write, of the same key where the input has a
grouping by keys. ``write(…, derived_from=[…])`` says it exactly.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from typing import IO, Any, TypeVar

from d4pcwl.errors import OutputError, PEError, brief
from d4pcwl.lineage import opened
from d4pcwl.lineage.gathered import FilesRead, NewTraces, collected, derived_from
from d4pcwl.lineage.identity import (
    ITERATION,
    SIZE,
    Trace,
    described,
    digest_of,
    identity,
    salt,
    sources,
    unique,
    unrecorded,
)
from d4pcwl.lineage.record import GIVEN, HELD, INVOCATION, PARTS, WORKER, packed, plain
from d4pcwl.lineage.selection import Selection, fulfils
from d4pcwl.workflow.grouping import ALL, GroupBy, freeze, parse_grouping
from d4pcwl.workflow.numbering import Numbering
from d4pcwl.workflow.pe import GROUPING

_BUFFER = 1 << 16
_WRITES = 1000
"""Writes of one invocation that wait for its end."""

_SETTLE_SECONDS = 0.2
"""What was recorded is in the file after this time, if more is recorded."""

_KEPT = ("location", "format")
"""Further arguments of ``write`` that are recorded."""

_NOTHING: Mapping[str, Any] = {}

Send = Callable[[Any], None]
Take = Callable[[Iterable[Any]], None]
Gathered = TypeVar("Gathered", NewTraces, FilesRead)


@dataclass(frozen=True)
class Recording:
    """What workers must know to record; it is a part of the plan.

    :param folder: of the record; all hosts of the run have it under this path
    :param run: the id of the run
    :param selection: what is recorded, by PE id
    :param stateful: ids of the PEs whose items derive from earlier inputs, too
    :param twice: ids of the PEs that take an item by several inputs
    """

    folder: str
    run: str
    selection: Selection = field(default=Selection())
    stateful: frozenset[str] = frozenset()
    twice: frozenset[str] = frozenset()


class Recorder:
    """The record of one worker: a file that only grows."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self._file: IO[bytes] | None = None
        self._settled = time.time()
        self._lineages: list[Lineage] = []
        opened.listen()

    def _begun(self) -> IO[bytes]:
        """The file; it begins with the first record."""
        host, pid, number = socket.gethostname(), os.getpid(), 0
        folder = os.path.join(self.recording.folder, PARTS)
        while True:
            path = os.path.join(folder, f"{host}-{pid}-{number}")
            try:
                self._file = open(path, "xb", buffering=_BUFFER)  # noqa: SIM115 - see close
                break
            except FileExistsError:
                number += 1
            except OSError as error:
                raise OutputError(
                    f"{folder}: the record cannot be written on {host}: {error.strerror}; all "
                    "hosts of a run must share the folder of --provenance"
                ) from None
        self._file.write(packed([WORKER, self.recording.run, host, pid, number]))
        return self._file

    def put(self, record: bytes) -> None:
        """Append a record.

        :raises OutputError: it cannot be written
        """
        file = self._file or self._begun()
        try:
            file.write(record)
        except OSError as error:
            raise OutputError(f"{file.name}: cannot be written: {error.strerror}") from None

    def put_at(self, record: bytes, now: float) -> None:
        """Append a record, and let the file have what waits if that is some time ago."""
        self.put(record)
        if now - self._settled > _SETTLE_SECONDS:
            self._settled = now
            self.settle()

    def settle(self) -> None:
        """Let the file have all that was recorded.

        :raises OutputError: it cannot be written
        """
        if self._file is None:
            return
        try:
            self._file.flush()
        except OSError as error:
            raise OutputError(f"{self._file.name}: cannot be written: {error.strerror}") from None

    def lineage(self, pe: Any, number: int) -> Lineage:
        """The lineage of an instance.

        :param number: its number among the instances of the PE
        """
        made = Lineage(self, pe, number)
        self._lineages.append(made)
        return made

    def close(self) -> None:
        """The worker is done, or has failed: invocations that have not ended are recorded, too."""
        opened.AT_WORK.set(None)  # where an instance has failed, it was not set back
        for lineage in self._lineages:
            lineage.close()
        self.settle()
        if self._file is not None:
            self._file.close()
            self._file = None


class Lineage:
    """The lineage of one instance's items; see the module.

    :ivar passes: traces go through as they are: the PE only numbers items
    """

    def __init__(self, recorder: Recorder, pe: Any, number: int) -> None:
        recording, selection = recorder.recording, recorder.recording.selection
        self._recorder, self._pe, self._number = recorder, pe, number
        self.passes = isinstance(pe, Numbering)
        self._chosen = selection.pes is None or pe.id in selection.pes
        self._one_in = selection.one_in
        self._rules = selection.rules.get(pe.id, ())
        self._takes_all = self._chosen and self._one_in == 1 and not self._rules
        self._stateful = pe.id in recording.stateful
        self._twice = pe.id in recording.twice
        groupings = {
            name: parse_grouping(port.get(GROUPING), name)
            for name, port in pe.inputconnections.items()
        }
        # Where each instance takes an item, each makes something else of it.
        self._names = [pe.id, *([f"{number}"] if ALL in groupings.values() else [])]
        self._keys_in = {
            name: grouping.reader()
            for name, grouping in groupings.items()
            if isinstance(grouping, GroupBy)
        }
        self._keys = list(self._keys_in.values())
        if getattr(pe, "numbered", ""):  # its items come with their numbers
            self._keys_in = {name: _of_second(read) for name, read in self._keys_in.items()}
        extract = getattr(pe, "extractItemMetadata", None)
        self._extract: Callable[[Any, str], Any] | None = extract if callable(extract) else None
        self._salts: dict[str, bytes] = {}
        self._reached: dict[Any, NewTraces] = {}  # by key, what came since the last write
        self._read: dict[Any, FilesRead] = {}  # by key, the files that were read
        self._held: dict[str, tuple[bytearray, dict[str, None]]] = {}
        """Files that stay open, what came since, and what was read since."""
        self._said: Mapping[str, Any] = _NOTHING
        self._made_of: dict[Any, tuple[bytes, bytes]] = {}
        """By key, what items of this invocation are made of; see :meth:`_known`."""
        self._counts: dict[bytes, int] = {}
        self._writes: list[Any] = []
        self._files: dict[str, str] = {}
        self._put = time.time()
        self._redone = bool(pe.inputconnections) and not self._stateful
        """Whether another worker may do the same again: it puts the same together."""
        self._may_be_void = False
        """What the PE writes may not count in the end."""
        self._clear("", b"", None, b"", "")
        self._open = False
        if not self.passes:
            pe.write = self._saying(pe.write)
            pe.item_id = self.item_id

    # --- what comes in --------------------------------------------------------------------------

    def reading(self, name: str, take: Take) -> Take:
        """The function that takes pairs of a trace and an item, from one that takes the items of
        an input."""
        begin = self._follow if self.passes else self._begin
        end = self._end
        key_of = self._keys_in.get(name) if self._stateful else None

        def items(pairs: Iterable[tuple[Trace, Any]]) -> Iterator[Any]:
            for trace, item in pairs:
                key = None if key_of is None else _key(key_of, item)
                begin(name, trace, key, sources(trace))
                before = opened.AT_WORK.get()
                opened.AT_WORK.set(self._note_file)
                yield item
                opened.AT_WORK.set(before)
                end()

        return lambda pairs: take(items(pairs))

    def given(self, place: int, inputs: Mapping[str, Any]) -> Trace:
        """The trace of an input of a root.

        :param place: its place among all of them
        """
        own = identity(self._salt("given"), place.to_bytes(8, "big"))
        if not inputs:
            return own + ITERATION
        if not self._picks(own):
            return unrecorded(own)
        digest, shown = described(inputs)
        self._recorder.put(packed([GIVEN, own, self._pe.id, place, digest, shown]))
        return own

    def again(self) -> None:
        """The PE works on the item anew, or leaves it out: what it wrote does not count."""
        self._may_be_void = True
        self._count = 0
        self._counts.clear()
        self._writes.clear()
        self._files.clear()

    @contextmanager
    def alone(self, what: str) -> Iterator[None]:
        """The PE works without an item in the block: ``preprocess`` or ``postprocess``."""
        if self.passes:
            yield
            return
        self._begin("", b"", None, b"", what)
        before = opened.AT_WORK.get()
        opened.AT_WORK.set(self._note_file)
        try:
            yield
        finally:
            opened.AT_WORK.set(before)
        self._end()

    def item_id(self) -> bytes | None:
        """See :meth:`~d4pcwl.workflow.pe.GenericPE.item_id`."""
        return self._trace if self._open and not self._alone else None

    def _follow(self, name: str, trace: Trace, key: Any, used: bytes) -> None:
        self._trace = trace

    def _begin(self, name: str, trace: Trace, key: Any, used: bytes, alone: str = "") -> None:
        """An invocation begins."""
        self._clear(name, trace, key, used, alone)
        if alone:
            self._at = identity(self._salt(alone), self._number.to_bytes(4, "big"))
        else:
            self._at = identity(self._salt("on", name), trace[:SIZE])
            if self._stateful:
                self._reached.setdefault(key, NewTraces()).append(trace)
        for came, _ in self._held.values():
            came += used

    def _clear(self, name: str, trace: Trace, key: Any, used: bytes, alone: str) -> None:
        self._open, self._input, self._alone = True, name, alone
        self._key, self._used, self._trace = key, used, trace
        self._at = b""
        self._count = 0
        self._began = time.time()
        if self._counts:
            self._counts = {}
        if self._made_of:
            self._made_of = {}
        if self._writes:
            self._writes = []
        if self._files:
            self._files = {}

    def _end(self) -> None:
        """The invocation has ended."""
        if self.passes:
            return
        self._open = False
        now = time.time()
        files = self._settled_files() if self._files else []
        if self._count and self._stateful and not self._alone:
            for key in self._made_of or (self._key,):
                if key is None:
                    self._reached.clear()
                self._reached[key] = NewTraces()
        if self._chosen and (
            self._writes or files or (not self._rules and (self._used or self._one_in == 1))
        ):
            self._recorder.put_at(self._packed(now, files, True), now)

    def _put_writes(self) -> None:
        """Record what a long invocation has written so far, if that is much, or some time ago."""
        now = time.time()
        if len(self._writes) < _WRITES and (self._redone or now - self._put < _SETTLE_SECONDS):
            return
        self._put = now
        read = [[path, how] for path, how in self._files.items() if how == opened.READ]
        self._recorder.put_at(self._packed(now, read, None), now)
        self._writes = []

    def _packed(self, now: float, files: list[Any], ended: bool | None) -> bytes:
        return packed(
            [
                INVOCATION,
                self._pe.id,
                self._number,
                self._alone or self._input,
                self._at,
                self._used,
                self._began,
                now - self._began,
                self._writes,
                files,
                bool(self._alone),
                ended,
            ]
        )

    def close(self) -> None:
        """Record what has not ended."""
        if self._open and not self.passes and self._chosen:
            self._open = False
            self._recorder.put(self._packed(time.time(), self._settled_files(), False))
        for path, (came, read) in self._held.items():
            held = [HELD, self._pe.id, self._number, path, unique(bytes(came)), list(read)]
            self._recorder.put(packed(held))
        self._held.clear()

    # --- what goes out --------------------------------------------------------------------------

    def writing(self, output: str, send: Send, refuse: Callable[[Exception, Any], None]) -> Send:
        """The function that takes the items of an output, from one that takes them with traces.

        :param refuse: ends the run, with the error and such a pair, if an item cannot be recorded
        """
        if self.passes:
            return lambda item: send((self._trace, item))
        mark = salt(output)
        plain = not self._stateful and self._extract is None
        takes_all, keeps = self._takes_all, self._keeps

        def write(item: Any) -> None:
            said = self._said
            if self._writes and not self._may_be_void:
                self._put_writes()
            if plain and not said:
                count = self._count
                self._count = count + 1
                trace = identity(self._at, mark, count.to_bytes(8, "big"))
                if takes_all or keeps(trace, self._used, _NOTHING, item):
                    entry: list[Any] = [trace, output, *described(item), None]
                    if self._read:
                        self._write_down(entry, {}, None)
                    else:
                        self._writes.append(entry)
                else:
                    trace = unrecorded(trace, self._used)
            else:
                try:
                    trace = self._decide(output, mark, item, said)
                except Exception as error:  # noqa: BLE001 - users' code
                    refuse(error, (b"", item))
                    return
            send((trace, item))

        return write

    def _decide(self, output: str, mark: bytes, item: Any, said: Mapping[str, Any]) -> Trace:
        """Record an item, if it is to be. Returns its trace."""
        key = self._key_for(item)
        handles = [] if said.get("ignore_inputs") else said.get("derived_from")
        at, derived = self._known(key) if handles is None else self._told(handles, key)
        count = self._counts.get(at, 0)
        self._counts[at] = count + 1
        self._count += 1
        own = identity(at, mark, count.to_bytes(8, "big"))
        metadata = self._metadata(item, output, said)
        if not self._keeps(own, derived, metadata, item):
            return unrecorded(own, derived)
        extra: dict[str, Any] = {n: plain(str(said[n])) for n in _KEPT if said.get(n)}
        if metadata:
            extra["metadata"] = metadata
        entry = [own, output, *described(item), None if derived == self._used else derived]
        self._write_down(entry, extra, key)
        return own

    def _write_down(self, entry: list[Any], extra: dict[str, Any], key: Any) -> None:
        """Record an item, with the files that were read before."""
        files, before = self._files_before(key)
        if files:
            extra["files"] = files
        if before:
            entry[-1] = (self._used if entry[-1] is None else entry[-1]) + before
        if extra:
            entry.append(extra)
        self._writes.append(entry)

    def _files_before(self, key: Any) -> tuple[list[str], bytes]:
        """The files that were read before, for what is made now, and collections of such."""
        if not self._read:
            return [], b""
        read = _of_key(self._read, key)
        return [path for files in read for path in files.last], b"".join(f.before for f in read)

    def _saying(self, inner: Callable[..., None]) -> Callable[..., None]:
        """``write`` of the PE, whose further arguments are kept for the items that it writes."""

        def write(name: str, data: Any, **kwargs: Any) -> None:
            if not kwargs:
                inner(name, data)
                return
            before, self._said = self._said, kwargs
            try:
                inner(name, data, **kwargs)
            finally:
                self._said = before

        return write

    def _known(self, key: Any) -> tuple[bytes, bytes]:
        """What an item is made of, as can be known from outside of the PE: for its identity, and
        what it derives from.

        The identity is made of what the item derives from, where that tells it from all others. So
        it does not matter which input was quicker, or how many instances there are.
        """
        if not self._stateful:
            return self._at, self._used
        if key not in self._made_of:
            came = list(chain.from_iterable(_of_key(self._reached, key)))
            at = self._at_of(came, key) if not self._alone or key is not None else self._at
            self._made_of[key] = at, collected(derived_from(came), self._recorder.put)
        return self._made_of[key]

    def _told(self, handles: Any, key: Any) -> tuple[bytes, bytes]:
        """The same, as the PE says it.

        :raises PEError: these are not identities
        """
        found = list(handles)
        if not all(handle is None or isinstance(handle, bytes) for handle in found):
            raise PEError(
                "derived_from must be a list of values of self.item_id(), one for each item"
            )
        came = list(dict.fromkeys(filter(None, found)))
        return self._at_of(came, key), collected(derived_from(came), self._recorder.put)

    def _at_of(self, came: Sequence[Trace], key: Any) -> bytes:
        """What makes the identity of an item that is made of others."""
        if not self._alone:
            # The last of them to come is the one that the PE works on.
            if self._twice or self._trace not in came:
                return self._at
        elif self._stateful and key is not None:
            return identity(self._salt(self._alone, "key"), digest_of(key) or repr(key).encode())
        elif not came:
            return self._at
        return identity(self._salt(self._alone, "of"), *sorted(trace[:SIZE] for trace in came))

    def _key_for(self, item: Any) -> Any:
        """The key of the state that an item comes from; None: any state."""
        if not self._stateful or self._key is not None:
            return self._key
        return self._key_of(item)

    def _key_of(self, item: Any) -> Any:
        """The key that an item has in the same place as the items of an input, if such came."""
        for read in self._keys:
            key = _key(read, item)
            if key is not None and key in self._reached:
                return key
        return None

    def _metadata(self, item: Any, output: str, said: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        extracted = None if self._extract is None else self._extract(item, output)
        for told in (extracted, said.get("metadata")):
            for part in told if isinstance(told, list) else [told or {}]:
                if not isinstance(part, Mapping):
                    raise PEError(f"metadata must be a dictionary, not {brief(part)}")
                found.update(plain(part))
        return found

    def _keeps(self, own: bytes, derived: bytes, metadata: Mapping[str, Any], item: Any) -> bool:
        """Whether an item is recorded."""
        if not self._chosen:
            return False
        if self._one_in > 1 and not derived:
            is_source = self._alone or self._trace[SIZE:] == ITERATION
            if not (is_source and self._picks(own)):
                return False
        return not self._rules or fulfils(self._rules, metadata, item)

    def _picks(self, own: bytes) -> bool:
        """Whether an item of a source is one of those that are followed."""
        return self._one_in == 1 or int.from_bytes(own[:8], "big") % self._one_in == 0

    def _salt(self, *names: str) -> bytes:
        key = "\0".join(names)
        if key not in self._salts:
            self._salts[key] = salt(*self._names, *names)
        return self._salts[key]

    # --- files ----------------------------------------------------------------------------------

    def _note_file(self, how: str, path: str, new: str) -> None:
        if how != opened.RENAMED:
            if self._files.get(path) != opened.WRITTEN:
                self._files[path] = how
        elif path in self._files or path in self._held:
            if path in self._held:
                self._held[new] = self._held.pop(path)
            if self._files.pop(path, None) or self._alone:
                self._files[new] = opened.WRITTEN

    def _settled_files(self) -> list[Any]:
        """The files of this invocation, for the record; those that matter later are noted."""
        found: list[Any] = []
        before = self._files_before(self._key)
        for path, how in self._files.items():
            if how == opened.READ:
                found.append([path, how])
                if self._stateful or self._alone:
                    self._read.setdefault(self._key, FilesRead(self._recorder.put)).add(path)
                for _, read in self._held.values():
                    read[path] = None
            elif not os.path.exists(path):
                continue  # it was there only meanwhile
            elif path in self._held:  # what came to it is recorded in the end
                found.append([path, how, b"", []])
            else:
                found.append([path, how, *self._sources_of_file(path, before)])
                if opened.is_open(path):
                    self._held[path] = bytearray(), {}
        return found

    def _sources_of_file(
        self, path: str, before: tuple[list[str], bytes]
    ) -> tuple[bytes, list[str]]:
        """What a file that is written now derives from, as far as that was not yet recorded."""
        came = self._used
        if self._stateful:
            reached = _of_key(self._reached, self._key)
            came = derived_from(trace for some in reached for trace in some.new_to(path))
        files, collections = before
        return collected(came, self._recorder.put) + collections, files


def _of_key(by_key: Mapping[Any, Gathered], key: Any) -> list[Gathered]:
    """What is there for a key, and for no key; where the key is None, all."""
    if key is None:
        return list(by_key.values())
    return [by_key[name] for name in (key, None) if name in by_key]


def _key(read: Callable[[Any], Any], item: Any) -> Any:
    """The key of an item; None if it has none. Where one instance takes all items, that is no
    fault."""
    try:
        key = freeze(read(item))
        hash(key)
    except Exception:  # noqa: BLE001 - users' objects
        return None
    return key


def _of_second(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda pair: read(pair[1])
