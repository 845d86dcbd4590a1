"""PEs whose items are much work (``heavy``): dynamic mappings hand their items out one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
from mapping_kit import wait_until

from d4pcwl import IterativePE, ProducerPE, WorkflowGraph, run
from d4pcwl.runtime.engine.plan import make_plan
from d4pcwl.workflow.flat import flatten

COUNT = 3


class Numbers(ProducerPE):
    def _process(self, inputs: Any) -> None:
        for number in range(COUNT):
            self.write("output", number)


class Meet(IterativePE):
    """Each item ends only when all are being worked on."""

    heavy: ClassVar[bool] = True

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def _process(self, data: int) -> int:
        (self.folder / str(data)).touch()
        wait_until(lambda: len(list(self.folder.iterdir())) == COUNT)
        return data


def graph(folder: Path) -> WorkflowGraph:
    made = WorkflowGraph()
    made.connect(Numbers(), "output", Meet(folder), "input")
    return made


@pytest.mark.parametrize("kind", ["dyn_multi", "dyn_redis", "dyn_auto_multi", "dyn_auto_redis"])
def test_items_do_not_wait_for_each_other_while_workers_are_free(kind: str, tmp_path: Path) -> None:
    results = run(graph(tmp_path), mapping=kind, processes=COUNT + 1)
    assert sorted(results["Meet"]["output"]) == list(range(COUNT))


def test_what_is_pinned_shares_one_process(tmp_path: Path) -> None:
    flat = flatten(graph(tmp_path))
    plan = make_plan(flat, 8, pooled=True)
    (meet,) = plan.of("Meet1")
    assert plan.heavy == {meet.index}
    assert len(plan.processes) == 2
    assert plan.pool == 1
    assert make_plan(flat, 8).heavy == frozenset()
