"""``--optimise`` and ``--from``: a plan, or the first sizes of tasks, by what a run has cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d4pcwl.cli.common import say
from d4pcwl.errors import UsageError

if TYPE_CHECKING:
    import argparse

    from d4pcwl.runtime.engine.plan import Plan
    from d4pcwl.runtime.job import Job
    from d4pcwl.trace.model import CostModel
    from d4pcwl.trace.predict import Machine, Prediction
    from d4pcwl.workflow.flat import FlatGraph
    from d4pcwl.workflow.load import Script


Learnt = tuple["Job", Sequence[str]]
"""A job as it is to be run, and lines that say how long it would take."""


def add_option(group: argparse._ArgumentGroup) -> None:
    """Add ``--optimise``; ``--from`` is there for stages already."""
    group.add_argument(
        "--optimise",
        metavar="naive|staging|best",
        help="choose the plan by measured times: give the trace of a run with --from TRACE; "
        "without it, a sample of the input runs first",
    )


def learn(options: argparse.Namespace, script: Script, job: Job) -> Learnt:
    """The job as ``--optimise`` and ``--from`` want it run.

    :raises UsageError: they do not fit the mapping, or one another
    :raises TraceError: the trace cannot be read
    """
    mapping, traces = options.mapping, [source.path for source in options.sources]
    if options.stage or not (options.optimise or traces):
        if options.stage and options.optimise:
            raise UsageError("--optimise is for a whole graph: leave out --stage")
        return job, ()
    if len(traces) > 1:
        raise UsageError("--from: give only one trace")
    if not options.optimise:
        if not mapping.pooled:
            raise UsageError(
                "--from TRACE needs --optimise or a dynamic mapping; --from PE.PORT=FILE needs "
                "--stage"
            )
        from d4pcwl.trace.model import read_model

        model = read_model(traces[0], job.graph)
        return _with_paces(job, model), ()
    if mapping.pooled or not mapping.parallel:
        advice = "; to give it a trace, leave out --optimise: --from TRACE"
        raise UsageError(
            f"--optimise is not for {mapping.name}; use it with a mapping in which PEs stay in "
            f"their processes, such as multi{advice if mapping.pooled else ''}"
        )
    if getattr(options.own, "simple", False):
        raise UsageError("--optimise and -s both say which PEs share a process: give one of them")
    return _optimised(options, script, job, traces)


def _with_paces(job: Job, model: CostModel) -> Job:
    """The job, with what a dynamic mapping begins with."""
    from d4pcwl.runtime.engine.plan import usable_cores
    from d4pcwl.trace.assign import useful_workers

    paces = {pe: work.pace for pe, work in model.works.items()}
    workers = useful_workers(job.graph, model, job.processes or usable_cores())
    return replace(job, paces=paces, workers=workers)


def _optimised(options: argparse.Namespace, script: Script, job: Job, traces: list[Path]) -> Learnt:
    from d4pcwl.runtime.engine.plan import usable_cores
    from d4pcwl.trace.assign import assign, check_algorithm
    from d4pcwl.trace.model import read_model
    from d4pcwl.trace.predict import Machine

    check_algorithm(options.optimise)
    mapping, processes = options.mapping, _processes(options.mapping, job)
    model = read_model(traces[0], job.graph) if traces else _sampled(options, script, job)
    machine = Machine(cores=None if mapping.ranks else usable_cores())
    choice = assign(options.optimise, job.graph, model, processes, machine)
    placed = replace(job, assignment=choice.assignment, processes=processes)
    usual = prediction(job.graph, model, job.plan(processes), machine)
    chosen = prediction(job.graph, model, placed.plan(processes), machine)
    if options.optimise == "best" and usual.seconds < chosen.seconds:  # the search is bounded
        placed, chosen = job, usual
    lines = (
        f"prediction for the work of the {'traced run' if traces else 'sample'}:",
        f"  by default: {told(job.graph, usual)}",
        f"  {options.optimise}: {told(job.graph, chosen)}",
    )
    if not options.quiet and not options.dry_run:
        say("\n".join(f"note: {line}" if n == 0 else line for n, line in enumerate(lines)))
    return placed, lines


def _processes(mapping: Any, job: Job) -> int:
    if not mapping.ranks:
        from d4pcwl.runtime.engine.plan import usable_cores

        return job.processes or usable_cores()
    from d4pcwl.runtime.mpi.session import is_rank, rank_count

    if not is_rank():  # nothing runs yet
        return job.processes or 1
    return min(job.processes or rank_count(), rank_count())


def _sampled(options: argparse.Namespace, script: Script, job: Job) -> CostModel:
    """The cost model of a sample.

    :raises UsageError: there can be none
    """
    from d4pcwl.runtime.sample import HOW_TO_TRACE, SECONDS, take_sample
    from d4pcwl.trace.model import cost_model

    if options.dry_run:
        raise UsageError(
            "--dry-run runs no PE, so it takes no sample: give a trace with --from TRACE"
        )
    written = _written(options, script, job)
    if written:
        raise UsageError(
            f"the script writes files, and a sample would write them, too: {', '.join(written)}; "
            + HOW_TO_TRACE
        )
    if not options.quiet:
        say(
            f"note: no trace is given, so a sample of the input runs first, one item at a time, "
            f"for about {SECONDS:g} s; its results are dropped"
        )
    if not options.mapping.ranks:
        return cost_model(take_sample(job))
    from d4pcwl.runtime.mpi.session import made_by_first

    model: CostModel = made_by_first(lambda: cost_model(take_sample(job)))
    return model


def _written(options: argparse.Namespace, script: Script, job: Job) -> list[str]:
    from d4pcwl.cli.dry_run import files

    return sorted(files(script, Path(options.folder, script.path), job)["writes"])


def prediction(graph: FlatGraph, model: CostModel, plan: Plan, machine: Machine) -> Prediction:
    """How long a run with this plan would take."""
    from d4pcwl.trace.predict import predict

    places = {pe.id: tuple(i.process for i in plan.of(pe.id)) for pe in graph.pes}
    return predict(graph, model, lambda pe: places[pe.id], machine)


def told(graph: FlatGraph, predicted: Prediction) -> str:
    """A prediction, for people."""
    number = len(predicted.loads)
    processes = "1 process" if number == 1 else f"{number} processes"
    return f"{predicted.seconds:.3g} s with {processes}; {', '.join(_bound(graph, predicted))}"


def _bound(graph: FlatGraph, predicted: Prediction) -> Iterator[str]:
    if predicted.by_cores:
        yield "there are too few cores"
    load = predicted.loads[predicted.bottleneck]
    part = 100 * load.works.get(predicted.heaviest, 0.0) / (predicted.seconds or 1.0)
    name = graph.names.get(predicted.heaviest, predicted.heaviest)
    yield f"in the busiest process, {name} works {part:.0f} % of the time"
