"""``d4pcwl lineage WHAT``: what something comes from, or went into, by the record of a run."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from d4pcwl.cli.common import say
from d4pcwl.cli.standard import give_up_output, require_output

if TYPE_CHECKING:
    from typing import Any

    from d4pcwl.lineage.index import Index


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add ``lineage``; :func:`run` is set as the ``run`` of the arguments."""
    parser = subparsers.add_parser(
        "lineage",
        help="what an item or a file comes from, or went into",
        description="Show what an item or a file comes from, or what it went into. This uses the "
        "record that dispel4py --provenance has made.",
    )
    parser.add_argument(
        "run_folder",
        metavar="RUN",
        nargs="?",
        type=Path,
        help="the folder of a record or of several, a folder of cwltool --provenance, or a crate; "
        "default: the record in the current folder, or beside the file",
    )
    parser.add_argument(
        "what",
        metavar="WHAT",
        help="a file that the run read or wrote, FILE:LINE, FILE#KEY=VALUE, or the identity of an "
        "item (its first digits are enough); without RUN, it may be a RUN: then its contents are "
        "listed",
    )
    ways = parser.add_mutually_exclusive_group()
    ways.add_argument(
        "--up",
        dest="down",
        action="store_false",
        default=False,
        help="what it comes from (the default)",
    )
    ways.add_argument("--down", action="store_true", help="what it went into")
    parser.add_argument(
        "--depth", type=int, metavar="N", help="the number of steps to follow (default: all)"
    )
    parser.add_argument(
        "--format", choices=("text", "dot", "json"), default="text", help="default: text"
    )
    parser.add_argument(
        "--prov", action="store_true", help="write PROV-JSON and PROV-N into the folder of a record"
    )
    parser.add_argument("--debug", action="store_true", help="tracebacks")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Do what the parsed arguments ask for; return the exit code.

    :raises LineageError: there is no record, or it does not have what is asked for
    """
    from d4pcwl.crate.crates import is_crate, opened
    from d4pcwl.errors import UsageError, presentable

    if options.depth is not None and options.depth < 0:
        raise UsageError(f"--depth {options.depth}: at least 0 is needed")
    about = options.run_folder is None and (
        Path(options.what).is_dir() or is_crate(Path(options.what))
    )
    place = Path(options.what) if about else options.run_folder or _near(options.what)
    with opened(place) as folder:
        if options.prov:
            return _write_prov(folder, about)
        require_output("the answer is printed there")
        text = _answer(folder, None if about else options.what, options)
    try:
        sys.stdout.write(presentable(text))
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output has had enough
        give_up_output()
    return 0


def _write_prov(folder: Path, about: bool) -> int:
    from d4pcwl.errors import OutputError, UsageError
    from d4pcwl.lineage.prov import write_prov
    from d4pcwl.lineage.record import Record

    if not about:
        raise UsageError("--prov needs the folder of a record")
    try:
        write_prov(Record(folder))
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror}") from None
    return 0


def _near(what: str) -> Path:
    """The folder with the record that something is likely to be of.

    :raises LineageError: there is none, or several
    """
    from d4pcwl.errors import LineageError
    from d4pcwl.lineage.run_set import is_record

    path = Path(what.partition("#")[0])
    near = dict.fromkeys((path.parent, Path()))
    for folder in near:
        if is_record(folder):
            return folder
    for folder in near:
        inside = folder.iterdir() if folder.is_dir() else ()
        found = [each for each in inside if each.is_dir() and is_record(each)]
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(sorted(map(str, found)))
            raise LineageError(
                f"there are several records: {names}; name one: d4pcwl lineage {found[0]} {what}"
            )
    raise LineageError(
        f"no record of a run was found for {what}; name its folder: d4pcwl lineage RUN {what}"
    )


def _answer(folder: Path, what: str | None, options: argparse.Namespace) -> str:
    """The answer to a question; without one, what there is.

    :raises LineageError: there is no record, or it does not have what is asked for
    """
    from d4pcwl.crate.run_set import run_set_of
    from d4pcwl.errors import LineageError
    from d4pcwl.lineage.answers import dot_of, json_of, text_of
    from d4pcwl.lineage.asking import ask
    from d4pcwl.lineage.index import Index

    run_set = run_set_of(folder)
    if run_set is None:
        raise LineageError(f"{folder}: there is no record of a run here")
    with Index(run_set) as index:
        if what is None:
            return _summary(index)
        if not all(run.complete for run in index.runs.values()):
            say("note: the run did not finish; the record may lack its last moments")
        answer = ask(index, what, down=options.down, depth=options.depth)
        make = {"text": text_of, "json": json_of, "dot": dot_of}[options.format]
        return make(answer, index.runs)


def _summary(index: Index) -> str:
    """What there is."""
    from d4pcwl.lineage.indexing import INPUT, ITEM

    lines = []
    for run in index.runs.values():
        if "run" not in run.about:
            lines.append(f"step {run.name}: no record of its items")
            continue
        script = run.about["script"] or "a graph"
        lines.append(f"run {run.about['run']}: {script} under {run.about['mapping']}")
        if not run.complete:
            lines.append(f"the run did not finish: {run.failed or 'it was killed'}")
    results = sum(run.about.get("results", 0) for run in index.runs.values())
    lines.append(f"{index.count(ITEM)} items, {index.count(INPUT)} inputs, {results} results")
    for file in index.files():
        digest = f"  sha256 {file.digest.hex()}" if file.digest else ""
        lines.append(f"{file.extra.get('role', 'used')}: {file.shown}{digest}")
    return "\n".join(lines) + "\n"
