"""How far dependences reach: differences of loop values between source and sink, and the skews and shifts that follow.

    for t: for i: A[i] = A[i - 1] + A[i + 1]        distances (t, i) of A: (0, 1), (1, -1), (1, 0), (1, 1), (2, -1), ...

A band may be tiled if no distance has a negative part. What a loop must be skewed or shifted by for that is solved here,
exactly: a factor that fails gives a distance that it fails for, and that distance the next factor to try.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ..graph.types import Size
from . import isl
from .dependences import Dependence, Reason, joins, primed
from .nest import LoopOrder, leaves
from .scheduled import Scheduled

#: Larger factors are no stencil's.
_FARTHEST = 64

Positions = Mapping[str, Size]


def distances(scheduled: Scheduled, d: Dependence, positions: Sequence[Positions], outer: Sequence[LoopOrder]) -> Any:
    """The set of differences (sink minus source) of positions along a dependence, at equal values of the loops ``outer``."""
    table, params = scheduled.nest.statement_table, scheduled.nest.params
    source, sink = table[d.source], table[d.sink]
    rename = primed(sink)
    found = d.relation
    if outer:
        same = [f"{isl.affine_text(o.value(d.source))} = {isl.affine_text(o.value(d.sink).substitute(rename))}" for o in outer]
        found = found.intersect(isl.relation(source, sink, " and ".join(same), params))
    pairs = [(p[d.source], p[d.sink].substitute(rename)) for p in positions]
    return isl.differences(found, source, sink, pairs, params)


def band_distances(
    scheduled: Scheduled, loop: LoopOrder, positions: Sequence[Positions], below: Collection[str]
) -> list[tuple[Dependence, Any]]:
    """The distances of every dependence between statements of ``below`` in one iteration of the loops around ``loop``."""
    outer = scheduled.outer(loop.name)
    ends = [d for d in scheduled.found if d.source in below and d.sink in below]
    made = [(d, distances(scheduled, d, positions, outer)) for d in ends]
    return [(d, found) for d, found in made if not found.is_empty()]


def skew_factor(scheduled: Scheduled, inner: str, outer: str, *, apart: int = 0) -> int | str:
    """The least factor by which ``inner`` must be skewed against ``outer`` so that every dependence that ``outer`` carries goes
    at least ``apart`` iterations of ``inner`` forward; or the reason why there is none.

    With ``apart=1``, iterations of ``outer`` at one iteration of the skewed loop (a front) are independent of each other, if
    nothing between the two loops carries a dependence.
    """
    around, loop = scheduled.loop(outer), scheduled.loop(inner)
    positions = (dict(around.values), dict(loop.values))
    return slope(band_distances(scheduled, around, positions, set(leaves(loop))), {}, apart=apart)


def slope(sets: Sequence[tuple[Dependence, Any]], offset: Mapping[str, int], *, apart: int = 0, direction: int = 1) -> int | str:
    """The least ``k >= 0`` with ``direction * (x + offset) + k * t >= apart`` for all distances ``(t, x)`` with ``t >= 1``, where the
    offset is that of the sink's statement minus that of the source's; or why there is none."""
    factor = 0
    for d, found in sets:
        shift = offset.get(d.sink, 0) - offset.get(d.source, 0)
        while True:
            bad = isl.sample_where(found, f"t >= 1 and {direction} * (x + {shift}) + {factor} * t < {apart}", ("t", "x"))
            if bad is None:
                break
            t, x = bad  # the next factor to try is the least that this distance allows
            factor = -((direction * (x + shift) - apart) // t)
            if factor > _FARTHEST:
                return f"the {d.kind} dependence on {d.array} reaches further back than {_FARTHEST} iterations"
    return factor


def shifts(
    scheduled: Scheduled, children: Sequence[LoopOrder], sets: Sequence[tuple[Dependence, Any]], *, direction: int = 1
) -> dict[str, int] | str:
    """For every statement below the sweeps ``children``, in order, the least shift of its sweep with which dependences between
    sweeps of one iteration (distance ``(0, x)``) never go backward in ``direction``; or why there is none.

    A dependence within one sweep must not go against ``direction`` at all.
    """
    owner = {s: n for n, child in enumerate(children) for s in leaves(child)}
    least: dict[tuple[int, int], float] = {}
    for d, found in sets:
        a, b = owner[d.source], owner[d.sink]
        low = isl.least_where(found, "t = 0", ("t", "x"), direction)
        if low is None:
            continue
        if low < -_FARTHEST:
            return f"the {d.kind} dependence on {d.array} joins sweeps further apart than {_FARTHEST} iterations"
        if a == b and low < 0:
            text = f"the {d.kind} dependence on {d.array} runs both ways within one sweep"
            against = ">" if direction > 0 else "<"
            found_so = joins(scheduled.nest, children[a], d, scheduled.outer(children[a].name), against)
            return Reason.of(text, d, found_so.pairs) if found_so else text
        if a != b:
            least[a, b] = min(low, least.get((a, b), low))
    made = [0] * len(children)
    for (a, b), low in sorted(least.items(), key=lambda item: item[0][1]):
        made[b] = max(made[b], made[a] - int(low))
    return {s: direction * made[n] for s, n in owner.items()}
