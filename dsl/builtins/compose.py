"""Array functions made of graph ops: ``(Builder, Value, ...) -> Value``.

Axes are negative integers counted from the end, as everywhere in the graph, so that none of
this changes when a leading axis is added.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ...compiler.graph.graph import Builder, Value
from ...compiler.graph.ops.common import Scalar, broadcast_to, constant, reshape_to
from ...compiler.graph.types import At, Item, Pick, Range, Size, SizeLike, is_complex, size_fn

Axes = Sequence[int]


def op(b: Builder, name: str, *inputs: Value, **attrs: Any) -> Value:
    """One op with one output."""
    out: Value = b.op(name, *inputs, **attrs)
    return out


def like(b: Builder, value: Scalar, x: Value) -> Value:
    """A scalar of the dtype of ``x``."""
    return constant(b, value, x.type.dtype)


def size_scalar(b: Builder, size: SizeLike, dtype: str) -> Value:
    """A size as a scalar of ``dtype``."""
    known = Size.of(size)
    if known.constant is not None:
        return constant(b, known.constant, dtype)
    return op(b, "size_value", value=known, dtype=dtype)


def cast(b: Builder, x: Value, dtype: str) -> Value:
    """``x`` in ``dtype``; itself if it has it."""
    return x if x.type.dtype == dtype else op(b, "cast", x, dtype=dtype)


def broadcast(b: Builder, x: Value, shape: Sequence[SizeLike]) -> Value:
    """``x`` broadcast to ``shape``; itself if it has it."""
    return broadcast_to(b, x, [Size.of(s) for s in shape])


def reshape(b: Builder, x: Value, shape: Sequence[SizeLike]) -> Value:
    """``x`` in another shape of as many elements; itself if it has it."""
    return reshape_to(b, x, [Size.of(s) for s in shape])


def filled(b: Builder, value: Scalar, shape: Sequence[SizeLike], dtype: str) -> Value:
    """An array of one literal."""
    return broadcast(b, constant(b, value, dtype), shape)


def unsqueeze(b: Builder, x: Value, axis: int) -> Value:
    """A new axis of size 1; ``axis`` (negative) is its position in the result."""
    shape = list(x.type.shape)
    shape.insert(len(shape) + 1 + axis, Size.of(1))
    return reshape(b, x, shape)


def keep(b: Builder, reduced: Value, original: Value, axes: Axes) -> Value:
    """A reduced array with its dropped axes put back with size 1."""
    rank = original.type.rank
    return reshape(b, reduced, [Size.of(1) if i - rank in axes else s for i, s in enumerate(original.type.shape)])


def reduce(b: Builder, name: str, x: Value, axes: Axes, keepdims: bool = False) -> Value:
    """``sum prod max min any all`` over ``axes``."""
    if not axes:
        return x
    out = op(b, name, x, axes=tuple(sorted(axes)))
    return keep(b, out, x, axes) if keepdims else out


def swap_last(b: Builder, x: Value) -> Value:
    """The last two axes exchanged."""
    return permute(b, x, [*range(-x.type.rank, -2), -1, -2])


def permute(b: Builder, x: Value, axes: Axes) -> Value:
    """Axes in the order given; itself if that is the order they have."""
    return x if list(axes) == list(range(-x.type.rank, 0)) else op(b, "permute", x, axes=tuple(axes))


def whole(size: SizeLike) -> Range:
    """The item that takes a whole axis."""
    return Range(Size.of(0), Size.of(size))


def items_for(x: Value, axis: int, item: Item) -> tuple[Item, ...]:
    """Items that take everything but on one axis."""
    return tuple(item if i - x.type.rank == axis else whole(s) for i, s in enumerate(x.type.shape))


def take(b: Builder, x: Value, axis: int, start: SizeLike, size: SizeLike, step: int = 1) -> Value:
    """``size`` positions of one axis from ``start``."""
    return op(b, "slice", x, items=items_for(x, axis, Range(Size.of(start), Size.of(size), step)))


def pick(b: Builder, x: Value, axis: int, index: Value) -> Value:
    """Positions of one axis at run-time indices (a scalar drops the axis)."""
    return op(b, "slice", x, index, items=items_for(x, axis, Pick(0)))


def at(b: Builder, x: Value, axis: int, index: SizeLike) -> Value:
    """One position of an axis, which goes away."""
    return op(b, "slice", x, items=items_for(x, axis, At(Size.of(index))))


def concat(b: Builder, parts: Sequence[Value], axis: int) -> Value:
    """Arrays one after another; a single one stays as it is."""
    return parts[0] if len(parts) == 1 else op(b, "concat", *parts, axis=axis)


def stack(b: Builder, parts: Sequence[Value], axis: int) -> Value:
    """Arrays of one shape along a new axis, at ``axis`` of the result."""
    return concat(b, [unsqueeze(b, p, axis) for p in parts], axis)


def count(x: Value, axes: Axes) -> Size:
    """How many elements a reduction over ``axes`` meets."""
    total = Size.of(1)
    for axis in axes:
        total = total * x.type.shape[axis]
    return total


def abs2(b: Builder, x: Value) -> Value:
    """Squared magnitude, real."""
    if not is_complex(x.type.dtype):
        return op(b, "mul", x, x)
    re, im = op(b, "re", x), op(b, "im", x)
    return op(b, "add", op(b, "mul", re, re), op(b, "mul", im, im))


def mean(b: Builder, x: Value, axes: Axes, keepdims: bool = False) -> Value:
    """Arithmetic mean."""
    total = reduce(b, "sum", x, axes, keepdims)
    return op(b, "div", total, size_scalar(b, count(x, axes), x.type.dtype))


def var(b: Builder, x: Value, axes: Axes, keepdims: bool = False) -> Value:
    """Mean squared distance from the mean (divides by n)."""
    return mean(b, abs2(b, op(b, "sub", x, mean(b, x, axes, keepdims=True))), axes, keepdims)


def norm(b: Builder, x: Value, axes: Axes, keepdims: bool = False) -> Value:
    """Euclidean norm; derivative 0 at 0."""
    return op(b, "root", reduce(b, "sum", abs2(b, x), axes, keepdims))


def shift_of(b: Builder, x: Value, axes: Axes) -> Value:
    """The maximum over ``axes``, kept, without a derivative: what softmax may subtract."""
    return op(b, "stop_gradient", reduce(b, "max", x, axes, keepdims=True))


def logsumexp(b: Builder, x: Value, axes: Axes, keepdims: bool = False) -> Value:
    """``log(sum(exp(x)))`` without overflow; rows of ``-inf`` give ``-inf``."""
    top = shift_of(b, x, axes)
    top = op(b, "where", op(b, "isfinite", top), top, like(b, 0, x))
    total = reduce(b, "sum", op(b, "exp", op(b, "sub", x, top)), axes, keepdims=True)
    out = op(b, "add", op(b, "log", total), top)
    return out if keepdims else reshape(b, out, [s for i, s in enumerate(x.type.shape) if i - x.type.rank not in axes])


def softmax(b: Builder, x: Value, axes: Axes) -> Value:
    """``exp(x) / sum(exp(x))`` without overflow."""
    e = op(b, "exp", op(b, "sub", x, shift_of(b, x, axes)))
    return op(b, "div", e, reduce(b, "sum", e, axes, keepdims=True))


def log_softmax(b: Builder, x: Value, axes: Axes) -> Value:
    """``log(softmax(x))`` without overflow or loss of digits."""
    z = op(b, "sub", x, shift_of(b, x, axes))
    return op(b, "sub", z, op(b, "log", reduce(b, "sum", op(b, "exp", z), axes, keepdims=True)))


def iota(b: Builder, size: SizeLike, dtype: str = "i64") -> Value:
    """``0, 1, ..., size - 1``."""
    return op(b, "iota", size=Size.of(size), dtype=dtype)


def grid(b: Builder, rows: SizeLike, columns: SizeLike) -> tuple[Value, Value]:
    """Row numbers as a column and column numbers as a row, which broadcast to a matrix."""
    return unsqueeze(b, iota(b, rows), -1), iota(b, columns)


def eye(b: Builder, rows: SizeLike, columns: SizeLike, k: SizeLike, dtype: str) -> Value:
    """Ones on diagonal ``k``, zeros elsewhere."""
    i, j = grid(b, rows, columns)
    return cast(b, op(b, "eq", _offset(b, i, k), j), dtype)


def _offset(b: Builder, index: Value, k: SizeLike) -> Value:
    return index if Size.of(k).constant == 0 else op(b, "add", index, size_scalar(b, k, "i64"))


def triangle(b: Builder, x: Value, k: SizeLike, lower: bool) -> Value:
    """``x`` with zeros above (``lower``) or below diagonal ``k`` of its last two axes."""
    i, j = grid(b, x.type.shape[-2], x.type.shape[-1])
    inside = op(b, "le" if lower else "ge", j, _offset(b, i, k))
    return op(b, "where", inside, x, like(b, 0, x))


def diagonal(b: Builder, x: Value, k: int = 0) -> Value:
    """Diagonal ``k`` of the last two axes."""
    rows, columns = x.type.shape[-2:]
    if k > 0:
        x, columns = take(b, x, -1, k, columns - k), columns - k
    elif k < 0:
        x, rows = take(b, x, -2, -k, rows + k), rows + k
    n = size_fn("min", rows, columns)
    for axis, size in ((-2, rows), (-1, columns)):
        if size != n:
            x = take(b, x, axis, 0, n)
    return op(b, "diagonal", x)


def diagonal_matrix(b: Builder, x: Value, k: int = 0) -> Value:
    """A square matrix with the vector ``x`` on diagonal ``k``."""
    n = x.type.shape[-1]
    total = n + abs(k)
    i, j = grid(b, total, total)
    on = op(b, "eq", _offset(b, i, k), j)
    values = x if k == 0 else padded(b, x, [(max(k, 0), max(-k, 0))], 0)
    return op(b, "where", on, values, like(b, 0, x))


def padded(b: Builder, x: Value, widths: Sequence[tuple[SizeLike, SizeLike]], value: Scalar) -> Value:
    """``x`` inside a larger array of ``value``; one (before, after) per axis."""
    shape = [s + Size.of(before) + Size.of(after) for s, (before, after) in zip(x.type.shape, widths, strict=True)]
    if tuple(shape) == x.type.shape:
        return x
    border = broadcast(b, like(b, value, x), shape)
    items = tuple(Range(Size.of(before), s) for s, (before, _) in zip(x.type.shape, widths, strict=True))
    return op(b, "update", border, x, items=items, mode="set")


def roll(b: Builder, x: Value, shift: SizeLike, axis: int) -> Value:
    """Positions of one axis moved up by ``shift``, around the end."""
    n = x.type.shape[axis]
    by = Size.of(shift) if Size.of(shift).constant in (1, 0) and n.constant is None else Size.of(shift) % n
    if Size.of(shift).constant == -1 and n.constant is None:  # sizes are at least 1
        by = n - 1
    if by.constant == 0:
        return x
    return concat(b, [take(b, x, axis, n - by, by), take(b, x, axis, 0, n - by)], axis)


def roll_by_value(b: Builder, x: Value, shift: Value, axis: int) -> Value:
    """As :func:`roll`, by a run-time integer."""
    n = x.type.shape[axis]
    index = op(b, "mod", op(b, "sub", iota(b, n), cast(b, shift, "i64")), size_scalar(b, n, "i64"))
    return pick(b, x, axis, index)


def clip(b: Builder, x: Value, low: Value | None, high: Value | None, low_known: bool = False, high_known: bool = False) -> Value:
    """``x`` held within bounds; the derivative at a bound is 1, as in PyTorch. A bound that is not
    known to be a number is checked for NaN, which it passes on."""
    for bound, known, beyond in ((low, low_known, "lt"), (high, high_known, "gt")):
        if bound is not None:
            out = op(b, beyond, x, bound)
            if not known:
                out = op(b, "or", out, op(b, "ne", bound, bound))
            x = op(b, "where", out, bound, x)
    return x


def angle(b: Builder, x: Value) -> Value:
    """The phase; of real numbers 0 or pi."""
    if is_complex(x.type.dtype):
        return op(b, "angle", x)
    zero = like(b, 0, x)
    phase = op(b, "where", op(b, "lt", x, zero), like(b, math.pi, x), zero)
    return op(b, "where", op(b, "ne", x, x), op(b, "stop_gradient", x), phase)
