"""What a PE with state has gathered: the items that have come, and the files that it has read.

All that it writes may derive from all of these. So more than a few of them are recorded once, as a
*collection*, which has an identity like an item. What derives from the collection derives from
everything in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from d4pcwl.lineage.identity import SIZE, Trace, each, identity, joined, sources
from d4pcwl.lineage.record import COLLECTION, packed

_MOST = 16
"""Up to this number, identities and files are recorded one by one."""

Put = Callable[[bytes], None]


def collected(members: bytes, put: Put) -> bytes:
    """What stands for some identities: themselves, or a collection of them.

    :param put: takes its record
    """
    if len(members) <= _MOST * SIZE:
        return members
    own = identity(b"items", *sorted(each(members)))
    put(packed([COLLECTION, own, members, []]))
    return own


class NewTraces(list[Trace]):
    """The traces of the items that came since the PE last wrote."""

    _told: dict[str, int] | None = None

    def new_to(self, path: str) -> Iterable[Trace]:
        """Those that a file was not yet said to derive from."""
        if self._told is None:  # no file is written with most items
            self._told = {}
        first = self._told.get(path, 0)
        self._told[path] = len(self)
        return self[first:]


class FilesRead:
    """Files that were read: the last ones, and a collection of those before.

    :param put: takes the record of a collection
    :ivar last: the paths of the last ones
    :ivar before: the identity of the collection, if there is one
    """

    def __init__(self, put: Put) -> None:
        self._put = put
        self._seen: set[str] = set()
        self.last: list[str] = []
        self.before = b""

    def add(self, path: str) -> None:
        """A file was read, perhaps not for the first time."""
        if path in self._seen:
            return
        self._seen.add(path)
        if len(self.last) == _MOST:
            names = "\0".join(self.last).encode("utf-8", "surrogatepass")
            own = identity(b"files", self.before, names)
            self._put(packed([COLLECTION, own, self.before, self.last]))
            self.last, self.before = [], own
        self.last.append(path)


def derived_from(traces: Iterable[Trace]) -> bytes:
    """The identities that what is made of items with these traces derives from."""
    return joined(map(sources, traces))
