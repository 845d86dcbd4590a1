"""Cells of the table, and what is said of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

NATIVE = "native"
DOCKER = "docker"
"""cwltool, with a container for each step."""


class Kind(Enum):
    """How a cell came out."""

    PASS = "pass"
    FAIL = "fail"
    REFUSED = "refused"
    """The compiler refuses the form, as it should."""
    SKIPPED = "skipped"
    """It was not run: something is not installed."""


@dataclass(frozen=True)
class Verdict:
    """How a cell came out, and why."""

    kind: Kind
    reason: str = ""


PASSED = Verdict(Kind.PASS)


@dataclass(frozen=True)
class Cell:
    """A way to run a workflow.

    :param place: ``native``, the name of an engine, or ``docker``
    :param form: ``whole``, ``cut`` or ``sharded``; empty where it is native
    """

    workflow: str
    place: str
    form: str
    mapping: str

    def __str__(self) -> str:
        parts = (self.workflow, self.place, self.form, self.mapping)
        return " ".join(part for part in parts if part)
