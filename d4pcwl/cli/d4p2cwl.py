"""``d4p2cwl SCRIPT``: compile a script's graph to CWL."""

from __future__ import annotations

import os
import sys

from d4pcwl.cli.common import end_if_asked, given, guarded, say, stdout_folder, version, write_files
from d4pcwl.cli.standard import require_output

TYPE_CHECKING = False  # an interrupt during these imports cannot end the command properly
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
        epilog="The CWL refers to the script, and to the files that it needs, by paths relative "
        "to the document. If the place of the document is not known (a pipe), these paths "
        "are absolute.",
        allow_abbrev=False,
    )
    script = parser.add_argument(
        "script",
        metavar="SCRIPT",
        help="a file, or a module; SCRIPT:NAME is the same as SCRIPT -a NAME",
    )
    parser.add_argument(
        "-a", "--attr", "--workflow", metavar="NAME", help="the graph to use, if there are several"
    )
    parameters.add_option(parser)
    parser.add_argument("--mapping", default="simple", help="the default mapping (default: simple)")
    parser.add_argument(
        "-n", "--num", type=int, metavar="N", help="the default number of processes"
    )
    parser.add_argument(
        "--cut",
        metavar="HOW",
        help="whole: one tool (the default); composite, partition, pe or PE.port,PE.port,…: a "
        "Workflow with one step for each stage of this cut; naive, staging or best: of the stages "
        "that this algorithm chooses (give --from)",
    )
    parser.add_argument(
        "--from",
        dest="learn_from",
        type=Path,
        metavar="TRACE",
        help="the trace of a run, for --cut naive, staging or best",
    )
    parser.add_argument(
        "--shards",
        type=int,
        metavar="N",
        help="make a Workflow that scatters stages over N shards, where that does not change the "
        "results; without --cut, the cuts are where shards begin and end",
    )
    parser.add_argument("--docker", metavar="IMAGE", help="add a DockerRequirement hint")
    parser.add_argument(
        "--mpi-requirement",
        action="store_true",
        help="with --mapping mpi: the engine starts the ranks (hint cwltool:MPIRequirement)",
    )
    parser.add_argument(
        "--trace",
        action="store_true",
        help="each step has an output 'trace': what its run did, second by second",
    )
    parser.add_argument(
        "--provenance",
        action="store_true",
        help="each step has an output 'provenance': the record of which items each item comes from",
    )
    parser.add_argument(
        "--provenance-config",
        metavar="FILE|JSON",
        help="which items to record, and facts about the run, in the terms of S-PROV",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE|DIR/",
        help="write one packed document to this file; or, if this is a folder or ends in /, one "
        "file for each tool",
    )
    parser.add_argument("--job", type=Path, metavar="FILE", help="also write a job order")
    parser.add_argument(
        "--report",
        type=Path,
        metavar="FILE",
        help="write a list, as JSON, of what CWL represents differently from the script",
    )
    parser.add_argument(
        "--abstract", action="store_true", help="show the structure only, as CWL Operations"
    )
    group = parser.add_argument_group("a bundle: all that another machine needs")
    group.add_argument(
        "--bundle",
        metavar="FOLDER|FILE.zip",
        help="write the document and all that it needs: script, modules, files, a job order, the "
        "versions of packages, and a README",
    )
    group.add_argument(
        "--inputs",
        metavar="FILE",
        help="a job order for the bundle; the files that it names are copied into the bundle",
    )
    group.add_argument(
        "--take",
        action="append",
        default=[],
        metavar="PATH",
        help="include a file or folder that is left out by default because it is large or may be "
        "secret",
    )
    group.add_argument(
        "--dockerfile", action="store_true", help="also write a Dockerfile for a container image"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no notes on standard error")
    parser.add_argument("--debug", action="store_true", help="tracebacks")
    parser.add_argument("--version", action="version", version=version())
    return parameters.parse(parser, script, arguments)


def _run(options: argparse.Namespace) -> int:
    from functools import partial
    from pathlib import Path

    from d4pcwl.cli import parameters
    from d4pcwl.cwl.bundle import check_target, image_name, with_inputs, write_bundle
    from d4pcwl.cwl.compile import to_cwl
    from d4pcwl.cwl.emit.text import document_text
    from d4pcwl.cwl.gathering import Gathering
    from d4pcwl.errors import UsageError

    bundle = Gathering(options.bundle, options.take) if options.bundle else None
    if bundle is None and (options.inputs or options.take or options.dockerfile):
        raise UsageError("--inputs, --take and --dockerfile need --bundle")
    if bundle is not None and (options.output or options.job or options.abstract):
        raise UsageError(
            "--bundle writes the document and a job order itself: leave out -o, "
            "--job and --abstract"
        )
    if bundle is not None:
        check_target(options.bundle)
    elif not options.output:
        require_output("use -o FILE to write the document to a file")
    as_folder = _is_folder(options.output)
    compiled = to_cwl(
        options.script,
        attr=options.attr,
        mapping=options.mapping,
        processes=options.num,
        cut=options.cut,
        learn_from=options.learn_from,
        shards=options.shards,
        docker=options.docker,
        mpi_requirement=options.mpi_requirement,
        trace=options.trace,
        provenance=options.provenance,
        provenance_config=options.provenance_config,
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
        raise UsageError(f"--job {options.job}: the document has the same path; give another one")
    if options.job is not None:
        job = _relocated(compiled.job, options, as_folder)
        written[options.job] = type(compiled)(**{**vars(compiled), "job": job}).job_text()
    if options.report is not None:
        if options.report in written:
            raise UsageError(
                f"--report {options.report}: another output has the same path; give another one"
            )
        written[options.report] = compiled.report_text()
    for path in written:
        if path.suffix == ".py" and path.exists():
            raise UsageError(f"{path} is a script, so it is not overwritten; give another name")
    if bundle is not None:
        if options.inputs:
            compiled = with_inputs(compiled, options.inputs, bundle)
        image = options.docker or image_name(Path(os.path.realpath(options.bundle)).stem)
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
    """The folder of the document, if it is known."""
    if output:
        return output if as_folder else os.path.dirname(output) or "."
    return stdout_folder()


def _relocated(
    job: Mapping[str, Any], options: argparse.Namespace, as_folder: bool
) -> dict[str, Any]:
    """A job order whose relative locations start from its own folder."""
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
