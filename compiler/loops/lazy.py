"""Values while a graph is lowered: what one element is, before anyone decides to store it.

A :class:`Lazy` maps indices to an expression. Views change the indices, elementwise ops combine
expressions; storing one is a statement. That is how transposes, slices and broadcasts cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..diagnostics import Span
from ..graph.types import HALF, At, Pick, Size, Type
from .isl import NotAffine
from .nest import Access, Apply, Expr, SizeValue
from .tree import Literal

Index = tuple[Size, ...]
ZERO = Size.of(0)

#: Rough cost of an elementwise op per element, in additions; ops not listed cost 1.
COSTS = {
    **dict.fromkeys(("cast", "stop_gradient", "re", "im"), 0),
    **dict.fromkeys(("div", "sqrt", "root"), 4),
    **dict.fromkeys(("floordiv", "mod"), 8),
    **dict.fromkeys(("exp", "log", "log1p", "expm1", "sin", "cos", "tan", "tanh", "sigmoid", "softplus", "erf", "pow"), 16),
    **dict.fromkeys(("lgamma", "digamma", "polygamma", "random_normal", "random_uniform", "random_rademacher"), 40),
    **dict.fromkeys(("random_randint", "fold"), 40),
}


@dataclass(frozen=True)
class Lazy:
    """A value of ``type`` whose element at an index is an expression over arrays ``reads``.

    ``cost`` is that of one element in additions; ``array`` is set when the value is exactly an array.
    """

    type: Type
    element: Callable[[Index], Expr]
    reads: frozenset[str] = frozenset()
    cost: int = 0
    array: str | None = None


def stored(array: str, type: Type) -> Lazy:
    """The value held by an array."""
    return Lazy(type, lambda index: Access(array, index, type.dtype), frozenset([array]), 0, array)


def literal(value: complex, dtype: str) -> Lazy:
    """A constant scalar."""
    return Lazy(Type(dtype), lambda index: Literal(value, dtype))


def size_value(size: Size, dtype: str) -> Lazy:
    """An integer expression as a scalar."""
    return Lazy(Type(dtype), lambda index: SizeValue(size, dtype))


def aligned(operand: Type, out: Type, index: Index) -> Index:
    """The index of a broadcast operand for an index of the result."""
    tail = index[len(index) - operand.rank :]
    wide = out.shape[out.rank - operand.rank :]
    return tuple(ZERO if s.constant == 1 and w.constant != 1 else i for i, s, w in zip(tail, operand.shape, wide, strict=True))


def elementwise(op: str, type: Type, operands: Sequence[Lazy]) -> Lazy:
    """An op of the elementwise family applied with broadcasting."""

    def element(index: Index) -> Expr:
        args = tuple(o.element(aligned(o.type, type, index)) for o in operands)
        return args[0] if op == "stop_gradient" else Apply(op, args, type.dtype)

    cost = COSTS.get(op, 1) + sum(o.cost for o in operands)
    if op == "cast" and operands[0].type.dtype in HALF:
        cost += 4  # done once where a value is used several times
    return Lazy(type, element, frozenset().union(*(o.reads for o in operands)), cost)


def placed(value: Lazy, span: Span | None) -> Lazy:
    """The value, its outermost operation known to come from a place in the program."""

    def element(index: Index) -> Expr:
        found = value.element(index)
        return replace(found, span=span) if isinstance(found, Apply) and found.span is None else found

    return replace(value, element=element)


def view(operand: Lazy, type: Type, index: Callable[[Index], Index]) -> Lazy:
    """Another arrangement of the elements of a value."""
    return Lazy(type, lambda i: operand.element(index(i)), operand.reads, operand.cost)


def broadcast(operand: Lazy, type: Type) -> Lazy:
    """NumPy's ``broadcast_to``."""
    return view(operand, type, lambda index: aligned(operand.type, type, index))


def permute(operand: Lazy, type: Type, axes: Sequence[int]) -> Lazy:
    """Axis ``n`` of the result is axis ``axes[n]`` (negative) of the operand."""
    rank = operand.type.rank
    place = {axis % rank: n for n, axis in enumerate(axes)}
    return view(operand, type, lambda index: tuple(index[place[n]] for n in range(rank)))


def flip(operand: Lazy, axes: Sequence[int]) -> Lazy:
    """Axes reversed."""
    shape, rank = operand.type.shape, operand.type.rank
    turned = {a % rank for a in axes}
    return view(operand, operand.type, lambda index: tuple(shape[n] - 1 - i if n in turned else i for n, i in enumerate(index)))


def item_index(items: Sequence[object], index: Index) -> Index:
    """The index of the whole array for an index of its slice. Raises NotAffine for picked positions."""
    rest = list(index)
    out: list[Size] = []
    for item in items:
        if isinstance(item, At):
            out.append(item.index)
        elif isinstance(item, Pick):
            raise NotAffine("a data-dependent index")
        else:
            out.append(item.start + item.step * rest.pop(0))  # type: ignore[attr-defined]
    return tuple(out)


def reshape(operand: Lazy, type: Type) -> Lazy:
    """Row-major reshape: axes are matched in groups of equal size."""
    groups = _groups(operand.type.shape, type.shape)

    def index(new: Index) -> Index:
        out: list[Size] = []
        for old_axes, new_axes in groups:
            linear = ZERO
            for n in new_axes:
                linear = linear * type.shape[n] + new[n]
            out += _split(linear, [operand.type.shape[n] for n in old_axes])
        return tuple(out)

    return view(operand, type, index)


def _groups(old: Sequence[Size], new: Sequence[Size]) -> list[tuple[list[int], list[int]]]:
    """Matching runs of axes with equal products, axes of size 1 included."""
    groups: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(old) or j < len(new):
        a, b = Size.of(1), Size.of(1)
        left: list[int] = []
        right: list[int] = []
        while (not left and not right) or a != b:
            grow_left = j == len(new) or (i < len(old) and (not left or _known(a) <= _known(b)))
            if grow_left and i < len(old):
                a, i = a * old[i], i + 1
                left.append(i - 1)
            elif j < len(new):
                b, j = b * new[j], j + 1
                right.append(j - 1)
            else:
                raise NotAffine("a reshape of symbolic sizes")
        groups.append((left, right))
    return groups


def _known(size: Size) -> int:
    return size.evaluate(dict.fromkeys(size.names(), 1 << 20))


def _split(linear: Size, shape: Sequence[Size]) -> list[Size]:
    out: list[Size] = []
    for n in range(len(shape) - 1, -1, -1):
        if all(s.constant == 1 for s in shape[:n]):
            out.append(linear if shape[n].constant != 1 else ZERO)
            linear = ZERO
        else:
            out.append(linear % shape[n])
            linear = linear // shape[n]
    return out[::-1]
