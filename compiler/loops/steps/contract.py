"""Temporary arrays that live inside one iteration of a loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from ...graph.types import Size, SizeFn
from .. import isl
from ..dependences import before_text, pair_map, paths, primed
from ..nest import Access, ArrayInfo, LoopOrder, Nest, Statement, Whole, leaves, map_accesses
from ..scheduled import Scheduled, once

#: A place where an array is touched: the statement, the index, whether it writes.
Site = tuple[str, tuple[Size, ...], bool]


def sites(scheduled: Scheduled, array: str) -> list[Site]:
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


@once
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
    found = sites(scheduled, array)
    if any(s not in below for s, _, _ in found):
        return f"{array} is used outside {name}"
    return uncovered_read(scheduled, array, loop, found)


def uncovered_read(scheduled: Scheduled, array: str, loop: LoopOrder, found: list[Site]) -> str | None:
    """A read of an array, at one of the places found, of what was not written before in the same iteration of a loop."""
    nest, table = scheduled.nest, scheduled.nest.statement_table
    above = paths(nest.order)
    path = (*scheduled.outer(loop.name), loop)
    writers = [(s, i) for s, i, writes in found if writes]
    readers = [(s, i) for s, i, writes in found if not writes]
    readers += [(s, i) for s, i in writers if table[s].reduce]
    for reader, index in dict.fromkeys(readers):
        sink = table[reader]
        need = isl.domain(scheduled.asked(reader), nest.params)
        rank = len(nest.array(array).shape)
        covered = None
        for writer, written in dict.fromkeys(writers):
            source = table[writer]
            if source.reduce:
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
            order = before_text(source, sink, above, inside=len(path))
            reached = pair_map(source, sink, " and ".join([*same, f"({order})"]), nest.params).range()
            covered = reached if covered is None else covered.union(reached)
        if covered is None or not need.is_subset(covered):
            return f"{reader} reads elements of {array} that are not written before it in one iteration of {loop.name}"
    return None


def contract(scheduled: Scheduled, array: str, name: str) -> Scheduled:
    """A temporary array becomes local to one iteration of a loop. Axes that the loops tell go away; those that follow a loop over
    blocks hold one block.

    t[n];  for i: t[i] = ..; .. t[i]                  -->      for i: t = ..; .. t
    t[n];  for io: for i in block io: t[i] = ..       -->      for io: t[4]; for i in block io: t[i - 4 * io] = ..
    """
    reason = can_contract(scheduled, array, name)
    if reason:
        raise ValueError(f"cannot contract {array} at {name}: {reason}")
    path = (*scheduled.outer(name), scheduled.loop(name))
    found = sites(scheduled, array)
    info = scheduled.nest.array(array)
    fixed = [axis for axis in range(len(info.shape)) if _follows(found, axis, path)]
    kept = [axis for axis in range(len(info.shape)) if axis not in fixed]
    blocks = {axis: block for axis in kept if (block := _block(scheduled, found, axis, info.shape[axis], path))}
    dropped = frozenset((array, tuple((s, index[axis]) for s, index, _ in found)) for axis in fixed)
    dropped |= {(array, tuple((s, b.loop.value(s)) for s, _, _ in found)) for b in blocks.values()}
    shape = tuple(Size.of(blocks[a].extent) if a in blocks else info.shape[a] for a in kept)
    local = ArrayInfo(array, info.dtype, shape, f"local {name}")
    nest = _reindex(scheduled.nest, array, kept, blocks)
    arrays = tuple(local if a.name == array else a for a in nest.arrays)
    private = frozenset((a, owner) for a, owner in scheduled.private if a != array) | {(array, name)}
    return replace(scheduled, nest=replace(nest, arrays=arrays), private=private, dropped=scheduled.dropped | dropped)


def not_private(scheduled: Scheduled, array: str, name: str) -> str | None:
    """Why an array that was contracted cannot live inside one iteration of a loop in the present order, or None."""
    reason = can_contract(scheduled, array, name)
    if reason:
        return reason
    path = (*scheduled.outer(name), scheduled.loop(name))
    for owner, axis in scheduled.dropped:
        if owner == array and _aliased(scheduled, axis, path):
            return f"two elements of {array} would be in one place in one iteration of {name}"
    return None


def _aliased(scheduled: Scheduled, axis: tuple[tuple[str, Size], ...], path: tuple[LoopOrder, ...]) -> bool:
    """Whether elements that differ along an axis that is gone meet in one iteration of a path of loops."""
    if _told(axis, path):
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


@dataclass(frozen=True)
class _Block:
    """What one iteration of a loop over blocks touches along an axis: ``extent`` elements from ``scale`` times the loop's value,
    plus ``first``, on."""

    loop: LoopOrder
    scale: int
    first: int
    extent: int


def _block(scheduled: Scheduled, found: list[Site], axis: int, size: Size, path: tuple[LoopOrder, ...]) -> _Block | None:
    """The smallest part of an axis that all accesses in one iteration of a loop over blocks stay in."""
    if any(axis >= len(index) or scheduled.nest.statement_table[s].routine for s, index, _ in found):
        return None
    best: _Block | None = None
    for loop in path:
        reach = [_reach(index[axis], loop.value(s)) for s, index, _ in found]
        known = [r for r in reach if r is not None]
        if len(known) < len(reach) or len({r[0] for r in known}) != 1:
            continue
        first, end = min(r[1] for r in known), max(r[2] for r in known)
        if (best is None or end - first < best.extent) and (size.constant is None or end - first < size.constant):
            best = _Block(loop, known[0][0], first, end - first)
    return best


def _reach(index: Size, block: Size) -> tuple[int, int, int] | None:
    """``(n, a, b)`` with ``n * block + a <= index < n * block + b`` always, where the block is ``x // m``."""
    divided = division(block)
    if divided is None:
        return None
    whole, m = divided
    shift = (index - whole).constant
    if shift is not None:
        return m, shift, m + shift
    inner = division(index)  # the number of a smaller block
    if inner is not None and inner[0] == whole and m % inner[1] == 0:
        return m // inner[1], 0, m // inner[1]
    return None


def division(size: Size) -> tuple[Size, int] | None:
    """``(x, m)`` where a size is ``x // m``."""
    if len(size.terms) != 1 or size.terms[0][1] != 1 or len(size.terms[0][0]) != 1:
        return None
    atom = size.terms[0][0][0]
    if not isinstance(atom, SizeFn) or atom.op != "//" or atom.args[1].constant is None:
        return None
    return atom.args[0], atom.args[1].constant


def _follows(found: list[Site], axis: int, path: tuple[LoopOrder, ...]) -> bool:
    """Whether the loops of a path tell at which place along an axis an access is, the same for every access."""
    return all(axis < len(index) for _, index, _ in found) and _told([(s, index[axis]) for s, index, _ in found], path)


def _told(axis: Sequence[tuple[str, Size]], path: Sequence[LoopOrder]) -> bool:
    """Whether one affine function of the values of loops is the index at every access: ``i - t`` where a loop runs over ``i + t``."""
    for loop in path:
        shifts = {(index - loop.value(s)).constant for s, index in axis}
        if len(shifts) == 1 and None not in shifts:
            return True
    rows: list[list[Fraction]] = []  # an equation for each term at each access: coefficients of the loops, of 1, and of the index
    for s, index in dict.fromkeys(axis):
        sizes = [dict(size.terms) for size in (*(loop.value(s) for loop in path), Size.of(1), index)]
        rows += [[Fraction(size.get(term, 0)) for size in sizes] for term in dict.fromkeys(t for size in sizes for t in size)]
    return _soluble(rows)


def _soluble(rows: list[list[Fraction]]) -> bool:
    """Whether linear equations, right sides last, have a solution."""
    for column in range(len(rows[0]) - 1 if rows else 0):
        pivot = next((row for row in rows if row[column]), None)
        if pivot is None:
            continue
        rows = [[x - p * row[column] / pivot[column] for x, p in zip(row, pivot)] for row in rows if row is not pivot]
    return bool(rows) and not any(row[-1] for row in rows)


def _reindex(nest: Nest, array: str, kept: list[int], local: dict[int, _Block]) -> Nest:
    def shorter(statement: str, index: tuple[Size, ...]) -> tuple[Size, ...]:
        def one(a: int) -> Size:
            block = local.get(a)
            return index[a] - block.loop.value(statement) * block.scale - block.first if block else index[a]

        return tuple(one(a) for a in kept if a < len(index))

    def change(s: Statement) -> Statement:
        def blocks(found: tuple[Whole, ...]) -> tuple[Whole, ...]:
            return tuple(Whole(w.array, shorter(s.name, w.index), w.dtype) if w.array == array else w for w in found)

        new = map_accesses(s, lambda e: Access(e.array, shorter(s.name, e.index), e.dtype) if e.array == array else e)
        return replace(new, outputs=blocks(s.outputs), inputs=blocks(s.inputs))

    return replace(nest, statements=tuple(change(s) for s in nest.statements))
