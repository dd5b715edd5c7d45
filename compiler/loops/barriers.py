"""Where the threads of a team meet, and what one of them does alone.

A parallel loop is split over the team and followed by a barrier. Work outside parallel loops is repeated by every thread if it only
fills locals, else done by one. What every thread reads there must not be written before all have read it:

    v = x[i]                    v = x[i]
    single: x[i] = 0    -->     barrier
                                single: x[i] = 0
                                barrier

Last, barriers go away between parts that do not need each other's arrays.
"""

from __future__ import annotations

from dataclasses import replace

from .tree import Barrier, Block, Declare, If, Int, Loop, Single, Tree
from .tree_walk import children as inside
from .tree_walk import loads, reads, walk, writes


def synchronise(children: tuple[Tree, ...], local: frozenset[str]) -> tuple[Tree, ...]:
    """Put barriers after parallel loops, wrap what only one thread may do, and let nothing be written that others have yet to read."""
    return _needed(_Team(local).block(children, frozenset(), quiet=False)[0], local)


class _Team:
    """``read`` is always what threads read outside parallel loops, each on its own, since they last met."""

    def __init__(self, local: frozenset[str]) -> None:
        self.local = local

    def block(self, children: tuple[Tree, ...], read: frozenset[str], *, quiet: bool) -> tuple[tuple[Tree, ...], frozenset[str]]:
        """The children with what they need between them, and what is read at the end. ``quiet``: no iteration needs another."""
        out: list[Tree] = []
        beside = read  # what all read while the last one that works alone does
        for child in children:
            if isinstance(child, Declare):
                out.append(child)
                continue
            if writes(child) & read:
                out.append(Barrier())
                read = frozenset()
            if isinstance(child, Loop) and child.dealt:
                child = self.of_block(child) if child.kind == "block" else child
                out += [child] if quiet else [child, Barrier()]
                read = read if quiet else frozenset()
            elif has_parallel(child):
                made, read = self.loop(child, read, quiet) if isinstance(child, Loop) else self.branch(child, read, quiet)
                out += made
            elif writes(child) <= self.local:
                out.append(child)
                read |= reads(child) - self.local
            else:
                previous = out[-2] if len(out) > 1 and isinstance(out[-1], Barrier) else None
                if isinstance(previous, Single) and not writes(child) & beside:
                    out[-2] = Single(Block((*previous.body.children, child)))
                else:
                    out += [Single(Block((child,))), Barrier()]
                    beside = read
                read = frozenset()
        return tuple(out), read

    def loop(self, loop: Loop, read: frozenset[str], quiet: bool) -> tuple[list[Tree], frozenset[str]]:
        """A serial loop around parallel ones. What its last part reads, its first may write in the next iteration."""
        inner_quiet = quiet or (loop.kind == "quiet" and same_shares(loop))
        tested = frozenset(x.array for e in loop.tests for x in loads(e)) - self.local
        body, end = self.block(loop.body.children, read | tested, quiet=inner_quiet)
        if writes(loop) & end:
            body, end = (*body, Barrier()), frozenset()
        made = replace(loop, body=Block(body), kind="serial" if loop.kind == "quiet" else loop.kind)
        ends = inner_quiet and not quiet
        return ([made, Barrier()], frozenset()) if ends else ([made], read | end | tested)

    def of_block(self, loop: Loop) -> Loop:
        """A loop over blocks of threads: those of one block meet in its iterations, and between them."""
        if len(loop.body.children) == 1 and isinstance(inner := loop.body.children[0], Loop) and inner.kind == "block":
            return replace(loop, body=Block((self.of_block(inner),)))
        if not any(has_parallel(child) for child in loop.body.children):
            return loop if writes(loop) <= self.local else replace(loop, body=Block((Single(loop.body), Barrier())))
        body, _ = self.block(loop.body.children, frozenset(), quiet=False)
        last = body and isinstance(body[-1], Barrier)
        return replace(loop, body=Block(body if last else (*body, Barrier())))

    def branch(self, branch: Tree, read: frozenset[str], quiet: bool) -> tuple[list[Tree], frozenset[str]]:
        """A guard around parallel loops: every thread goes the same way."""
        assert isinstance(branch, If)
        then, end = self.block(branch.then.children, read, quiet=quiet)
        if branch.orelse is None:
            return [If(branch.condition, Block(then))], read | end
        orelse, other = self.block(branch.orelse.children, read, quiet=quiet)
        return [If(branch.condition, Block(then), Block(orelse))], end | other


def _needed(children: tuple[Tree, ...], local: frozenset[str]) -> tuple[Tree, ...]:
    """Without the barriers between two others of a block where nothing after them touches what one thread may still be at before them. Those
    two keep apart what is around."""
    children = tuple(_inside(child, local) for child in children)
    places = [n for n, child in enumerate(children) if isinstance(child, Barrier)]
    gone: set[int] = set()
    for before, here, after in zip(places, places[1:], places[2:]):
        start = max(n for n in places if n <= before and n not in gone)
        if not _conflict(children[start + 1 : here], children[here + 1 : after], local):
            gone.add(here)
    return tuple(child for n, child in enumerate(children) if n not in gone)


def _inside(tree: Tree, local: frozenset[str]) -> Tree:
    """A tree whose blocks have what barriers they need."""
    if isinstance(tree, Loop) and (not tree.dealt or tree.kind == "block"):
        return replace(tree, body=Block(_needed(tree.body.children, local)))
    if isinstance(tree, If):
        orelse = None if tree.orelse is None else Block(_needed(tree.orelse.children, local))
        return If(tree.condition, Block(_needed(tree.then.children, local)), orelse)
    return tree


def _conflict(first: tuple[Tree, ...], second: tuple[Tree, ...], local: frozenset[str]) -> bool:
    """Whether threads that are at different parts could touch an array at the same time and change it. What one thread does alone is always
    done by the same one."""
    for a in first:
        for b in second:
            written, changed = writes(a) - local, writes(b) - local
            alone = isinstance(a, Single) and isinstance(b, Single)
            if not alone and (written & (reads(b) | changed) or reads(a) & changed):
                return True
    return False


def has_parallel(tree: Tree) -> bool:
    """Whether a parallel loop is in a tree."""
    return any(isinstance(node, Loop) and node.dealt for node in walk(tree))


def same_shares(loop: Loop) -> bool:
    """Whether each thread has the same iterations of one parallel loop in all iterations of a loop around it: shares are blocks of
    the range, so that must be the same one each time, and isl must have left none of its iterations beside it."""
    found: list[Loop] = []
    bound: set[str] = set()
    beside = False

    def visit(tree: Tree) -> None:
        nonlocal beside
        if isinstance(tree, Loop) and tree.dealt:
            found.append(tree)
        elif isinstance(tree, (Loop, If, Single, Declare)):
            bound.update([tree.name] if isinstance(tree, Loop) else [])
            for child in inside(tree):
                visit(child)
        else:
            beside = True

    visit(loop)
    return len(found) == 1 and not beside and not bound & (_names(found[0].lower) | _names(found[0].upper))


def _names(value: Int) -> set[str]:
    return {value.name} if value.op == "name" else set().union(*map(_names, value.args))
