"""d4pcwl: the bridge between dispel4py stream workflows and the Common Workflow Language.

Importing it makes dispel4py's import names (``dispel4py.base``, ``dispel4py.workflow_graph``, …)
available, with nothing else installed.
"""

from typing import TYPE_CHECKING, Any

from d4pcwl.compat import install as _install_upstream_names
from d4pcwl.errors import D4pcwlError
from d4pcwl.runtime.results import Results
from d4pcwl.runtime.run import Result, run, stream
from d4pcwl.workflow.composite import CompositePE, create_iterative_chain
from d4pcwl.workflow.graph import WorkflowGraph
from d4pcwl.workflow.load import Script, load
from d4pcwl.workflow.pe import (
    BasePE,
    ConsumerPE,
    GenericPE,
    IterativePE,
    ProducerPE,
    SimpleFunctionPE,
)

if TYPE_CHECKING:
    from d4pcwl.cwl.compile import Compiled, to_cwl
    from d4pcwl.cwl.importing.cwl_graph import CwlGraph
    from d4pcwl.cwl.importing.from_cwl import from_cwl

__version__ = "0.1.0"

__all__ = [
    "BasePE",
    "Compiled",
    "CompositePE",
    "ConsumerPE",
    "CwlGraph",
    "D4pcwlError",
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
    "run",
    "stream",
    "to_cwl",
]

_LATER = {
    "Compiled": "d4pcwl.cwl.compile",
    "CwlGraph": "d4pcwl.cwl.importing.cwl_graph",
    "from_cwl": "d4pcwl.cwl.importing.from_cwl",
    "to_cwl": "d4pcwl.cwl.compile",
}

_install_upstream_names()


def __getattr__(name: str) -> Any:
    """The names of compiler and importer: they take longer to import than all else here, and few
    runs need them."""
    if name in _LATER:
        from importlib import import_module

        return getattr(import_module(_LATER[name]), name)
    raise AttributeError(f"module 'd4pcwl' has no attribute '{name}'")
