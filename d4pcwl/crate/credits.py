"""Who wrote a workflow, and under which licence it may be used: as declared, or as asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from d4pcwl.crate.runs import Person
from d4pcwl.errors import UsageError, raise_faults

_ORCID = re.compile(r"(?:https?://orcid\.org/)?(\d{4}-\d{4}-\d{4}-\d{3}[\dX])/?")
_SPDX = "https://spdx.org/licenses/"
_NOT_DECLARED = {
    "id_": "#no-licence",
    "type_": "CreativeWork",
    "name": "No licence was declared",
    "description": "Ask the authors before you use what is in this crate.",
}


@dataclass(frozen=True)
class Credits:
    """The authors, and the licence as an entity of a crate.

    :ivar declared: whether there is a licence
    """

    authors: tuple[Person, ...]
    license: dict[str, str]

    @property
    def declared(self) -> bool:
        return self.license is not _NOT_DECLARED


def credits_of(
    metadata: Mapping[str, Any], authors: Sequence[str] = (), license_: str | None = None
) -> Credits:
    """The credits of a workflow.

    :param metadata: what the workflow declares in terms of schema.org: ``author``, ``creator``,
        ``license``
    :param authors: instead of those that are declared: a name, with an ORCID iD in it if there is
        one, such as ``Ada Lovelace 0000-0002-1825-0097``
    :param license_: instead of the one that is declared: its name in SPDX' list, or a URI
    :raises UsageError: an ORCID iD is mistyped
    """
    faults: list[str] = []
    if authors:
        people = [_asked(text, faults) for text in authors]
    else:
        people = [*_declared(metadata.get("author")), *_declared(metadata.get("creator"))]
    raise_faults(UsageError, faults)
    found = license_ or _license_in(metadata.get("license"))
    return Credits(tuple(dict.fromkeys(people)), _license(found) if found else _NOT_DECLARED)


def _asked(text: str, faults: list[str]) -> Person:
    found = _ORCID.search(text)
    if found is None:
        return Person(text.strip())
    if not is_orcid(found[1]):
        faults.append(f"--author {text}: {found[1]} is not a valid ORCID iD; a digit is wrong")
    name = (text[: found.start()] + text[found.end() :]).strip(" ,;()<>[]")
    return Person(name or found[1], f"https://orcid.org/{found[1]}")


def is_orcid(text: str) -> bool:
    """Whether the last digit of an ORCID iD is right (ISO 7064, MOD 11-2).

    >>> is_orcid("0000-0002-1825-0097"), is_orcid("0000-0002-1825-0098")
    (True, False)
    """
    total = 0
    for digit in text.replace("-", "")[:-1]:
        total = (total + int(digit)) * 2
    return text[-1] == "0123456789X"[(12 - total % 11) % 11]


def _declared(value: Any) -> Iterator[Person]:
    if isinstance(value, (list, tuple)):
        for entry in value:
            yield from _declared(entry)
    elif isinstance(value, str):
        yield _asked(value, [])
    elif isinstance(value, Mapping):
        given = " ".join(str(value[key]) for key in ("givenName", "familyName") if key in value)
        name = str(value.get("name") or given or value.get("email") or "")
        ids = (str(value.get(key, "")) for key in ("@id", "id", "identifier", "sameAs", "url"))
        orcid = next((found[1] for text in ids if (found := _ORCID.fullmatch(text))), "")
        of = value.get("affiliation") or value.get("worksFor") or ""
        place = str(of.get("name", "")) if isinstance(of, Mapping) else str(of)
        if name or orcid:
            yield Person(name or orcid, f"https://orcid.org/{orcid}" if orcid else "", place)


def _license_in(value: Any) -> str:
    """The name or URI of a licence that is declared."""
    if isinstance(value, (list, tuple)):
        value = value[0] if value else ""
    if isinstance(value, Mapping):
        value = next(
            (value[key] for key in ("@id", "id", "url", "identifier", "name") if key in value), ""
        )
    return str(value or "")


def _license(text: str) -> dict[str, str]:
    if "://" in text:
        name = text.rstrip("/").rpartition("/")[2] if text.startswith(_SPDX) else text
        return {"id_": text, "type_": "CreativeWork", "name": name}
    return {"id_": f"{_SPDX}{text}", "type_": "CreativeWork", "name": text}
