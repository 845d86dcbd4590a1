"""CWL documents as cwltool's library loads them: found, updated to v1.2, validated, linked."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from d4pcwl.cwl.emit.parameter import NAMESPACE
from d4pcwl.cwl.importing.cwltool.schemas import provide_schema
from d4pcwl.cwl.importing.cwltool.settings import Settings
from d4pcwl.errors import TIME, InputError, UnreadableText, presentable

if TYPE_CHECKING:
    from cwltool.context import LoadingContext
    from cwltool.process import Process
    from cwltool.secrets import SecretStore
    from cwltool.workflow import Workflow, WorkflowStep

StepPath = tuple[str, ...]
"""The names of the steps that lead to a process, from the outermost workflow; ``()`` is that."""


class Document:
    """A CWL document, and settings for running its tools. It is loaded when it is first used. After
    pickling, another process loads it again; a forked process has it already.

    :param location: a path or a URI, with ``#id`` for one process of a packed document; or a job
        order that names its tool as ``cwl:tool``
    :param overrides: ``cwltool:overrides`` of the job order
    :param requirements: ``cwl:requirements`` of the job order
    :param basedir: the folder that relative locations in the job order are relative to
    """

    def __init__(
        self,
        location: str,
        settings: Settings,
        overrides: Sequence[Any] = (),
        requirements: Sequence[Any] = (),
        basedir: str = "",
    ) -> None:
        self.location = location
        self.settings = settings
        self.overrides = list(overrides)
        self.requirements = list(requirements)
        self.basedir = basedir or os.getcwd()
        self._process: Process | None = None
        self._steps: dict[StepPath, WorkflowStep] = {}
        self._updates: bool | None = None
        self.secrets: SecretStore | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        given = (self.location, self.settings, self.overrides, self.requirements, self.basedir)
        return (Document, given, {"secrets": self.secrets})

    def __deepcopy__(self, memo: Any) -> Document:
        return self

    @property
    def process(self) -> Process:
        """The outermost process.

        :raises UnreadableText: it is not YAML, contains itself, or becomes far too large with its
            aliases and imports
        :raises InputError: it is not valid CWL
        :raises UnsupportedFeature: it needs what we do not have
        """
        if self._process is None:
            self._process = self._load()
        return self._process

    @property
    def updates_in_place(self) -> bool:
        """Whether a tool in it updates files in place."""
        from d4pcwl.cwl.importing.cwltool.updates import any_in_place

        if self._updates is None:
            self._updates = any_in_place(self.process)
        return self._updates

    @contextmanager
    def amended(self, requirements: Sequence[Any], overrides: Sequence[Any]) -> Iterator[None]:
        """Apply requirements and overrides of a job order in the block.

        :raises InputError: they do not fit the document
        """
        if not (requirements or overrides):
            yield
            return
        before = (self.requirements, self.overrides)
        try:
            self._forget(list(requirements), list(overrides))
            _ = self.process
            yield
        finally:
            self._forget(*before)

    def _forget(self, requirements: list[Any], overrides: list[Any]) -> None:
        """Let the document be loaded again when it is next used, with these."""
        self.requirements, self.overrides = requirements, overrides
        self._process, self._updates, self._steps = None, None, {}

    def hide_secrets(self, job: dict[str, Any]) -> dict[str, Any]:
        """An input object in which placeholders replace the secrets of ``cwltool:Secrets``. Only
        commands, environments and files of tools get the secrets. The placeholders are the same in
        all processes of a run that hide the same input objects.

        :raises InputError: a secret is not a string
        """
        from cwltool.secrets import SecretStore

        hint, _ = self.process.get_requirement("http://commonwl.org/cwltool#Secrets")
        listed: Any = hint["secrets"] if hint else []
        names = {short_name(name) for name in listed}
        hidden = dict(job)
        for name in sorted(name for name in names if job.get(name) is not None):
            if not isinstance(job[name], str):
                raise InputError(f"cwltool:Secrets: '{name}' is not a string, and cannot be hidden")
            self.secrets = self.secrets or SecretStore()
            run = os.path.basename(self.settings.folder)
            placeholder = f"(secret-{run}-{len(self.secrets.secrets)})"
            self.secrets.secrets[placeholder] = job[name]
            hidden[name] = placeholder
        return hidden

    def at(self, path: StepPath) -> Process:
        """The process that steps lead to."""
        return self.step(path).embedded_tool if path else self.process

    def step(self, path: StepPath) -> WorkflowStep:
        """A step of a workflow in the document."""
        if not self._steps:
            self._index((), self.process)
        return self._steps[path]

    def workflow(self, path: StepPath) -> Workflow:
        """The workflow that steps lead to."""
        process: Any = self.at(path)
        return process  # type: ignore[no-any-return]

    def _index(self, path: StepPath, process: Any) -> None:
        for step in getattr(process, "steps", ()):
            inner = (*path, short_name(step.id))
            self._steps[inner] = step
            self._index(inner, step.embedded_tool)

    def _load(self) -> Process:
        from cwltool.load_tool import make_tool
        from cwltool.update import ORIGINAL_CWLVERSION

        from d4pcwl.cwl.importing.cwltool import refusal
        from d4pcwl.cwl.importing.cwltool.targets import only_targets

        import cwltool.workflow  # noqa: F401  isort: skip - sets how processes are made

        context, uri, _ = self.resolve()
        with self._faults():
            process = make_tool(uri, context)
        if self.settings.targets:
            process = only_targets(process, self.settings.targets, context)
        if self.requirements:
            if process.metadata.get(ORIGINAL_CWLVERSION) == "v1.0":
                raise InputError(
                    f"cwl:requirements in a job order need CWL v1.1, but {self.location} is "
                    "v1.0; use cwltool:overrides"
                )
            process.requirements.extend(self.requirements)
        refusal.check(process, self.settings)
        return process

    def resolve(self, *, as_written: bool = False) -> tuple[LoadingContext, str, Any]:
        """Fetch the document and what it refers to, and check it.

        :param as_written: leave it in the version that it is in, and make no processes
        :returns: cwltool's context with all of it, the URI, and the document as it was fetched
        :raises InputError: it is not valid CWL
        """
        from cwltool.load_tool import fetch_document, resolve_and_validate_document

        from d4pcwl.cwl.importing.cwltool import refusal
        from d4pcwl.cwl.importing.cwltool.fetching import refuse_endless, refuse_other, told
        from d4pcwl.cwl.importing.cwltool.loading import Loads, check_choice

        listen_to_cwltool(self.settings)
        context = self.settings.loading()
        context.overrides_list = list(self.overrides)
        context.construct_tool_object = Loads().make
        context.do_update = not as_written
        refuse_endless(context)
        with self._faults(), told(self.location):
            context, document, uri = fetch_document(document_uri(self.location), context)
            refuse_other(document, self.location)
            if not as_written:
                check_choice(self.location, document, uri)
            version = str(document.get("cwlVersion", ""))
            refusal.check_version(self.location, version, self.settings)
            provide_schema(version, extended=self.settings.enable_ext)
            if is_ours(document):  # missing files are reported with the job order
                logging.getLogger("salad").setLevel(logging.ERROR)
            context, uri = resolve_and_validate_document(
                context, document, uri, preprocess_only=as_written
            )
        return context, uri, document

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """Turn errors of cwltool's library into our own errors.

        :raises InputError: the document is not valid CWL
        :raises UnsupportedFeature: it needs what we do not have
        """
        from cwltool.errors import WorkflowException
        from schema_salad.exceptions import SchemaSaladException

        from d4pcwl.cwl.importing.cwltool import refusal
        from d4pcwl.cwl.importing.cwltool.fetching import readable

        try:
            yield
        except UnreadableText:
            raise  # though it is a ValueError, too
        except (SchemaSaladException, WorkflowException, OSError, ValueError) as error:
            refusal.look_through(self.location, error, self.settings)
            raise InputError(f"{self.location}: {readable(error)}") from error


def document_uri(location: str) -> str:
    """A path, with ``#id`` or without, as a URI; URIs, and paths of nothing, as they are."""
    from schema_salad.ref_resolver import file_uri

    path, mark, name = location.partition("#")
    if "://" in location:
        return location
    if os.path.exists(location):
        return file_uri(os.path.abspath(location))
    return f"{file_uri(os.path.abspath(path))}#{name}" if mark else location


def short_name(identifier: str) -> str:
    """The last part of an id."""
    from cwltool.process import shortname

    return shortname(identifier)


def is_ours(document: Any) -> bool:
    """Whether ``d4p2cwl`` made a document, as its namespaces show."""
    return NAMESPACE.items() <= dict(document.get("$namespaces") or {}).items()


def is_loop(step: Any) -> bool:
    """Whether a step of a document is a loop."""
    return bool(step.tool.get("loop"))


class _ToStandardError(logging.Handler):
    """A log handler that writes whole lines to the present standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        import sys

        if record.exc_info and self.level > logging.DEBUG:
            return  # an error that is reported anyway

        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(presentable(self.format(record)) + "\n")


def listen_to_cwltool(settings: Settings) -> None:
    """Send cwltool's log to our own: its warnings; everything for debugging; only errors if quiet.
    Errors of tools are reported by d4pcwl, with the step and the command.
    """
    from cwltool.loghandler import _logger as logger

    level = logging.ERROR if settings.quiet else logging.WARNING
    handler = _ToStandardError(logging.DEBUG if settings.debug else level)
    if settings.timestamps:
        handler.setFormatter(logging.Formatter("[%(asctime)s] %(message)s", TIME))
    logger.handlers[:] = [handler]
    logger.setLevel(logging.DEBUG if settings.debug else logging.WARNING)
    for name in ("salad", "cwl_utils"):
        other = logging.getLogger(name)
        other.handlers[:] = [handler]
        other.setLevel(level)


def plain(value: Any) -> Any:
    """A value from a YAML document as plain lists and dictionaries.

    Numbers keep how they are written: command lines show them so.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, str):
        return str(value)
    return value
