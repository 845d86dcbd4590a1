"""Workflows with parameters: functions that return a graph, annotated ``-> WorkflowGraph``.

The annotations of its parameters say which values they take. Its docstring describes them:

============================  ======================================================
``int float str bool``        as they are
``Path``                      a file that is read, or a folder; in CWL a File, or a Directory where
                              the default is one
``Directory``                 of d4pcwl, or ``Annotated[Path, "Directory"]``: a folder; likewise
                              ``Annotated[Path, "File"]``
``Literal["a", "b"]``         one of these; so are the members of an ``Enum``, by their names
``list[…]``, ``tuple[…, ...]``  several of one of the above
``… | None``                  may be None
============================  ======================================================
"""

from __future__ import annotations

import collections.abc
import contextlib
import inspect
import os
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from types import FunctionType, ModuleType, NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from d4pcwl.errors import Fault, InputError, ScriptError, brief, nearest, raise_faults, shown
from d4pcwl.workflow.composite import CompositePE
from d4pcwl.workflow.graph import WorkflowGraph
from d4pcwl.workflow.pe import is_of

Directory = Annotated[Path, "Directory"]
"""The annotation of a parameter that is a folder."""

REQUIRED = inspect.Parameter.empty
"""The default of a parameter without a default."""

_PLAIN: dict[Any, str] = {int: "int", float: "float", str: "str", bool: "bool"}
_PATHS: dict[str, Callable[[Any], bool]] = {
    "Path": os.path.exists,
    "File": lambda path: os.path.exists(path) and not os.path.isdir(path),
    "Directory": os.path.isdir,
}
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "bool": "true or false",
    "Path": "a file or folder",
    "File": "a file",
    "Directory": "a folder",
}
_ALLOWED = (
    "int, float, str, bool, Path, d4pcwl.Directory, Literal[…], an Enum, a list[…] of one of "
    "these, or one of these | None"
)


@dataclass(frozen=True)
class Kind:
    """The values that a parameter takes.

    :param base: ``int``, ``float``, ``str``, ``bool``, ``enum``, ``File``, ``Directory``, or
        ``Path``, which is one of these two
    :param choices: of an enum, from the text to the value
    :param many: list or tuple, where it takes several
    :param optional: whether it may be None
    """

    base: str
    choices: Mapping[str, Any] = field(default_factory=dict)
    many: type | None = None
    optional: bool = False

    @property
    def is_path(self) -> bool:
        """Whether values are paths."""
        return self.base in _PATHS

    def __str__(self) -> str:
        return f"a list, each {self._one}" if self.many else self._one

    @property
    def _one(self) -> str:
        return _EXPECTED.get(self.base) or f"one of {', '.join(self.choices)}"

    def of_texts(self, texts: list[str]) -> Any:
        """The value of texts; if it takes one value, that of the last text.

        :raises ValueError: it takes no such value
        """
        values = [self._of_text(text) for text in texts]
        return self.many(values) if self.many else values[-1]

    def of(self, value: Any) -> Any:
        """The value for a value that is given in Python or in a file of parameters.

        :raises ValueError: it takes no such value
        """
        if value is None and self.optional:
            return None
        if self.many is None:
            return self._of_one(value)
        if not isinstance(value, (list, tuple)):
            raise self._refusal(value)
        return self.many(map(self._of_one, value))

    def _of_text(self, text: str) -> Any:
        try:
            if self.base == "bool":
                return _TRUTH[text.lower()]
            if self.base in ("int", "float"):
                return {"int": int, "float": float}[self.base](text)
        except (KeyError, ValueError):
            raise self._refusal(text) from None
        return self._of_one(text)

    def _of_one(self, value: Any) -> Any:
        if self.base == "enum":
            for text, choice in self.choices.items():
                if (type(value) is type(choice) and value == choice) or value == text:
                    return choice
        elif self.is_path:
            if isinstance(value, (str, os.PathLike)):
                if not _PATHS[self.base](value):
                    raise ValueError(f"there is no {_EXPECTED[self.base][2:]} {os.fspath(value)}")
                return Path(value)
        elif self.base == "float" and isinstance(value, (int, float)):
            if not isinstance(value, bool):
                with contextlib.suppress(OverflowError):  # of an integer
                    return float(value)
        elif type(value).__name__ == self.base:
            return value
        raise self._refusal(value)

    def _refusal(self, value: Any) -> ValueError:
        expected = self if isinstance(value, list) else self._one
        return ValueError(f"expected {expected}, not {brief(value)}")

    def plain(self, value: Any) -> Any:
        """A value as JSON has it; paths are absolute."""
        if isinstance(value, (list, tuple)):
            return [self.plain(each) for each in value]
        if self.base == "enum" and value is not None:
            return next((text for text, choice in self.choices.items() if choice == value), value)
        return os.path.abspath(value) if isinstance(value, os.PathLike) else value

    def absolute(self, value: Any) -> Any:
        """A value, with paths that do not depend on the current folder."""
        if isinstance(value, (list, tuple)):
            return type(value)(map(self.absolute, value))
        return Path(os.path.abspath(value)) if isinstance(value, os.PathLike) else value

    def sample(self, name: str) -> Any:
        """A sample value, to see which graph the function makes."""
        samples: dict[str, Any] = {"int": 1, "float": 1.0, "bool": False, "str": name}
        value = Path(name) if self.is_path else samples.get(self.base)
        if self.base == "enum":
            value = next(iter(self.choices.values()))
        return self.many([value]) if self.many else value


@dataclass(frozen=True)
class Parameter:
    """A parameter of a workflow; a default of :data:`REQUIRED` says that it must be given."""

    name: str
    kind: Kind
    default: Any
    doc: str = ""


@dataclass(frozen=True)
class Builder:
    """A function that returns a graph.

    :param title: the first line of its docstring
    :param doc: the rest of it, without the texts for parameters
    """

    function: FunctionType
    parameters: Mapping[str, Parameter]
    title: str
    doc: str

    @property
    def name(self) -> str:
        """The name of the function."""
        return self.function.__name__

    def settled(
        self,
        given: Mapping[str, Any],
        texts: Mapping[str, list[str]] | None = None,
        *,
        partly: bool = False,
    ) -> dict[str, Any]:
        """The checked values for a call of the function.

        :param given: values, by name
        :param texts: values as texts of the command line, by name
        :param partly: whether required values may be missing
        :raises InputError: with all faults
        """
        values: dict[str, Any] = {}
        faults: list[str] = []
        known = self.parameters
        of_values: Callable[[Kind, Any], Any] = Kind.of
        asked = [(name, value, of_values) for name, value in given.items()]
        asked += [(name, value, Kind.of_texts) for name, value in (texts or {}).items()]
        for name, value, convert in asked:
            if name not in known:
                hint = nearest(str(name), known) or "; it has none"
                faults.append(f"{self.name}() has no parameter '{name}'{hint}")
                continue
            try:
                values[name] = convert(known[name].kind, value)
            except ValueError as fault:
                faults.append(f"{self.name}(): {name}: {fault}")
        for parameter in known.values():
            given_it = parameter.name in given or parameter.name in (texts or {})
            if parameter.default is REQUIRED and not given_it and not partly:
                text = f": {parameter.doc}" if parameter.doc else ""
                faults.append(
                    f"{self.name}(): {parameter.name} is missing; it is {parameter.kind}{text}"
                )
        raise_faults(InputError, faults)
        return values

    def samples(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """A sample value for each required parameter without a value."""
        return {
            each.name: each.kind.sample(each.name)
            for each in self.parameters.values()
            if each.default is REQUIRED and each.name not in values
        }


def builders(module: ModuleType) -> dict[str, FunctionType]:
    """The functions of a module that are workflows, by name."""
    return {
        name: value
        for name, value in list(vars(module).items())
        if is_of(value, FunctionType)
        and not name.startswith("_")
        and value.__module__ == module.__name__
        and returns_graph(value)
    }


def returns_graph(function: FunctionType) -> bool:
    """Whether the annotation of a function makes it a workflow."""
    told = function.__annotations__.get("return")
    if isinstance(told, str):
        return told.rpartition(".")[2].strip("'\"") == WorkflowGraph.__name__
    return isinstance(told, type) and issubclass(told, WorkflowGraph) and told is not CompositePE


def read_builder(function: FunctionType) -> Builder:
    """The workflow of a function.

    :raises ScriptError: with all parameters whose type is not known
    """
    code, name = function.__code__, function.__name__
    file, line = shown(code.co_filename), code.co_firstlineno
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except (NameError, AttributeError, TypeError, SyntaxError) as error:
        text = f"the annotations of {name}() cannot be read: {error}"
        raise ScriptError(str(Fault(text, file, line))) from None
    from d4pcwl.workflow.docstring import described

    title, doc, texts = described(inspect.getdoc(function) or "")
    found: dict[str, Parameter] = {}
    faults: list[Fault] = []
    for each in inspect.signature(function).parameters.values():
        try:
            kind = _kind_of_parameter(each, hints)
        except ValueError as fault:
            faults.append(Fault(f"{name}(): {each}: {fault}", file, line))
        else:
            found[each.name] = Parameter(each.name, kind, each.default, texts.get(each.name, ""))
    raise_faults(ScriptError, faults)
    return Builder(function, found, title, doc)


def _kind_of_parameter(each: inspect.Parameter, hints: Mapping[str, Any]) -> Kind:
    if each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD, each.POSITIONAL_ONLY):
        raise ValueError("a parameter of a workflow has a name")
    if each.name in hints:
        kind = _kind(hints[each.name])
        return replace(kind, optional=True) if each.default is None else kind
    if type(each.default) in _PLAIN:
        return Kind(_PLAIN[type(each.default)])
    raise ValueError(f"annotate it with its type, such as {each.name}: float; it may be {_ALLOWED}")


def _kind(hint: Any, marks: Iterable[Any] = ()) -> Kind:
    """The kind of values of an annotation.

    :raises ValueError: it says none
    """
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _kind(inner[0], [*marks, *inner[1:]])
    if origin in (Union, UnionType) and NoneType in inner and len(inner) == 2:
        (one,) = (each for each in inner if each is not NoneType)
        return replace(_kind(one, marks), optional=True)
    if origin in (list, tuple, collections.abc.Sequence, collections.abc.Iterable):
        if inner and (origin is not tuple or inner[1:] == (...,)):
            kind = _kind(inner[0], marks)
            if kind.many is None and not kind.optional:
                return replace(kind, many=tuple if origin is tuple else list)
    elif origin is Literal:
        return Kind("enum", {str(value): value for value in inner})
    elif isinstance(hint, type) and hint in _PLAIN:
        return Kind(_PLAIN[hint])
    elif hint in (Path, os.PathLike) or origin is os.PathLike:
        return Kind(next((mark for mark in marks if mark in _PATHS), "Path"))
    elif isinstance(hint, type) and issubclass(hint, Enum):
        return Kind("enum", {member.name: member for member in hint})
    raise ValueError(f"its annotation may be {_ALLOWED}")


def plain_values(builder: Builder | None, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as JSON, with which another process can make the same graph."""
    known = builder.parameters if builder else {}
    return {name: known[name].kind.plain(value) for name, value in values.items()}


def texts_of(builder: Builder, values: Mapping[str, Any]) -> Iterator[str]:
    """The texts and paths among the values of a workflow's parameters."""
    defaults = {each.name: each.default for each in builder.parameters.values()}
    for value in {**defaults, **builder.samples(values), **values}.values():
        for one in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(one, (str, os.PathLike)):
                yield os.fspath(one)
