"""Choosing sizes for an algorithm when nobody gave them: 256 each, changed as little as ``where`` asks for."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

from ..backends.binding import holds
from ..compiler.diagnostics import DataError
from ..compiler.graph.algorithm import Algorithm, Condition

DEFAULT = 256
_TRY = (256, 257, 255, 512, 128, 64, 32, 16, 8, 4, 3, 2, 1)


def choose_sizes(algorithm: Algorithm, known: Mapping[str, int]) -> dict[str, int]:
    """Every size of an algorithm; those in ``known`` (iteration counts among them) stay.

    Raises DataError if none of the values tried satisfies ``where``.
    """
    free = [n for n in algorithm.size_names if n not in known]
    sizes = {**dict(algorithm.iterations), **known, **dict.fromkeys(free, DEFAULT)}
    conditions = algorithm.where
    if _hold(conditions, sizes):
        return sizes
    for condition in conditions:  # an equation gives a size at once
        for side, other in ((condition.left, condition.right), (condition.right, condition.left)):
            if condition.op == "==" and side.is_name and str(side) in free:
                sizes[str(side)] = other.evaluate(sizes)
                free.remove(str(side))
                break
    bound = [n for n in free if any(n in c.left.names() | c.right.names() for c in conditions)]
    for values in product(_TRY, repeat=min(len(bound), 3)):
        trial = {**sizes, **dict(zip(bound, values))}
        for condition in conditions:
            if condition.op == "==" and condition.left.is_name and str(condition.left) not in (*bound, *known):
                trial[str(condition.left)] = condition.right.evaluate(trial)
        if _hold(conditions, trial):
            return trial
    wanted = ", ".join(map(str, conditions))
    raise DataError(f"no sizes found that satisfy {wanted}: give some by --size")


def _hold(conditions: tuple[Condition, ...], sizes: Mapping[str, int]) -> bool:
    return all(v >= 1 for v in sizes.values()) and all(holds(c, sizes) for c in conditions)
