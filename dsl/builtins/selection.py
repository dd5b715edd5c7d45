"""Choosing, ordering and placing elements."""

from __future__ import annotations

from ...compiler.graph.graph import Value
from ..operand import Array, BuiltinError, Operand, StructOperand, noun
from . import compose
from .call import BOOL, INTEGER, NOT_KNOWN, NUMBERS, ORDERED, SHAPE, Call
from .table import Result, builtin

FAMILY = "selection"


@builtin(FAMILY, "topk(x, count, *, axis=-1)", example="topk(x, 3, axis=0).mask")
def topk(call: Call) -> Result:
    """The count largest elements along an axis: .values in falling order, their positions .indices, and .mask, true
    where they stand. Equal elements are taken from the lowest index. With a count known only at run time there is only .mask."""
    x = call.vector_or_more("x", ORDERED)
    axis = call.axis(x)
    size = x.type.shape[axis]
    count = call.operand("count")
    try:
        known = call.ctx.size_of(count)
    except BuiltinError:
        return _run_time_topk(call, x, axis)
    if known.constant is not None and known.constant < 1:
        raise call.error(f"the count of topk is at least 1, not {known}", "count", None, SHAPE)
    if known.constant is not None and size.constant is not None and known.constant > size.constant:
        raise call.error(f"topk cannot take {known} of {size} elements", "count", None, SHAPE)
    values, indices, mask = call.b.op("topk", x, count=known, axis=axis)
    return StructOperand("topk", {"values": Array(values), "indices": Array(indices), "mask": Array(mask)})


def _run_time_topk(call: Call, x: Value, axis: int) -> Operand:
    count = call.array("count", (INTEGER,))
    if count.type.rank:
        raise call.error(f"topk takes one count, not {noun(Array(count))}", "count", None, SHAPE)
    mask = compose.op(call.b, "topk_mask", x, count, axis=axis)
    unknown = BuiltinError(
        "the count of this topk is known only when it runs, so it has no .values and no .indices (their size would not be known)",
        None,
        "use .mask, or a count made of sizes and literals",
        NOT_KNOWN,
    )
    return StructOperand("topk", {"values": unknown, "indices": unknown, "mask": Array(mask)})


@builtin(FAMILY, "sort(x, *, axis=-1, descending=False)", example="sort(x, axis=0)")
def sort(call: Call) -> Result:
    """Elements in rising order along an axis."""
    x = call.vector_or_more("x", (*ORDERED, BOOL))
    return compose.op(call.b, "sort", x, axis=call.axis(x), descending=call.flag("descending"))


@builtin(FAMILY, "argsort(x, *, axis=-1, descending=False)", example="argsort(x, axis=0)")
def argsort(call: Call) -> Result:
    """The positions (i64) that sort x along an axis; equal elements keep their order."""
    x = call.vector_or_more("x", (*ORDERED, BOOL))
    return compose.op(call.b, "argsort", x, axis=call.axis(x), descending=call.flag("descending"))


def _index(call: Call, x: Value, axis: int) -> tuple[Value, Value]:
    """``x`` cut to the index array's sizes on the other axes, and the index array."""
    index = call.array("index", (INTEGER,))
    if index.type.rank != x.type.rank:
        raise call.error(
            f"{call.name} needs an index array of the rank of x, {x.type.rank}, not {noun(Array(index))}",
            "index",
            "x[index] takes whole rows",
            SHAPE,
        )
    for n in range(-x.type.rank, 0):
        if n == axis:
            continue
        fitted = call.fit(index, n, x.type.shape[n])
        if fitted is None:
            if call.name != "gather" or not call.ctx.at_most(index.type.shape[n], x.type.shape[n]):
                raise call.error(
                    f"{call.name} along axis {axis}: the other sizes of {x.type} and {index.type} must be equal",
                    "index",
                    None,
                    SHAPE,
                )
            x = compose.take(call.b, x, n, 0, index.type.shape[n])
        else:
            index = fitted
    return x, index


@builtin(FAMILY, "gather(x, index, *, axis)", example="gather(x, order, axis=0)")
def gather(call: Call) -> Result:
    """Elements of x by position along an axis: y[i, j] = x[index[i, j], j] for axis=0. A position out of range is an
    error when it runs."""
    x = call.vector_or_more("x", (*NUMBERS, BOOL))
    axis = call.axis(x)
    return compose.op(call.b, "take_along", *_index(call, x, axis), axis=axis)


@builtin(FAMILY, "scatter_add(x, index, src, *, axis)", example="scatter_add(zeros(n), index, values, axis=0)")
def scatter_add(call: Call) -> Result:
    """x with src added by position along an axis: x[index[i, j], j] += src[i, j] for axis=0. src broadcasts to the shape
    of index; equal positions add up."""
    x, src = call.arrays(["x", "src"])
    if x.type.rank == 0:
        raise call.error("scatter_add adds into an array along an axis, not into a scalar", "x", None, SHAPE)
    axis = call.axis(x)
    x, index = _index(call, x, axis)
    if src.type.rank == index.type.rank:
        for n in range(-src.type.rank, 0):
            src = call.fit(src, n, index.type.shape[n]) or src
    call.ctx.broadcast_shapes(src.type.shape, index.type.shape)
    return compose.op(call.b, "scatter_add", x, index, compose.broadcast(call.b, src, index.type.shape), axis=axis)


@builtin(FAMILY, "one_hot(index, size)", example="one_hot(label, c)")
def one_hot(call: Call) -> Result:
    """1 (i64) at each position, 0 elsewhere, along a new last axis. A position out of range is an error when it runs."""
    index, size = call.array("index", (INTEGER,), dtype="i64"), call.size("size")
    b = call.b
    if isinstance(call.operand("index"), Array):
        zero, end = compose.like(b, 0, index), compose.size_scalar(b, size, "i64")
        inside = compose.op(b, "and", compose.op(b, "ge", index, zero), compose.op(b, "lt", index, end))
        axes = tuple(range(-index.type.rank, 0))
        b.op("assert", compose.reduce(b, "all", inside, axes), message=f"a position of one_hot is not in 0..{size}")
    hit = compose.op(b, "eq", compose.unsqueeze(b, index, -1), compose.iota(b, size))
    return compose.cast(b, hit, "i64")
