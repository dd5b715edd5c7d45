"""Indexing: ``slice`` reads part of an array, ``update`` writes or adds to part of a copy.

``items`` has one entry per axis: ``At`` (one position, the axis goes), ``Range`` (the axis stays) and ``Pick``
(positions from an extra integer operand). Picked operands broadcast together and their axes stand where the
first ``Pick`` stood.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...diagnostics import DataError
from ..types import Item, Pick, Range, Size, Type
from .common import (
    add_batch,
    align_batch,
    broadcast_shapes,
    constant,
    emit,
    is_differentiable,
    need,
    reshape_to,
    unbroadcast,
    zeros,
)
from .shape import inverse_order, permute_to
from .table import Attrs, Op, OpTypeError, register

if TYPE_CHECKING:
    from ..graph import Builder, Node, Value


def sliced_shape(op: str, x: Type, picks: Sequence[Type], items: Sequence[Item]) -> tuple[Size, ...]:
    """The shape that ``items`` select from ``x``. Raises OpTypeError."""
    if len(items) != x.rank:
        raise OpTypeError(f"{op} of {x} needs {x.rank} indices, not {len(items)}")
    need(op, "integer", *picks)
    used = sorted(i.operand for i in items if isinstance(i, Pick))
    if used != list(range(len(picks))):
        raise OpTypeError(f"{op} of {x} has {len(picks)} index operands but uses {used}")
    shape: list[Size] = []
    placed = False
    for item in items:
        if isinstance(item, Range):
            shape.append(item.size)
        elif isinstance(item, Pick) and not placed:
            shape += broadcast_shapes(op, picks)
            placed = True
    return tuple(shape)


def _infer_slice(types: tuple[Type, ...], attrs: Attrs) -> tuple[Type, ...]:
    return (Type(types[0].dtype, sliced_shape("slice", types[0], types[1:], attrs["items"])),)


def _infer_update(types: tuple[Type, ...], attrs: Attrs) -> tuple[Type, ...]:
    x, value, picks = types[0], types[1], types[2:]
    if value.dtype != x.dtype:
        raise OpTypeError(f"update of {x} with {value}: the dtypes differ")
    part = Type(x.dtype, sliced_shape("update", x, picks, attrs["items"]))
    if value.rank > part.rank or broadcast_shapes("update", (part, value)) != part.shape:
        raise OpTypeError(f"update of {part} with {value}: the value does not broadcast to the part")
    return (x,)


# -- numerics --------------------------------------------------------------------------------------------------------


def _plan(shape: Sequence[int], items: Sequence[Any]) -> tuple[list[Any], list[int], list[int], list[int]]:
    """The basic index; result axes to flip; result axes of picks; their operand numbers."""
    index: list[Any] = []
    flips, axes, operands = [], [], []
    out = 0
    for n, item in zip(shape, items, strict=True):
        if isinstance(item, int):
            if not 0 <= item < n:
                raise DataError(f"index {item} is out of range for an axis of size {n}")
            index.append(item)
            continue
        if isinstance(item, Pick):
            index.append(slice(None))
            axes.append(out)
            operands.append(item.operand)
        else:
            start, count, step = item
            last = start + (count - 1) * step
            if count < 0 or (count and not (0 <= start < n and 0 <= last < n)):
                raise DataError(f"indices {start} to {last} are out of range for an axis of size {n}")
            if step > 0 or count == 0:
                index.append(slice(start, last + 1, step) if count else slice(0, 0))
            else:
                index.append(slice(last, start + 1, -step))
                flips.append(out)
        out += 1
    return index, flips, axes, operands


def check_bounds(index: Any, size: int) -> None:
    """Raise DataError unless every index is in 0..size."""
    if index.numel() and (int(index.min()) < 0 or int(index.max()) >= size):
        bad = int(index.min()) if int(index.min()) < 0 else int(index.max())
        raise DataError(f"index {bad} is out of range for an axis of size {size}")


def _picked(torch: Any, y: Any, axes: list[int], operands: list[int], picks: Sequence[Any]) -> tuple[Any, list[Any], int]:
    """``y`` with picked axes in front, the index tensors in that order, and the number of axes they make."""
    chosen = [picks[n].long() for n in operands]
    for axis, index in zip(axes, chosen, strict=True):
        check_bounds(index, y.shape[axis])
    rank = max(p.dim() for p in chosen)
    return y.movedim(axes, list(range(len(axes)))), chosen, rank


def _slice(torch: Any, attrs: Attrs, x: Any, *picks: Any) -> Any:
    index, flips, axes, operands = _plan(x.shape, attrs["items"])
    y = x[tuple(index)]
    if flips:
        y = y.flip(flips)
    if not axes:
        return y
    front, chosen, rank = _picked(torch, y, axes, operands, picks)
    return front[tuple(chosen)].movedim(list(range(rank)), list(range(axes[0], axes[0] + rank)))


def _update(torch: Any, attrs: Attrs, x: Any, value: Any, *picks: Any) -> Any:
    index, flips, axes, operands = _plan(x.shape, attrs["items"])
    add = attrs["mode"] == "add"
    out = x.clone(memory_format=torch.contiguous_format)
    where = tuple(index)
    if not axes:
        if flips:
            value = value.expand(out[where].shape).flip(flips)
        out[where] = out[where] + value if add else value
        return out
    part = out[where].flip(flips) if flips else out[where]
    front, chosen, rank = _picked(torch, part, axes, operands, picks)
    shape = list(torch.broadcast_shapes(*(c.shape for c in chosen)))
    kept = [n for d, n in enumerate(part.shape) if d not in axes]
    value = value.expand(kept[: axes[0]] + shape + kept[axes[0] :])
    value = value.movedim(list(range(axes[0], axes[0] + rank)), list(range(rank)))
    changed = front.index_put(tuple(chosen), value, accumulate=add).movedim(list(range(len(axes))), axes)
    out[where] = changed.flip(flips) if flips else changed
    return out


# -- adjoint and batch -----------------------------------------------------------------------------------------------


def _slice_adjoint(b: Builder, node: Node, cotangents: Any, operand: Any, result: Any) -> list[Value | None]:
    none: list[Value | None] = [None] * (len(node.inputs) - 1)
    g = cotangents[0]
    if g is None or not is_differentiable(g.type.dtype):
        return [None, *none]
    picks = [operand(n) for n in range(1, len(node.inputs))]
    return [b.op("update", zeros(b, operand(0).type), g, *picks, items=node.attr("items"), mode="add"), *none]


def _update_adjoint(b: Builder, node: Node, cotangents: Any, operand: Any, result: Any) -> list[Value | None]:
    none: list[Value | None] = [None] * (len(node.inputs) - 2)
    g, items = cotangents[0], node.attr("items")
    if g is None or not is_differentiable(g.type.dtype):
        return [None, None, *none]
    picks = [operand(n) for n in range(2, len(node.inputs))]
    part = unbroadcast(b, b.op("slice", g, *picks, items=items), operand(1).type.shape)
    if node.attr("mode") == "set":
        g = b.op("update", g, constant(b, 0, g.type.dtype), *picks, items=items, mode="set")
    return [g, part, *none]


def _batched_items(
    b: Builder, items: Sequence[Item], picks: Sequence[Value], flags: Sequence[bool], size: Size
) -> tuple[tuple[Item, ...], list[Value], int | None]:
    """Items and picks for an array with a leading axis. The last result is None when the leading axis stays in
    front, else the position of the picked axes, with the leading axis first among them, before they were moved."""
    if not any(flags):
        return (Range(Size.of(0), size), *items), list(picks), None
    lead = b.op("iota", size=size, dtype="i64")
    lined = align_batch(b, [*picks, lead], [*flags, True])
    first = next(n for n, i in enumerate(items) if isinstance(i, Pick))
    before = sum(isinstance(i, Range) for i in items[:first])
    return (Pick(len(picks)), *items), lined, before


def _move_lead(shape_rank: int, picked: int, before: int) -> tuple[int, ...]:
    """Axes (negative) that bring [lead, picked..., before..., rest...] to [lead, before..., picked..., rest...]."""
    order = [0, *range(1 + picked, 1 + picked + before), *range(1, 1 + picked), *range(1 + picked + before, shape_rank)]
    return tuple(n - shape_rank for n in order)


def _pick_rank(picks: Sequence[Value], flags: Sequence[bool]) -> int:
    return max(p.type.rank - f for p, f in zip(picks, flags, strict=True))


def _batch_slice(b: Builder, node: Node, operands: Any, batched: Any, size: Size) -> tuple[Value, ...]:
    x, picks, flags = operands[0], operands[1:], batched[1:]
    items = node.attr("items")
    if not batched[0]:
        x = add_batch(b, x, False, size)
    items, lined, before = _batched_items(b, items, picks, flags, size)
    (out,) = emit(b, node, [x, *lined], items=items)
    if before is None:
        return (out,)
    return (permute_to(b, out, _move_lead(out.type.rank, _pick_rank(picks, flags), before)),)


def _batch_update(b: Builder, node: Node, operands: Any, batched: Any, size: Size) -> tuple[Value, ...]:
    x, value, picks, flags = operands[0], operands[1], operands[2:], batched[2:]
    items = node.attr("items")
    core = sliced_shape("update", node_type(x, batched[0]), [node_type(p, f) for p, f in zip(picks, flags, strict=True)], items)
    x = add_batch(b, x, batched[0], size)
    if batched[1]:
        gap = (Size.of(1),) * (len(core) - value.type.rank + 1)
        value = reshape_to(b, value, (size, *gap, *value.type.shape[1:]))
    items, lined, before = _batched_items(b, items, picks, flags, size)
    if before is not None:
        gap = (Size.of(1),) * (len(core) + 1 - value.type.rank)
        value = reshape_to(b, value, (*gap, *value.type.shape))
        value = permute_to(b, value, inverse_order(_move_lead(len(core) + 1, _pick_rank(picks, flags), before)))
    return emit(b, node, [x, value, *lined], items=items)


def node_type(value: Value, batched: bool) -> Type:
    """The type of one problem's value."""
    return Type(value.type.dtype, value.type.shape[1:]) if batched else value.type


register(Op("slice", "view", _infer_slice, _slice, _slice_adjoint, _batch_slice, ((0,),),
            doc="Part of an array: y = x[items]; an index from data is checked when it runs."))  # fmt: skip
register(Op("update", "view", _infer_update, _update, _update_adjoint, _batch_update, ((0, 1),),
            doc="x with part of it replaced (mode set) or added to (mode add): y = x; y[items] = value."))  # fmt: skip
