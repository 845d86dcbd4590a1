"""Copies of a document together with the files that it refers to."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

from d4pcwl.cwl.files import uri_path
from d4pcwl.cwl.importing.cwltool.document import Document
from d4pcwl.errors import UsageError


def copy_document(document: Document, folder: str) -> str:
    """Copy a document, and all files that it refers to, with the same relative paths. These are the
    documents that its steps run, imports and includes, and files that are defaults of inputs. Files
    that are not on this machine are not copied. No file is copied onto itself.

    :returns: the path of the document's copy
    :raises UsageError: a file cannot be written
    """
    location = document.location
    main = os.path.realpath(location if os.path.exists(location) else location.partition("#")[0])
    paths = sorted({main, *filter(os.path.exists, _referred_to(document, main))})
    above = os.path.commonpath([os.path.dirname(path) for path in paths])
    try:
        for path in paths:
            copy = os.path.join(folder, os.path.relpath(path, above))
            if os.path.exists(copy) and os.path.samefile(copy, path):
                continue
            os.makedirs(os.path.dirname(copy), exist_ok=True)
            if os.path.isdir(path):
                shutil.copytree(path, copy, dirs_exist_ok=True)
            else:
                shutil.copy(path, copy)
    except OSError as error:
        raise UsageError(f"{error.filename}: cannot be written: {error.strerror}") from None
    return os.path.join(folder, os.path.relpath(main, above))


def _referred_to(document: Document, main: str) -> Iterator[str]:
    """The paths of the files that a document refers to, directly or not."""
    from cwltool.load_tool import fetch_document
    from cwltool.main import find_deps

    context, found, uri = fetch_document(main, document.settings.loading())
    assert context.loader is not None
    pending: list[Any] = [find_deps(found, context.loader, uri, nestdirs=False)]
    while pending:
        file = pending.pop()
        pending += [*file.get("secondaryFiles", ()), *file.get("listing", ())]
        location = str(file.get("location", "")).partition("#")[0]
        if location.startswith("file://"):
            yield os.path.realpath(uri_path(location))
