"""``cwl2d4p DOCUMENT``: write the dispel4py script of a CWL document."""

from __future__ import annotations

import os
import sys

from d4pcwl.cli.common import (
    add_container_options,
    add_extension_options,
    end_if_asked,
    given,
    guarded,
    say,
    stdout_folder,
    version,
    write_files,
)
from d4pcwl.cli.standard import require_output

TYPE_CHECKING = False  # an interrupt during these imports cannot end the command properly
if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code: 0, 2 wrong usage or document, 33 unsupported CWL."""
    arguments = given(argv)
    return guarded(
        "cwl2d4p", lambda: _run(_parser().parse_args(arguments)), debug="--debug" in arguments
    )


def _parser() -> argparse.ArgumentParser:
    from d4pcwl.cli.parser import Parser

    parser = Parser(
        prog="cwl2d4p",
        description="Write a dispel4py script from a CWL document (v1.0 to v1.2): a step becomes "
        "a node, and a link becomes a connection. The tools stay in the document, and the "
        "script refers to it.",
        epilog="dispel4py MAPPING SCRIPT -f JOB.json runs the script for a CWL job order, or for "
        "a list of them. If d4p2cwl made the document from a script, and that script is "
        "found and unchanged, its own graph is used.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "document",
        metavar="DOCUMENT",
        help="a CWL file or URL; with #ID, one process of a packed document",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE.py|DIR/",
        help="write the script to this file (default: standard output); or to this folder, with "
        "copies of the document and of the files that it refers to",
    )
    add_container_options(parser)
    parser.add_argument(
        "--relax-path-checks",
        action="store_true",
        help="let the script accept any character in file names",
    )
    add_extension_options(parser)
    parser.add_argument(
        "--no-native",
        action="store_true",
        help="write the steps of the document also where d4p2cwl made it from a script",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no notes on standard error")
    parser.add_argument("--debug", action="store_true", help="tracebacks")
    parser.add_argument("--version", action="version", version=version())
    return parser


def _run(options: argparse.Namespace) -> int:
    from d4pcwl.cwl.importing.cwltool.copying import copy_document
    from d4pcwl.cwl.importing.graph.cwl_graph import CwlGraph
    from d4pcwl.cwl.importing.graph.native import script_of
    from d4pcwl.cwl.importing.graph.script import graph_script, native_script
    from d4pcwl.errors import UsageError

    if not options.output:
        require_output("use -o FILE.py to write the script to a file")
    location, _, process = options.document.partition("#")
    if os.path.exists(options.document):
        location, process = options.document, ""
    graph = CwlGraph(
        location,
        process=process or None,
        container=options.container,
        relax_path_checks=options.relax_path_checks,
        enable_ext=options.enable_ext,
        enable_dev=options.enable_dev,
    )
    graph.link_all()
    script = None if options.no_native else script_of(graph)
    folder, target, as_folder = _places(options.output, _script_name(process or location))
    if script is not None:
        text = native_script(graph, script, folder=folder)
        if not options.quiet:
            place = os.path.relpath(script.path)
            say(f"note: the document was made from {place}; the script uses the graph of that file")
    else:
        if as_folder and "://" not in location:
            location = copy_document(graph.document, folder)
        text = graph_script(graph, location, process=process or None, folder=folder)
    end_if_asked()
    if not options.output:
        sys.stdout.write(text)
        return 0
    if target.exists() and target.read_bytes() != text.encode():
        raise UsageError(
            f"{target} already exists and may have been edited, so it is not "
            "replaced; remove it, or give another name"
        )
    write_files({target: text})
    return 0


def _places(output: str | None, name: str) -> tuple[str, Path, bool]:
    """The script's folder (empty if it is not known), its path, and whether the document is copied
    there."""
    from pathlib import Path

    from d4pcwl.errors import UsageError

    if output is None:
        return stdout_folder() or "", Path(name), False
    if output.endswith(("/", os.sep)) or os.path.isdir(output):
        return output, Path(output, name), True
    path = Path(output)
    if path.suffix != ".py":
        raise UsageError(
            f"-o {output}: the name of a script must end in .py; for a folder, write {output}/"
        )
    return str(path.parent), path, False


def _script_name(document: str) -> str:
    """A name for the script of a document that Python can import."""
    import re

    stem = os.path.basename(document).partition(".")[0]
    name = re.sub(r"\W", "_", stem) or "workflow"
    return f"{name}.py" if name.isidentifier() else f"workflow_{name}.py"


if __name__ == "__main__":
    sys.exit(main())
