"""Constructors and views: constants, ``iota``, and ops that move elements without computing. Indexing: ``index.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..types import Range, Size, Type
from .common import (
    batch_same,
    broadcast_to,
    check_axes,
    check_axis,
    constant,
    emit,
    is_differentiable,
    need_count,
    need_equal,
    need_rank,
    prefixed,
    reshape_to,
    same_dtype,
    shape_of,
    torch_dtype,
    unbroadcast,
)
from .table import Attrs, Op, OpTypeError, register

if TYPE_CHECKING:
    from ..graph import Builder, Node, Value

# -- constructors ----------------------------------------------------------------------------------------------------


def _infer_const(types: tuple[Type, ...], attrs: Attrs) -> tuple[Type, ...]:
    return (Type(attrs["dtype"]),)


def _const(torch: Any, attrs: Attrs) -> Any:
    return torch.tensor(attrs["value"], dtype=torch_dtype(torch, attrs["dtype"]))


def _infer_iota(types: tuple[Type, ...], attrs: Attrs) -> tuple[Type, ...]:
    return (Type.of(attrs["dtype"], attrs["size"]),)


def _iota(torch: Any, attrs: Attrs) -> Any:
    return torch.arange(attrs["size"], dtype=torch_dtype(torch, attrs["dtype"]))


register(Op("const", "constructor", _infer_const, _const, doc="A scalar constant: attributes value and dtype."))
register(Op("size_value", "constructor", _infer_const, _const, doc="A size, or a loop index, as a scalar of a dtype."))
register(Op("iota", "constructor", _infer_iota, _iota, doc="The numbers 0, 1, ..., size - 1."))


def _infer_broadcast(types: tuple[Type, ...], attrs: Attrs) -> tuple[Type, ...]:
    need_count("broadcast", types, 1)
    (source,) = types
    shape = shape_of(attrs["shape"])
    target = Type(source.dtype, shape)
    if source.rank > target.rank:
        raise OpTypeError(f"{source} cannot be broadcast to {target}, which has fewer axes")
    for old, new in zip(source.shape, shape[target.rank - source.rank :], strict=True):
        if old != new and old.constant != 1:
            raise OpTypeError(f"{source} cannot be broadcast to {target}: {old} and {new} are different sizes")
    return (target,)


def _broadcast_adjoint(b: Builder, node: Node, cotangents: Any, operand: Any, result: Any) -> list[Value | None]:
    g = cotangents[0]
    if g is None or not is_differentiable(g.type.dtype):
        return [None]
    return [unbroadcast(b, g, operand(0).type.shape)]


def _batch_broadcast(b: Builder, node: Node, operands: Any, batched: Any, size: Size) -> tuple[Value, ...]:
    (x,) = operands
    shape = node.attr("shape")
    gap = (Size.of(1),) * (len(shape) - x.type.rank + 1)
    return (broadcast_to(b, reshape_to(b, x, (size, *gap, *x.type.shape[1:])), (size, *shape)),)


register(Op("broadcast", "constructor", _infer_broadcast, lambda torch, attrs, x: x.expand(attrs["shape"]), _broadcast_adjoint,
            _batch_broadcast, ((0,),), doc="x repeated to a shape; axes align at the right."))  # fmt: skip

# -- views -----------------------------------------------------------------------------------------------------------


def _infer_reshape(types: tuple[Type, ...], attrs: Attrs) -> tuple[Type, ...]:
    need_count("reshape", types, 1)
    target = Type(types[0].dtype, shape_of(attrs["shape"]))
    if target.numel != types[0].numel:
        raise OpTypeError(f"reshape of {types[0]} to {target}: {types[0].numel} elements do not fit {target.numel}")
    return (target,)


def _reshape_adjoint(b: Builder, node: Node, cotangents: Any, operand: Any, result: Any) -> list[Value | None]:
    return [None if cotangents[0] is None else reshape_to(b, cotangents[0], operand(0).type.shape)]


register(Op("reshape", "view", _infer_reshape, lambda torch, attrs, x: x.reshape(attrs["shape"]), _reshape_adjoint,
            prefixed("shape"), ((0,),), doc="x in another shape, elements in row-major order."))  # fmt: skip


def _infer_permute(types: tuple[Type, ...], attrs: Attrs) -> tuple[Type, ...]:
    need_count("permute", types, 1)
    order = check_axes("permute", types[0], attrs["axes"])
    if len(order) != types[0].rank:
        raise OpTypeError(f"permute of {types[0]} needs all its axes, not {tuple(attrs['axes'])}")
    return (Type(types[0].dtype, tuple(types[0].shape[n] for n in order)),)


def inverse_order(axes: tuple[int, ...]) -> tuple[int, ...]:
    """The permutation (negative axes) that undoes another."""
    rank = len(axes)
    positions = [a + rank for a in axes]
    return tuple(positions.index(n) - rank for n in range(rank))


def permute_to(b: Builder, value: Value, axes: tuple[int, ...]) -> Value:
    """``value`` with its axes (negative) in another order; itself if the order is the same."""
    rank = value.type.rank
    return value if axes == tuple(range(-rank, 0)) else b.op("permute", value, axes=axes)


def _permute_adjoint(b: Builder, node: Node, cotangents: Any, operand: Any, result: Any) -> list[Value | None]:
    return [None if cotangents[0] is None else b.op("permute", cotangents[0], axes=inverse_order(node.attr("axes")))]


def _batch_permute(b: Builder, node: Node, operands: Any, batched: Any, size: Size) -> tuple[Value, ...]:
    axes = node.attr("axes")
    return emit(b, node, operands, axes=(-len(axes) - 1, *axes))


register(Op("permute", "view", _infer_permute, lambda torch, attrs, x: x.permute(attrs["axes"]), _permute_adjoint, _batch_permute,
            ((0,),), doc="x with its axes in another order."))  # fmt: skip


def _infer_flip(types: tuple[Type, ...], attrs: Attrs) -> tuple[Type, ...]:
    need_count("flip", types, 1)
    check_axes("flip", types[0], attrs["axes"])
    return types


def _flip_adjoint(b: Builder, node: Node, cotangents: Any, operand: Any, result: Any) -> list[Value | None]:
    return [None if cotangents[0] is None else b.op("flip", cotangents[0], axes=node.attr("axes"))]


register(Op("flip", "view", _infer_flip, lambda torch, attrs, x: torch.flip(x, attrs["axes"]), _flip_adjoint, batch_same, ((0,),),
            doc="x with some axes reversed."))  # fmt: skip


def _infer_concat(types: tuple[Type, ...], attrs: Attrs) -> tuple[Type, ...]:
    if not types:
        raise OpTypeError("concat needs at least one operand")
    dtype = same_dtype("concat", types)
    first, axis = types[0], attrs["axis"]
    at = check_axis("concat", first, axis)
    total = Size.of(0)
    for type in types:
        if type.rank != first.rank:
            raise OpTypeError(f"concat needs operands of equal rank, not {first} and {type}")
        for n, (left, right) in enumerate(zip(first.shape, type.shape, strict=True)):
            if n != at:
                need_equal("concat", "the sizes of the other axes", left, right, (first, type))
        total = total + type.shape[at]
    return (Type(dtype, (*first.shape[:at], total, *first.shape[at + 1 :])),)


def whole(shape: tuple[Size, ...]) -> list[Range]:
    """The items that take every axis whole."""
    return [Range(Size.of(0), s) for s in shape]


def _concat_adjoint(b: Builder, node: Node, cotangents: Any, operand: Any, result: Any) -> list[Value | None]:
    g = cotangents[0]
    if g is None:
        return [None] * len(node.inputs)
    out: list[Value | None] = []
    start = Size.of(0)
    for n in range(len(node.inputs)):
        shape = operand(n).type.shape
        items = whole(shape)
        items[node.attr("axis")] = Range(start, shape[node.attr("axis")])
        start = start + shape[node.attr("axis")]
        out.append(b.op("slice", g, items=tuple(items)))
    return out


register(Op("concat", "view", _infer_concat, lambda torch, attrs, *xs: torch.cat(xs, attrs["axis"]), _concat_adjoint, batch_same,
            lambda node: (tuple(range(len(node.inputs))),), doc="Arrays joined along an axis."))  # fmt: skip


def _infer_diagonal(types: tuple[Type, ...], attrs: Attrs) -> tuple[Type, ...]:
    need_count("diagonal", types, 1)
    need_rank("diagonal", types[0], 2)
    need_equal("diagonal", "the last two sizes", types[0].shape[-2], types[0].shape[-1], types)
    return (Type(types[0].dtype, types[0].shape[:-1]),)


def eye_mask(b: Builder, n: Size) -> Value:
    """A bool[n, n] that is true on the diagonal."""
    index = b.op("iota", size=n, dtype="i64")
    return b.op("eq", reshape_to(b, index, (n, Size.of(1))), index)  # type: ignore[no-any-return]


def _diagonal_adjoint(b: Builder, node: Node, cotangents: Any, operand: Any, result: Any) -> list[Value | None]:
    g = cotangents[0]
    if g is None:
        return [None]
    column = reshape_to(b, g, (*g.type.shape, Size.of(1)))
    mask = eye_mask(b, g.type.shape[-1])
    return [b.op("where", mask, column, constant(b, 0, g.type.dtype))]


register(Op("diagonal", "view", _infer_diagonal, lambda torch, attrs, x: torch.diagonal(x, 0, -2, -1), _diagonal_adjoint,
            batch_same, ((0,),), doc="The diagonal of the last two axes: y[..., i] = x[..., i, i]."))  # fmt: skip
