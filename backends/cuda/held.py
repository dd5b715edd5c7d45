"""Arrays that threads hold in registers: elements without the numbers of the thread that has them.

    held v[16, 4]: thread by16 c: v[c % 16, 3] = ..         -->         local v[4]: thread by16 c: v[3] = ..
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ...compiler.loops.tree import Array, Block, Call, Expr, Function, If, Load, Loop, Single, Store, Tree
from ...compiler.loops.tree_walk import reads, walk, writes


def own_registers(function: Function) -> tuple[Function, list[Array]]:
    """A function without its held arrays, and the variables that every thread has in place of them."""
    held = {a.name: a for a in function.arrays if a.scope == "held"}
    if not held:
        return function, []
    found: dict[str, int] = {}
    body = _block(function.body, held, 0, found)
    arrays = tuple(a for a in function.arrays if a.name not in held)
    return replace(function, arrays=arrays, body=body), [replace(held[a], shape=held[a].shape[n:], scope="local") for a, n in found.items()]


def numbered_threads(body: Block, *, alone: bool = False) -> int:
    """How many threads the loops inside are dealt to by number, the lanes of an iteration aside; ``alone``: with these, and 0 if there are none."""
    most = 0
    for child in body.children:
        if isinstance(child, Loop) and child.numbered:
            lanes = max([one.lanes for one in walk(child.body) if isinstance(one, Loop)], default=1) if alone else 1
            most = max(most, child.numbered * numbered_threads(child.body) * lanes)
        else:
            most = max(most, *(numbered_threads(b, alone=True) if alone else numbered_threads(b) for b in _bodies(child)), 0)
    return most if alone else max(most, 1)


def _bodies(tree: Tree) -> list[Block]:
    if isinstance(tree, If):
        return [tree.then, *([tree.orelse] if tree.orelse else [])]
    return [tree.body] if isinstance(tree, (Loop, Single)) else []


def _block(block: Block, held: Mapping[str, Array], depth: int, found: dict[str, int]) -> Block:
    return Block(tuple(_tree(child, held, depth, found) for child in block.children))


def _tree(tree: Tree, held: Mapping[str, Array], depth: int, found: dict[str, int]) -> Tree:
    if isinstance(tree, Loop):
        return replace(tree, body=_block(tree.body, held, depth + bool(tree.numbered), found))
    if isinstance(tree, Single):
        return Single(_block(tree.body, held, depth, found))
    if isinstance(tree, If):
        orelse = None if tree.orelse is None else _block(tree.orelse, held, depth, found)
        return If(tree.condition, _block(tree.then, held, depth, found), orelse)
    if not isinstance(tree, Store) or not (reads(tree) | writes(tree)) & held.keys():
        return tree
    found |= dict.fromkeys((reads(tree) | writes(tree)) & held.keys(), depth)
    index = tree.index[depth:] if tree.array in held else tree.index
    return replace(tree, index=index, value=_expr(tree.value, held, depth))


def _expr(e: Expr, held: Mapping[str, Array], depth: int) -> Expr:
    if isinstance(e, Load) and e.array in held:
        return replace(e, index=e.index[depth:])
    return replace(e, args=tuple(_expr(a, held, depth) for a in e.args)) if isinstance(e, Call) else e
