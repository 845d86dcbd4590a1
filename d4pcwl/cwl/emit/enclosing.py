"""Putting steps of a Workflow into a subworkflow: a run of sharded stages, or a composite."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from d4pcwl.cwl.emit.parameter import Output, Parameter, identifier, new_identifier
from d4pcwl.cwl.emit.workflow import Link, Step, Workflow
from d4pcwl.workflow.composite import own_doc
from d4pcwl.workflow.cut import Cut, Stage
from d4pcwl.workflow.edges import label


def enclosed_runs(workflow: Workflow, runs: Sequence[Sequence[str]]) -> Workflow:
    """Each run of scattered steps becomes one scattered subworkflow, whose shards do not wait for
    each other.

    :param runs: ids of steps
    """
    for run in runs:
        title = f"{' → '.join(run)}, for one shard"
        name = _free(workflow, f"{run[0]}_to_{run[-1]}_shard")
        workflow = enclose(workflow, run, name, title, scattered=True)
    return workflow


def enclosed_composites(workflow: Workflow, cut: Cut, ids: Mapping[Stage, str]) -> Workflow:
    """Each composite with several steps of its own becomes a subworkflow, the inner ones first.

    A composite is not enclosed if steps outside of it are between its own steps.
    """
    paths = {ids[stage]: _path(cut, stage) for stage in cut.stages}
    around = {id(each): (depth, each) for p in paths.values() for depth, each in enumerate(p)}
    for depth, composite in sorted(around.values(), key=lambda found: -found[0]):
        members = [step for step, path in paths.items() if composite in path[depth : depth + 1]]
        if len(members) < 2 or not _closed(workflow, members):
            continue
        title, _, doc = own_doc(composite).partition("\n")
        name = _free(workflow, label(composite))
        workflow = enclose(workflow, members, name, title.strip() or name, doc.strip())
        paths[name] = paths[members[0]][:depth]
        for step in members:
            del paths[step]
    return workflow


def _path(cut: Cut, stage: Stage) -> tuple[Any, ...]:
    """The composites around all PEs of a stage, outermost first."""
    paths = [cut.graph.composites.get(id(pe), ()) for pe in stage.pes]
    common = []
    for level in zip(*paths, strict=False):
        if any(each is not level[0] for each in level):
            break
        common.append(level[0])
    return tuple(common)


def _closed(workflow: Workflow, members: Collection[str]) -> bool:
    """Whether no other step both takes from ``members`` and feeds them."""
    behind: set[str] = set()  # the steps outside that depend on members
    for step in workflow.steps:
        feeders = step.feeders()
        if step.id in members:
            if feeders & behind:
                return False
        elif feeders & (behind | set(members)):
            behind.add(step.id)
    return True


def _free(workflow: Workflow, name: str) -> str:
    taken = {parameter.id for parameter in workflow.parameters}
    taken |= {step.id for step in workflow.steps} | {output.id for output in workflow.outputs}
    taken |= {process.id for process in workflow.processes()} | {workflow.id}
    return identifier(name, taken)


def enclose(
    workflow: Workflow,
    members: Collection[str],
    name: str,
    title: str,
    doc: str = "",
    *,
    scattered: bool = False,
) -> Workflow:
    """The workflow with some of its steps put into a subworkflow.

    :param members: the ids of steps; no other step both takes from them and feeds them
    :param name: the id of the subworkflow, and of its step
    :param scattered: the steps are scattered in the same way; the subworkflow is scattered instead
        of them
    """
    inside = [step for step in workflow.steps if step.id in members]
    outside = [step for step in workflow.steps if step.id not in members]
    entrance = _Entrance({step.id for step in inside})
    steps = [entrance.let_in(step, scattered) for step in inside]
    wanted = _wanted(workflow, outside)
    results: list[tuple[Output, Link]] = []
    places: dict[str, str] = {}
    taken = {*entrance.parameters, *members}
    for step in steps:
        for output in step.outputs:
            place = f"{step.id}/{output.id}"
            if place in wanted:
                own = new_identifier(output.id, taken)
                results.append((replace(output, id=own), Link((place,))))
                places[place] = f"{name}/{own}"
    inner = Workflow(name, title, doc, list(entrance.parameters.values()), steps, results)
    step = Step(name, inner, entrance.links, tuple(entrance.scatter))
    others = [
        replace(step, links={k: link.renamed(places) for k, link in step.links.items()})
        for step in outside
    ]
    return replace(
        workflow,
        steps=_in_order([*others, step]),
        results=[(output, link.renamed(places)) for output, link in workflow.results],
    )


class _Entrance:
    """The inputs of a subworkflow: one for each value that its steps take from outside."""

    def __init__(self, inside: set[str]) -> None:
        self.inside = inside
        self.parameters: dict[str, Parameter] = {}
        self.links: dict[str, Link] = {}
        self.scatter: list[str] = []
        self._known: dict[tuple[Link, bool], str] = {}

    def let_in(self, step: Step, scattered: bool) -> Step:
        """A step inside the subworkflow."""
        types = {parameter.id: parameter for parameter in step.process.parameters}
        links: dict[str, Link] = {}
        for name, link in step.links.items():
            if all(source.partition("/")[0] in self.inside for source in link.sources):
                links[name] = link
            else:
                each = scattered and name in step.scatter
                links[name] = Link((self._input(types[name], link, each),))
        return replace(step, links=links, scatter=() if scattered else step.scatter)

    def _input(self, parameter: Parameter, link: Link, each: bool) -> str:
        known = self._known.get((link, each))
        if known is None:
            alone = len(link.sources) == 1 and "/" not in link.sources[0]
            wanted = link.sources[0] if alone and not each else parameter.id
            known = identifier(wanted, {*self.parameters, *self.inside})
            self._known[link, each] = known
            self.parameters[known] = replace(parameter, id=known, binding=None)
            self.links[known] = link
            if each:
                self.scatter.append(known)
        return known


def _wanted(workflow: Workflow, outside: Sequence[Step]) -> set[str]:
    """The source outside: ``step/output``."""
    links = [link for step in outside for link in step.links.values()]
    links += [link for _, link in workflow.results]
    return {source for link in links for source in link.sources}


def _in_order(steps: Sequence[Step]) -> list[Step]:
    """The steps in their order, but each after the steps that feed it."""
    ordered: list[Step] = []
    waiting = list(steps)
    done: set[str] = set()
    while waiting:
        ready = next(step for step in waiting if step.feeders() <= done)
        waiting.remove(ready)
        ordered.append(ready)
        done.add(ready.id)
    return ordered
