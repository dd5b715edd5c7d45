"""Rewrites of loop trees that the writer needs: names in use, substitution, private copies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from ..compiler.loops.tree import (
    Array,
    Block,
    Call,
    Declare,
    Expr,
    FromInt,
    If,
    Int,
    LibraryCall,
    Load,
    Loop,
    Single,
    Store,
    Tree,
)
from .affine import const, name, names, plus, simple, substitute


def int_names(tree: Tree | Block) -> set[str]:
    """Variables that the integer expressions of a tree use."""
    found: set[str] = set()

    def note(e: Int) -> Int:
        found.update(names(e))
        return e

    map_ints(tree if isinstance(tree, Block) else Block((tree,)), note)
    return found


def expr_names(e: Expr) -> set[str]:
    """Variables that the indices of an expression use."""
    found: set[str] = set()

    def note(i: Int) -> Int:
        found.update(names(i))
        return i

    _expr(e, note, lambda load: load)
    return found


def _expr(e: Expr, change: Callable[[Int], Int], access: Callable[[Load], Load]) -> Expr:
    if isinstance(e, Load):
        return access(Load(e.array, tuple(change(i) for i in e.index), e.dtype))
    if isinstance(e, FromInt):
        return FromInt(change(e.value), e.dtype)
    if isinstance(e, Call):
        return Call(e.op, tuple(_expr(a, change, access) for a in e.args), e.dtype)
    return e


def map_ints(block: Block, change: Callable[[Int], Int], access: Callable[[Load], Load] = lambda load: load,
             declare: Callable[[Array], Array] = lambda array: array) -> Block:  # fmt: skip
    """A block with every integer expression, element access and declared array changed."""

    def visit(tree: Tree) -> Tree:
        if isinstance(tree, Loop):
            until, unless = (None if e is None else _expr(e, change, access) for e in (tree.until, tree.unless))
            bounds = change(tree.lower), change(tree.upper)
            return replace(tree, lower=bounds[0], upper=bounds[1], body=inner(tree.body), until=until, unless=unless)
        if isinstance(tree, If):
            return If(change(tree.condition), inner(tree.then), inner(tree.orelse) if tree.orelse else None)
        if isinstance(tree, Single):
            return Single(inner(tree.body))
        if isinstance(tree, Declare):
            return Declare(declare(tree.array))
        if isinstance(tree, Store):
            target = access(Load(tree.array, tuple(change(i) for i in tree.index), ""))
            return replace(tree, array=target.array, index=target.index, value=_expr(tree.value, change, access))
        if isinstance(tree, LibraryCall):
            outputs, inputs = (tuple(access(Load(x.array, tuple(change(i) for i in x.index), x.dtype)) for x in part)
                               for part in (tree.outputs, tree.inputs))  # fmt: skip
            return replace(tree, outputs=outputs, inputs=inputs, integers=tuple(change(i) for i in tree.integers))
        return tree

    def inner(b: Block) -> Block:
        return Block(tuple(visit(c) for c in b.children))

    return inner(block)


def substitute_expr(e: Expr, env: Mapping[str, Int]) -> Expr:
    """Variables replaced in an expression."""
    return _expr(e, lambda i: substitute(i, env), lambda load: load)


def substitute_loads(block: Block, env: Mapping[Load, Load]) -> Block:
    """Elements read from elsewhere; what is written stays."""
    if not env:
        return block

    def visit(tree: Tree) -> Tree:
        if isinstance(tree, Store):
            return replace(tree, value=_expr(tree.value, lambda i: i, lambda load: env.get(load, load)))
        return tree

    return Block(tuple(map(visit, block.children)))


def counted(loop: Loop, lower: Int, upper: Int, variable: str) -> Loop:
    """A loop counted from 0 by another variable. So the index of a local array holds nothing but the counter, and compilers see that
    one vector register after the other is meant.

        for j in 64 * i .. 64 * i + 64: a[j - 64 * i] = b[j]     -->     for n in 0 .. 64: a[n] = b[64 * i + n]
    """
    env = {loop.name: simple(plus(lower, name(variable)))}
    body = map_ints(loop.body, lambda i: simple(substitute(i, env)))
    return replace(loop, name=variable, lower=const(0), upper=simple(Int("-", (upper, lower))), body=body)


def expand_locals(block: Block, copies: int, place: Int) -> Block:
    """Locals declared directly in a block get a leading axis of ``copies``, indexed by ``place``."""
    mine = {c.array.name for c in block.children if isinstance(c, Declare)}

    def access(load: Load) -> Load:
        return replace(load, index=(place, *load.index)) if load.array in mine else load

    def declare(array: Array) -> Array:
        return replace(array, shape=(const(copies), *array.shape)) if array.name in mine else array

    return map_ints(block, lambda i: i, access, declare)
