"""Proposer for loops of which one iteration stands apart: the others would be independent of each other without it.

    for k:                                  for k:
        for i:                                  parallel for i < k: for j < k, j == k, j > k (vectors): d[i, j] = ..
            for j:                    -->       for i == k: for j: ..
                d[i, j] =                       parallel for i > k: ..
                    f(d[i, j],
                      d[i, k], d[k, j])

Row k is read by all others and written by itself: shortest paths, closures, pivoting in place. The loop is cut into what is before
that iteration, it, and what is after it, in this order; so are the loops inside. A statement becomes seven, and the dependences among them
are many: loops of several statements are cut only if they are innermost.
"""

from __future__ import annotations

from ..graph.types import Size
from ..loops import isl
from ..loops.dependences import Dependence, IllegalSchedule, Reason, joins, pair_map, primed
from ..loops.nest import LoopOrder, children, leaves, loop_path
from ..loops.scheduled import conflicts, extent
from ..loops.steps.split import free
from .draft import Draft

#: Fewest iterations of a loop that are worth three loops.
LEAST = 32


def pivots(draft: Draft) -> bool:
    """Cut every such loop; whether there was one."""
    fired = False
    if draft.task.tile:
        return False
    for name in list(draft.scheduled.loops):
        if name in draft.scheduled.loops and draft.is_open(name) and (parts := _cut(draft, name)):
            for part in parts:
                _mark(draft, part)
            fired = True
    return fired


def _cut(draft: Draft, name: str) -> list[str]:
    """Cut a loop, and then the loops in its parts: the parts in their order, or none if no iteration stands apart."""
    around = _pivot(draft, name)
    if around is None:
        return []
    tried, parts = draft.copy(), [name]
    try:
        for comparison in ("<", "<="):
            parts.append(_after(tried, parts[-1], comparison, around))
    except IllegalSchedule:
        return []
    draft.adopt(tried)
    for part in (parts[0], parts[2]):
        for inner in _inside(draft, part):
            _cut(draft, inner)
    return parts


def _after(draft: Draft, name: str, comparison: str, around: str) -> str:
    """Iterations of a loop that compare so with the value of a loop around it are left alone in it; the name of the loop with the others.
    Raises IllegalSchedule where a step does not apply."""
    loop, other = draft.scheduled.loop(name), draft.scheduled.loop(around)
    below, depth = list(leaves(loop)), len(draft.scheduled.outer(name))
    rest = free(draft.scheduled.nest, below[0])
    for s in below:
        draft.take("split", s, f"{loop.value(s)}{comparison}{other.value(s)}".replace(" ", ""))
    draft.take("fission", name, *below)
    return loop_path(draft.scheduled.nest.order, rest)[depth].name


def _mark(draft: Draft, name: str) -> None:
    """Finish a part: on all threads if it can be, innermost loops as vectors. Others would fuse it with its neighbours again."""
    draft.attempt("parallel", name)
    draft.vectorise(name)
    if draft.scheduled.loop(name).innermost:
        draft.attempt("vector", name)
    draft.closed.add(name)


def _inside(draft: Draft, name: str) -> list[str]:
    """Names of the loops directly inside a loop."""
    return [c.name for c in children(draft.scheduled.loop(name).body) if isinstance(c, LoopOrder)]


def _pivot(draft: Draft, name: str) -> str | None:
    """The loop around a loop whose present value is the iteration without which all others are independent."""
    scheduled = draft.scheduled
    loop, outer = scheduled.loop(name), scheduled.outer(name)
    known = extent(scheduled, loop)
    if loop.kind != "serial" or not outer or known is None or known[1] - known[0] < LEAST or len(loop.values) > (4 if loop.innermost else 1):
        return None
    found = list(conflicts(scheduled, name, reductions=loop.innermost))
    if not found or any(scheduled.nest.statement_table[s].routine for s, _ in loop.values):
        return None
    for around in reversed(outer):
        if all(_touches(d, loop, around) for d in found) and all(_only(draft, d, loop, around) for d in found):
            return around.name
    return None


def _touches(d: Dependence, loop: LoopOrder, around: LoopOrder) -> bool:
    """Whether one end of a dependence follows the loop on some axis and the other one the loop around: a look that costs little."""
    return any(
        (x == loop.value(d.source) and y == around.value(d.sink)) or (x == around.value(d.source) and y == loop.value(d.sink))
        for x, y in d.same
    )


def _only(draft: Draft, d: Dependence, loop: LoopOrder, around: LoopOrder) -> bool:
    """Whether every pair of iterations that a dependence joins has the one at the value of ``around`` in it."""
    nest = draft.scheduled.nest
    reason = joins(nest, loop, d, draft.scheduled.outer(loop.name))
    if not isinstance(reason, Reason):
        return True
    source, sink = nest.statement_table[d.source], nest.statement_table[d.sink]
    rename = primed(sink)

    def apart(name: str, renamed: dict[str, Size]) -> str:
        a, b = (isl.affine_text(o.value(name).substitute(renamed)) for o in (loop, around))
        return f"{a} != {b}"

    condition = f"{apart(source.name, {})} and {apart(sink.name, rename)}"
    return bool(reason.pairs.intersect(pair_map(source, sink, condition, nest.params)).is_empty())
