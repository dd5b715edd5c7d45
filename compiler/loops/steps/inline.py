"""Temporaries that are no more than what they are made of: their readers compute it themselves."""

from __future__ import annotations

from dataclasses import replace

from ...graph.types import Size
from ..nest import Access, Expr, Nest, Statement, accesses, map_expr, size_values, substitute
from ..scheduled import Scheduled, once
from .omit import without


@once
def can_inline(scheduled: Scheduled, array: str) -> str | None:
    """Why readers of a temporary cannot compute its elements themselves, or None.

    One statement must fill all of it, from inputs, which nothing changes: then it does not matter when.
    """
    info = scheduled.nest.array_table.get(array)
    if info is None or not info.temporary:
        return f"{array} is not a temporary array"
    nest = scheduled.nest
    users = [s for s in nest.statements if array in s.arrays()]
    if any(s.routine for s in users):
        return f"a routine takes {array}"
    writers = [s for s in users if s.write.array == array]
    if len(writers) != 1 or len(users) == 1:
        return f"{len(writers) or 'no'} statements fill {array}" if len(writers) != 1 else f"nothing reads {array}"
    (writer,) = writers
    if writer.reduce or writer.guards or scheduled.asked(writer.name) != writer or any(a == array for a, _ in scheduled.private):
        return f"{writer.name} adds up, or is padded, or {array} lives in one iteration"
    dims, index = {d.name: d for d in writer.dims}, [str(i) for i in writer.write.index]
    whole = [dims[n].lower == Size.of(0) and dims[n].upper == e for n, e in zip(index, info.shape) if n in dims]
    if len(set(index)) != len(info.shape) or len(whole) != len(index) or not all(whole):
        return f"{writer.name} does not fill all of {array}, element by element"
    names = set[str]().union(*(a.names() for a in accesses(writer.value)), *(s.names() for s in size_values(writer.value)))
    if names - set(index) - set(nest.params):
        return f"what {writer.name} computes changes while {array} stays"
    changing = sorted(a.array for a in accesses(writer.value) if nest.array(a.array).scope != "input")
    if changing:
        return f"{changing[0]} is no input, and may change"
    return scheduled.unproved()


def inline(scheduled: Scheduled, array: str) -> Scheduled:
    """What reads a temporary computes its elements from inputs itself, and the statement that filled it goes away.

    for i: t[i] = f(A[i])
    for i: B[i] = t[i] + t[i+1]     -->     for i: B[i] = f(A[i]) + f(A[i+1])
    """
    reason = can_inline(scheduled, array)
    if reason:
        raise ValueError(f"cannot inline {array}: {reason}")
    nest = scheduled.nest
    writer = next(s for s in nest.statements if s.write.array == array)

    def change(e: Expr) -> Expr:
        if not isinstance(e, Access) or e.array != array:
            return e
        return substitute(writer.value, {str(name): at for name, at in zip(writer.write.index, e.index, strict=True)})

    def one(s: Statement) -> Statement:
        return replace(s, value=map_expr(s.value, change)) if array in s.arrays() else s

    changed = {s.name for s in nest.statements if array in s.arrays()} - {writer.name}
    order = without(nest.order, writer.name)
    assert order is not None, "something reads the array"
    statements = tuple(one(s) for s in nest.statements if s.name != writer.name)
    made = Nest(nest.name, nest.params, tuple(a for a in nest.arrays if a.name != array), statements, order)
    left = replace(scheduled, found=tuple(d for d in scheduled.found if writer.name not in (d.source, d.sink)))
    return left.rewrite(made, changed)
