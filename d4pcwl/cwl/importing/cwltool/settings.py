"""Settings for running tools: from the options of ``d4pcwl-runner`` to cwltool's library."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from d4pcwl.errors import UsageError

if TYPE_CHECKING:
    from cwltool.context import LoadingContext, RuntimeContext
    from cwltool.mpi import MpiConfig

DOCKER, PODMAN, SINGULARITY = "docker", "podman", "singularity"


@dataclass(frozen=True)
class Settings:
    """Options of a run; the names are those of cwltool's options.

    :param container: what runs containers; None: no containers
    :param enable_pull: whether images may be fetched
    :param outputs: what becomes of final output files: ``move``, ``copy`` or ``leave``
    :param enable_ext: whether documents may use cwltool's extensions
    :param enable_dev: whether documents may be of development versions of CWL
    :param skip_schemas: whether ``$schemas`` of documents are not loaded
    :param mpi_config_file: how MPI programs are started, as cwltool's option of this name says
    :param timestamps: messages begin with the time
    :param stop_on_error: nothing more is started after a failure
    :param targets: the outputs and steps of the document to run; if empty, all
    :param more: further attributes of cwltool's RuntimeContext, such as ``cachedir``
    :param kept: the folder into which the output files of tools are copied for the record of the
        run; if empty, there is no record
    :param folder: the folder for all intermediate files, removed at the end of the run
    :param scratch: the folder for the tools' temporary folders, removed at the end of the run
    """

    container: str | None = DOCKER
    enable_pull: bool = True
    default_container: str | None = None
    relax_path_checks: bool = False
    preserve_environment: tuple[str, ...] = ()
    preserve_entire_environment: bool = False
    outputs: str = "move"
    compute_checksum: bool = True
    eval_timeout: float = 60
    enable_ext: bool = False
    enable_dev: bool = False
    skip_schemas: bool = False
    mpi_config_file: str | None = None
    stop_on_error: bool = True
    quiet: bool = False
    debug: bool = False
    timestamps: bool = False
    targets: tuple[str, ...] = ()
    more: Mapping[str, Any] = field(default_factory=dict)
    kept: str = ""
    folder: str = ""
    scratch: str = ""

    @property
    def stop_mark(self) -> str:
        """The file that exists after a failure, so that no more tools are started."""
        return os.path.join(self.folder, "stop")

    def loading(self) -> LoadingContext:
        """For loading documents."""
        from cwltool.context import LoadingContext

        from d4pcwl.cwl.importing.cwltool.fetching import checked_fetcher

        context = LoadingContext(
            {
                "debug": self.debug,
                "relax_path_checks": self.relax_path_checks,
                "podman": self.container == PODMAN,
                "singularity": self.container == SINGULARITY,
                "eval_timeout": self.eval_timeout,
                "enable_dev": self.enable_dev,
                "skip_schemas": self.skip_schemas,
                "disable_js_validation": True,
            }
        )
        context.resolver = None
        context.fetcher_constructor = checked_fetcher()
        return context

    def running(self, basedir: str, *, toplevel: bool = False) -> RuntimeContext:
        """For one execution of a tool.

        :param basedir: the folder that relative locations are relative to
        :param toplevel: the tool is the whole document, not a step
        """
        import threading

        from cwltool.context import RuntimeContext

        context = RuntimeContext(
            {
                "basedir": basedir,
                "compute_checksum": self.compute_checksum,
                "debug": self.debug,
                "default_container": self.default_container,
                "eval_timeout": self.eval_timeout,
                "on_error": "stop" if self.stop_on_error else "continue",
                "podman": self.container == PODMAN,
                "preserve_entire_environment": self.preserve_entire_environment,
                "preserve_environment": self.preserve_environment or None,
                "pull_image": self.enable_pull,
                "singularity": self.container == SINGULARITY,
                "tmp_outdir_prefix": os.path.join(self.folder, ""),
                "tmpdir_prefix": os.path.join(self.scratch, ""),
                "toplevel": toplevel,
                "use_container": self.container is not None,
                **self.more,
            }
        )
        if self.mpi_config_file:
            context.mpi_config = mpi_config(self.mpi_config_file)
        context.workflow_eval_lock = threading.Condition(threading.RLock())
        if self.default_container and self.container:
            default: Any = self.default_container
            context.find_default_container = lambda builder: default
        return context


@cache
def mpi_config(path: str) -> MpiConfig:
    """How MPI programs are started, from a YAML file as cwltool reads it.

    :raises UsageError: the file cannot be read, or has other keys
    """
    from cwltool.mpi import MpiConfig
    from ruamel.yaml.error import YAMLError

    try:
        return MpiConfig.load(path)
    except (OSError, YAMLError, AttributeError, TypeError, ValueError) as error:
        raise UsageError(f"--mpi-config-file {path}: {error}") from error


def make_folder(prefix: str | None) -> str:
    """A new folder for intermediate files.

    :param prefix: the beginning of its path; None: the system's folder for temporary files
    """
    if prefix is None:
        return os.path.realpath(tempfile.mkdtemp(prefix="d4pcwl-"))
    parent, start = os.path.split(os.path.abspath(prefix) + ("/" if prefix.endswith("/") else ""))
    os.makedirs(parent, exist_ok=True)
    return os.path.realpath(tempfile.mkdtemp(prefix=start or "d4pcwl-", dir=parent))
