"""Whether variables have a value where they are read: what isl takes apart may leave a store in one scope and its load in another.

    if i < 5:                           if i < 5:
        float v                             float v
        v = x[i]                            v = x[i]
    y[i] = v        # of no scope           y[i] = v        # well
"""

from __future__ import annotations

from collections.abc import Set

from .tree import Block, Declare, If, Int, LibraryCall, Loop, Single, Store, Tree
from .tree_walk import loads

#: What is stored for certain, or wherever a condition holds.
Fact = str | tuple[Int, str]


def unassigned(body: Block, names: Set[str]) -> set[str]:
    """Of the local variables ``names``, those that are touched outside of a declaration, declared twice over, or read where not every way
    from the declaration has stored."""
    check = _Check(names)
    check.block(body.children, frozenset(), frozenset())
    return check.bad


class _Check:
    def __init__(self, names: Set[str]) -> None:
        self.names = names
        self.bad: set[str] = set()

    def block(self, children: tuple[Tree, ...], scope: Set[str], stored: Set[Fact]) -> frozenset[Fact]:
        """What is stored for certain after a block; ``scope``: what is declared around it."""
        here, inside = frozenset(scope), frozenset(stored)
        for child in children:
            if isinstance(child, Declare):
                if child.array.name in self.names:
                    self.bad |= {child.array.name} & here
                    here |= {child.array.name}
            else:
                inside = self.node(child, here, inside)
        return frozenset(f for f in inside if (f if isinstance(f, str) else f[1]) in scope)

    def node(self, tree: Tree, scope: frozenset[str], stored: frozenset[Fact]) -> frozenset[Fact]:
        """What is stored for certain after a node."""
        if isinstance(tree, Store):
            read = {x.array for x in loads(tree.value)} | ({tree.array} if tree.reduce else set())
            return self.touch(read, {tree.array}, scope, stored)
        if isinstance(tree, LibraryCall):
            return self.touch({x.array for x in tree.inputs}, {x.array for x in tree.outputs}, scope, stored)
        if isinstance(tree, If):
            known = {f[1] for f in stored if isinstance(f, tuple) and f[0] == tree.condition}
            then = self.block(tree.then.children, scope, stored | known)
            other = self.block(tree.orelse.children, scope, stored) if tree.orelse else stored
            return (then & other) | {(tree.condition, f) for f in then if isinstance(f, str)}
        if isinstance(tree, (Loop, Single)):  # a loop may have no iteration, and one thread alone is not all of them
            self.block(tree.body.children, scope, stored)
        return stored

    def touch(self, read: Set[str], written: Set[str], scope: frozenset[str], stored: frozenset[Fact]) -> frozenset[Fact]:
        self.bad |= {n for n in self.names & read if n not in stored}
        self.bad |= (self.names & (read | written)) - scope
        return stored | (self.names & written)
