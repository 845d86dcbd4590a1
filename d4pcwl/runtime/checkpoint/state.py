"""The state of a PE: what ``__getstate__`` returns, or its plain attributes."""

from __future__ import annotations

import pickle
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

from d4pcwl.errors import PEError
from d4pcwl.streams.pickles import dumps
from d4pcwl.workflow.pe import DRAWN, GenericPE
from d4pcwl.workflow.place import place_of_work
from d4pcwl.workflow.reading.roots import is_container, is_framework

_BOUND = frozenset(
    {
        *("id", "name", "numprocesses", "numbered", "rank", "inputconnections"),
        *("outputconnections", "write", "log", "item_id", "hand_on", DRAWN),
    }
)
"""The attributes of a PE that are the graph's, or the runtime's."""

_CODE = (FunctionType, BuiltinFunctionType, MethodType, ModuleType, type)
"""What the script makes again when it is loaded again, also where it cannot be pickled."""

_USUAL: tuple[object, ...] = (GenericPE.__getstate__, object.__getstate__)


def check(pe: Any, title: str) -> None:
    """See whether the state of a PE could be kept, as far as that is known before ``preprocess``.

    :raises PEError: it could not
    """
    if type(pe).__getstate__ in _USUAL:
        State(pe, title).keep()


class State:
    """The state of one instance's PE.

    :param pe: after its ``preprocess``
    :param title: the name of the instance in messages
    """

    def __init__(self, pe: Any, title: str) -> None:
        self._pe, self._title = pe, title
        self._is_usual = type(pe).__getstate__ in _USUAL
        self._of_class = _of_class(type(pe))
        self._code = {name: value for name, value in vars(pe).items() if isinstance(value, _CODE)}

    def keep(self) -> bytes:
        """The state as it is now.

        :raises PEError: it cannot be pickled
        """
        state = None
        try:
            state = self._pe.__getstate__()
            if self._is_usual and isinstance(state, dict):
                state = {**self._of_class, **state}
            if isinstance(state, dict):
                state = {name: value for name, value in state.items() if self._is_own(name, value)}
            return dumps(state)
        except Exception as error:
            raise PEError(self._cannot(state, error)) from error

    def restore(self, data: bytes) -> None:
        """Set a state that was kept."""
        attributes, state = vars(self._pe), pickle.loads(data)
        bound = {name: attributes[name] for name in _BOUND if name in attributes}
        if hasattr(type(self._pe), "__setstate__"):
            self._pe.__setstate__(state)
        elif isinstance(state, dict):
            if self._is_usual:  # another method may leave out what has to stay
                for name in attributes.keys() - state.keys() - self._code.keys():
                    del attributes[name]
            attributes.update(state)
        attributes.update(bound)

    def _is_own(self, name: str, value: Any) -> bool:
        known = self._code.get(name)
        return name not in _BOUND and (known is None or known is not value)

    def _cannot(self, state: Any, error: Exception) -> str:
        """Why the state cannot be kept, and what to do."""
        what = ""
        for name, value in state.items() if isinstance(state, dict) else ():
            if not _is_plain(value):
                what = f"self.{name}: "
                break
        message = (
            f"PE {self._title} cannot be kept in a snapshot: {what}{error}. Make such an object in "
            "_preprocess, and define __getstate__ to return the attributes without it"
        )
        place = place_of_work(self._pe)
        return str(place.fault(message)) if place is not None else message


def _of_class(cls: type) -> dict[str, Any]:
    """The containers that are attributes of a class: its instances may fill them. One that cannot
    be pickled holds code."""
    return {
        name: value
        for base in reversed(cls.__mro__)
        if not is_framework(base.__module__)
        for name, value in vars(base).items()
        if is_container(value) and not name.startswith("__") and _is_plain(value)
    }


def _is_plain(value: Any) -> bool:
    try:
        dumps(value)
    except Exception:  # noqa: BLE001 - users' objects
        return False
    return True
