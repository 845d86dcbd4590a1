"""The dispel4py script of a CWL document: source code that builds its graph, for users to edit."""

from __future__ import annotations

import builtins
import keyword
import os
import re
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from d4pcwl.cwl.importing.cwltool.document import short_name
from d4pcwl.cwl.importing.cwltool.settings import DOCKER
from d4pcwl.cwl.importing.graph.cwl_graph import CwlGraph
from d4pcwl.cwl.importing.graph.steps import Connection, CwlStep, CwlSubworkflow, Steps
from d4pcwl.workflow.load import Script

WIDTH = 100
_INDENT = "    "


def graph_script(graph: CwlGraph, location: str, *, process: str | None, folder: str) -> str:
    """The script that builds a graph, formatted.

    :param location: the path or URI of the document
    :param folder: the folder of the script; empty if it is not known
    """
    arguments = [f"process={quoted(process)}"] if process is not None else []
    settings = graph.document.settings
    if settings.container != DOCKER:
        engine = settings.container
        arguments.append("container=" + (quoted(engine) if engine else "None"))
    for name in ("relax_path_checks", "enable_ext", "enable_dev"):
        if getattr(settings, name):
            arguments.append(f"{name}=True")
    names = _Names(graph)
    tool = graph.document.process.tool
    lines = [
        *_docstring(tool.get("label"), tool.get("doc"), Path(location.partition("#")[0]).stem),
        "",
        *_built_from("CwlGraph()", location, folder, arguments),
        "",
        *_described_inputs(tool["inputs"]),
        "inputs, outputs = graph.inputs, graph.outputs",
        "",
        *_steps(graph, names),
    ]
    return "\n".join(_without_double_blanks(lines)) + "\n"


def native_script(graph: CwlGraph, script: Script, *, folder: str) -> str:
    """The script that refers to the script from which a document was made."""
    tool = graph.document.process.tool
    doc = f"The graph is that of {script.path.name}, from which the CWL document was made."
    lines = [
        *_docstring(tool.get("label"), doc, script.path.stem),
        "",
        *_built_from("load().graph", str(script.path), folder, [quoted(script.attr)]),
    ]
    return "\n".join(lines) + "\n"


def _built_from(function: str, location: str, folder: str, others: Sequence[str]) -> list[str]:
    """The import that a call needs, and the call with a path or URI as its first argument."""
    relative = ""
    if "://" in location or not folder:
        place = quoted(location if "://" in location else os.path.abspath(location))
    else:
        relative = Path(os.path.relpath(location, folder)).as_posix()
        place = f"Path(__file__).with_name({quoted(relative)})"
        if "/" in relative:
            place = f"Path(__file__).parent / {quoted(relative)}"
    name, _, suffix = function.partition("()")
    head = [*(["from pathlib import Path", ""] if relative else []), f"from d4pcwl import {name}"]
    lines = _call(f"graph = {name}", [place, *others], suffix)
    if relative and any(len(line) > WIDTH for line in lines):
        lines = [
            *_assigned("document", quoted(relative)),
            *_call(f"graph = {name}", ["Path(__file__).parent / document", *others], suffix),
        ]
    return [*head, "", *lines]


def _assigned(name: str, literal: str) -> list[str]:
    """An assignment, in parentheses if it is too long without them."""
    line = f"{name} = {literal}"
    inner = _INDENT + literal
    return [line] if len(line) <= WIDTH or len(inner) > WIDTH else [f"{name} = (", inner, ")"]


class _Names:
    """Python names for the steps, at any depth."""

    def __init__(self, graph: Steps) -> None:
        taken = {"graph", "inputs", "outputs", "CwlGraph", "Path", *keyword.kwlist, *dir(builtins)}
        taken |= set(keyword.softkwlist)
        self._names: dict[int, str] = {}
        self._settle(graph, "", taken)
        self._names[id(graph)] = "graph"

    def _settle(self, graph: Steps, prefix: str, taken: set[str]) -> None:
        for step in graph.steps.values():
            plain = re.sub(r"\W", "_", f"{prefix}{step.name}").strip("_") or "step"
            if not plain.isidentifier():
                plain = f"step_{plain}"
            name = plain if plain not in taken else f"{plain}_step"
            number = 2
            while name in taken:
                name, number = f"{plain}_{number}", number + 1
            taken.add(name)
            self._names[id(step)] = name
            if isinstance(step, CwlSubworkflow):
                self._settle(step, f"{name}_", taken)

    def of(self, graph: Steps, node: Any) -> str:
        """The name of a node in the calls of ``connect`` of ``graph``."""
        if node is graph.inputs or node is graph.outputs:
            side = "inputs" if node is graph.inputs else "outputs"
            return side if isinstance(graph, CwlGraph) else f"{self._names[id(graph)]}.{side}"
        return self._names[id(node)]

    def __getitem__(self, node: Any) -> str:
        return self._names[id(node)]


def _steps(graph: Steps, names: _Names) -> Iterator[str]:
    """The steps of a workflow, and its connections."""
    for step in graph.steps.values():
        yield from _comment(_about(graph, step))
        if not step.path:
            yield f"{names[step]} = {names[graph]}.tool()"
            continue
        arguments = [quoted(step.path[-1])]
        if step.scatter:
            arguments.append(f"scatter={_one_or_list(step.scatter)}")
        if len(step.scatter) > 1:
            arguments.append(f"method={quoted(step.method)}")
        yield from _call(f"{names[step]} = {names[graph]}.step", arguments)
        if isinstance(step, CwlSubworkflow):
            yield from _steps(step, names)
            yield ""
    yield ""
    connections = list(graph.connections())
    given = Counter(connection[2:] for connection in connections)
    for connection in connections:
        alone = given[connection[2:]] == 1
        yield from _connection(graph, names, connection, alone=alone)


def _about(graph: Steps, step: CwlStep | CwlSubworkflow) -> str:
    """A description of a step in a line: its label, or the first line of its doc, or those of its
    tool. Nothing, if this only repeats the name."""
    document = graph.document
    entries: list[Any] = [document.step(step.path).tool] if step.path else []
    for entry in (*entries, document.at(step.path).tool):
        for told in (entry.get("label"), _text(entry.get("doc"))):
            if told and told.strip() not in ("", step.name):
                return str(told).strip().splitlines()[0]
    return ""


def _connection(
    graph: Steps, names: _Names, connection: Connection, *, alone: bool
) -> Iterator[str]:
    """The call that makes a connection.

    :param alone: whether nothing else is connected to its input
    """
    source, output, target, taken = connection
    arguments = [names.of(graph, source), quoted(output), names.of(graph, target), quoted(taken)]
    lines = list(_call(f"{names[graph]}.connect", arguments))
    remark = ""
    if getattr(source, "scatter", None):
        if alone and taken in getattr(target, "scatter", ()):
            remark = "# element by element"
        elif target is not graph.outputs or isinstance(graph, CwlGraph):
            remark = "# gathered"
    if remark and len(lines) == 1 and len(lines[0]) + len(remark) + 2 <= WIDTH:
        yield f"{lines[0]}  {remark}"
        return
    if remark:
        yield remark
    yield from lines


def _described_inputs(entries: Any) -> Iterator[str]:
    if not entries:
        return
    yield "# A job order has"
    for entry in entries:
        about = entry.get("label") or _text(entry.get("doc")).strip().partition("\n")[0]
        text = f"{short_name(entry['id'])}: {_type(entry['type'])}"
        optional = "default" in entry
        text += " (has a default)" if optional else ""
        text += f" - {about.strip()}" if about.strip() else ""
        yield from _comment(text, "# - ", "#   ")


def _type(declared: Any) -> str:
    """A CWL type as users write it."""
    if isinstance(declared, list):
        others = [_type(kind) for kind in declared if kind != "null"]
        text = " | ".join(others)
        if "null" in declared:
            return f"{text}?" if len(others) == 1 else f"({text})?"
        return text
    if isinstance(declared, dict):
        if declared.get("type") == "array":
            inner = _type(declared["items"])
            return f"({inner})[]" if " " in inner else f"{inner}[]"
        if declared.get("type") == "enum":
            return " | ".join(short_name(symbol) for symbol in declared["symbols"])
        return str(declared.get("type"))
    return short_name(str(declared)) if "#" in str(declared) else str(declared)


# --- source code ----------------------------------------------------------------------------------


def quoted(text: str) -> str:
    """A text as a literal, with the quotes that formatters prefer."""
    single, double = text.count("'"), text.count('"')
    if double > single:
        return "'" + repr(text + '"')[1:-2].replace("\\'", "'").replace("'", "\\'") + "'"
    body = repr(text)[1:-1].replace("\\'", "'").replace('"', '\\"')
    return f'"{body}"'


def _one_or_list(names: Sequence[str]) -> str:
    texts = [quoted(name) for name in names]
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"


def _call(function: str, arguments: Sequence[str], suffix: str = "") -> list[str]:
    """A call, split into lines if it is too long for one."""
    line = f"{function}({', '.join(arguments)}){suffix}"
    if len(line) <= WIDTH:
        return [line]
    inner = _INDENT + ", ".join(arguments)
    if len(inner) <= WIDTH:
        return [f"{function}(", inner, f"){suffix}"]
    return [f"{function}(", *(f"{_INDENT}{argument}," for argument in arguments), f"){suffix}"]


def _comment(text: str, first: str = "# ", rest: str = "# ") -> list[str]:
    text = "".join(c if c.isprintable() else " " for c in text)
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=rest)


def _text(doc: Any) -> str:
    return "\n".join(doc) if isinstance(doc, list) else str(doc or "")


def _docstring(label: Any, doc: Any, name: str) -> list[str]:
    """The docstring of a script, as lines."""
    title = " ".join(str(label or "").split())
    text = textwrap.dedent(_text(doc).expandtabs()).strip("\n")
    if not title:
        title, _, text = text.strip().partition("\n") if text.strip() else (name, "", "")
    paragraphs = [title.strip(), *(["", *text.strip("\n").splitlines()] if text.strip() else [])]
    lines: list[str] = []
    for line in paragraphs:
        clean = "".join(c if c.isprintable() else " " for c in line).rstrip()
        clean = clean.replace("\\", "\\\\").replace('"""', r"\"\"\"")
        indent = clean[: len(clean) - len(clean.lstrip())]
        width = WIDTH if lines else WIDTH - 3
        wide = len(clean) > width
        lines += textwrap.wrap(clean, width, subsequent_indent=indent) if wide else [clean]
    lines = _without_double_blanks(lines)
    if len(lines) == 1 and not lines[0].startswith('"') and not lines[0].endswith('"'):
        return [f'"""{lines[0]}"""']
    start = " " if lines[0].startswith('"') else ""
    return [f'"""{start}{lines[0]}', *lines[1:], '"""']


def _without_double_blanks(lines: Sequence[str]) -> list[str]:
    kept: list[str] = []
    for line in lines:
        if line or (kept and kept[-1]):
            kept.append(line)
    while kept and not kept[-1]:
        kept.pop()
    return kept
