"""What a crate says about a run: plans, activities, and the values that went in and out.

A *plan* is what can be run: a workflow with steps, or a tool without them. An *activity* is one run
of a plan; its parts are the runs of the steps. A step of a CWL workflow and a PE of a stream are
the same here, so a step whose tool is a stream has parts, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FILE, FOLDER, STREAM = "File", "Dataset", "PropertyValue"
"""Types of ports; those of plain values are ``Text``, ``Integer``, ``Float``, ``Boolean``, …"""


@dataclass(frozen=True)
class Stored:
    """A file.

    :param name: its name, without folders
    :param path: where its bytes are now; None if they are gone, or are not those of the run any
        more
    :param digest: the SHA-256 of its bytes in hexadecimal digits; empty if it is not known
    :param format: its media type, or the URI of its format
    :param within: its path in the folder of the run, if it was in that
    :param private: why it may not be for others, if it may not
    """

    name: str
    path: Path | None
    digest: str
    size: int
    format: str = ""
    within: str = ""
    private: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """Equal for files that are the same: their bytes and their paths in the run are."""
        return self.digest, self.within or self.name


@dataclass(frozen=True)
class Folder:
    """A folder, with its files and folders."""

    name: str
    members: tuple[Stored | Folder, ...]


@dataclass(frozen=True)
class Stream:
    """The items that went along an edge, or out of a workflow.

    :param name: the PE and its output
    :param items: how many of them were recorded
    """

    name: str
    items: int


@dataclass(frozen=True)
class Port:
    """An input or an output of a plan."""

    name: str
    type: str
    title: str = ""
    many: bool = False
    optional: bool = False
    format: str = ""


@dataclass(eq=False)
class Plan:
    """What can be run.

    :param key: what it is called in its document
    :param kind: what it is, for people
    :param links: from a port to a port, each of the plan itself (None) or of a step
    :param state: of a PE: whether it keeps state
    """

    key: str
    title: str
    kind: str
    doc: str = ""
    inputs: dict[str, Port] = field(default_factory=dict)
    outputs: dict[str, Port] = field(default_factory=dict)
    steps: dict[str, Plan] = field(default_factory=dict)
    links: list[Link] = field(default_factory=list)
    state: bool = False


@dataclass(frozen=True)
class Link:
    """From a port of a step, or an input of the workflow (step None), to a port of a step, or an
    output of the workflow.

    :param told: how the items are grouped, if they are
    """

    source: str | None
    output: str
    target: str | None
    input: str
    told: str = ""


@dataclass(frozen=True)
class Engine:
    """What ran a workflow."""

    name: str
    version: str = ""
    url: str = ""


@dataclass(frozen=True)
class Person:
    """Somebody who wrote a workflow, or ran it.

    :param id: a URI, such as that of an ORCID iD; empty if there is none
    """

    name: str
    id: str = ""
    affiliation: str = ""


@dataclass(eq=False)
class Activity:
    """A run of a plan.

    :param key: different for each
    :param began: and ``ended``, in seconds since 1970, where they are known
    :param inputs: by port
    :param parts: which step, and its run
    :param failed: why it failed, if it did
    :param usage: what it took, as text for people, by what that is
    :param engine: what ran it, if it has parts
    :param record: the folder of the record of its stream, if it has one
    :param command: with which the stream was started
    :param told: more about it, for people
    """

    key: str
    plan: Plan
    title: str
    began: float | None = None
    ended: float | None = None
    inputs: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)
    parts: list[tuple[str, Activity]] = field(default_factory=list)
    failed: str | None = None
    usage: dict[str, float] = field(default_factory=dict)
    engine: Engine | None = None
    agent: Person | None = None
    record: Path | None = None
    command: Sequence[str] = ()
    told: Mapping[str, str] = field(default_factory=dict)

    def all(self) -> Iterator[Activity]:
        """It and all its parts, and theirs."""
        yield self
        for _, part in self.parts:
            yield from part.all()

    def files(self) -> Iterator[Stored]:
        """The files that went in and out."""
        for value in (*self.inputs.values(), *self.outputs.values()):
            yield from files_in(value)


@dataclass(eq=False)
class Run:
    """A run as it is put into a crate.

    :param main: the activity of the whole
    :param documents: the files of the workflow, by their places below ``workflow/``: the main one
        comes first. A text is written as it is; a path is copied
    :param language: what the workflow is written in
    :param records: more files of its provenance, by their places below ``records/``
    :param metadata: what the workflow declares in terms of schema.org
    """

    main: Activity
    documents: dict[str, Path | str]
    language: str
    records: dict[str, Path] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)


def files_in(value: Any) -> Iterator[Stored]:
    """The files in a value."""
    if isinstance(value, Stored):
        yield value
    elif isinstance(value, Folder):
        for member in value.members:
            yield from files_in(member)
    elif isinstance(value, list):
        for entry in value:
            yield from files_in(entry)
    elif isinstance(value, dict):
        for entry in value.values():
            yield from files_in(entry)


def moment(seconds: float) -> str:
    """A time as the profile wants it: ISO 8601 with milliseconds and the zone."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
