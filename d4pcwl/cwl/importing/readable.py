"""Whether a CWL document or job order is text at all, before cwltool's library looks into it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from d4pcwl.errors import InputError

_NO_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def check_readable(location: str) -> None:
    """Refuse a local file that cannot be a document: a folder, an empty file, or no text.

    :param location: a path or a URI, with ``#id`` or without
    :raises InputError: says what it is
    """
    path = Path(location) if os.path.exists(location) else Path(location.partition("#")[0])
    text = check_text(path, location, "a CWL document")
    if text is not None and not text.strip():
        raise InputError(f"{location} is empty, not a CWL document")


def check_text(path: Path, location: str, what: str) -> str | None:
    """Refuse a folder and a file that is no text; what a file holds, None for all else.

    :param location: how the user named it
    :param what: it should be
    :raises InputError: says what it is
    """
    if path.is_dir():
        raise InputError(f"{location} is a folder, not {what}")
    if not path.is_file():
        return None  # a URI, a pipe, or nothing: that is told of where it is fetched
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise InputError(f"{location}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"{location} is not {what}: it is not UTF-8 text, at byte {error.start}"
        ) from None
    odd = _NO_TEXT.search(text)
    if odd:
        raise InputError(
            f"{location} is not {what}: it holds the character {odd.group()!r}, "
            f"at character {odd.start()}"
        )
    return text
