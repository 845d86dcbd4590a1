"""What a mapping is, and the list of mappings.

Each of ours is one file in this folder, with a :class:`Mapping` called ``MAPPING``. Other packages
can add more with the entry point group ``d4pcwl.mappings`` (``docs/adding-a-mapping.md``). A file
is imported when its mapping is chosen, or when all mappings are listed. So it imports large
libraries only in ``run``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, get_args

from d4pcwl.errors import UsageError, nearest
from d4pcwl.runtime.checkpointed import checkpointed
from d4pcwl.runtime.local.allocator import keep_freed_memory
from d4pcwl.runtime.observed import observed
from d4pcwl.runtime.options import Options, StaticOptions, add_options
from d4pcwl.runtime.recorded import recorded
from d4pcwl.workflow.pe import PreparingPE

if TYPE_CHECKING:
    import argparse
    from importlib.metadata import EntryPoints

    from d4pcwl.runtime.engine.plan import Plan
    from d4pcwl.runtime.job import Job

BuiltIn = Literal[
    "simple",
    "multi",
    "zmq_multi",
    "mpi",
    "dyn_multi",
    "dyn_auto_multi",
    "redis",
    "dyn_redis",
    "dyn_auto_redis",
    "hybrid_redis",
]
BUILT_IN: tuple[str, ...] = get_args(BuiltIn)
"""Our own mappings, each in a module of that name, in the order in which they are listed."""

GROUP = "d4pcwl.mappings"
"""The group of entry points with which other packages add mappings."""

Own = TypeVar("Own", bound=Options)

Run = Callable[["Job", Own], None]
"""Runs a job under a mapping, with the mapping's options.

:raises RunError: a PE failed, or a worker died
:raises UsageError: something that the mapping needs is missing
"""


@dataclass(frozen=True)
class Command:
    """A command that runs a job under a mapping.

    :param arguments: its arguments, the mapping's name first
    :param processes: how many are asked for
    :param say: takes messages for standard error
    """

    arguments: Sequence[str]
    processes: int | None
    say: Callable[[str], None]


Work = Callable[["Run[Own]", bool], int]
"""Does a command's work: loads the script, calls the run that it is given; returns an exit code.

The second argument says whether this process shows messages and writes result files for the run.
"""


@dataclass(frozen=True)
class Mapping(Generic[Own]):
    """One way to run a graph.

    :param name: the name that users give
    :param title: a description in one line
    :param run: runs a job
    :param options: its own options
    :param processes: the help text of ``-n``
    :param processes_flags: other names of ``-n``
    :param parallel: whether it can use more than one process; if not, each PE has one instance
    :param pooled: PEs that keep no state run in any free worker, instead of having their own
        instances
    :param server: it needs a Redis server, and starts one if none is named
    :param ranks: several processes run the whole script, each a part of the graph
    :param modules: modules that must be installed beside d4pcwl, by their import names
    :param checkpoints: runs can have snapshots, and go on after them
    :param upstream: the module of ``dispel4py.new`` that upstream has for it
    :param around: a function that runs the work of a command, if the process is one of several, or
        must start the others
    """

    name: str
    title: str
    run: Run[Own]
    options: type[Own]
    processes: str = "number of processes (default: the usable cores)"
    processes_flags: tuple[str, ...] = ()
    parallel: bool = True
    pooled: bool = False
    server: bool = False
    ranks: bool = False
    modules: tuple[str, ...] = ()
    checkpoints: bool = False
    upstream: str | None = None
    around: Callable[[Command, Work[Own]], int] | None = None

    def add_options(
        self, parser: argparse.ArgumentParser | argparse._ArgumentGroup, prefix: str = ""
    ) -> None:
        """Give a command ``-n``, and the mapping's own options.

        :param prefix: of the names of these options in the namespace
        """
        flags = ("-n", "--num", *self.processes_flags)
        parser.add_argument(*flags, dest="num", type=int, metavar="PROCESSES", help=self.processes)
        add_options(parser, self.options, prefix)


# --- which there are ------------------------------------------------------------------------------


def find_mapping(name: str | Mapping[Any]) -> Mapping[Any]:
    """The mapping with a name; upstream's module names (``dispel4py.new.multi_process``) work, too.

    :param name: or a mapping, which is returned
    :raises UsageError: there is no such mapping, or it cannot be imported
    """
    if isinstance(name, Mapping):
        return name
    if name in BUILT_IN:
        return _built_in(name)
    short = name.removeprefix("dispel4py.new.")
    if short != name:
        found = upstream_modules().get(short)
        if found or short in BUILT_IN:
            return _built_in(found or short)
    brought = _brought()
    if name in brought.names:
        return _load(name, brought)
    raise UsageError(f"no mapping is called '{name}'{nearest(short, mapping_names())}")


def mapping_names() -> list[str]:
    """The names of all mappings, ours first."""
    return [*BUILT_IN, *sorted(_brought().names - set(BUILT_IN))]


def built_in() -> list[Mapping[Any]]:
    """Our own mappings."""
    return [_built_in(name) for name in BUILT_IN]


def titles() -> dict[str, str]:
    """From the name of each mapping to its title; or to the error, if it cannot be imported."""
    told = {}
    for name in mapping_names():
        try:
            told[name] = find_mapping(name).title
        except UsageError as error:
            told[name] = str(error)
    return told


def upstream_modules() -> dict[str, str]:
    """From upstream's modules in ``dispel4py.new`` to our mappings."""
    return {mapping.upstream: mapping.name for mapping in built_in() if mapping.upstream}


def _built_in(name: str) -> Mapping[Any]:
    found: Mapping[Any] = importlib.import_module(f"d4pcwl.runtime.mappings.{name}").MAPPING
    return found


def _brought() -> EntryPoints:
    from importlib.metadata import entry_points

    return entry_points(group=GROUP)


def _load(name: str, brought: EntryPoints) -> Mapping[Any]:
    """A mapping of another package.

    :raises UsageError: several packages have it, or it cannot be imported
    """
    values = {point.value for point in brought.select(name=name)}
    if len(values) > 1:
        raise UsageError(
            f"several packages bring a mapping '{name}': {', '.join(sorted(values))}; uninstall "
            "all but one"
        )
    point = brought[name]
    try:
        found = point.load()
    except Exception as error:  # the module of another package may raise anything
        raise UsageError(
            f"the mapping '{name}' cannot be imported from {point.value}: "
            f"{type(error).__name__}: {error}"
        ) from error
    if not isinstance(found, Mapping):
        raise UsageError(
            f"the entry point {point.value} of the mapping '{name}' is not a Mapping, but "
            f"{type(found).__name__}"
        )
    return found


# --- running --------------------------------------------------------------------------------------


def run_job(mapping: Mapping[Own], job: Job, options: Own | None = None) -> None:
    """Run a job under a mapping, inside the context managers of its roots.

    :param options: the mapping's options; None: the defaults
    :raises D4pcwlError: see the mapping's ``run`` and the roots' ``around_run``; or there cannot be
        snapshots of the run
    """
    keep_freed_memory()
    with ExitStack() as stack:
        inputs = dict(job.inputs)
        for pe in job.graph.roots:
            if isinstance(pe, PreparingPE) and pe.id in inputs:
                around = pe.around_run(inputs[pe.id], ranks=mapping.ranks)
                inputs[pe.id] = stack.enter_context(around)
        chosen = mapping.options() if options is None else options
        stack.enter_context(observed(mapping.name, job))
        job = checkpointed(mapping.name, job)  # which may refuse it
        job = recorded(mapping.name, job)
        mapping.run(replace(job, inputs=inputs), chosen)
        if job.checkpoint is not None:
            job.checkpoint.finish()


def require_checkpoints(mapping: Mapping[Any]) -> None:
    """Refuse a mapping without snapshots.

    :raises UsageError: it has none
    """
    if not mapping.checkpoints:
        others = ", ".join(other.name for other in built_in() if other.checkpoints)
        raise UsageError(
            f"--checkpoint: runs of {mapping.name} cannot be resumed; use one of {others}"
        )


def planned(mapping: Mapping[Any], job: Job, options: Options) -> Plan:
    """The plan with which one of our mappings would run a job.

    :raises ImportError: a package that the mapping needs is not installed
    """
    for module in mapping.modules:
        importlib.import_module(module)
    if isinstance(options, StaticOptions):
        job = job.placed(options.assignment(job.graph))
    processes = job.processes if mapping.parallel else 1
    if mapping.ranks and processes is None:
        processes = 1  # mpiexec may start more
    plan = job.plan(processes, pooled=mapping.pooled, copies=mapping.parallel)
    if mapping.ranks and len(plan.processes) > (processes or 1):  # more stages than ranks
        plan = replace(job, assignment=None).plan(processes)
    return plan
