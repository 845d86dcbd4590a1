"""The results of reading a script: plain records of findings, with their lines."""

from __future__ import annotations

import ast
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from d4pcwl.errors import Fault


@dataclass(frozen=True, order=True)
class LocalFile:
    """A file or folder beside the script.

    :param path: relative to the script's folder, with slashes
    :param absolute: its present path
    :param file: the file that names or imports it, relative to the script's folder
    :param line: the line of that, from 1
    """

    path: str
    absolute: Path
    file: str
    line: int


VALUE: Final = "\0"
"""In the path of a :class:`NamedPath`, replaces the value of its variable."""


@dataclass(frozen=True, order=True)
class NamedPath:
    """A file that the script clearly writes, with its relative name.

    :param path: relative to the folder where it runs
    :param pattern: whether the path is a glob pattern, because the run makes the name
    :param folder: whether it is the folder of files with unknown names; without a path, the working
        folder
    :param variable: the environment variable whose value is in the path, as :data:`VALUE`
    """

    path: str
    file: str
    line: int
    pattern: bool = False
    folder: bool = False
    variable: str = ""


@dataclass(frozen=True, order=True)
class VariablePath:
    """What a script does with the file or folder that an environment variable names.

    :param use: ``File`` or ``Directory``, that it reads; or ``written``
    :param slash: whether it adds a slash after the value itself, if more follows
    """

    name: str
    use: str
    slash: bool
    file: str
    line: int


@dataclass(frozen=True, order=True)
class EnvVar:
    """An environment variable that the script reads.

    :param name: its name
    :param default: the default in the script, if that is a literal
    :param required: whether the script fails without it
    :param standard: whether CWL engines give it to every tool (HOME, PATH, TMPDIR)
    :param use: ``File`` or ``Directory`` where it names what the script reads
    :param slash: whether the script adds a slash after it if more follows
    """

    name: str
    default: str | None
    required: bool
    standard: bool
    file: str
    line: int
    use: str = ""
    slash: bool = True


@dataclass(frozen=True, order=True)
class Note:
    """A finding whose meaning is not certain."""

    message: str
    file: str
    line: int


@dataclass(frozen=True)
class SourceFile:
    """One Python file, parsed.

    :param path: relative to ``root``, with slashes
    :param root: the script's folder
    :param package: the dotted name of the package it belongs to, empty at the top
    """

    path: str
    root: Path
    package: str
    tree: ast.Module
    lines: tuple[str, ...]

    @property
    def absolute(self) -> Path:
        """Where the file is."""
        return self.root / self.path

    def fault(self, message: str, node: ast.stmt | ast.expr | ast.alias) -> Fault:
        """A fault at ``node``, with the source line for the caret."""
        line = self.lines[node.lineno - 1] if node.lineno <= len(self.lines) else None
        return Fault(message, self.path, node.lineno, node.col_offset + 1, line)


def parse(path: str, root: Path, package: str) -> SourceFile | Fault:
    """Parse ``root / path`` without running it; a syntax error is a fault with its place."""
    try:
        data = (root / path).read_bytes()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(data, path)
    except SyntaxError as error:
        text = error.text.rstrip("\n") if error.text else None
        column = error.offset or None if text is not None else None
        return Fault(f"cannot be read as Python: {error.msg}", path, error.lineno, column, text)
    except (OSError, ValueError) as error:
        return Fault(f"cannot be read: {error}", path)
    return SourceFile(
        path, root, package, tree, tuple(data.decode("utf-8", "replace").splitlines())
    )
