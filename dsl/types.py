"""Types as written, resolved to types of the graph."""

from __future__ import annotations

from difflib import get_close_matches

from ..compiler.graph.types import DTYPES, Size, Type
from . import syntax as s
from .context import Context


def resolve_type(ctx: Context, node: s.TypeExpr) -> Type:
    """The type that is written, its sizes by the names in scope."""
    name = node.name.text
    if node.of is not None or name == "weights":
        raise ctx.fault("US0509", "weights as values are not supported yet", node.span)
    if name not in DTYPES:
        close = get_close_matches(name, DTYPES, 1)
        raise ctx.fault(
            "US0509", f"{name} is no type", node.name.span, close[0] if close else f"the types are {', '.join(DTYPES)}"
        )
    if name == "key" and node.sizes:
        raise ctx.fault("US0509", "a key has no sizes", node.span, "fold(rng, i) derives one key per i")
    return Type(name, tuple(resolve_size(ctx, size) for size in node.sizes))


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
