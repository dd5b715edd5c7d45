"""Operands copied into panels: the order in which a blocked loop reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...graph.types import Size, SizeFn
from .. import isl
from ..isl import NotAffine, bound_values
from ..nest import (
    Access,
    ArrayInfo,
    Dim,
    Guard,
    Leaf,
    LoopOrder,
    Nest,
    Order,
    Statement,
    children,
    leaves,
    map_accesses,
    sequence,
)
from ..scheduled import Scheduled, change_loop, once


@dataclass(frozen=True)
class _Copy:
    """What a packing copies: the access, its axis that is cut into panels, the axes that are fixed in one iteration of the
    loop, and the first element and extent along each axis."""

    access: Access
    axis: int
    fixed: tuple[int, ...]
    ranges: tuple[tuple[Size, Size], ...]
    outer: tuple[tuple[str, Dim], ...]  # loops around the copy, and the statement's dims that they follow, or dims over their values
    blocks: tuple[Dim, ...] = ()  # where a loop around counts blocks: the copy's dims along the axes, bounds over those of the loops

    @property
    def rest(self) -> list[int]:
        """The other axes that are copied."""
        return [a for a in range(len(self.ranges)) if a != self.axis and a not in self.fixed]


def buffer_name(scheduled: Scheduled, array: str, statement: str, dim: str) -> str:
    """The name of the panels of an array along a dim: with the statement in it where another one has panels along a dim of that name."""
    name = f"{array}_{dim}"
    return f"{name}_{statement}" if name in scheduled.nest.array_table else name


@once
def can_pack(scheduled: Scheduled, array: str, statement: str, dim: str, size: int, loop: str = "") -> str | None:
    """Why what a statement reads of an array cannot be read from panels of ``size`` along a dim, or None.

    The copy is made once before the loops around the statement, or with ``loop`` in each of its iterations; from then to the
    statement nothing may write the array.
    """
    found = _copy(scheduled, array, statement, dim, loop)
    if isinstance(found, str):
        return found
    if size < 1:
        return "a panel needs at least 1 element"
    name = buffer_name(scheduled, array, statement, dim)
    nest = scheduled.nest
    loops = {f"{name}_{end}" for end in ("o", "i", *map(str, found.rest), *(o for o, _ in found.outer))}
    taken = {name, *loops, f"{statement}_{name}"} & {*scheduled.loops, *nest.array_table, *nest.statement_table, *nest.params}
    if taken:
        return f"the name {sorted(taken)[0]} is taken"
    if not found.blocks and not _inside(scheduled, found, _statement(scheduled, statement, found, name, size)[0]):
        return f"the copy would reach outside {array}"
    for other in _child(scheduled, statement, loop):
        if _spoils(scheduled, other, statement, found.access, loop):
            return f"{other} writes {array} between the copy and {statement}"
    return scheduled.unproved()


def _inside(scheduled: Scheduled, found: _Copy, copy: Statement) -> bool:
    """Whether a copy is of elements of the array, also where what keeps the statement from running is found only inside of it.
    Along an axis that it runs over it always is."""
    if not found.fixed:
        return True
    params, shape = scheduled.nest.params, scheduled.nest.array(found.access.array).shape
    (access,) = copy.reads()
    fixed = replace(access, index=tuple(access.index[a] for a in found.fixed))
    read = isl.elements(copy, fixed, isl.domain(copy, params), params)
    inside: bool = read.is_subset(isl.box(tuple(shape[a] for a in found.fixed), params))
    return inside


def _spoils(scheduled: Scheduled, other: str, statement: str, access: Access, loop: str) -> bool:
    """Whether a statement writes, in the same iteration of the loops around a copy, elements that are copied."""
    nest = scheduled.nest
    s, user = nest.statement_table[other], nest.statement_table[statement]
    if s.routine:
        return any(w.array == access.array for w in s.outputs)
    if s.write.array != access.array:
        return False
    around = (*scheduled.outer(loop), scheduled.loop(loop)) if loop else ()

    def touched(of: Statement, index: tuple[Size, ...]) -> Any:
        here = replace(access, index=(*(o.value(of.name) for o in around), *index))
        return isl.elements(of, here, isl.domain(of, nest.params), nest.params)

    return not touched(s, s.write.index).intersect(touched(user, access.index)).is_empty()


def pack(scheduled: Scheduled, array: str, statement: str, dim: str, size: int, loop: str = "") -> Scheduled:
    """A statement reads a copy of an array that is cut into panels along a dim: ``pack B S6 j 16``.

    for i:                                      for j: for k: B_j[j // 16, k, j % 16] = B[k, j]
        for k:                                  for i:
            for j: C[i, j] += A[i, k] * B[k, j]     for k:
                                            -->         for j: C[i, j] += A[i, k] * B_j[j // 16, k, j % 16]
    """
    reason = can_pack(scheduled, array, statement, dim, size, loop)
    found = _copy(scheduled, array, statement, dim, loop)
    if reason or isinstance(found, str):
        raise ValueError(f"cannot pack {array} of {statement} along {dim}: {reason}")
    name = buffer_name(scheduled, array, statement, dim)
    user = scheduled.nest.statement_table[statement]
    values = {f"{name}_{o}": scheduled.loop(o).value(statement) for o, _ in found.outer} if found.blocks else {}
    first = [low.substitute(values) for low, _ in found.ranges]
    packed = Access(name, _panel(found, found.access.index, first, size), found.access.dtype)
    user = map_accesses(user, lambda a: packed if a == found.access else a)
    extents = [extent for _, extent in found.ranges]
    shape = ((extents[found.axis] + size - 1) // size, *(extents[a] for a in found.rest), Size.of(size))
    info = ArrayInfo(name, found.access.dtype, shape, "problem")
    copy, order = _statement(scheduled, statement, found, name, size)
    nest = scheduled.nest
    statements = tuple(x for s in nest.statements for x in ([copy, user] if s.name == statement else [s]))
    order = _insert(scheduled, order, copy.name, found, statement, loop, name)
    new = Nest(nest.name, nest.params, (*nest.arrays, info), statements, order)
    return scheduled.rewrite(new, {statement, copy.name})


def _panel(found: _Copy, index: Sequence[Size], first: Sequence[Size], size: int) -> tuple[Size, ...]:
    """Where an element is in the panels: its panel, what it is along the other axes, and its place in the panel."""
    extent = found.ranges[found.axis][1].constant
    if found.blocks and extent is not None and extent <= size:  # one panel
        block, place = Size.of(0), index[found.axis] - first[found.axis]
    else:
        block, place = _cut(index[found.axis], first[found.axis], size)
    return (block, *(index[a] - first[a] for a in found.rest), place)


def _cut(index: Size, first: Size, size: int) -> tuple[Size, Size]:
    """The panel of an index and its place there; panels that begin at whole multiples are counted by the index itself."""
    if all(c % size == 0 for _, c in first.terms):
        return index // size - first // size, index % size
    return (index - first) // size, (index - first) % size


def _copy(scheduled: Scheduled, array: str, statement: str, dim: str, loop: str) -> _Copy | str:
    s = scheduled.nest.statement_table.get(statement)
    if s is None or s.routine:
        return f"no such statement: {statement}" if s is None else f"{statement} is a routine"
    if loop and (loop not in scheduled.loops or statement not in leaves(scheduled.loop(loop))):
        return f"no loop {loop} around {statement}"
    if dim not in {d.name for d in s.dims}:
        return f"{statement} has no dim {dim}"
    sites = [
        (r, axis)
        for r in s.reads()
        if r.array == array
        for axis, index in enumerate(r.index)
        if (index - Size.of(dim)).constant is not None
    ]
    if len(sites) != 1:
        return f"{statement} reads {array} along {dim} in {len(sites) or 'no'} places"
    access, axis = sites[0]
    around = (*scheduled.outer(loop), scheduled.loop(loop)) if loop else ()
    if any(not one.value(statement).is_name for one in around):
        return _blocks(scheduled, s, access, axis, around, buffer_name(scheduled, array, statement, dim))
    outer = []
    if loop:
        for one in around:
            follows = next((d for d in s.dims if Size.of(d.name) == one.value(statement)), None)
            if follows is None:
                return f"{one.name} does not follow one dim of {statement}"
            outer.append((one.name, follows))
        outer.sort(key=lambda around: s.dims.index(around[1]))  # bounds are over the dims before
    free = {d.name for _, d in outer}
    if any((d.lower.names() | d.upper.names()) - free - set(scheduled.nest.params) for _, d in outer) or dim in free:
        return f"{dim} is fixed in {loop}" if dim in free else f"the loops around {loop} depend on loops inside"
    dims = {d.name for d in s.dims} - free
    fixed = tuple(a for a, index in enumerate(access.index) if not index.names() & dims)
    ranges = tuple(
        (Size.of(0), Size.of(1)) if a in fixed else _range(scheduled, s, access, a, free) for a in range(len(access.index))
    )
    return _Copy(access, axis, fixed, ranges, tuple(outer))


def _blocks(scheduled: Scheduled, s: Statement, access: Access, axis: int, around: tuple[LoopOrder, ...], name: str) -> _Copy | str:
    """What is copied in one iteration of loops that count blocks: a box around the elements that are read in it."""
    params = scheduled.nest.params
    letters = [f"{name}_{o.name}" for o in around]
    values, domain = tuple(o.value(s.name) for o in around), isl.domain(s, params)
    own = []
    try:
        for a, index in enumerate(access.index):
            here = isl.elements(s, replace(access, index=(*values, index)), domain, params)
            *outer, one = isl.bounds(here, [*letters, f"{name}_{'i' if a == axis else a}"])
            own.append(one)
    except NotAffine as error:
        return f"what {s.name} reads of {access.array} in one iteration of {around[-1].name}: {error}"
    dims = [*outer, *own]
    copied = Statement(name, tuple(dims), replace(access, index=tuple(Size.of(d.name) for d in own)), access)
    try:
        read = isl.elements(copied, copied.write, isl.domain(copied, params), params)
        if not read.is_subset(isl.box(scheduled.nest.array(access.array).shape, params)):
            return f"the copy would reach outside {access.array}"
        ranges = [(d.lower, Size.of(most)) if (most := _most(d)) is not None else _spanned(dims, d) for d in own]
    except (NotAffine, KeyError):
        return f"what {s.name} reads of {access.array} is known only at run time"
    return _Copy(access, axis, (), tuple(ranges), tuple((o.name, d) for o, d in zip(around, outer)), tuple(own))


def _spanned(dims: list[Dim], dim: Dim) -> tuple[Size, Size]:
    """First value and number of values of a dim, whatever those before it are. Raises KeyError if they are known only at run time."""
    box: dict[str, tuple[int, int]] = {}
    for d in dims:
        box[d.name] = (bound_values(d.lower, box)[0], bound_values(d.upper, box)[1] - 1)
    low, high = box[dim.name]
    return Size.of(low), Size.of(high - low + 1)


def _most(dim: Dim) -> int | None:
    """How many values a dim has at most, whatever the dims before it are; the last block of an index may have fewer than that."""
    (monomial, c), *others = dim.upper.terms or (((), 0),)
    atom = monomial[0] if len(monomial) == 1 and c == 1 and not others else None
    uppers = atom.args if isinstance(atom, SizeFn) and atom.op == "min" else (dim.upper,)
    return min((n for u in uppers if (n := (u - dim.lower).constant) is not None), default=None)


def _range(scheduled: Scheduled, s: Statement, access: Access, axis: int, outer: set[str]) -> tuple[Size, Size]:
    """First element and number of elements that a statement reads along an axis, as far as the ranges of its dims tell: never
    outside of the array, and all of the axis where that varies."""
    index, extent = access.index[axis], scheduled.nest.array(access.array).shape[axis]
    box: dict[str, tuple[int, int]] = {}
    try:
        for d in s.dims:
            if d.upper.names() | d.lower.names() <= box.keys():
                box[d.name] = (bound_values(d.lower, box)[0], bound_values(d.upper, box)[1] - 1)
        low, high = bound_values(index, box)
        if extent.constant is not None:
            low, high = max(low, 0), min(high, extent.constant - 1)
            if low <= high:
                return Size.of(low), Size.of(high - low + 1)
    except (NotAffine, KeyError):
        pass  # a count of iterations bounds it: the whole axis
    return Size.of(0), extent


def _statement(scheduled: Scheduled, statement: str, found: _Copy, name: str, size: int) -> tuple[Statement, Order]:
    """The copy and its own loops."""
    guards: tuple[Guard, ...] = ()
    own = {a: f"{name}_{'i' if a == found.axis else a}" for a in (found.axis, *found.rest)}
    if found.blocks:
        dims = [*(d for _, d in found.outer), *found.blocks]
        index = tuple(Size.of(d.name) for d in found.blocks)
        into, first = index, [low for low, _ in found.ranges]
    else:
        rename = {d.name: Size.of(f"{name}_{o}") for o, d in found.outer}
        dims = [Dim(f"{name}_{o}", d.upper.substitute(rename), d.lower.substitute(rename)) for o, d in found.outer]
        dims += [Dim(text, found.ranges[a][1]) for a, text in own.items()]
        index = tuple(
            access.substitute(rename) if a in found.fixed else Size.of(own[a]) + found.ranges[a][0]
            for a, access in enumerate(found.access.index)
        )
        into, first = tuple(Size.of(own.get(a, "")) for a in range(len(index))), [Size.of(0)] * len(index)
        user = scheduled.nest.statement_table[statement]
        known = {d.name for _, d in found.outer} | set(scheduled.nest.params)
        guards = tuple(Guard(g.size.substitute(rename), g.op) for g in user.guards if g.size.names() <= known)
    write = Access(name, _panel(found, into, first, size), found.access.dtype)
    read = Access(found.access.array, index, found.access.dtype)
    of = scheduled.nest.statement_table[statement]
    s = Statement(f"{statement}_{name}", tuple(dims), write, read, guards=guards, span=of.span, values=of.values)
    body: Order = LoopOrder(f"{name}_i", ((s.name, into[found.axis]),), Leaf(s.name))
    for a in reversed(found.rest):
        body = LoopOrder(own[a], ((s.name, into[a]),), body)
    return s, LoopOrder(f"{name}_o", ((s.name, _cut(into[found.axis], first[found.axis], size)[0]),), body)


def _insert(scheduled: Scheduled, order: Order, copy: str, found: _Copy, statement: str, loop: str, name: str) -> Order:
    """The order of the nest with the copy before the part that holds the statement."""
    values = {o: Size.of(f"{name}_{o}") for o, _ in found.outer}

    def before(body: Order) -> Order:
        parts = children(body)
        at = next(n for n, c in enumerate(parts) if statement in leaves(c))
        return sequence([*parts[:at], order, *parts[at:]])

    if not loop:
        return before(scheduled.nest.order)
    new = change_loop(scheduled.nest.order, loop, lambda one: replace(one, body=before(one.body)))
    for around in values:
        new = change_loop(new, around, lambda one: replace(one, values=(*one.values, (copy, values[one.name]))))
    return new


def _child(scheduled: Scheduled, statement: str, loop: str) -> list[str]:
    """The statements of the part of a loop's body, or of the nest, that holds a statement."""
    body = scheduled.loop(loop).body if loop else scheduled.nest.order
    return next(list(leaves(c)) for c in children(body) if statement in leaves(c))
