"""Loops that move down: to the loop that reads what they make, out of the one before it that they were fused with.

    for i: a[i] = f(x[i]); b[i] = g(i)            for i: b[i] = g(i)
    for i: c[i] = a[i] + b[i-1]           -->     for i: a = f(x[i]); c[i] = a + b[i-1]

Loops are fused with the last one above them that fits (:mod:`.sweeps`), which suits a program whose values are read soon after they are made.
An adjoint makes again, at its beginning, much that its end reads: fused upward, all of it crosses from one sweep to the next in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import networkx as nx

from ..loops.nest import LoopOrder
from ..loops.scheduled import Scheduled, sibling_graph, siblings
from ..loops.steps.fuse import aligned

Groups = list[list[str]]


def sunk(scheduled: Scheduled, groups: Groups, worth_fusing: Callable[[str, str], bool]) -> Groups | None:
    """Sibling loops, grouped as they are to be fused, with some of them in later groups, where fewer arrays are touched by
    several groups then; else None. ``worth_fusing`` says whether two loops should be one, legality aside."""
    move = _Move(scheduled, groups, worth_fusing)
    before = move.crossing()
    for name in reversed([loop for group in groups for loop in group]):
        move.down(name)
    return [sorted(g, key=move.place.__getitem__) for g in move.groups if g] if move.crossing() < before else None


class _Move:
    def __init__(self, scheduled: Scheduled, groups: Groups, worth_fusing: Callable[[str, str], bool]) -> None:
        self.scheduled, self.worth_fusing = scheduled, worth_fusing
        self.groups = [list(g) for g in groups]
        children = siblings(scheduled.nest.order, groups[0][0])
        self.graph = sibling_graph(scheduled, children)
        self.place = {c.name: n for n, c in enumerate(children) if isinstance(c, LoopOrder)}
        table, arrays = scheduled.nest.statement_table, scheduled.nest.array_table
        statements = {name: [table[s] for s, _ in scheduled.loop(name).values] for group in groups for name in group}
        self.touched = {
            name: {a for s in own for a in s.arrays() if arrays[a].scope != "input" and arrays[a].shape} for name, own in statements.items()
        }
        self.written = {name: {s.write.array for s in own} for name, own in statements.items()}
        inside = {s.name for own in statements.values() for s in own}
        outside = {a for s in scheduled.nest.statements if s.name not in inside for a in s.arrays()}
        self.local = {a.name for a in scheduled.nest.arrays if a.temporary and a.name not in outside}

    def crossing(self) -> int:
        """How many arrays the groups touch, those aside that live in one group alone."""
        counts: dict[str, int] = {}
        for group in self.groups:
            for array in set[str]().union(*(self.touched[name] for name in group)):
                counts[array] = counts.get(array, 0) + 1
        return sum(n for array, n in counts.items() if n > 1 or array not in self.local)

    def down(self, name: str) -> None:
        """Move a loop to the first later group that reads what it makes, if that is legal and touches no more arrays."""
        here = next(n for n, g in enumerate(self.groups) if name in g)
        now = self.crossing()
        for there in range(here + 1, len(self.groups)):
            target = self.groups[there]
            if not any(self.written[name] & self.touched[other] for other in target):
                continue
            self.groups[here].remove(name)
            target.append(name)
            if self.crossing() <= now and self._fits(name, target) and self._ordered():
                return
            target.remove(name)
            self.groups[here].append(name)

    def _fits(self, name: str, group: Sequence[str]) -> bool:
        """Whether a loop can be one with the others of a group, as parallel as they are, and had better be."""
        others = [o for o in group if o != name and self.touched[o] & self.touched[name]]
        pairs = [sorted((name, o), key=self.place.__getitem__) for o in others]
        return all(self.worth_fusing(a, b) for a, b in pairs) and all(aligned(self.scheduled, a, b) for a, b in pairs)

    def _ordered(self) -> bool:
        """Whether the groups can come one after the other."""
        owner: Mapping[int, int] = {self.place[name]: n for n, g in enumerate(self.groups) for name in g}
        whole = nx.DiGraph()
        for a, b in self.graph.edges:
            x, y = owner.get(a, -1 - a), owner.get(b, -1 - b)
            if x != y:
                whole.add_edge(x, y)
        return bool(nx.is_directed_acyclic_graph(whole))
