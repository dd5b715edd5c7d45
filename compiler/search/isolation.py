"""Statements that get loops of their own: temporaries in the way are expanded, and the loops around are taken apart."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import networkx as nx

from ..loops.nest import Access, LoopOrder, Statement, children, leaves, loop_path
from ..loops.scheduled import extent
from ..loops.storing import nominal
from .draft import Draft


def uses(access: Access, dim: str) -> bool:
    """Whether an access follows an index."""
    return dim in access.names()


def own_loops(draft: Draft, statement: str) -> list[LoopOrder]:
    """The innermost loops around a statement that hold nothing else, outermost first."""
    path = loop_path(draft.scheduled.nest.order, statement)
    return [loop for loop in path if list(leaves(loop)) == [statement]]


def isolated(draft: Draft, statement: str, room: float) -> Iterator[Draft]:
    """Drafts in which more and more loops around a statement are its own. Temporaries are expanded for that to ``room`` elements at most."""
    yield draft
    yield from _summed(draft, statement)
    yield from _taken_out(draft, statement, room)


def _shared(draft: Draft, statement: str) -> list[LoopOrder]:
    path = loop_path(draft.scheduled.nest.order, statement)
    return [loop for loop in path if len(list(leaves(loop))) > 1]


def _summed(draft: Draft, statement: str) -> Iterator[Draft]:
    """Only the temporary that the statement adds up in is expanded, and the loops are taken apart at equal depth."""
    s = draft.scheduled.nest.statement_table[statement]
    shared = _shared(draft, statement)
    chain: list[LoopOrder] = []
    for loop in reversed(shared):
        value = loop.value(statement)
        if not value.is_name or not any(uses(r, str(value)) for r in s.reads()) or uses(s.write, str(value)):
            break
        chain.insert(0, loop)
    for start in range(len(chain)):
        tried = draft.copy()
        names = [loop.name for loop in chain[start:]]
        if tried.can("expand", s.write.array, *names):
            tried.take("expand", s.write.array, *names)
            if all(_alone(tried, statement, len(shared) - 1 - n) for n in range(len(names))):
                yield tried


def _alone(draft: Draft, statement: str, depth: int) -> bool:
    """Take the loop at a depth around a statement apart, so that what holds the statement has a loop of its own."""

    def parts() -> tuple[str, list[str], int]:
        loop = loop_path(draft.scheduled.nest.order, statement)[depth]
        body = children(loop.body)
        firsts = [next(leaves(c)) for c in body]
        return loop.name, firsts, next(n for n, c in enumerate(body) if statement in leaves(c))

    for later in (0, 1):
        name, firsts, at = parts()
        if 0 < at + later < len(firsts):
            if not draft.can("distribute", name, firsts[at + later]):
                return False
            draft.take("distribute", name, firsts[at + later])
    return True


def _taken_out(draft: Draft, statement: str, room: float) -> Iterator[Draft]:
    """All temporaries of an iteration are expanded, and the statement runs before the rest, after it, or between."""
    shared = _shared(draft, statement)
    for n, loop in enumerate(shared):
        if not all(draft.is_open(o.name) and _follows(draft, statement, o) for o in shared[n:]):
            continue
        tried = draft.copy()
        _expand(tried, loop.name, room)
        s = tried.scheduled.nest.statement_table[statement]
        dims = frozenset[str]().union(*(r.names() for r in s.reads()))
        if all(o.value(statement).names() & dims for o in shared[n:]) and _apart(tried, loop.name, statement):
            yield tried


def _follows(draft: Draft, statement: str, loop: LoopOrder) -> bool:
    """Whether what a statement reads may follow a loop, once temporaries of an iteration are expanded."""
    if extent(draft.scheduled, loop) is None:
        return False
    nest = draft.scheduled.nest
    names, below = loop.value(statement).names(), set(leaves(loop))
    return any(
        names & r.names()
        or (nest.array(r.array).temporary and {s.name for s in nest.statements if r.array in s.arrays()} <= below)
        for r in nest.statement_table[statement].reads()
    )


def _expand(draft: Draft, name: str, room: float) -> None:
    """Temporaries used in a loop only get an element for each of its iterations, and of loops inside that hold all that uses them."""
    for info in draft.scheduled.nest.arrays:
        users = [s for s in draft.scheduled.nest.statements if info.name in s.arrays()]
        common = _common(draft, name, users)
        spans = [extent(draft.scheduled, loop) for loop in common]
        if not info.temporary or not common or any(loop.value(s.name).names() & _at(s, info.name) for loop in common for s in users):
            continue
        count = prod(span[1] - span[0] + 1 if span else 0 for span in spans) * prod(nominal(n) for n in info.shape)
        if 0 < count <= room:
            draft.attempt("expand", info.name, *(loop.name for loop in common))


def _at(s: Statement, array: str) -> frozenset[str]:
    """The indices that the accesses of a statement to an array follow."""
    return frozenset[str]().union(*(a.names() for a in (s.write, *s.reads()) if a.array == array))


def _common(draft: Draft, name: str, users: list[Statement]) -> list[LoopOrder]:
    """The loop, and those inside, that hold all of some statements."""
    paths = [loop_path(draft.scheduled.nest.order, s.name) for s in users]
    common = [loop for loop in paths[0] if all(loop in path for path in paths)] if paths else []
    names = [loop.name for loop in common]
    return common[names.index(name) :] if name in names else []


def _apart(draft: Draft, name: str, statement: str) -> bool:
    """Take a statement out of a loop: what has to run before it goes first, the rest after it."""
    inside = list(leaves(draft.scheduled.loop(name)))
    graph = nx.DiGraph((d.source, d.sink) for d in draft.scheduled.found if d.source != d.sink and {d.source, d.sink} <= set(inside))
    graph.add_nodes_from(inside)
    before, after = nx.ancestors(graph, statement), nx.descendants(graph, statement)
    if before & after:
        return False
    if before and not draft.attempt("fission", name, *(s for s in inside if s in before)):
        return False
    if len(before) + 1 == len(inside):
        return True
    depth = len(draft.scheduled.outer(name))
    return draft.attempt("fission", loop_path(draft.scheduled.nest.order, statement)[depth].name, statement)
