"""Modules beside a script that have the name of one of Python's: ``glob.py``, ``queue.py``, …

Python has one module for each name, and looks into the script's folder first. So libraries that are
loaded later would get the script's ``queue`` instead of Python's. Here ``import queue`` gives the
script's module to the script and to the modules beside it, and Python's module to all others. The
same holds for the few libraries that we load ourselves.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.machinery
import importlib.util
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from d4pcwl.errors import shown

PREFIX = "_d4pcwl_script_"
"""The prefix of the names of modules that cannot have their own name."""

_FRAMEWORK = frozenset({"d4pcwl", "dispel4py"})
_LIBRARIES = frozenset(
    {"cwltool", "mpi4py", "networkx", "numpy", "psutil", "redis", "ruamel", "schema_salad", "zmq"}
)


@dataclass(frozen=True)
class _Place:
    """The folders in which the imports of one script are looked for first.

    :param folders: their real paths, in their order
    :param taken: modules there whose names other modules have, too
    :param shared: those of them that the script can import
    :param hidden: the files of modules that nobody can import, by name
    """

    folders: tuple[str, ...]
    taken: frozenset[str]
    shared: frozenset[str]
    hidden: Mapping[str, str]


def share_names(folders: Iterable[str], script: str = "") -> None:
    """Give the modules in these folders only to the code in these folders.

    :param folders: where the imports of a script are looked for first
    :param script: the name of the script's own file, which no other module imports
    """
    real = tuple(dict.fromkeys(map(os.path.realpath, folders)))
    taken, hidden = set[str](), dict[str, str]()
    for folder in reversed(real):
        _look_into(folder, real, taken, hidden)
    if not taken and not hidden:
        return
    known = _names()
    if known is None:
        known = _Names()
        sys.meta_path.insert(0, known)
        builtins.__import__ = _importing(known, builtins.__import__)
    shared = frozenset(taken - {os.path.splitext(script)[0]})
    place = known.places[real] = _Place(real, frozenset(taken), shared, hidden)
    for name in shared:
        loaded = sys.modules.get(name)
        if isinstance(loaded, ModuleType) and _lies_in(loaded, place):
            sys.modules[PREFIX + name] = sys.modules.pop(name)


def is_taken(name: str) -> bool:
    """Whether another module has this name."""
    known = _names()
    return name in sys.stdlib_module_names or (
        known is not None and any(name in place.taken for place in known.places.values())
    )


def hint_of_hidden(error: BaseException) -> str:
    """For messages: a hint that a missing name may be in a file that Python never imports."""
    known = _names()
    name = getattr(error, "name", None) if isinstance(error, ImportError) else None
    owner = getattr(error, "obj", None)
    if isinstance(error, AttributeError) and isinstance(owner, ModuleType):
        name = owner.__name__
    top = str(name or "").partition(".")[0]
    for place in known.places.values() if known else ():
        if top in place.hidden:
            return (
                f"; {shown(place.hidden[top])} is never imported, because Python has a module "
                f"'{top}' itself: give the file another name"
            )
    return ""


def _look_into(
    folder: str, folders: Iterable[str], taken: set[str], hidden: dict[str, str]
) -> None:
    """Find the modules of a folder whose names other modules have, too."""
    try:
        entries = os.listdir(folder)
    except OSError:
        return
    for entry in entries:
        name, suffix = os.path.splitext(entry)
        if suffix not in ("", ".py") or name not in sys.stdlib_module_names | _LIBRARIES:
            continue
        if not suffix and not os.path.isfile(os.path.join(folder, entry, "__init__.py")):
            continue
        if _is_loaded_first(name):
            hidden[name] = os.path.join(folder, entry)
        elif name not in _LIBRARIES or _elsewhere(name, folders) is not None:
            taken.add(name)


def _is_loaded_first(name: str) -> bool:
    """Whether Python has loaded its own module of the name before it can look beside a script."""
    frozen = importlib.machinery.FrozenImporter.find_spec(name)
    return name in sys.builtin_module_names or frozen is not None or name == "encodings"


def _elsewhere(name: str, folders: Iterable[str]) -> importlib.machinery.ModuleSpec | None:
    out = set(folders)
    path = [entry for entry in sys.path if os.path.realpath(entry or ".") not in out]
    return importlib.machinery.PathFinder.find_spec(name, path)


class _Names:
    """Finds Python's modules and those beside a script, if both have the same names."""

    def __init__(self) -> None:
        self.places: dict[tuple[str, ...], _Place] = {}
        self._latest: _Place | None = None

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The method of a finder that Python calls."""
        if path is not None:
            return None
        if fullname.startswith(PREFIX):
            return self._spec_beside(fullname)
        if any(fullname in place.taken for place in self.places.values()):
            return _elsewhere(fullname, itertools.chain(*self.places))
        return None

    def _spec_beside(self, fullname: str) -> importlib.machinery.ModuleSpec | None:
        name = fullname.removeprefix(PREFIX)
        for place in (self._latest, *self.places.values()):
            if place is not None and name in place.shared:
                found = importlib.machinery.PathFinder.find_spec(name, place.folders)
                if found is not None and found.origin is not None:
                    return importlib.util.spec_from_file_location(
                        fullname,
                        found.origin,
                        submodule_search_locations=found.submodule_search_locations,
                    )
        return None

    def load_beside(self, name: str, place: _Place) -> ModuleType:
        """The module of a place, under another name."""
        loaded = sys.modules.get(PREFIX + name)
        if loaded is not None and not _lies_in(loaded, place):
            del sys.modules[PREFIX + name]  # that of another script
        self._latest = place
        return importlib.import_module(PREFIX + name)

    def beside(self, importer: Mapping[str, Any], name: str) -> _Place | None:
        """The place of the module that an importing module means by a name, if it has one."""
        file = importer.get("__file__")
        if not isinstance(file, str):
            return None
        real = os.path.realpath(file)
        own = str(importer.get("__name__", "")).partition(".")[0].removeprefix(PREFIX)
        for place in self.places.values():
            if name not in place.shared:
                continue
            for folder in place.folders:
                if folder in (os.path.dirname(file), os.path.dirname(real)):
                    return place
                first = os.path.relpath(real, folder).split(os.sep)[0]
                if first == own and own not in _FRAMEWORK:  # of a package that lies there
                    return place
        return None


def _names() -> _Names | None:
    return next((finder for finder in sys.meta_path if isinstance(finder, _Names)), None)


def _importing(known: _Names, usual: Callable[..., Any]) -> Callable[..., Any]:
    """``__import__`` that depends on the importing module."""

    def import_(
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        top = name.partition(".")[0]
        place = known.beside(globals, top) if globals is not None and not level else None
        if place is None:
            return usual(name, globals, locals, fromlist, level)
        own = known.load_beside(top, place)
        inner = usual(f"{PREFIX}{name}", globals, locals, fromlist, 0)
        return inner if fromlist else own

    return import_


def _lies_in(module: ModuleType, place: _Place) -> bool:
    """Whether a module, or a package, belongs to a place."""
    folder = os.path.dirname(os.path.realpath(getattr(module, "__file__", None) or ""))
    return folder in place.folders or os.path.dirname(folder) in place.folders
