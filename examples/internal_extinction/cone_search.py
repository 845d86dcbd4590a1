"""Serve a table of objects by cone search, on this machine, while a command runs

    python cone_search.py TABLE COMMAND ARGUMENT...

``{url}`` in the arguments stands for the URL of the service. It answers as the standard says (IVOA
Simple Cone Search 1.03): a GET with RA, DEC and SR, in degrees, is answered by a VOTable, with the
objects that are no further than SR from the position, or with an error.
"""

from __future__ import annotations

import csv
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import escape, quoteattr

from internal_extinction import distance

from d4pcwl.library.files import number_or_text

VOTABLE = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<VOTABLE version="1.3" xmlns="http://www.ivoa.net/xml/VOTable/v1.3">\n{}</VOTABLE>\n'
)
UCDS = {"name": "ID_MAIN", "ra": "POS_EQ_RA_MAIN", "dec": "POS_EQ_DEC_MAIN"}
"""What the standard wants to be marked, by its column in the table."""


class Table:
    """Objects on the sky, from a CSV file with the columns ``name``, ``ra`` and ``dec`` (degrees)
    and others."""

    def __init__(self, path: Path) -> None:
        with open(path, encoding="utf-8", newline="") as file:
            self.rows = list(csv.DictReader(file))

    def answer(self, query: str) -> str:
        """The VOTable that answers the query of a URL."""
        given = {name.upper(): values[-1] for name, values in parse_qs(query).items()}
        try:
            ra, dec, radius = (number(given, name) for name in ("RA", "DEC", "SR"))
        except ValueError as error:
            info = f'<INFO ID="Error" name="Error" value={quoteattr(str(error))}/>\n<RESOURCE/>\n'
            return VOTABLE.format(info)
        found = [
            row
            for row in self.rows
            if radius > 0 and distance(ra, dec, float(row["ra"]), float(row["dec"])) <= radius
        ]  # a radius of 0 asks for the columns alone
        return VOTABLE.format(
            f"<RESOURCE><TABLE>\n{''.join(map(self.field, self.rows[0]))}<DATA><TABLEDATA>\n"
            f"{''.join(map(line, found))}</TABLEDATA></DATA>\n</TABLE></RESOURCE>\n"
        )

    def field(self, name: str) -> str:
        """What a VOTable says of a column."""
        kinds = {type(number_or_text(row[name])) for row in self.rows if row[name]}
        kind = 'datatype="char" arraysize="*"' if str in kinds else 'datatype="double"'
        ucd = f' ucd="{UCDS[name]}"' if name in UCDS else ""
        return f"<FIELD name={quoteattr(name)} {kind}{ucd}/>\n"


def number(given: dict[str, str], name: str) -> float:
    if name not in given:
        raise ValueError(f"{name} is missing")
    try:
        return float(given[name])
    except ValueError:
        raise ValueError(f"{name} is no number: {given[name]}") from None


def line(row: dict[str, str]) -> str:
    return f"<TR>{''.join(f'<TD>{escape(value)}</TD>' for value in row.values())}</TR>\n"


@contextmanager
def serving(path: Path) -> Iterator[str]:
    """Serve a table; gives the URL."""
    table = Table(path)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = table.answer(urlsplit(self.path).query).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-votable+xml")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            """Requests are not worth a line."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/cone?"
        finally:
            server.shutdown()
            thread.join()


def main(arguments: list[str]) -> int:
    if len(arguments) < 2:
        print("usage: python cone_search.py TABLE COMMAND ARGUMENT...", file=sys.stderr)
        return 2
    table, *command = arguments
    with serving(Path(table)) as url:
        return subprocess.run([part.replace("{url}", url) for part in command]).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
