"""``d4pcwl predict SCRIPT --from TRACE --processes 1,8,64``: how long a run takes elsewhere."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from d4pcwl.trace.model import CostModel
    from d4pcwl.trace.predict import Machine
    from d4pcwl.workflow.flat import FlatGraph

_USUAL = "default"
_BITS = {"bit": 1e0, "kbit": 1e3, "mbit": 1e6, "gbit": 1e9, "tbit": 1e12}
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0}
_AMOUNT = re.compile(r"([0-9.]+)\s*([a-zµ]+)", re.IGNORECASE)
_PAYS = 1.1
"""Twice the processes are worth it if the run gets faster by this factor."""


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add ``predict``; :func:`run` is set as the ``run`` of the arguments."""
    parser = subparsers.add_parser(
        "predict",
        help="how long a run would take with other numbers of processes",
        description="Predict from the trace of a run how long it would take with other numbers of "
        "processes, what the bottleneck would be, and when more processes no longer help.",
    )
    parser.add_argument("script", metavar="SCRIPT", help="a file, or a module")
    parser.add_argument("-a", "--attr", metavar="NAME", help="which graph, if there are several")
    parser.add_argument(
        "--from", dest="trace", type=Path, metavar="TRACE", required=True, help="the trace of a run"
    )
    parser.add_argument(
        "--processes",
        type=_numbers,
        metavar="N,N,…",
        default=[1, 2, 4, 8, 16, 32, 64],
        help="numbers of processes; each process has its own core (default: 1,2,4,…,64)",
    )
    parser.add_argument(
        "--network",
        type=_network,
        metavar="BITS,TIME",
        help="each process is on its own host, with a network of this bandwidth and latency, such "
        "as 10Gbit,50us (default: all processes on one machine)",
    )
    parser.add_argument(
        "--optimise",
        metavar="naive|staging|best|default",
        default="best",
        help="how the plan is chosen (default: best)",
    )
    parser.add_argument(
        "--mapping",
        default="multi",
        metavar="MAPPING",
        help="the mapping; for a dynamic one, its scheduler is simulated (default: multi)",
    )
    parser.add_argument("--debug", action="store_true", help="tracebacks")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Do what the parsed arguments ask for; return the exit code.

    :raises D4pcwlError: the script or the trace is not right
    """
    from d4pcwl.runtime.mappings.registry import find_mapping
    from d4pcwl.trace.model import read_model
    from d4pcwl.trace.predict import Machine
    from d4pcwl.workflow.load import load

    # What a script prints is not part of the answer, and a change of folder is not for us.
    with contextlib.redirect_stdout(sys.stderr), contextlib.chdir(os.curdir):
        script = load(options.script, options.attr, lambda b: b.settled({}, partly=True))
        graph = script.flat()
    model = read_model(options.trace, graph)
    machine = Machine(None, *(options.network or (None, 0.0)))
    pooled = find_mapping(options.mapping).pooled

    def timed(number: int) -> Timed:
        if pooled:
            return by_pool(graph, model, number, machine)
        return by_plan(graph, model, options.optimise, number, machine)

    for line in _table(timed, items_of(graph, model), options.processes):
        sys.stdout.write(line + "\n")
    return 0


class Timed(NamedTuple):
    """What a run would take by a number of processes.

    :param used: how many of them have something to do
    :param bottleneck: what bounds it, for people
    """

    seconds: float
    used: int
    bottleneck: str


def by_plan(
    graph: FlatGraph, model: CostModel, how: str, processes: int, machine: Machine
) -> Timed:
    """What a run would take in which PEs stay in their processes.

    :param how: which plan: an algorithm, or ``default``
    :raises UsageError: there is no such algorithm
    """
    from d4pcwl.cli.optimise import prediction
    from d4pcwl.runtime.engine.plan import make_plan
    from d4pcwl.trace.assign import assign

    assignment = None
    if how != _USUAL:
        assignment = assign(how, graph, model, processes, machine).assignment
    plan = make_plan(graph, processes, assignment=assignment)
    found = prediction(graph, model, plan, machine)
    load = found.loads[found.bottleneck]
    name = graph.names.get(found.heaviest, found.heaviest)
    if load.passing > load.works[found.heaviest]:
        name = f"sending items between {name} and its neighbours"
    return Timed(found.seconds, len(found.loads), name)


def by_pool(graph: FlatGraph, model: CostModel, processes: int, machine: Machine) -> Timed:
    """How long a run would take with workers that take tasks when they are free."""
    from d4pcwl.runtime.pool.forecast import forecast

    found = forecast(graph, model, processes, machine)
    held = ", ".join(graph.names.get(pe, pe) for pe in found.held)
    parts = {
        "the parent, which hands out the tasks": found.parent,
        f"{held}, which cannot be divided": found.pinned,
        "the number of workers": found.busy,
    }
    return Timed(found.seconds, processes, max(parts, key=lambda what: parts[what]))


def _table(timed: Callable[[int], Timed], items: float, numbers: Sequence[int]) -> Iterator[str]:
    alone = timed(1).seconds
    yield f"{'processes':>9} {'used':>5} {'seconds':>9} {'items/s':>9} {'faster':>7}  bottleneck"
    for number in numbers:
        found = timed(number)
        rate = f"{items / found.seconds:,.0f}" if found.seconds else "-"
        faster = f"{alone / found.seconds:.1f}" if found.seconds else "-"
        yield (
            f"{number:>9} {found.used:>5} {found.seconds:>9.3g} {rate:>9} {faster:>7}  "
            + found.bottleneck
        )
    yield _where_it_stops(timed, max(numbers))


def _where_it_stops(timed: Callable[[int], Timed], most: int) -> str:
    """The number of processes from which twice as many gain little."""
    number, seconds = 1, timed(1).seconds
    while number < most:
        twice = timed(2 * number).seconds
        if seconds < _PAYS * twice:
            gain = 100 * (seconds / twice - 1) if twice else 0.0
            processes = "1 process" if number == 1 else f"{number} processes"
            faster = f"twice as many are {max(gain, 0.0):.0f} % faster"
            return f"more than {processes} help little: {faster}"
        number, seconds = 2 * number, twice
    return f"more processes help, at least up to {number}"


def items_of(graph: FlatGraph, model: CostModel) -> float:
    """How many items the run had: those that left the roots, or their inputs."""
    from d4pcwl.trace.predict import passage_of

    left = [passage_of(model, edge).items for pe in graph.roots for edge in graph.out_of(pe)]
    return max(max(left, default=0.0), model.inputs)


def _numbers(text: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = [0]
    if min(numbers) < 1:
        raise argparse.ArgumentTypeError(f"expected numbers from 1, such as 1,8,64, not {text!r}")
    return numbers


def _network(text: str) -> tuple[float, float]:
    """Bytes a second and seconds."""
    bits, _, time = text.partition(",")
    try:
        return _amount(bits, _BITS) / 8, _amount(time, _SECONDS) if time else 0.0
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}; give it as 10Gbit,50us") from None


def _amount(text: str, units: dict[str, float]) -> float:
    """
    :raises ValueError: it is not an amount above 0
    """
    found = _AMOUNT.fullmatch(text.strip())
    if found is None or found[2].lower() not in units or not float(found[1]) > 0:
        raise ValueError(f"{text!r} is not a number with a unit ({', '.join(units)})")
    return float(found[1]) * units[found[2].lower()]
