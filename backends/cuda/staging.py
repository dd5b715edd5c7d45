"""Copies that are begun ahead (loops of kind ``staged2``): the arrays get a place for each copy that is under way.

    for k staged2: thread c: a[c] = A[k, c]         -->         for k staged2: thread c: a[k % 2, c] = A[k, c]
                   .. a[c] ..                                                  .. a[k % 2, c] ..
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from ...compiler.loops.tree import Barrier, Block, Function, If, Int, Load, Loop, Single, Store, Tree
from ...compiler.loops.tree_walk import reads, walk, writes
from ..affine import const, name, plus, substitute
from ..rewrite import map_ints


@dataclass(frozen=True)
class Staged:
    """The parts of an iteration: copies that may be begun ahead, and the rest, which uses them."""

    copies: Block
    rest: Block

    @property
    def arrays(self) -> set[str]:
        """What is copied to."""
        return writes(self.copies)


def staged(loop: Loop, shared: Collection[str]) -> Staged | None:
    """How a staged loop is taken apart; None if it is to be run as it stands. ``shared``: arrays that lie in shared memory for certain."""
    children = list(loop.body.children)
    copies: list[Tree] = []
    while children and (isinstance(children[0], Barrier) or _is_copy(children[0], shared)):
        child = children.pop(0)
        copies += [] if isinstance(child, Barrier) else [child]
    while children and isinstance(children[-1], Barrier):
        children.pop()
    found = Staged(Block(tuple(copies)), Block(tuple(children)))
    if not copies or loop.step != 1 or found.arrays & writes(found.rest) or reads(found.copies) & writes(loop):
        return None
    return found


def _is_copy(tree: Tree, shared: Collection[str]) -> bool:
    if not isinstance(tree, Loop) or "thread" not in tree.kind:
        return False
    stores = [t for t in walk(tree) if isinstance(t, Store)]
    return all(isinstance(s.value, Load) and not s.reduce and s.array in shared for s in stores) and not any(
        isinstance(t, Barrier) or (isinstance(t, Loop) and t.tests) for t in walk(tree)
    )


def ahead(block: Block, loop: str, by: Int) -> Block:
    """Copies of another iteration of a loop."""
    return map_ints(block, lambda e: substitute(e, {loop: by}))


def with_places(function: Function, shared: Collection[str]) -> Function:
    """A function whose copies have as many places as its staged loops want; loops that are not staged after all are serial."""
    arrays = {a.name: a for a in function.arrays}
    places: dict[str, int] = {}
    for loop in walk(function.body):
        if isinstance(loop, Loop) and loop.places > 1 and (found := staged(loop, shared)):
            places |= {a: max(loop.places, places.get(a, 1)) for a in found.arrays}
    body = _block(function.body, places, shared, {})
    wider = tuple(replace(a, shape=(const(places[a.name]), *a.shape)) if a.name in places else a for a in arrays.values())
    return replace(function, arrays=wider, body=body)


def _block(block: Block, places: dict[str, int], shared: Collection[str], at: dict[str, Int]) -> Block:
    return Block(tuple(_tree(child, places, shared, at) for child in block.children))


def _tree(tree: Tree, places: dict[str, int], shared: Collection[str], at: dict[str, Int]) -> Tree:
    """``at``: the place that arrays are at, in the loops entered."""
    if isinstance(tree, Loop):
        found = staged(tree, shared) if tree.places > 1 else None
        if found is not None:
            at = at | {a: Int("%", (name(tree.name), const(places[a]))) for a in found.arrays}
        elif tree.places > 1:
            tree = replace(tree, kind="serial")
        return replace(tree, body=_block(tree.body, places, shared, at))
    if isinstance(tree, If):
        orelse = None if tree.orelse is None else _block(tree.orelse, places, shared, at)
        return If(tree.condition, _block(tree.then, places, shared, at), orelse)
    if isinstance(tree, Single):
        return Single(_block(tree.body, places, shared, at))

    def access(load: Load) -> Load:
        return replace(load, index=(at.get(load.array, const(0)), *load.index)) if load.array in places else load

    return map_ints(Block((tree,)), lambda e: e, access).children[0]


def further(loop: Loop, by: int) -> Int:
    """The iteration that is so many after the present one."""
    return plus(name(loop.name), by)


def staged_arrays(function: Function) -> set[str]:
    """What the staged loops of a function copy to."""
    found = [staged(loop, {a.name for a in function.arrays}) for loop in walk(function.body) if isinstance(loop, Loop) and loop.places > 1]
    return set[str]().union(*(one.arrays for one in found if one))
