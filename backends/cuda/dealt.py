"""Loops of a tree that are dealt to threads in one go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

from ...compiler.loops.tree import Block, Int, Loop
from ...compiler.loops.tree_walk import walk
from ..affine import const, constant, names, simple


@dataclass(frozen=True)
class Dealt:
    """A loop and the range that is dealt out, with the number of its iterations if that is known. That of a ``ragged`` one, whose bounds follow a
    loop around it, covers the ranges of all its runs."""

    loop: Loop
    lower: Int
    upper: Int
    count: int | None
    ragged: bool = False


def dealt_chain(loop: Loop) -> list[Dealt]:
    """Loops directly inside of each other that are dealt to threads in one go, from the outermost one on."""
    chain = [dealt(loop)]
    while "thread" in loop.kind and len(chain[-1].loop.body.children) == 1:
        inner = chain[-1].loop.body.children[0]
        if not isinstance(inner, Loop) or "thread" not in inner.kind or inner.tests:
            break
        found = dealt(inner)
        if {one.loop.name for one in chain} & (names(inner.lower) | names(inner.upper)):
            cover = _cover(inner, chain)
            if cover is None:
                break
            found = cover
        chain.append(found)
    return chain


def dealt(loop: Loop) -> Dealt:
    """A loop by itself."""
    lower, upper = simple(loop.lower), simple(loop.upper)
    trips = constant(Int("-", (upper, lower)))
    return Dealt(loop, lower, upper, None if trips is None else max(0, -(-trips // loop.step)))


def _cover(loop: Loop, around: list[Dealt]) -> Dealt | None:
    """The range of all runs of a loop, where that is known."""
    if loop.step != 1:
        return None
    ranges: dict[str, tuple[int, int]] = {}
    for one in around:
        first, end = constant(one.lower), constant(one.upper)
        if first is None or end is None or end <= first:
            return None
        ranges[one.loop.name] = first, end - 1
    low, high = bounds(loop.lower, ranges), bounds(loop.upper, ranges)
    if low is None or high is None:
        return None
    return Dealt(loop, const(low[0]), const(high[1]), max(0, high[1] - low[0]), ragged=True)


def bounds(e: Int, ranges: Mapping[str, tuple[int, int]]) -> tuple[int, int] | None:
    """What an expression has for least and greatest value while names go over inclusive ranges (not the tightest); None if it has other names."""
    if e.op == "const":
        return e.value, e.value
    if e.op == "name":
        return ranges.get(e.name)
    found = [bounds(a, ranges) for a in e.args]
    args = [f for f in found if f is not None]
    if len(args) < len(found) or e.op not in ("+", "-", "*", "min", "max", "//"):
        return None
    (a, b), *rest = args
    for c, d in rest:
        if e.op == "//":
            if c != d or c <= 0:
                return None
            a, b = a // c, b // c
        elif e.op == "*":
            products = [x * y for x, y in product((a, b), (c, d))]
            a, b = min(products), max(products)
        else:
            a, b = {"+": (a + c, b + d), "-": (a - d, b - c), "min": (min(a, c), min(b, d)), "max": (max(a, c), max(b, d))}[e.op]
    return a, b


def lanes_of(body: Block) -> int:
    """Threads that have an iteration with this body in common."""
    return max([one.lanes for one in walk(body) if isinstance(one, Loop)], default=1)
