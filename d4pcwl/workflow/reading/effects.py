"""What a function changes beyond its own call, found by reading its source.

The reading follows names, not values. A local name that is bound to ``self.counts`` is the same
object, so ``counts[word] += 1`` changes ``self.counts``. None of the user's code runs.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import FunctionType, ModuleType

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
    declarations,
    draws,
    is_container,
    is_fixed,
    last_name,
    may_change,
    parameters,
    plain_function,
    short,
)


@dataclass(frozen=True)
class Use:
    """``method`` is applied to ``self.attribute``: its value decides whether that is a change."""

    attribute: str
    method: str
    line: int


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
    parents: set[str] = field(default_factory=set)  # methods called through super() or a class
    returns: bool = False  # whether it returns or yields a value other than None


def effects_of(node: FunctionNode, function: FunctionType, roots: Mapping[str, Root]) -> Effects:
    """What ``function``, with the source ``node``, changes, for the given objects of its
    parameters."""
    reader = _Reader(function)
    reader.scope(node, roots)
    return reader.found


class _Reader(Names):
    def __init__(self, function: FunctionType) -> None:
        super().__init__(function)
        self.found = Effects()
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
        outside, self.env = self.env, env
        for statement in body:
            self.read(statement)
        self.env, self.declared = outside, kept

    def nested(self, node: FunctionNode) -> None:
        returns = self.found.returns
        for default in (*node.args.defaults, *(d for d in node.args.kw_defaults if d)):
            self.read(default)
        self.scope(node, {})
        self.found.returns = returns

    def blocks(self, *blocks: Iterable[ast.AST]) -> None:
        """Read alternative or repeated blocks. Afterwards a name may be the object that any of them
        assigned."""
        merged = dict(self.env)
        for block in blocks:
            self.env = dict(merged)
            for statement in block:
                self.read(statement)
            for name, root in self.env.items():
                merged[name] = merged.get(name) or root
        self.env = merged

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
            case ast.Attribute(value=base, attr=name):
                root = self.root(base)
                if root is not None and not root.outer and root.depth == 0:
                    (self.found.parents if root.text == "super()" else self.found.names).add(name)
                self.read(base)
            case ast.Return(value=value) if value is not None:
                self.found.returns |= not (isinstance(value, ast.Constant) and value.value is None)
                self.read(value)
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
                    self.env[name] = root
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
        elif root.depth == 1 and root.attribute is not None:
            self.found.uses[Use(root.attribute, "+=", target.lineno)] = None

    def loop(self, target: ast.expr, iterable: ast.expr) -> None:
        self.read(iterable)
        root = self.root(iterable)
        if root is not None and root.attribute is not None and root.depth == 1:
            self.found.uses[Use(root.attribute, "iter", iterable.lineno)] = None
        if (
            root is None
            and isinstance(iterable, ast.Call)
            and last_name(iterable.func) in PASS_THROUGH
        ):
            root = next((r for r in map(self.root, iterable.args) if r is not None), None)
        self.bind(target, root and root.below("[...]"))

    # -- calls --------------------------------------------------------------------------------

    def call(self, node: ast.Call) -> None:
        func, values = node.func, [*node.args, *(k.value for k in node.keywords)]
        self.children([func, *values])
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
        if callee is not None and callee.value is not MISSING:
            self.follow(callee, node)
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
            if target is not None:
                self.change(f"writes its output to {target.text}", node, target)
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
            elif draws(base.value):
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
        elif base.depth == 1 and base.attribute is not None:
            self.found.uses[Use(base.attribute, name, node.lineno)] = None

    def follow(self, callee: Root, node: ast.Call) -> None:
        function, owner = plain_function(callee.value), None
        if function is None and type(callee.value).__module__ != "builtins":
            function = plain_function(inspect.getattr_static(type(callee.value), "__call__", None))
            owner = callee
        if function is None:
            return
        code = function.__code__
        names = list(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])
        given: dict[str, Root | None] = {}
        positional: list[Root | None] = [owner] if owner else []
        if owner is None and isinstance(node.func, ast.Attribute):
            base = self.root(node.func.value)
            if base is not None and not isinstance(base.value, ModuleType | type):
                positional = [base]
        positional += [None if isinstance(a, ast.Starred) else self.root(a) for a in node.args]
        given.update(zip(names[: code.co_argcount], positional, strict=False))
        given.update({k.arg: self.root(k.value) for k in node.keywords if k.arg in names})
        roots = tuple((n, r) for n, r in given.items() if r is not None and not is_fixed(r))
        self.found.calls[Call(function, roots)] = None

    def is_user_function(self, root: Root | None) -> bool:
        value = plain_function(root.value) if root is not None else None
        return value is not None and value.__globals__ is self.globals
