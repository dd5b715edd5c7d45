"""Sizes of an algorithm: the names that its inputs, parameters and modules bind, and the conditions of ``where``."""

from __future__ import annotations

from collections.abc import Iterator
from keyword import iskeyword

from ..compiler.graph.algorithm import Condition
from ..compiler.graph.types import Size, Type
from . import syntax as s
from .context import Binding, Context, noun
from .operand import SizeOperand, Weak
from .walk import descend


def canonical(ctx: Context, type: Type) -> Type:
    """A type with sizes as ``where`` lets them be written."""
    return Type(type.dtype, tuple(map(ctx.facts.canonical, type.shape)))


def names_in(node: s.Node) -> Iterator[s.Name]:
    """Names used in a size expression, ``min`` and ``max`` called in it aside."""
    called = {id(n.function) for n in descend(node) if isinstance(n, s.Call)}
    return (n for n in descend(node) if isinstance(n, s.Name) and id(n) not in called)


def declare_sizes(ctx: Context, decl: s.AlgorithmDecl) -> None:
    """Bring the size names of an algorithm into scope: iteration counts, names that inputs bind, names that params
    and modules need. Other names in sizes are errors."""
    for node in decl.body:
        if isinstance(node, s.Iterations):
            _declare_size(ctx, node.name, "iterations")
    for item in decl.inputs:
        for size in item.type.sizes:
            if isinstance(size, s.Name):
                _declare_size(ctx, size, "size")
    for node in decl.body:
        needed: list[s.Expr] = []
        if isinstance(node, s.ParamDecl):
            needed = list(node.sizes)
        elif isinstance(node, s.ModuleDecl):
            needed = [size for t in (*node.arguments, *node.results) for size in t.sizes] + ([node.count] if node.count else [])
        for size in needed:
            for name in names_in(size):
                _declare_size(ctx, name, "size")
    values = {item.name.text for item in decl.inputs}  # not in a condition of where: it says so itself
    bound = "an input's type binds it where it stands alone: real[n]"
    for where in (*(x.type for x in decl.inputs), *decl.results, *decl.where):
        for size in where.sizes if isinstance(where, s.TypeExpr) else (where,):
            for name in names_in(size):
                if name.text not in ctx.names and not (where in decl.where and name.text in values):
                    ctx.names[name.text] = Binding(None, name.span, "size")
                    ctx.unit.report(ctx.fault("US0504", f"the size {name.text} is never bound", name.span, bound).diagnostic)


def _declare_size(ctx: Context, name: s.Name, kind: str) -> None:
    if name.text in ctx.names or name.text in s.TYPE_NAMES:
        return
    if iskeyword(name.text):
        fault = ctx.fault(
            "US0209", f"the size {name.text} could not be set from Python, where it is a keyword", name.span, f"{name.text}_"
        )
        ctx.unit.report(fault.diagnostic)
    ctx.unit.sizes.add(name.text)
    ctx.names[name.text] = Binding(SizeOperand(Size.of(name.text)), name.span, kind)


def conditions(ctx: Context, node: s.Expr) -> list[Condition]:
    """The comparisons of one ``where`` condition."""
    if isinstance(node, s.Binary) and node.op == "and":
        return conditions(ctx, node.left) + conditions(ctx, node.right)
    if not isinstance(node, s.Compare):
        raise ctx.fault("US0507", "a condition of `where` compares sizes", node.span, "for example n >= 3")
    sizes = []
    for operand in node.operands:
        for name in names_in(operand):
            if name.text in ctx.names and ctx.names[name.text].kind not in ("size", "iterations"):
                raise ctx.fault(
                    "US0507",
                    f"a condition of `where` compares sizes, and {name.text} is a value",
                    name.span,
                    "assert it in the body",
                )
        found = ctx.expr(operand)
        if not isinstance(found, SizeOperand) and not (isinstance(found, Weak) and type(found.number) is int):
            raise ctx.fault("US0507", f"a condition of `where` compares sizes, not {noun(found)}", operand.span)
        sizes.append(ctx.size_of(found))
    return [Condition(a, op, b) for a, op, b in zip(sizes, node.ops, sizes[1:], strict=False)]
