"""CWL's File and Directory objects, as far as dispel4py's inputs hold them."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlsplit

_FILE_CLASSES = ("File", "Directory")


def with_paths(value: Any) -> Any:
    """``value`` with every File and Directory object in it replaced by its path.

    A CWL engine hands files over as such objects; a PE wants the path.
    """
    if isinstance(value, dict):
        if value.get("class") in _FILE_CLASSES and ("path" in value or "location" in value):
            return local_path(value)
        return {key: with_paths(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [with_paths(entry) for entry in value]
    return value


def local_path(file: dict[str, Any]) -> str:
    """The path of a File or Directory object, from its ``path``, else its ``location``."""
    if "path" in file:
        return str(file["path"])
    location = str(file["location"])
    parts = urlsplit(location)
    return unquote(parts.path) if parts.scheme == "file" else location
