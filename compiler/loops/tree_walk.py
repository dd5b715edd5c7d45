"""Walks over loop trees: what is inside, what is read and written."""

from __future__ import annotations

from collections.abc import Iterator

from .tree import Block, Call, Expr, If, LibraryCall, Load, Loop, Single, Store, Tree


def walk(tree: Tree | Block) -> Iterator[Tree]:
    """A tree and everything in it, outer nodes first."""
    if not isinstance(tree, Block):
        yield tree
    for child in children(tree):
        yield from walk(child)


def children(tree: Tree | Block) -> tuple[Tree, ...]:
    """The nodes directly inside a node."""
    if isinstance(tree, Block):
        return tree.children
    if isinstance(tree, (Loop, Single)):
        return tree.body.children
    if isinstance(tree, If):
        return tree.then.children + (tree.orelse.children if tree.orelse else ())
    return ()


def loads(e: Expr) -> Iterator[Load]:
    """Every element an expression reads."""
    if isinstance(e, Load):
        yield e
    elif isinstance(e, Call):
        for arg in e.args:
            yield from loads(arg)


def guarded(e: Expr, under: bool = False) -> Iterator[tuple[Load, bool]]:
    """Every element an expression reads, and whether only under a condition: a value of a `where`, of which one is taken."""
    if isinstance(e, Load):
        yield e, under
    elif isinstance(e, Call):
        for number, arg in enumerate(e.args):
            yield from guarded(arg, under or (e.op == "where" and number > 0))


def expressions(tree: Tree) -> tuple[Expr, ...]:
    """The expressions of one node itself."""
    return (tree.value,) if isinstance(tree, Store) else tree.tests if isinstance(tree, Loop) else ()


def reads(tree: Tree | Block) -> set[str]:
    """Arrays that a tree reads (accumulation included)."""
    found: set[str] = set()
    for node in walk(tree):
        for e in expressions(node):
            found.update(x.array for x in loads(e))
        if isinstance(node, Store) and node.reduce:
            found.add(node.array)
        if isinstance(node, LibraryCall):
            found.update(x.array for x in node.inputs)
    return found


def writes(tree: Tree | Block) -> set[str]:
    """Arrays that a tree writes."""
    found: set[str] = set()
    for node in walk(tree):
        if isinstance(node, Store):
            found.add(node.array)
        elif isinstance(node, LibraryCall):
            found.update(x.array for x in node.outputs)
    return found
