"""A cache for CWL's own schema, as cwltool has parsed it.

Parsing it takes longer than the rest of a short run. The parsed schema is kept in the user's cache
folder (``$XDG_CACHE_HOME/d4pcwl``). It is a pickle, so it is only read from a file that belongs to
the user and that no other user may write. If anything is wrong with the file, cwltool parses the
schema again.
"""

from __future__ import annotations

import io
import os
import pickle
import stat
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

_LAYOUT = 1
"""Raise this number when the form of the cache changes."""

_BASIC = (
    "https://w3id.org/cwl/salad#Any",
    "https://w3id.org/cwl/cwl#File",
    "https://w3id.org/cwl/cwl#Directory",
)


_EXTENSIONS = {
    "v1.0": "extensions.yml",
    "v1.1": "extensions-v1.1.yml",
    "v1.2": "extensions-v1.2.yml",
    "v1.2.0-dev1": "extensions-v1.1.yml",
    "v1.2.0-dev2": "extensions-v1.1.yml",
    "v1.2.0-dev3": "extensions-v1.1.yml",
    "v1.2.0-dev4": "extensions-v1.1.yml",
    "v1.2.0-dev5": "extensions-v1.2.yml",
    "v1.3.0-dev1": "extensions-v1.3.yml",
}
"""The files of cwltool that add its extensions to the schemas of CWL versions."""


def provide_schema(version: str, *, extended: bool = False) -> None:
    """Load the schema of a CWL version into cwltool, and the right schemas for documents of other
    versions that it may refer to.

    :param version: ``v1.0``, ``v1.1`` or ``v1.2``; cwltool sees to others
    :param extended: whether cwltool's extensions are part of it
    """
    import schema_salad.schema
    from cwltool import process

    if extended != bool(process.custom_schemas):
        _use_extensions(extended)
    if version not in ("v1.0", "v1.1", "v1.2") or version in process.SCHEMA_CACHE:
        return
    path = _cache_file(version, extended)
    found = _read(path) if path else None
    if found is None:
        # cwltool takes the basic types from v1.0, whatever the document's version.
        first = process.get_schema("v1.0")
        basic: Any = tuple(first[3].idx[name] for name in _BASIC)
        found = (process.get_schema(version), basic, schema_salad.schema.get_metaschema())
        if path:
            _write(path, found)
    schema_salad.schema.cached_metaschema = found[2]
    process.SCHEMA_CACHE[version] = found[0]
    process.SCHEMA_ANY, process.SCHEMA_FILE, process.SCHEMA_DIR = found[1]


def _use_extensions(extended: bool) -> None:
    """Let cwltool use the schemas with its extensions, or those without."""
    import cwltool
    from cwltool import process

    folder = Path(cwltool.__file__).parent
    for version, name in _EXTENSIONS.items():
        if extended and (folder / name).exists():
            text = (folder / name).read_text(encoding="utf-8")
            process.use_custom_schema(version, "http://commonwl.org/cwltool", text)
        else:
            process.use_standard_schema(version)


def _cache_file(version: str, extended: bool) -> Path | None:
    """The path of the cache file; other versions of cwltool or Python have other files."""
    import cwltool
    import schema_salad.ref_resolver as salad

    try:
        given = os.environ.get("XDG_CACHE_HOME")
        folder = Path(given) if given else Path.home() / ".cache"
        library = Path(cwltool.__file__).parent
        files = [library / "schemas" / version / "CommonWorkflowLanguage.yml"]
        files += [library / _EXTENSIONS[version]] if extended else []
        files.append(Path(salad.__file__))
        marks = [f"{f.stat().st_mtime_ns:x}-{f.stat().st_size:x}" for f in files]
    except (OSError, RuntimeError):
        return None
    kind = "cwltool" if extended else "cwl"
    name = "-".join([kind, version, f"layout{_LAYOUT}", f"{sys.hexversion:x}", *marks])
    return folder / "d4pcwl" / f"{name}.pickle"


def _read(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                return None
            return pickle.load(file)
    except Exception:  # noqa: BLE001 - a damaged pickle may raise anything; then it is made anew
        return None


def _write(path: Path, schema: Any) -> None:
    buffer = io.BytesIO()
    try:
        _Pickler(buffer, pickle.HIGHEST_PROTOCOL).dump(schema)
        pickle.loads(buffer.getvalue())
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as made:
            whole = Path(made, path.name)
            whole.touch(0o600)
            whole.write_bytes(buffer.getvalue())
            os.replace(whole, path)
    except Exception:  # noqa: BLE001 - a cache that cannot be written is not an error of the run
        return


class _Pickler(pickle.Pickler):
    """Pickles salad's dictionaries with normalized keys, which do not pickle by themselves."""

    def reducer_override(self, obj: Any) -> Any:
        from schema_salad.ref_resolver import NormDict

        if type(obj) is NormDict:
            return _norm_dict, (obj.normalize, dict(obj))
        return NotImplemented


def _norm_dict(normalize: Callable[[str], str], entries: dict[str, Any]) -> Any:
    from schema_salad.ref_resolver import NormDict

    made = NormDict(normalize)
    made.update(entries)
    return made
