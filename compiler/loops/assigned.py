"""Whether variables have a value where they are read: what isl takes apart may leave a store in one scope and its load in another.

    if i < 5:                           if i < 5:
        float v                             float v
        v = x[i]                            v = x[i]
    y[i] = v        # of no scope           y[i] = v        # well
"""

from __future__ import annotations

from collections.abc import Set

from .tree import Block, Declare, If, LibraryCall, Loop, Single, Store, Tree
from .tree_walk import loads


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

    def block(self, children: tuple[Tree, ...], scope: Set[str], stored: Set[str]) -> frozenset[str]:
        """What is stored for certain after a block; ``scope``: what is declared around it."""
        here, inside = frozenset(scope), frozenset(stored)
        for child in children:
            if isinstance(child, Declare):
                if child.array.name in self.names:
                    self.bad |= {child.array.name} & here
                    here |= {child.array.name}
            else:
                inside = self.node(child, here, inside)
        return inside & frozenset(scope)

    def node(self, tree: Tree, scope: frozenset[str], stored: frozenset[str]) -> frozenset[str]:
        """What is stored for certain after a node."""
        if isinstance(tree, Store):
            read = {x.array for x in loads(tree.value)} | ({tree.array} if tree.reduce else set())
            return self.touch(read, {tree.array}, scope, stored)
        if isinstance(tree, LibraryCall):
            return self.touch({x.array for x in tree.inputs}, {x.array for x in tree.outputs}, scope, stored)
        if isinstance(tree, If):
            then = self.block(tree.then.children, scope, stored)
            other = self.block(tree.orelse.children, scope, stored) if tree.orelse else stored
            return then & other
        if isinstance(tree, (Loop, Single)):  # a loop may have no iteration, and one thread alone is not all of them
            self.block(tree.body.children, scope, stored)
        return stored

    def touch(self, read: Set[str], written: Set[str], scope: frozenset[str], stored: frozenset[str]) -> frozenset[str]:
        self.bad |= (self.names & read) - stored
        self.bad |= (self.names & (read | written)) - scope
        return stored | (self.names & written)
