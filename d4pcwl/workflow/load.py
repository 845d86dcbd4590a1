"""Loading a script: running its body once, and finding the graph that it builds."""

from __future__ import annotations

import importlib
import importlib.util
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir, contextmanager, redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from d4pcwl.errors import (
    D4pcwlError,
    Fault,
    InputError,
    ScriptError,
    brief,
    closest,
    nearest,
    shown,
)
from d4pcwl.workflow.beside import PREFIX, hint_of_hidden, is_taken, share_names
from d4pcwl.workflow.finding import find_graph, named_graphs
from d4pcwl.workflow.flat import FlatGraph
from d4pcwl.workflow.graph import is_workflow
from d4pcwl.workflow.numbering import to_run
from d4pcwl.workflow.parameters import Builder, read_builder
from d4pcwl.workflow.pe import GenericPE, is_of
from d4pcwl.workflow.place import Place, is_internal

Settle = Callable[[Builder], Mapping[str, Any]]
"""Finds the values for the parameters of a workflow."""

_OF_UPSTREAM = (
    "d4pcwl has no such name; if a version of dispel4py has it, install that as well "
    "(pip install stream-d4py)"
)
_SEND_WHAT_IS_RETURNED = frozenset({"run_along", "write", "hand_on", "_put", "_attempt"})
"""The functions of the engine that send what a PE has returned."""

_OF_BASE = frozenset({"inputconnections", "outputconnections", "numprocesses", "name", "id"})
"""Attributes that a PE has when GenericPE.__init__ has run."""


@dataclass(frozen=True, eq=False)
class Script:
    """A loaded script.

    :param graph: its workflow graph, as the script built it
    :param attr: the name of the graph in the script
    :param path: its file
    :param module: its module
    :param builder: the function that made the graph, if the workflow has parameters
    :param values: the values that were given for its parameters
    """

    graph: Any
    attr: str
    path: Path
    module: ModuleType = field(repr=False)
    builder: Builder | None = None
    values: Mapping[str, Any] = field(default_factory=dict)

    def flat(self) -> FlatGraph:
        """The flat form of the graph. Composites without a name get the name of their variable."""
        for name, value in named_graphs(self.module).items():
            if not is_workflow(value) and not getattr(value, "name", None):
                value.name = name
        return to_run(self.graph)


@contextmanager
def aside() -> Iterator[None]:
    """For loading a script while something else is written to standard output: what it prints goes
    to standard error. If it changes the current folder, that is undone at the end."""
    with redirect_stdout(sys.stderr), chdir(os.curdir):
        yield


def load(
    source: str | os.PathLike[str],
    attr: str | None = None,
    parameters: Mapping[str, Any] | Settle | None = None,
) -> Script:
    """Load a graph from a file or a module; ``:attribute`` may follow the name.

    The script's folder is put first on the import path, as Python does for a script. So the
    modules beside it are found. The body of the script runs once.

    :param attr: the name of the graph, if the script has several
    :param parameters: values for the parameters of a function that makes the graph; or a function
        that returns them
    :raises ScriptError: there is no such script; it fails; it has no graph, or several
    :raises InputError: values of parameters are not valid, or missing
    """
    name = os.fspath(source)
    if attr is None and ":" in name and not os.path.exists(name):
        name, _, attr = name.rpartition(":")
    module, path = _import(name)
    try:
        attr, graph = find_graph(module, path, attr)
    except ScriptError:
        raise
    except Exception as error:  # a module may compute its names when they are looked up
        raise ScriptError(f"{path} has no '{attr}'\n{_told(error)}") from error
    if not is_of(graph, FunctionType):
        if parameters and not callable(parameters):
            raise InputError(f"{path} has no parameters: {attr} is a graph, made by the script")
        return Script(graph, attr, path, module)
    return replace(build(read_builder(graph), parameters, path, module), attr=attr)


def build(
    builder: Builder,
    parameters: Mapping[str, Any] | Settle | None = None,
    path: Path | None = None,
    module: ModuleType | None = None,
) -> Script:
    """The script with the graph that a function makes.

    :param path: the script (default: the file of the function)
    :raises ScriptError: the function fails, or returns no graph
    :raises InputError: values of parameters are not valid, or missing
    """
    code, home = builder.function.__code__, builder.function.__module__
    path = path or Path(shown(code.co_filename))
    module = module or sys.modules.get(home) or ModuleType(home)
    values = parameters(builder) if callable(parameters) else builder.settled(parameters or {})
    samples = builder.samples(values)  # if only the graph is needed, and not its results
    try:
        graph = builder.function(**samples, **values)
    except BaseException as error:
        if is_an_order(error):
            raise
        told = f"{builder.name}() of {path} failed\n{_told(error)}"
        if samples:
            called = ", ".join(f"{name}={value!r}" for name, value in samples.items())
            told += f"\nIt was called with samples, {called}: give their values"
        raise ScriptError(told) from error
    if not is_workflow(graph):
        raise ScriptError(
            f"{path}:{code.co_firstlineno}: {builder.name}() must return a WorkflowGraph, not "
            f"{brief(graph)}"
        )
    return Script(graph, builder.name, path, module, builder, values)


def _import(name: str) -> tuple[ModuleType, Path]:
    path = Path(name)
    if os.path.isfile(path):
        if path.suffix == ".ipynb":
            raise ScriptError(
                f"{name} is a notebook; make a script of it: jupyter nbconvert --to script {name}"
            )
        return _run_file(path), path
    if os.path.isdir(path):
        raise ScriptError(f"{name} is a folder; give the script itself")
    if path.suffix == ".py" or os.sep in name or not all(name.split(".")):
        raise ScriptError(f"no such script: {name}{_nearby(path)}")
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    share_names([os.getcwd()])
    try:
        module = importlib.import_module(name)
    except BaseException as error:
        if is_an_order(error):
            raise
        if isinstance(error, ModuleNotFoundError) and error.name in _parents(name):
            raise ScriptError(f"no such script or module: {name}{_nearby(path)}") from None
        raise _script_failed(error, name) from error
    if not is_of(module, ModuleType):
        raise ScriptError(
            f"{name} replaces its module by a {type(module).__name__} (in sys.modules); give the "
            "file itself"
        )
    file = _file_of(module)
    if not file:
        raise ScriptError(f"module {name} has no file")
    return module, Path(os.path.relpath(file))


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]


def _nearby(path: Path) -> str:
    folder = path.parent
    scripts = [p.name for p in folder.glob("*.py")] if os.path.isdir(folder) else []
    return nearest(path.name, scripts) if scripts else ""


def _run_file(path: Path) -> ModuleType:
    # Engines stage each file by its own link. So files beside the link come first, before files
    # beside its target, where Python would look.
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
        if is_an_order(error):
            raise
        raise _script_failed(error, str(path)) from error
    return module


def is_an_order(error: BaseException) -> bool:
    """Whether something outside ended users' code: Ctrl-C, a signal, or the end of the run."""
    ours = type(error).__module__.startswith("d4pcwl.") and not isinstance(error, Exception)
    return ours or (isinstance(error, KeyboardInterrupt) and not _is_raised_here(error))


def _is_raised_here(error: KeyboardInterrupt) -> bool:
    """Whether users' code raised the error itself: with ``raise``, and not in a handler."""
    from opcode import opmap

    handler = signal.getsignal(signal.SIGINT)
    handlers = [getattr(call, "__code__", None) for call in (handler, type(handler).__call__)]
    place = error.__traceback__
    while place is not None and place.tb_frame.f_code not in handlers:
        if place.tb_next is None:
            return place.tb_frame.f_code.co_code[place.tb_lasti] == opmap["RAISE_VARARGS"]
        place = place.tb_next
    return False


def _module_name(path: Path) -> str:
    """The script's own name, so that helpers can import it; another one if that name is taken."""
    name = path.stem
    loaded = sys.modules.get(name)
    other = loaded is not None and _file_of(loaded) != str(path)
    if not name.isidentifier() or is_taken(name) or other:
        return PREFIX + name
    return name


def _file_of(module: object) -> str | None:
    """The file of a module. An object in ``sys.modules`` may be no module."""
    file = vars(module).get("__file__") if is_of(module, ModuleType) else None
    return file if isinstance(file, str) else None


def _script_failed(error: BaseException, name: str) -> ScriptError:
    """The error to show: the exception, with the line of the user's code."""
    if isinstance(error, SyntaxError) and error.filename and os.path.isfile(error.filename):
        fault = Fault(
            f"{type(error).__name__}: {error.msg}",
            shown(error.filename),
            error.lineno,
            error.offset or None,
            (error.text or "").rstrip("\n") or None,
        )
        return ScriptError(f"{name} cannot be loaded\n{fault}")
    return ScriptError(f"{name} failed while it was loaded\n{_told(error)}")


def _told(error: BaseException) -> Fault:
    """The exception, with the line of the user's code."""
    if isinstance(error, SystemExit):
        return user_fault(error, f"it called exit({brief(error.code)})")
    if isinstance(error, SyntaxError):
        # Of a text that the script compiles: Python would show a place in that.
        return user_fault(error, f"{type(error).__name__}: {error.msg}")
    if isinstance(error, D4pcwlError):
        return user_fault(error, str(error))
    if isinstance(error, ImportError) and str(error.name).startswith("dispel4py."):
        return user_fault(error, f"{error.msg}; {_OF_UPSTREAM}")
    return user_fault(error, "".join(traceback.format_exception_only(error)).strip())


def user_fault(error: BaseException, message: str) -> Fault:
    """A fault at the innermost line of ``error``'s traceback in the user's code."""
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, KeyError) and frames and frames[-1].filename == os.__file__:
        message = f"the environment variable {error.args[0]} is not set"
    message += hint_of_hidden(error) or ("" if "Did you mean" in message else _hint(error))
    theirs = [frame for frame in frames if not is_internal(frame.filename)]
    local = [frame for frame in theirs if not _is_installed(frame.filename)]
    if not theirs or (not local and is_internal(frames[-1].filename)):
        return Fault(message)
    frame = (local or theirs)[-1]
    return Place(frame.filename, frame.lineno or 0).fault(message)


def _hint(error: BaseException) -> str:
    """For messages: what to do about common mistakes."""
    if isinstance(error, AttributeError) and isinstance(error.name, str):
        owner = error.obj
        if is_of(owner, GenericPE) and error.name in _OF_BASE:
            return "; call super().__init__() first in its __init__"
        names = [*dir(type(owner)), *getattr(owner, "__dict__", ())] if owner is not None else []
        return closest(error.name, map(str, names))
    if isinstance(error, TypeError) and "connect() " in str(error):
        return "; give PE, output, PE and input: graph.connect(first, 'output', second, 'input')"
    return ""


def fault_of_writer(message: str) -> Fault:
    """A fault at the line at which a PE writes an item; without a line for items that it
    returns."""
    frame, returned = sys._getframe(1), True
    while frame.f_back is not None and is_internal(frame.f_code.co_filename):
        if frame.f_code.co_name == "_write":  # the item was written, not returned
            returned = False
        if returned and frame.f_code.co_name in _SEND_WHAT_IS_RETURNED:
            return Fault(message)
        frame = frame.f_back
    file, number = frame.f_code.co_filename, frame.f_lineno
    if is_internal(file) or _is_installed(file):
        return Fault(message)
    return Place(file, number).fault(message)


def _is_installed(filename: str) -> bool:
    return "site-packages" in filename or filename.startswith(os.path.dirname(os.__file__) + os.sep)
