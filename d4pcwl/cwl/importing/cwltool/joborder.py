"""Job orders: the inputs of a run, from a file, the command line, or a stream of JSON lines."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urldefrag

from d4pcwl.cwl.files import local_path, uri_path
from d4pcwl.cwl.importing.cwltool.document import (
    Document,
    document_uri,
    is_ours,
    plain,
    short_name,
)
from d4pcwl.cwl.importing.cwltool.fetching import checked_fetcher, readable, told
from d4pcwl.errors import InputError, UnreadableText, brief, nearest, raise_faults, shown
from d4pcwl.workflow.texts import check_yaml, parse_json, read_text

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from cwltool.process import Process
    from schema_salad.ref_resolver import Loader

_OVERRIDES = "http://commonwl.org/cwltool#overrides"
_REQUIREMENTS = "https://w3id.org/cwl/cwl#requirements"
_TOOL = "https://w3id.org/cwl/cwl#tool"


@dataclass
class JobOrder:
    """A job order, with absolute locations.

    :param values: from the names of inputs to their values
    :param basedir: the folder that relative locations were relative to
    :param overrides: ``cwltool:overrides``
    :param requirements: ``cwl:requirements``
    """

    values: dict[str, Any] = field(default_factory=dict)
    basedir: str = field(default_factory=os.getcwd)
    overrides: list[Any] = field(default_factory=list)
    requirements: list[Any] = field(default_factory=list)


def read_job_order(path: str, document: str) -> JobOrder:
    """Read a job order from a YAML or JSON file; ``-`` is standard input.

    :param document: the location of the document that it is for
    :raises InputError: it cannot be read, could cost too much to read, or is not an object
    """
    from cwltool import CWL_CONTENT_TYPES

    loader = _loader()
    with _faults(path):
        if path == "-":
            basedir = os.getcwd()
            given, _ = loader.resolve_all(_from_standard_input(), _uri(basedir) + "/")
        else:
            local = "://" not in path
            basedir = os.path.dirname(os.path.abspath(path)) if local else os.getcwd()
            given, _ = loader.resolve_ref(path, checklinks=False, content_types=CWL_CONTENT_TYPES)
    return _job_order(given, path, basedir, document)


@contextmanager
def _faults(where: str) -> Iterator[None]:
    """Turn errors of cwltool's library about a job order into our own errors.

    :raises InputError: the block raises such an error
    """
    from schema_salad.exceptions import SchemaSaladException

    try:
        with told(where):
            yield
    except UnreadableText:
        raise  # though it is a ValueError, too
    except (SchemaSaladException, OSError, ValueError) as error:
        raise InputError(f"{where}: {error}") from error


def _from_standard_input() -> Any:
    from schema_salad.utils import yaml_no_ts

    text = _standard_input()
    check_yaml(text, "standard input")
    return yaml_no_ts().load(text)


def _standard_input() -> str:
    import sys

    try:
        return sys.stdin.read()
    except UnicodeDecodeError:
        raise UnreadableText("standard input: it is not UTF-8 text") from None


def read_jobs(path: str, document: str) -> Iterator[JobOrder]:
    """Read job orders, one JSON object on each line; ``-`` is standard input.

    :raises InputError: names the line
    """
    from schema_salad.sourceline import cmap

    basedir = os.getcwd() if path == "-" else os.path.dirname(os.path.abspath(path))
    text = _standard_input() if path == "-" else read_text(path)
    loader = _loader()
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        given = parse_json(line, path, number)
        if isinstance(given, dict):
            with _faults(f"{path}:{number}"):
                given, _ = loader.resolve_all(cmap(given), _uri(basedir) + "/", checklinks=False)
        job = _job_order(given, f"{path}:{number}", basedir, document)
        if job.overrides or job.requirements:
            raise InputError(
                f"{path}:{number}: requirements and overrides apply to a whole run; run this job "
                "order by itself"
            )
        yield job


def from_arguments(
    process: Process, arguments: list[str], name: str, parser: ArgumentParser
) -> JobOrder:
    """The job order from options such as ``--input value``, as cwltool reads them.

    :param arguments: the rest of the command line
    :param name: the document
    :param parser: reads them, and reports errors
    :raises SystemExit: with 2 if they do not fit, with 0 after ``--help``
    """
    from cwltool.argparser import generate_parser

    loader = _loader()
    names: dict[str, str] = {}
    records: list[str] = []
    parser = generate_parser(
        parser,
        process,
        names,
        records,
        True,
        loader.fetcher.urljoin,
        _uri(os.getcwd()) + "/",
    )
    # Where a file is given as well, options that are not given leave it as it is; and defaults are
    # filled in later.
    parser.set_defaults(**dict.fromkeys(names))
    given: dict[str, Any] = vars(parser.parse_args(arguments))
    for record in records:
        parts = {key: value for key, value in given.items() if key.startswith(record)}
        given = {key: value for key, value in given.items() if key not in parts}
        if any(value is not None for value in parts.values()):
            given[record] = {key[len(record) + 1 :]: value for key, value in parts.items()}
    path = given.pop("job_order", None)
    job = read_job_order(path, name) if path else JobOrder()
    job.values |= {names[key]: value for key, value in given.items() if value is not None}
    return job


def misspelt(job: JobOrder, process: Process, name: str) -> list[str]:
    """Messages about keys of a job order that are not inputs of the document.

    :param name: the document, for messages
    """
    known = {short_name(entry["id"]) for entry in process.tool["inputs"]}
    return [
        f"{name} has no input '{key}', so its value is not used{nearest(key, known)}"
        for key in map(str, job.values)
        if key not in known and not key.startswith("$") and ":" not in key
    ]


def initial_inputs(job: JobOrder, process: Process) -> dict[str, Any]:
    """The input object of a run: defaults filled in, files with their sizes and formats.

    :raises InputError: a file is not there
    """
    from cwltool.process import add_sizes
    from cwltool.stdfsaccess import StdFsAccess
    from cwltool.utils import (
        adjustDirObjs,
        normalizeFilesDirs,
        path_to_loc,
        trim_listing,
        visit_files,
        visit_files_directories,
    )
    from schema_salad.exceptions import SchemaSaladException
    from schema_salad.ref_resolver import Loader

    values: Any = dict(job.values)
    for entry in process.tool["inputs"]:
        name = short_name(entry["id"])
        if "default" in entry and name not in values:
            values[name] = entry["default"]
    namespaces: Any = dict(values.pop("$namespaces", None) or {})
    metadata: Any = process.metadata
    namespaces.update(metadata.get("$namespaces", {}))
    loader = Loader(namespaces)

    def expand_format(file: Any) -> None:
        if "format" in file:
            file["format"] = loader.expand_url(file["format"], "")

    try:
        visit_files_directories(values, _check_fields)
        visit_files_directories(values, path_to_loc)
        _check_files(process, values, job.values)
        visit_files(values, partial(add_sizes, StdFsAccess(job.basedir)))
        visit_files(values, expand_format)
        adjustDirObjs(values, trim_listing)
        normalizeFilesDirs(values)
    except (SchemaSaladException, OSError) as error:
        raise InputError(f"job order: {error}") from error
    values.pop("$schemas", None)
    inputs: dict[str, Any] = plain(values)
    return inputs


def _check_fields(item: Any) -> None:
    """Check the fields of a File or Directory that are read before its type is checked. Null is as
    good as nothing.

    :raises InputError: one is not a text
    """
    for name in ("location", "path", "basename", "format", "contents"):
        if item.get(name) is None:
            item.pop(name, None)
        elif not isinstance(item[name], str):
            raise InputError(
                f"job order: {name} of a {item['class']}: expected a text, not {brief(item[name])}"
            )


def _check_files(process: Process, values: dict[str, Any], given: Mapping[str, Any]) -> None:
    """Check that the files of a job order exist, and those that a document of ``d4p2cwl`` names.

    :param values: of all inputs
    :param given: those of the job order
    :raises InputError: some do not
    """
    absent = {name: found for name, value in values.items() if (found := absent_files(value))}
    raise_faults(
        InputError,
        [
            f"input '{name}': there is no {shown(place)}"
            for name, places in absent.items()
            if name in given
            for place in places
        ],
    )
    if absent and is_ours(process.metadata):
        places = dict.fromkeys(place for places in absent.values() for place in places)
        document = shown(uri_path(process.tool["id"].partition("#")[0]))
        raise InputError(
            f"{document} refers to files that do not exist: {', '.join(places)}; copy them "
            "together with the document, or make a bundle, which contains them: d4p2cwl SCRIPT "
            "--bundle FOLDER"
        )


def absent_files(value: Any) -> list[str]:
    """The files and folders of this machine in a value that do not exist."""
    from cwltool.utils import visit_files_directories

    absent: list[str] = []

    def note(item: Any) -> None:
        path = local_path(item) if "location" in item else ""
        if path.startswith("/") and not os.path.exists(path):
            absent.append(path)

    visit_files_directories(value, note)
    return absent


def _loader() -> Loader:
    from cwltool.load_tool import jobloaderctx
    from schema_salad.ref_resolver import Loader

    return Loader(jobloaderctx.copy(), fetcher_constructor=checked_fetcher())


def _uri(path: str) -> str:
    return Path(path).absolute().as_uri()


def of_script(values: Mapping[str, Any], document: str) -> JobOrder:
    """A job order for a script, with absolute locations.

    :param document: the location of the script's document
    """
    names = {"cwl:requirements": _REQUIREMENTS, "cwltool:overrides": _OVERRIDES}
    given = {names.get(name, name): value for name, value in values.items()}
    return _job_order(given, os.getcwd(), os.getcwd(), document)


def _listed(given: Any, key: str, where: str) -> list[dict[str, Any]]:
    """Objects of a job order as a list; they may be given by the value of a key of theirs.

    :raises InputError: it has another form
    """
    if isinstance(given, Mapping):
        given = [
            {key: name, **(entry or {})} if isinstance(entry, Mapping | None) else entry
            for name, entry in given.items()
        ]
    listed = list(given) if isinstance(given, list | tuple) else [given]
    if not all(isinstance(entry, Mapping) and isinstance(entry.get(key), str) for entry in listed):
        raise InputError(f"{where}: expected a list of objects, each with the key {key}")
    return listed


def _job_order(given: Any, name: str, basedir: str, document: str) -> JobOrder:
    if given is None:
        given = {}
    if not isinstance(given, Mapping):
        raise InputError(f"{name}: a job order must be an object, not {type(given).__name__}")
    values: Any = dict(given)
    job = JobOrder(values, basedir)
    for ours in ("cwl:tool", _TOOL, "__id"):  # what is said of the job order, not in it
        values.pop(ours, None)
    requirements = values.pop(_REQUIREMENTS, None) or []
    job.requirements = _listed(requirements, "class", f"{name}: cwl:requirements")
    overrides = values.pop(_OVERRIDES, None)
    if overrides is not None:
        from cwltool.load_tool import resolve_overrides
        from schema_salad.sourceline import cmap

        where = f"{name}: cwltool:overrides"
        for entry in _listed(overrides, "overrideTarget", where):
            _listed(entry.get("requirements", ()), "class", f"{where}: requirements")
        base = _uri(name if os.path.exists(name) else basedir)
        target = urldefrag(document_uri(document))[0]
        document_part: Any = cmap({_OVERRIDES: overrides})
        job.overrides = list(resolve_overrides(document_part, base, target))
    return job


def prepared(
    document: Document, jobs: Iterable[dict[str, Any]], *, tools: bool = False
) -> list[dict[str, Any]]:
    """The input objects for a workflow's steps: checked, with secondary files, and with hidden
    secrets.

    :param tools: also those of a tool, which otherwise does this itself when it runs
    :raises InputError: one does not fit the document
    """
    from cwltool.errors import WorkflowException
    from schema_salad.exceptions import SchemaSaladException

    process = document.process
    jobs = [document.hide_secrets(job) for job in jobs]
    if process.tool["class"] != "Workflow" and not tools:
        return jobs
    ready = []
    for number, job in enumerate(jobs, 1):
        try:
            context = document.settings.running(document.basedir, toplevel=True)
            ready.append(plain(process._init_job(job, context).job))
        except (WorkflowException, SchemaSaladException, OSError) as error:
            raise InputError(f"job order {number}: {readable(error)}") from error
    return ready
