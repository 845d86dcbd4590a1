"""What a function changes beyond its own call, found by reading its source.

The reading follows names, not values. A local name that is bound to ``self.counts`` is the same
object, so ``counts[word] += 1`` changes ``self.counts``. None of the user's code runs.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import FunctionType, ModuleType
from typing import Final

from d4pcwl.workflow.reading.roots import (
    CONTAINER_NODES,
    FIRST_ARGUMENT,
    MISSING,
    MUTATORS,
    PASS_THROUGH,
    RNG,
    WRITERS,
    FunctionNode,
    Names,
    Root,
    bound_names,
    consumes,
    declarations,
    draws,
    functions_of,
    is_container,
    is_fixed,
    is_terminal,
    last_name,
    may_change,
    parameters,
    plain_function,
    short,
)
from d4pcwl.workflow.reading.source import is_generated, is_library, methods_beside, source_node

DEPTH: Final = 4
"""Results of calls are followed so deep."""
CONSTRUCTORS: Final = ("__new__", "__init__", "__post_init__")


@dataclass(frozen=True)
class Use:
    """``method`` is applied to ``self.attribute``: its value decides whether that is a change.

    :param given: the objects of the positional arguments, if it is called
    :param named: those of the keyword arguments
    """

    attribute: str
    method: str
    line: int
    given: tuple[Root | None, ...] = ()
    named: tuple[tuple[str, Root | None], ...] = ()


@dataclass(frozen=True)
class Call:
    """A call of a function written in Python, with the objects of its parameters."""

    function: FunctionType
    roots: tuple[tuple[str, Root], ...]


@dataclass
class Effects:
    """The effects of one function: changes as ``(text, line)``, with whether they are of something
    that the PE does not hold; and uses and calls that are decided later."""

    changes: dict[tuple[str, int], bool] = field(default_factory=dict)
    uses: dict[Use, None] = field(default_factory=dict)
    calls: dict[Call, None] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)  # attributes of self that it reads or calls
    held: set[str] = field(default_factory=set)  # those that it does not only call
    parents: set[str] = field(default_factory=set)  # methods called through super() or a class
    returns: bool = False  # whether it returns or yields a value other than None
    results: list[Root] = field(default_factory=list)  # objects that last, and that it returns


def effects_of(
    node: FunctionNode, function: FunctionType, roots: Mapping[str, Root], depth: int = 0
) -> Effects:
    """What ``function``, with the source ``node``, changes, for the given objects of its
    parameters.

    :param depth: how many calls lie between the function and the one that is asked for
    """
    reader = _Reader(function, depth)
    reader.scope(node, roots)
    return reader.found


@functools.lru_cache(maxsize=4096)
def _result(call: Call, depth: int) -> Root | None:
    """The object that a call returns, if it lasts: ``self.store()`` may be ``self.items``."""
    node = None if is_library(call.function) else source_node(call.function)
    if node is None:
        return None
    results = effects_of(node, call.function, dict(call.roots), depth).results
    return results[0] if results else None


def bound_call(
    function: FunctionType, given: Iterable[Root | None], named: Mapping[str, Root | None]
) -> Call:
    """A call of ``function`` with the objects of its arguments."""
    code = function.__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    roots = dict(zip(names[: code.co_argcount], given, strict=False))
    roots.update({name: root for name, root in named.items() if name in names})
    return Call(
        function, tuple((n, r) for n, r in roots.items() if r is not None and not is_fixed(r))
    )


class _Reader(Names):
    def __init__(self, function: FunctionType, depth: int) -> None:
        super().__init__(function)
        self.function = function
        self.depth = depth
        self.found = Effects()
        self.known: dict[ast.Call, Root | None] = {}  # results, while no name changes
        self.declared: dict[str, str] = {}  # name -> "global" | "nonlocal"

    # -- scopes -------------------------------------------------------------------------------

    def scope(self, node: FunctionNode, roots: Mapping[str, Root]) -> None:
        body = [node.body] if isinstance(node, ast.Lambda) else node.body
        args = node.args
        own = [*parameters(node), *(a.arg for a in (args.vararg, args.kwarg) if a)]
        kept, declared = self.declared, declarations(body)
        outer_locals = set(self.env)
        self.declared = {
            n: k for n, k in declared.items() if k == "global" or n not in outer_locals
        }
        env = dict(self.env)
        env.update(dict.fromkeys(bound_names(body) - set(declared)))
        env.update(dict.fromkeys(own))
        env.update(roots)
        outside = self.env
        self.let(env)
        for statement in body:
            self.read(statement)
        self.let(outside)
        self.declared = kept

    def nested(self, node: FunctionNode) -> None:
        returns, results = self.found.returns, [*self.found.results]
        for default in (*node.args.defaults, *(d for d in node.args.kw_defaults if d)):
            self.read(default)
        self.scope(node, {})
        self.found.returns, self.found.results = returns, results

    def blocks(self, *blocks: Iterable[ast.AST]) -> None:
        """Read alternative or repeated blocks. Afterwards a name may be the object that any of them
        assigned."""
        merged = dict(self.env)
        for block in blocks:
            self.let(dict(merged))
            for statement in block:
                self.read(statement)
            for name, root in self.env.items():
                merged[name] = merged.get(name) or root
        self.let(merged)

    # -- statements and expressions -----------------------------------------------------------

    def read(self, node: ast.AST) -> None:
        match node:
            case ast.Assign(targets=targets, value=value):
                self.read(value)
                for target in targets:
                    self.bind(target, self.root(value), value)
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                self.read(value)
                self.bind(target, self.root(value), value)
            case ast.NamedExpr(target=target, value=value):
                self.read(value)
                self.bind(target, self.root(value), value)
            case ast.AugAssign(target=target, value=value):
                self.read(value)
                self.augment(target, value)
            case ast.Delete(targets=targets):
                for target in targets:
                    self.bind(target, None, verb="deletes")
            case ast.For() | ast.AsyncFor():
                self.loop(node.target, node.iter)
                self.blocks(node.body, node.body, node.orelse)
            case ast.While(test=test, body=body, orelse=orelse):
                self.read(test)
                self.blocks(body, body, orelse)
            case ast.If(test=test, body=body, orelse=orelse):
                self.read(test)
                self.blocks(body, orelse)
            case ast.Try() | ast.TryStar():
                self.blocks(
                    node.body, *(h.body for h in node.handlers), node.orelse, node.finalbody
                )
            case ast.withitem(context_expr=value, optional_vars=target):
                self.read(value)
                self.applied(self.root(value), "__enter__", value)
                if target is not None:
                    self.bind(target, self.root(value))
            case ast.comprehension(target=target, iter=iterable, ifs=ifs):
                self.loop(target, iterable)
                self.children(ifs)
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp():
                self.children([*node.generators, node.elt])
            case ast.DictComp(key=key, value=value, generators=generators):
                self.children([*generators, key, value])
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                self.nested(node)
            case ast.Call():
                self.call(node)
            case ast.Attribute():
                self.attribute(node)
            case ast.Compare(ops=ops, comparators=others):
                for operator, other in zip(ops, others, strict=True):
                    if isinstance(operator, ast.In | ast.NotIn):
                        self.drawn(other)
                        self.applied(self.root(other), "__contains__", other)
                self.children([node.left, *others])
            case ast.Subscript(value=value):
                self.applied(self.root(value), "__getitem__", node)
                self.children(ast.iter_child_nodes(node))
            case ast.Import() | ast.ImportFrom():
                self.imported(node)
            case ast.Match(subject=subject, cases=cases):
                self.read(subject)
                self.matched(self.root(subject), cases)
            case ast.Return(value=value) | ast.Yield(value=value) if value is not None:
                self.found.returns |= isinstance(node, ast.Yield) or not (
                    isinstance(value, ast.Constant) and value.value is None
                )
                self.read(value)
                result = self.root(value)
                if result is not None and not is_fixed(result):
                    self.found.results.append(result)
            case _:
                self.found.returns |= isinstance(node, ast.Yield | ast.YieldFrom)
                self.children(ast.iter_child_nodes(node))

    def children(self, nodes: Iterable[ast.AST]) -> None:
        for node in nodes:
            self.read(node)

    def change(self, text: str, node: ast.expr, root: Root | None) -> None:
        """:param root: what is changed; None for a variable outside of the function"""
        outside = root is None or (root.outer and not root.held)
        self.found.changes[text, node.lineno] = outside

    # -- binding ------------------------------------------------------------------------------

    def bind(
        self,
        target: ast.expr,
        root: Root | None,
        value: ast.expr | None = None,
        verb: str = "assigns",
    ) -> None:
        match target:
            case ast.Name(id=name):
                if name in self.declared:
                    self.change(f"{verb} the {self.declared[name]} {name}", target, None)
                else:
                    self.let({**self.env, name: root})
                    if isinstance(value, ast.Attribute) and value.attr in MUTATORS:
                        self.bound_method(value)
            case ast.Tuple(elts=targets) | ast.List(elts=targets):
                pairs: list[ast.expr] = []
                if isinstance(value, ast.Tuple | ast.List) and len(value.elts) == len(targets):
                    pairs = value.elts
                for at, element in enumerate(targets):
                    if pairs:
                        self.bind(element, self.root(pairs[at]), pairs[at], verb)
                    else:
                        self.bind(element, root and root.below("[...]"), None, verb)
            case ast.Starred(value=inner):
                self.bind(inner, root, None, verb)
            case ast.Attribute(value=base, attr=name):
                owner = self.root(base)
                if owner is not None:
                    self.change(f"{verb} {owner.text}.{name}", target, owner)
                self.read(base)
            case ast.Subscript(value=base, slice=index):
                owner = self.root(base)
                if owner is not None:
                    self.change(f"{verb} {owner.text}[{short(index)}]", target, owner)
                self.children([base, index])
            case _:
                self.read(target)

    def augment(self, target: ast.expr, value: ast.expr) -> None:
        if not isinstance(target, ast.Name) or target.id in self.declared:
            self.bind(target, None)
            return
        root = self.env.get(target.id)
        if root is None:
            return
        if isinstance(value, CONTAINER_NODES) or is_container(root.value):
            self.change(f"extends {root.text}", target, root)
        elif root.attribute is not None and (root.depth == 1 or root.text.endswith(":]")):
            method = "+=" if root.depth == 1 else "[:] +="
            self.found.uses[Use(root.attribute, method, target.lineno)] = None

    def loop(self, target: ast.expr, iterable: ast.expr) -> None:
        self.read(iterable)
        self.drawn(iterable)
        root = self.root(iterable)
        if isinstance(iterable, ast.Tuple | ast.List):
            for element in iterable.elts:
                self.bind(target, self.root(element), element)
            return
        if (
            root is None
            and isinstance(iterable, ast.Call)
            and last_name(iterable.func) in PASS_THROUGH
        ):
            root = next((r for r in map(self.root, iterable.args) if r is not None), None)
        self.bind(target, root and root.below("[...]"))

    def matched(self, root: Root | None, cases: Iterable[ast.match_case]) -> None:
        for case in cases:
            for pattern in ast.walk(case.pattern):
                if isinstance(pattern, ast.MatchAs) and pattern.name is not None:
                    whole = pattern is case.pattern
                    held = root if whole else root and root.below("[...]")
                    self.let({**self.env, pattern.name: held})
        self.blocks(*([case.guard, *case.body] if case.guard else case.body for case in cases))

    def imported(self, node: ast.Import | ast.ImportFrom) -> None:
        """Bind what is imported inside the function. Nothing is imported for that."""
        for alias in node.names:
            name = alias.asname or alias.name
            if isinstance(node, ast.Import):
                whole = alias.name if alias.asname else alias.name.partition(".")[0]
                value: object = sys.modules.get(whole, ModuleType(whole))
                module_root = Root(whole, outer=True, value=value)
                self.let({**self.env, alias.asname or whole: module_root})
                continue
            package = self.globals.get("__package__") or ""
            path = "." * node.level + (node.module or "")
            try:
                module = sys.modules.get(importlib.util.resolve_name(path, package))
            except ImportError:
                module = None
            found = vars(module).get(alias.name, MISSING) if module is not None else MISSING
            given = None if found is MISSING else Root(name, outer=True, value=found)
            self.let({**self.env, name: given})

    # -- attributes and calls -----------------------------------------------------------------

    def root(self, node: ast.expr) -> Root | None:
        if not isinstance(node, ast.Call):
            return super().root(node)
        if node not in self.known:
            found = super().root(node)
            if found is None and self.depth <= DEPTH:
                results = (_result(c, self.depth + 1) for c in self.targets(node, lasting=True))
                found = next((result for result in results if result is not None), None)
            self.known[node] = found
        return self.known[node]

    def let(self, env: dict[str, Root | None]) -> None:
        """Go on with these names."""
        self.env = env
        self.known.clear()

    def attribute(self, node: ast.Attribute, call: ast.Call | None = None) -> None:
        """Read an attribute. A method that is not called at once may be called later."""
        base, name = self.root(node.value), node.attr
        if base is None:
            pass
        elif base.outer:
            function = self.root(node)
            if function is not None and function.value is MISSING:
                self.may_call(base, name)
            elif (
                function is not None
                and isinstance(function.value, FunctionType)
                and not isinstance(base.value, ModuleType | type)
            ):
                self.found.calls[bound_call(function.value, [base], {})] = None
        elif base.depth == 0:
            (self.found.parents if base.text == "super()" else self.found.names).add(name)
            if call is None:
                self.found.held.add(name)
        elif base.depth == 1 and base.attribute is not None:
            if base.attribute != RNG:
                given, named = self.arguments(call)
                use = Use(base.attribute, name, node.lineno, tuple(given), tuple(named.items()))
                self.found.uses[use] = None
        elif name not in MUTATORS:
            self.may_call(base, name)
        self.read(node.value)

    def may_call(self, base: Root, name: str) -> None:
        for function in methods_beside(self.function, name):
            self.found.calls[bound_call(function, [base], {})] = None

    def arguments(self, call: ast.Call | None) -> tuple[list[Root | None], dict[str, Root | None]]:
        if call is None:
            return [], {}
        given = [None if isinstance(a, ast.Starred) else self.root(a) for a in call.args]
        return given, {k.arg: self.root(k.value) for k in call.keywords if k.arg is not None}

    def drawn(self, node: ast.expr) -> None:
        """An iterator that is read gives other items the next time."""
        root = self.root(node)
        if root is None:
            return
        if root.outer:
            if consumes(root.value):
                self.change(f"draws from {root.text}", node, root)
        else:
            self.applied(root, "iter", node)

    def applied(self, root: Root | None, method: str, node: ast.expr) -> None:
        """The value of ``self.attribute`` decides whether this changes it, or an element of it."""
        depth = 2 if method == "element()" else 1
        if root is not None and root.attribute is not None and min(root.depth, 2) == depth:
            self.found.uses[Use(root.attribute, method, node.lineno)] = None

    def call(self, node: ast.Call) -> None:
        func, values = node.func, [*node.args, *(k.value for k in node.keywords)]
        if isinstance(func, ast.Attribute):
            self.attribute(func, node)
        else:
            self.read(func)
        self.children(values)
        for value in node.args:
            self.drawn(value)
        first = self.root(node.args[0]) if node.args else None
        last = last_name(func)
        if isinstance(func, ast.Attribute):
            base = self.root(func.value)
            if base is not None:
                self.method(base, func, node)
        callee = self.root(func)
        direct = isinstance(func, ast.Name) and callee is not None and callee.depth == 1
        if direct and callee is not None and callee.attribute is not None:
            self.found.uses[Use(callee.attribute, "__call__", node.lineno)] = None
        elif not isinstance(func, ast.Attribute):
            self.applied(callee, "element()", node)
        self.found.calls.update(dict.fromkeys(self.targets(node)))
        typed = isinstance(func, ast.Attribute) and last_name(func.value) in (
            "list",
            "dict",
            "set",
            "deque",
        )
        if first is not None and (
            (last in FIRST_ARGUMENT and not self.is_user_function(callee))
            or last in ("__setattr__", "__delattr__")
            or (typed and last in MUTATORS)
        ):
            fixed = not first.outer or not isinstance(first.value, ModuleType | type)
            if fixed or last in ("setattr", "delattr"):
                self.change(f"calls {last}({first.text}, ...)", node, first)
        for keyword in node.keywords:
            target = self.root(keyword.value) if keyword.arg in ("out", "file") else None
            if target is not None and not is_terminal(target.value):
                self.change(f"writes its output to {target.text}", node, target)
            if keyword.arg == "inplace" and isinstance(func, ast.Attribute):
                changed = self.root(func.value)
                if changed is not None:
                    self.change(f"calls {changed.text}.{func.attr}", node, changed)
        for value in values:
            if isinstance(value, ast.Attribute) and value.attr in MUTATORS:
                self.bound_method(value)
            passed = self.root(value)
            if passed is not None and isinstance(passed.value, FunctionType):
                self.found.calls[Call(passed.value, ())] = None

    def bound_method(self, node: ast.Attribute) -> None:
        """A mutating method that is stored or passed on counts as called."""
        base = self.root(node.value)
        if base is not None and (base.depth or is_container(base.value)):
            self.change(f"calls {base.text}.{node.attr}", node, base)

    def method(self, base: Root, func: ast.Attribute, node: ast.Call) -> None:
        name = func.attr
        if base.outer:
            self.found.parents.add(name)
            if name in MUTATORS and may_change(base.value):
                self.change(f"calls {base.text}.{name}", node, base)
            elif draws(base.value) or consumes(base.value):
                self.change(f"draws from {base.text}", node, base)
        elif base.depth == 0:
            if name in ("__setattr__", "__delattr__"):
                self.change(f"calls {base.text}.{name}", node, base)
            elif base.text != "super()":
                self.found.uses[Use(name, "__call__", node.lineno)] = None
        elif base.depth == 1 and base.attribute == RNG:
            self.found.uses[Use(RNG, name, node.lineno)] = None
        elif name in MUTATORS or name in WRITERS:
            self.change(f"calls {base.text}.{name}", node, base)

    def targets(self, node: ast.Call, lasting: bool = False) -> Iterator[Call]:
        """The functions that a call may run, with the objects of their parameters.

        :param lasting: those that may return an object that lasts; otherwise those that may change
            their arguments (what self.attribute is decides later)
        """
        given, named = self.arguments(node)
        passed = lasting or any((*given, *named.values()))
        for first, functions in self.called(node, lasting, passed):
            for function in functions:
                yield bound_call(function, [*first, *given], named)

    def called(
        self, node: ast.Call, lasting: bool, passed: bool
    ) -> Iterator[tuple[list[Root | None], Iterable[FunctionType]]]:
        """Functions that a call may run, with the object that they are methods of.

        :param passed: whether methods of ``self`` count; what they do themselves is read anyway
        """
        func, callee = node.func, self.root(node.func)
        base = self.root(func.value) if isinstance(func, ast.Attribute) else None
        value = callee.value if callee is not None else MISSING
        if isinstance(func, ast.Attribute) and base is not None and value is MISSING:
            if base.outer or base.depth > 1 or (base.depth == 1 and lasting):
                yield [base], methods_beside(self.function, func.attr)
            elif base.depth == 0 and passed:
                value = inspect.getattr_static(base.kind, func.attr, None)
                yield [] if isinstance(value, staticmethod) else [base], functions_of(value)
        elif callee is None or value is MISSING:
            return
        elif isinstance(value, type):
            made = (inspect.getattr_static(value, name, None) for name in CONSTRUCTORS)
            yield [None], [f for f in map(plain_function, made) if f and not is_generated(f)]
        else:
            bound = base is not None and not isinstance(base.value, ModuleType | type)
            bound |= isinstance(value, classmethod)
            yield [base] if bound else [], functions_of(value)
            yield [callee], functions_of(inspect.getattr_static(type(value), "__call__", None))

    def is_user_function(self, root: Root | None) -> bool:
        value = plain_function(root.value) if root is not None else None
        return value is not None and value.__globals__ is self.globals
