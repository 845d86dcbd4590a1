"""How many instances a PE may have without changing the results."""

from __future__ import annotations

from typing import Any

from d4pcwl.workflow.flat import FlatGraph
from d4pcwl.workflow.grouping import ALL, GLOBAL, GroupBy


def may_have_copies(graph: FlatGraph, pe: Any) -> bool:
    """Whether any number of instances of ``pe`` leaves the results as they are."""
    from d4pcwl.workflow.state import keeps_state, writes_at_once  # small runs do without

    if getattr(pe, "single", False) or not graph.into(pe) or id(pe) in graph.cyclic:
        return False
    groupings = [graph.grouping(edge) for edge in graph.into(pe)]
    if ALL in groupings or GLOBAL in groupings or writes_at_once(pe) is not None:
        return False
    return all(isinstance(g, GroupBy) for g in groupings) or keeps_state(pe) is None


def asked_copies(graph: FlatGraph, pe: Any) -> int:
    """How many instances of ``pe`` its author asks for: ``numprocesses``, but one of a source."""
    if getattr(pe, "single", False) or not graph.into(pe):
        return 1
    return max(1, int(getattr(pe, "numprocesses", 1) or 1))
