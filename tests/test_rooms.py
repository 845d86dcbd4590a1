"""Imports go downward only: each room imports from rooms that stand below it, and from itself."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import networkx

import d4pcwl

PACKAGE = Path(d4pcwl.__file__).parent

ROOMS = """
    errors
    pages
    workflow.reading
    workflow
    streams trace
    library
    lineage
    seismology
    runtime.checkpoint
    runtime.engine
    runtime.transport
    runtime.results
    runtime.job runtime.options runtime.local runtime.stage_streams
    runtime.observed
    runtime.recorded runtime.checkpointed
    runtime.static runtime.pool
    runtime.redis runtime.mpi
    runtime.mappings
    runtime.stage
    runtime
    cwl.files
    cwl.declare
    cwl.emit
    cwl.importing.cwltool
    cwl.importing.graph
    cwl
    crate
    cli
    compat
"""
"""From the ground up. Rooms in one line do not import each other."""

LEVELS = {name: level for level, line in enumerate(ROOMS.split("\n")) for name in line.split()}

OUTERMOST = {"d4pcwl", "d4pcwl.__main__"}
"""What puts the public names together may import all."""


def modules() -> dict[str, Path]:
    names = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        names[".".join(parts).removesuffix(".__init__")] = path
    return names


MODULES = modules()


def imported(path: Path) -> Iterator[str]:
    """The modules that a file imports, wherever in it: ours by their names, others by the first."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else str(node.module)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


IMPORTS = {name: set(imported(path)) for name, path in MODULES.items()}


def room_of(module: str) -> str:
    """The innermost room that a module stands in."""
    inner = module.removeprefix("d4pcwl.")
    return max((name for name in LEVELS if f"{inner}.".startswith(f"{name}.")), key=len)


def test_imports_go_downward_only() -> None:
    wrong = [
        f"{name} imports {other}"
        for name in MODULES.keys() - OUTERMOST
        for other in IMPORTS[name] & MODULES.keys() - {"d4pcwl"}
        if room_of(other) != room_of(name) and LEVELS[room_of(other)] >= LEVELS[room_of(name)]
    ]
    assert not wrong, "\n".join(sorted(wrong))


def test_no_modules_import_each_other() -> None:
    graph = networkx.DiGraph((name, other) for name in IMPORTS for other in IMPORTS[name])
    rings = [ring for ring in networkx.strongly_connected_components(graph) if len(ring) > 1]
    assert not rings, rings


def test_one_room_touches_cwltool() -> None:
    libraries = ("cwltool", "schema_salad", "cwl_utils")
    touching = {
        name
        for name, others in IMPORTS.items()
        if any(other.split(".")[0] in libraries for other in others)
    }
    assert {room_of(name) for name in touching} == {"cwl.importing.cwltool"}, touching


def test_architecture_names_what_is_there() -> None:
    """Every room is in the picture; every file that the page names is in a room of the package."""
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms = {
        name.rpartition(".")[2] for name in LEVELS if (PACKAGE / name.replace(".", "/")).is_dir()
    }
    assert not {room for room in rooms if f"  {room}/ " not in page}
    files = {path.relative_to(PACKAGE).as_posix() for path in MODULES.values()}
    named = set(re.findall(r"`([\w/]+\.py)`", page))
    known = files | {file.rpartition("/")[2] for file in files if "/importing/" in file}
    tests = {f"tests/{path.name}" for path in (PACKAGE.parent / "tests").glob("*.py")}
    assert not named - known - tests
