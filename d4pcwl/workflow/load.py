"""Loading a script: running its body once, and finding the graph that it builds."""

from __future__ import annotations

import importlib
import importlib.util
import linecache
import os
import sys
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from d4pcwl.errors import Fault, ScriptError, nearest, shown
from d4pcwl.workflow.beside import PREFIX, hint_of_hidden, is_taken, share_names
from d4pcwl.workflow.flat import FlatGraph, flatten
from d4pcwl.workflow.graph import is_graph, is_workflow

_PACKAGE = str(Path(__file__).resolve().parent.parent) + os.sep


@dataclass(frozen=True, eq=False)
class Script:
    """A loaded script.

    :param graph: its workflow graph, as the script built it
    :param attr: the name of the graph in the script
    :param path: its file
    :param module: its module
    """

    graph: Any
    attr: str
    path: Path
    module: ModuleType = field(repr=False)

    def flat(self) -> FlatGraph:
        """The flat form of the graph, with names that the script gives to nameless composites."""
        for name, value in vars(self.module).items():
            if is_graph(value) and not is_workflow(value) and not getattr(value, "name", None):
                value.name = name
        return flatten(self.graph)


def load(source: str | os.PathLike[str], attr: str | None = None) -> Script:
    """Load a graph from a file, a module, or either followed by ``:attribute``.

    The script's folder is put first on the import path, as Python does for a script, so that the
    modules beside it are found. Its body runs once.

    :param attr: which graph, where the script has several
    :raises ScriptError: there is no such script; it fails; it has no graph, or several
    """
    name = os.fspath(source)
    if attr is None and ":" in name and not os.path.exists(name):
        name, _, attr = name.rpartition(":")
    module, path = _import(name)
    attr, graph = _find_graph(module, path, attr)
    return Script(graph, attr, path, module)


def _import(name: str) -> tuple[ModuleType, Path]:
    path = Path(name)
    if path.is_file():
        return _run_file(path), path
    if path.is_dir():
        raise ScriptError(f"{name} is a folder; give the script itself")
    if path.suffix == ".py" or os.sep in name:
        raise ScriptError(f"no such script: {name}{_nearby(path)}")
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    share_names([os.getcwd()])
    try:
        module = importlib.import_module(name)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name in _parents(name):
            raise ScriptError(f"no such script or module: {name}{_nearby(path)}") from None
        raise _script_failed(error, name) from error
    file = getattr(module, "__file__", None)
    if not file:
        raise ScriptError(f"module {name} has no file")
    return module, Path(os.path.relpath(file))


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]


def _nearby(path: Path) -> str:
    folder = path.parent
    scripts = [p.name for p in folder.glob("*.py")] if folder.is_dir() else []
    return nearest(path.name, scripts) if scripts else ""


def _run_file(path: Path) -> ModuleType:
    # Engines stage each file by a link of its own, so what is beside the link goes before what is
    # beside the file it leads to, where Python would look.
    folders = list(
        dict.fromkeys([os.path.dirname(os.path.abspath(path)), str(path.resolve().parent)])
    )
    if sys.path[: len(folders)] != folders:
        sys.path[:0] = folders
    share_names(folders, path.name)
    name = _module_name(path)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        # A script need not be called .py.
        from importlib.machinery import SourceFileLoader

        spec = importlib.util.spec_from_loader(name, SourceFileLoader(name, str(path)))
        assert spec is not None
        assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        sys.modules.pop(name, None)
        if isinstance(error, (Exception, SystemExit)):
            raise _script_failed(error, str(path)) from error
        raise
    return module


def _module_name(path: Path) -> str:
    """The script's own name, so that helpers can import it; another where that name is taken."""
    name = path.stem
    loaded = sys.modules.get(name)
    same = loaded is not None and getattr(loaded, "__file__", None) == str(path)
    if not name.isidentifier() or is_taken(name) or (loaded and not same):
        return PREFIX + name
    return name


def _script_failed(error: BaseException, name: str) -> ScriptError:
    """The error to show: what was raised, at the user's line that led to it."""
    if isinstance(error, SyntaxError) and error.filename:
        fault = Fault(
            f"{type(error).__name__}: {error.msg}",
            shown(error.filename),
            error.lineno,
            error.offset or None,
            (error.text or "").rstrip("\n") or None,
        )
        return ScriptError(f"{name} cannot be loaded\n{fault}")
    what = f"it called exit({error.code!r})" if isinstance(error, SystemExit) else None
    what = what or "".join(traceback.format_exception_only(error)).strip()
    return ScriptError(f"{name} failed while it was loaded\n{user_fault(error, what)}")


def user_fault(error: BaseException, message: str) -> Fault:
    """A fault at the innermost line of ``error``'s traceback that is neither ours nor Python's."""
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, KeyError) and frames and frames[-1].filename == os.__file__:
        message = f"the environment variable {error.args[0]} is not set"
    message += hint_of_hidden(error)
    theirs = [frame for frame in frames if not _is_internal(frame.filename)]
    local = [frame for frame in theirs if not _is_installed(frame.filename)]
    if not theirs:
        return Fault(message)
    frame = (local or theirs)[-1]
    line = linecache.getline(frame.filename, frame.lineno or 0).rstrip("\n")
    return Fault(message, shown(frame.filename), frame.lineno, None, line.strip() or None)


def _is_internal(filename: str) -> bool:
    return filename.startswith(("<frozen ", _PACKAGE)) or os.path.abspath(filename).startswith(
        _PACKAGE
    )


def _is_installed(filename: str) -> bool:
    return "site-packages" in filename or filename.startswith(os.path.dirname(os.__file__) + os.sep)


def _find_graph(module: ModuleType, path: Path, attr: str | None) -> tuple[str, Any]:
    graphs = {
        name: value
        for name, value in vars(module).items()
        if is_graph(value) and not isinstance(value, type)
    }
    if attr is not None:
        if not hasattr(module, attr):
            raise ScriptError(f"{path} has nothing called '{attr}'{nearest(attr, graphs)}")
        graph = getattr(module, attr)
        if not is_graph(graph) or isinstance(graph, type):
            raise ScriptError(
                f"{path}: {attr} is a {type(graph).__name__}, not a graph{nearest(attr, graphs)}"
            )
        return attr, graph
    nested = {id(node) for graph in graphs.values() for node in getattr(graph, "nodes", ())}
    found: dict[int, tuple[str, Any]] = {}
    for name, value in graphs.items():
        if is_workflow(value) and id(value) not in nested:
            found.setdefault(id(value), (name, value))
    if not found:
        hint = (
            "; its graphs are composites (they have inputmappings or outputmappings)"
            if graphs
            else "; a script is to leave its WorkflowGraph in a variable of the module"
        )
        raise ScriptError(f"{path} holds no workflow graph{hint}")
    if len(found) > 1:
        names = ", ".join(name for name, _ in found.values())
        raise ScriptError(f"{path} holds several graphs: {names}; choose one with -a NAME")
    return next(iter(found.values()))
