"""CWL's File and Directory objects in the inputs of dispel4py."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urljoin, urlsplit

from d4pcwl.workflow.pe import PreparingPE

if TYPE_CHECKING:
    from d4pcwl.workflow.flat import FlatGraph
    from d4pcwl.workflow.inputs import RootInputs

_FILE_CLASSES = ("File", "Directory")
_SCHEMES = ("file", "http", "https", "ftp", "s3")


def with_paths(value: Any, path_of: Callable[[dict[str, Any]], str] | None = None) -> Any:
    """``value`` with every File and Directory object in it replaced by its path.

    A CWL engine passes files as such objects; a PE needs the path.

    :param path_of: returns the path of an object (default: :func:`local_path`)
    """
    if isinstance(value, dict):
        if value.get("class") in _FILE_CLASSES and ("path" in value or "location" in value):
            return (path_of or local_path)(value)
        return {key: with_paths(entry, path_of) for key, entry in value.items()}
    if isinstance(value, list):
        return [with_paths(entry, path_of) for entry in value]
    return value


def with_files(graph: FlatGraph, inputs: RootInputs, source: str | None) -> RootInputs:
    """Root inputs, with their File and Directory objects in the form that the roots need.

    :param source: the file that contains them; locations in job orders are relative to its folder.
        None: to the current folder
    """
    folder = os.path.dirname(source) if source else ""
    orders = {pe.id for pe in graph.roots if isinstance(pe, PreparingPE) and pe.job_orders}
    return {
        pe: with_locations(given, folder) if pe in orders else with_paths(given)
        for pe, given in inputs.items()
    }


def with_locations(value: Any, folder: str) -> Any:
    """``value`` with an absolute location in every File and Directory object.

    :param folder: the folder that their locations are relative to
    """
    if isinstance(value, list):
        return [with_locations(entry, folder) for entry in value]
    if not isinstance(value, dict):
        return value
    base = Path(os.path.abspath(folder)).as_uri() + "/"
    absolute = {key: with_locations(entry, folder) for key, entry in value.items()}
    if value.get("class") in _FILE_CLASSES:
        path, location = absolute.pop("path", None), absolute.get("location")
        if location is None and path is not None:
            location = path if urlsplit(path).scheme in _SCHEMES else _uri(folder, path)
        if location is not None:
            absolute["location"] = urljoin(base, location)
    return absolute


def _uri(folder: str, path: str) -> str:
    return Path(os.path.abspath(os.path.join(folder, path))).as_uri()


def local_path(file: dict[str, Any]) -> str:
    """The path of a File or Directory object, from its ``path`` or its ``location``."""
    return str(file["path"]) if "path" in file else uri_path(str(file["location"]))


def uri_path(location: str) -> str:
    """The path of a file URI; any other location as it is."""
    parts = urlsplit(location)
    return unquote(parts.path) if parts.scheme == "file" else location
