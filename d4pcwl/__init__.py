"""d4pcwl: the bridge between dispel4py stream workflows and the Common Workflow Language.

Importing it makes dispel4py's import names (``dispel4py.base``, ``dispel4py.workflow_graph``, …)
available, with nothing else installed.
"""

from __future__ import annotations

from d4pcwl.compat import install as _install_upstream_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from d4pcwl.cli.program import main
    from d4pcwl.cwl.compile import Compiled, to_cwl
    from d4pcwl.cwl.importing.graph.cwl_graph import CwlGraph
    from d4pcwl.cwl.importing.graph.from_cwl import from_cwl
    from d4pcwl.errors import D4pcwlError
    from d4pcwl.runtime.results import Results
    from d4pcwl.runtime.run import Result, run, stream
    from d4pcwl.workflow.composite import CompositePE, create_iterative_chain
    from d4pcwl.workflow.graph import WorkflowGraph
    from d4pcwl.workflow.load import Script, load
    from d4pcwl.workflow.parameters import Directory
    from d4pcwl.workflow.pe import (
        BasePE,
        ConsumerPE,
        GenericPE,
        IterativePE,
        ProducerPE,
        SimpleFunctionPE,
    )

__version__ = "0.1.0"

__all__ = [
    "BasePE",
    "Compiled",
    "CompositePE",
    "ConsumerPE",
    "CwlGraph",
    "D4pcwlError",
    "Directory",
    "GenericPE",
    "IterativePE",
    "ProducerPE",
    "Result",
    "Results",
    "Script",
    "SimpleFunctionPE",
    "WorkflowGraph",
    "create_iterative_chain",
    "from_cwl",
    "load",
    "main",
    "run",
    "stream",
    "to_cwl",
]

_PLACES = {
    "d4pcwl.cli.program": ("main",),
    "d4pcwl.cwl.compile": ("Compiled", "to_cwl"),
    "d4pcwl.cwl.importing.graph.cwl_graph": ("CwlGraph",),
    "d4pcwl.cwl.importing.graph.from_cwl": ("from_cwl",),
    "d4pcwl.errors": ("D4pcwlError",),
    "d4pcwl.runtime.results": ("Results",),
    "d4pcwl.runtime.run": ("Result", "run", "stream"),
    "d4pcwl.workflow.composite": ("CompositePE", "create_iterative_chain"),
    "d4pcwl.workflow.graph": ("WorkflowGraph",),
    "d4pcwl.workflow.load": ("Script", "load"),
    "d4pcwl.workflow.parameters": ("Directory",),
    "d4pcwl.workflow.pe": (
        *("BasePE", "ConsumerPE", "GenericPE", "IterativePE", "ProducerPE", "SimpleFunctionPE"),
    ),
}

_install_upstream_names()


def _keep_names_apart() -> None:
    """Let only the program import modules beside it with names of Python's own (``queue.py``)."""
    import os
    import sys

    folder = sys.path[0] if sys.path and not sys.flags.safe_path else None
    try:
        entries = os.listdir(folder or ".") if folder is not None else []
    except OSError:
        return
    if any(entry.partition(".")[0] in sys.stdlib_module_names for entry in entries):
        first = sys.path.pop(0)  # the import below must get Python's own modules, too
        try:
            from d4pcwl.workflow.beside import share_names
        finally:
            sys.path.insert(0, first)
        share_names([folder or os.getcwd()])


_keep_names_apart()


def __getattr__(name: str) -> Any:
    """Import the names above when they are first used.

    So commands start fast: few runs need the compiler or the importer.
    """
    from importlib import import_module

    for module, names in _PLACES.items():
        if name in names:
            return globals().setdefault(name, getattr(import_module(module), name))
    raise AttributeError(f"module 'd4pcwl' has no attribute '{name}'")


def __dir__() -> list[str]:
    return list(__all__)
