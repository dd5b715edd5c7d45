"""Selection on rows of contiguous arrays for TVM. Order as PyTorch: NaN is the largest, -0 equals 0, ties go to the lowest index.

Every element's place is the number of those before it: n comparisons an element, no scratch memory, and nothing in common with the
ways of ``c_select.h``, which these check. Arrays are given with the index of the block's first element.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from . import tir
from .library import INTEGERS, Scalar, fail, word
from .tir import Value

Place = Sequence[Value]


class Rows:
    """A block of an array as rows."""

    def __init__(self, array: Value, index: Place, width: Value, dtype: str = "") -> None:
        shape = [tir.cast(s, "i64") for s in array.ty.shape]
        self.flat = tir.flat(array, reduce(tir.mul, shape))
        offset = tir.const(0, "i64")
        for n, extent in enumerate(shape):
            offset = tir.mul(offset, extent)
            offset = tir.add(offset, tir.cast(index[n], "i64")) if n < len(index) else offset
        self.offset, self.width = tir.bind(offset), width

    def at(self, row: Value, i: Value) -> Value:
        """The place of an element."""
        return tir.add(self.offset, tir.add(tir.mul(row, self.width), i))

    def __getitem__(self, place: tuple[Value, Value]) -> Value:
        return self.flat[self.at(*place)]

    def store(self, row: Value, i: Value, value: Value) -> None:
        """Set an element."""
        tir.store(self.flat, value, [self.at(row, i)])


@word("real", "key")
@word("integer", "key")
def key(t: Scalar, value: Value) -> Value:
    """A signed integer of the same width in the order of the values."""
    if t.dtype in INTEGERS:
        return value
    most, infinity = (1 << (t.bits - 1)) - 1, {"f32": 0x7F800000, "f64": 0x7FF0000000000000}[t.dtype]
    whole = t.of(t.whole).const
    bits = tir.bind(tir.reinterpret(tir.add(value, t.const(0)), t.whole))
    bits = tir.bind(tir.select(tir.less(whole(infinity), bits & whole(most)), whole(most), bits))
    return tir.bind(tir.select(tir.less(bits, whole(0)), bits ^ whole(most), bits))


def _rank(t: Scalar, values: Rows, row: Value, i: Value, n: Value, descending: Value | None) -> Value:
    """How many elements of a row come before one of them."""
    mine, count = key(t, values[row, i]), tir.local((1,), "i64")
    tir.store(count, tir.const(0, "i64"), [0])
    with tir.loop(0, n) as j:
        other = key(t, values[row, j])
        larger, smaller = tir.less(mine, other), tir.less(other, mine)
        first = larger if descending is None else tir.select(descending, larger, smaller)
        before = tir.either(first, tir.both(tir.equal(mine, other), tir.less(j, i)))
        tir.store(count, tir.add(count[0], tir.cast(before, "i64")), [0])
    return tir.bind(count[0])


@word("real", "topk_mask")
@word("integer", "topk_mask")
def topk_mask(
    t: Scalar,
    mask: Value,
    mask_at: Place,
    values: Value,
    at: Place,
    count: Value,
    rows: Value,
    n: Value,
    failed: Value,
    number: int,
) -> None:
    """mask[r, i] = whether values[r, i] is among the ``count`` largest of its row."""
    rows, n, count = (tir.bind(tir.cast(x, "i64")) for x in (rows, n, count))
    with tir.when(tir.either(tir.less(count, tir.const(0, "i64")), tir.less(n, count))):
        fail(failed, number)
    marks, held = Rows(mask, mask_at, n), Rows(values, at, n)
    with tir.loop(0, rows) as row, tir.loop(0, n) as i:
        rank = _rank(t, held, row, i, n, None)
        marks.store(row, i, tir.cast(tir.less(rank, count), "u8"))


@word("real", "topk")
@word("integer", "topk")
def topk(
    t: Scalar, best: Value, best_at: Place, index: Value, index_at: Place, mask: Value, mask_at: Place, values: Value, at: Place,
    rows: Value, n: Value, count: Value,
) -> None:  # fmt: skip
    """Values and positions of the ``count`` largest of each row, falling, and their mask."""
    rows, n, count = (tir.bind(tir.cast(x, "i64")) for x in (rows, n, count))
    found, places, marks, held = (
        Rows(best, best_at, count),
        Rows(index, index_at, count),
        Rows(mask, mask_at, n),
        Rows(values, at, n),
    )
    with tir.loop(0, rows) as row, tir.loop(0, n) as i:
        rank = _rank(t, held, row, i, n, None)
        chosen = tir.bind(tir.less(rank, count))
        marks.store(row, i, tir.cast(chosen, "u8"))
        with tir.when(chosen):
            found.store(row, rank, held[row, i])
            places.store(row, rank, i)


@word("real", "argsort")
@word("integer", "argsort")
def argsort(t: Scalar, index: Value, index_at: Place, values: Value, at: Place, rows: Value, n: Value, descending: Value) -> None:
    """The positions of each row's values in order."""
    rows, n, falling = (tir.bind(tir.cast(x, "i64")) for x in (rows, n, descending))
    places, held = Rows(index, index_at, n), Rows(values, at, n)
    falling = tir.bind(tir.differ(falling, tir.const(0, "i64")))
    with tir.loop(0, rows) as row, tir.loop(0, n) as i:
        places.store(row, _rank(t, held, row, i, n, falling), i)
