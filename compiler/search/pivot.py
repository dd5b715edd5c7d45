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

from dataclasses import dataclass

from ..graph.types import Size
from ..loops import isl
from ..loops.dependences import Dependence, IllegalSchedule, Reason, joins, pair_map, primed
from ..loops.nest import LoopOrder, children, leaves, loop_path
from ..loops.scheduled import conflicts, extent
from ..loops.steps.split import other
from .draft import Draft

#: Fewest iterations of a loop that are worth three loops.
LEAST = 32


@dataclass(frozen=True)
class Pivot:
    """The iteration ``sign * around + offset`` of a loop inside the loop ``around``."""

    around: str
    sign: int
    offset: int

    def value(self, draft: Draft, statement: str) -> Size:
        """Over the dims of a statement."""
        return self.sign * draft.scheduled.loop(self.around).value(statement) + self.offset


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
    pivot = _pivot(draft, name)
    if pivot is None:
        return []
    tried, parts = draft.copy(), [name]
    try:
        for comparison in ("<", "<="):
            parts.append(_after(tried, parts[-1], comparison, pivot))
    except IllegalSchedule:
        return []
    draft.adopt(tried)
    for part in (parts[0], parts[2]):
        for inner in _inside(draft, part):
            _cut(draft, inner)
    return parts


def _after(draft: Draft, name: str, comparison: str, pivot: Pivot) -> str:
    """Iterations of a loop that compare so with the one that stands apart are left alone in it; the name of the loop with the others.
    Raises IllegalSchedule where a step does not apply."""
    loop = draft.scheduled.loop(name)
    below, depth = list(leaves(loop)), len(draft.scheduled.outer(name))
    rest = other(below[0], draft.scheduled)
    for s in below:
        draft.take("split", s, f"{loop.value(s)}{comparison}{pivot.value(draft, s)}")
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


def _pivot(draft: Draft, name: str) -> Pivot | None:
    """The iteration of a loop without which all others are independent."""
    scheduled = draft.scheduled
    loop, outer = scheduled.loop(name), scheduled.outer(name)
    known = extent(scheduled, loop)
    if loop.kind != "serial" or not outer or known is None or known[1] - known[0] < LEAST:
        return None
    if len(loop.values) > (4 if loop.innermost else 1) or any(scheduled.nest.statement_table[s].routine for s, _ in loop.values):
        return None
    found = list(conflicts(scheduled, name, reductions=loop.innermost))
    for around in reversed(outer):
        solved = {_meeting(d, loop, around) for d in found}
        if len(solved) == 1 and (one := solved.pop()) and all(_only(draft, d, loop, one) for d in found):
            return one
    return None


def _meeting(d: Dependence, loop: LoopOrder, around: LoopOrder) -> Pivot | None:
    """Where the index of one end of a dependence, which follows the loop on some axis, is that of the other end, which follows the loop
    around: a look that costs little."""
    for pair in d.same:
        for (x, y), (s, t) in ((pair, (d.source, d.sink)), (pair[::-1], (d.sink, d.source))):
            for a in (1, -1):
                for b in (1, -1):
                    inner, outer = (x - a * loop.value(s)).constant, (y - b * around.value(t)).constant
                    if inner is not None and outer is not None:  # a * loop + inner = b * around + outer
                        return Pivot(around.name, a * b, a * (outer - inner))
    return None


def _only(draft: Draft, d: Dependence, loop: LoopOrder, pivot: Pivot) -> bool:
    """Whether every pair of iterations that a dependence joins has the one that stands apart in it."""
    nest = draft.scheduled.nest
    reason = joins(nest, loop, d, draft.scheduled.outer(loop.name))
    if not isinstance(reason, Reason):
        return True
    source, sink = nest.statement_table[d.source], nest.statement_table[d.sink]

    def apart(name: str, renamed: dict[str, Size]) -> str:
        a, b = (isl.affine_text(v.substitute(renamed)) for v in (loop.value(name), pivot.value(draft, name)))
        return f"{a} != {b}"

    condition = f"{apart(source.name, {})} and {apart(sink.name, primed(sink))}"
    return bool(reason.pairs.intersect(pair_map(source, sink, condition, nest.params)).is_empty())
