"""Sums that add up in a temporary first."""

from __future__ import annotations

from dataclasses import replace

from .. import isl
from ..dependences import Reason, pair_map, primed
from ..isl import affine_text
from ..nest import Access, ArrayInfo, Leaf, LoopOrder, Order, Statement, leaves, loops_of, sequence
from ..scheduled import Scheduled, change_loop, once
from ..tree import Literal

_TYPES = ("f32", "f64")


@once
def can_accumulate(scheduled: Scheduled, statement: str, loop: str) -> str | None:
    """Why a sum over the iterations of a loop (and of those inside) cannot be added up in a temporary before it goes where it goes, or None.

    The loop holds nothing else, and in none of its runs the sum reads what it writes (exact, by isl). Not with ``numerics="strict"``: sums
    start from 0 and not from what is there.
    """
    s = scheduled.nest.statement_table.get(statement)
    if s is None:
        return f"no such statement: {statement}"
    if loop not in scheduled.loops or list(leaves(scheduled.loop(loop))) != [statement]:
        return f"{loop} is no loop around {statement} alone"
    if s.routine or s.reduce != "add" or s.write.dtype not in _TYPES:
        return f"{statement} is no sum"
    if scheduled.strict:
        return "numerics are strict"
    if any(a == s.write.array for a, _ in scheduled.private) or statement in dict(scheduled.padded):
        return f"{statement} is padded, or {s.write.array} is contracted"
    names = {*scheduled.nest.array_table, *scheduled.nest.statement_table}
    if taken := {temporary(statement), f"{statement}_zero", f"{statement}_add"} & names:
        return f"the name {sorted(taken)[0]} is taken"
    inner = scheduled.loop(loop)
    moved, outer = _moved(inner, statement), scheduled.outer(loop)
    fixed = set().union(*(o.value(statement).names() for o in outer)) | set(scheduled.nest.params)
    if any(i.names() - fixed for i in s.write.index) or moved & {n for i in s.write.index for n in i.names()}:
        return f"{statement} does not add up in one element in {loop}"
    if any(o.value(statement).names() & moved for o in outer):
        return f"a loop around {loop} counts blocks of its iterations"
    if {d.name for d in s.dims} - moved - fixed:
        return f"{statement} has indices that no loop moves"
    if any((d.lower.names() | d.upper.names()) & moved for d in s.dims if d.name in fixed):
        return f"the loops around {loop} follow those inside"
    zero, _ = _around(scheduled, s, moved)
    reached = isl.elements(zero, zero.write, isl.domain(zero, scheduled.nest.params), scheduled.nest.params)
    if not reached.is_subset(isl.box(scheduled.nest.array(s.write.array).shape, scheduled.nest.params)):
        return f"where {statement} adds up nothing it would reach outside {s.write.array}"
    return _read(scheduled, s, outer) or scheduled.unproved()


def _moved(loop: LoopOrder, statement: str) -> set[str]:
    """The indices of a statement that a loop and those inside move."""
    return set[str]().union(*(o.value(statement).names() for o in (loop, *loops_of(loop.body))))


def _around(scheduled: Scheduled, s: Statement, moved: set[str]) -> tuple[Statement, Statement]:
    """What sets the temporary to 0, and what adds it to its element."""
    dims = tuple(d for d in s.dims if d.name not in moved)
    guards = tuple(g for g in s.guards if not g.size.names() & moved)
    own = Access(temporary(s.name), s.write.index, s.write.dtype)
    zero = Statement(f"{s.name}_zero", dims, own, Literal(0.0, own.dtype), guards=guards, span=s.span, values=s.values)
    return zero, Statement(f"{s.name}_add", dims, s.write, own, "add", guards=guards, span=s.span, values=s.values)


def temporary(statement: str) -> str:
    """The name of the temporary of a sum."""
    return f"{statement}_sum"


def _read(scheduled: Scheduled, s: Statement, outer: tuple[LoopOrder, ...]) -> str | None:
    rename = primed(s)
    same = [f"{affine_text(o.value(s.name))} = {affine_text(o.value(s.name).substitute(rename))}" for o in outer]
    for d in scheduled.found:
        if d.source == d.sink == s.name and d.kind == "flow":
            pairs = d.relation.intersect(pair_map(s, s, " and ".join(same) or "1 = 1", scheduled.nest.params))
            if not pairs.is_empty():
                return Reason.of(f"{s.name} reads what it has written to {d.array} in the same sum", d, pairs)
    return None


def accumulate(scheduled: Scheduled, statement: str, loop: str) -> Scheduled:
    """A sum starts from 0 in a temporary and is added to its element in the end, so that nothing else waits for that element meanwhile.

    for i:                                  for i:
        for k: A[i] += x(i, k)      -->         t[i] = 0
                                                for k: t[i] += x(i, k)
                                                A[i] += t[i]                accumulate S k
    """
    reason = can_accumulate(scheduled, statement, loop)
    if reason:
        raise ValueError(f"cannot accumulate {statement} in {loop}: {reason}")
    nest, s = scheduled.nest, scheduled.nest.statement_table[statement]
    zero, add = _around(scheduled, s, _moved(scheduled.loop(loop), statement))
    own = zero.write
    order = change_loop(nest.order, loop, lambda o: sequence([Leaf(zero.name), o, Leaf(add.name)]))
    for around in scheduled.outer(loop):
        order = change_loop(order, around.name, lambda o: _with(o, statement, (zero.name, add.name)))
    parts = tuple(p for x in nest.statements for p in ((zero, replace(s, write=own), add) if x is s else (x,)))
    arrays = (*nest.arrays, ArrayInfo(own.array, own.dtype, nest.array(s.write.array).shape, "problem"))
    return scheduled.rewrite(replace(nest, statements=parts, arrays=arrays, order=order), {statement, zero.name, add.name})


def _with(loop: LoopOrder, statement: str, names: tuple[str, ...]) -> Order:
    value = loop.value(statement)
    return replace(loop, values=(*loop.values, *((n, value) for n in names)))
