"""Pictures of workflows: of a CWL document, and of the PEs of a stream."""

from __future__ import annotations

import shutil
from pathlib import Path

from d4pcwl.crate.runs import Plan, Run
from d4pcwl.workflow.nodes import SINK, SOURCE, STATE, Arrow, Node
from d4pcwl.workflow.picture import Picture


def pictures(run: Run) -> dict[Plan, Picture]:
    """The picture of each workflow of a run, of which there is one."""
    drawn = {
        activity.plan: picture_of_stream(activity.plan)
        for activity in run.main.all()
        if activity.record is not None
    }
    document = next(iter(run.documents.values()))
    if run.main.plan not in drawn and isinstance(document, Path):
        from d4pcwl.cwl.picture import picture_of_cwl

        drawn = {run.main.plan: picture_of_cwl(str(document)), **drawn}
    return drawn


def drawn(picture: Picture) -> tuple[str, bytes]:
    """A picture, and the suffix of its file: SVG if Graphviz is there to draw it, or else
    Mermaid."""
    if shutil.which("dot"):
        return ".svg", picture.image("svg")
    return ".mmd", picture.mermaid().encode()


def picture_of_stream(plan: Plan) -> Picture:
    """The picture of PEs: edges have their groupings."""
    keys = {name: f"pe{number}" for number, name in enumerate(plan.steps)}
    links = [link for link in plan.links if link.source is not None and link.target is not None]
    nodes = []
    for name, step in plan.steps.items():
        into = [link.input for link in links if link.target == name]
        out = [link.output for link in links if link.source == name]
        kinds = [SOURCE] if not into else [STATE] if step.state else []
        kinds += [SINK] if into and not out else []
        ports = (tuple(dict.fromkeys(into)), tuple(dict.fromkeys(out)))
        nodes.append(Node(keys[name], step.title, *ports, kinds=tuple(kinds)))
    arrows = [
        Arrow(keys[link.source or ""], link.output, keys[link.target or ""], link.input, link.told)
        for link in links
    ]
    return Picture(nodes, arrows)
