"""The modules beside a script that it imports, directly or not; nothing is imported here."""

from __future__ import annotations

import ast
import importlib.machinery
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from d4pcwl.errors import Fault
from d4pcwl.workflow.reading.model import LocalFile, Note, SourceFile, parse
from d4pcwl.workflow.reading.paths import Paths
from d4pcwl.workflow.reading.roots import catches, last_name, words

FRAMEWORK: Final = frozenset({"dispel4py", "d4pcwl"})
GUARDS: Final = words("ImportError ModuleNotFoundError Exception BaseException")
LISTERS: Final = words("iter_modules walk_packages")


@dataclass(frozen=True)
class Import:
    """One import of a file: the module, the names taken from it, and whether it may fail."""

    module: str
    names: tuple[str, ...]
    level: int
    guarded: bool
    node: ast.stmt | ast.expr


class Imports:
    """Follows imports from the script on.

    ``follow`` fills ``sources``, ``modules``, ``packages``, ``notes`` and ``faults``.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folders = [""]  # the folders of modules, relative to root
        self.sources: dict[str, SourceFile] = {}
        self.modules: dict[str, LocalFile] = {}
        self.packages: set[str] = set()
        self.notes: set[Note] = set()
        self.faults: dict[Fault, None] = {}
        self._waiting: list[SourceFile] = []

    def follow(self, script: SourceFile) -> None:
        """Read ``script`` and all local modules that it imports, directly or not."""
        self.sources[script.path] = script
        self._waiting = [script]
        while self._waiting:
            source = self._waiting.pop(0)
            self._search_paths(source)
            for found in _imports(source.tree):
                self._resolve(found, source)
            for call in _calls(source.tree):
                self._dynamic(call, source)

    # -- one import ---------------------------------------------------------------------------

    def _resolve(self, found: Import, source: SourceFile) -> None:
        module = found.module
        if found.level:
            parts = source.package.split(".") if source.package else []
            keep = len(parts) - found.level + 1
            if keep < 0:
                self._fault("relative import reaches above the script's folder", found, source)
                return
            base = ".".join(parts[:keep])
            module = ".".join(p for p in (base, module) if p)
            if not module:
                for name in found.names:
                    self._local_or_fault(name, (), found, source)
                return
        self._local_or_fault(module, found.names, found, source)

    def _local_or_fault(
        self, module: str, names: tuple[str, ...], found: Import, source: SourceFile
    ) -> None:
        top = module.split(".")[0]
        if top in FRAMEWORK or top in sys.builtin_module_names or top == "__future__":
            return
        known = top in sys.stdlib_module_names
        folder = self._folder(top, known)
        if folder is None:
            if not known and self._installed(top):
                self.packages.add(top)
            elif not known and not found.guarded:
                self._missing(module, found, source)
            return
        if known:
            text = f"module {top!r} is the one beside the script, not the standard library's"
            self.notes.add(Note(text, source.path, found.node.lineno))
        at = folder
        for number, part in enumerate(module.split("."), start=1):
            at = f"{at}/{part}" if at else part
            if not self._add(at, found, source):
                if not found.guarded and number > 1:
                    self._missing(module, found, source)
                return
        for name in self._taken(at, names):
            if self._kind(f"{at}/{name}") is not None:
                self._add(f"{at}/{name}", found, source)

    def _taken(self, at: str, names: tuple[str, ...]) -> tuple[str, ...]:
        """The names taken from a package; ``*`` takes those in its literal ``__all__``."""
        if "*" not in names:
            return names
        package = self.sources.get(f"{at}/__init__.py")
        body = package.tree.body if package else []
        listed: list[str] = []
        for node in body:
            if isinstance(node, ast.Assign) and any(
                isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets
            ):
                listed += [n.value for n in ast.walk(node.value) if _is_text(n)]  # type: ignore[attr-defined]
        return tuple(listed)

    def _folder(self, top: str, known: bool) -> str | None:
        """The search folder with module ``top``; an installed module is used instead of a folder
        without code."""
        for folder in self.folders:
            kind = self._kind(f"{folder}/{top}" if folder else top)
            if kind in ("module", "package", "compiled"):
                return folder
            if kind == "namespace" and not known and not self._installed(top):
                return folder
        return None

    def _kind(self, at: str) -> str | None:
        place = self.root / at
        if (place / "__init__.py").is_file():
            return "package"
        if place.with_name(f"{place.name}.py").is_file():
            return "module"
        if _compiled(place) is not None:
            return "compiled"
        return "namespace" if place.is_dir() else None

    def _add(self, at: str, found: Import, source: SourceFile) -> bool:
        """Take the module at ``at``; return whether there is one."""
        kind = self._kind(at)
        if kind == "compiled":
            file = _compiled(self.root / at)
            if file is not None:
                path = file.relative_to(self.root).as_posix()
                self.notes.add(
                    Note(f"{path} is compiled for one platform", source.path, found.node.lineno)
                )
                self.modules.setdefault(path, LocalFile(path, file, source.path, found.node.lineno))
        elif kind in ("package", "module"):
            path = f"{at}/__init__.py" if kind == "package" else f"{at}.py"
            package = at if kind == "package" else at.rpartition("/")[0]
            self._take(path, self._dotted(package), source, found.node.lineno)
        return kind is not None

    def _dotted(self, folder: str) -> str:
        """The dotted name of the package in ``folder``, seen from where modules are looked for."""
        for search in sorted(self.folders, key=len, reverse=True):
            if search and folder == search:
                return ""
            if search and folder.startswith(f"{search}/"):
                return folder[len(search) + 1 :].replace("/", ".")
        return folder.replace("/", ".")

    def _take(self, path: str, package: str, source: SourceFile, line: int) -> None:
        if path in self.sources or path in self.modules:
            return
        self.modules[path] = LocalFile(path, self.root / path, source.path, line)
        parsed = parse(path, self.root, package)
        if isinstance(parsed, Fault):
            self.faults[parsed] = None
        else:
            self.sources[path] = parsed
            self._waiting.append(parsed)

    def _missing(self, module: str, found: Import, source: SourceFile) -> None:
        text = f"module {module!r} imported at line {found.node.lineno} is found neither beside"
        self._fault(f"{text} the script nor installed", found, source)

    def _fault(self, message: str, found: Import, source: SourceFile) -> None:
        self.faults[source.fault(message, found.node)] = None

    def _installed(self, top: str) -> bool:
        """Whether ``top`` is installed: the script's and the current folder do not count."""
        beside = {self.root.resolve(), Path.cwd()}
        path = [p for p in sys.path if p and Path(p).resolve() not in beside]
        if importlib.machinery.PathFinder.find_spec(top, path) is not None:
            return True
        editable = [f for f in sys.meta_path if "editable" in getattr(f, "__module__", "")]
        return any(finder.find_spec(top, None) is not None for finder in editable)

    # -- imports by calls, and more places to look --------------------------------------------

    def _dynamic(self, call: ast.Call, source: SourceFile) -> None:
        name = last_name(call.func)
        if name in ("import_module", "__import__") and call.args:
            literal = call.args[0]
            if isinstance(literal, ast.Constant) and isinstance(literal.value, str):
                text = literal.value.lstrip(".")
                level = len(literal.value) - len(text)
                guarded = any(n is call for n in _guarded_nodes(source.tree))
                self._resolve(Import(text, (), level, guarded, call), source)
                return
        elif name not in LISTERS:
            return
        text = "imports a module whose name is only known when it runs"
        self.notes.add(Note(text, source.path, call.lineno))
        if source.package:
            depth = source.package.count(".") + 1
            folder = Path(source.path).parents[depth - 1]
            for file in sorted((self.root / folder).rglob("*.py")):
                relative = file.relative_to(self.root)
                package = self._dotted(relative.parent.as_posix())
                self._take(relative.as_posix(), package, source, call.lineno)

    def _search_paths(self, source: SourceFile) -> None:
        """Folders that the script adds to ``sys.path``."""
        paths = Paths(source)
        for call in _calls(source.tree):
            func = call.func
            if not (isinstance(func, ast.Attribute) and ast.unparse(func.value) == "sys.path"):
                continue
            value = paths.value(call.args[-1]) if call.args else None
            place = (self.root / value).resolve() if value is not None else None
            if place is not None and place.is_relative_to(self.root):
                relative = place.relative_to(self.root).as_posix()
                if relative != "." and relative not in self.folders:
                    self.folders.append(relative)
            else:
                text = "adds a folder to sys.path that is not beside the script, or not known"
                self.notes.add(Note(text, source.path, call.lineno))


def _imports(tree: ast.Module) -> Iterator[Import]:
    guarded = {id(node) for node in _guarded_nodes(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, (), 0, id(node) in guarded, node)
        elif isinstance(node, ast.ImportFrom):
            names = tuple(alias.name for alias in node.names)
            yield Import(node.module or "", names, node.level, id(node) in guarded, node)


def _guarded_nodes(tree: ast.Module) -> Iterator[ast.AST]:
    """Code under ``except ImportError`` (also its fallback), or only for type checkers."""
    for node in ast.walk(tree):
        inside: list[ast.stmt] = []
        if isinstance(node, ast.Try) and any(catches(h.type, GUARDS) for h in node.handlers):
            inside = [*node.body, *(s for h in node.handlers for s in h.body)]
        elif (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)) or (
            isinstance(node, ast.With)
            and any(
                last_name(i.context_expr.func) == "suppress"
                and any(catches(a, GUARDS) for a in i.context_expr.args)
                for i in node.items
                if isinstance(i.context_expr, ast.Call)
            )
        ):
            inside = node.body
        for statement in inside:
            yield from ast.walk(statement)


def _calls(tree: ast.Module) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _compiled(place: Path) -> Path | None:
    if not place.parent.is_dir():
        return None
    endings = importlib.machinery.EXTENSION_SUFFIXES
    return next((f for e in endings if (f := place.with_name(place.name + e)).is_file()), None)
