"""dispel4py's import names, for scripts that say ``from dispel4py.base import IterativePE``.

The folder ``dispel4py`` beside this file has a module for each of upstream's modules that scripts
use; it is not a package that is installed, so that nothing of upstream's is overwritten.
:func:`install` makes it the first place where submodules of ``dispel4py`` are looked for; where
upstream's package is installed too, its own folder is the second.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

NAME = "dispel4py"
_FOLDER = Path(__file__).parent / NAME


class _Finder:
    """Finds the package ``dispel4py`` itself; its submodules are found by its ``__path__``."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != NAME:
            return None
        folders = [str(_FOLDER)]
        upstream = importlib.machinery.PathFinder.find_spec(NAME)
        if upstream is not None and upstream.submodule_search_locations:
            folders += upstream.submodule_search_locations
        return importlib.util.spec_from_file_location(
            NAME, _FOLDER / "__init__.py", submodule_search_locations=folders
        )


def install() -> None:
    """Make the names importable; do nothing where that is done, or upstream's are in use already."""
    if NAME not in sys.modules and not any(isinstance(f, _Finder) for f in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
