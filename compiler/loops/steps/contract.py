"""Temporary arrays that live inside one iteration of a loop."""

from __future__ import annotations

from dataclasses import replace

from ...graph.types import Size
from .. import isl
from ..dependences import before_text, pair_map, paths, primed
from ..nest import Access, Apply, ArrayInfo, Expr, LoopOrder, Nest, Statement, Whole, leaves, map_expr
from ..scheduled import Scheduled

#: A place where an array is touched: the statement, the index, whether it writes.
Site = tuple[str, tuple[Size, ...], bool]


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
    dropped = frozenset((array, tuple((s, index[axis]) for s, index, _ in sites)) for axis in fixed)
    local = ArrayInfo(array, info.dtype, tuple(info.shape[a] for a in kept), f"local {name}")
    nest = _reindex(scheduled.nest, array, kept)
    arrays = tuple(local if a.name == array else a for a in nest.arrays)
    private = frozenset((a, owner) for a, owner in scheduled.private if a != array) | {(array, name)}
    return replace(scheduled, nest=replace(nest, arrays=arrays), private=private, dropped=scheduled.dropped | dropped)


def not_private(scheduled: Scheduled, array: str, name: str) -> str | None:
    """Why an array that was contracted cannot live inside one iteration of a loop in the present order, or None."""
    reason = can_contract(scheduled, array, name)
    if reason:
        return reason
    path = (*scheduled.outer(name), scheduled.loop(name))
    sites = _sites(scheduled, array)
    for owner, axis in scheduled.dropped:
        if owner == array and _aliased(scheduled, sites, axis, path):
            return f"two elements of {array} would be in one place in one iteration of {name}"
    return None


def _aliased(scheduled: Scheduled, sites: list[Site], axis: tuple[tuple[str, Size], ...], path: tuple[LoopOrder, ...]) -> bool:
    """Whether elements that differ along an axis that is gone meet in one iteration of a path of loops."""
    for loop in path:
        shifts = {(index - loop.value(s)).constant for s, index in axis}
        if len(shifts) == 1 and None not in shifts:
            return False
    table = scheduled.nest.statement_table
    for s, x in axis:
        for t, y in axis:
            rename = primed(table[t])
            pairs = [(p.value(s), p.value(t)) for p in path]
            same = [f"{isl.affine_text(a)} = {isl.affine_text(b.substitute(rename))}" for a, b in pairs]
            differ = f"{isl.affine_text(x)} != {isl.affine_text(y.substitute(rename))}"
            if not pair_map(table[s], table[t], " and ".join([*same, differ]), scheduled.nest.params).is_empty():
                return True
    return False


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
