"""The entries of files: lines, rows, items, features."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from d4pcwl.errors import LineageError

LINES = (".jsonl", ".ndjson")
STREAMS = (".d4ps", ".stream")
TABLE = ".csv"


def entries(name: str | os.PathLike[str]) -> Iterator[tuple[int, Any]]:
    """The entries of a file, each with its line or number: of JSON lines, a stream file, a table,
    a list in JSON, or the features in GeoJSON.

    :raises LineageError: it cannot be read
    """
    path = Path(name)
    try:
        if path.suffix in LINES:
            with path.open(encoding="utf-8") as lines:
                yield from (
                    (at, json.loads(line)) for at, line in enumerate(lines, 1) if line.strip()
                )
        elif path.suffix == TABLE:
            from d4pcwl.library.files import number_or_text

            with path.open(encoding="utf-8-sig", newline="") as lines:
                table = csv.reader(lines)
                names = next(table, [])
                for row in filter(None, table):
                    yield table.line_num, dict(zip(names, map(number_or_text, row), strict=False))
        elif path.suffix in STREAMS:
            from d4pcwl.streams.reader import StreamReader

            with StreamReader(path) as stream:
                yield from ((at, item) for at, (_, item) in enumerate(stream, 1))
        else:
            whole = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(whole, dict) and isinstance(whole.get("features"), list):
                whole = whole["features"]
            yield from enumerate(whole if isinstance(whole, list) else [whole], 1)
    except (OSError, ValueError) as error:
        raise LineageError(f"{path}: its entries cannot be read: {error}") from None
