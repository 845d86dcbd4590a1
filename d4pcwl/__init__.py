"""d4pcwl: the bridge between dispel4py stream workflows and the Common Workflow Language.

Importing it makes dispel4py's import names (``dispel4py.base``, ``dispel4py.workflow_graph``, …)
available, with nothing else installed.
"""

from d4pcwl.compat import install as _install_upstream_names
from d4pcwl.cwl.compile import Compiled, to_cwl
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

__version__ = "0.1.0"

__all__ = [
    "BasePE",
    "Compiled",
    "CompositePE",
    "ConsumerPE",
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
    "load",
    "run",
    "stream",
    "to_cwl",
]

_install_upstream_names()
