"""Serve waveforms and StationXML of a folder as FDSN web services, on this machine only.

    python fdsn_server.py FOLDER [--port PORT] [-- COMMAND ...]

FOLDER has observed/ and stations/, as ra_layout says. Its files are read once, at the start. The
services fdsnws-station and fdsnws-dataselect answer GET and POST, as "FDSN Web Service
Specifications, Version 1.2" says; fdsn_query has their parameters. Records and StationXML elements
are those of the files; a StationXML file of which all channels are asked for is sent as it is.

With a COMMAND, the server runs until the command has ended, and ends with its exit code. Without
one, it runs until Ctrl-C.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from fdsn_archive import Archive, ArchiveError
from fdsn_query import SERVICES, BadRequest, Query, query_of_get, query_of_post
from lxml import etree
from obspy import UTCDateTime

VERSION = "1.2.0"
_HOST = "127.0.0.1"
_LARGEST_POST = 1 << 24
Log = Callable[[str], object]
_ENDS = {signal.SIGINT, signal.SIGTERM}
_MINISEED, _TEXT, _XML = "application/vnd.fdsn.mseed", "text/plain", "application/xml"


class _Refused(Exception):
    """An answer that is an error: its status, and what is wrong."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class FdsnServer(ThreadingHTTPServer):
    """The services of a folder at a port; 0 is one that is free. `log` gets a line a request."""

    def __init__(self, folder: Path, port: int = 0, log: Log | None = None) -> None:
        self.archive, self.log = Archive(folder), log
        try:
            super().__init__((_HOST, port), _Handler)
        except OSError as error:
            raise OSError(f"port {port}: {error.strerror}") from None
        self.url = f"http://{_HOST}:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that do not wait for the answer."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: FdsnServer
    timeout = 60

    def do_GET(self) -> None:
        self._answer(lambda service: query_of_get(service, urlsplit(self.path).query))

    def do_POST(self) -> None:
        self._answer(lambda service: query_of_post(service, self._body()))

    def log_message(self, format: str, *values: object) -> None:
        if self.server.log is not None:
            self.server.log(format % values)

    def _answer(self, query: Callable[[str], Query]) -> None:
        try:
            content, kind = self._content(query)
            self._send(HTTPStatus.OK if content else HTTPStatus.NO_CONTENT, content, kind)
        except _Refused as refused:
            self._send(refused.status, self._error(refused).encode(), _TEXT)

    def _content(self, query: Callable[[str], Query]) -> tuple[bytes, str]:
        """What is asked for, and its media type."""
        match unquote(urlsplit(self.path).path).split("/"):
            case ["", "fdsnws", service, "1", what] if service in SERVICES:
                if what == "version":
                    return VERSION.encode(), _TEXT
                if what == "application.wadl":
                    return wadl(service, self.server.url), _XML
                if what == "query":
                    return self._chosen(service, query)
        names = ", ".join(f"/fdsnws/{service}/1/" for service in SERVICES)
        message = f"there are only query, version and application.wadl of {names}"
        raise _Refused(HTTPStatus.NOT_FOUND, message)

    def _chosen(self, service: str, read: Callable[[str], Query]) -> tuple[bytes, str]:
        """The answer to a query of a service, and its media type."""
        try:
            query = read(service)
        except BadRequest as error:
            raise _Refused(HTTPStatus.BAD_REQUEST, str(error)) from None
        archive = self.server.archive
        try:
            if service == "dataselect":
                content, kind = archive.waveforms(query), _MINISEED
            else:
                content = archive.stations(query)
                kind = _TEXT if query.values["format"] == "text" else _XML
        except OSError as error:
            raise _Refused(HTTPStatus.INTERNAL_SERVER_ERROR, str(error)) from None
        if not content and query.values["nodata"] == "404":
            raise _Refused(HTTPStatus.NOT_FOUND, "no data match the request")
        return content, kind

    def _body(self) -> str:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise _Refused(HTTPStatus.LENGTH_REQUIRED, "a POST needs a Content-Length")
        if int(length) > _LARGEST_POST:
            message = f"a POST has at most {_LARGEST_POST} bytes"
            raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message)
        try:
            return self.rfile.read(int(length)).decode("ascii")
        except UnicodeDecodeError as error:
            raise _Refused(HTTPStatus.BAD_REQUEST, f"the request: {error}") from None

    def _error(self, refused: _Refused) -> str:
        """The text of an error, in the form that the specification has."""
        return (
            f"Error {refused.status.value}: {refused.status.phrase}\n\n{refused}\n\n"
            f"Request:\n{self.server.url}{self.path}\n\n"
            f"Request Submitted:\n{UTCDateTime()}\n\nService version:\n{VERSION}\n"
        )

    def _send(self, status: HTTPStatus, content: bytes, kind: str) -> None:
        self.send_response(status)
        if content:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def wadl(service: str, url: str) -> bytes:
    """The description of a service, from which clients know its parameters."""
    application = etree.Element("application", nsmap={None: "http://wadl.dev.java.net/2009/02"})
    resources = etree.SubElement(application, "resources", base=f"{url}/fdsnws/{service}/1/")
    query = etree.SubElement(resources, "resource", path="query")
    request = etree.SubElement(etree.SubElement(query, "method", name="GET", id="query"), "request")
    for parameter in SERVICES[service]:
        fields = {"name": parameter.name, "style": "query", "type": parameter.type}
        if parameter.default is not None:
            fields["default"] = parameter.default
        element = etree.SubElement(request, "param", fields)
        for option in parameter.options:
            etree.SubElement(element, "option", value=option)
    etree.SubElement(query, "method", name="POST", id="postQuery")
    for path in ("version", "application.wadl"):
        resource = etree.SubElement(resources, "resource", path=path)
        etree.SubElement(resource, "method", name="GET")
    return bytes(etree.tostring(application, xml_declaration=True, encoding="UTF-8"))


@contextmanager
def serving(folder: Path, port: int = 0, log: Log | None = None) -> Iterator[FdsnServer]:
    """Serve a folder for a while, from a thread of this process."""
    with FdsnServer(folder, port, log) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def main() -> int:
    """The command."""
    summary, *description = (__doc__ or "").split("\n\n")
    parser = argparse.ArgumentParser(
        usage="%(prog)s FOLDER [--port PORT] [-- COMMAND ...]",
        description=summary,
        epilog=description[-1],
    )
    parser.add_argument("folder", metavar="FOLDER", type=Path)
    parser.add_argument("--port", type=int, default=0, help="default: one that is free")
    arguments = sys.argv[1:]
    split = arguments.index("--") if "--" in arguments else len(arguments)
    given, command = parser.parse_args(arguments[:split]), arguments[split + 1 :]
    try:
        if command:
            with serving(given.folder, given.port):
                return _run(command)
        # Before threads start, as they would take the signals.
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)
        with serving(given.folder, given.port, lambda line: print(line, file=sys.stderr)) as server:
            print(server.url, flush=True)
            signal.sigwait(_ENDS)
        return 0
    except KeyboardInterrupt:
        return 130
    except (ArchiveError, OSError, OverflowError) as error:
        parser.exit(2, "".join(f"{parser.prog}: error: {li}\n" for li in str(error).splitlines()))


def _run(command: list[str]) -> int:
    """Run a command to its end; it gets Ctrl-C from the terminal, and SIGTERM from here."""
    child = subprocess.Popen(command)
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    while True:
        try:
            code = child.wait()
            return code if code >= 0 else 128 - code
        except KeyboardInterrupt:
            continue


if __name__ == "__main__":
    sys.exit(main())
