"""Transformations of an order: each is a function nest -> nest with a ``can_`` twin that gives the reason why not.

A :class:`Scheduled` pairs a nest with its dependences (of program order). Loops are named; names stay
unique. Nothing here trusts itself: :func:`~.dependences.check_order` proves the final order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import networkx as nx

from ..graph.types import Size
from . import isl
from .dependences import Dependence, before_text, carried, dependences, pair_map, paths, primed
from .isl import NotAffine, bound_values
from .nest import (
    Access,
    Apply,
    ArrayInfo,
    Expr,
    Leaf,
    LoopOrder,
    Nest,
    Order,
    Statement,
    Whole,
    leaves,
    loop_path,
    loops_of,
    map_expr,
    sequence,
)
from .nest import Sequence as SequenceOrder

#: A place where an array is touched: the statement, the index, whether it writes.
Site = tuple[str, tuple[Size, ...], bool]


@dataclass(frozen=True)
class Scheduled:
    """A nest under transformation and the dependences of its program order."""

    nest: Nest
    found: tuple[Dependence, ...]
    private: frozenset[tuple[str, str]] = frozenset()  # (array, loop whose every iteration has its own copy)

    @staticmethod
    def start(nest: Nest) -> Scheduled:
        """The untransformed program."""
        return Scheduled(nest, dependences(nest))

    def with_order(self, order: Order) -> Scheduled:
        """The same program in another order."""
        return replace(self, nest=replace(self.nest, order=order))

    @cached_property
    def loops(self) -> dict[str, LoopOrder]:
        """Loops by name."""
        return {loop.name: loop for loop in loops_of(self.nest.order)}

    def loop(self, name: str) -> LoopOrder:
        """A loop by name. Raises KeyError."""
        return self.loops[name]

    def outer(self, name: str) -> tuple[LoopOrder, ...]:
        """The loops around a loop, outermost first."""
        path = loop_path(self.nest.order, next(leaves(self.loop(name))))
        return path[: [p.name for p in path].index(name)]

    def is_private(self, array: str, loop: LoopOrder) -> bool:
        """Whether every iteration of ``loop`` (or of one inside it) has its own copy of an array."""
        if not any(a == array for a, _ in self.private):
            return False
        inside = {loop.name} | {inner.name for inner in loops_of(loop.body)}
        return any((array, name) in self.private for name in inside)


def change_loop(order: Order, name: str, change: Callable[[LoopOrder], Order]) -> Order:
    """The order with one loop replaced."""
    if isinstance(order, Leaf):
        return order
    if isinstance(order, SequenceOrder):
        return sequence([change_loop(c, name, change) for c in order.children])
    if order.name == name:
        return change(order)
    return replace(order, body=change_loop(order.body, name, change))


def siblings(order: Order, name: str) -> tuple[Order, ...]:
    """The children of the sequence that holds a loop (itself included)."""
    if isinstance(order, LoopOrder):
        return (order,) if order.name == name else siblings(order.body, name)
    if isinstance(order, SequenceOrder):
        if any(isinstance(c, LoopOrder) and c.name == name for c in order.children):
            return order.children
        for child in order.children:
            found = siblings(child, name)
            if found:
                return found
    return ()


def extent(scheduled: Scheduled, loop: LoopOrder) -> tuple[int, int] | None:
    """Least and greatest value of a loop, or None if a run-time argument bounds it."""
    low, high = None, None
    for name, value in loop.values:
        statement = scheduled.nest.statement_table[name]
        box: dict[str, tuple[int, int]] = {}
        try:
            for d in statement.dims:
                if d.upper.names() <= box.keys():
                    box[d.name] = (bound_values(d.lower, box)[0], bound_values(d.upper, box)[1] - 1)
            first, last = bound_values(value, box)
        except (NotAffine, KeyError):
            return None
        low, high = (first if low is None else min(low, first)), (last if high is None else max(high, last))
    return None if low is None or high is None else (low, high)


# -- fuse ------------------------------------------------------------------------------------------------------------


def _graph(scheduled: Scheduled, children: tuple[Order, ...]) -> nx.DiGraph:
    """Which sibling must stay before which: edges from dependences within one iteration of the loops around."""
    owner = {s: n for n, child in enumerate(children) for s in leaves(child)}
    graph = nx.DiGraph()
    graph.add_nodes_from(range(len(children)))
    for d in scheduled.found:
        a, b = owner.get(d.source), owner.get(d.sink)
        if a is not None and b is not None and a != b:
            graph.add_edge(min(a, b), max(a, b))
    return graph


def can_fuse(scheduled: Scheduled, first: str, second: str) -> str | None:
    """Why the loops cannot share one loop at equal values, or None."""
    if first not in scheduled.loops or second not in scheduled.loops:
        return "no such loop"
    children = siblings(scheduled.nest.order, first)
    names = [c.name if isinstance(c, LoopOrder) else "" for c in children]
    if second not in names or names.index(second) <= names.index(first):
        return f"{second} is not a later sibling of {first}"
    a, b = scheduled.loop(first), scheduled.loop(second)
    inside_a, inside_b = set(leaves(a)), set(leaves(b))
    outer = scheduled.outer(first)
    both = LoopOrder(first, (*a.values, *b.values), a.body)
    for d in scheduled.found:
        if d.source in inside_a and d.sink in inside_b and carried(scheduled.nest, scheduled.nest.order, both, d, outer):
            return f"the {d.kind} dependence on {d.array} joins different iterations"
    graph = _graph(scheduled, children)
    i, j = names.index(first), names.index(second)
    for middle in set(nx.descendants(graph, i)) & set(nx.ancestors(graph, j)):
        return f"statement {next(leaves(children[middle]))} must run between them"
    return None


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
    graph = nx.contracted_nodes(_graph(scheduled, children), i, j, self_loops=False)
    places = list(nx.lexicographical_topological_sort(graph))
    new = [merged if n == i else children[n] for n in places]
    return scheduled.with_order(_replace_siblings(scheduled.nest.order, first, new))


def _replace_siblings(order: Order, name: str, new: list[Order]) -> Order:
    if isinstance(order, LoopOrder):
        return replace(order, body=_replace_siblings(order.body, name, new))
    if isinstance(order, SequenceOrder):
        if any(isinstance(c, LoopOrder) and c.name == name for c in order.children):
            return sequence(new)
        return sequence([_replace_siblings(c, name, new) for c in order.children])
    return order


# -- interchange, tile -----------------------------------------------------------------------------------------------


def can_interchange(scheduled: Scheduled, outer: str, inner: str) -> str | None:
    """Why two perfectly nested loops cannot be swapped, or None (the final check proves legality)."""
    if outer not in scheduled.loops or inner not in scheduled.loops:
        return "no such loop"
    body = scheduled.loop(outer).body
    return None if isinstance(body, LoopOrder) and body.name == inner else f"{inner} is not directly inside {outer}"


def interchange(scheduled: Scheduled, outer: str, inner: str) -> Scheduled:
    """Swap two perfectly nested loops.

    for i:                          for j:
        for j: S(i, j)      -->         for i: S(i, j)
    """
    reason = can_interchange(scheduled, outer, inner)
    if reason:
        raise ValueError(f"cannot interchange {outer} {inner}: {reason}")

    def change(loop: LoopOrder) -> Order:
        assert isinstance(loop.body, LoopOrder)
        return replace(loop.body, body=replace(loop, body=loop.body.body))

    return scheduled.with_order(change_loop(scheduled.nest.order, outer, change))


def can_tile(scheduled: Scheduled, name: str, size: int) -> str | None:
    """Why a loop cannot be cut into blocks, or None."""
    if name not in scheduled.loops:
        return "no such loop"
    if f"{name}_o" in scheduled.loops or f"{name}_i" in scheduled.loops:
        return f"{name} is tiled already"
    return None if size >= 2 else "a block needs at least 2 iterations"


def tile(scheduled: Scheduled, name: str, size: int) -> Scheduled:
    """Cut a loop into blocks of ``size`` (the last one may be short).

    for i: S(i)         -->     for i_o:
                                    for i_i in the block: S(i)
    """
    reason = can_tile(scheduled, name, size)
    if reason:
        raise ValueError(f"cannot tile {name}: {reason}")

    def change(loop: LoopOrder) -> Order:
        inner = replace(loop, name=f"{name}_i")
        blocks = tuple((s, v // Size.of(size)) for s, v in loop.values)
        return LoopOrder(f"{name}_o", blocks, inner, loop.kind)

    return scheduled.with_order(change_loop(scheduled.nest.order, name, change))


# -- parallel, vector ------------------------------------------------------------------------------------------------


def conflicts(scheduled: Scheduled, name: str, *, reductions: bool) -> Iterator[Dependence]:
    """Dependences between different iterations of a loop; private arrays have none."""
    loop, outer = scheduled.loop(name), scheduled.outer(name)
    below = {s for s, _ in loop.values}
    for d in scheduled.found:
        if d.source not in below or d.sink not in below or (d.reduction and reductions):
            continue
        if not scheduled.is_private(d.array, loop) and carried(scheduled.nest, scheduled.nest.order, loop, d, outer):
            yield d


def can_parallel(scheduled: Scheduled, name: str) -> str | None:
    """Why iterations of a loop are not independent, or None."""
    if name not in scheduled.loops:
        return "no such loop"
    for d in conflicts(scheduled, name, reductions=False):
        return f"the {d.kind} dependence on {d.array} joins different iterations"
    return None


def parallel(scheduled: Scheduled, name: str) -> Scheduled:
    """Iterations of a loop are split over the threads.

    for i: S(i)         -->     parallel i: S(i)
    """
    reason = can_parallel(scheduled, name)
    if reason:
        raise ValueError(f"cannot run {name} in parallel: {reason}")
    return _mark(scheduled, name, "parallel")


def can_vector(scheduled: Scheduled, name: str) -> str | None:
    """Why iterations of an innermost loop cannot run side by side, or None. Reductions may be re-associated."""
    if name not in scheduled.loops:
        return "no such loop"
    if any(True for _ in loops_of(scheduled.loop(name).body)):
        return "there are loops inside"
    if any(scheduled.nest.statement_table[s].routine for s in leaves(scheduled.loop(name))):
        return "it calls a routine"
    for d in conflicts(scheduled, name, reductions=True):
        return f"the {d.kind} dependence on {d.array} joins different iterations"
    return None


def vector(scheduled: Scheduled, name: str) -> Scheduled:
    """Iterations of an innermost loop run side by side in vector registers.

    for i: S(i)         -->     vector i: S(i)
    """
    reason = can_vector(scheduled, name)
    if reason:
        raise ValueError(f"cannot vectorise {name}: {reason}")
    return _mark(scheduled, name, "vector")


def _mark(scheduled: Scheduled, name: str, kind: str) -> Scheduled:
    def change(loop: LoopOrder) -> Order:
        kinds = [k for k in loop.kind.split() if k != "serial"] + [kind]
        return replace(loop, kind=" ".join(dict.fromkeys(kinds)))

    return scheduled.with_order(change_loop(scheduled.nest.order, name, change))


# -- contract --------------------------------------------------------------------------------------------------------


def _sites(scheduled: Scheduled, array: str) -> list[Site]:
    """(statement, index, writes) of every access to an array."""
    out: list[Site] = []
    for s in scheduled.nest.statements:
        for block, writes in [*((w, True) for w in s.outputs), *((r, False) for r in s.inputs)]:
            if block.array == array:
                out.append((s.name, block.index, writes))
        if not s.routine and s.write.array == array:
            out.append((s.name, s.write.index, True))
        out += [(s.name, r.index, False) for r in s.reads() if r.array == array]
    return out


def can_contract(scheduled: Scheduled, array: str, name: str) -> str | None:
    """Why an array cannot live inside one iteration of a loop, or None.

    Every element read in an iteration must have been written earlier in the same iteration (exact, by isl).
    """
    if name not in scheduled.loops:
        return "no such loop"
    info = scheduled.nest.array_table.get(array)
    if info is None or not info.temporary:
        return f"{array} is not a temporary array"
    loop = scheduled.loop(name)
    below = set(leaves(loop))
    sites = _sites(scheduled, array)
    if any(s not in below for s, _, _ in sites):
        return f"{array} is used outside {name}"
    return _uncovered_read(scheduled, array, loop, sites)


def _uncovered_read(scheduled: Scheduled, array: str, loop: LoopOrder, sites: list[Site]) -> str | None:
    nest, table = scheduled.nest, scheduled.nest.statement_table
    above = paths(nest.order)
    path = (*scheduled.outer(loop.name), loop)
    writers = [(s, i) for s, i, writes in sites if writes]
    readers = [(s, i) for s, i, writes in sites if not writes]
    readers += [(s, i) for s, i in writers if table[s].reduce]
    for reader, index in dict.fromkeys(readers):
        sink = table[reader]
        need = isl.domain(sink, nest.params)
        rank = len(nest.array(array).shape)
        covered = None
        for writer, written in dict.fromkeys(writers):
            source = table[writer]
            if source is sink or source.reduce:
                continue
            rename = primed(sink)
            levels = [(p.value(writer), p.value(reader).substitute(rename)) for p in path]
            same = [f"{isl.affine_text(a)} = {isl.affine_text(b)}" for a, b in levels]
            if len(index) == rank and len(written) == rank:
                same += [
                    f"{isl.affine_text(a)} = {isl.affine_text(b.substitute(rename))}" for a, b in zip(written, index, strict=True)
                ]
            elif len(written) != len(index):
                continue
            order = before_text(source, sink, above)
            reached = pair_map(source, sink, " and ".join([*same, f"({order})"]), nest.params).range()
            covered = reached if covered is None else covered.union(reached)
        if covered is None or not need.is_subset(covered):
            return f"{reader} reads elements of {array} that are not written before it in one iteration of {loop.name}"
    return None


def contract(scheduled: Scheduled, array: str, name: str) -> Scheduled:
    """A temporary array becomes local to one iteration of a loop; axes that follow the loops go away.

    t[n];  for i: t[i] = ..; .. t[i]      -->      for i: t = ..; .. t
    """
    reason = can_contract(scheduled, array, name)
    if reason:
        raise ValueError(f"cannot contract {array} at {name}: {reason}")
    path = (*scheduled.outer(name), scheduled.loop(name))
    sites = _sites(scheduled, array)
    info = scheduled.nest.array(array)
    fixed = [axis for axis in range(len(info.shape)) if _follows(sites, axis, path)]
    kept = [axis for axis in range(len(info.shape)) if axis not in fixed]
    local = ArrayInfo(array, info.dtype, tuple(info.shape[a] for a in kept), f"local {name}")
    nest = _reindex(scheduled.nest, array, kept)
    arrays = tuple(local if a.name == array else a for a in nest.arrays)
    return replace(scheduled, nest=replace(nest, arrays=arrays), private=scheduled.private | {(array, name)})


def _follows(sites: list[Site], axis: int, path: tuple[LoopOrder, ...]) -> bool:
    """Whether an axis is, at every access, one loop's value plus one constant."""
    if any(axis >= len(index) for _, index, _ in sites):
        return False
    for loop in path:
        shifts = {(index[axis] - loop.value(s)).constant for s, index, _ in sites}
        if len(shifts) == 1 and None not in shifts:
            return True
    fixed = {index[axis].constant for _, index, _ in sites}
    return len(fixed) == 1 and None not in fixed


def _reindex(nest: Nest, array: str, kept: list[int]) -> Nest:
    def shorter(index: tuple[Size, ...]) -> tuple[Size, ...]:
        return tuple(index[a] for a in kept if a < len(index))

    def change(e: Expr) -> Expr:
        return Access(e.array, shorter(e.index), e.dtype) if isinstance(e, Access) and e.array == array else e

    def blocks(found: tuple[Whole, ...]) -> tuple[Whole, ...]:
        return tuple(Whole(w.array, shorter(w.index), w.dtype) if w.array == array else w for w in found)

    def one(s: Statement) -> Statement:
        write = change(s.write)
        assert isinstance(write, Access)
        value = map_expr(s.value, change) if isinstance(s.value, (Apply, Access)) else s.value
        return replace(s, write=write, value=value, outputs=blocks(s.outputs), inputs=blocks(s.inputs))

    return replace(nest, statements=tuple(one(s) for s in nest.statements))
