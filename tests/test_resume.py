"""Runs with snapshots, killed as a whole, go on to the results of a run that nothing disturbed."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mapping_kit import FaultyPE, Mapping, Source, Total, chain, frozen, join, named, wait_until
from resume_kit import EVERY_SECONDS, Life, make_graph, newest, told

import d4pcwl
from d4pcwl import GenericPE, IterativePE, ProducerPE, WorkflowGraph
from d4pcwl.errors import CheckpointError, D4pcwlError, PEError, UsageError
from d4pcwl.runtime.checkpoint.session import Session
from d4pcwl.runtime.mappings.registry import find_mapping

KILLS = 3


def run(mapping: Mapping, may_end: Path, folder: Path | None = None, seconds: float = 0.004) -> Any:
    graph, inputs = make_graph(may_end, seconds)
    own = {} if folder is None else {"checkpoint": folder, "every": EVERY_SECONDS, "resume": True}
    how = {"processes": mapping.processes, "options": mapping.options, "seed": 7}
    return told(d4pcwl.run(graph, inputs, mapping=mapping.name, **how, **own))


@pytest.mark.processes(3)
def test_a_killed_run_ends_with_the_same_results(mapping: Mapping, tmp_path: Path) -> None:
    if not find_mapping(mapping.name).checkpoints:
        pytest.skip("it has no snapshots")
    folder, may_end, draw = tmp_path / "snapshots", tmp_path / "may_end", random.Random(5)
    for _ in range(KILLS):
        before = newest(folder)
        life = Life(lambda: run(mapping, may_end, folder), tmp_path)
        wait_until(lambda: newest(folder) > before or life.ended)  # noqa: B023
        assert not life.ended
        time.sleep(draw.uniform(0, 3 * EVERY_SECONDS))
        life.kill()
    may_end.touch()
    found = Life(lambda: run(mapping, may_end, folder), tmp_path).answer()
    undisturbed = run(mapping, may_end, seconds=0)
    assert found.keys() == undisturbed.keys()
    for port in ("Steps.output", "errors", "Shares.output"):
        assert found[port] == undisturbed[port]
    assert {port: frozen(items) for port, items in found.items()} == {
        port: frozen(items) for port, items in undisturbed.items()
    }
    assert len(list(folder.glob("snapshot-*"))) <= 2
    again = Life(lambda: run(mapping, may_end, folder), tmp_path).answer()
    assert again == found  # it had come to its end
