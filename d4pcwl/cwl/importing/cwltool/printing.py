"""Printing a document instead of running it: the packed document, or the files that it refers
to."""

from __future__ import annotations

import io

from d4pcwl.cwl.importing.cwltool.document import Document


def packed_text(document: Document) -> str:
    """A document and all its processes, as one document in JSON.

    :raises InputError: it is not valid CWL
    """
    from cwltool.main import print_pack

    context, uri, _ = document.resolve(as_written=True)
    return print_pack(context, uri)


def dependencies_text(document: Document, relative_to: str) -> str:
    """The files that a document refers to, as a File object in JSON.

    :param relative_to: ``primary`` for the folder of the document, ``cwd`` for the current one
    :raises InputError: it is not valid CWL
    """
    from cwltool.main import printdeps

    context, uri, fetched = document.resolve(as_written=True)
    assert context.loader is not None
    text = io.StringIO()
    printdeps(fetched, context.loader, text, relative_to, uri)
    return text.getvalue()
