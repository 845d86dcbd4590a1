"""Which stages of a cut may run in shards: side by side, each on a part of the items.

CWL steps have shards as PEs have instances. The number of shards is fixed when the document is
made, and results must not depend on it. So a PE is *sharded* only if these conditions hold:

- it keeps no state, or every input that feeds it is grouped by key, so that each shard has all of
  its keys; an input with the grouping ``all`` sends every item to each shard, because its author
  expects copies of the PE. Otherwise the PE is not sharded, as it is not copied under ``multi``;
- it is not a source, not ``single``, and in no cycle; and not all of its items go to one instance
  (``global``) or to every instance (``all`` as the only grouping).

How the items of an edge pass between stages is a :class:`Passage`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import Enum
from typing import Any

from d4pcwl.errors import UsageError
from d4pcwl.workflow.cut import Cut, Stage, cut, cut_between, part
from d4pcwl.workflow.edges import Edge
from d4pcwl.workflow.flat import FlatGraph
from d4pcwl.workflow.grouping import ALL, GLOBAL, SHUFFLE, GroupBy
from d4pcwl.workflow.lazy import cached_property
from d4pcwl.workflow.numbering import Numbering
from d4pcwl.workflow.pe import has_postprocess
from d4pcwl.workflow.state import keeps_state, writes_at_once


class Passage(Enum):
    """How the items of an edge pass from a stage to another."""

    WHOLE = "whole"
    """All items, of all shards, go to a target that is not sharded."""
    ALL = "all"
    """All items, of all shards, go to each shard of the target."""
    ALIGNED = "aligned"
    """The items of a shard go to the shard with the same number."""
    SPLIT = "split"
    """Each item goes to one shard, by its key or in turn."""


@dataclass(frozen=True, eq=False)
class Sharding:
    """A cut graph, and which of its stages run in shards.

    :param count: the number of shards
    :param sharded: the stages that run in shards
    """

    cut: Cut
    count: int
    sharded: frozenset[Stage]

    def passage(self, edge: Edge) -> Passage:
        """How the items of an edge pass from stage to stage."""
        grouping = self.cut.graph.grouping(edge)
        if self.cut.stage_of(edge.target) not in self.sharded:
            return Passage.WHOLE
        if grouping == ALL:
            return Passage.ALL
        if grouping == SHUFFLE and self.cut.stage_of(edge.source) in self.sharded:
            return Passage.ALIGNED
        return Passage.SPLIT

    @cached_property
    def _first(self) -> dict[Any, Edge]:
        first: dict[Any, Edge] = {}
        for edge in self.cut.crossing:
            first.setdefault(self._kind(edge), edge)
        return first

    def _kind(self, edge: Edge) -> Any:
        passage, grouping = self.passage(edge), self.cut.graph.grouping(edge)
        return (id(edge.source), edge.output, passage, grouping)

    def first_alike(self, edge: Edge) -> Edge:
        """The first edge of the same output that passes in the same way, by the same keys."""
        return self._first[self._kind(edge)]

    def runs(self) -> list[tuple[Stage, ...]]:
        """The sharded stages in runs: each shard of a run can go on without waiting for other
        shards. The stages of a run are connected by aligned edges, and no path leaves a run and
        comes back to it.
        """
        level: dict[Stage, int] = dict.fromkeys(self.cut.stages, 0)
        edges = [
            (self.cut.stage_of(edge.source), self.cut.stage_of(edge.target), self.passage(edge))
            for edge in self.cut.crossing
        ]
        into: dict[Stage, list[tuple[Stage, Passage]]] = {}
        for source, target, passage in edges:
            into.setdefault(target, []).append((source, passage))
        for stage in self.cut.stages:  # sources first
            for source, passage in into.get(stage, ()):
                step = 0 if passage is Passage.ALIGNED else 1
                level[stage] = max(level[stage], level[source] + step)
        run_of: dict[Stage, list[Stage]] = {}
        for stage in self.cut.stages:
            if stage in self.sharded:
                run_of[stage] = [stage]
        for source, target, passage in edges:
            if passage is Passage.ALIGNED and level[source] == level[target]:
                first, second = run_of[source], run_of[target]
                if first is not second:
                    first += second
                    for stage in second:
                        run_of[stage] = first
        order = {stage: number for number, stage in enumerate(self.cut.stages)}
        runs = {id(run): tuple(sorted(run, key=order.__getitem__)) for run in run_of.values()}
        return list(runs.values())


def staged(
    graph: FlatGraph,
    how: str | None,
    count: int | None = None,
    together: Collection[Any] = (),
) -> Sharding:
    """The stages that the user asks for, with or without shards.

    :param how: as for :func:`~d4pcwl.workflow.cut.cut`; None: one stage; with shards, the graph is
        cut where they begin and end
    :param count: the number of shards; None: there are none
    :param together: as for :func:`shard`
    :raises UsageError: the shards are not possible
    :raises GraphError: as ``cut`` does
    """
    if count is None:
        return Sharding(cut(graph, how or "whole"), 1, frozenset())
    if count < 2:
        raise UsageError(f"--shards {count}: at least 2 are needed")
    if how == "whole":
        raise UsageError("shards need stages: leave out --cut, or give another one than whole")
    return shard(graph, count, how, together)


def shard(
    graph: FlatGraph, count: int, how: str | None = None, together: Collection[Any] = ()
) -> Sharding:
    """Cut ``graph`` into stages, and find those that may run in shards.

    :param count: the number of shards
    :param how: as for :func:`~d4pcwl.workflow.cut.cut`; by default where sharding begins and ends
    :param together: PEs that must not be sharded, for reasons that the graph does not show
    :raises GraphError: as ``cut`` does
    """
    able = _sharded_pes(graph, together)
    if how:
        stages = part(cut(graph, how), lambda stage, pe: _keeps_from_shards(graph, stage, pe, able))
    else:
        stages = cut_between(graph, _may_share_stage(graph, able))
    sharded = frozenset(stage for stage in stages.stages if _is_sharded(graph, stage, able))
    return Sharding(stages, count, sharded)


def _keeps_from_shards(graph: FlatGraph, stage: Stage, pe: Any, able: set[int]) -> bool:
    """Whether ``pe`` numbers the items that leave a stage, and only this PE prevents shards of the
    stage."""
    others = [other for other in stage.pes if not isinstance(other, Numbering)]
    return (
        isinstance(pe, Numbering)
        and bool(others)
        and all(id(other) in able for other in others)
        and not any(edge.target in stage for edge in graph.out_of(pe))
    )


def _sharded_pes(graph: FlatGraph, together: Collection[Any]) -> set[int]:
    """The PEs, by ``id()``, that may run in shards."""
    kept = {id(pe) for pe in together}
    kept |= graph.cyclic
    able: set[int] = set()
    for pe in graph.pes:
        kinds = {graph.grouping(edge) for edge in graph.into(pe)}
        if not kinds or getattr(pe, "single", False) or GLOBAL in kinds or kinds == {ALL}:
            continue
        if id(pe) not in kept and kept_whole(graph, pe) is None and writes_at_once(pe) is None:
            able.add(id(pe))
    return able


def kept_whole(graph: FlatGraph, pe: Any) -> str | None:
    """Why a PE that takes items from all shards is not sharded because of its state; or None."""
    groupings = {edge.input: graph.grouping(edge) for edge in graph.into(pe)}
    reason = keeps_state(pe)
    unkeyed = [name for name, grouping in groupings.items() if not isinstance(grouping, GroupBy)]
    if reason is None or not unkeyed or getattr(pe, "single", False):
        return None
    kinds = set(groupings.values())
    if GLOBAL in kinds or (ALL in kinds and (len(kinds) == 1 or not has_postprocess(pe))):
        return None
    inputs = " and ".join(f"'{name}'" for name in unkeyed)
    return (
        f"{graph.names[pe.id]} does not run in shards: it keeps state ({reason}) and its input "
        f"{inputs} has no key; group the input by a key, or set stateful = False in the PE if it "
        "keeps none"
    )


def _may_share_stage(graph: FlatGraph, able: set[int]) -> Callable[[Edge], bool]:
    def may(edge: Edge) -> bool:
        if (id(edge.source) in able) != (id(edge.target) in able):
            return False
        return id(edge.source) not in able or graph.grouping(edge) == SHUFFLE

    return may


def _is_sharded(graph: FlatGraph, stage: Stage, able: set[int]) -> bool:
    if not all(id(pe) in able for pe in stage.pes):
        return False
    inside = [edge for pe in stage.pes for edge in graph.out_of(pe) if edge.target in stage]
    return all(graph.grouping(e) == SHUFFLE or _any_shard_will_do(graph, e) for e in inside)


def _any_shard_will_do(graph: FlatGraph, edge: Edge) -> bool:
    """Whether the results of a keyed PE depend on the shard that has a key."""
    return isinstance(graph.grouping(edge), GroupBy) and keeps_state(edge.target) is None
