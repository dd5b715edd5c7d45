"""Barriers that nothing needs go away.

    for k:                                       for k:
        thread i: A[i] = B[i] + ..                   thread i: A[i] = B[i] + ..
        barrier                            -->       thread i: B[i] = A[i] * ..
        thread i: B[i] = A[i] * ..               barrier
        barrier

A barrier is needed if of two parts, one before and one behind it with no other barrier on the way, both touch an element, one of them changes
it, and they are on different threads. The way may lead through later iterations of a loop. Threads take the same ways, so a barrier in a branch
is one for all of them. Loops on whose being dealt out alike a proof rests get a common ``share``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import networkx as nx

from .barriers import has_parallel
from .touching import Touching, dealt_alike
from .tree import Barrier, Block, Declare, If, LibraryCall, Loop, Single, Tree
from .tree_walk import loads, reads, walk, writes

#: Loops, by id, that a way goes through once more.
Again = frozenset[int]


def without_needless(body: Block, local: frozenset[str], touching: Touching | None = None) -> Block:
    """The body of a function with the barriers that it needs. ``local`` arrays are a thread's own. Without ``touching`` whoever touches an array
    may touch any of its elements."""
    removal = _Removal(local, touching)
    removal.region(body, ())
    return removal.left(body)


@dataclass(eq=False)
class _Part:
    """A barrier, or what is between barriers; ``tree`` is None where ways meet or part. ``loops``: those around. ``next`` and ``before`` have
    what comes after and was before, with the loop whose next iteration that begins."""

    tree: Tree | None
    loops: tuple[Loop, ...]
    reads: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()
    next: list[tuple[_Part, Loop | None]] = field(default_factory=list)
    before: list[tuple[_Part, Loop | None]] = field(default_factory=list)

    def then(self, other: _Part, again: Loop | None = None) -> None:
        """Let another part come after this one."""
        self.next.append((other, again))
        other.before.append((self, again))


class _Flow:
    """The parts of a region, and the barriers among them. ``inside``: loops over blocks of threads, each a region of its own."""

    def __init__(self, body: Block, loops: tuple[Loop, ...]) -> None:
        self.barriers: list[_Part] = []
        self.inside: list[tuple[Loop, tuple[Loop, ...]]] = []
        self.end = _Part(None, loops)
        for last in self.sequence(body, loops, [_Part(None, loops)]):
            last.then(self.end)

    def add(self, part: _Part, before: list[_Part]) -> list[_Part]:
        """A part behind others."""
        for one in before:
            one.then(part)
        return [part]

    def sequence(self, block: Block, loops: tuple[Loop, ...], before: list[_Part]) -> list[_Part]:
        """The parts of a block; gives those that it may end with."""
        for child in block.children:
            before = self.child(child, loops, before)
        return before

    def child(self, tree: Tree, loops: tuple[Loop, ...], before: list[_Part]) -> list[_Part]:
        """The parts of a tree."""
        if isinstance(tree, Declare):
            return before
        if isinstance(tree, Barrier):
            made = _Part(tree, loops)
            self.barriers.append(made)
            return self.add(made, before)
        if isinstance(tree, Loop) and not tree.dealt and has_parallel(tree):
            within = (*loops, tree)
            head = _Part(None, within, frozenset(x.array for e in tree.tests for x in loads(e)))
            self.add(head, before)
            for last in self.sequence(tree.body, within, [head]):
                last.then(head, tree)
            return [head]
        if isinstance(tree, If) and has_parallel(tree):
            ends = self.sequence(tree.then, loops, before)
            return [*ends, *(before if tree.orelse is None else self.sequence(tree.orelse, loops, before))]
        if isinstance(tree, Loop) and tree.kind == "block":
            self.inside.append((tree, (*loops, tree)))
        return self.add(_Part(tree, loops, frozenset(reads(tree)), frozenset(writes(tree))), before)


class _Removal:
    """``gone``: barriers, by id. ``shares``: numbers of loops, by id."""

    def __init__(self, local: frozenset[str], touching: Touching | None) -> None:
        scopes = {} if touching is None else touching.scopes()
        self.touching = touching
        self.own = local | {a for a, scope in scopes.items() if scope == "thread"}
        self.of_block = frozenset(a for a, scope in scopes.items() if scope == "block")
        self.gone: set[int] = set()
        self.alike: list[tuple[Loop, Loop]] = []
        self.known: dict[tuple[frozenset[_Part], int], tuple[bool, list[tuple[Loop, Loop]]]] = {}

    def region(self, body: Block, loops: tuple[Loop, ...]) -> None:
        """Find the barriers that can go: those of inner loops first."""
        flow = _Flow(body, loops)
        for barrier in sorted(flow.barriers, key=lambda b: -len(b.loops)):
            self.gone.add(id(barrier.tree))
            ties = self.ties(barrier, flow.end)
            if ties is None:
                self.gone.remove(id(barrier.tree))
            else:
                self.alike += ties
        for loop, within in flow.inside:
            self.region(loop.body, within)

    def ties(self, barrier: _Part, end: _Part) -> list[tuple[Loop, Loop]] | None:
        """Loops that must be dealt out alike if a barrier is to go; None if it is needed. Whatever shares something meets at the end."""
        found: list[tuple[Loop, Loop]] = []
        after = list(self.reached(barrier, ahead=True))
        for p, first in self.reached(barrier, ahead=False):
            for q, second in after:
                if q is end:
                    if (p.reads | p.writes) - self.hidden(p) and p.tree is not None:
                        return None
                    continue
                needed, ties = self.conflict(p, q, first | second)
                if needed:
                    return None
                found += ties
        return found

    def reached(self, barrier: _Part, *, ahead: bool) -> Iterator[tuple[_Part, Again]]:
        """Parts before or behind a barrier that no other one keeps apart from it, with the loops that go on to another iteration on the way."""
        waiting: list[tuple[_Part, Again]] = [(barrier, frozenset())]
        seen = set(waiting)
        while waiting:
            part, again = waiting.pop()
            for other, loop in part.next if ahead else part.before:
                state = (other, again if loop is None else again | {id(loop)})
                if state in seen:
                    continue
                seen.add(state)
                barred = isinstance(other.tree, Barrier)
                if not barred:
                    yield state
                if not barred or id(other.tree) in self.gone:
                    waiting.append(state)

    def hidden(self, part: _Part) -> frozenset[str]:
        """Arrays that threads cannot race for: each has its own, or each block."""
        return self.own if any(loop.kind == "block" for loop in part.loops) else self.own | self.of_block

    def conflict(self, p: _Part, q: _Part, again: Again) -> tuple[bool, list[tuple[Loop, Loop]]]:
        """Whether threads at two parts could touch an element at the same time and change it, and the loops that must be dealt out alike if
        they cannot."""
        arrays = ((p.writes & (q.reads | q.writes)) | (p.reads & q.writes)) - self.hidden(p)
        if not arrays or (_alone(p.tree) and _alone(q.tree)):
            return False, []
        if self.touching is None or p.tree is None or q.tree is None:
            return True, []
        same = [a for a, b in zip(p.loops, q.loops) if a is b]
        place = next((n for n, loop in enumerate(same) if id(loop) in again), len(same))
        differ = same[place] if place < len(same) else None
        key = frozenset((p, q)), id(differ)
        if key not in self.known:
            bound = {loop.name for part in (p, q) for loop in part.loops[place:]}
            dealt = dealt_alike(p.tree, q.tree, bound)
            free = self.touching.apart(p.tree, q.tree, arrays, same[:place], differ, dealt)
            tied = [dealt[0]] if free and dealt and p is not q else []
            self.known[key] = not free, tied
        return self.known[key]

    # -- what is left ------------------------------------------------------------------------------------------------------

    def left(self, body: Block) -> Block:
        """The body without the barriers that are gone, loops that are dealt out alike numbered."""
        groups = nx.Graph((id(a), id(b)) for a, b in self.alike)
        shares: dict[int, int] = {}
        for tree in walk(body):
            if id(tree) in groups and id(tree) not in shares:
                shares |= dict.fromkeys(nx.node_connected_component(groups, id(tree)), len(set(shares.values())) + 1)
        return self._block(body, shares)

    def _block(self, block: Block, shares: dict[int, int]) -> Block:
        return Block(tuple(self._tree(child, shares) for child in block.children if id(child) not in self.gone))

    def _tree(self, tree: Tree, shares: dict[int, int]) -> Tree:
        if isinstance(tree, Loop) and tree.dealt and tree.kind != "block":
            return replace(tree, share=shares[id(tree)]) if id(tree) in shares else tree
        if isinstance(tree, Loop):
            return replace(tree, body=self._block(tree.body, shares), share=shares.get(id(tree), 0))
        if isinstance(tree, If):
            orelse = None if tree.orelse is None else self._block(tree.orelse, shares)
            return If(tree.condition, self._block(tree.then, shares), orelse)
        return tree


def _alone(tree: Tree | None) -> bool:
    """Whether it is work for one thread, the same one always; rows of a routine may go to all of them."""
    return isinstance(tree, Single) and not (len(tree.body.children) == 1 and isinstance(tree.body.children[0], LibraryCall))
