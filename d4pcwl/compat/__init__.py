"""dispel4py's import names, for scripts that say ``from dispel4py.base import IterativePE``.

The folder ``names/dispel4py`` beside this file has a module for each of upstream's modules that
scripts use, but for those of mappings, which are made when they are imported. It is not installed
where upstream's package would be, so that nothing of upstream's is overwritten. It is found in two
ways. :func:`install` makes it the first that is found, once d4pcwl is imported. Before that, the
file ``d4pcwl-names.pth``, which is installed too, makes ``names`` the last folder of ``sys.path``:
there it is found where upstream's package is not. ``processing.py`` is what several of the modules
share.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # this is imported before an interrupt can be reported
if TYPE_CHECKING:
    import importlib.machinery
    from collections.abc import Sequence
    from types import ModuleType
    from typing import Any

NAME = "dispel4py"
_NAMES = os.path.join(os.path.dirname(__file__), "names")
_FOLDER = os.path.join(_NAMES, NAME)
_OF_MAPPINGS = f"{NAME}.new."


class _Finder:
    """Finds the package ``dispel4py`` itself; its submodules are found by its ``__path__``."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname.startswith(_OF_MAPPINGS):
            return _mapping_spec(fullname)
        if fullname != NAME:
            return None
        import importlib.util

        return importlib.util.spec_from_file_location(NAME, os.path.join(_FOLDER, "__init__.py"))


def folders_of_upstream() -> list[str]:
    """The folders of upstream's package, wherever the other finders know it to be."""
    path = [entry for entry in sys.path if entry != _NAMES]
    for finder in sys.meta_path:
        if not isinstance(finder, _Finder) and hasattr(finder, "find_spec"):
            spec = finder.find_spec(NAME, path)
            if spec is not None:
                return list(spec.submodule_search_locations or ())
    return []


def _mapping_spec(fullname: str) -> importlib.machinery.ModuleSpec | None:
    """How to make a module that upstream has for a mapping, unless we have a file for it."""
    import importlib.util

    from d4pcwl.runtime.mappings.registry import upstream_modules

    name = fullname.removeprefix(_OF_MAPPINGS)
    mapping = upstream_modules().get(name)
    if mapping is None or os.path.exists(os.path.join(_FOLDER, "new", f"{name}.py")):
        return None
    loader: Any = _MappingLoader(mapping)
    return importlib.util.spec_from_file_location(fullname, __file__, loader=loader)


class _MappingLoader:
    """Makes a module with the names that scripts import from upstream's module of a mapping."""

    def __init__(self, mapping: str) -> None:
        self._mapping = mapping

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        """An ordinary one."""

    def exec_module(self, module: ModuleType) -> None:
        from functools import partial

        from d4pcwl.compat import processing

        module.__doc__ = f"``{module.__name__}``: running graphs with the mapping {self._mapping}."
        vars(module).update(
            process=partial(processing.process_with, self._mapping),
            parse_args=partial(processing.parse_with, self._mapping),
            STATUS_ACTIVE=processing.STATUS_ACTIVE,
            STATUS_TERMINATED=processing.STATUS_TERMINATED,
            __all__=["STATUS_ACTIVE", "STATUS_TERMINATED", "parse_args", "process"],
        )


def install() -> None:
    """Make the names importable, unless that is done or upstream's are in use already."""
    used = sys.modules.get(NAME)
    ours = used is None or _FOLDER in getattr(used, "__path__", ())
    if ours and not any(isinstance(f, _Finder) for f in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
