"""``d4pcwl graph SCRIPT|CWL``: draw a graph and its stages, or the steps of a CWL document."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from d4pcwl.cli.common import end_if_asked, write_files
from d4pcwl.cli.standard import require_output
from d4pcwl.errors import UsageError, presentable

if TYPE_CHECKING:
    from typing import Any

    from d4pcwl.workflow.picture import Picture

_TEXTS = {".mmd": "mermaid", ".md": "markdown", ".dot": "dot", ".gv": "dot"}


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add ``graph``; :func:`run` is set as the ``run`` of the arguments."""
    parser = subparsers.add_parser(
        "graph",
        help="draw a graph or a CWL document",
        description="Draw the graph of a script, with its composites or the stages of a cut as "
        "boxes; or the steps of a CWL document.",
    )
    parser.add_argument("script", metavar="SCRIPT|CWL", help="a script, or a .cwl document")
    parser.add_argument(
        "-a", "--attr", metavar="NAME", help="the graph to use, if there are several"
    )
    parser.add_argument(
        "--cut", metavar="HOW", help="show the stages of this cut, as d4p2cwl makes them"
    )
    parser.add_argument(
        "--shards", type=int, metavar="N", help="show N shards, as d4p2cwl makes them"
    )
    parser.add_argument(
        "--all-edges",
        action="store_true",
        help="for a CWL document: draw also the edges of settings and of printed text, not only "
        "those of data",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="write the picture to FILE, in the format of its suffix: .svg, .png or .pdf (drawn "
        "by Graphviz), .dot, .mmd (Mermaid) or .md (Mermaid in Markdown); without -o, "
        "Mermaid on standard output",
    )
    parser.add_argument("--debug", action="store_true", help="tracebacks")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Do what the parsed arguments ask for; return the exit code.

    :raises D4pcwlError: the file is not valid, or cannot be drawn
    """
    if options.output is None:
        require_output("use -o FILE to draw into a file")
    picture = _picture(options)
    end_if_asked()
    if options.output is None:
        sys.stdout.write(presentable(picture.mermaid()))
        return 0
    kind = options.output.suffix
    if not kind:
        raise UsageError(
            f"-o {options.output}: the name has no suffix, which gives the format: "
            ".svg, .png, .mmd, …"
        )
    content = {
        "mermaid": lambda: picture.mermaid().encode(),
        "markdown": lambda: f"```mermaid\n{picture.mermaid()}```\n".encode(),
        "dot": lambda: picture.dot().encode(),
        "image": lambda: picture.image(kind[1:]),
    }[_TEXTS.get(kind, "image")]()
    write_files({options.output: content})
    return 0


def _picture(options: argparse.Namespace) -> Picture:
    if Path(options.script.partition("#")[0]).suffix in (".cwl", ".yml", ".yaml", ".json"):
        given = [name for name in ("attr", "cut", "shards") if getattr(options, name)]
        if given:
            raise UsageError(f"--{given[0]} is for scripts, and {options.script} is a CWL document")
        from d4pcwl.cwl.picture import picture_of_cwl

        return picture_of_cwl(options.script, all_edges=options.all_edges)
    if options.all_edges:
        raise UsageError(f"--all-edges is for CWL documents, and {options.script} is a script")
    from d4pcwl.cli.parameters import load_aside
    from d4pcwl.workflow.draw import picture
    from d4pcwl.workflow.nodes import Box
    from d4pcwl.workflow.shards import staged

    graph = load_aside(options).flat()
    if options.cut is None and options.shards is None:
        return picture(graph)
    stages = staged(graph, options.cut, options.shards)
    numbers = {id(pe): number for number, pe in enumerate(graph.pes)}
    boxes: dict[int, Box] = {}
    for stage in stages.cut.stages:
        times = f", {stages.count} shards" if stage in stages.sharded else ""
        box = Box(f"stage_pe{numbers[id(stage.pes[0])]}", stage.name + times)
        boxes |= {id(pe): box for pe in stage.pes}
    return picture(graph, lambda pe: boxes[id(pe)])
