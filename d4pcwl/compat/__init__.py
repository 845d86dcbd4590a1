"""dispel4py's import names, for scripts that say ``from dispel4py.base import IterativePE``.

The folder ``dispel4py`` beside this file has a module for each of upstream's modules that scripts
use; it is not a package that is installed, so that nothing of upstream's is overwritten.
:func:`install` makes it the first place where submodules of ``dispel4py`` are looked for; where
upstream's package is installed too, its own folder is the second. ``processing.py`` is what several
of those modules share.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # this is imported before an interrupt can be reported
if TYPE_CHECKING:
    import importlib.machinery
    from collections.abc import Sequence
    from types import ModuleType

NAME = "dispel4py"
_FOLDER = os.path.join(os.path.dirname(__file__), NAME)


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
        import importlib.util

        return importlib.util.spec_from_file_location(
            NAME,
            os.path.join(_FOLDER, "__init__.py"),
            submodule_search_locations=[_FOLDER, *self._upstream()],
        )

    def _upstream(self) -> list[str]:
        """The folders of upstream's package, wherever the other finders know it to be."""
        for finder in sys.meta_path:
            if not isinstance(finder, _Finder) and hasattr(finder, "find_spec"):
                spec = finder.find_spec(NAME, None)
                if spec is not None:
                    return list(spec.submodule_search_locations or ())
        return []


def install() -> None:
    """Make the names importable, unless that is done or upstream's are in use already."""
    if NAME not in sys.modules and not any(isinstance(f, _Finder) for f in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
