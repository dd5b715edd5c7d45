"""Monte-Carlo tree search: a node is a schedule, an arc an edit; from a node the search goes to the child that promises most or is known least.

A node may have more children the more often it was visited (progressive widening, Couetoux et al. 2011), as there are more edits than can be
listed. Choice by upper confidence bounds (UCT, Kocsis and Szepesvari 2006): the worth of a node is the best logarithm of a speed-up below it, not
the mean, since only the best schedule counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from .moves import Moves
from .pool import Candidate, Pool

#: How much is explored, how many children a node has after ``n`` visits (``n ** WIDENING``), edits of a random descent from a new node.
EXPLORATION, WIDENING, DESCENT = 0.7, 0.6, 2
#: Descents in one round.
_DESCENTS = 16


@dataclass(eq=False)
class _Node:
    candidate: Candidate
    parent: _Node | None = None
    children: list[_Node] = field(default_factory=list)
    visits: int = 0
    best: float = -math.inf  # logarithm of the greatest speed-up below, itself included


class TreeSearch:
    """Descents from the schedules that are in the pool when it begins."""

    def __init__(self, pool: Pool, moves: Moves) -> None:
        self.pool, self.moves = pool, moves
        self.unit = max(c.worth for c in pool.known.values())
        self.roots = [_Node(c) for c in pool.ranked()]

    def round(self) -> None:
        """Bring new schedules into the pool."""
        for _ in range(_DESCENTS):
            node = self._select(self.roots, max(1, sum(root.visits for root in self.roots)))
            while node.children and len(node.children) >= max(1.0, node.visits**WIDENING):
                node = self._select(node.children, max(1, node.visits))
            for _ in range(DESCENT):
                child = self._child(node)
                if child is None:
                    break
                node = child
            self._visited(node)

    def _select(self, nodes: list[_Node], visits: int) -> _Node:
        return max(nodes, key=lambda n: self._value(n) + EXPLORATION * math.sqrt(math.log(visits + 1) / (n.visits + 1)))

    def _value(self, node: _Node) -> float:
        return max(node.best, self._gain(node.candidate))

    def _gain(self, candidate: Candidate) -> float:
        return math.log(self.unit / candidate.worth) if math.isfinite(candidate.worth) else -math.inf

    def _child(self, node: _Node) -> _Node | None:
        draft = self.moves.neighbour(node.candidate.draft)
        made = [] if draft is None else self.pool.add([draft], node.candidate)
        if not made:
            return None
        node.children.append(_Node(made[0], node))
        return node.children[-1]

    def _visited(self, node: _Node | None) -> None:
        gain = -math.inf if node is None else self._gain(node.candidate)
        while node is not None:
            node.visits += 1
            node.best = gain = max(gain, node.best, self._gain(node.candidate))
            node = node.parent
