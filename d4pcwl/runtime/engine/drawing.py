"""The random numbers of one instance: there is one generator for each item.

Its numbers depend only on the seed of the run, the PE, and the number of the item. Philox is made
for that: each key gives an independent stream, and can be used without computing other streams
(Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011,
doi:10.1145/2063384.2063405).
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
    :param given: how many items came from outside before, in a run that is resumed
    """

    def __init__(self, pe: Any, seed: int, given: int = 0) -> None:
        self._attributes, self._whose = vars(pe), f"{seed}:{pe.numbered}"
        self._given = given
        self._at: int | str = ""

    def begin(self, what: int | str) -> None:
        """Start the generator for the item with a number, or for a part of the PE's life."""
        self._at = what
        self.again()

    def again(self) -> None:
        """Start the same generator again."""
        self._attributes[DRAWN] = partial(_generator, self._whose, self._at)

    def next_given(self) -> int:
        """A number for the next item that comes from outside. No item of a stream has such a
        number."""
        self._given += 1
        return -self._given

    def of_numbered(self, take: Take) -> Take:
        """A function that takes pairs of a number and an item, made from one that takes items."""

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
