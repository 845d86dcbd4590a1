"""Which cells are run."""

from __future__ import annotations

from collections.abc import Sequence

from cases import ENGINES, FORMS
from verdict import DOCKER, NATIVE, Cell

QUICK = ("running_mean", "typed_inputs", "word_count")
"""The workflows of a quick run; the last of them runs on the engines other than cwltool, too."""
_QUICK_MAPPINGS = ("simple", "multi", "dyn_multi")


def choose(
    workflows: Sequence[str],
    *,
    mappings: Sequence[str],
    engines: Sequence[str] = ENGINES,
    forms: Sequence[str] = FORMS,
    full: bool = False,
    quick: bool = False,
    docker: bool = False,
) -> list[Cell]:
    """The cells to run, in order.

    Natively every mapping; on every engine every form under one mapping, ``simple`` where it is
    among them; on cwltool the whole graph under all mappings. The full cross has all mappings
    everywhere. A quick run has a few mappings natively, and one workflow on engines but cwltool.
    With docker, every form runs in containers as well.
    """
    one = "simple" if "simple" in mappings else mappings[0]
    cells: list[Cell] = []
    for workflow in workflows:
        native = [m for m in mappings if not quick or m in _QUICK_MAPPINGS]
        cells += [Cell(workflow, NATIVE, "", mapping) for mapping in native]
        for engine in (*engines, *([DOCKER] if docker else [])):
            if quick and engine != "cwltool" and workflow != QUICK[-1]:
                continue
            for form in forms:
                every = full or (engine == "cwltool" and form == "whole" and not quick)
                chosen = mappings if every else [one]
                cells += [Cell(workflow, engine, form, mapping) for mapping in chosen]
    return cells
