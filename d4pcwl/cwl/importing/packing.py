"""A document and all that it refers to in one file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from d4pcwl.cwl.importing.document import Document, plain
from d4pcwl.cwl.text import document_text


def packed(document: Document, folder: str) -> str:
    """The packed form of a document, as YAML.

    :param folder: where it is going to be: files that are inputs by default are located relative
        to it
    """
    from cwltool.pack import pack

    process = document.process
    whole = plain(pack(document.settings.loading(), str(process.tool["id"])))
    graph = whole["$graph"]
    if len(graph) == 1:
        whole = {key: value for key, value in graph[0].items() if key != "id"}
    base = os.path.realpath(folder)

    def relative(value: Any) -> Any:
        if isinstance(value, list):
            return [relative(entry) for entry in value]
        if not isinstance(value, dict):
            return value
        found = {key: relative(entry) for key, entry in value.items()}
        location = urlsplit(str(found.get("location", "")))
        if found.get("class") in ("File", "Directory") and location.scheme == "file":
            place = os.path.relpath(unquote(location.path), base)
            found["location"] = quote(Path(place).as_posix())
        return found

    ordered = {key: whole[key] for key in ("cwlVersion", "$namespaces", "$schemas") if key in whole}
    return document_text({**ordered, **relative(whole)})
