"""What the code of a stream says of itself, read without running it."""

from __future__ import annotations

import ast
import inspect
import os
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from d4pcwl.cwl.declare.declarations import sidecar_path
from d4pcwl.lineage.run_record import sha256_of
from d4pcwl.workflow.docstring import described
from d4pcwl.workflow.texts import read_file

_PACKAGES = ("d4pcwl.library", "d4pcwl.seismology")
"""Those whose PEs say what they do."""


class Source:
    """A script and its modules.

    :param script: the path that it had when it ran; None if there was none
    :param code: the SHA-256 of each file of it, by the path that this had
    :param known: where files are now, by digest

    :ivar files: by their places beside the script, which comes first
    :ivar missing: the paths of files that have changed since, or are gone
    :ivar title: the first line of the script's docstring
    :ivar doc: the rest of it
    :ivar parameters: what the docstrings of its functions say of parameters
    :ivar metadata: what the script declares in terms of schema.org
    """

    def __init__(
        self, script: str | None, code: Mapping[str, str], known: Mapping[str, Path]
    ) -> None:
        self.files: dict[str, Path] = {}
        self.missing: list[str] = []
        self.title = self.doc = ""
        self.parameters: dict[str, str] = {}
        self.metadata: Mapping[str, Any] = {}
        self._classes: dict[str, tuple[str, str]] = {}
        if script is None:
            return
        folder = os.path.dirname(script)
        for path in sorted(code, key=lambda path: (path != script, path)):
            here = known.get(code[path]) or Path(path)
            if sha256_of(here) != code[path]:
                self.missing.append(path)
                continue
            self.files[os.path.relpath(path, folder)] = here
            self._read(here, whole=path == script)
        sidecar = sidecar_path(Path(script))
        if sidecar.is_file():
            self.files[sidecar.name] = sidecar
            told = read_file(sidecar)
            if isinstance(told, Mapping) and isinstance(told.get("metadata"), Mapping):
                self.metadata = told["metadata"]

    def described(self, name: str) -> tuple[str, str]:
        """The first line of the docstring of a class, and the rest of it."""
        if name not in self._classes:
            packages = (import_module(package) for package in _PACKAGES)
            found = next((getattr(p, name) for p in packages if name in p.__all__), None)
            self._classes[name] = described(inspect.getdoc(found) or "" if found else "")[:2]
        return self._classes[name]

    def _read(self, path: Path, *, whole: bool) -> None:
        try:
            tree = ast.parse(path.read_bytes())
        except (
            OSError,
            SyntaxError,
            ValueError,
        ):  # a notebook, or something else that is no module
            return
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and (doc := ast.get_docstring(node)):
                self._classes[node.name] = described(doc)[:2]
        if not whole:
            return
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and (doc := ast.get_docstring(node)):
                self.parameters = described(doc)[2] | self.parameters
        self.title, self.doc, _ = described(inspect.cleandoc(ast.get_docstring(tree) or ""))
        for node in tree.body:
            if isinstance(node, ast.Assign) and any(
                isinstance(target, ast.Name) and target.id == "cwl" for target in node.targets
            ):
                try:
                    told = ast.literal_eval(node.value)
                except ValueError:  # it is computed
                    continue
                if isinstance(told, dict) and isinstance(told.get("metadata"), dict):
                    self.metadata = told["metadata"]
