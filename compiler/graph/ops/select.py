"""Sorting and selection, and reading and adding along an axis by index arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...diagnostics import DataError
from ..types import Size, Type
from .common import batch_same, check_axis, constant, is_differentiable, need, need_count, need_equal, zeros
from .index import check_bounds
from .table import Attrs, Op, OpTypeError, register

if TYPE_CHECKING:
    from ..graph import Builder, Node, Value


def _infer_topk(types: tuple[Type, ...], attrs: Attrs) -> tuple[Type, ...]:
    need_count("topk", types, 1)
    need("topk", "real", types[0])
    axis = attrs["axis"]
    at = check_axis("topk", types[0], axis)
    count = Size.of(attrs["count"])
    size = types[0].shape[at]
    if count.constant is not None and size.constant is not None and not 0 <= count.constant <= size.constant:
        raise OpTypeError(f"topk cannot take {count} of {size} elements")
    values = types[0].with_shape(*types[0].shape[:at], count, *types[0].shape[at + 1 :])
    return (values, values.with_dtype("i64"), types[0].with_dtype("bool"))


def _order(torch: Any, x: Any, axis: int, descending: bool = True) -> Any:
    return torch.sort(x, dim=axis, descending=descending, stable=True).indices


def _topk(torch: Any, attrs: Attrs, x: Any) -> Any:
    axis, count = attrs["axis"], attrs["count"]
    if not 0 <= count <= x.shape[axis]:
        raise DataError(f"topk cannot take {count} of {x.shape[axis]} elements")
    indices = _order(torch, x.detach(), axis).narrow(axis, 0, count)
    mask = torch.zeros(x.shape, dtype=torch.bool, device=x.device).scatter(axis, indices, True)
    return torch.gather(x, axis, indices), indices, mask


#: The adjoint of a selection of more elements adds by position instead of comparing all positions with all taken.
FEW = 16


def _topk_adjoint(b: Builder, node: Node, cotangents: Any, operand: Any, result: Any) -> list[Value | None]:
    g, x, count = cotangents[0], operand(0), Size.of(node.attr("count"))
    if g is None or not is_differentiable(g.type.dtype):
        return [None]
    if count.constant is None or count.constant > FEW:
        return [b.op("scatter_add", zeros(b, x.type), result(1), g, axis=node.attr("axis"))]
    rank, taken = x.type.rank, result(1)
    at = node.attr("axis") % rank
    apart = (*taken.type.shape[:at], Size.of(1), *taken.type.shape[at:])
    places = b.op("iota", size=x.type.shape[at], dtype="i64")
    places = b.op("reshape", places, shape=(x.type.shape[at], *[Size.of(1)] * (rank - at)))
    here = b.op("eq", b.op("reshape", taken, shape=apart), places)
    found = b.op("where", here, b.op("reshape", g, shape=apart), constant(b, 0, g.type.dtype))
    return [b.op("sum", found, axes=(at - rank,))]


register(Op("topk", "selection", _infer_topk, _topk, _topk_adjoint, batch_same, library=True,
            doc="The count largest elements along an axis in falling order, their positions, and a mask of where they stand;"
            " ties go to the lowest index."))  # fmt: skip


def _infer_topk_mask(types: tuple[Type, ...], attrs: Attrs) -> tuple[Type, ...]:
    need_count("topk_mask", types, 2)
    need("topk_mask", "real", types[0])
    need("topk_mask", "integer", types[1])
    check_axis("topk_mask", types[0], attrs["axis"])
    if types[1].shape != types[0].shape[: types[1].rank] or types[1].rank >= types[0].rank:
        raise OpTypeError(f"topk_mask of {types[0]} needs one count, not {types[1]}")
    return (types[0].with_dtype("bool"),)


def _topk_mask(torch: Any, attrs: Attrs, x: Any, count: Any) -> Any:
    axis = attrs["axis"]
    size = x.shape[axis]
    if count.numel() and (int(count.min()) < 0 or int(count.max()) > size):
        raise DataError(f"topk cannot take {int(count.max()) if int(count.min()) >= 0 else int(count.min())} of {size} elements")
    order = _order(torch, x.detach(), axis)
    place = torch.arange(size, device=x.device).view(-1, *[1] * (-axis - 1)).expand(x.shape)
    chosen = place < count.reshape(*count.shape, *[1] * (x.dim() - count.dim()))
    return torch.zeros(x.shape, dtype=torch.bool, device=x.device).scatter(axis, order, chosen)


register(Op("topk_mask", "selection", _infer_topk_mask, _topk_mask, None, batch_same, library=True,
            doc="True where one of the count largest elements along an axis stands, for a count that is a value."))  # fmt: skip


def _infer_sort(types: tuple[Type, ...], attrs: Attrs) -> tuple[Type, ...]:
    need_count("sort", types, 1)
    need("sort", "real or bool", types[0])
    check_axis("sort", types[0], attrs["axis"])
    return types


def _infer_argsort(types: tuple[Type, ...], attrs: Attrs) -> tuple[Type, ...]:
    return (_infer_sort(types, attrs)[0].with_dtype("i64"),)


def _sort_adjoint(b: Builder, node: Node, cotangents: Any, operand: Any, result: Any) -> list[Value | None]:
    g, x = cotangents[0], operand(0)
    if g is None or not is_differentiable(g.type.dtype):
        return [None]
    order = b.op("argsort", x, axis=node.attr("axis"), descending=node.attr("descending"))
    return [b.op("scatter_add", zeros(b, x.type), order, g, axis=node.attr("axis"))]


def _sort(torch: Any, attrs: Attrs, x: Any) -> Any:
    return torch.sort(x, dim=attrs["axis"], descending=bool(attrs.get("descending")), stable=True).values


def _argsort(torch: Any, attrs: Attrs, x: Any) -> Any:
    return _order(torch, x.detach(), attrs["axis"], bool(attrs.get("descending")))


register(Op("sort", "selection", _infer_sort, _sort, _sort_adjoint, batch_same, library=True,
            doc="Elements in rising (or with descending, falling) order along an axis; NaN counts as largest."))  # fmt: skip
register(Op("argsort", "selection", _infer_argsort, _argsort, None, batch_same, library=True,
            doc="Positions that sort an axis; equal elements keep their order."))  # fmt: skip


def _check_index(op: str, x: Type, index: Type, axis: int) -> None:
    need(op, "integer", index)
    at = check_axis(op, x, axis)
    if index.rank != x.rank:
        raise OpTypeError(f"{op} of {x} needs an index array with {x.rank} axes, not {index}")
    for n, (left, right) in enumerate(zip(x.shape, index.shape, strict=True)):
        if n != at:
            need_equal(op, "the sizes of the other axes", left, right, (x, index))


def _infer_take(types: tuple[Type, ...], attrs: Attrs) -> tuple[Type, ...]:
    need_count("take_along", types, 2)
    _check_index("take_along", types[0], types[1], attrs["axis"])
    return (Type(types[0].dtype, types[1].shape),)


def _take(torch: Any, attrs: Attrs, x: Any, index: Any) -> Any:
    check_bounds(index, x.shape[attrs["axis"]])
    return torch.gather(x, attrs["axis"], index.long())


def _take_adjoint(b: Builder, node: Node, cotangents: Any, operand: Any, result: Any) -> list[Value | None]:
    g = cotangents[0]
    if g is None or not is_differentiable(g.type.dtype):
        return [None, None]
    return [b.op("scatter_add", zeros(b, operand(0).type), operand(1), g, axis=node.attr("axis")), None]


def _infer_scatter(types: tuple[Type, ...], attrs: Attrs) -> tuple[Type, ...]:
    need_count("scatter_add", types, 3)
    x, index, source = types
    need("scatter_add", "numeric", x)
    _check_index("scatter_add", x, index, attrs["axis"])
    if source != Type(x.dtype, index.shape):
        raise OpTypeError(f"scatter_add into {x} at {index} needs values {Type(x.dtype, index.shape)}, not {source}")
    return (x,)


def _scatter(torch: Any, attrs: Attrs, x: Any, index: Any, source: Any) -> Any:
    check_bounds(index, x.shape[attrs["axis"]])
    return torch.scatter_add(x, attrs["axis"], index.long(), source)


def _scatter_adjoint(b: Builder, node: Node, cotangents: Any, operand: Any, result: Any) -> list[Value | None]:
    g = cotangents[0]
    if g is None or not is_differentiable(g.type.dtype):
        return [None, None, None]
    return [g, None, b.op("take_along", g, operand(1), axis=node.attr("axis"))]


register(Op("take_along", "selection", _infer_take, _take, _take_adjoint, batch_same, ((0,),), library=True,
            doc="Elements of an axis by position: y[..., i] = x[..., index[..., i]]."))  # fmt: skip
register(Op("scatter_add", "selection", _infer_scatter, _scatter, _scatter_adjoint, batch_same, ((0, 2),), library=True,
            doc="x with values added by position along an axis: y[..., index[..., i]] += values[..., i]."))  # fmt: skip
