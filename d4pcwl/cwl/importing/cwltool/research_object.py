"""CWLProv: the folder of ``d4pcwl-runner --provenance``, with all that ran and all data, made by
cwltool's library.

It is a research object, in a BagIt bag, like that of ``cwltool --provenance``: Khan, Soiland-Reyes,
Sinnott, Lonie, Goble, Crusoe, "Sharing interoperable workflow provenance: A review of best
practices and their practical application in CWLProv", GigaScience 8 (2019),
doi:10.1093/gigascience/giz095. Each run of a workflow has a PROV document of its own. Files are in
``data/``, under their SHA-1.

Tools run in many processes. There, :func:`kept` copies the files that a tool has made. The process
that started the run hears of executions, and of runs of subworkflows, in any order, and writes the
documents.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import uuid
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from d4pcwl.cwl.emit.parameter import NAMESPACE
from d4pcwl.cwl.files import local_path
from d4pcwl.cwl.importing.cwltool.document import Document, StepPath, short_name
from d4pcwl.cwl.importing.cwltool.printing import packed_text
from d4pcwl.errors import OutputError, UsageError

if TYPE_CHECKING:
    from cwltool.cwlprov.provenance_profile import ProvenanceProfile

_BLOCK = 1 << 20
_PARTIAL = ".partial"

WorkflowRun = tuple[StepPath, tuple[Any, ...]]
"""A run of a workflow: the steps that lead to it, and its tag (see ``graph/token.py``)."""


@dataclass(frozen=True)
class Author:
    """What is recorded about the user.

    :param orcid: the user's ORCID iD, or empty
    :param full_name: the user's name, or empty
    :param account: record the name of the account
    :param host: record the name of the machine
    """

    orcid: str = ""
    full_name: str = ""
    account: bool = False
    host: bool = False


@dataclass(frozen=True)
class Execution:
    """One execution of a tool.

    :param run: the run of the workflow that it belongs to
    :param step: the name of its step; empty if the document is a tool
    :param inputs: its input object
    :param outputs: its output object, as :func:`kept` gives it
    :param image: the container image in which it ran
    """

    run: WorkflowRun
    step: str
    began: datetime
    ended: datetime
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    failed: bool
    image: str | None = None


@dataclass(frozen=True)
class Entered:
    """A run of a subworkflow has begun."""

    run: WorkflowRun
    when: datetime
    inputs: Mapping[str, Any]


@dataclass(frozen=True)
class SubworkflowOutput:
    """An output of a run of a subworkflow is there."""

    run: WorkflowRun
    when: datetime
    output: str
    value: Any


Event = Execution | Entered | SubworkflowOutput


def kept(value: Any, data: str) -> Any:
    """A value whose files have been copied into the data of a research object.

    :param data: the folder
    :returns: the value, in which each file has its checksum, and each folder its listing
    :raises OSError: a file cannot be read or copied
    """
    if isinstance(value, list):
        return [kept(entry, data) for entry in value]
    if not isinstance(value, dict):
        return value
    path = _path_of(value)
    if path is not None and value["class"] == "Directory":
        return {**value, "listing": [kept(entry, data) for entry in _listing(path)]}
    parts = {key: kept(entry, data) for key, entry in value.items()}
    if path is not None:
        parts["checksum"] = f"sha1${_copied(path, data, value.get('checksum', ''))}"
    return parts


def _path_of(value: Mapping[str, Any]) -> str | None:
    """The path of a file or folder that is on this machine."""
    if value.get("class") not in ("File", "Directory"):
        return None
    location = str(value.get("location", ""))
    # Its "path" is where the tool has seen it.
    return local_path({"location": location}) if location.startswith("file://") else None


def _listing(folder: str) -> Iterator[dict[str, Any]]:
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.is_dir() or entry.is_file():
            yield {
                "class": "Directory" if entry.is_dir() else "File",
                "basename": entry.name,
                "location": Path(entry.path).as_uri(),
            }


def _copied(path: str, data: str, checksum: str) -> str:
    """Copy a file into the data; its SHA-1.

    :param checksum: as CWL has it, if it is known
    """
    digest = checksum.removeprefix("sha1$")
    if digest and os.path.exists(_place(data, digest)):
        return digest
    found = hashlib.sha1(usedforsecurity=False)
    partial = os.path.join(data, uuid.uuid4().hex + _PARTIAL)
    with open(path, "rb") as source, open(partial, "xb") as target:
        while block := source.read(_BLOCK):
            found.update(block)
            target.write(block)
    place = _place(data, found.hexdigest())
    os.makedirs(os.path.dirname(place), exist_ok=True)
    os.replace(partial, place)
    return found.hexdigest()


def _place(data: str, digest: str) -> str:
    return os.path.join(data, digest[:2], digest)


def _is_kept(value: Mapping[str, Any], data: str) -> bool:
    """Whether a file or folder is as :func:`kept` gives it."""
    parts = [*value.get("listing", ()), *value.get("secondaryFiles", ())]
    if not all(_is_kept(part, data) for part in parts):
        return False
    if value["class"] == "Directory":
        return "listing" in value
    method, _, digest = str(value.get("checksum", "")).partition("$")
    return method == "sha1" and os.path.exists(_place(data, digest))


@dataclass
class _Profile:
    """The PROV document of a run of a workflow.

    :param folders: by location, the ids of folders: each document describes its folders itself
    """

    prov: ProvenanceProfile
    folders: dict[str, str] = field(default_factory=dict)
    ended: datetime | None = None


class ResearchObject:
    """The research object of one run of a document, as a context: it is written at the end, also if
    the run fails. If the run does not begin, nothing is written.

    :param folder: where it will be; nothing is there yet
    :raises UsageError: something is there, it cannot be made, or the ORCID iD is not valid
    """

    def __init__(self, folder: Path, author: Author) -> None:
        from cwltool.cwlprov.ro import ResearchObject as Library
        from cwltool.stdfsaccess import StdFsAccess

        self.folder, self._author = Path(os.path.realpath(folder)), author
        if self.folder.exists() and not (self.folder.is_dir() and not any(self.folder.iterdir())):
            raise UsageError(f"--provenance {folder}: something is there; name a new folder")
        self._files = StdFsAccess("")
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            # Beside its final place, so that it comes there as a whole.
            beside = str(self.folder.parent / f".{self.folder.name}-")
            self._object = Library(self._files, beside, author.orcid, author.full_name)
        except OSError as error:
            raise UsageError(f"--provenance {folder}: cannot be made: {error.strerror}") from None
        except ValueError as error:
            raise UsageError(f"--orcid: {str(error).splitlines()[0]}") from None
        self.data = os.path.join(self._object.folder, "data")
        self._engine = f"d4pcwl-runner {sys.modules['d4pcwl'].__version__}"
        self._object.cwltool_version = self._engine
        self._profiles: dict[WorkflowRun, _Profile] = {}
        self._main: WorkflowRun | None = None
        self._known: dict[tuple[str, str], dict[str, Any]] = {}

    def begin(self, document: Document, run: WorkflowRun, inputs: Mapping[str, Any]) -> None:
        """The run of the document begins.

        :param inputs: its input object; that of a tool comes with its execution
        :raises OutputError: it cannot be written
        """
        from cwltool.cwlprov.writablebagfile import packed_workflow

        self._document, self._main = document, run
        try:
            packed_workflow(self._object, packed_text(document))
            self._profile(run)
            if document.process.tool["class"] == "Workflow":
                self._given(inputs)
        except OSError as error:
            raise self._failed(error) from None

    def take(self, event: Event) -> None:
        """Something has happened.

        :raises OutputError: it cannot be written
        """
        try:
            if isinstance(event, Execution):
                self._execution(event)
            else:
                self._subworkflow(event)
        except OSError as error:
            raise self._failed(error) from None

    def end(self, outputs: Mapping[str, Any]) -> None:
        """The run of the document is complete, with this output object. Its files are still where
        the tools have made them.

        :raises OutputError: it cannot be written
        """
        assert self._main is not None
        profile = self._profile(self._main)
        profile.ended = datetime.now()
        try:
            self._generated(profile, outputs, profile.prov.workflow_run_uri, None)
            self._write_object("primary-output", outputs, profile)
        except OSError as error:
            raise self._failed(error) from None

    def __enter__(self) -> ResearchObject:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        from cwltool.cwlprov.writablebagfile import close_ro

        try:
            if self._main is not None:
                self._finish(self._main)
        except OSError as failure:
            if error is None:
                raise self._failed(failure) from None
        finally:
            close_ro(self._object)  # removes what was not finished

    def _failed(self, error: OSError) -> OutputError:
        return OutputError(f"--provenance {self.folder}: cannot be written: {error}")

    # --- documents ------------------------------------------------------------------------------

    def _profile(self, run: WorkflowRun, when: datetime | None = None) -> _Profile:
        """The document of a run of a workflow. It begins when something is first heard of the
        run."""
        from prov.model import PROV_LABEL  # type: ignore[import-untyped]

        if run in self._profiles:
            return self._profiles[run]
        main, author = run == self._main, self._author
        prov = self._object.initialize_provenance(
            full_name=author.full_name if main else "",
            host_provenance=author.host and main,
            user_provenance=author.account and main,
            orcid=self._object.orcid if main else "",
            fsaccess=self._files,
            run_uuid=self._object.ro_uuid if main else None,
        )
        (engine,) = prov.document.get_record(prov.engine_uuid)
        engine._attributes[PROV_LABEL] = {self._engine}  # the library has put in its own name
        profile = self._profiles[run] = _Profile(prov)
        self._plan(prov, run[0])
        if not main:
            name = quote(run[0][-1], safe=_SAFE)
            outer = self._profile(_around(run)).prov
            outer.start_process(name, when or datetime.now(), prov.workflow_run_uri)
        return profile

    def _plan(self, prov: Any, path: StepPath) -> None:
        """Describe the process at a path, and its steps."""
        process: Any = self._document.at(path)
        steps = process.steps if process.tool["class"] == "Workflow" else ()
        term = prov.document.valid_qualified_name
        kind = term("wfdesc:Workflow" if steps else "wfdesc:Process")
        plan = prov.document.entity(
            "wf:main",
            [
                ("prov:type", kind),
                ("prov:type", term("prov:Plan")),
                ("prov:label", "Prospective provenance"),
            ],
        )
        for step in steps:
            types = [("prov:type", term(name)) for name in ("wfdesc:Process", "prov:Plan")]
            name = f"wf:main/{quote(short_name(step.id), safe=_SAFE)}"
            inner = prov.document.entity(name, types)
            plan.add_attributes([("wfdesc:hasSubProcess", inner.identifier)])

    def _execution(self, event: Execution) -> None:
        profile = self._profile(event.run)
        prov: Any = profile.prov
        if event.step:
            uri = prov.start_process(quote(event.step, safe=_SAFE), event.began)
            self._used(profile, event.inputs, uri, event.step)
        else:
            uri = prov.workflow_run_uri
            self._given(event.inputs)
        if event.image is not None:
            told = {
                "prov:type": prov.document.valid_qualified_name("prov:SoftwareAgent"),
                "cwlprov:image": event.image,
                "prov:label": f"Container execution of image {event.image}",
            }
            agent = prov.document.agent(uuid.uuid4().urn, told)
            prov.document.wasAssociatedWith(uri, agent)
        if event.failed:
            for prefix, name in NAMESPACE.items():
                prov.document.add_namespace(prefix, name)
            prov.document.activity(uri, other_attributes={"d4p:status": "failed"})
        if event.step:
            self._generated(profile, event.outputs, uri, event.step)
            prov.document.wasEndedBy(uri, None, prov.workflow_run_uri, event.ended)

    def _subworkflow(self, event: Entered | SubworkflowOutput) -> None:
        profile, outer = self._profile(event.run, event.when), self._profile(_around(event.run))
        uri, name = profile.prov.workflow_run_uri, event.run[0][-1]
        if isinstance(event, Entered):
            self._used(profile, event.inputs, uri, None)
            self._used(outer, event.inputs, uri, name)
        else:
            self._generated(profile, {event.output: event.value}, uri, None)
            self._generated(outer, {event.output: event.value}, uri, name)
            profile.ended = event.when

    def _given(self, inputs: Mapping[str, Any]) -> None:
        """The input object of the whole run."""
        assert self._main is not None
        profile = self._profile(self._main)
        self._used(profile, inputs, profile.prov.workflow_run_uri, None)
        self._write_object("primary-job", inputs, profile)

    def _used(self, profile: _Profile, inputs: Any, uri: str, name: str | None) -> None:
        profile.prov.used_artefacts(_for_xml(self._named(inputs, profile)), uri, name)

    def _generated(self, profile: _Profile, outputs: Any, uri: str, name: str | None) -> None:
        profile.prov.generate_output_prov(_for_xml(self._named(outputs, profile)), uri, name)

    def _named(self, value: Any, profile: _Profile) -> Any:
        """A value as :func:`kept` gives it, in which files and folders have ids. A file at one
        place has one id, whoever reads or writes it."""
        if isinstance(value, list):
            return [self._named(entry, profile) for entry in value]
        if not isinstance(value, Mapping):
            return value
        if value.get("class") not in ("File", "Directory"):
            return {key: self._named(entry, profile) for key, entry in value.items()}
        location = str(value.get("location") or uuid.uuid4().urn)  # a literal is a new one
        changes = self._document.updates_in_place  # then a file at one place may be several
        key = (location, value.get("checksum", "") if changes else "")
        if key not in self._known:
            try:
                known = value if _is_kept(value, self.data) else kept(dict(value), self.data)
            except FileNotFoundError:  # a step that failed has not left it
                known = value
            self._known[key] = {**known, "@id": uuid.uuid4().urn}
        named = {**self._known[key], "basename": value.get("basename", "")}
        if named["class"] == "File" and not _is_kept(named, self.data):
            if "contents" not in named:
                return location  # it is on another machine, and nothing more is known of it
            named.pop("location", None)
        if named["class"] == "Directory":
            named["@id"] = profile.folders.setdefault(location, uuid.uuid4().urn)
            named.setdefault("listing", [])
        for parts in ("listing", "secondaryFiles"):
            if parts in named:
                named[parts] = self._named(named[parts], profile)
        return named

    # --- files ----------------------------------------------------------------------------------

    def _write_object(self, name: str, values: Mapping[str, Any], profile: _Profile) -> None:
        """Write an input or output object, whose files are in the data."""
        from cwltool.cwlprov.writablebagfile import write_bag_file

        text = json.dumps(_relative(self._named(values, profile)), indent=4)
        with write_bag_file(self._object, f"workflow/{name}.json") as file:
            file.write(text + "\n")

    def _finish(self, main: WorkflowRun) -> None:
        """Write all documents, and put the folder in its place."""
        from cwltool.cwlprov.writablebagfile import close_ro

        # The document of a run names those of the runs inside it.
        for run in sorted(self._profiles, key=lambda run: -len(run[0])):
            profile = self._profiles[run]
            prov, when = profile.prov, profile.ended or datetime.now()
            uri = prov.workflow_run_uri
            prov.document.wasEndedBy(uri, None, prov.engine_uuid, when)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the library's libraries
                names = prov.finalize_prov_profile("/".join(run[0]) or None)
            if run != main:
                outer = self._profiles[_around(run)].prov
                outer.document.wasEndedBy(uri, None, outer.workflow_run_uri, when)
                outer.activity_has_provenance(uri, names)
        for path in sorted(Path(self.data).glob("*")):
            if path.name.endswith(_PARTIAL):  # its process was killed
                path.unlink()
        for path in sorted(Path(self.data).glob("*/*")):
            name = path.relative_to(self._object.folder).as_posix()
            self._object._add_to_bagit(name, sha1=path.name)
        os.chmod(self._object.folder, os.stat(self.data).st_mode)  # it was made as a private one
        with suppress(FileNotFoundError):
            self.folder.rmdir()  # or else the library removes it with all that is in it
        close_ro(self._object, str(self.folder))


_PLACES = ("location", "path", "dirname")

_SAFE = ":/,#"
"""What the library leaves as it is in the names of steps."""


_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""The characters that XML 1.0 does not have."""


def _for_xml(value: Any) -> Any:
    """A value that can be told in XML: replacement characters stand for those that cannot."""
    if isinstance(value, list):
        return [_for_xml(entry) for entry in value]
    if isinstance(value, dict):
        return {key: _for_xml(entry) for key, entry in value.items()}
    return _NO_XML.sub("\ufffd", value) if isinstance(value, str) else value


def _around(run: WorkflowRun) -> WorkflowRun:
    """The run of the workflow that a run of a subworkflow is a part of."""
    path, tag = run
    return path[:-1], tag[:-1]


def _relative(value: Any) -> Any:
    """A value whose files are named by their places in the data, as seen from ``workflow/``."""
    if isinstance(value, list):
        return [_relative(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    parts = {key: _relative(entry) for key, entry in value.items()}
    if value.get("class") in ("File", "Directory"):
        parts = {key: part for key, part in parts.items() if key not in _PLACES}
    if value.get("class") == "File" and "checksum" in value:
        digest = value["checksum"].removeprefix("sha1$")
        parts["location"] = f"../{_place('data', digest)}"
    return parts
