"""A bundle: a compiled workflow with everything that it needs, as a folder or a zip file."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from d4pcwl.cwl.compile import Compiled
from d4pcwl.cwl.files import local_path, with_locations
from d4pcwl.cwl.gathering import Gathering
from d4pcwl.cwl.lock import PYTHON, from_folders, lock_text, version_of
from d4pcwl.errors import InputError, UsageError, nearest, raise_faults, shown
from d4pcwl.streams.output_file import OutputFile
from d4pcwl.workflow.texts import read_file


def check_target(target: str) -> None:
    """Check that a bundle can be written there: only a zip file is replaced.

    :raises UsageError: there is something else
    """
    folder = os.path.isdir(target)
    if _is_zip(target) and folder:
        raise UsageError(f"--bundle {target}: it is a folder; give another name")
    if not _is_zip(target) and os.path.lexists(target) and not folder:
        raise UsageError(f"--bundle {target}: it is a file; name a folder, or NAME.zip")
    if folder and os.listdir(target):
        raise UsageError(f"--bundle {target}: the folder is not empty; name a new one")


def _is_zip(target: str) -> bool:
    return target.lower().endswith(".zip")


def with_inputs(compiled: Compiled, path: str, gathering: Gathering) -> Compiled:
    """A document with the values of a job order in its own job order; their files are taken into
    the bundle.

    :raises InputError: the job order is not one for the document
    """
    given = read_file(path)
    if not isinstance(given, Mapping):
        raise InputError(f"{path}: expected a job order: an object from names of inputs to values")
    known = [entry["id"].rpartition("/")[2] for entry in _main(compiled)["inputs"]]
    faults = [
        f"{path}: the document has no input '{key}'{nearest(str(key), known)}"
        for key in given
        if key not in known and ":" not in str(key) and not str(key).startswith("$")
    ]

    def moved(value: Any) -> Any:
        if isinstance(value, list):
            return [moved(entry) for entry in value]
        if not isinstance(value, dict):
            return value
        value = {key: moved(entry) for key, entry in value.items()}
        if value.get("class") in ("File", "Directory") and "location" in value:
            file = local_path(value)
            if "://" not in file:
                if not os.path.exists(file):
                    faults.append(f"{path}: there is no file or folder {shown(file)}")
                value["location"] = gathering.take(Path(file))
        return value

    values = with_locations(dict(given), os.path.dirname(path))
    values = {key: moved(value) for key, value in values.items()}
    raise_faults(InputError, faults)
    gathering.values.update(key for key in values if key in known)
    missing = tuple(name for name in compiled.missing if name not in values)
    return replace(compiled, job={**compiled.job, **values}, missing=missing)


def write_bundle(
    target: str, compiled: Compiled, gathering: Gathering, *, image: str | None
) -> None:
    """Write a document with everything that was gathered for it, or nothing.

    :param target: a folder, or a zip file if it ends in ``.zip``
    :param image: add a Dockerfile, for an image of that name
    :raises UsageError: it cannot be written, or a file for it cannot be read
    """
    main, *_ = compiled.files
    texts = {
        main: str(compiled),
        "job.yml": compiled.job_text(),
        "requirements.lock": lock_text(gathering.packages),
        "README.md": _readme(main, compiled, gathering, image),
    }
    if image is not None:
        texts["Dockerfile"] = _DOCKERFILE
    place = Path(os.path.realpath(target))
    write = _write_zip if _is_zip(target) else _write_folder
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        write(place, texts, gathering.files, main)
    except OSError as error:
        named = shown(error.filename or target)
        raise UsageError(f"{named}: the bundle cannot be made: {error.strerror}") from None


def _write_zip(target: Path, texts: dict[str, str], files: dict[str, Path], main: str) -> None:
    output = OutputFile(target)
    try:
        with zipfile.ZipFile(output.file, "w") as archive:
            for place in sorted({*texts, *files}):
                # No time and no owner: equal input gives equal bytes.
                entry = zipfile.ZipInfo(f"{target.stem}/{place}", (1980, 1, 1, 0, 0, 0))
                entry.compress_type, entry.create_system = zipfile.ZIP_DEFLATED, 3
                executable = place == main or (place in files and _is_executable(files[place]))
                mode = 0o100755 if executable else 0o100644
                entry.external_attr = (0o40755 if place.endswith("/") else mode) << 16
                if place in texts or place.endswith("/"):
                    archive.writestr(entry, texts.get(place, ""))
                    continue
                with (
                    open(files[place], "rb") as source,
                    archive.open(entry, "w", force_zip64=True) as copy,
                ):
                    shutil.copyfileobj(source, copy)
        output.finish()
    finally:
        output.drop()


def _write_folder(target: Path, texts: dict[str, str], files: dict[str, Path], main: str) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".bundle-") as made:
        folder = Path(made, "bundle")
        folder.mkdir()
        for place, file in files.items():
            copy = folder / place
            copy.parent.mkdir(parents=True, exist_ok=True)
            if place.endswith("/"):
                copy.mkdir(exist_ok=True)
                continue
            shutil.copyfile(file, copy)
            if _is_executable(file):
                _make_executable(copy)
        for place, text in texts.items():
            (folder / place).write_text(text, encoding="utf-8")
        _make_executable(folder / main)
        folder.rename(target)


def _is_executable(file: Path) -> bool:
    return os.access(file, os.X_OK)


def _make_executable(file: Path) -> None:
    file.chmod(file.stat().st_mode | 0o111)


def _main(compiled: Compiled) -> dict[str, Any]:
    """The outermost process."""
    return next(iter(compiled.files.values()))


def image_name(text: str) -> str:
    """A name for a container image that is as like a text as such names may be."""
    return re.sub("[^a-z0-9]+", "-", text.lower()).strip("-") or "workflow"


def _readme(name: str, compiled: Compiled, gathering: Gathering, image: str | None) -> str:
    main = _main(compiled)
    command = shlex.join([f"./{name}" if name.startswith("-") else name, "job.yml"])
    parts = [f"# {main.get('label') or name}", main.get("doc", "")]
    parts += [
        f"A workflow in CWL v1.2, made by d4p2cwl {version_of('d4pcwl')} under Python {PYTHON}. "
        "The first line\ninstalls what the script imports, in the same versions; the second the "
        "engine:",
        "    pip install -r requirements.lock\n    pip install 'd4pcwl[runner]'\n"
        f"    d4pcwl-runner {command}",
        (
            "With `--dry-run` the command shows what will run. Other CWL engines run the document, "
            "too, such as\n"
            f"`cwltool {command}`."
        ),
    ]
    if compiled.missing:
        listed = ", ".join(f"`{each}`" for each in compiled.missing)
        parts.append(f"Before the first run, give in `job.yml` a value for {listed}.")
    if image is not None:
        tag = shlex.quote(image)
        parts += [
            "Or make a container image that has what the script imports:",
            f"    docker build -t {tag} .\n    d4pcwl-runner --default-container {tag} {command}",
        ]
    local = from_folders(gathering.packages)
    if local:
        parts.append(
            "These packages were installed from a folder, and may be in no package index: "
            f"{', '.join(local)}.\n"
            "If pip does not find such a version, ask for its wheel, put it beside this file, "
            "and add `--find-links .`."
        )
    parts += ["## What is in it", "\n".join(f"- {each}" for each in gathering.taken())]
    if left_out := gathering.left_out():
        parts += ["## What is not", "Put it there, or name another in `job.yml`."]
        parts.append("\n".join(f"- {each}" for each in left_out))
    return "\n\n".join(part for part in parts if part) + "\n"


_DOCKERFILE = f"""\
# What the steps of the workflow need; engines bring the script and the data.
ARG BASE=python:{PYTHON}-slim
FROM $BASE
# Put wheels of packages that no index has beside this file.
COPY requirements.lock *.whl /opt/bundle/
RUN pip install --no-cache-dir --find-links /opt/bundle -r /opt/bundle/requirements.lock
WORKDIR /tmp
CMD ["bash"]
"""
