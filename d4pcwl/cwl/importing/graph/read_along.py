"""Steps whose streams are read while they are written; see also ``flows.py``."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from d4pcwl.cwl.emit.parameter import STREAM_FORMAT
from d4pcwl.cwl.files import local_path
from d4pcwl.errors import ItemError
from d4pcwl.streams.live import awaited

_FAILED = ".failed"
"""The suffix of the file that names the step that failed to write a stream to its end."""


def once(folder: str, execution: object) -> None:
    """Note that an execution lets its streams be read, which is possible only once.

    :raises ItemError: it has done so before
    """
    name = hashlib.sha256(repr(execution).encode()).hexdigest()
    try:
        open(os.path.join(folder, f"followed-{name}"), "x").close()
    except FileExistsError:
        raise ItemError(
            "the process that ran it has died, and another step was reading its output: so it "
            "cannot be run again"
        ) from None


@contextmanager
def readable_streams(
    outdir: str, files: Mapping[str, str], producer: str, failed: Callable[[], bool]
) -> Iterator[dict[str, Any]]:
    """Stream files that can be read while they are written: by output, as File objects.

    :param outdir: the folder into which they are written, in the block
    :param files: by output, their names
    :param producer: the step that writes them
    :param failed: called at the end of the block, before readers notice the end
    """
    os.makedirs(outdir, exist_ok=True)
    with ExitStack() as locks:
        paths = {output: Path(outdir, name) for output, name in files.items()}
        for path in paths.values():
            locks.enter_context(awaited(path))
        try:
            yield {
                output: {
                    "class": "File",
                    "location": path.as_uri(),
                    "basename": path.name,
                    "format": STREAM_FORMAT,
                }
                for output, path in paths.items()
            }
        finally:
            for path in paths.values() if failed() else ():
                Path(f"{path}{_FAILED}").write_text(producer, encoding="utf-8")


def failed_producer(given: Mapping[str, Any]) -> str | None:
    """The failed step whose stream a step was reading.

    :param given: the input object of the reading step
    """
    for value in given.values():
        for file in value if isinstance(value, list) else [value]:
            if isinstance(file, dict) and str(file.get("location", "")).startswith("file://"):
                mark = Path(local_path(file) + _FAILED)
                if mark.exists():
                    return mark.read_text(encoding="utf-8")
    return None
