"""Loops cut into blocks."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from ...graph.types import Size
from ..nest import LoopOrder, Order
from ..scheduled import Scheduled, change_loop, once
from ..tree import DEALT


@once
def can_tile(scheduled: Scheduled, *args: str | int) -> str | None:
    """Why loops, one directly inside the other, cannot be cut into blocks, or None (the final check proves legality)."""
    names, sizes = _split(args)
    if not names or len(names) != len(sizes):
        return "name loops from the outside in, then a block size for each"
    for name, size in zip(names, sizes, strict=True):
        if name not in scheduled.loops:
            return f"no such loop: {name}"
        if f"{name}_o" in scheduled.loops or f"{name}_i" in scheduled.loops:
            return f"{name} is tiled already"
        if size < 2:
            return "a block needs at least 2 iterations"
    for outer, inner in pairwise(names):
        body = scheduled.loop(outer).body
        if not isinstance(body, LoopOrder) or body.name != inner:
            return f"{inner} is not directly inside {outer}"
    return None


def tile(scheduled: Scheduled, *args: str | int) -> Scheduled:
    """Cut a band of loops into blocks (the last one of each may be short): ``tile i 64``, ``tile t i 8 64``.

    for t:                          for t_o:
        for i: S(t, i)      -->         for i_o:
                                            for t_i in the block:
                                                for i_i in the block: S(t, i)

    A loop's threads are shared out by blocks; its vectors are inside them.
    """
    reason = can_tile(scheduled, *args)
    if reason:
        raise ValueError(f"cannot tile {' '.join(map(str, args))}: {reason}")
    names, sizes = _split(args)

    def change(loop: LoopOrder) -> Order:
        band = [loop]
        for _ in names[1:]:
            body = band[-1].body
            assert isinstance(body, LoopOrder)
            band.append(body)
        inner: Order = band[-1].body
        for one in reversed(band):
            inner = replace(one, name=f"{one.name}_i", body=inner, kind=_only(one.kind, "vector"))
        for one, size in zip(reversed(band), reversed(sizes), strict=True):
            blocks = tuple((s, v // Size.of(size)) for s, v in one.values)
            inner = LoopOrder(f"{one.name}_o", blocks, inner, _only(one.kind, *DEALT))
        return inner

    tiled = scheduled.with_order(change_loop(scheduled.nest.order, names[0], change))
    return tiled.renamed({name: f"{name}_i" for name in names})


def _only(kind: str, *marks: str) -> str:
    return " ".join(k for k in kind.split() if k in marks) or "serial"


def _split(args: tuple[str | int, ...]) -> tuple[list[str], list[int]]:
    return [a for a in args if isinstance(a, str)], [a for a in args if isinstance(a, int)]
