"""Which vector loops may become ``#pragma omp simd`` loops, and what they reduce."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..compiler.loops.tree import Array, Barrier, Declare, Expr, LibraryCall, Load, Loop, Single, Store
from ..compiler.loops.tree_walk import expressions, loads, walk
from .affine import constant
from .c_runtime import BITS
from .statements import STACK_BYTES
from .tiles import moves


@dataclass(frozen=True)
class SimdPlan:
    """``reductions``: stores of the loop's own body that add up into an element that does not move."""

    reductions: tuple[Store, ...]


def plan(loop: Loop, arrays: Mapping[str, Array], stack_bytes: int = STACK_BYTES) -> SimdPlan | None:
    """How to print a vector loop, or None for an ordinary loop: complex sums, sums under a condition, large locals."""
    inside = list(walk(loop.body))
    if any(isinstance(t, (Barrier, Single, LibraryCall)) or (isinstance(t, Loop) and t.dealt) for t in inside):
        return None
    own = {t.array.name: t.array for t in inside if isinstance(t, Declare)}
    if any(_large(a, stack_bytes) for a in own.values()):
        return None
    known = {**arrays, **own}
    reductions: list[Store] = []
    for store in inside:
        if not isinstance(store, Store) or store.array in own:
            continue
        if moves(Load(store.array, store.index, ""), known, loop.name) != 0:
            continue
        if not store.reduce or store not in loop.body.children or known[store.array].dtype in ("c64", "c128"):
            return None
        reductions.append(store)
    for store in reductions:
        touched = [x for t in inside for e in expressions(t) for x in _loads(e) if x.array == store.array]
        written = [t for t in inside if isinstance(t, Store) and t.array == store.array]
        if touched or any((t.index, t.reduce) != (store.index, store.reduce) for t in written):
            return None
    return SimdPlan(tuple(reductions))


def _loads(e: Expr) -> list[Load]:
    return list(loads(e))


def _large(array: Array, limit: int) -> bool:
    total = BITS[array.dtype] // 8
    for extent in array.shape:
        known = constant(extent)
        if known is None:
            return True
        total *= known
    return total > limit
