"""How many threads of a GPU loops have work for."""

from __future__ import annotations

from collections.abc import Mapping

from ..graph.types import Size
from ..loops.nest import LoopOrder, Order, Statement, leaves, loops_of
from ..loops.scheduled import Scheduled, extent
from ..loops.steps.mark import can_parallel
from ..loops.storing import nominal

#: Lanes of a warp.
WARP = 32
#: Sums of fewer terms are not worth lanes.
SHORT = 8
#: Threads that a block should have work for.
BUSY = 256


def iterations(scheduled: Scheduled, loop: LoopOrder) -> int:
    """How many iterations a loop has; a count known only at run time is some."""
    span = extent(scheduled, loop)
    return nominal(Size.of("K")) if span is None else span[1] - span[0] + 1


def narrows(scheduled: Scheduled, first: LoopOrder, second: LoopOrder) -> bool:
    """Whether two loops have work for many more threads as they are than as one loop: what is directly inside of one is then inside of both."""
    chains = [_chain(scheduled, loop) for loop in (first, second)]
    if len(chains[0]) == len(chains[1]):
        return False
    table = scheduled.nest.statement_table
    apart = max(_width(scheduled, chain, table) for chain in chains)
    sums = any(_terms(scheduled, loop.body, table) >= SHORT for loop in (first, second))
    together = iterations(scheduled, first) * (WARP if sums else 1)
    return together < BUSY and apart >= 2 * together


def _chain(scheduled: Scheduled, loop: LoopOrder) -> list[LoopOrder]:
    """The independent loops directly inside of each other, from one on."""
    found: list[LoopOrder] = []
    inner: Order = loop
    while isinstance(inner, LoopOrder) and can_parallel(scheduled, inner.name) is None:
        found.append(inner)
        inner = inner.body
    return found


def _width(scheduled: Scheduled, chain: list[LoopOrder], table: Mapping[str, Statement]) -> int:
    width = 1
    for loop in chain:
        width *= iterations(scheduled, loop)
    return width * (WARP if chain and _terms(scheduled, chain[-1].body, table) >= SHORT else 1)


def _terms(scheduled: Scheduled, order: Order, table: Mapping[str, Statement]) -> int:
    """The most terms of a sum in innermost loops."""
    loops = [o for o in loops_of(order) if o.innermost and any(table[s].reduce for s in leaves(o))]
    return max((iterations(scheduled, o) for o in loops), default=0)
