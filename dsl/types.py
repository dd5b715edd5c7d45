"""Types as written, resolved to types of the graph."""

from __future__ import annotations

from ..compiler.graph.types import DTYPES, Size, Type, weights_size
from ..compiler.nearest import nearest
from . import other_words
from . import syntax as s
from .context import Context
from .operand import ModuleOperand


def resolve_type(ctx: Context, node: s.TypeExpr) -> Type:
    """The type that is written, its sizes by the names in scope."""
    name = node.name.text
    if name == "weights":
        return Type.of("real", weights_size(_module(ctx, node)))
    if node.of is not None:
        raise ctx.fault("US0509", f"{name}({node.of.text}) is no type", node.span, f"weights({node.of.text}), or {name}[n]")
    if name not in DTYPES:
        known = other_words.TYPES.get(name.lower()) or nearest(name, DTYPES)
        raise ctx.fault("US0509", f"{name} is no type", node.name.span, known or f"the types are {', '.join(DTYPES)}")
    if name == "key" and node.sizes:
        raise ctx.fault("US0509", "a key has no sizes", node.span, "fold(rng, i) derives one key per i")
    return Type(name, tuple(resolve_size(ctx, size) for size in node.sizes))


def _module(ctx: Context, node: s.TypeExpr) -> str:
    """The module of ``weights(f)`` as the graph calls it. Inputs are declared before modules are."""
    if node.of is None:
        raise ctx.fault("US0509", "weights are those of a module", node.span, "weights(f)")
    name = node.of.text
    bound = ctx.names.get(name)
    if bound is not None and isinstance(bound.operand, ModuleOperand):
        return bound.operand.name
    declared = [n.name.text for n in ctx.unit.interface.decl.body if isinstance(n, s.ModuleDecl)]
    if ctx.function or name not in declared:
        close = nearest(name, declared)
        raise ctx.fault("US0509", f"{name} is no module", node.of.span, close or f"declare it: module {name}: (...) -> ...")
    return name


def resolve_size(ctx: Context, node: s.Expr) -> Size:
    """A size that is written: at least 1 for all the names it uses."""
    operand = ctx.expr(node)
    with ctx.at(node.span):
        size = ctx.size_of(operand)
    if size.constant is not None and size.constant < 1:
        raise ctx.fault("US0504", f"a size is at least 1, not {size}", node.span)
    if size.names() & ctx.facts.indices:
        raise ctx.fault("US0504", f"the size {size} depends on a loop index", node.span)
    return size
