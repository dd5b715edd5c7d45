"""Vector loops cut where whole vectors of memory begin and end.

    for j in 1 .. 511 vector: A[i, j] = ..     -->     for j in 1 .. 16; for j in 16 .. 496; for j in 496 .. 511

A vector that lies across two cache lines takes two accesses, and compilers leave what is over at the end to single elements where they might take
shorter vectors. Rows of which it is not known where they begin, and loops of few iterations, stay as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

from ..compiler.loops.tree import Array, Declare, Int, Load, Loop, Store
from ..compiler.loops.tree_walk import loads
from ..compiler.target import Machine
from .affine import ONE, const, constant, linear, offset
from .c_runtime import BITS

#: Fewest whole vectors that are worth loops of their own before and behind; most assignments that are written out three times.
_VECTORS, _STORES = 4, 24


def parts(loop: Loop, lower: Int, upper: Int, arrays: Mapping[str, Array], machine: Machine) -> list[tuple[Int, Int]]:
    """The ranges that a vector loop from ``lower`` to ``upper`` is cut into, in order."""
    first, last = constant(lower), constant(upper)
    stores = [t for t in loop.body.children if isinstance(t, Store)]
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
