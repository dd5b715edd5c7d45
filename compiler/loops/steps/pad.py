"""Domains rounded up to whole blocks."""

from __future__ import annotations

from dataclasses import replace

from ...graph.types import Size
from .. import isl
from ..isl import NotAffine
from ..nest import Access, Apply, ArrayInfo, Dim, Expr, Statement
from ..scheduled import Scheduled, once

#: Ops that report what is wrong with their operands, or draw numbers: not for values that nobody asked for.
_WATCHED = frozenset({"check_index", "floordiv", "mod"})


@once
def can_pad(scheduled: Scheduled, statement: str, *dims: str | int) -> str | None:
    """Why a statement cannot run for whole blocks of its dims, or None.

    What the added instances write must be elements of a temporary that nothing else touches, and what they read must be
    inside its array (both exact, by isl).
    """
    s = scheduled.nest.statement_table.get(statement)
    if s is None or s.routine:
        return f"no such statement: {statement}" if s is None else f"{statement} is a routine"
    names, sizes = [a for a in dims if isinstance(a, str)], [a for a in dims if isinstance(a, int)]
    if not names or len(names) != len(sizes) or len(set(names)) != len(names) or any(n < 2 for n in sizes):
        return "name dims of the statement, each with a block size of at least 2"
    known = {d.name for d in s.dims}
    for n in names:
        if n not in known:
            return f"{statement} has no dim {n}"
    if any(g.size.names() & set(names) for g in s.guards):
        return f"{statement} has conditions on them"
    if not scheduled.nest.array(s.write.array).temporary:
        return f"{s.write.array} is not a temporary array"
    if _watched(s.value):
        return f"{statement} checks its operands"
    try:
        wide = _widened(s, _sizes(dims))
        arrays = _arrays(scheduled, wide)
    except NotAffine as error:
        return str(error)
    return _harm(scheduled, s, wide, arrays) or scheduled.unproved()


def pad(scheduled: Scheduled, statement: str, *dims: str | int) -> Scheduled:
    """A statement runs for whole blocks, so that tiles of that size are all full: ``pad S6 i 4``.

    for i in 0..10: t[i] += A(i)       -->     for i in 0..12: t[i] += A(i)       t[10], t[11] are read by nobody
    """
    reason = can_pad(scheduled, statement, *dims)
    if reason:
        raise ValueError(f"cannot pad {statement} {' '.join(map(str, dims))}: {reason}")
    nest = scheduled.nest
    wide = _widened(nest.statement_table[statement], _sizes(dims))
    arrays = _arrays(scheduled, wide)
    statements = tuple(wide if s.name == statement else s for s in nest.statements)
    first = scheduled.asked(statement).dims
    asked = tuple((s, d) for s, d in scheduled.padded if s != statement)
    if wide.dims != first:
        asked = (*asked, (statement, first))
    return replace(scheduled, padded=asked).rewrite(replace(nest, statements=statements, arrays=arrays), {statement})


def _sizes(dims: tuple[str | int, ...]) -> dict[str, int]:
    names, sizes = [a for a in dims if isinstance(a, str)], [a for a in dims if isinstance(a, int)]
    return dict(zip(names, sizes, strict=True))


def _watched(value: Expr) -> bool:
    return isinstance(value, Apply) and (
        value.op in _WATCHED or value.op.startswith("random") or any(_watched(a) for a in value.args)
    )


def _widened(s: Statement, sizes: dict[str, int]) -> Statement:
    """The statement for every block that has an instance of it."""
    dims = []
    for d in s.dims:
        if d.name not in sizes:
            dims.append(d)
            continue
        n = sizes[d.name]
        lower, upper = _extreme(d.lower, sizes, -1), _extreme(d.upper, sizes, 1)
        dims.append(Dim(d.name, (upper + (n - 1)) // n * n, lower // n * n))
    return replace(s, dims=tuple(dims))


def _extreme(bound: Size, sizes: dict[str, int], sign: int) -> Size:
    """The least (``sign`` -1) or greatest value of a bound within the blocks of the dims in it."""
    total = bound
    for name in bound.names() & sizes.keys():
        form = bound.affine()
        coefficients = form[0] if form else {}
        if name not in coefficients or any(name in a.names() for a in coefficients if not isinstance(a, str)):
            raise NotAffine(f"the bound {bound} is not linear in {name}")
        first = Size.of(name) // sizes[name] * sizes[name]
        at = first + (sizes[name] - 1) if coefficients[name] * sign > 0 else first
        total = total + (at - Size.of(name)) * coefficients[name]
    return total


def _arrays(scheduled: Scheduled, wide: Statement) -> tuple[ArrayInfo, ...]:
    """The arrays of the nest, with room for all that the statement writes."""
    params = scheduled.nest.params
    info = scheduled.nest.array(wide.write.array)
    last = isl.greatest(isl.elements(wide, wide.write, isl.domain(wide, params), params))
    shape = tuple(
        Size.of(max(s.constant, n + 1)) if s.constant is not None and n is not None else s
        for s, n in zip(info.shape, last, strict=True)
    )
    return tuple(replace(a, shape=shape) if a.name == info.name else a for a in scheduled.nest.arrays)


def _harm(scheduled: Scheduled, s: Statement, wide: Statement, arrays: tuple[ArrayInfo, ...]) -> str | None:
    params = scheduled.nest.params
    old, new = isl.domain(s, params), isl.domain(wide, params)
    added = new.subtract(old)
    table = {a.name: a for a in arrays}
    for access in (wide.write, *wide.reads()):
        if not isl.elements(wide, access, new, params).is_subset(isl.box(table[access.array].shape, params)):
            return f"{s.name} would reach outside {access.array}"
    owner = next((o for a, o in scheduled.private if a == s.write.array), "")
    around = (*scheduled.outer(owner), scheduled.loop(owner)) if owner else ()

    def copy(of: str, access: Access) -> Access:
        """An element together with the iteration that has its own copy of the array."""
        return replace(access, index=(*(loop.value(of) for loop in around), *access.index))

    written = isl.elements(wide, copy(s.name, wide.write), added, params)
    for other in scheduled.nest.statements:
        touched: list[Access] = [a for a in (other.write, *other.reads()) if a.array == s.write.array]
        if any(w.array == s.write.array for w in (*other.outputs, *other.inputs)):
            return f"a routine takes {s.write.array}"
        domain = isl.domain(scheduled.asked(other.name), params)  # what it runs for beyond that, nobody asked for either
        for a in touched:
            found = isl.elements(other, copy(other.name, a), domain, params)
            if not written.intersect(found).is_empty():
                return f"{other.name} uses elements of {s.write.array} that it would change"
    return None
