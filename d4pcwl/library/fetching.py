"""Files from the web."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
import urllib.error
import urllib.request
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from d4pcwl.errors import GraphError
from d4pcwl.library.files import checksum
from d4pcwl.library.keys import checked_number
from d4pcwl.workflow.pe import IterativePE

_AGAIN = {
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_EARLY,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
}
_LONGEST_WAIT = 60.0
_BLOCK = 1 << 20


class Fetch(IterativePE):
    """Downloads files by HTTP, and keeps them in a folder for the next time.

    :param folder: where files are kept; it is made if necessary
    :param retries: how often it tries again if a server is busy or a connection breaks
    :param wait: seconds before it tries again; each time twice as long, at most a minute. If a
        server sends ``Retry-After``, this is used instead
    :param timeout: seconds without an answer, after which a connection counts as broken
    :raises ValueError: while it runs, a file has another checksum than the one that is given
    :raises OSError: while it runs, a file cannot be downloaded

    Input: URLs, or dictionaries with ``url``, and with ``sha256`` if it is known. Output:
    dictionaries with ``url``, ``path``, and the other keys of the input. The name of a file is a
    digest of the URL and the last part of the URL.
    """

    heavy = True
    cwl = {"network": True}

    def __init__(
        self,
        folder: str | os.PathLike[str] = "fetched",
        retries: int = 3,
        wait: float = 1.0,
        timeout: float = 60.0,
    ) -> None:
        super().__init__()
        checked_number(retries, "retries", self, least=0)
        if not (wait >= 0 and timeout > 0):
            raise GraphError("Fetch: wait must be at least 0, and timeout more than 0")
        self.folder = os.fspath(folder)
        self.retries, self.wait, self.timeout = retries, wait, timeout

    def _process(self, data: Any) -> dict[str, Any]:
        asked = data if isinstance(data, dict) else {"url": data}
        url, expected = asked["url"], asked.get("sha256")
        path = Path(self.folder) / file_name(url)
        if not path.exists() or (expected is not None and checksum(path) != expected):
            self._fetch(url, path, expected)
        return {**asked, "path": str(path)}

    def _fetch(self, url: str, path: Path, expected: str | None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in range(self.retries, -1, -1):
            try:
                fetch(url, path, expected, self.timeout)
                return
            except (OSError, HTTPException) as error:
                if isinstance(error, urllib.error.HTTPError):
                    error.close()
                if not left or not _may_go_away(error):
                    raise OSError(f"{url} cannot be fetched: {error}") from None
                time.sleep(pause(error, self.wait * 2.0 ** (self.retries - left)))


def fetch(url: str, path: Path, sha256: str | None = None, timeout: float = 60.0) -> None:
    """Fetch a file once; it is at its place when it is complete.

    :param sha256: the checksum that it must have, if one is known
    :raises OSError: it cannot be had, or the connection broke
    :raises ValueError: it has another checksum, or the URL is not of HTTP
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise ValueError(f"{url} is not an HTTP URL")
    digest = hashlib.sha256()
    with urllib.request.urlopen(url, timeout=timeout) as answer:
        length = answer.headers.get("Content-Length")
        fd, partial = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.", suffix=".partial")
        try:
            with open(fd, "wb") as file:
                while block := answer.read(_BLOCK):
                    digest.update(block)
                    file.write(block)
                size = file.tell()
            if length is not None and size != int(length):
                raise ConnectionError(f"the connection broke after {size} of {length} bytes")
            if sha256 is not None and digest.hexdigest() != sha256:
                raise ValueError(f"{url} has the SHA-256 {digest.hexdigest()}, not {sha256}")
            os.chmod(partial, 0o666 & ~_mask())
            os.replace(partial, path)
        except BaseException:
            os.unlink(partial)
            raise


def file_name(url: str) -> str:
    """The name under which a URL's file is kept: the same in every run."""
    name = unquote(urlsplit(url).path).rpartition("/")[2]
    plain = "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in name)
    return f"{hashlib.sha256(url.encode()).hexdigest()[:16]}_{plain[-100:] or 'file'}"


def pause(error: Exception, usual: float) -> float:
    """How many seconds to wait before the next attempt."""
    asked = error.headers.get("Retry-After") if isinstance(error, urllib.error.HTTPError) else None
    seconds = float(asked) if asked and asked.isdecimal() else usual
    return min(seconds, _LONGEST_WAIT)


def _may_go_away(error: Exception) -> bool:
    return not isinstance(error, urllib.error.HTTPError) or error.code in _AGAIN


def _mask() -> int:
    """The modes that new files do not have."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
