"""Elementwise ops, constants, views and random numbers as expressions and statements."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..graph.graph import Node
from ..graph.ops.table import lookup
from ..graph.types import At, Pick, Range, Size, Type
from . import expand_control, expand_reduce, expand_select
from . import lazy as lz
from .expansion import EXPANSIONS, Rule, expansion
from .isl import NotAffine
from .lazy import ZERO, Index, Lazy, stored
from .nest import Access, Apply, Expr, SizeValue

if TYPE_CHECKING:
    from .lower import Lowering

_LARGE = {"random_normal", "random_uniform", "random_rademacher", "random_randint"}
__all__ = ["expand_control", "expand_reduce", "expand_select", "rule_for"]  # the others fill the table


def rule_for(op: str) -> Rule | None:
    """The expansion of an op, or None if it is a library call."""
    found = EXPANSIONS.get(op)
    if found is None and lookup(op).family == "elementwise" and not lookup(op).library:
        return _elementwise
    return found


def _elementwise(low: Lowering, node: Node) -> None:
    operands = [low.scope[n] for n in node.inputs]
    low.define(node.output, lz.elementwise(node.op, low.type(node.output.type), operands))


@expansion("const")
def _const(low: Lowering, node: Node) -> None:
    low.scope[node.output.name] = lz.literal(node.attr("value"), node.attr("dtype"))


@expansion("size_value")
def _size_value(low: Lowering, node: Node) -> None:
    low.scope[node.output.name] = lz.size_value(low.size(node.attr("value")), node.attr("dtype"))


@expansion("iota")
def _iota(low: Lowering, node: Node) -> None:
    out = low.type(node.output.type)
    low.scope[node.output.name] = Lazy(out, lambda i: SizeValue(i[0], out.dtype))


@expansion("broadcast")
def _broadcast(low: Lowering, node: Node) -> None:
    low.define(node.output, lz.broadcast(low.scope[node.inputs[0]], low.type(node.output.type)))


@expansion("reshape")
def _reshape(low: Lowering, node: Node) -> None:
    low.define(node.output, lz.reshape(low.scope[node.inputs[0]], low.type(node.output.type)))


@expansion("permute")
def _permute(low: Lowering, node: Node) -> None:
    low.define(node.output, lz.permute(low.scope[node.inputs[0]], low.type(node.output.type), node.attr("axes")))


@expansion("flip")
def _flip(low: Lowering, node: Node) -> None:
    low.define(node.output, lz.flip(low.scope[node.inputs[0]], node.attr("axes")))


@expansion("diagonal")
def _diagonal(low: Lowering, node: Node) -> None:
    out = low.type(node.output.type)
    low.define(node.output, lz.view(low.scope[node.inputs[0]], out, lambda i: (*i, i[-1])))


def _items(low: Lowering, node: Node) -> tuple[At | Range | Pick, ...]:
    out: list[At | Range | Pick] = []
    for item in node.attr("items"):
        if isinstance(item, At):
            out.append(At(low.size(item.index)))
        elif isinstance(item, Range):
            out.append(Range(low.size(item.start), low.size(item.size), item.step))
        else:
            raise NotAffine("a data-dependent index")
    return tuple(out)


@expansion("slice")
def _slice(low: Lowering, node: Node) -> None:
    items = _items(low, node)
    low.define(node.output, lz.view(low.scope[node.inputs[0]], low.type(node.output.type), lambda i: lz.item_index(items, i)))


@expansion("concat")
def _concat(low: Lowering, node: Node) -> None:
    out = low.type(node.output.type)
    array = low.new_array(node.output.name, out)
    axis = node.attr("axis") % out.rank
    offset = ZERO
    for name in node.inputs:
        part = low.scope[name]

        def make(i: Index, part: Lazy = part, offset: Size = offset) -> tuple[Access, Expr]:
            place = tuple(x + offset if n == axis else x for n, x in enumerate(i))
            return Access(array, place, out.dtype), part.element(i)

        low.emit(part.type.shape, make)
        offset = offset + part.type.shape[axis]
    low.scope[node.output.name] = stored(array, out)


@expansion("update")
def _update(low: Lowering, node: Node) -> None:
    base, value = low.scope[node.inputs[0]], low.scope[node.inputs[1]]
    out, items = low.type(node.output.type), _items(low, node)
    kept = [i.size for i in items if isinstance(i, Range)]
    part = Type(out.dtype, tuple(kept))
    array, name = base.array, node.inputs[0]
    mine = name in low.frames[-1].defined or array in low.targets.values()
    if array is None or not mine or low.frames[-1].live(name) or not low.protect(array):
        target = low.targets.get(node.output.name)
        fresh = target is not None and target not in base.reads | value.reads and low.protect(target)
        array = target if fresh and target is not None else low.new_array(node.output.name, out)
        low.store(base, array)
    rank = len(kept)

    def make(i: Index) -> tuple[Access, Expr]:
        return Access(array, lz.item_index(items, i), out.dtype), value.element(lz.aligned(value.type, part, i))

    probe, expr = make(tuple(Size.of(f"p{n}") for n in range(rank)))
    if any(s.constant != 1 for s in kept) and low.reads_elsewhere(array, probe.index, expr):
        copy = low.new_array(node.inputs[1], value.type)
        low.store(value, copy)
        value = stored(copy, value.type)
    low.emit(kept, make, "add" if node.attr("mode") == "add" else "")
    low.scope[node.output.name] = stored(array, out)


@expansion("fold")
def _fold(low: Lowering, node: Node) -> None:
    operands = [low.scope[n] for n in node.inputs]
    low.define(node.output, lz.elementwise("fold", low.type(node.output.type), operands))


@expansion(*_LARGE)
def _random(low: Lowering, node: Node) -> None:
    out, operands = low.type(node.output.type), [low.scope[n] for n in node.inputs]

    def element(index: Index) -> Expr:
        linear = ZERO
        for i, s in zip(index, out.shape, strict=True):
            linear = linear * s + i
        key, *rest = [o.element(lz.aligned(o.type, out, index)) for o in operands]
        return Apply(node.op, (key, SizeValue(linear, "i64"), *rest), out.dtype)

    reads = frozenset().union(*(o.reads for o in operands))
    low.define(node.output, Lazy(out, element, reads, lz.COSTS[node.op]))
