"""What a step does that writes streams which others may read meanwhile; see also ``flows.py``."""

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
"""Added to a stream file's name: the file that says which step failed to write it to the end."""


def once(folder: str, execution: object) -> None:
    """Note that an execution lets its streams be read, which it can do only once.

    :raises ItemError: it has done so
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

    :param outdir: the folder that they are going to be written into, in the block
    :param files: by output, their names
    :param producer: the step that writes them
    :param failed: asked at the end of the block, before those who read notice that it has ended
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
    """The step that failed whose stream a step was given to read.

    :param given: the input object of the one that was reading
    """
    for value in given.values():
        for file in value if isinstance(value, list) else [value]:
            if isinstance(file, dict) and str(file.get("location", "")).startswith("file://"):
                mark = Path(local_path(file) + _FAILED)
                if mark.exists():
                    return mark.read_text(encoding="utf-8")
    return None
