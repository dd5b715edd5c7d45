"""Selection on rows of contiguous arrays for numba. Order as PyTorch: NaN is the largest, -0 equals 0, ties go to the lowest index.

Scratch is on the stack: kernels are compiled without numba's memory management. The arguments are arrays of one
dimension that begin with the block's first element, and integers, as in ``c_select.h``, whose ways these are: keys,
signed integers in the order of the values; thresholds of several rows at once, in lanes, or of one bit by bit.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from .bits import Integer, Real, add, bits, both, differ, helper, inline, routine, select, shift_left, shift_right
from .memory import LOCAL, VIEW

DTYPES = "f32 f64 i8 i16 i32 i64"
LANES, FEW = 16, 64


@helper("key", DTYPES)
def key(t: Real | Integer) -> Any:
    """A signed integer of the same width in the order of the values."""
    if isinstance(t, Integer):

        @inline
        def us_key_integer(v: Any) -> Any:
            return v

        return us_key_integer

    most, zero, infinity, places = (
        t.whole(np.iinfo(t.whole).max),
        t.real(0),
        t.real(np.inf).view(t.whole),
        np.dtype(t.whole).itemsize * 8 - 1,
    )

    @inline
    def us_key(v: Any) -> Any:
        word = bits(v + zero)  # -0 to 0
        word = select(both(word, most) > infinity, most, word)
        return differ(word, both(shift_right(word, places), most))  # of numbers below 0, those with larger bits are smaller

    return us_key


@cache
def few_threshold(t: Real | Integer) -> Any:
    """In best[j, l], the j-th largest key of row first + l: keys are inserted into sorted lists, one in each lane."""
    order, low = key(t), t.whole(np.iinfo(t.whole).min)

    @routine
    def thresholds(best: Any, keys: Any, values: Any, first: Any, group: Any, count: Any, n: Any) -> None:
        for j in range(count):
            for l in range(LANES):
                best[j, l] = low
        for i in range(0, n, 4):
            for q in range(4):
                for l in range(LANES):
                    keys[q, l] = order(values[(first + min(l, group - 1)) * n + min(i + q, n - 1)])
                if i + q >= n:
                    for l in range(LANES):
                        keys[q, l] = low
            for j in range(count):
                for l in range(LANES):
                    s = best[j, l]
                    for q in range(4):
                        v = keys[q, l]
                        keys[q, l] = select(s > v, v, s)
                        s = select(s > v, s, v)
                    best[j, l] = s

    return thresholds


@cache
def threshold(t: Real | Integer) -> Any:
    """The ``count``-th largest key of a row, bit by bit: the largest number that ``count`` keys are not below."""
    order, low, one, width = key(t), t.whole(np.iinfo(t.whole).min), t.whole(1), np.dtype(t.whole).itemsize * 8

    @routine
    def limit(row: Any, count: Any) -> Any:
        found = low
        for bit in range(width - 1, -1, -1):
            tried = add(found, shift_left(one, bit))
            above = np.int32(0)
            for i in range(row.size):
                above += np.int32(order(row[i]) >= tried)
            found = select(above >= count, tried, found)
        return found

    return limit


@helper("topk_mask", DTYPES)
def topk_mask(t: Real | Integer) -> Any:
    """(mask, values, count, rows, n, failed, number): mask[r, i] = whether values[r, i] is among the ``count`` largest of its row."""
    order, several, single = key(t), few_threshold(t), threshold(t)
    local, view = LOCAL[f"i{np.dtype(t.whole).itemsize * 8}"], VIEW
    most, some = FEW * LANES, 4 * LANES
    factor = 4 * np.dtype(t.whole).itemsize * 8 // LANES

    @routine
    def us_topk_mask(mask: Any, values: Any, count: Any, rows: Any, n: Any, failed: Any, number: Any) -> None:
        if count < 0 or count > n:
            if failed[0] == 0:
                failed[0] = number
            count = 0 if count < 0 else n
        if count == 0:
            for i in range(rows * n):
                mask[i] = False
            return
        best, keys = view(local(most), FEW, LANES), view(local(some), 4, LANES)
        together = False
        for r in range(rows):
            row, marks = values[r * n : r * n + n], mask[r * n : r * n + n]
            if r % LANES == 0:  # the cost of a row bit by bit against that of lists for all lanes
                group = min(rows - r, LANES)
                together = count <= FEW and group * (n + 24) * factor > n * (26 + count)
                if together:
                    several(best, keys, values, r, group, count, n)
            limit = best[count - 1, r % LANES] if together else single(row, count)
            left = count
            for i in range(n):
                chosen = order(row[i]) >= limit
                marks[i] = chosen
                left -= chosen
            i = n
            while left < 0:  # more equal the limit than wanted: drop the last ones
                i -= 1
                drop = order(row[i]) == limit
                marks[i] = marks[i] and not drop
                left += drop

    return us_topk_mask


@cache
def sort(t: Real | Integer) -> Any:
    """Heap sort of indices by value, stable because the order is total."""
    order = key(t)

    @inline
    def before(values: Any, i: Any, j: Any, descending: Any) -> Any:
        a, b = order(values[i]), order(values[j])
        return i < j if a == b else (a > b) == descending

    @routine
    def us_order(index: Any, values: Any, descending: Any) -> None:
        start, end = index.size // 2, index.size
        while end > 1:
            if start > 0:
                start -= 1
            else:
                end -= 1
                index[0], index[end] = index[end], index[0]
            moved, hole = index[start], start
            while True:
                child = 2 * hole + 1
                if child >= end:
                    break
                if child + 1 < end and before(values, index[child], index[child + 1], descending):
                    child += 1
                if not before(values, moved, index[child], descending):
                    break
                index[hole] = index[child]
                hole = child
            index[hole] = moved

    return us_order


@helper("topk", DTYPES)
def topk(t: Real | Integer) -> Any:
    """(best, index, mask, values, rows, n, count): values and positions of the ``count`` largest of each row, falling, and their mask."""
    masks, arrange, local = topk_mask(t), sort(t), LOCAL["i32"]

    @routine
    def us_topk(best: Any, index: Any, mask: Any, values: Any, rows: Any, n: Any, count: Any) -> None:
        never = local(1)
        never[0] = 0
        masks(mask, values, count, rows, n, never, 0)
        for r in range(rows):
            row, place = values[r * n : r * n + n], index[r * count : r * count + count]
            used = 0
            for i in range(n):
                if mask[r * n + i]:
                    place[used] = i
                    used += 1
            arrange(place, row, True)
            for i in range(count):
                best[r * count + i] = row[place[i]]

    return us_topk


@helper("argsort", DTYPES)
def argsort(t: Real | Integer) -> Any:
    """(index, values, rows, n, descending): the positions of each row's values in order."""
    arrange = sort(t)

    @routine
    def us_argsort(index: Any, values: Any, rows: Any, n: Any, descending: Any) -> None:
        for r in range(rows):
            place = index[r * n : r * n + n]
            for i in range(n):
                place[i] = i
            arrange(place, values[r * n : r * n + n], descending != 0)

    return us_argsort
