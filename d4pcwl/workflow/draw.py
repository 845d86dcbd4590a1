"""Pictures of a graph, by Graphviz: composites are boxes around their PEs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from d4pcwl.workflow.flat import FlatGraph, flatten
from d4pcwl.workflow.graph import label


def draw(graph: Any) -> str:
    """The graph in Graphviz' language: a record for each PE, with its ports, and the edges."""
    flat = flatten(graph)
    numbers = {id(pe): number for number, pe in enumerate(flat.pes)}
    lines = [
        "digraph workflow {",
        "  rankdir=LR;",
        '  node [shape=record, style=filled, fillcolor=white, fontname="sans-serif"];',
        *_nodes(flat, numbers, (), "  "),
    ]
    for edge in flat.edges:
        source = f"pe{numbers[id(edge.source)]}:{_port(edge.source.outputconnections, edge.output)}"
        inputs = edge.target.inputconnections
        target = f"pe{numbers[id(edge.target)]}:{_port(inputs, edge.input, 'in')}"
        grouping = flat.grouping(edge)
        text = "" if grouping.kind == "shuffle" else f' [label="{_escaped(str(grouping))}"]'
        lines.append(f"  {source} -> {target}{text};")
    return "\n".join([*lines, "}", ""])


def drawDot(graph: Any, img_type: str = "png") -> bytes:  # noqa: N802 - upstream's name
    """The graph as an image.

    :param img_type: any of Graphviz' formats
    :raises FileNotFoundError: Graphviz' command ``dot`` is not installed
    """
    return subprocess.run(
        ["dot", "-T", img_type], input=draw(graph).encode(), stdout=subprocess.PIPE, check=True
    ).stdout


def write_image(graph: Any, filename: str, img_type: str = "png") -> None:
    """Draw the graph into a file; without Graphviz, say so and go on."""
    try:
        image = drawDot(graph, img_type)
    except FileNotFoundError:
        sys.stderr.write(f"{filename} is not drawn: Graphviz (the command dot) is not installed\n")
        return
    Path(filename).write_bytes(image)


def _nodes(
    flat: FlatGraph, numbers: dict[int, int], path: tuple[Any, ...], indent: str
) -> list[str]:
    """The PEs directly within the composite at ``path``, and the composites within it."""
    lines: list[str] = []
    inner: dict[int, Any] = {}
    for pe in flat.pes:
        around = flat.composites.get(id(pe), ())
        if len(around) == len(path) and all(a is b for a, b in zip(around, path, strict=True)):
            inputs = _ports(pe.inputconnections, "in")
            outputs = _ports(pe.outputconnections)
            parts = [part for part in (inputs, _escaped(pe.id), outputs) if part]
            lines.append(f'{indent}pe{numbers[id(pe)]} [label="{{ {" | ".join(parts)} }}"];')
        elif len(around) > len(path) and all(a is b for a, b in zip(around, path, strict=False)):
            inner.setdefault(id(around[len(path)]), around[len(path)])
    for key, composite in inner.items():
        first = min(numbers[id(pe)] for pe in flat.pes if composite in flat.composites[id(pe)])
        lines += [
            f"{indent}subgraph cluster_{len(path)}_{list(inner).index(key)}_{first} {{",
            f'{indent}  label="{_escaped(label(composite))}"; style=filled; fillcolor=lightgrey;',
            *_nodes(flat, numbers, (*path, composite), indent + "  "),
            f"{indent}}}",
        ]
    return lines


def _ports(connections: dict[str, Any], prefix: str = "out") -> str:
    ports = (f"<{prefix}{i}> {_escaped(str(name))}" for i, name in enumerate(connections))
    return "{ " + " | ".join(ports) + " }" if connections else ""


def _port(connections: dict[str, Any], name: str, prefix: str = "out") -> str:
    return f"{prefix}{list(connections).index(name)}"


def _escaped(text: str) -> str:
    return "".join(f"\\{c}" if c in '"{}|<>\\' else c for c in text)
