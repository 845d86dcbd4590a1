"""PEs around a function of one item. They keep no state, unless the function does."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from d4pcwl.workflow.pe import SimpleFunctionPE


class Map(SimpleFunctionPE):
    """Applies a function to each item.

    :param function: called as ``function(item, **params)``; if it returns None, nothing is written;
        the items of a generator are written one by one
    :param params: its further keyword arguments

    Input: any items. Output: what the function returns.
    """

    def __init__(self, function: Callable[..., Any], **params: Any) -> None:
        super().__init__(function, params)


class Filter(Map):
    """Writes the items for which a function is true.

    :param function: called as ``function(item, **params)``

    Input: any items. Output: some of them, unchanged.
    """

    def _process(self, data: Any) -> None:
        if super()._process(data):
            self.write(self.OUTPUT_NAME, data)


class FlatMap(Map):
    """Writes, one by one, the items that a function returns for each item.

    :param function: called as ``function(item, **params)``; it returns an iterable

    Input: any items. Output: none, one or several for each.
    """

    def _process(self, data: Any) -> None:
        made: Iterable[Any] = super()._process(data)
        for item in made:
            self.write(self.OUTPUT_NAME, item)


class Tee(Map):
    """Writes every item unchanged, and calls a function with it.

    :param function: called as ``function(item, **params)``; what it returns is not used

    Input: any items. Output: the same items.
    """

    def _process(self, data: Any) -> None:
        super()._process(data)
        self.write(self.OUTPUT_NAME, data)
