"""Vector loops cut where whole vectors of memory begin and end.

    for j in 1 .. 511 vector: A[i, j] = ..     -->     for j in 1 .. 16; for j in 16 .. 496; for j in 496 .. 511

A vector that lies across two cache lines takes two accesses, and compilers leave what is over at the end to single elements where they might take
shorter vectors. Rows of which it is not known where they begin, and loops of few iterations, stay as they are.

Loops over functions that take many instructions (exponentials, gamma functions) are cut by their number alone, and what is left over in turn, as
four values one by one take as long as four vectors:

    for j in 0 .. 20 vector: x[j] = lgamma(y[j])     -->     for j in 0 .. 16; for j in 16 .. 20
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

from ..compiler.loops.tree import Array, Call, Declare, Expr, Int, Load, Loop, Store
from ..compiler.loops.tree_walk import loads
from ..compiler.target import Machine
from .affine import ONE, const, constant, linear, offset, plus, simple
from .c_runtime import BITS

#: Fewest whole vectors that are worth loops of their own before and behind; most assignments that are written out three times.
_VECTORS, _STORES = 4, 24
#: Lanes of the shortest vectors.
_FEWEST = 4
#: Functions of many instructions.
_LONG = frozenset(
    {"exp", "log", "log1p", "expm1", "sin", "cos", "tan", "tanh", "erf", "pow", "sigmoid", "softplus", "lgamma", "digamma", "polygamma1"}
)


def parts(loop: Loop, lower: Int, upper: Int, arrays: Mapping[str, Array], machine: Machine) -> list[tuple[Int, Int]]:
    """The ranges that a vector loop from ``lower`` to ``upper`` is cut into, in order."""
    first, last = constant(lower), constant(upper)
    stores = [t for t in loop.body.children if isinstance(t, Store)]
    trips = constant(Int("-", (upper, lower)))
    if trips is not None and loop.step == 1 and stores and any(_long(s.value) for s in stores):
        return _shorter(lower, trips, machine.lanes(arrays[stores[-1].array].dtype))
    plain = len(stores) == sum(not isinstance(t, Declare) for t in loop.body.children)
    if first is None or last is None or loop.step != 1 or not plain or not 0 < len(stores) <= _STORES:
        return [(lower, upper)]
    begin = _beginning(loop.name, stores, arrays, machine)
    if begin is None:
        return [(lower, upper)]
    start, lanes = begin
    start = first + (start - first) % lanes
    end = start + (last - start) // lanes * lanes
    if end - start < _VECTORS * lanes:
        return [(lower, upper)]
    places = sorted({first, start, end, last})
    return [(const(a), const(b)) for a, b in pairwise(places)]


def _long(e: Expr) -> bool:
    """Whether an expression has a function of many instructions."""
    return isinstance(e, Call) and (e.op in _LONG or any(map(_long, e.args)))


def _shorter(lower: Int, trips: int, lanes: int) -> list[tuple[Int, Int]]:
    """A range cut into as many whole vectors as there are, then a vector of half of the lanes, and so on down to four, then what is left."""
    places, size = [0], max(1, lanes)
    while size >= _FEWEST:
        end = places[-1] + (trips - places[-1]) // size * size
        places += [end] if end > places[-1] else []
        size //= 2
    places += [trips] if trips > places[-1] or trips == 0 else []
    return [(simple(plus(lower, a)), simple(plus(lower, b))) for a, b in pairwise(places)]


def _beginning(
    variable: str, stores: Sequence[Store], arrays: Mapping[str, Array], machine: Machine
) -> tuple[int, int] | None:
    """An iteration, modulo the lanes of a vector, at which most accesses, a write twice, are at the beginning of a vector; and the lanes."""
    votes: Counter[int] = Counter()
    own = [(Load(s.array, s.index, ""), 2) for s in stores]
    sizes = {BITS[arrays[x.array].dtype] // 8 for x, _ in own if x.array in arrays and arrays[x.array].shape}
    if len(sizes) != 1:
        return None
    size = sizes.pop()
    lanes = machine.vector_bytes // size
    for access, weight in own + [(x, 1) for s in stores for x in dict.fromkeys(loads(s.value))]:
        info = arrays.get(access.array)
        if info is None or not info.shape or BITS[info.dtype] // 8 != size:
            continue
        form = linear(offset(access.index, info.shape))
        steps = {atom.name if atom.op == "name" else "": c for atom, c in form.items() if atom != ONE}
        if steps.pop(variable, 0) == 1 and all(c % lanes == 0 for c in steps.values()):
            votes[-form.get(ONE, 0) % lanes] += weight
    return (max(sorted(votes), key=lambda place: votes[place]), lanes) if votes and lanes > 1 else None
