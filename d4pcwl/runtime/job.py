"""A job: everything that a mapping needs to know to run a graph once."""

from __future__ import annotations

import importlib
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import TYPE_CHECKING, Any

from d4pcwl.errors import UsageError, nearest
from d4pcwl.runtime.engine.plan import Plan, make_plan, usable_cores
from d4pcwl.runtime.engine.policy import FAIL, Policy
from d4pcwl.workflow.pe import PreparingPE

if TYPE_CHECKING:
    from collections.abc import Callable

    from d4pcwl.runtime.results import Sink
    from d4pcwl.workflow.cut import Cut
    from d4pcwl.workflow.flat import FlatGraph
    from d4pcwl.workflow.inputs import RootInputs

MAPPINGS = {
    "simple": "one process, each item worked through before the next",
    "multi": "several processes on this machine",
    "zmq_multi": "the same, joined by ZeroMQ",
    "mpi": "the ranks of mpiexec, on this machine or many",
    "dyn_multi": "the same, taking work from a common queue",
    "dyn_auto_multi": "the same, with as many workers as there is work for",
    "redis": "several processes, joined by a Redis server",
    "dyn_redis": "the same, taking work from a common queue, on several hosts",
    "dyn_auto_redis": "the same, with as many workers as there is work for",
    "hybrid_redis": "as dyn_redis: private queues for what keeps state, a common one for the rest",
}
"""The mappings by name, each in a module of that name, with what it is."""

REDIS_MAPPINGS = frozenset(name for name in MAPPINGS if "redis" in name)
"""The mappings that need a Redis server, and start one where none is named."""


def _silent(message: str) -> None:
    """Say nothing."""


def _go_on() -> None:
    """Nothing ends the run from outside."""


@dataclass(frozen=True, eq=False)
class Job:
    """One run.

    :param graph: what runs
    :param inputs: what the roots are given
    :param sink: takes the results; its owner closes it
    :param results: the outputs whose items are results; the unconnected ones where it is None
    :param processes: how many the mapping may use; the usable cores where it is None
    :param stages: stages that share a process each, where the user wants that
    :param own_pes: whether the graph's PEs may be run themselves, rather than copies
    :param say: takes progress messages
    :param options: what the mapping's own options were set to, on the command line
    :param policy: what to do about items on which PEs fail
    :param check: called now and then; raises where the run is to end because nobody wants it
    """

    graph: FlatGraph
    inputs: RootInputs
    sink: Sink
    results: list[tuple[Any, str]] | None = None
    processes: int | None = None
    stages: Cut | None = None
    own_pes: bool = True
    say: Callable[[str], None] = field(default=_silent)
    options: Any = None
    check: Callable[[], None] = field(default=_go_on)
    policy: Policy = FAIL

    def plan(
        self,
        processes: int | None = None,
        *,
        pooled: bool = False,
        loops: bool = False,
        copies: bool = True,
    ) -> Plan:
        """The plan of this run, for ``processes``, else the number asked for, else the cores.

        :param pooled: for a dynamic mapping: PEs that may run anywhere are put into a pool
        :param loops: heavy PEs of cycles, too
        :param copies: whether PEs may have several instances
        """
        number = processes or self.processes or usable_cores()
        return make_plan(
            self.graph,
            number,
            results=self.results,
            stages=self.stages,
            pooled=pooled and number > 1,  # a single worker needs no pool
            loops=loops,
            given=self.inputs,
            policy=self.policy,
            copies=copies,
        )


UPSTREAM_MODULES = {
    "simple": "simple_process",
    "multi": "multi_process",
    "mpi": "mpi_process",
    "redis": "dynamic_redis",
    "dyn_multi": "new_dynamic",
    "dyn_auto_multi": "new_dynamic_auto",
    "dyn_redis": "new_dynamic_redis",
    "dyn_auto_redis": "new_dynamic_redis_auto",
    "hybrid_redis": "new_hybrid_redis",
}
"""The modules of ``dispel4py.new`` by which upstream knows the mappings."""


def mapping_module(name: str) -> ModuleType:
    """The module of a mapping; upstream's module names (``dispel4py.new.multi_process``) do too.

    :raises UsageError: there is no such mapping
    """
    short = name.removeprefix("dispel4py.new.")
    if short != name:
        short = next((m for m, module in UPSTREAM_MODULES.items() if module == short), short)
    if short not in MAPPINGS:
        raise UsageError(f"no mapping is called '{name}'{nearest(short, MAPPINGS)}")
    return importlib.import_module(f"d4pcwl.runtime.mappings.{short}")


def run_job(mapping: ModuleType, job: Job) -> None:
    """Run a job under a mapping, with what its roots want to have around it.

    :raises D4pcwlError: as the mapping's ``run``, and as the roots' ``around_run``
    """
    name = mapping.__name__.rpartition(".")[2]
    with ExitStack() as stack:
        inputs = dict(job.inputs)
        for pe in job.graph.roots:
            if isinstance(pe, PreparingPE) and pe.id in inputs:
                inputs[pe.id] = stack.enter_context(pe.around_run(inputs[pe.id], name))
        mapping.run(replace(job, inputs=inputs))
