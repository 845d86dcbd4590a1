"""The source of a function, and whose it is: the user's, or a library's."""

from __future__ import annotations

import ast
import functools
import inspect
import linecache
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from types import FunctionType, ModuleType

from d4pcwl.workflow.reading.roots import FunctionNode, functions_of, is_framework, parameters


def is_library(function: FunctionType) -> bool:
    """Whether ``function`` is the framework's or comes with Python or an installed package."""
    return is_framework(function.__module__) or is_library_file(function.__code__.co_filename)


def is_library_file(file: str) -> bool:
    """Whether a file comes with Python or an installed package."""
    return file.startswith(_library_folders())


def is_generated(function: FunctionType) -> bool:
    """Whether it was generated, for example by dataclasses: such methods only set up an object."""
    return function.__name__.startswith("__") and function.__code__.co_filename == "<string>"


def same_package(function: FunctionType, other: FunctionType) -> bool:
    """Whether both belong to one package that is neither Python's nor the framework's."""
    first = function.__module__.partition(".")[0]
    ours = is_framework(function.__module__) or first in sys.stdlib_module_names
    return not ours and first == other.__module__.partition(".")[0]


def methods_beside(function: FunctionType, name: str) -> Iterator[FunctionType]:
    """The methods ``name`` of the user's classes in the module of ``function`` and in the modules
    that it uses: what a call may run if the class of its object is not known. PEs do not count."""
    if name.startswith("__"):
        return
    seen, waiting = set[int](), [function.__globals__]
    while waiting:
        scope = waiting.pop()
        if id(scope) in seen:
            continue
        seen.add(id(scope))
        for value in list(scope.values()):
            kind = value if isinstance(value, type) else type(value)
            yield from _methods_of(kind, name)
            home = value if isinstance(value, ModuleType) else _home(value, kind)
            if home is not None and not is_library_file(getattr(home, "__file__", None) or "<"):
                waiting.append(vars(home))


def _home(value: object, kind: type) -> ModuleType | None:
    """The user's module that a function, a class or an object of a class is from."""
    name = value.__module__ if isinstance(value, FunctionType) else kind.__module__
    if is_framework(name) or str(name).partition(".")[0] in sys.stdlib_module_names:
        return None
    return sys.modules.get(name)


def _methods_of(kind: type, name: str, depth: int = 0) -> Iterator[FunctionType]:
    if any(is_framework(base.__module__) for base in kind.__mro__):
        return
    for function in functions_of(inspect.getattr_static(kind, name, None)):
        if not is_library(function):
            yield function
    if depth < 3 and kind.__module__ not in sys.stdlib_module_names:
        for value in list(vars(kind).values()):
            if isinstance(value, type) and value is not kind:
                yield from _methods_of(value, name, depth + 1)


@functools.lru_cache(maxsize=1)
def _library_folders() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    folders = {paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")}
    return (*sorted(f"{folder}/" for folder in folders), "<frozen ")


def source_node(function: FunctionType) -> FunctionNode | None:
    """The syntax tree of ``function``, or None if its source is missing or uncertain."""
    code = function.__code__
    lines = linecache.getlines(code.co_filename, function.__globals__)
    found = _nodes("".join(lines)).get((code.co_name, code.co_firstlineno), ()) if lines else ()
    count = code.co_argcount + code.co_kwonlyargcount
    fitting = [n for n in found if tuple(parameters(n)) == code.co_varnames[:count]]
    if len(fitting) > 1:
        columns = {p[2] for p in code.co_positions() if p[2] is not None}
        fitting = [n for n in fitting if isinstance(n, ast.Lambda) and n.body.col_offset in columns]
    return fitting[0] if len(fitting) == 1 else None


@functools.lru_cache(maxsize=64)
def _nodes(text: str) -> dict[tuple[str, int], list[FunctionNode]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError):
            return {}
    found: dict[tuple[str, int], list[FunctionNode]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Lambda):
            found.setdefault(("<lambda>", node.lineno), []).append(node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            found.setdefault((node.name, first), []).append(node)
    return found
