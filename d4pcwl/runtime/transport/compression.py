"""Compression of the batches that leave a machine, where this takes less time than the bytes that
it saves.

Inside a machine, nothing is compressed. On a link between machines, a :class:`Compressor` measures,
and a :class:`Choice` decides for each edge. The idea to choose by edge, at run time, is that of
L. Liang, R. Filgueira, Y. Yan, "Adaptive optimizations for stream-based workflows", WORKS 2020,
doi:10.1109/WORKS51914.2020.00010; how it is chosen is our own.

A compressed batch is a frame of Zstandard (RFC 8878). It says so itself by its first four bytes,
with which no other batch begins. It has the size of the batch and a checksum.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Hashable
from typing import Any, NamedTuple

from d4pcwl.errors import ItemError, UsageError
from d4pcwl.runtime.transport.frames import Part

AUTO, ALWAYS, NEVER = "auto", "always", "never"
"""What users choose: to measure, to compress all that is sent by messages, or nothing
(``CompressOptions`` in ``runtime/options.py``)."""

_IN_PYTHON = sys.version_info >= (3, 14)
_PACKAGE = "compression.zstd" if _IN_PYTHON else "backports.zstd"
_EXTENSION = "_zstd" if _IN_PYTHON else _PACKAGE

_MAGIC = b"\x28\xb5\x2f\xfd"
_LEVEL = 1

LEAST_BYTES = 512
"""Smaller batches are never compressed."""

WINDOW = 8
"""The number of batches that are measured together."""

LEAST_WINDOWS, MOST_WINDOWS = 4, 512
"""How many windows there are at least and at most until the other way is tried."""

TRIES = 0.02
"""The part of the time that is spent on finding out."""

WORTH = 0.8
"""A sample must promise that batches cost at most this part of what they cost otherwise."""

FASTEST = 2.5e-10
"""Seconds a byte: a link that is as fast as memory, where nothing is tried."""


# --- batches --------------------------------------------------------------------------------------


def is_compressed(data: Part | bytearray) -> bool:
    """Whether a batch says that it is compressed."""
    return data[:4] == _MAGIC


def compressed(data: Part) -> bytes:
    """The Zstandard frame of a batch."""
    zstd = _zstd()
    names = zstd.CompressionParameter
    options = {names.compression_level: _LEVEL, names.checksum_flag: 1}
    frame: bytes = zstd.compress(data, options=options)
    return frame


def decompressed(data: Part | bytearray, most: int) -> Part | bytearray:
    """A batch as it was before, whether it was compressed or not.

    :param most: the most bytes that it may have
    :raises ItemError: it is damaged, or larger than that
    :raises UsageError: no package for Zstandard is installed
    """
    if not is_compressed(data):
        return data
    require()
    zstd = _zstd()
    try:
        size = zstd.get_frame_info(data).decompressed_size
        if size is None or size > most:
            told = "an unknown number of" if size is None else f"{size:,}"
            raise ItemError(
                f"a compressed batch of items has {told} bytes; at most {most:,} are allowed"
            )
        reader = zstd.ZstdDecompressor()
        batch: bytes = reader.decompress(data, max_length=size)
    except zstd.ZstdError as error:
        raise ItemError(f"a compressed batch of items is damaged: {error}") from None
    if len(batch) != size or not reader.eof or reader.unused_data:
        raise ItemError("a compressed batch of items is damaged: its length is wrong")
    return batch


def available() -> bool:
    """Whether this Python can compress; nothing is imported."""
    with contextlib.suppress(ModuleNotFoundError):
        return importlib.util.find_spec(_EXTENSION) is not None
    return False


def require() -> None:
    """Make sure that this Python can compress.

    :raises UsageError: it cannot
    """
    if not available():
        raise UsageError(
            "compression needs Zstandard, which Python has from 3.14 on: pip install "
            "'d4pcwl[compression]', or run with --compress never"
        )


def usable(mode: str) -> str:
    """What users choose, or ``never`` where this Python cannot compress.

    :raises UsageError: it is ``always``, and this Python cannot compress
    """
    if mode == ALWAYS:
        require()
    return mode if mode != AUTO or available() else NEVER


def _zstd() -> Any:
    return importlib.import_module(_PACKAGE)


def is_far(host: str) -> bool:
    """Whether a host is not, by its name, this machine itself."""
    return host not in ("localhost", "::1") and not host.startswith("127.")


# --- what is decided ------------------------------------------------------------------------------


class Choice:
    """Whether the batches of an edge are compressed; no clock is in it.

    What a batch costs is the time in which its sender is blocked, and the time to compress and
    decompress it. The cost of a byte is measured over windows of :data:`WINDOW` batches; of several
    windows, later ones weigh more. Now and then one batch is compressed as a sample. If this
    promises to pay, a window is compressed as a trial, and its cost is compared with that of those
    that were not. While it pays, more are compressed. Now and then there is a window without,
    because the link may have changed. Samples, trials and such windows come so seldom that they
    take about :data:`TRIES` of the time.

    :param lag: so many batches after a change, what is measured is still due to earlier ones
    :ivar compresses: the next batch is compressed
    """

    def __init__(self, lag: int = 0) -> None:
        self.compresses = False
        self._lag = self._ignored = lag
        self._batches = self._bytes = 0
        self._seconds = 0.0
        self._plain = 0.0  # seconds a byte, without compression
        self._packed = 0.0  # the same with it, since it is used
        self._receiving = 0.0  # the receiver's part of that
        self._left = 1  # windows until the other way is tried
        self._pause = LEAST_WINDOWS  # after a trial that does not pay

    @property
    def wants_sample(self) -> bool:
        """Whether the next batch is compressed to find out what this would save."""
        return not self.compresses and self._left <= 0 and self._plain > FASTEST

    def sampled(self, size: int, shrunk: int, packing: float, unpacking: float) -> None:
        """Take what a sample showed.

        :param size: of the batch, in bytes
        :param shrunk: the same after compression
        :param packing: seconds to compress it
        :param unpacking: seconds to decompress it
        """
        self._receiving = unpacking / size
        spent = (packing + unpacking) / size
        if spent + self._plain * shrunk / size < WORTH * self._plain:
            self._turn(True, LEAST_WINDOWS)
        else:
            self._turn(False, self._windows(spent, 1, self._plain))

    def note(self, size: int, seconds: float) -> None:
        """Take what a batch has cost its sender.

        :param size: of the batch before compression, in bytes
        """
        if self._ignored:
            self._ignored -= 1
            return
        self._batches += 1
        self._bytes += size
        self._seconds += seconds
        if self._batches == WINDOW:
            cost = self._seconds / self._bytes
            self._batches = self._bytes = 0
            self._seconds = 0.0
            self._left -= 1
            if self.compresses:
                self._check(cost + self._receiving)
            else:
                self._plain = (self._plain + cost) / 2 if self._plain else cost

    def _check(self, cost: float) -> None:
        """Decide how to go on after a window that was compressed."""
        is_trial, is_faster = not self._packed, cost < self._packed / 2
        self._packed = cost if is_trial else (self._packed + cost) / 2
        gain, batches = self._plain - self._packed, WINDOW + self._lag
        if gain < 0:
            self._pause = min(2 * self._pause, MOST_WINDOWS)
            self._turn(False, max(self._pause, self._windows(-gain, batches, self._plain)))
        elif is_trial:
            self._pause = LEAST_WINDOWS
            self._left = self._windows(gain, batches, self._packed)
        elif is_faster or self._left <= 0:
            self._plain = 0.0  # to be found out anew
            self._turn(False, 1)

    def _turn(self, compresses: bool, windows: int) -> None:
        if compresses != self.compresses:
            self._ignored, self._packed = self._lag, 0.0
            self._batches = self._bytes = 0
            self._seconds = 0.0
        self.compresses, self._left = compresses, windows

    def _windows(self, lost: float, batches: int, cost: float) -> int:
        """How many windows it takes that what is lost is no more than a part of the time.

        :param lost: seconds a byte, in so many batches
        :param cost: seconds a byte, in the windows
        """
        enough = lost * batches / (TRIES * cost * WINDOW)
        return int(max(LEAST_WINDOWS, min(MOST_WINDOWS, enough)))


class Measured(NamedTuple):
    """A batch of an edge: its bytes, those that are sent, and the processor's seconds to compress
    it."""

    choice: Choice
    size: int
    sent: int
    packing: float


class Compressor:
    """Compresses what a process sends by a link.

    :param always: everything, without measuring
    :param lag: see :class:`Choice`
    :ivar sent: by edge, the bytes that were sent
    :ivar reading: seconds in which a receiver is blocked by a byte, if that is known
    """

    def __init__(self, *, always: bool = False, lag: int = 0) -> None:
        self.sent = Counter[Hashable]()
        self.reading = 0.0
        self._always = always
        self._choices = defaultdict[Hashable, Choice](lambda: Choice(lag))
        self._batches: list[Measured] = []

    def batch(self, edge: Hashable, data: Part) -> Part:
        """A batch in the form in which it is sent."""
        if len(data) >= LEAST_BYTES:
            if self._always:
                data = min(data, compressed(data), key=len)
            else:
                data = self._measured(self._choices[edge], data)
        self.sent[edge] += len(data)
        return data

    def _measured(self, choice: Choice, data: Part) -> Part:
        size, seconds = len(data), 0.0
        if choice.compresses or choice.wants_sample:
            _zstd()  # its import does not count
            began = time.thread_time()
            frame = compressed(data)
            packed = time.thread_time()
            if choice.wants_sample:
                decompressed(frame, size)
                choice.sampled(size, len(frame), packed - began, time.thread_time() - packed)
            if choice.compresses:
                data, seconds = min(data, frame, key=len), packed - began
        self._batches.append(Measured(choice, size, len(data), seconds))
        return data

    def taken(self) -> list[Measured]:
        """The measured batches since the last call: they are sent now."""
        batches, self._batches = self._batches, []
        return batches

    def blocked(self, batches: list[Measured], seconds: float) -> None:
        """Note how long their sender was blocked by batches."""
        whole = sum(batch.sent for batch in batches)
        for choice, size, sent, packing in batches:
            choice.note(size, packing + seconds * sent / whole + self.reading * sent)


def compressor(mode: str, far: bool, lag: int = 0) -> Compressor | None:
    """What compresses the batches of a link; None if nothing does.

    :param mode: what users choose, if it is :func:`usable`
    :param far: whether the link leaves the machine
    :param lag: see :class:`Choice`
    """
    if mode == ALWAYS:
        return Compressor(always=True)
    return Compressor(lag=lag) if mode == AUTO and far else None
