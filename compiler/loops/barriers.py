"""Where the threads of a team meet, and what one of them does alone.

A parallel loop is split over the team and followed by a barrier, and so is a loop around one. Work outside parallel loops is repeated by every
thread if it only fills locals, else done by one. What every thread reads there must not be written before all have read it:

    v = x[i]                    v = x[i]
    single: x[i] = 0    -->     barrier
                                single: x[i] = 0
                                barrier

Barriers that nothing needs go away afterwards (:mod:`.needless`).
"""

from __future__ import annotations

from dataclasses import replace

from .tree import Barrier, Block, Declare, If, Loop, Single, Tree
from .tree_walk import loads, reads, walk, writes


def synchronise(children: tuple[Tree, ...], local: frozenset[str]) -> tuple[Tree, ...]:
    """Put barriers after parallel loops, wrap what only one thread may do, and let nothing be written that others have yet to read."""
    return _Team(local).block(children, frozenset())[0]


class _Team:
    """``read`` is always what threads read outside parallel loops, each on its own, since they last met."""

    def __init__(self, local: frozenset[str]) -> None:
        self.local = local

    def block(self, children: tuple[Tree, ...], read: frozenset[str]) -> tuple[tuple[Tree, ...], frozenset[str]]:
        """The children with what they need between them, and what is read at the end."""
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
                out += [child, Barrier()]
                read = frozenset()
            elif has_parallel(child):
                made, read = self.loop(child, read) if isinstance(child, Loop) else self.branch(child, read)
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

    def loop(self, loop: Loop, read: frozenset[str]) -> tuple[list[Tree], frozenset[str]]:
        """A serial loop around parallel ones. What its last part reads, its first may write in the next iteration."""
        tested = frozenset(x.array for e in loop.tests for x in loads(e)) - self.local
        body, end = self.block(loop.body.children, read | tested)
        if writes(loop) & end:
            body = (*body, Barrier())
        return [replace(loop, body=Block(body)), Barrier()], frozenset()

    def of_block(self, loop: Loop) -> Loop:
        """A loop over blocks of threads: those of one block meet in its iterations, and between them."""
        if len(loop.body.children) == 1 and isinstance(inner := loop.body.children[0], Loop) and inner.kind == "block":
            return replace(loop, body=Block((self.of_block(inner),)))
        if not any(has_parallel(child) for child in loop.body.children):
            return loop if writes(loop) <= self.local else replace(loop, body=Block((Single(loop.body), Barrier())))
        body, _ = self.block(loop.body.children, frozenset())
        last = body and isinstance(body[-1], Barrier)
        return replace(loop, body=Block(body if last else (*body, Barrier())))

    def branch(self, branch: Tree, read: frozenset[str]) -> tuple[list[Tree], frozenset[str]]:
        """A guard around parallel loops: every thread goes the same way."""
        assert isinstance(branch, If)
        then, end = self.block(branch.then.children, read)
        if branch.orelse is None:
            return [If(branch.condition, Block(then))], read | end
        orelse, other = self.block(branch.orelse.children, read)
        return [If(branch.condition, Block(then), Block(orelse))], end | other


def has_parallel(tree: Tree) -> bool:
    """Whether a parallel loop is in a tree."""
    return any(isinstance(node, Loop) and node.dealt for node in walk(tree))
