"""Loops written out: every iteration of a block is a statement of its own."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby

from ...graph.types import Size
from ..nest import Leaf, LoopOrder, Order, children, leaves, sequence
from ..scheduled import Scheduled, block_of, change_loop, extent, once
from .mark import mark
from .tile import can_tile, tile

#: Longer loops are not written out.
MOST = 64


@once
def can_unroll(scheduled: Scheduled, name: str, by: int = 0) -> str | None:
    """Why a loop (``by`` is 0), or blocks of ``by`` of its iterations, cannot be written out, or None."""
    if name not in scheduled.loops:
        return "no such loop"
    if by:
        return can_tile(scheduled, name, by) or (f"{by} iterations are more than {MOST}" if by > MOST else None)
    if scheduled.loop(name).at_once:
        return f"{name} is {scheduled.loop(name).kind}"
    span, block = extent(scheduled, scheduled.loop(name)), block_of(scheduled, scheduled.loop(name))
    if (block is None or block[1] > MOST) and (span is None or span[1] - span[0] + 1 > MOST):
        return (
            f"{name} has more than {MOST} iterations, or a number known only at run time: unroll blocks, as in `unroll {name} 4`"
        )
    return None


def unroll(scheduled: Scheduled, name: str, by: int = 0) -> Scheduled:
    """A loop is written out, or blocks of its iterations (``unroll i 4``; what is left over follows).

    for i in 0..10: S(i)        -->     for i_o in 0..2: S(4 * i_o); S(4 * i_o + 1); S(4 * i_o + 2); S(4 * i_o + 3)
                                        S(8); S(9)
    """
    reason = can_unroll(scheduled, name, by)
    if reason:
        raise ValueError(f"cannot unroll {name}: {reason}")
    if not by:
        return mark(scheduled, name, "unroll")
    return mark(tile(scheduled, name, by), f"{name}_i", "unroll")


@once
def can_unroll_jam(scheduled: Scheduled, name: str, by: int) -> str | None:
    """Why blocks of a loop cannot be written out inside the loops in it, or None (the final check proves legality)."""
    if not by:
        return f"say how many iterations a block has, as in `unroll_jam {name} 4`"
    reason = can_unroll(scheduled, name, by)
    if reason:
        return reason
    loop = scheduled.loop(name)
    if loop.at_once:
        return f"{name} is {loop.kind}"
    if isinstance(loop.body, Leaf) or not any(isinstance(c, LoopOrder) for c in children(loop.body)):
        return f"there is no loop in {name}"
    for array, owner in scheduled.private:
        if owner == name:
            return f"{array} lives in one iteration of {name}"
    return None


def unroll_jam(scheduled: Scheduled, name: str, by: int) -> Scheduled:
    """Blocks of a loop are written out inside the innermost loops in it, so that iterations share what these load.

    for i:                          for i_o:
        S(i)                -->         S(2 * i_o); S(2 * i_o + 1)
        for j: T(i, j)                  for j: T(2 * i_o, j); T(2 * i_o + 1, j)
    """
    reason = can_unroll_jam(scheduled, name, by)
    if reason:
        raise ValueError(f"cannot unroll and jam {name}: {reason}")

    def change(loop: LoopOrder) -> Order:
        blocks = tuple((s, v // Size.of(by)) for s, v in loop.values)
        body = sequence(_jam(loop.body, replace(loop, name=f"{name}_i", kind="unroll"), []))
        return LoopOrder(f"{name}_o", blocks, body, loop.kind)

    return scheduled.with_order(change_loop(scheduled.nest.order, name, change))


def _jam(order: Order, loop: LoopOrder, made: list[str]) -> list[Order]:
    """The parts of an order with a loop moved to the inside of each; ``made`` counts the loops."""
    out: list[Order] = []
    for plain, run in groupby(children(order), lambda c: isinstance(c, Leaf)):
        if plain:
            body = sequence(list(run))
            made.append(loop.name)
            name = loop.name if len(made) == 1 else f"{loop.name}{len(made)}"
            inside = set(leaves(body))
            out.append(LoopOrder(name, tuple((s, v) for s, v in loop.values if s in inside), body, loop.kind))
        else:
            for inner in run:
                assert isinstance(inner, LoopOrder)
                out.append(replace(inner, body=sequence(_jam(inner.body, loop, made))))
    return out
