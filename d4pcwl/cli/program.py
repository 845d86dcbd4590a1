"""``d4pcwl.main(graph)``: a script that is a command of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from d4pcwl.errors import UsageError


def main(workflow: Any, arguments: Sequence[str] | None = None) -> None:
    """Run a graph with the command line of ``dispel4py``: ``python SCRIPT multi -n 4``.

    Call it at the end of a script. It does nothing if ``dispel4py`` or ``d4p2cwl`` load the script.

    :param workflow: the graph, or the function that makes it; a global variable of the script
    :param arguments: the arguments of ``dispel4py`` without the script (default: ``sys.argv``). If
        they do not begin with a mapping, the mapping is ``simple``
    :raises SystemExit: always, with the exit code, if Python runs the script itself
    :raises UsageError: the graph is not a global variable of the script
    """
    caller = sys._getframe(1).f_globals
    if caller.get("__name__") != "__main__":
        return
    attr = next((name for name, value in caller.items() if value is workflow), None)
    if attr is None or "__file__" not in caller:
        raise UsageError("d4pcwl.main() takes a graph that is a global variable of a script")
    from d4pcwl.cli import dispel4py
    from d4pcwl.runtime.mappings.registry import mapping_names
    from d4pcwl.workflow.unused import note_use

    note_use()
    given = list(sys.argv[1:] if arguments is None else arguments)
    mapping = given.pop(0) if given and given[0] in mapping_names() else "simple"
    script = os.path.relpath(caller["__file__"])
    sys.exit(dispel4py.main([mapping, script, "--attr", attr, *given]))
