"""CWL documents as YAML text: a fixed order of keys and one style, so that equal documents are
equal bytes. The order is that of cwl-format."""

from __future__ import annotations

import io
import re
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

# Plain scalars that YAML 1.1 readers take for booleans or base-60 numbers.
_AMBIGUOUS = re.compile(r"(?i:y|n|yes|no|on|off)|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")


def document_text(document: Mapping[str, Any]) -> str:
    """A CWL document as text, with the first line that makes it executable."""
    return HASHBANG + yaml_text(_ordered(document))


def yaml_text(value: Any) -> str:
    """Plain data as YAML, in its own order."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    out = io.StringIO()
    yaml.dump(_styled(value), out)
    return out.getvalue()


def _ordered(value: Any) -> Any:
    """``value`` with the keys of every mapping in order, but for values that are data."""
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


def _styled(value: Any) -> Any:
    """``value`` for ruamel: long and ambiguous strings in a safe style, sections set apart."""
    from ruamel.yaml.comments import CommentedMap
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString, LiteralScalarString

    if isinstance(value, Mapping):
        styled = CommentedMap((key, _styled(entry)) for key, entry in value.items())
        if value.get("class") in _PROCESSES:
            for key in value:
                if key in _SECTIONS:
                    styled.yaml_set_comment_before_after_key(key=key, before="\n")
        return styled
    if isinstance(value, (list, tuple)):
        return [_styled(entry) for entry in value]
    if isinstance(value, str):
        if "\n" in value and not re.search(
            r"[ \t]\n|[ \t]$|^[ \n]|[^\n\t\x20-\x7e\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd]", value
        ):
            return LiteralScalarString(value)
        if _AMBIGUOUS.fullmatch(value):
            return DoubleQuotedScalarString(value)
    return value
