"""Reading YAML and JSON from any source, at a cost that is bounded by the size of the text.

With aliases of aliases, a few lines of YAML may become larger than the memory. A few kilobytes of
YAML or JSON may be nested too deep. Such texts are refused with file and line, before they are
decoded. So are values that would be decoded to another value than the text shows.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from d4pcwl.errors import Fault, UnreadableText

MAX_DEPTH = 150
"""The most levels of lists and objects. Later code reads and copies them by recursion."""

_MOST_DIGITS = 4300  # the limit of Python itself: the time grows with the square of the digits
_MOST_GROWTH = 10
_FREE_GROWTH = 2_000_000
"""With its aliases, a text may become ten times as large, or two million bytes."""
_NODE = 16
_LONGEST_FROM_PIPE = 1 << 26

# Parts that a YAML text may have. A text without them needs no check, and is read only once.
_START = r"(?:^|[\s\[{,:?-])"
_ANCHOR = re.compile(_START + r"&[^\s\[\]{},]", re.MULTILINE)
_ALIAS = re.compile(_START + r"\*[^\s\[\]{},]", re.MULTILINE)
_SUSPECT = (
    re.compile(_START + "!", re.MULTILINE),  # tags
    re.compile("^%", re.MULTILINE),  # directives
    re.compile(r"\.(?:inf|Inf|INF|nan|NaN|NAN)"),
    re.compile(r"(?<![\w.$])[-+]?[0-9.][0-9_.]*[eE]\+?[0-9_]{3}"),
    re.compile(r"[0-9_:]{300}"),
    re.compile(r"^[ \t?-]{60}", re.MULTILINE),  # deep
)
_MANY_BRACKETS = 60
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_INT = re.compile(r"[-+]?(?:0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|[0-9][0-9_]*)")
_FLOAT = re.compile(r"[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_BASE_60 = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?")
_YAML = "tag:yaml.org,2002:"
_FORMS = {
    "str": re.compile(".*", re.DOTALL),
    "int": _INT,
    "float": _FLOAT,
    "bool": re.compile("true|false|yes|no|on|off|y|n", re.IGNORECASE),
    "null": re.compile("|~|null", re.IGNORECASE),
}

Imported = Callable[[str, int], "Extent"]
"""Takes the reference of an ``$import`` and its line, and returns the size of the imported text."""


class Extent(NamedTuple):
    """The size of a part of a text, with its aliases replaced by their values. ``own`` is the size
    of what was read for the first time.
    """

    size: int
    height: int
    own: int = 0


def read_text(path: str | os.PathLike[str]) -> str:
    """The text of a file.

    :raises UnreadableText: it cannot be read, or is not UTF-8
    """
    try:
        with open(path, "rb") as file:
            regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            data = file.read() if regular else file.read(_LONGEST_FROM_PIPE)
            if not regular and file.read(1):
                raise UnreadableText(f"{path}: cannot be read: it has no end")
    except OSError as error:
        raise UnreadableText(f"{path}: cannot be read: {error.strerror}") from None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = "cannot be read: it is not UTF-8 text"
        raise UnreadableText(str(Fault(message, str(path), line))) from None


def read_file(path: str | os.PathLike[str]) -> Any:
    """Decode a file: YAML where its name says so, else JSON.

    :raises UnreadableText: it cannot be read, or decoded
    """
    text = read_text(path)
    parse = parse_yaml if Path(path).suffix in (".yml", ".yaml") else parse_json
    return parse(text, str(path))


# --- JSON


class _Unfit(Exception):
    """Invalid JSON; :func:`_json_fault` finds out where and why."""


def parse_json(text: str, where: str, first_line: int = 1) -> Any:
    """Decode JSON.

    :param where: what the text is, for the message
    :param first_line: the number of the text's first line
    :raises UnreadableText: says line and column and shows the line
    """
    try:
        value = _JSON.decode(text)
        if _is_deep(value):
            raise _Unfit
        return value
    except json.JSONDecodeError as error:
        message, at = f"not JSON: {error.msg}", error.pos
        if text.startswith("\ufeff"):
            message = "not JSON: it begins with a byte order mark; save it as UTF-8 without one"
    except (_Unfit, ValueError, RecursionError) as error:
        message, at = _json_fault(text) or (f"not JSON: {error}", 0)
    raise UnreadableText(str(_fault_at(text, at, message, where, first_line))) from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise _Unfit
    return fields


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise _Unfit
    return number


def _refuse(name: str) -> Any:
    raise _Unfit


_JSON = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_finite, parse_constant=_refuse)


def _is_deep(value: Any) -> bool:
    level = [value] if type(value) in (dict, list) else []
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for holder in level
            for inner in (holder.values() if type(holder) is dict else holder)
            if type(inner) is dict or type(inner) is list
        ]
        if not level:
            return False
    return True


_TOKEN = re.compile(
    r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{},:]|-?[0-9][0-9.eE+-]*|NaN|-?Infinity', re.DOTALL
)


def _json_fault(text: str) -> tuple[str, int] | None:
    """What is wrong in a text that the JSON decoder accepts, and where it begins."""
    open_: list[set[str] | None] = []
    last = ""
    start = 0
    for found in _TOKEN.finditer(text):
        token = found.group()
        if token in ("[", "{"):
            open_.append(set() if token == "{" else None)
            if len(open_) > MAX_DEPTH:
                return f"nested deeper than {MAX_DEPTH} levels", found.start()
        elif token in ("]", "}"):
            open_ = open_[:-1]
        elif token == ":" and open_ and open_[-1] is not None:
            key = json.loads(last, strict=False) if last.startswith('"') else last
            if key in open_[-1]:
                return f"the key {_short(key)} is there twice", start
            open_[-1].add(key)
        elif token.endswith(("NaN", "Infinity")):
            return f"not JSON: {token} is not a number", found.start()
        elif token[-1] in "0123456789." and (fault := _number_fault(token)):
            return fault, found.start()
        last, start = token, found.start()
    return None


def _number_fault(text: str) -> str | None:
    """What is wrong with the size of a decimal number."""
    if not _FLOAT.fullmatch(text):
        return None
    if _INT.fullmatch(text):
        digits = len(text.lstrip("+-"))
        many = digits > _MOST_DIGITS and text[:2] not in ("0x", "0o", "0b")
        return f"an integer of {digits} digits; give it as a text" if many else None
    if math.isinf(float(text.replace("_", ""))):
        return f"{text[:40]} is too large for a number; give it as a text"
    return None


def _fault_at(text: str, at: int, message: str, where: str, first_line: int) -> Fault:
    line = text.count("\n", 0, at) + first_line
    start = text.rfind("\n", 0, at) + 1
    end = text.find("\n", at)
    whole = text[start : end if end >= 0 else len(text)]
    column = at - start + 1
    shown = whole[max(0, column - 60) : column + 20]
    if shown != whole:
        return Fault(f"{message} (column {column})", where, line)
    return Fault(message, where, line, column, whole)


def _short(text: str) -> str:
    return repr(text) if len(text) <= 40 else repr(text[:37]) + "..."


# --- YAML


def parse_yaml(text: str, where: str) -> Any:
    """Decode YAML; dates are texts, as they are in JSON and in CWL's job orders.

    :param where: what the text is, for the message
    :raises UnreadableText: says line and column
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.constructor import SafeConstructor
    from ruamel.yaml.error import YAMLError

    class WithoutDates(SafeConstructor):
        """A constructor without dates. Its errors give the place of a wrong value."""

        def construct_object(self, node: Any, deep: bool = False) -> Any:
            try:
                return super().construct_object(node, deep)
            except (ValueError, TypeError) as error:
                mark = node.start_mark
                fault = Fault(f"not YAML: {error}", where, mark.line + 1, mark.column + 1)
                raise UnreadableText(str(fault)) from None

    WithoutDates.add_constructor(f"{_YAML}timestamp", WithoutDates.construct_yaml_str)
    check_yaml(text, where, tags=("binary", "set", "omap", "pairs", "timestamp", "merge"))
    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor = WithoutDates
    try:
        return yaml.load(text)
    except YAMLError as error:
        raise not_yaml(error, where) from None


def not_yaml(error: Any, where: str) -> UnreadableText:
    """The message of ruamel.yaml, in one line.

    :param error: a YAMLError
    """
    from ruamel.yaml.error import MarkedYAMLError

    problem, line, column = str(error).split("\n", 1)[0], None, None
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        problem, line, column = str(error.problem), mark.line + 1, mark.column + 1
    return UnreadableText(str(Fault(f"not YAML: {problem}", where, line, column)))


def is_blank(text: str) -> bool:
    """Whether a text of YAML has nothing but comments."""
    return not text.strip() or all(
        not line or line.startswith("#")
        for line in map(str.strip, text.lstrip("\ufeff").splitlines())
    )


def check_yaml(
    text: str, where: str, *, imported: Imported | None = None, tags: Iterable[str] = ()
) -> Extent:
    """Refuse YAML, or JSON that is read as YAML, if reading it could cost too much. Invalid YAML
    may pass: the reader of the text finds that.

    :param where: what the text is, for the message
    :param imported: returns the size of an ``$import`` or ``$mixin``; None: these keys have no
        meaning
    :param tags: YAML tags that are allowed beside those of JSON values
    :raises UnreadableText: says the line
    """
    found = _UNPRINTABLE.search(text[1:] if text.startswith("\ufeff") else text)
    if found is not None:
        line = text.count("\n", 0, found.start()) + 1
        message = f"not text: it holds the character {found.group()!a}"
        raise UnreadableText(str(Fault(message, where, line)))
    if is_blank(text):
        raise UnreadableText(f"{where}: is empty")
    if not _is_suspect(text, imported is not None):
        size = len(text) + _NODE * text.count("\n")
        return Extent(size, 0, size)
    return _Walk(where, imported, tags).through(text)


def _is_suspect(text: str, imports: bool) -> bool:
    """Whether a text needs a close check. This is faster than the check itself; "no" is always
    right."""
    if imports and ("$import" in text or "$mixin" in text or re.search(r"\\[xuU\r\n]", text)):
        return True
    if text.count("[") + text.count("{") > _MANY_BRACKETS:
        return True
    if _ALIAS.search(text) and _ANCHOR.search(text):
        return True
    return any(pattern.search(text) for pattern in _SUSPECT)


@dataclass
class _Open:
    """A list or an object that is still open."""

    anchor: str | None
    is_mapping: bool
    size: int = 0
    height: int = 0
    entries: int = 0
    key: str | None = None
    name: str = ""


class _Walk:
    """A check of the parser's events of a text. Their number is bounded by the text."""

    def __init__(self, where: str, imported: Imported | None, tags: Iterable[str]) -> None:
        self.where = where
        self.imported = imported
        self.tags = {_YAML + name for name in tags}
        self.own = 0
        self.anchors: dict[str, Extent | None] = {}
        self.texts: dict[str, str] = {}
        self.names: dict[str, Extent] = {}
        self.open = [_Open(None, False)]

    def through(self, text: str) -> Extent:
        """Check the whole text.

        :raises UnreadableText: it is refused
        """
        from ruamel.yaml import YAML
        from ruamel.yaml.error import YAMLError

        try:
            for event in YAML(typ="safe", pure=True).parse(text):
                self._look_at(event, type(event).__name__)
        except YAMLError as error:
            raise not_yaml(error, self.where) from None
        return Extent(self.open[0].size, self.open[0].height, self.own)

    def _look_at(self, event: Any, kind: str) -> None:
        if kind in ("MappingStartEvent", "SequenceStartEvent"):
            name = "map" if kind == "MappingStartEvent" else "seq"
            if event.tag not in (None, "!", _YAML + name) and event.tag not in self.tags:
                raise self._fault(event, f"the tag {event.tag} is not allowed here")
            if event.anchor:
                self.anchors[event.anchor] = None
                self.texts.pop(event.anchor, None)
            self.own += _NODE
            self.open.append(_Open(event.anchor, name == "map"))
            if len(self.open) > MAX_DEPTH + 1:
                raise self._fault(event, f"nested deeper than {MAX_DEPTH} levels")
        elif kind in ("MappingEndEvent", "SequenceEndEvent"):
            closed = self.open.pop()
            extent = Extent(closed.size + _NODE, closed.height + 1)
            if closed.anchor:
                self.anchors[closed.anchor] = extent
            if closed.name:
                self.names[closed.name] = extent
            self._add(event, extent, None)
        elif kind == "ScalarEvent":
            self._check_scalar(event)
            extent = Extent(_NODE + len(event.value), 0)
            self.own += extent.size
            if event.anchor:
                self.anchors[event.anchor] = extent
                self.texts[event.anchor] = event.value
            self._add(event, extent, event.value)
        elif kind == "AliasEvent":
            self._add(event, self._aliased(event), self.texts.get(event.anchor))

    def _aliased(self, event: Any) -> Extent:
        extent = self.anchors.get(event.anchor, Extent(_NODE, 0))
        if extent is None:
            raise self._fault(event, f"*{event.anchor} contains itself")
        return extent

    def _add(self, event: Any, extent: Extent, value: str | None) -> None:
        """Add a part to the list or object that contains it."""
        holder = self.open[-1]
        is_key = holder.is_mapping and holder.entries % 2 == 0
        if is_key:
            holder.key = value
        elif holder.is_mapping and value is not None and self.imported is not None:
            if holder.key == "id":
                holder.name = value.rpartition("#")[2]
            elif holder.key in ("$import", "$mixin"):
                brought = self._brought(event, value)
                self.own += brought.own
                extent = Extent(extent.size + brought.size, brought.height)
        holder.entries += 1
        holder.size += extent.size
        holder.height = max(holder.height, extent.height)
        if len(self.open) - 1 + holder.height > MAX_DEPTH:
            raise self._fault(event, f"nested deeper than {MAX_DEPTH} levels")
        if holder.size > _FREE_GROWTH + _MOST_GROWTH * self.own:
            grown = "with its aliases and imports in place, this text is too large"
            raise self._fault(event, grown)

    def _brought(self, event: Any, reference: str) -> Extent:
        assert self.imported is not None
        if not reference.startswith("#"):
            return self.imported(reference, event.start_mark.line + 1)
        name = reference[1:]
        if any(part.name == name for part in self.open):
            raise self._fault(event, f"{reference} contains itself")
        return self.names.get(name, Extent(_NODE, 0))

    def _check_scalar(self, event: Any) -> None:
        value, tag = event.value, event.tag
        if tag is None or tag == "!":
            if event.implicit[0]:
                self._check_number(event, value)
            return
        name = tag.removeprefix(_YAML)
        if tag in self.tags:
            return
        if name == tag or name not in _FORMS:
            raise self._fault(event, f"the tag {tag} is not allowed here")
        if not _FORMS[name].fullmatch(value):
            raise self._fault(event, f"{_short(value)} is not a valid {name}, the type of its tag")
        if name in ("int", "float"):
            self._check_number(event, value)

    def _check_number(self, event: Any, value: str) -> None:
        if _NOT_FINITE.fullmatch(value):
            raise self._fault(event, f"{value} is not a number; give it as a text")
        if len(value) > 300 and _BASE_60.fullmatch(value):
            raise self._fault(event, f"a number of {len(value)} digits; give it as a text")
        fault = _number_fault(value)
        if fault:
            raise self._fault(event, fault)

    def _fault(self, event: Any, message: str) -> UnreadableText:
        mark = event.start_mark
        return UnreadableText(str(Fault(message, self.where, mark.line + 1, mark.column + 1)))
