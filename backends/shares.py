"""Parallel loops whose iterations have more and more work, or less and less: equal shares of it are unequal numbers of iterations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce

from ..compiler.loops.tree import Block, If, Int, Loop, Store, Tree
from ..compiler.loops.tree_walk import children, walk
from .affine import names

#: Iterations assumed where a count is known only at run time.
_NOMINAL = 64
#: The work of the first and the last iteration must differ by this part of both together, and that in the middle be as far at most from the
#: mean of both.
_UNEVEN, _EVENLY = 0.1, 0.15
#: Most iterations of a loop that are looked at where loops inside follow it.
_SAMPLES = 12


def uneven(body: Block, integers: Sequence[str]) -> dict[int, float]:
    """Of every parallel loop whose work grows or shrinks evenly, by id: what the first iteration has of the work of the first and the
    last one. Loops around stand in the middle, run-time counts at a nominal number."""
    return dict(_uneven(body, dict.fromkeys(integers, _NOMINAL)))


def _uneven(tree: Tree | Block, env: Mapping[str, int]) -> Iterator[tuple[int, float]]:
    if isinstance(tree, Loop):
        if tree.dealt:
            found = None if "vector" in tree.kind else _first(tree, env)
            if found is not None:
                yield id(tree), found
            return
        middle = _value(tree.lower, env) + _count(tree, env) // 2 * tree.step
        env = {**env, tree.name: middle}
    for child in children(tree):
        yield from _uneven(child, env)


def _first(loop: Loop, env: Mapping[str, int]) -> float | None:
    """What the first of a loop's iterations has of the work of the first and the last one, if that grows or shrinks evenly between; from
    iterations at the quarters, as the last one may be a block that is not full."""
    lower, last = _value(loop.lower, env), _count(loop, env) - 1
    a, b, c = last // 4, last // 2, 3 * last // 4
    if not a < b < c:
        return None
    x, y, z = (work(loop.body, {**env, loop.name: lower + n * loop.step}) for n in (a, b, c))
    slope = (z - x) / (c - a)
    first, end = max(0.0, x - slope * a), max(0.0, x + slope * (last - a))
    both = first + end
    even = abs(first - end) <= _UNEVEN * both or abs(y - x - slope * (b - a)) > _EVENLY * both
    return None if even else first / both


def _count(loop: Loop, env: Mapping[str, int]) -> int:
    return -(-(_value(loop.upper, env) - _value(loop.lower, env)) // loop.step)


def work(tree: Tree | Block, env: Mapping[str, int]) -> float:
    """How many assignments run, by samples where loops inside follow a loop."""
    if isinstance(tree, Store):
        return 1.0
    if isinstance(tree, If):
        side = tree.then if _value(tree.condition, env) else tree.orelse
        return work(side, env) if side else 0.0
    if not isinstance(tree, Loop):
        return sum(work(child, env) for child in children(tree))
    lower, count = _value(tree.lower, env), _count(tree, env)
    if count <= 0:
        return 0.0
    follow = any(tree.name in _bounds(inner) for inner in walk(tree.body))
    samples = min(count, _SAMPLES) if follow else 1
    at = [lower + (2 * n + 1) * count // (2 * samples) * tree.step for n in range(samples)]
    return count * sum(work(tree.body, {**env, tree.name: v}) for v in at) / samples


def _bounds(tree: Tree) -> frozenset[str]:
    if isinstance(tree, Loop):
        return names(tree.lower) | names(tree.upper)
    return names(tree.condition) if isinstance(tree, If) else frozenset()


_OPS: dict[str, Callable[[int, int], int]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "//": lambda a, b: a // b if b else 0,
    "%": lambda a, b: a % b if b else 0,
    "min": min,
    "max": max,
    "==": lambda a, b: int(a == b),
    "!=": lambda a, b: int(a != b),
    "<": lambda a, b: int(a < b),
    "<=": lambda a, b: int(a <= b),
    ">": lambda a, b: int(a > b),
    ">=": lambda a, b: int(a >= b),
    "and": lambda a, b: int(bool(a and b)),
    "or": lambda a, b: int(bool(a or b)),
}


def _value(e: Int, env: Mapping[str, int]) -> int:
    if e.op == "const":
        return e.value
    if e.op == "name":
        return env.get(e.name, 0)
    args = [_value(a, env) for a in e.args]
    if e.op == "select":
        return args[1] if args[0] else args[2]
    if e.op == "not":
        return int(not args[0])
    return reduce(_OPS[e.op], args)
