"""``d4pcwl-runner WF.cwl [JOB]``: run a CWL document as a stream graph."""

from __future__ import annotations

import os
import sys

from d4pcwl.cli.common import (
    OWN,
    add_container_options,
    add_extension_options,
    begin_with_time,
    check_processes,
    end_if_asked,
    given,
    guarded,
    say,
    say_nothing,
    version,
)
from d4pcwl.cli.standard import require_output

TYPE_CHECKING = False  # an interrupt during these imports cannot end the command properly
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence
    from typing import Any

    from d4pcwl.cwl.importing.cwltool.document import Document
    from d4pcwl.cwl.importing.cwltool.joborder import JobOrder
    from d4pcwl.cwl.importing.cwltool.settings import Settings
    from d4pcwl.cwl.importing.graph.execute import Finished, Run
    from d4pcwl.runtime.mappings.registry import Mapping


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code: 0, 1 failed, 2 wrong usage, 33 unsupported CWL."""
    arguments = given(argv)
    return guarded("d4pcwl-runner", lambda: _main(arguments), debug="--debug" in arguments)


def _main(arguments: list[str]) -> int:
    from d4pcwl.errors import InputError, RunError, UnreadableText

    options = _parse(arguments)
    require_output("the output object cannot be written")
    begin_with_time(options.timestamps)
    if not options.quiet:
        for name in dict.fromkeys(options.needless or ()):
            say(f"note: {name}: {_NEEDLESS[name]}")
    try:
        return _instead(options) if options.instead else _run(options)
    except UnreadableText:
        raise
    except InputError as error:
        raise RunError(str(error)) from error  # exit code 1, as other engines


def _parse(arguments: list[str]) -> argparse.Namespace:
    import argparse

    from d4pcwl.cli import research
    from d4pcwl.cli.parser import Parser
    from d4pcwl.runtime.mappings.registry import find_mapping
    from d4pcwl.runtime.options import parsed_options

    choices = _mappings()
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--mapping", choices=choices)
    named = first.parse_known_args(_before_document(arguments))[0].mapping
    chosen = find_mapping(named or "dyn_multi")
    parser = Parser(
        prog="d4pcwl-runner",
        usage="%(prog)s [options] DOCUMENT [JOB | --INPUT VALUE ...]",
        description="Run a CWL CommandLineTool, ExpressionTool or Workflow (v1.0 to v1.2). A "
        "workflow runs as a stream graph: each element of a scatter goes on to the next step "
        "as soon as it is made.",
        epilog="DOCUMENT --help lists the document's inputs. Exit codes: 0 done; 1 failed; 2 "
        "wrong usage, or invalid YAML; 33 the document needs a CWL feature that is not "
        "supported.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=version())
    parser.add_argument(
        "document",
        metavar="DOCUMENT",
        help="a CWL file or URL; with #ID, one process of a packed document; or a job order that "
        "names its document as cwl:tool",
    )
    parser.add_argument(
        "job", nargs=argparse.REMAINDER, metavar="JOB", help="a job order (YAML or JSON), or inputs"
    )
    parser.add_argument(
        "--jobs",
        metavar="FILE",
        help="run many job orders: one JSON object on each line of FILE (-: standard input); "
        "output objects are printed in the same order, one on each line; the files of job N "
        "are in OUTDIR/N",
    )
    _add_instead(parser)
    _add_run_options(parser, choices, chosen)
    _add_tool_options(parser)
    _add_file_options(parser)
    research.add_options(parser.add_argument_group("provenance, as with cwltool"))
    for name in _NEEDLESS:
        parser.add_argument(
            name, dest="needless", action="append_const", const=name, help=argparse.SUPPRESS
        )
    options = parser.parse_args(arguments)
    if options.jobs and options.job:
        parser.error("give --jobs or a job order, not both")
    if options.jobs and options.provenance:
        parser.error("--provenance is the record of one job: leave out --jobs")
    check_processes(options.num)
    # Without --mapping, the best one is found later, so only the options of all mappings count.
    options.arguments = arguments
    options.own = parsed_options(options, chosen.options, OWN) if named else None
    return options


_NEEDLESS = {
    "--parallel": "tools run side by side anyway; -n sets how many",
    "--rm-tmpdir": "temporary folders are removed anyway",
    "--compute-checksum": "checksums are computed anyway",
    "--strict": "documents are checked strictly anyway",
    "--non-strict": "documents are checked strictly all the same",
    "--doc-cache": "documents from the network are not kept",
    "--no-doc-cache": "documents from the network are not kept anyway",
    "--enable-color": "messages have no colours",
    "--disable-color": "messages have no colours anyway",
    "--disable-js-validation": "expressions are not checked before they run anyway",
}
"""Options of cwltool that have no effect here, and why."""


def _add_instead(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("instead of a run, as with cwltool")
    instead = group.add_mutually_exclusive_group()
    for name, text in (
        ("validate", "check the document, and the job order if there is one"),
        ("pack", "print the document and all that it runs as one document"),
        ("print-deps", "print which files the document refers to"),
        ("dry-run", "check everything, and show what would run, with which files; nothing runs"),
    ):
        instead.add_argument(
            f"--{name}", dest="instead", action="store_const", const=name, help=text
        )
    group.add_argument(
        "--relative-deps",
        choices=["primary", "cwd"],
        default="primary",
        help="with --print-deps: paths relative to the document (default), or to the current "
        "folder",
    )


def _mappings() -> list[str]:
    """The mappings that run documents: not those where every rank runs the whole command."""
    from d4pcwl.runtime.mappings.registry import built_in

    return [mapping.name for mapping in built_in() if not mapping.ranks]


def _before_document(arguments: list[str]) -> list[str]:
    """The arguments before the document: after it, --mapping may be an input of the document."""
    for number, argument in enumerate(arguments):
        if not argument.startswith("-") and (
            number == 0 or not arguments[number - 1].startswith("-")
        ):
            return arguments[:number]
    return arguments


def _add_run_options(
    parser: argparse.ArgumentParser, choices: list[str], mapping: Mapping[Any]
) -> None:
    from d4pcwl.cli import watching

    group = parser.add_argument_group("how it runs")
    group.add_argument(
        "--mapping",
        choices=choices,
        help="how tools are spread over processes (default: dyn_multi, or simple where nothing "
        "can run side by side)",
    )
    group.add_argument(
        "--on-error",
        choices=["stop", "continue"],
        default="stop",
        help="if a tool fails: start no more tools (default), or continue with everything that "
        "does not depend on it",
    )
    group.add_argument(
        "-t",
        "--target",
        action="append",
        default=[],
        metavar="NAME",
        help="name an output of the workflow to run only the steps that it depends on; name a "
        "step or an input to run only what depends on it",
    )
    mapping.add_options(group, OWN)
    talk = group.add_mutually_exclusive_group()
    talk.add_argument(
        *("--quiet", "--no-warnings"), action="store_true", help="only errors on standard error"
    )
    talk.add_argument("--verbose", action="store_true", help="show the plan, too")
    group.add_argument("--debug", action="store_true", help="tracebacks, and cwltool's whole log")
    group.add_argument("--timestamps", action="store_true", help="begin each message with the time")
    watching.add_options(group)


def _add_tool_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("tools, as with cwltool")
    engine = add_container_options(group)
    engine.add_argument(
        "--udocker",
        dest="user_space_docker_cmd",
        action="store_const",
        const="udocker",
        help="use udocker",
    )
    engine.add_argument("--user-space-docker-cmd", metavar="CMD", help="use CMD as udocker")
    group.add_argument(
        "--default-container",
        metavar="IMAGE",
        help="run tools that name no container image in this one",
    )
    group.add_argument(
        "--disable-pull", dest="enable_pull", action="store_false", help="download no images"
    )
    group.add_argument(
        "--enable-pull", dest="enable_pull", action="store_true", help="download images (default)"
    )
    group.add_argument(
        "--preserve-environment",
        action="append",
        default=[],
        metavar="NAME",
        help="pass this environment variable to the tools",
    )
    group.add_argument(
        "--preserve-entire-environment",
        action="store_true",
        help="pass all environment variables to the tools",
    )
    group.add_argument(
        "--relax-path-checks", action="store_true", help="allow any character in file names"
    )
    group.add_argument(
        "--eval-timeout",
        type=float,
        default=60,
        metavar="SECONDS",
        help="time limit of one expression (default: %(default)s)",
    )
    add_extension_options(group)
    group.add_argument(
        "--skip-schemas",
        action="store_true",
        help="do not load the ontologies that $schemas names; formats must then be equal",
    )
    group.add_argument(
        "--cachedir",
        metavar="DIR",
        help="keep the outputs of tools in DIR, and reuse them if the same tool runs again with "
        "the same inputs",
    )
    group.add_argument(
        "--mpi-config-file",
        metavar="FILE",
        help="a file that says how programs with MPIRequirement are started",
    )
    parser.set_defaults(enable_pull=True)


def _add_file_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("files, as with cwltool")
    group.add_argument(
        "--outdir",
        default=".",
        help="put output files into this folder (default: the current folder)",
    )
    group.add_argument(
        "--tmpdir-prefix",
        metavar="PREFIX",
        help="beginning of the paths of tools' temporary folders",
    )
    group.add_argument(
        "--tmp-outdir-prefix",
        metavar="PREFIX",
        help="beginning of the paths of intermediate outputs",
    )
    group.add_argument(
        "--empty-printed",
        action="store_true",
        help="also return the printed text of d4p2cwl's steps where it is empty",
    )
    group.add_argument(
        "--leave-tmpdir", action="store_true", help="keep all temporary folders of the run"
    )
    outputs = group.add_mutually_exclusive_group()
    for action, text in (
        ("move", "move output files to --outdir (default)"),
        ("copy", "copy them"),
        ("leave", "leave them where the tools made them"),
    ):
        outputs.add_argument(
            f"--{action}-outputs", dest="outputs", action="store_const", const=action, help=text
        )
    parser.set_defaults(outputs="move")
    group.add_argument(
        "--no-compute-checksum",
        dest="compute_checksum",
        action="store_false",
        help="no checksums in the output object",
    )


def _instead(options: argparse.Namespace) -> int:
    """Print what was asked for instead of a run."""
    from tempfile import TemporaryDirectory

    from d4pcwl.cwl.importing.cwltool.joborder import prepared
    from d4pcwl.cwl.importing.cwltool.printing import dependencies_text, packed_text
    from d4pcwl.cwl.importing.graph.cwl_graph import runner_graph
    from d4pcwl.cwl.importing.graph.preview import preview

    with TemporaryDirectory() as scratch:
        document, orders = _document(options, _settings(options, scratch, scratch))
        if options.instead == "pack":
            text = packed_text(document)
        elif options.instead == "print-deps":
            text = dependencies_text(document, options.relative_deps)
        elif options.instead == "dry-run":
            jobs = prepared(document, orders, tools=True)
            text = preview(_run_of(options, document, jobs))
        else:
            runner_graph(document)
            prepared(document, orders, tools=True)
            text = f"{options.document} is valid CWL."
    sys.stdout.write(text.rstrip("\n") + "\n")
    return 0


def _run(options: argparse.Namespace) -> int:
    from contextlib import ExitStack, nullcontext

    from d4pcwl.cli.research import research_object
    from d4pcwl.cli.watching import watching
    from d4pcwl.cwl.importing.cwltool.outdir import NotPlaced, OutputFolder
    from d4pcwl.cwl.importing.graph.workplace import Workplace

    code = 0

    def failed(message: str) -> None:
        nonlocal code
        code = 1
        say(f"d4pcwl-runner: {message}")

    def finished(job: Finished) -> None:
        nonlocal code
        code = max(code, int(job.failed))
        _print(job.outputs, as_line=bool(options.jobs))

    with Workplace(options.tmp_outdir_prefix, options.tmpdir_prefix) as place, ExitStack() as stack:
        from d4pcwl.cwl.importing.cwltool.joborder import prepared

        if options.leave_tmpdir:
            place.keep_all()
            say(f"note: temporary folders are kept in {place.folder} and {place.scratch}")
        record = stack.enter_context(research_object(options))
        kept = record.data if record else ""
        settings = _settings(options, place.folder, place.scratch, kept)
        document, orders = _document(options, settings)
        jobs = prepared(document, orders)
        end_if_asked()
        run = _run_of(options, document, jobs, finished, failed)
        run.research = record
        leave = options.outputs == "leave"
        with nullcontext() if leave else OutputFolder(options.outdir) as outdir:
            if outdir and outdir.contended and not options.quiet:
                say(f"note: another run also puts its files into {options.outdir}")
            try:
                with watching(options, options.document, options.arguments) as run.observer:
                    run.run()
                run.hand_out()
            except NotPlaced:
                place.keep()
                say(f"note: the output files are kept in {place.folder}")
                raise
        if leave:
            place.keep()
    return code


def _run_of(
    options: argparse.Namespace,
    document: Document,
    jobs: list[dict[str, Any]],
    finished: Callable[[Finished], None] = lambda job: None,
    failed: Callable[[str], None] = say_nothing,
) -> Run:
    from d4pcwl.cwl.importing.graph.execute import Run

    return Run(
        document,
        jobs,
        options.outdir or os.curdir,
        finished,
        failed,
        mapping=options.mapping,
        processes=options.num,
        options=options.own,
        say=say if options.verbose else say_nothing,
        apart=bool(options.jobs),
        empty_printed=options.empty_printed,
    )


def _settings(options: argparse.Namespace, folder: str, scratch: str, kept: str = "") -> Settings:
    from d4pcwl.cwl.importing.cwltool.settings import Settings, mpi_config

    if options.mpi_config_file:
        mpi_config(options.mpi_config_file)
    return Settings(
        container=options.container,
        enable_pull=options.enable_pull,
        default_container=options.default_container,
        relax_path_checks=options.relax_path_checks,
        preserve_environment=tuple(options.preserve_environment),
        preserve_entire_environment=options.preserve_entire_environment,
        outputs=options.outputs,
        compute_checksum=options.compute_checksum,
        eval_timeout=options.eval_timeout,
        enable_ext=options.enable_ext,
        enable_dev=options.enable_dev,
        skip_schemas=options.skip_schemas,
        mpi_config_file=options.mpi_config_file,
        stop_on_error=options.on_error == "stop",
        quiet=options.quiet,
        debug=options.debug,
        timestamps=options.timestamps,
        targets=tuple(options.target),
        more=_more(options),
        kept=kept,
        folder=folder,
        scratch=scratch,
    )


def _more(options: argparse.Namespace) -> dict[str, Any]:
    """Set what cwltool's library reads by itself.

    :raises UsageError: a folder cannot be made
    """
    from d4pcwl.errors import UsageError

    more: dict[str, Any] = {"rm_tmpdir": not options.leave_tmpdir}
    if options.user_space_docker_cmd:
        more["user_space_docker_cmd"] = options.user_space_docker_cmd
    if options.cachedir and not options.instead:
        more["cachedir"] = os.path.realpath(options.cachedir)
        try:
            os.makedirs(more["cachedir"], exist_ok=True)
        except OSError as error:
            raise UsageError(f"--cachedir {options.cachedir}: {error.strerror}") from None
    return more


def _document(
    options: argparse.Namespace, settings: Settings
) -> tuple[Document, list[dict[str, Any]]]:
    """The document and its input objects."""
    from d4pcwl.cli.parser import Parser
    from d4pcwl.cwl.importing.cwltool.document import Document
    from d4pcwl.cwl.importing.cwltool.joborder import (
        JobOrder,
        from_arguments,
        initial_inputs,
        misspelt,
        read_job_order,
        read_jobs,
    )

    given: list[str] = options.job
    orders: list[JobOrder] = []
    if options.jobs:
        orders = list(read_jobs(options.jobs, options.document))
    elif len(given) == 1 and (given[0] == "-" or not given[0].startswith("-")):
        orders = [read_job_order(given[0], options.document)]
    document = Document(options.document, settings)
    if len(orders) == 1 and not options.jobs:
        (order,) = orders
        document = Document(
            options.document, settings, order.overrides, order.requirements, order.basedir
        )
    elif not options.jobs:
        order = JobOrder()
        if given:
            parser = Parser(prog=options.document, allow_abbrev=False)
            order = from_arguments(document.process, given, options.document, parser)
        orders = [order] if given or options.instead in (None, "dry-run") else []
    for order in orders if not options.quiet else ():
        for warning in misspelt(order, document.process, options.document):
            say(f"d4pcwl-runner: warning: {warning}")
    return document, [initial_inputs(order, document.process) for order in orders]


def _print(outputs: dict[str, Any], *, as_line: bool) -> None:
    import json

    text = json.dumps(outputs, indent=None if as_line else 4, ensure_ascii=False, default=str)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
