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
        description="Tell what an item or a file comes from, or what it went into, by the record "
        "that dispel4py --provenance has made.",
    )
    parser.add_argument(
        "what",
        metavar="WHAT",
        help="a file that the run read or wrote, FILE:LINE, FILE#KEY=VALUE, or the identity of an "
        "item (its first digits are enough); for the folder of a record, what is in it",
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
    parser.add_argument("--depth", type=int, metavar="N", help="so many steps (default: all)")
    parser.add_argument(
        "--format", choices=("text", "dot", "json"), default="text", help="default: text"
    )
    parser.add_argument(
        "--record",
        type=Path,
        metavar="DIR",
        help="the folder of the record (default: the one that is here, or beside the file)",
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
    from d4pcwl.errors import OutputError, UsageError, presentable
    from d4pcwl.lineage.asking import ask, dot_of, json_of, text_of
    from d4pcwl.lineage.index import Index, folder_of
    from d4pcwl.lineage.record import Record, reading

    if options.depth is not None and options.depth < 0:
        raise UsageError(f"--depth {options.depth}: at least 0 is needed")
    record = Record(options.record or folder_of(options.what))
    about = Path(options.what).is_dir()
    if options.prov:
        from d4pcwl.lineage.prov import write_prov

        if not about:
            raise UsageError("--prov needs the folder of a record")
        try:
            write_prov(record)
        except OSError as error:
            raise OutputError(f"{record.folder}: cannot be written: {error.strerror}") from None
        return 0
    require_output("the lineage is written to standard output")
    with reading(record.path), Index(record) as index:
        names = {pe["pe"]: pe["name"] or pe["pe"] for pe in record.head["pes"]}
        if about:
            text = _summary(index)
        else:
            if not index.complete:
                say("note: the run did not come to its end; what was done last may be missing")
            answer = ask(index, options.what, down=options.down, depth=options.depth)
            make = {"text": text_of, "json": json_of, "dot": dot_of}[options.format]
            text = make(answer, names)
    try:
        sys.stdout.write(presentable(text))
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output has had enough
        give_up_output()
    return 0


def _summary(index: Index) -> str:
    """What is in a record."""
    from d4pcwl.lineage.index import INPUT, ITEM

    head = index.record.head
    lines = [
        f"run {head['run']}: {head['script'] or 'a graph'} under {head['mapping']}",
        f"{index.count(ITEM)} items, {index.count(INPUT)} inputs, {index.count_results()} results",
    ]
    if not index.complete:
        lines.append(f"the run did not come to its end: {index.failed or 'it was killed'}")
    for file in index.files():
        digest = f"  sha256 {file.digest.hex()}" if file.digest else ""
        lines.append(f"{file.extra.get('role', 'used')}: {file.shown}{digest}")
    return "\n".join(lines) + "\n"
