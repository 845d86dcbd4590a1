"""CWL documents as YAML text: a fixed order of keys and one style, so that equal documents are
equal bytes. The order is that of cwl-format."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

HASHBANG = "#!/usr/bin/env cwl-runner\n"

_PROCESS_KEYS = (
    "cwlVersion",
    "class",
    "label",
    "doc",
    "$namespaces",
    "requirements",
    "inputs",
    "outputs",
    "stdout",
    "stderr",
    "steps",
    "baseCommand",
    "arguments",
    "hints",
    "id",
)
_KEYS = [
    "id",
    "label",
    "name",
    "doc",
    "class",
    "type",
    "format",
    "default",
    "secondaryFiles",
    "inputBinding",
    "prefix",
    "position",
    "valueFrom",
    "separate",
    "itemSeparator",
    "shellQuote",
    "outputBinding",
    "glob",
    "outputEval",
    "loadContents",
    "loadListing",
    "dockerPull",
    "entryname",
    "writable",
    "in",
    "scatter",
    "scatterMethod",
    "run",
    "when",
    "out",
    "requirements",
    "hints",
    "source",
    "outputSource",
    "linkMerge",
    "pickValue",
]
_PROCESSES = ("CommandLineTool", "Workflow")
_SECTIONS = ("inputs", "outputs", "steps", "requirements", "hints", "baseCommand")

# Plain scalars that YAML 1.1 readers read as booleans or base-60 numbers.
_AMBIGUOUS = re.compile(r"(?i:y|n|yes|no|on|off)|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")

# Characters that YAML 1.1 reads as the end of a line.
_LINE_BREAKS = frozenset("\x85\u2028\u2029")
_UNFIT_FOR_BLOCKS = re.compile(
    r"[ \t]\n|[ \t]$|^[ \n]|[^\n\t\x20-\x7e\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd]"
)
# Strings that certainly need no quotes, except for words with another meaning.
_PLAIN = re.compile(r"[A-Za-z][\w./-]{0,99}(?: [\w./-]+)*", re.ASCII)
_WORDS = {"true", "false", "null", "y", "n", "yes", "no", "on", "off"}


def document_text(document: Mapping[str, Any]) -> str:
    """A CWL document as text, with the first line that makes it executable."""
    return HASHBANG + yaml_text(_ordered(document))


def yaml_text(value: Any) -> str:
    """Plain data as YAML, in its own order."""
    return "\n".join(_Layout().lines(value)) + "\n"


def _ordered(value: Any) -> Any:
    """``value`` with the keys of every mapping in order, except in values that are data."""
    if isinstance(value, Mapping):
        return {
            key: entry if key == "default" else _ordered(entry) for key, entry in _sorted(value)
        }
    if isinstance(value, (list, tuple)):
        return [_ordered(entry) for entry in value]
    return value


def _sorted(mapping: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    known = _PROCESS_KEYS if mapping.get("class") in _PROCESSES else _KEYS
    for key in [*known, *sorted(set(mapping) - set(known))]:
        if key in mapping:
            yield key, mapping[key]


class _Layout:
    """Data as lines of YAML.

    ruamel decides how a scalar is written, once for each scalar. For a whole document with
    thousands of steps, ruamel would need many times as long.
    """

    def __init__(self) -> None:
        from ruamel.yaml import YAML

        self._yaml = YAML()
        self._yaml.width = sys.maxsize
        self._known: dict[tuple[type, str, bool], list[str]] = {}

    def lines(self, value: Any) -> list[str]:
        """The lines of a value that begins in the first column."""
        lines: list[str] = []
        if isinstance(value, Mapping) and value:
            sections = _SECTIONS if value.get("class") in _PROCESSES else ()
            for key, entry in value.items():
                if key in sections and lines:
                    lines.append("")
                lines += self._scalar(key, is_key=True)
                first, *rest = self.lines(entry)
                if not entry or not isinstance(entry, (Mapping, list, tuple)):
                    lines[-1] += f" {first}".rstrip(" ")
                    lines += _indented("  ", rest)
                else:
                    lines += _indented("  " if isinstance(entry, Mapping) else "", [first, *rest])
        elif isinstance(value, (list, tuple)) and value:
            for entry in value:
                first, *rest = self.lines(entry)
                lines += [f"  - {first}", *_indented("    ", rest)]
        else:
            return self._scalar(value, is_key=False)
        return lines

    def _scalar(self, value: Any, is_key: bool) -> list[str]:
        """A scalar, or an empty value; with a colon if it is a key."""
        if type(value) is str and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
            return [f"{value}:" if is_key else value]
        known = (type(value), repr(value), is_key)
        if known not in self._known:
            out = io.StringIO()
            styled = _styled(value, is_key)
            self._yaml.dump({styled: 0} if is_key else {0: styled, 1: 0}, out)
            text = out.getvalue()
            if is_key:
                text = text.removesuffix(" 0\n")
            else:
                text = text[len("0:") :].removesuffix("\n1: 0\n").removeprefix(" ")
            self._known[known] = [line.removeprefix("  ") for line in text.split("\n")]
        return self._known[known]


def _indented(by: str, lines: list[str]) -> Iterator[str]:
    return (by + line if line else line for line in lines)


def _styled(value: Any, is_key: bool) -> Any:
    """A scalar for ruamel: long and ambiguous strings in a safe style."""
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString, LiteralScalarString

    if isinstance(value, str):
        if _AMBIGUOUS.fullmatch(value) or not _LINE_BREAKS.isdisjoint(value):
            return DoubleQuotedScalarString(value)
        if "\n" in value and not is_key and not _UNFIT_FOR_BLOCKS.search(value):
            return LiteralScalarString(value)
    return value
