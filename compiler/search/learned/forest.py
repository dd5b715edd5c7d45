"""Many trees side by side, so that the network runs once for all loops of one height.

A node's position: statements first, in the order of the trees; then loops by height (a loop around statements only has height 1), as the
network makes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .features import LOOP, TABLES, Tree

Array = np.ndarray[Any, Any]
_PART = LOOP.index("analytic:part")


@dataclass(frozen=True)
class Level:
    """Rows that have something below: positions ``below``, padded with -1, in order; ``loops``: their rows among the loops' numbers."""

    loops: Array
    below: Array


@dataclass(frozen=True)
class Forest:
    """Trees as arrays: ``numbers`` by table, the statement of each access, loops by height, the parts of the programs, and the analytic
    estimates in seconds. ``shares``: by the estimate, what part of the time of their ``tree`` the innermost ``loops`` take (positions)."""

    numbers: Mapping[str, Array]
    owner: Array
    levels: tuple[Level, ...]
    roots: Array
    seconds: Array
    loops: Array
    tree: Array
    shares: Array


def plant(trees: Sequence[Tree]) -> Forest:
    """The forest of at least one tree."""
    numbers = {name: np.concatenate([t.numbers[name] for t in trees]) for name in TABLES}
    statements = np.cumsum([0, *(len(t.numbers["statement"]) for t in trees)])
    owner = np.concatenate([t.owner + first for t, first in zip(trees, statements)])
    heights = [_heights(t) for t in trees]
    count, first_loop = int(statements[-1]), np.cumsum([0, *(len(t.below) for t in trees)])
    place: dict[tuple[int, int], int] = {}
    for n, tree in enumerate(trees):
        for s in range(len(tree.numbers["statement"])):
            place[n, s] = int(statements[n]) + s
    levels = []
    for height in range(1, 1 + max((max(h, default=0) for h in heights), default=0)):
        here = [(n, loop) for n, known in enumerate(heights) for loop, h in enumerate(known) if h == height]
        below = [[place[n, node] for node in trees[n].below[loop]] for n, loop in here]
        levels.append(Level(np.array([first_loop[n] + loop for n, loop in here], np.int64), _padded(below)))
        for n, loop in here:
            place[n, len(trees[n].numbers["statement"]) + loop] = count
            count += 1
    roots = _padded([[place[n, node] for node in tree.roots] for n, tree in enumerate(trees)])
    inner = [(n, loop) for n, known in enumerate(heights) for loop, h in enumerate(known) if h == 1]
    rows = np.array([first_loop[n] + loop for n, loop in inner], np.int64)
    whose = np.array([n for n, _ in inner], np.int64)
    parts = numbers["loop"][rows, _PART].astype(np.float32) + np.float32(1e-3)
    shares = parts / np.bincount(whose, parts, len(trees)).astype(np.float32)[whose]
    places = np.array([place[n, len(trees[n].numbers["statement"]) + loop] for n, loop in inner], np.int64)
    return Forest(numbers, owner, tuple(levels), roots, np.array([t.seconds for t in trees]), places, whose, shares)


def _heights(tree: Tree) -> list[int]:
    known: list[int] = []
    first = len(tree.numbers["statement"])
    for below in tree.below:  # those inside come first
        known.append(1 + max((known[node - first] for node in below if node >= first), default=0))
    return known


def _padded(rows: Sequence[Sequence[int]]) -> Array:
    made = np.full((len(rows), max(map(len, rows), default=0)), -1, np.int64)
    for n, row in enumerate(rows):
        made[n, : len(row)] = row
    return made
