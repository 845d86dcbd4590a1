"""Parameters and outputs of the tools that are emitted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

NAMESPACE = {"d4p": "https://w3id.org/d4pcwl#"}
"""The prefix of fields that only d4pcwl reads, such as the digest of the graph."""

# In full: not every engine resolves a prefix in a packed document.
STREAM_FORMAT = NAMESPACE["d4p"] + "stream-file"
MEDIA_TYPE = "https://www.iana.org/assignments/media-types/"
TEXT_FORMAT = MEDIA_TYPE + "text/plain"
JSON_LINES_FORMAT = NAMESPACE["d4p"] + "json-lines"
TRACE_FORMAT = NAMESPACE["d4p"] + "trace"


@dataclass(frozen=True)
class Parameter:
    """An input of a tool.

    :param type: a CWL type, as it is written
    :param default: its default, if ``has_default``
    :param binding: its ``inputBinding``
    :param sample: a value for the job order, if there is no default
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
        text = _described(self, own_type)
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
    key: Any = None

    def to_cwl(self) -> dict[str, Any]:
        """The output as CWL."""
        text = _described(self, self.type)
        if self.glob is not None:
            text["outputBinding"] = {"glob": self.glob}
        return text


def _described(port: Parameter | Output, own_type: Any) -> dict[str, Any]:
    """The fields that inputs and outputs share."""
    text: dict[str, Any] = {"id": port.id, "type": own_type}
    for key in ("label", "doc", "format", "streamable"):
        if value := getattr(port, key):
            text[key] = value
    return text


def option(position: int, prefix: str, value: str) -> dict[str, Any]:
    """An argument with a prefix; a value that looks like an option is joined to it."""
    if value.startswith("-"):
        joined = {"prefix": f"{prefix}=", "separate": False}
        return {"position": position, **joined, "valueFrom": value}
    return {"position": position, "prefix": prefix, "valueFrom": value}


def array_of(cwl_type: Any) -> Any:
    """The type of lists of a type, which may itself be one.

    >>> array_of("File"), array_of("File?")
    ('File[]', {'type': 'array', 'items': ['null', 'File']})
    >>> array_of("File[]")
    {'type': 'array', 'items': {'type': 'array', 'items': 'File'}}
    """
    if isinstance(cwl_type, dict):
        return {"type": "array", "items": cwl_type}
    base = "File" if cwl_type == "stdout" else cwl_type
    if base.endswith("?"):
        one = array_of(base[:-3]) if base.endswith("[]?") else base[:-1]
        return {"type": "array", "items": ["null", one]}
    if base.endswith("[]"):
        return {"type": "array", "items": {"type": "array", "items": base[:-2]}}
    return f"{base}[]"


OPTIONS = ("help", "job_order")
"""Names that cwltool uses itself for ``DOCUMENT --help`` and the job order; no parameter can have
them."""


def identifier(name: str, taken: Iterable[str] = ()) -> str:
    """A CWL id made from a name: letters, digits and ``_``; not one of ``taken``.

    Anything else, such as a hyphen, is no part of a name in a parameter reference.

    >>> identifier("2018-10-02.txt"), identifier("P"), identifier("a-b", {"a_b"})
    ('in_2018_10_02_txt', 'P', 'a_b_2')
    """
    text = re.sub(r"[^A-Za-z0-9_]+", "_", name).strip("_") or "unnamed"
    if text[0].isdigit():
        text = f"in_{text}"
    known, candidate, number = set(taken), text, 2
    while candidate in known:
        candidate, number = f"{text}_{number}", number + 1
    return candidate


def new_identifier(name: str, taken: set[str]) -> str:
    """As :func:`identifier`; the id is taken from then on."""
    found = identifier(name, taken)
    taken.add(found)
    return found


def parameter_identifier(name: str, taken: Iterable[str] = ()) -> str:
    """The id of a parameter that users give a value, like :func:`identifier`. Engines make command
    line options from parameters, and have options of their own. So one letter is made longer, and
    so are :data:`OPTIONS`.

    >>> parameter_identifier("P")
    'in_P'
    """
    text = identifier(name)
    if len(text) == 1 or text in OPTIONS:
        text = f"in_{text}"
    return identifier(text, taken)
