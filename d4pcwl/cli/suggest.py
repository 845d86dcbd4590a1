"""``--script SCRIPT`` of ``d4pcwl trace``: plans for the next run, by what this one has cost."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse

    from d4pcwl.trace.suggestion import Suggestion


def add_options(parser: Any) -> None:
    """Add the options, for :func:`suggestions`."""
    parser.add_argument(
        "--script",
        metavar="SCRIPT",
        help="suggest plans for its graph, and predict how long they would take",
    )
    parser.add_argument("-a", "--attr", metavar="NAME", help="which graph, if there are several")
    parser.add_argument(
        "-n", type=int, metavar="N", help="processes of these plans (default: as in the run)"
    )


def suggestions(options: argparse.Namespace, processes: int) -> list[Suggestion]:
    """The plan of the mapping ``multi``, and those of all algorithms; none without a script.

    :param processes: where the options do not say how many
    :raises D4pcwlError: the script cannot be loaded, or the trace is of another graph
    """
    from d4pcwl.errors import UsageError

    if options.n is not None and options.n < 1:
        raise UsageError(f"-n {options.n}: at least one process is needed")
    if options.script is None:
        if options.attr is not None or options.n is not None:
            raise UsageError("-a and -n need --script SCRIPT")
        return []
    from d4pcwl.cli.optimise import prediction
    from d4pcwl.runtime.engine.plan import make_plan, usable_cores
    from d4pcwl.trace.assign import ALGORITHMS, assign
    from d4pcwl.trace.model import read_model
    from d4pcwl.trace.predict import Machine
    from d4pcwl.trace.suggestion import Suggestion
    from d4pcwl.workflow.load import load

    # What a script prints is not part of the answer, and a change of folder is not for us.
    with contextlib.redirect_stdout(sys.stderr), contextlib.chdir(os.curdir):
        graph = load(options.script, options.attr, lambda b: b.settled({}, partly=True)).flat()
    model, machine = read_model(options.trace, graph), Machine(cores=usable_cores())
    found = []
    for how in ("default", *ALGORITHMS):
        number, assignment = options.n or processes, None
        if how in ALGORITHMS:
            assignment = assign(how, graph, model, number, machine).assignment
        plan = make_plan(graph, number, assignment=assignment)
        places = tuple(tuple(map(plan.name, place)) for place in plan.processes)
        seconds = prediction(graph, model, plan, machine).seconds
        found.append(Suggestion(how, seconds, places))
    return found
