"""Where arrays live: a local of a loop stays one unless threads share it or isl takes the loop apart.

    for t: parallel for i: v[i] = ..        v is local to an iteration of t, and filled by all threads: one array for all of them
    for t: v = ..; y[t] = v                 done by one thread: its v is not that of the others
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from ..graph.types import Size
from .nest import ArrayInfo, Leaf, LoopOrder, Order, Statement, leaves, loop_path, loops_of
from .nest import Sequence as SequenceOrder
from .scheduled import HELD, Scheduled
from .tree import Block, Declare, Loop, Single, Tree
from .tree_walk import children, reads, walk, writes


def settle(scheduled: Scheduled, scattered: frozenset[str]) -> tuple[ArrayInfo, ...]:
    """Arrays with their final scopes: a local of a loop that is not inside a parallel one must be filled by every thread. What isl may
    take apart is a variable only as long as it is not among ``scattered``."""
    mixed: set[str] = set()
    arrays = {a.name: a for a in scheduled.nest.arrays}
    for a in [a for a in arrays.values() if a.scope.endswith(HELD) and (a.name in scattered or not numbers(scheduled, a.name))]:
        owner = a.scope.split()[1]
        arrays[a.name] = replace(a, scope=_home((*scheduled.outer(owner), scheduled.loop(owner))))
    for loop in loops_of(scheduled.nest.order):
        if not loop.dealt:
            continue
        inside = {loop.name, *(inner.name for inner in loops_of(loop.body))}
        for w in {w for s in leaves(loop) for w in _targets(scheduled.nest.statement_table[s])}:
            if _local(arrays[w]) and arrays[w].scope.split()[1] not in inside:
                arrays[w] = replace(arrays[w], scope=_common(scheduled, loop))  # each thread fills a part of it
    for name in {a.scope.split()[1] for a in arrays.values() if _local(a)}:
        path = (*scheduled.outer(name), scheduled.loop(name))
        for a in [a for a in arrays.values() if a.scope == f"local {name}"]:
            if a.name not in scattered and not apart(scheduled, a.name, path[:-1]):
                continue
            if a.shape or a.name in scattered:  # isl may take the loops around apart, too
                arrays[a.name] = replace(a, scope=_home(path))
    changed = True
    while changed:
        changed = False
        for unit, around in _units(scheduled.nest.order):
            written = {w for s in leaves(unit) for w in _targets(scheduled.nest.statement_table[s])}
            inside = {loop.name for loop in loops_of(unit)}
            outer_locals = {
                w for w in written if _local(arrays[w]) and arrays[w].scope.split()[1] not in inside
            }
            shared = {w for w in written if not _local(arrays[w])}
            if shared and outer_locals - mixed:
                mixed |= outer_locals
                for w in outer_locals:
                    arrays[w] = replace(arrays[w], scope="problem" if around is None else "block")
                changed = True
    return tuple(arrays.values())


def _local(array: ArrayInfo) -> bool:
    """Whether an array is declared in one iteration of a loop."""
    return array.scope.startswith("local") and not array.scope.endswith(HELD)


def numbers(scheduled: Scheduled, array: str) -> int:
    """In how many loops that are dealt out by number all that touches an array is; 0 if not all is in the same."""
    users = [s.name for s in scheduled.nest.statements if array in s.arrays()]
    found = {tuple(o.numbered for o in loop_path(scheduled.nest.order, s) if o.numbered and o.dealt) for s in users}
    return len(found.pop()) if len(found) == 1 else 0


def strayed(scheduled: Scheduled, body: Block) -> set[str]:
    """Arrays held in registers that isl has some statement touch outside of the loops that are dealt out by number."""
    known = {a.name: numbers(scheduled, a.name) for a in scheduled.nest.arrays if a.scope.endswith(HELD)}
    found: set[str] = set()

    def visit(node: Tree | Block, depth: int) -> None:
        inside = children(node)
        if not inside:
            found.update(a for a in reads(node) | writes(node) if known.get(a, depth) != depth)
        for child in inside:
            visit(child, depth + (1 if isinstance(child, Loop) and child.numbered else 0))

    visit(body, 0)
    return found


def _targets(statement: Statement) -> set[str]:
    return {w.array for w in statement.outputs} if statement.routine else {statement.write.array}


def _common(scheduled: Scheduled, loop: LoopOrder) -> str:
    """Where an array lies that the threads fill to which a loop is dealt."""
    blocks = any(o.kind == "block" for o in scheduled.outer(loop.name))
    return "block" if blocks and "block" not in loop.kind else "problem"


def _home(path: Sequence[LoopOrder]) -> str:
    """Where an array lies that belongs to one iteration of loops, if not at its declaration."""
    if any(loop.dealt and loop.kind != "block" for loop in path):
        return "thread"
    return "block" if any(loop.kind == "block" for loop in path) else "problem"


def _units(order: Order, around: LoopOrder | None = None) -> list[tuple[Order, LoopOrder | None]]:
    """The largest parts that hold no loop that is dealt out, and are not inside one; but for loops over blocks of threads, which are given
    with the parts inside of them."""
    if isinstance(order, Leaf):
        return [(order, around)]
    if isinstance(order, SequenceOrder):
        return [u for c in order.children for u in _units(c, around)]
    if order.kind == "block":
        return _units(order.body, order)
    if order.dealt:
        return []
    if any(loop.dealt for loop in loops_of(order.body)):
        return _units(order.body, around)
    return [(order, around)]


def by_one(tree: Block) -> set[str]:
    """Locals of every thread that one thread alone fills, where isl has dropped a parallel loop of one iteration: all must see them."""
    declared = {node.array.name for node in walk(tree) if isinstance(node, Declare)}
    filled = [writes(s) - {d.array.name for d in walk(s) if isinstance(d, Declare)} for s in walk(tree) if isinstance(s, Single)]
    return declared & set[str]().union(*filled)


def beside(tree: Block, arrays: Collection[str]) -> set[str]:
    """Of arrays that every thread has for itself those that are used in a parallel loop and, where isl has put a part of it, beside it."""
    used: tuple[set[str], set[str]] = (set(), set())  # beside parallel loops, inside

    def visit(node: Tree | Block) -> None:
        if (isinstance(node, Loop) and node.dealt and node.kind != "block") or not children(node):
            inside = isinstance(node, Loop)
            used[inside].update((reads(node) | writes(node)) & set(arrays))
        else:
            for child in children(node):
                visit(child)

    visit(tree)
    return used[0] & used[1]


def apart(scheduled: Scheduled, array: str, path: Sequence[LoopOrder]) -> bool:
    """Whether statements that use an array do not all run in the same iterations of loops."""
    return len({_iterations(s, path) for s in scheduled.nest.statements if array in s.arrays()}) > 1


def _iterations(s: Statement, path: Sequence[LoopOrder]) -> tuple[str, ...]:
    """What tells in which iterations of loops a statement runs, as text that is equal for statements with other dims."""
    values = [o.value(s.name) for o in path]
    names = {next(iter(v.names())): Size.of(o.name) for o, v in zip(path, values, strict=True) if v.is_name}
    for v in values:  # a dim that only blocks tell of has the number of its turn
        unnamed = [d.name for d in s.dims if d.name in v.names() and d.name not in names]
        names |= {n: Size.of(f"dim {len(names) + i}") for i, n in enumerate(unnamed)}
    used = set().union(*(v.names() for v in values))
    bounds = [f"{d.lower.substitute(names)}..{d.upper.substitute(names)}" for d in s.dims if d.name in used]
    guards = [f"{g.size.substitute(names)} {g.op}" for g in s.guards]
    return (*(str(v.substitute(names)) for v in values), *bounds, *guards)
