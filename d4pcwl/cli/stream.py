"""``d4pcwl stream head|info|cat FILE``: look into stream files, without running code from them."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING, Any

from d4pcwl.cli.common import say
from d4pcwl.cli.standard import require_output

_LONGEST_SHOWN = 1_000_000
"""The largest size in bytes of an item that ``head`` shows completely."""

if TYPE_CHECKING:
    from d4pcwl.streams.reader import StreamReader, Summary


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add ``stream`` and its subcommands; :func:`run` is set as the ``run`` of the arguments."""
    text = "look into stream files"
    parser = subparsers.add_parser(
        "stream",
        help=text,
        description="Look into stream files. Pickled items are never unpickled.",
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    head = verbs.add_parser(
        "head",
        help="print the first items as JSON lines",
        description="Print the first items as JSON lines, as soon as they are read. For items of "
        "more than 1 MB only the size is shown; cat prints them whole.",
    )
    head.add_argument(
        "-n", type=_count, default=10, metavar="N", help="number of items (default: 10)"
    )
    cat = verbs.add_parser("cat", help="print all items as JSON lines")
    for verb in (head, cat):
        verb.add_argument(
            "--partial", action="store_true", help="accept a file that its producer did not finish"
        )
    info = verbs.add_parser("info", help="verify the file and print what it holds")
    info.add_argument("--json", action="store_true", help="print JSON")
    for verb in (head, cat, info):
        verb.add_argument("file", metavar="FILE", help="a stream file")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do what the parsed arguments ask for; return the exit code, 1 where ``info`` finds faults.

    :raises StreamFileError: the file is not a stream file, or ``cat`` or ``head`` find damage
    """
    require_output("the output cannot be written")
    return _info(args) if args.verb == "info" else _print_items(args)


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError
    return number


def _print_items(args: argparse.Namespace) -> int:
    from d4pcwl.streams.reader import StreamReader

    with StreamReader(args.file, partial=args.partial) as reader:
        head = args.verb == "head"
        for line in islice(
            _lines(reader, _LONGEST_SHOWN if head else None), args.n if head else None
        ):
            sys.stdout.write(line + "\n")
            if head:
                sys.stdout.flush()  # what follows may be long, or not be written yet
        if reader.broken:
            say(reader.broken)
    return 0


def _lines(reader: StreamReader, longest: int | None) -> Iterator[str]:
    from d4pcwl.streams import codec
    from d4pcwl.streams.reader import is_marked

    for record in reader.records(longest):
        pe, port = reader.ports[record.port_index]
        if record.payload is None or record.tag == codec.PICKLE:
            kind = "pickle" if record.tag == codec.PICKLE else "bytes"
            shown = {"pe": pe, "port": port, kind: record.size}
            yield json.dumps(shown, ensure_ascii=False)
            continue
        for item in reader.items_of(record, convert=False):
            if reader.marked and is_marked(item):
                line = codec.to_json_line(pe, port, item[1])
                yield f'{line[:-1]}, "mark": {json.dumps(item[0])}}}'
            else:
                yield codec.to_json_line(pe, port, item)


def _info(args: argparse.Namespace) -> int:
    from d4pcwl.streams.reader import scan

    summary = scan(args.file)
    if args.json:
        sys.stdout.write(json.dumps(_as_json(summary), ensure_ascii=False, indent=2) + "\n")
    else:
        sys.stdout.write(_as_table(summary))
    return 0 if summary.sealed else 1


def _as_json(summary: Summary) -> dict[str, Any]:
    fields = asdict(summary)
    items, sizes = fields.pop("items_per_port"), fields.pop("bytes_per_port")
    fields["ports"] = [
        {"pe": pe, "port": port, "items": count, "bytes": size}
        for (pe, port), count, size in zip(summary.ports, items, sizes, strict=True)
    ]
    return fields


def _as_table(summary: Summary) -> str:
    from d4pcwl.errors import presentable
    from d4pcwl.streams.codec import ARRAY, JSON, MIXED, PICKLE
    from d4pcwl.streams.format import BATCH

    names = {JSON: "JSON", ARRAY: "array", MIXED: "JSON and arrays", PICKLE: "pickle"}
    names[BATCH] = "in batches"
    codecs = [f"{names[letter.encode()]}: {n}" for letter, n in summary.codecs.items()]
    lines = [
        f"file      {summary.path}",
        f"format    {summary.header['format']}",
        f"sealed    {'yes' if summary.sealed else f'no ({summary.broken})'}",
        f"items     {summary.items}{' (' + ', '.join(codecs) + ')' if codecs else ''}",
    ]
    metadata = summary.header.get("metadata")
    if metadata:
        lines.append(f"metadata  {json.dumps(metadata, ensure_ascii=False, sort_keys=True)}")
    rows = [("PE", "port", "items", "bytes")]
    for (pe, port), n, size in zip(
        summary.ports, summary.items_per_port, summary.bytes_per_port, strict=True
    ):
        rows.append((pe, port, str(n), str(size)))
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines.append("")
    lines += [
        f"{row[0]:<{wide[0]}}  {row[1]:<{wide[1]}}  {row[2]:>{wide[2]}}  {row[3]:>{wide[3]}}"
        for row in rows
    ]
    return presentable("\n".join(lines) + "\n")
