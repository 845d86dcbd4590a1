"""Parameters and outputs of the tools that are emitted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

NAMESPACE = {"d4p": "https://w3id.org/d4pcwl#"}
"""The prefix of what only we understand, such as the digest of the graph."""

# In full: not every engine resolves a prefix in a packed document.
STREAM_FORMAT = NAMESPACE["d4p"] + "stream-file"
MEDIA_TYPE = "https://www.iana.org/assignments/media-types/"
TEXT_FORMAT = MEDIA_TYPE + "text/plain"
JSON_LINES_FORMAT = NAMESPACE["d4p"] + "json-lines"


@dataclass(frozen=True)
class Parameter:
    """An input of a tool.

    :param type: a CWL type, as it is written
    :param default: its default; :data:`REQUIRED` for none
    :param binding: its ``inputBinding``
    :param sample: a value for the job order, where there is no default
    :param key: what it is, for wiring
    """

    id: str
    type: Any
    label: str = ""
    doc: str = ""
    default: Any = None
    has_default: bool = False
    binding: Mapping[str, Any] | None = None
    format: str = ""
    streamable: bool = False
    sample: Any = None
    key: Any = field(default=None, compare=False)

    def to_cwl(self, *, bound: bool = True) -> dict[str, Any]:
        """The parameter as CWL; a Workflow's is not ``bound`` to a command line."""
        own_type = self.type
        if not bound and isinstance(own_type, dict):
            own_type = {key: value for key, value in own_type.items() if key != "inputBinding"}
        text: dict[str, Any] = {"id": self.id, "type": own_type}
        if self.label:
            text["label"] = self.label
        if self.doc:
            text["doc"] = self.doc
        if self.format:
            text["format"] = self.format
        if self.streamable:
            text["streamable"] = True
        if self.has_default:
            text["default"] = self.default
        if bound and self.binding:
            text["inputBinding"] = dict(self.binding)
        return text


@dataclass(frozen=True)
class Output:
    """An output of a tool.

    :param glob: what is collected; None for the captured standard output
    :param key: what it is, for wiring: a port (``PE.output``), or ``("writes", name)``, …
    """

    id: str
    type: Any
    glob: str | None
    label: str = ""
    doc: str = ""
    format: str = ""
    streamable: bool = False
    key: Any = field(default=None)

    def to_cwl(self) -> dict[str, Any]:
        """The output as CWL."""
        text: dict[str, Any] = {"id": self.id, "type": self.type}
        if self.label:
            text["label"] = self.label
        if self.doc:
            text["doc"] = self.doc
        if self.format:
            text["format"] = self.format
        if self.streamable:
            text["streamable"] = True
        if self.glob is not None:
            text["outputBinding"] = {"glob": self.glob}
        return text


def array_of(cwl_type: str) -> Any:
    """The type of lists of a type, which may itself be one.

    >>> array_of("File"), array_of("File[]")
    ('File[]', {'type': 'array', 'items': {'type': 'array', 'items': 'File'}})
    """
    base = "File" if cwl_type == "stdout" else cwl_type
    if base.endswith("[]"):
        return {"type": "array", "items": {"type": "array", "items": base[:-2]}}
    return f"{base}[]"


def identifier(name: str, taken: Iterable[str] = ()) -> str:
    """A CWL id made from a name: letters, digits, ``_`` and ``-``; not one of ``taken``.

    One letter is lengthened: engines make command line options of parameters, and one-letter
    options are their own.
    """
    text = re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_") or "unnamed"
    if len(text) == 1 or text[0].isdigit() or text[0] == "-":
        text = f"in_{text}"
    known, candidate, number = set(taken), text, 2
    while candidate in known:
        candidate, number = f"{text}_{number}", number + 1
    return candidate
