"""The random numbers of one instance: a generator for each item, whoever works on it, and whenever.

Its stream hangs on the seed of the run, the PE and the item's number alone. Philox is made for
that: any key gives a stream of its own, and none needs to be reached by way of another (Salmon et
al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011, doi:10.1145/2063384.2063405).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from d4pcwl.errors import PEError
from d4pcwl.runtime.engine.chain import Take
from d4pcwl.workflow.pe import DRAWN

if TYPE_CHECKING:
    from numpy.random import Generator


class Draws:
    """Gives a PE its generators.

    :param seed: of the run
    """

    def __init__(self, pe: Any, seed: int) -> None:
        self._attributes, self._whose = vars(pe), f"{seed}:{pe.numbered}"
        self._given = 0
        self._at: int | str = ""

    def begin(self, what: int | str) -> None:
        """What is drawn from now on is for the item of a number, or for a part of the PE's life."""
        self._at = what
        self.again()

    def again(self) -> None:
        """What is drawn from now on is what has been drawn for the same."""
        self._attributes[DRAWN] = partial(_generator, self._whose, self._at)

    def next_given(self) -> int:
        """A number for the next item that comes from outside: none that items of a stream have."""
        self._given += 1
        return -self._given

    def of_numbered(self, take: Take) -> Take:
        """A taker of items with their numbers, as pairs, for a taker of items."""

        def items(pairs: Iterable[tuple[int, Any]]) -> Iterator[Any]:
            for number, item in pairs:
                self.begin(number)
                yield item

        return lambda pairs: take(items(pairs))


def _generator(whose: str, at: int | str) -> Generator:
    try:
        from numpy.random import Generator, Philox
    except ImportError:
        raise PEError("self.rng is numpy's: pip install 'd4pcwl[arrays]'") from None

    import hashlib

    key = hashlib.blake2b(f"{whose}:{at}".encode(), digest_size=16).digest()
    return Generator(Philox(key=int.from_bytes(key, "little")))
