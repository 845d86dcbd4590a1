"""`benchmarks/scaling`: how two workflows would scale, predicted up to 1,024 processes; and how far
predictions are from what is measured here, by 1 to 4.

The shapes are those of the cross-correlation of seismic noise and of the rapid assessment of an
earthquake; PEs wait (``time.sleep``) for as long as the real ones work, or so. What each takes is
measured by a sample. How many items there are follows from the number of stations.
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import d4pcwl
from bench.table import rendered
from d4pcwl.cli.predict import by_plan, by_pool
from d4pcwl.runtime.job import Job
from d4pcwl.runtime.mappings.registry import find_mapping, run_job
from d4pcwl.runtime.results import Results
from d4pcwl.runtime.sample import take_sample
from d4pcwl.trace.assign import assign
from d4pcwl.trace.model import CostModel, cost_model
from d4pcwl.trace.predict import Machine
from d4pcwl.workflow.assignment import Assignment
from d4pcwl.workflow.flat import FlatGraph
from d4pcwl.workflow.inputs import root_inputs
from d4pcwl.workflow.numbering import to_run

_NUMBERS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]
_HEADINGS = ["workflow", "processes", "plan", "predicted, s", "measured, s", "error"]


class _Stations(d4pcwl.ProducerPE):
    def __init__(self, items: list[tuple[int, int]]) -> None:
        super().__init__()
        self.items = items

    def _process(self, inputs: Any) -> None:
        for item in self.items:
            self.write("output", item)


class _Work(d4pcwl.IterativePE):
    """Keeps no state."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def _process(self, item: Any) -> Any:
        time.sleep(self.seconds)
        return item


class _Pairs(d4pcwl.IterativePE):
    """Every trace with each of those before it: keeps them all."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def _process(self, item: Any) -> None:
        for other in self.seen:
            self.write("output", (other, item))
        self.seen.append(item)


class _Match(d4pcwl.IterativePE):
    """What was observed at a station, and what was computed for it."""

    def __init__(self) -> None:
        super().__init__()
        self.inputconnections["input"]["grouping"] = [0]
        self.waiting: dict[int, Any] = {}

    def _process(self, item: tuple[int, int]) -> Any:
        other = self.waiting.pop(item[0], None)
        if other is not None:
            return other, item
        self.waiting[item[0]] = item
        return None


class _Collect(d4pcwl.IterativePE):
    """Keeps all: a file, or a map."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def _process(self, item: Any) -> None:
        self.count += 1

    def _postprocess(self) -> None:
        self.write("output", self.count)


def cross_correlation(stations: int) -> d4pcwl.WorkflowGraph:
    """Read and prepare the trace of each station; correlate every pair; collect."""
    source = _Stations([(number, 0) for number in range(stations)])
    return _chain(source, _Work(0.04), _Work(0.02), _Pairs(), _Work(0.03), _Collect())


def rapid_assessment(stations: int) -> d4pcwl.WorkflowGraph:
    """Prepare what was observed and what was computed; match; ground motion; collect."""
    source = _Stations(list(itertools.product(range(stations), (0, 1))))
    return _chain(source, _Work(0.04), _Work(0.02), _Match(), _Work(0.03), _Collect())


def _chain(*pes: Any) -> d4pcwl.WorkflowGraph:
    graph = d4pcwl.WorkflowGraph()
    for source, target in itertools.pairwise(pes):
        graph.connect(source, "output", target, "input")
    return graph


@dataclass(frozen=True)
class Shape:
    """A workflow of stations.

    :param here: stations that are run here
    :param there: stations of the run that is predicted
    :param items: from stations to the items of each PE but the source
    """

    name: str
    make: Callable[[int], d4pcwl.WorkflowGraph]
    here: int
    there: int
    items: Callable[[int], list[int]]


SHAPES = (
    Shape(
        "cross-correlation",
        cross_correlation,
        12,
        1000,
        lambda n: [n, n, n, n * (n - 1) // 2, n * (n - 1) // 2],
    ),
    Shape(
        "rapid assessment",
        rapid_assessment,
        20,
        5000,
        lambda n: [2 * n, 2 * n, 2 * n, n, n],
    ),
)


def grown(shape: Shape, graph: FlatGraph, model: CostModel) -> CostModel:
    """The model of a run of more stations, of the model of one of fewer."""
    few, many = shape.items(shape.here), shape.items(shape.there)
    works, passages = dict(model.works), dict(model.passages)
    source = graph.pes[0]
    for pe, before, after in zip(graph.pes[1:], few, many, strict=True):
        work = works[pe.id]
        part = after / before
        works[pe.id] = replace(work, items=after, seconds=work.seconds * part, cpu=work.cpu * part)
        for key, passage in passages.items():
            if key[2] == pe.id:
                passages[key] = replace(passage, items=after, bytes=100_000.0, hot=0.0)
    first, part = works[source.id], many[0] / few[0]
    works[source.id] = replace(first, seconds=first.seconds * part, cpu=first.cpu * part)
    return replace(model, works=works, passages=passages)


def seconds_of(graph: FlatGraph, mapping: str, assignment: Assignment | None, n: int) -> float:
    """How long a run takes."""
    job = Job(
        graph,
        root_inputs(graph),
        Results(graph.names),
        processes=n,
        own_pes=False,
        assignment=assignment,
    )
    began = time.perf_counter()
    run_job(find_mapping(mapping), job)
    return time.perf_counter() - began


def measured(shape: Shape, graph: FlatGraph, model: CostModel, repetitions: int) -> Iterator[Any]:
    """Rows of what was predicted and measured here."""
    machine = Machine()
    for n in (1, 2, 3, 4):
        chosen = assign("best", graph, model, n, machine).assignment
        plans = {
            "multi": (by_plan(graph, model, "default", n, machine), "multi", None),
            "multi, best": (by_plan(graph, model, "best", n, machine), "multi", chosen),
            "dyn_multi": (by_pool(graph, model, n, machine), "dyn_multi", None),
        }
        for name, (predicted, mapping, assignment) in plans.items():
            runs = [seconds_of(graph, mapping, assignment, n) for _ in range(repetitions)]
            seconds = statistics.median(runs)
            error = predicted.seconds / seconds - 1
            yield [
                shape.name,
                str(n),
                name,
                f"{predicted.seconds:.2f}",
                f"{seconds:.2f}",
                f"{100 * error:+.0f} %",
            ]


def curves(graph: FlatGraph, model: CostModel, machine: Machine) -> dict[str, list[float]]:
    """How many times faster than one process, by plan."""
    timed: dict[str, Callable[[int], float]] = {
        "multi": lambda n: by_plan(graph, model, "default", n, machine).seconds,
        "multi, best": lambda n: by_plan(graph, model, "best", n, machine).seconds,
        "dyn_multi": lambda n: by_pool(graph, model, n, machine).seconds,
    }
    return {name: [seconds(1) / seconds(n) for n in _NUMBERS] for name, seconds in timed.items()}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, predict, print tables in Markdown, and draw."""
    parser = argparse.ArgumentParser(prog="benchmarks/scaling", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=3, metavar="N")
    parser.add_argument("--picture", type=Path, metavar="FILE.svg", help="draw the curves there")
    options = parser.parse_args(argv)
    rows, drawn, table = [], {}, []
    network = Machine(None, 10e9 / 8, 50e-6)
    for shape in SHAPES:
        graph = to_run(shape.make(shape.here))
        job = Job(graph, root_inputs(graph), Results({}))
        model = cost_model(take_sample(job, seconds=60.0))
        rows += list(measured(shape, graph, model, options.repetitions))
        drawn[shape.name] = curves(graph, grown(shape, graph, model), network)
        table += [
            [shape.name, name, *(f"{value:.1f}" for value in values)]
            for name, values in drawn[shape.name].items()
        ]
    sys.stdout.write(rendered(rows, _HEADINGS) + "\n\n")
    sys.stdout.write(rendered(table, ["workflow", "plan", *map(str, _NUMBERS)]) + "\n")
    if options.picture is not None:
        options.picture.write_text(_svg(drawn), encoding="utf-8")
    return 0


# --- the picture ----------------------------------------------------------------------------------

_WIDTH, _HEIGHT, _LEFT, _TOP, _GAP = 300, 240, 60, 40, 70
_COLOURS = {"multi": "#b45309", "multi, best": "#1d4ed8", "dyn_multi": "#15803d"}
_GREY = "#808080"


def _svg(drawn: dict[str, dict[str, list[float]]]) -> str:
    """The curves, one panel for each workflow, both axes in powers of two."""
    panels = [
        _panel(name, curves, _LEFT + number * (_WIDTH + _GAP))
        for number, (name, curves) in enumerate(drawn.items())
    ]
    width = _LEFT + len(drawn) * (_WIDTH + _GAP)
    height = _TOP + _HEIGHT + 90
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'font-family="sans-serif" font-size="12" fill="{_GREY}">\n'
        + "\n".join(panels)
        + f"\n{_legend(height)}\n</svg>\n"
    )


def _x(number: float) -> float:
    return _WIDTH * _NUMBERS.index(int(number)) / (len(_NUMBERS) - 1)


def _y(value: float) -> float:
    return _HEIGHT * (1 - max(0.0, math.log2(max(value, 1e-9))) / 10)


def _panel(name: str, curves: dict[str, list[float]], left: float) -> str:
    parts = [
        f'<g transform="translate({left},{_TOP})">',
        f'<text x="{_WIDTH / 2}" y="-16" text-anchor="middle" font-size="14">{name}</text>',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="none" stroke="{_GREY}"/>',
        f'<line x1="0" y1="{_HEIGHT}" x2="{_WIDTH}" y2="0" stroke="{_GREY}" '
        'stroke-dasharray="2 4"/>',
    ]
    for number in (1, 4, 16, 64, 256, 1024):
        parts += [
            f'<text x="{_x(number):.0f}" y="{_HEIGHT + 18}" text-anchor="middle">{number}</text>',
            f'<text x="-8" y="{_y(number) + 4:.0f}" text-anchor="end">{number}</text>',
        ]
    parts += [
        f'<text x="{_WIDTH / 2}" y="{_HEIGHT + 38}" text-anchor="middle">processes</text>',
        f'<text transform="translate(-42,{_HEIGHT / 2}) rotate(-90)" text-anchor="middle">'
        "times faster than one</text>",
    ]
    for plan, values in curves.items():
        points = " ".join(
            f"{_x(n):.1f},{_y(value):.1f}" for n, value in zip(_NUMBERS, values, strict=True)
        )
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{_COLOURS[plan]}" stroke-width="2"/>'
        )
    return "\n".join([*parts, "</g>"])


def _legend(height: float) -> str:
    parts = []
    for number, (plan, colour) in enumerate(_COLOURS.items()):
        left, top = _LEFT + number * 150, height - 16
        parts += [
            f'<line x1="{left}" y1="{top - 4}" x2="{left + 24}" y2="{top - 4}" stroke="{colour}" '
            'stroke-width="2"/>',
            f'<text x="{left + 32}" y="{top}">{plan}</text>',
        ]
    return "\n".join(parts)
