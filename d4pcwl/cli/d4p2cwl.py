"""``d4p2cwl SCRIPT``: compile a script's graph to CWL."""

from __future__ import annotations

import os
import sys

from d4pcwl.cli.common import end_if_asked, given, guarded, say, stdout_folder, version, write_files
from d4pcwl.cli.standard import require_output

TYPE_CHECKING = False  # what is imported here, an interrupt cannot end in good order
if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Any


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    arguments = given(argv)
    return guarded("d4p2cwl", lambda: _run(_parse(arguments)), debug="--debug" in arguments)


def _parse(arguments: list[str]) -> argparse.Namespace:
    from pathlib import Path

    from d4pcwl.cli import parameters
    from d4pcwl.cli.parser import Parser

    parser = Parser(
        prog="d4p2cwl",
        description="Compile the workflow graph of a dispel4py script to CWL v1.2.",
        epilog="The CWL refers to the script and to the files it needs, relative to the place of "
        "the document; where that is not known (a pipe), by absolute locations.",
        allow_abbrev=False,
    )
    script = parser.add_argument(
        "script", metavar="SCRIPT", help="a file, or a module; SCRIPT:NAME as -a NAME"
    )
    parser.add_argument(
        "-a", "--attr", "--workflow", metavar="NAME", help="which graph, if there are several"
    )
    parameters.add_option(parser)
    parser.add_argument("--mapping", default="simple", help="the default mapping (default: simple)")
    parser.add_argument(
        "-n", "--num", type=int, metavar="N", help="the default number of processes"
    )
    parser.add_argument(
        "--cut",
        metavar="HOW",
        help="whole (one tool, the default); or a Workflow of the stages given by composite, "
        "partition, pe, or PE.port,PE.port,…; or by naive, staging or best, which learn from a "
        "trace",
    )
    parser.add_argument(
        "--from",
        dest="trace",
        type=Path,
        metavar="TRACE",
        help="the trace of a run to learn from, for --cut naive, staging or best",
    )
    parser.add_argument(
        "--shards",
        type=int,
        metavar="N",
        help="a Workflow that scatters stages over N shards, where the results allow it; by "
        "default it is cut where shards begin and end",
    )
    parser.add_argument("--docker", metavar="IMAGE", help="add a DockerRequirement hint")
    parser.add_argument(
        "--mpi-requirement",
        action="store_true",
        help="with --mapping mpi: the engine starts the ranks (hint cwltool:MPIRequirement)",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE|DIR/",
        help="write a packed document, or (a folder, or a name that ends in /) one file for each "
        "tool",
    )
    parser.add_argument("--job", type=Path, metavar="FILE", help="write a job order as well")
    parser.add_argument(
        "--report",
        type=Path,
        metavar="FILE",
        help="write as JSON what CWL represents differently from the script",
    )
    parser.add_argument(
        "--abstract", action="store_true", help="show the structure only, as CWL Operations"
    )
    group = parser.add_argument_group("a bundle, to be handed over")
    group.add_argument(
        "--bundle",
        metavar="FOLDER|FILE.zip",
        help="write the document with all that it needs: script, modules, files, a job order, the "
        "versions of packages, and a README",
    )
    group.add_argument(
        "--inputs", metavar="FILE", help="a job order for the bundle; its files are taken in"
    )
    group.add_argument(
        "--take",
        action="append",
        default=[],
        metavar="PATH",
        help="take in a file or folder that would be left out, since it is large or may be secret",
    )
    group.add_argument(
        "--dockerfile", action="store_true", help="have it tell how to make a container image"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no notes on standard error")
    parser.add_argument("--debug", action="store_true", help="tracebacks")
    parser.add_argument("--version", action="version", version=version())
    return parameters.parse(parser, script, arguments)


def _run(options: argparse.Namespace) -> int:
    from functools import partial
    from pathlib import Path

    from d4pcwl.cli import parameters
    from d4pcwl.cwl.bundle import check_target, with_inputs, write_bundle
    from d4pcwl.cwl.compile import to_cwl
    from d4pcwl.cwl.emit.text import document_text
    from d4pcwl.cwl.gathering import Gathering
    from d4pcwl.errors import UsageError

    bundle = Gathering(options.bundle, options.take) if options.bundle else None
    if bundle is None and (options.inputs or options.take or options.dockerfile):
        raise UsageError("--inputs, --take and --dockerfile go with --bundle")
    if bundle is not None and (options.output or options.job or options.abstract):
        raise UsageError("a bundle has the document and a job order: no -o, --job or --abstract")
    if bundle is not None:
        check_target(options.bundle)
    elif not options.output:
        require_output("write the document with -o FILE")
    as_folder = _is_folder(options.output)
    compiled = to_cwl(
        options.script,
        attr=options.attr,
        mapping=options.mapping,
        processes=options.num,
        cut=options.cut,
        trace=options.trace,
        shards=options.shards,
        docker=options.docker,
        mpi_requirement=options.mpi_requirement,
        abstract=options.abstract,
        folder=_document_folder(options.output, as_folder),
        parameters=partial(parameters.settle, options, partly=True),
        bundle=bundle,
    )
    end_if_asked()
    parameters.refuse_rest(options.rest, options.taken, f"d4p2cwl {options.script}")
    written: dict[Path, str] = {}
    documents: set[Path] = set()
    if as_folder:
        folder = Path(options.output)
        written.update({folder / name: document_text(d) for name, d in compiled.files.items()})
    elif options.output:
        written[Path(options.output)] = str(compiled)
    documents.update(written)
    if options.job in documents:
        raise UsageError(f"--job {options.job}: the document is to be written there")
    if options.job is not None:
        job = _relocated(compiled.job, options, as_folder)
        written[options.job] = type(compiled)(**{**vars(compiled), "job": job}).job_text()
    if options.report is not None:
        if options.report in written:
            raise UsageError(f"--report {options.report}: another output is to be written there")
        written[options.report] = compiled.report_text()
    for path in written:
        if path.suffix == ".py" and path.exists():
            raise UsageError(f"{path} is a script; it is not overwritten")
    if bundle is not None:
        if options.inputs:
            compiled = with_inputs(compiled, options.inputs, bundle)
        image = options.docker or Path(os.path.realpath(options.bundle)).stem.lower()
        write_bundle(options.bundle, compiled, bundle, image=image if options.dockerfile else None)
    write_files(written, documents)
    if not options.output and bundle is None:
        sys.stdout.write(str(compiled))
    if not options.quiet:
        for note in [*compiled.notes, *(bundle.told() if bundle else [])]:
            say(f"note: {note}")
    return 0


def _is_folder(output: str | None) -> bool:
    return output is not None and (output.endswith(("/", os.sep)) or os.path.isdir(output))


def _document_folder(output: str | None, as_folder: bool) -> str | None:
    """Where the document is going to be, if that can be known."""
    if output:
        return output if as_folder else os.path.dirname(output) or "."
    return stdout_folder()


def _relocated(
    job: Mapping[str, Any], options: argparse.Namespace, as_folder: bool
) -> dict[str, Any]:
    """A job order with its relative locations said from its own folder."""
    from pathlib import Path

    source = _document_folder(options.output, as_folder)
    if source is None:
        return dict(job)
    target = options.job.parent

    def moved(value: Any) -> Any:
        if isinstance(value, dict) and "location" in value and "://" not in value["location"]:
            place = os.path.relpath(os.path.join(source, value["location"]), target)
            return {**value, "location": Path(place).as_posix()}
        return [moved(entry) for entry in value] if isinstance(value, list) else value

    return {name: moved(value) for name, value in job.items()}


if __name__ == "__main__":
    sys.exit(main())
