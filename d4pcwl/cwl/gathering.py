"""Gathering for a bundle: the files that a document refers to, and the versions of packages.

``script/`` has the files of the script's folder, in the same places; ``data/`` has files from other
places. Files that may be secret, or are large, are left out unless the user asks for them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from d4pcwl.cwl.lock import version_of
from d4pcwl.errors import UsageError, raise_faults, shown
from d4pcwl.workflow.reading.files import LARGE
from d4pcwl.workflow.reading.roots import words

_NO_DATA = words(".git .hg .svn __pycache__ .ipynb_checkpoints .venv .mypy_cache .pytest_cache")
_SECRET_NAMES = words(
    ".env .env.* .netrc .pgpass .htpasswd .ssh .aws .gnupg .kube .docker id_rsa id_dsa id_ecdsa"
    " id_ed25519 *.pem *.key *.p12 *.pfx *.kdbx *.jks credentials credentials.* *secret*"
)
_KEY = rb"(?i:password|passwd|secret|api_?key|access_?key|auth_?token)\w*[\"']?[ \t]*[:=][ \t]*"
_SECRET = (
    rb"-----BEGIN [A-Z ]*PRIVATE KEY|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_\w{36}|"
    + _KEY
    + rb"[rb]?[\"'][^\"'\s]{6,}[\"']"
)
_IN_CODE = re.compile(_SECRET)
_IN_DATA = re.compile(_SECRET + rb"|(?m:^)[ \t\"'-]*\w*" + _KEY + rb"[^\s\"']{6,}")
_LOOKED_AT = 1 << 20
"""The number of bytes at the beginning of a file that are searched for secrets."""


@dataclass
class _Item:
    """A file or folder that the document refers to.

    :param files: from places in the bundle to files; a folder without files has its own, with /
    :param size: of all files
    :param left_out: from places in the bundle to the reasons why they are left out
    :param remarks: remarks for the user
    """

    source: Path
    files: dict[str, Path] = field(default_factory=dict)
    size: int = 0
    left_out: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


class Gathering:
    """Files and packages that are gathered while a document is made.

    :param target: the bundle itself, which is not put into the bundle
    :param asked: files and folders that are taken in, although they are large or may be secret
    :raises UsageError: one of these does not exist

    ``packages`` has the names of the distributions, ``values`` those of parameters and inputs
    whose values were given.
    """

    def __init__(self, target: str | os.PathLike[str], asked: Sequence[str] = ()) -> None:
        raise_faults(
            UsageError, (f"--take {p}: it does not exist" for p in asked if not os.path.exists(p))
        )
        self._target = Path(os.path.realpath(target))
        self._asked = {os.path.realpath(path): path for path in asked}
        self._homes: list[Path] = []
        self._items: dict[str, _Item] = {}
        self._script = Path()
        self.values: set[str] = set()
        self.packages: set[str] = set()

    @property
    def files(self) -> dict[str, Path]:
        """From places in the bundle to files; the place of a folder without files ends in /."""
        return {place: file for item in self._items.values() for place, file in item.files.items()}

    def pinned(self, packages: Iterable[str]) -> dict[str, list[str]]:
        """Take in distributions; returns their versions."""
        self.packages |= {"d4pcwl", *packages}
        return {name: [version_of(name)] for name in self.packages}

    def locator(self, script: Path, values: Iterable[str]) -> Callable[[Path], str]:
        """A function that takes in a file or folder, and returns its place in the bundle.

        :param values: the parameters whose values were given
        """
        self.values.update(values)
        self._script = Path(os.path.abspath(script))
        beside = self._script.parent
        self._homes = [beside, beside.resolve(), script.resolve().parent]
        return self.take

    def take(self, path: Path) -> str:
        """Take in a file or folder; returns its location, as a document beside them has it."""
        source = Path(os.path.abspath(path))
        place = self._place(source)
        if place not in self._items:
            self._items[place] = self._item(place, source)
        return quote(place)

    def _place(self, source: Path) -> str:
        for home in self._homes:
            if source.is_relative_to(home):
                return (PurePosixPath("script") / source.relative_to(home).as_posix()).as_posix()
        place, number = f"data/{source.name}", 2
        while place in self._items and self._items[place].source != source:
            place, number = f"data/{number}/{source.name}", number + 1
        return place

    def _item(self, place: str, source: Path) -> _Item:
        item = _Item(source)
        for inner, file, why in _walk(place, source, {self._target}, self._named):
            secret = "" if why or file.is_dir() else secret_in(file, code=self._is_code(file))
            if secret and self._is_code(file):
                item.remarks.append(f"{inner} is taken into the bundle, but {secret}: check it")
            elif secret and not self._is_asked(file):
                why = secret
            if why:
                item.left_out[inner] = why
            else:
                item.files[inner] = file
                item.size += file.stat().st_size if file.is_file() else 0
        if item.size > LARGE and not self._is_asked(source):
            return _Item(source, left_out={place: f"it is large ({_told_size(item.size)})"})
        return item

    def _named(self, file: Path) -> str:
        """Why a file or folder is left out because of its name; or an empty text."""
        if self._is_asked(file) or self._is_code(file):
            return ""
        if file.name in _NO_DATA:
            return "it belongs to a development tool, and is not data"
        return secret_by_name(file.name)

    def _is_asked(self, file: Path) -> bool:
        return any(file.resolve().is_relative_to(asked) for asked in self._asked)

    def _is_code(self, file: Path) -> bool:
        """Whether it is the script, or a module, without which nothing runs."""
        return file.suffix == ".py" or file == self._script

    def taken(self) -> list[str]:
        """The files that were taken in, and their sizes."""
        told = []
        for place, item in sorted(self._items.items()):
            count = sum(not name.endswith("/") for name in item.files)
            several = f"{count} file{'s' if count != 1 else ''}, " if item.source.is_dir() else ""
            if item.files:
                told.append(f"{place} ({several}{_told_size(item.size)})")
        return told + [f"the value given for {name}" for name in sorted(self.values)]

    def left_out(self) -> list[str]:
        """The files that were left out, and why."""
        return [
            f"{place}: {why}"
            for _, item in sorted(self._items.items())
            for place, why in sorted(item.left_out.items())
        ]

    def told(self) -> list[str]:
        """All of this, and warnings for the user."""
        told = [f"taken into the bundle: {each}" for each in self.taken()]
        told += [f"left out of the bundle: {each}" for each in self.left_out()]
        told += [remark for _, item in sorted(self._items.items()) for remark in item.remarks]
        return told + [
            f"--take {text}: the document does not refer to it"
            for path, text in self._asked.items()
            if not any(self._is_about(path, item.source) for item in self._items.values())
        ]

    @staticmethod
    def _is_about(asked: str, source: Path) -> bool:
        real = source.resolve()
        return Path(asked).is_relative_to(real) or real.is_relative_to(asked)


def _walk(
    place: str, source: Path, left: set[Path], names: Callable[[Path], str]
) -> Iterator[tuple[str, Path, str]]:
    """The files of a file or folder: place, file, and why it is left out.

    :param left: folders to leave out: those that contain it, and the bundle itself
    :param names: returns why something is left out because of its name
    """
    if not source.exists():
        why = (
            "it is a link to something that does not exist"
            if source.is_symlink()
            else "it does not exist"
        )
    elif not source.is_file() and not source.is_dir():
        why = "it is neither a file nor a folder"
    elif (real := source.resolve()) in left:
        why = "it is a link to a folder that contains it, or it is the bundle itself"
    else:
        why = names(source)
    if why or source.is_file():
        yield place, source, why
        return
    inner = sorted(source.iterdir())
    for entry in inner:
        yield from _walk(f"{place}/{entry.name}", entry, left | {real}, names)
    if not inner:
        yield f"{place}/", source, ""


def secret_by_name(name: str) -> str:
    """Why a file may contain a secret, because of its name; or an empty text."""
    secret = any(fnmatchcase(name.lower(), pattern) for pattern in _SECRET_NAMES)
    return "its name looks like that of a file with a secret" if secret else ""


def secret_in(file: Path, *, code: bool) -> str:
    """Why a file may contain a secret, because of its content; or an empty text."""
    try:
        with open(file, "rb") as content:
            text = content.read(_LOOKED_AT)
    except OSError as error:
        raise UsageError(f"{shown(str(file))}: cannot be read: {error.strerror}") from None
    found = (_IN_CODE if code else _IN_DATA).search(text)
    if found is None:
        return ""
    line = text.count(b"\n", 0, found.end()) + 1
    return f"line {line} looks like a password or key"


def _told_size(size: int) -> str:
    for unit in ("bytes", "kB"):
        if size < 1000:
            return f"{size} {unit}"
        size = round(size / 1000)
    return f"{size} MB"
