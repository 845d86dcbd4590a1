"""``dispel4py.new.processor``: what scripts, and mappings written elsewhere, take from there.

Left out is what only upstream's own mappings need: a graph made of its partitions
(:func:`d4pcwl.workflow.cut.cut` does that) and the PE that runs one of them in sequence.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from d4pcwl.compat.processing import (
    STATUS,
    STATUS_ACTIVE,
    STATUS_INACTIVE,
    STATUS_TERMINATED,
)
from d4pcwl.errors import PEError
from d4pcwl.workflow.flat import flatten
from d4pcwl.workflow.grouping import GroupBy
from d4pcwl.workflow.inputs import root_inputs
from d4pcwl.workflow.load import load
from d4pcwl.workflow.pe import GenericPE, log_line, unknown_port
from d4pcwl.workflow.texts import parse_json, read_file

from .mappings import config

__all__ = [
    "STATUS",
    "STATUS_ACTIVE",
    "STATUS_INACTIVE",
    "STATUS_TERMINATED",
    "AllToOneCommunication",
    "GenericPE",
    "GenericWrapper",
    "GenericWriter",
    "GroupByCommunication",
    "OneToAllCommunication",
    "ShuffleCommunication",
    "assign_and_connect",
    "config",
    "create_arg_parser",
    "create_inputs",
    "get_inputs",
    "get_inputs_from_arguments",
    "load_graph_and_inputs",
    "main",
    "parse_common_args",
    "simpleLogger",
    "simple_logger",
]

simple_logger = log_line
simpleLogger = log_line  # noqa: N816 - the older spelling, still in scripts


# -- the command -------------------------------------------------------------------------------


def create_arg_parser() -> argparse.ArgumentParser:
    """A parser of the options that all mappings have."""
    parser = argparse.ArgumentParser(description="Run the workflow graph of a dispel4py script.")
    parser.add_argument("target", help="the mapping")
    parser.add_argument("module", help="a file or a module that builds a graph")
    parser.add_argument("-a", "--attr", metavar="NAME", help="which graph, if there are several")
    parser.add_argument("-f", "--file", metavar="FILE", help="inputs as JSON; overrides -d")
    parser.add_argument("-d", "--data", metavar="JSON", help="inputs")
    parser.add_argument("-i", "--iter", metavar="N", type=int, default=1, help="iterations")
    return parser


def parse_common_args() -> tuple[argparse.Namespace, list[str]]:
    """The command's options that all mappings have, and the rest."""
    return create_arg_parser().parse_known_args()


def get_inputs_from_arguments(args: argparse.Namespace) -> Any:
    """What ``-f`` or else ``-d`` gives; an empty dictionary without either.

    :raises d4pcwl.errors.InputError: it cannot be read, or is not JSON
    """
    if getattr(args, "file", None):
        return read_file(args.file)
    if getattr(args, "data", None):
        return parse_json(args.data, "-d")
    return {}


def create_inputs(args: argparse.Namespace, graph: Any) -> dict[str, Any]:
    """The inputs by PE id: what the options give, else ``args.iter`` iterations of each root.

    :raises d4pcwl.errors.InputError: an input for a PE that the graph does not have, and the like
    """
    given = get_inputs_from_arguments(args) or None
    return dict(root_inputs(flatten(graph), given, getattr(args, "iter", 1)))


def load_graph_and_inputs(args: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    """The flattened graph that the options name, and its inputs.

    :raises d4pcwl.errors.D4pcwlError: it cannot be loaded, or the inputs are not right
    """
    graph = load(args.module, args.attr).graph
    graph.flatten()
    return graph, create_inputs(args, graph)


def main() -> int:
    """The command ``dispel4py``; returns its exit code."""
    from d4pcwl.cli.dispel4py import main as command

    return command()


# -- for mappings written elsewhere ------------------------------------------------------------


def get_inputs(pe: Any, inputs: Any) -> Any:
    """What ``inputs`` holds for a PE: under the PE itself, its name or its id; else None."""
    for key in (pe, getattr(pe, "name", None), getattr(pe, "id", None)):
        if isinstance(inputs, Mapping) and key is not None and key in inputs:
            return inputs[key]
    return None


class GenericWriter:
    """Hands what a PE writes to one output on to its wrapper."""

    def __init__(self, wrapper: GenericWrapper, name: str) -> None:
        self.wrapper = wrapper
        self.name = name

    def write(self, data: Any) -> None:
        self.wrapper._write(self.name, data)


class GenericWrapper:
    """The life of one instance, to be completed with a way to read and a way to write.

    Subclasses override ``_read``, which returns ``(inputs, status)``, ``_write(name, data)`` and
    ``_terminate()``.

    :param pe: the PE, which is bound to the wrapper
    """

    def __init__(self, pe: Any) -> None:
        self.pe = pe
        self.provided_inputs: Any = None
        self.targets: dict[str, Any] = {}
        self.sources = {}
        pe.wrapper = self
        for name, port in pe.outputconnections.items():
            port["writer"] = GenericWriter(self, name)

    @property
    def sources(self) -> dict[str, Any]:
        """From input to the numbers of the processes that send to it."""
        return self._sources

    @sources.setter
    def sources(self, sources: dict[str, Any]) -> None:
        self._sources = sources
        self._num_sources = sum(map(len, sources.values()))

    def process(self) -> None:
        """Run the instance from ``preprocess`` to ``postprocess``.

        :raises PEError: the PE returned an item for an output that it does not have
        """
        self.pe.preprocess()
        while True:
            inputs, status = self._read()
            if status == STATUS_TERMINATED:
                break
            if inputs is not None:
                for name, data in (self.pe.process(inputs) or {}).items():
                    if name not in self.pe.outputconnections:
                        raise PEError(unknown_port(self.pe, "output", name))
                    self._write(name, data)
        self.pe.postprocess()
        self._terminate()

    def _read(self) -> Any:
        """The next of the provided inputs; None if the items come from other instances."""
        if self.provided_inputs is None:
            return None
        if isinstance(self.provided_inputs, int):
            if self.provided_inputs > 0:
                self.provided_inputs -= 1
                return {}, STATUS_ACTIVE
        elif self.provided_inputs:
            first, *self.provided_inputs = self.provided_inputs
            return first, STATUS_ACTIVE
        return None, STATUS_TERMINATED

    def _write(self, name: str, data: Any) -> None:
        """Send an item, to be overridden."""

    def _terminate(self) -> None:
        """Tell the targets that nothing more comes, to be overridden."""


class ShuffleCommunication:
    """Each item to the next of the destinations."""

    name: Any = None

    def __init__(self, rank: int, sources: Sequence[int], destinations: Sequence[int]) -> None:
        self.destinations = list(destinations)
        self._next = list(sources).index(rank) % len(self.destinations)

    def get_destination(self, data: Any) -> list[int]:
        chosen = self.destinations[self._next]
        self._next = (self._next + 1) % len(self.destinations)
        return [chosen]


class GroupByCommunication:
    """Each item to the destination that owns its key, the same in every process.

    :param input_name: where in ``data`` the item is found
    :param group_by: indices or keys of the item
    """

    def __init__(
        self, destinations: Sequence[int], input_name: str, group_by: Sequence[Any]
    ) -> None:
        self.destinations = list(destinations)
        self.input_name = input_name
        self.group_by = self.name = list(group_by)
        self._owner = GroupBy("group-by", tuple(group_by)).owner(len(self.destinations))

    def get_destination(self, data: Any) -> list[int]:
        return [self.destinations[self._owner(data[self.input_name])]]


class AllToOneCommunication:
    """All items to the first destination."""

    name = "global"

    def __init__(self, destinations: Sequence[int]) -> None:
        self.destinations = list(destinations)

    def get_destination(self, data: Any) -> list[int]:
        return self.destinations[:1]


class OneToAllCommunication:
    """Each item to all destinations."""

    name = "all"

    def __init__(self, destinations: Sequence[int]) -> None:
        self.destinations = list(destinations)

    def get_destination(self, data: Any) -> list[int]:
        return self.destinations


def assign_and_connect(
    workflow: Any, size: int
) -> tuple[dict[str, range], dict[int, Any], dict[int, Any]] | None:
    """Give every instance of every PE a process of its own, by our plan.

    :returns: from PE id to the numbers of its processes; for each process, from input to the
        processes that send to it; for each process, from output to pairs of the input that is fed
        and how a destination is chosen. None if ``size`` processes are too few
    """
    from d4pcwl.runtime.engine.plan import make_plan

    flat = flatten(workflow)
    plan = make_plan(flat, size)
    if len(plan.instances) > size:
        return None
    processes: dict[str, range] = {}
    for pe in flat.pes:
        numbers = [instance.index for instance in plan.of(pe.id)]
        processes[pe.id] = range(numbers[0], numbers[-1] + 1)
    inputs: dict[int, Any] = {instance.index: {} for instance in plan.instances}
    outputs: dict[int, Any] = {instance.index: {} for instance in plan.instances}
    for (pe_id, output), routes in plan.routes.items():
        senders = list(processes[pe_id])
        for route in routes:
            for target in route.targets:
                inputs[target].setdefault(route.input, []).extend(senders)
            for sender in senders:
                outputs[sender].setdefault(output, []).append(
                    (route.input, _communication(sender, senders, route))
                )
    return processes, inputs, outputs


def _communication(sender: int, senders: list[int], route: Any) -> Any:
    if isinstance(route.grouping, GroupBy):
        return GroupByCommunication(route.targets, route.input, route.grouping.keys)
    if route.grouping.kind == "all":
        return OneToAllCommunication(route.targets)
    if route.grouping.kind == "global":
        return AllToOneCommunication(route.targets)
    return ShuffleCommunication(sender, senders, route.targets)


if __name__ == "__main__":  # python -m dispel4py.new.processor multi SCRIPT
    import sys

    from d4pcwl.cli.dispel4py import main

    sys.exit(main())
