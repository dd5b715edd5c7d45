"""Loops joined and taken apart."""

from __future__ import annotations

from dataclasses import replace

import networkx as nx

from ..dependences import Reason, carried, goes_back, joins
from ..nest import LoopOrder, Order, leaves, sequence
from ..nest import Sequence as SequenceOrder
from ..scheduled import Scheduled, change_loop, ends_by_data, once, replace_siblings, sibling_graph, siblings


@once
def can_fuse(scheduled: Scheduled, first: str, second: str) -> str | None:
    """Why the loops cannot share one loop at equal values, or None: a dependence would run backward."""
    if first not in scheduled.loops or second not in scheduled.loops:
        return "no such loop"
    children = siblings(scheduled.nest.order, first)
    names = [c.name if isinstance(c, LoopOrder) else "" for c in children]
    if second not in names or names.index(second) <= names.index(first):
        return f"{second} is not a later sibling of {first}"
    if by_data := ends_by_data(scheduled, first) or ends_by_data(scheduled, second):
        return by_data
    a, b = scheduled.loop(first), scheduled.loop(second)
    inside_a, inside_b = set(leaves(a)), set(leaves(b))
    outer = scheduled.outer(first)
    both = LoopOrder(first, (*a.values, *b.values), a.body)
    for d in scheduled.found:
        if d.source in inside_a and d.sink in inside_b and (reason := goes_back(scheduled.nest, both, d, outer)):
            return reason
    graph = sibling_graph(scheduled, children)
    i, j = names.index(first), names.index(second)
    for middle in set(nx.descendants(graph, i)) & set(nx.ancestors(graph, j)):
        return f"statement {next(leaves(children[middle]))} must run between them"
    return None


def aligned(scheduled: Scheduled, first: str, second: str) -> bool:
    """Whether every dependence between two sibling loops stays at equal iterations: fused, they are as parallel as before."""
    a, b = scheduled.loop(first), scheduled.loop(second)
    inside_a, inside_b = set(leaves(a)), set(leaves(b))
    both, outer = LoopOrder(first, (*a.values, *b.values), a.body), scheduled.outer(first)
    ends = ((d.source in inside_a and d.sink in inside_b, d) for d in scheduled.found)
    return not any(here and carried(scheduled.nest, scheduled.nest.order, both, d, outer) for here, d in ends)


def fuse(scheduled: Scheduled, first: str, second: str) -> Scheduled:
    """Two sibling loops become one; what stood between moves before or after.

    for i: A(i)                     for i:
    for j: B(j)         -->             A(i)
                                        B(i)
    """
    reason = can_fuse(scheduled, first, second)
    if reason:
        raise ValueError(f"cannot fuse {first} {second}: {reason}")
    children = siblings(scheduled.nest.order, first)
    names = [c.name if isinstance(c, LoopOrder) else "" for c in children]
    i, j = names.index(first), names.index(second)
    a, b = scheduled.loop(first), scheduled.loop(second)
    merged = LoopOrder(first, (*a.values, *b.values), sequence([a.body, b.body]), a.kind)
    graph = nx.contracted_nodes(sibling_graph(scheduled, children), i, j, self_loops=False)
    places = list(nx.lexicographical_topological_sort(graph))
    new = [merged if n == i else children[n] for n in places]
    return scheduled.with_order(replace_siblings(scheduled.nest.order, first, new)).renamed({second: first})


@once
def can_distribute(scheduled: Scheduled, name: str, statement: str) -> str | None:
    """Why a loop cannot be taken apart before the part that holds a statement, or None."""
    if name not in scheduled.loops:
        return "no such loop"
    parts = _parts(scheduled, name, statement)
    if parts is None:
        return f"{statement} does not begin a later part of {name}"
    if f"{name}_b" in scheduled.loops:
        return f"{name} is distributed already"
    first, second = parts
    before, after = set(leaves(sequence(first))), set(leaves(sequence(second)))
    loop, outer = scheduled.loop(name), scheduled.outer(name)
    for array, owner in scheduled.private:
        users = {s.name for s in scheduled.nest.statements if array in s.arrays()}
        if owner == name and users & before and users & after:
            return f"{array} lives in one iteration of {name} and is used on both sides"
    for d in scheduled.found:
        if d.source in after and d.sink in before and (reason := joins(scheduled.nest, loop, d, outer)):
            return Reason.of(f"the {d.kind} dependence on {d.array} goes from {d.source} back to {d.sink}", d, reason.pairs)
    return None


def distribute(scheduled: Scheduled, name: str, statement: str) -> Scheduled:
    """A loop becomes two, the second (``NAME_b``) from the part that holds a statement on.

    for i:                          for i: A(i)
        A(i)            -->         for i_b: B(i_b)
        B(i)
    """
    reason = can_distribute(scheduled, name, statement)
    parts = _parts(scheduled, name, statement)
    if reason or parts is None:
        raise ValueError(f"cannot distribute {name} at {statement}: {reason}")

    def change(loop: LoopOrder) -> Order:
        made = []
        for part, text in zip(parts, (name, f"{name}_b"), strict=True):
            inside = set(leaves(sequence(part)))
            values = tuple((s, v) for s, v in loop.values if s in inside)
            made.append(LoopOrder(text, values, sequence(part), loop.kind))
        return sequence(list(made))

    moved = {a for a, owner in scheduled.private if owner == name and _users(scheduled, a) <= set(leaves(sequence(parts[1])))}
    new = scheduled.with_order(change_loop(scheduled.nest.order, name, change))
    private = frozenset((a, f"{name}_b" if a in moved and owner == name else owner) for a, owner in scheduled.private)
    arrays = tuple(replace(a, scope=f"local {name}_b") if a.name in moved else a for a in new.nest.arrays)
    return replace(new, private=private, nest=replace(new.nest, arrays=arrays))


def _users(scheduled: Scheduled, array: str) -> set[str]:
    return {s.name for s in scheduled.nest.statements if array in s.arrays()}


def _parts(scheduled: Scheduled, name: str, statement: str) -> tuple[list[Order], list[Order]] | None:
    body = scheduled.loop(name).body
    if not isinstance(body, SequenceOrder):
        return None
    place = next((n for n, c in enumerate(body.children) if statement in leaves(c)), 0)
    return (list(body.children[:place]), list(body.children[place:])) if place else None
