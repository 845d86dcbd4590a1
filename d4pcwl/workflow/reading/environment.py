"""The environment variables that a script reads."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from d4pcwl.workflow.reading.model import EnvVar, Note, SourceFile, VariablePath
from d4pcwl.workflow.reading.paths import Paths
from d4pcwl.workflow.reading.roots import catches, words

STANDARD: Final = words("HOME PATH TMPDIR")
_GUARDS: Final = words("KeyError LookupError Exception")


class Environment:
    """Collects over several files; the results are in ``variables`` and ``notes``."""

    def __init__(self) -> None:
        self.variables: dict[str, EnvVar] = {}
        self.notes: set[Note] = set()

    def collect(self, source: SourceFile) -> None:
        """Add what ``source`` reads."""
        _EnvironmentReader(self, source).read(source.tree)

    def add(self, found: EnvVar) -> None:
        """Combine ``found`` with earlier findings: a variable that is required anywhere is
        required."""
        known = self.variables.get(found.name)
        if known is not None:
            default = known.default if known.default is not None else found.default
            found = replace(known, default=default, required=known.required or found.required)
        self.variables[found.name] = found

    def use(self, found: VariablePath) -> None:
        """Note that a variable names a file or folder that the script reads, unless it also writes
        there."""
        known = self.variables.get(found.name)
        if known is None or known.use == "written":
            return
        use = found.use if "Directory" not in (found.use, known.use) else "Directory"
        if found.use == "written":
            use = "written"
        slash = known.slash and found.slash
        self.variables[found.name] = replace(known, use=use, slash=slash)


class _EnvironmentReader:
    def __init__(self, found: Environment, source: SourceFile) -> None:
        self.found, self.source, self.paths = found, source, Paths(source)
        self.modules, self.environs, self.getters = _aliases(source.tree)
        for name, value in self.paths.constants.items():
            if self.is_environ(value):
                self.environs.add(name)
        self.guarded: frozenset[str] = frozenset()
        self.all_guarded = False
        self.given: set[str] = set()  # variables that the script sets before it reads them

    def is_environ(self, node: ast.expr) -> bool:
        match node:
            case ast.Name(id=name):
                return name in self.environs
            case ast.Attribute(value=ast.Name(id=name), attr="environ"):
                return name in self.modules
        return False

    def read(self, node: ast.AST) -> None:
        match node:
            case ast.If() | ast.IfExp():
                self.read(node.test)
                body = node.body if isinstance(node, ast.If) else [node.body]
                orelse = node.orelse if isinstance(node, ast.If) else [node.orelse]
                negated = isinstance(node.test, ast.UnaryOp) or " not in " in ast.unparse(node.test)
                tested = frozenset(self.tested(node.test))
                self.under(tested, orelse if negated else body)
                self.children(body if negated else orelse)
            case ast.Try() if any(catches(h.type, _GUARDS) for h in node.handlers):
                before, self.all_guarded = self.all_guarded, True
                self.children(node.body)
                self.all_guarded = before
                self.children([*node.handlers, *node.orelse, *node.finalbody])
            case ast.Assign(targets=targets, value=value):
                self.children([value, *targets])
            case ast.Subscript(value=base, slice=key) if self.is_environ(base):
                self.subscript(node, key)
            case ast.Compare(left=key, ops=[ast.In() | ast.NotIn()], comparators=[base]) if (
                self.is_environ(base)
            ):
                self.variable(key, node, required=False)
            case ast.Call():
                self.call(node)
                self.children(ast.iter_child_nodes(node))
            case _:
                self.children(ast.iter_child_nodes(node))

    def children(self, nodes: Iterable[ast.AST]) -> None:
        for node in nodes:
            self.read(node)

    def under(self, names: frozenset[str], nodes: Iterable[ast.AST]) -> None:
        before, self.guarded = self.guarded, self.guarded | names
        self.children(nodes)
        self.guarded = before

    def tested(self, test: ast.expr) -> list[str]:
        """The variables whose presence ``test`` checks."""
        found: list[str | None] = []
        for node in ast.walk(test):
            match node:
                case ast.Compare(left=key, comparators=[base]) if self.is_environ(base):
                    found.append(self.paths.value(key))
                case ast.Call(func=func, args=[key, *_]) if self.getter(func):
                    found.append(self.paths.value(key))
        return [name for name in found if name]

    def getter(self, func: ast.expr) -> str | None:
        """``get``, ``setdefault`` or ``pop`` where ``func`` reads a variable."""
        match func:
            case ast.Name(id=name) if name in self.getters:
                return "get"
            case ast.Attribute(value=ast.Name(id=name), attr="getenv") if name in self.modules:
                return "get"
            case ast.Attribute(value=base, attr="get" | "setdefault" | "pop" as name):
                return name if self.is_environ(base) else None
        return None

    def subscript(self, node: ast.Subscript, key: ast.expr) -> None:
        if isinstance(node.ctx, ast.Load):
            self.variable(key, node, required=True)
        elif isinstance(node.ctx, ast.Store):
            name = self.paths.value(key)
            if name is not None:
                self.given.add(name)

    def call(self, node: ast.Call) -> None:
        getter = self.getter(node.func)
        keywords = {k.arg: k.value for k in node.keywords}
        arguments = [*node.args]
        if getter is not None and (arguments or "key" in keywords):
            key = arguments[0] if arguments else keywords["key"]
            second = arguments[1] if len(arguments) > 1 else keywords.get("default")
            required = getter == "pop" and second is None
            self.variable(key, node, required, second)
        elif getattr(node.func, "attr", "") == "expandvars" and arguments:
            for name in re.findall(r"\$\{?(\w+)", self.paths.value(arguments[0]) or ""):
                self.variable(ast.Constant(name), node, required=False)

    def variable(
        self, key: ast.expr, node: ast.expr, required: bool, default: ast.expr | None = None
    ) -> None:
        name, line, file = self.paths.value(key), node.lineno, self.source.path
        if name is None:
            clause = "reads an environment variable whose name is only known when it runs"
            text = f"{clause}: {ast.unparse(key)}"
            self.found.notes.add(Note(text, file, line))
            return
        if name in self.guarded or name in self.given or self.all_guarded:
            required = False
        literal = None
        if isinstance(default, ast.Constant) and default.value is not None:
            literal = str(default.value)
        elif default is not None:
            literal = self.paths.value(default)
        self.found.add(EnvVar(name, literal, required, name in STANDARD, file, line))


def _aliases(tree: ast.Module) -> tuple[set[str], set[str], set[str]]:
    """The names of ``os``, of ``os.environ`` and of ``os.getenv``."""
    modules, environs, getters = set[str](), set[str](), set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "os" and (alias.name == "os" or not alias.asname):
                    modules.add(alias.asname or "os")
        elif isinstance(node, ast.ImportFrom) and node.module == "os":
            for alias in node.names:
                if alias.name in ("environ", "*"):
                    environs.add(alias.asname or "environ")
                if alias.name in ("getenv", "*"):
                    getters.add(alias.asname or "getenv")
    return modules, environs, getters
