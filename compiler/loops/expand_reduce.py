"""Reductions, contractions and running sums as statements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from typing import TYPE_CHECKING

from ..graph.graph import Node, Value
from ..graph.types import Size, Type, is_floating
from .expansion import expansion
from .lazy import ZERO, Index, Lazy, stored
from .nest import Access, Apply, Expr, SizeValue, accesses
from .storing import letter_sizes, nominal
from .tree import Literal

if TYPE_CHECKING:
    from .lower import Lowering


def _identity(kind: str, dtype: str) -> Literal:
    if kind in ("add", "mul"):
        return Literal(0 if kind == "add" else 1, dtype)
    if kind in ("or", "and"):
        return Literal(kind == "and", dtype)
    low = kind == "max"
    if is_floating(dtype):
        return Literal(-inf if low else inf, dtype)
    bits = int(dtype[1:]) if dtype != "bool" else 1
    return Literal(-(2 ** (bits - 1)) if low else 2 ** (bits - 1) - 1, dtype)


def _reduce(low: Lowering, out: Value, type: Type, extents: Sequence[Size], kind: str, element: Callable[[Index, Index], Expr],
            reads: frozenset[str]) -> None:  # fmt: skip
    target = low.targets.get(out.name)
    if target is not None and (target in reads or not low.protect(target)):
        target = None
    if not low.strict and not type.shape and len(extents) > 1:  # rows first: they are independent
        rows = Value(out.name + "_rows", Type(type.dtype, (extents[0],)))
        low.uses[rows.name] = 1
        _reduce(low, rows, rows.type, extents[1:], kind, lambda outer, inner: element((), (*outer, *inner)), reads)
        part = low.scope.pop(rows.name)
        _reduce(low, out, type, extents[:1], kind, lambda outer, inner: part.element(inner), part.reads)
        return
    array = target or low.new_array(out.name, type)
    identity = _identity(kind, type.dtype)
    low.emit(type.shape, lambda i: (Access(array, i, type.dtype), identity))
    rank = type.rank

    def make(i: Index) -> tuple[Access, Expr]:
        return Access(array, i[:rank], type.dtype), element(i[:rank], i[rank:])

    low.emit(
        [*type.shape, *extents], make, kind, lambda w, e, names: _loop_order(low, w, e, names, rank, [*type.shape, *extents])
    )
    low.scope[out.name] = stored(array, type)


#: Lanes of the shortest vectors: a loop of so many iterations is one of them, and a tile of rows shares what it loads.
_SHORT = 4


def _loop_order(low: Lowering, write: Access, value: Expr, names: list[str], kept: int, extents: Sequence[Size]) -> list[str]:
    """Outputs, then reductions, the dim with the best strides innermost (an output dim when it ties)."""

    def score(position: int) -> tuple[float, float]:
        name, total = names[position], 0.0
        for a in [write, *dict.fromkeys(accesses(value))]:
            stride = _stride(low, a, name)
            total += 1 if stride == 0 else 2 if stride == 1 else -3
        extent = nominal(extents[position])
        return (total - (3 if extent == _SHORT else 6 if extent < 2 * _SHORT else 0), 1.0 if position < kept else 0.0)

    if not names:
        return names
    best = max(range(len(names)), key=lambda p: (score(p), p))
    return [n for p, n in enumerate(names) if p != best] + [names[best]]


def _stride(low: Lowering, access: Access, name: str) -> int:
    step, total = 1, 0
    for index, extent in zip(reversed(access.index), reversed(low.arrays[access.array].shape), strict=True):
        affine = index.affine()
        if affine is None:
            return 1 << 20
        for atom, c in affine[0].items():
            if atom == name:
                total += c * step
            elif not isinstance(atom, str) and name in atom.names():
                return 1 << 20
        step *= nominal(extent)
    return abs(total)


_KINDS = {"sum": "add", "prod": "mul", "max": "max", "min": "min", "any": "or", "all": "and"}


@expansion(*_KINDS)
def _reduction(low: Lowering, node: Node) -> None:
    value = low.scope[node.inputs[0]]
    rank = value.type.rank
    axes = sorted(a % rank for a in node.attr("axes"))
    if not axes:
        low.define(node.output, value)
        return
    kept = [n for n in range(rank) if n not in axes]

    def element(outer: Index, inner: Index) -> Expr:
        place = dict(zip([*kept, *axes], [*outer, *inner], strict=True))
        return value.element(tuple(place[n] for n in range(rank)))

    extents = [value.type.shape[a] for a in axes]
    _reduce(low, node.output, low.type(node.output.type), extents, _KINDS[node.op], element, value.reads)


@expansion("argmax", "argmin")
def _argument(low: Lowering, node: Node) -> None:
    value = low.in_array(low.scope[node.inputs[0]], node.inputs[0])
    rank = value.type.rank
    axis = node.attr("axis") % rank
    kept = Type(value.type.dtype, tuple(s for n, s in enumerate(value.type.shape) if n != axis))
    best = Value(node.output.name + "_best", kept)

    def at(outer: Index, inner: Index) -> Index:
        return (*outer[:axis], inner[0], *outer[axis:])

    extent = [value.type.shape[axis]]
    low.uses[best.name] = 2
    _reduce(low, best, kept, extent, "max" if node.op == "argmax" else "min", lambda o, i: value.element(at(o, i)), value.reads)
    extreme = low.scope[best.name]

    def first(outer: Index, inner: Index) -> Expr:
        x = value.element(at(outer, inner))
        hit = Apply("or", (Apply("eq", (x, extreme.element(outer)), "bool"), Apply("ne", (x, x), "bool")), "bool")
        return Apply("where", (hit, SizeValue(inner[0], "i64"), SizeValue(extent[0], "i64")), "i64")

    _reduce(low, node.output, low.type(node.output.type), extent, "min", first, value.reads | extreme.reads)


@expansion("einsum")
def _einsum(low: Lowering, node: Node) -> None:
    operands = [low.scope[n] for n in node.inputs]
    extents = letter_sizes(node, [o.type for o in operands])
    inputs, output = node.attr("spec").replace(" ", "").split("->")
    summed = [x for x in extents if x not in output]
    out = low.type(node.output.type)

    def element(outer: Index, inner: Index) -> Expr:
        place = dict(zip([*output, *summed], [*outer, *inner], strict=True))
        factors = []
        for letters, operand in zip(inputs.split(","), operands, strict=True):
            index = tuple(place[x] if s.constant != 1 else ZERO for x, s in zip(letters, operand.type.shape, strict=True))
            factors.append(operand.element(index))
        product = factors[0]
        for factor in factors[1:]:
            product = Apply("mul", (product, factor), out.dtype)
        return product

    reads = frozenset().union(*(o.reads for o in operands))
    if not summed:
        cost = sum(o.cost for o in operands) + len(operands) - 1
        low.define(node.output, Lazy(out, lambda i: element(i, ()), reads, cost))
        return
    _reduce(low, node.output, out, [extents[x] for x in summed], "add", element, reads)


@expansion("cumsum")
def _cumsum(low: Lowering, node: Node) -> None:
    value = low.scope[node.inputs[0]]
    out = low.type(node.output.type)
    array = low.new_array(node.output.name, out)
    axis = node.attr("axis") % out.rank

    def place(i: Index, at: Size) -> Index:
        return (*i[:axis], at, *i[axis:])

    rest = [s for n, s in enumerate(out.shape) if n != axis]
    low.emit(rest, lambda i: (Access(array, place(i, ZERO), out.dtype), value.element(place(i, ZERO))))

    def step(i: Index) -> tuple[Access, Expr]:
        *others, t = i
        before, now = place(tuple(others), t), place(tuple(others), t + 1)
        return Access(array, now, out.dtype), Apply("add", (Access(array, before, out.dtype), value.element(now)), out.dtype)

    low.emit([*rest, out.shape[axis] - 1], step)
    low.scope[node.output.name] = stored(array, out)
