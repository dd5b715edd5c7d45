"""Reductions with partial results: every iteration of a loop adds up on its own."""

from __future__ import annotations

from dataclasses import replace
from math import inf

from ...graph.types import Size, is_floating
from ..dependences import IllegalSchedule, check_order
from ..isl import NotAffine, bound_values
from ..nest import Access, Apply, ArrayInfo, Dim, Expr, Guard, Leaf, LoopOrder, Order, Statement, leaves, sequence
from ..nest import Sequence as SequenceOrder
from ..scheduled import Scheduled, extent, once
from ..tree import Literal

#: At most so many copies: they are added up in one expression.
COPIES = 64
#: Copies begin at multiples of so many elements, so that no two share a cache line.
ALIGNED = 16
#: Reduction -> the op that joins two partial results.
_JOIN = {"add": "add", "mul": "mul", "max": "maximum", "min": "minimum", "and": "and", "or": "or"}


@once
def can_privatise(scheduled: Scheduled, array: str, name: str) -> str | None:
    """Why iterations of a loop cannot each have a copy of an array that they reduce into, or None."""
    if scheduled.strict:
        return "numerics='strict' keeps every sum in its order"
    if name not in scheduled.loops:
        return "no such loop"
    if array not in scheduled.nest.array_table:
        return f"there is no array {array}"
    if f"{array}_p" in scheduled.nest.array_table:
        return f"{array} has copies already"
    loop, table = scheduled.loop(name), scheduled.nest.statement_table
    users = [table[s] for s in leaves(loop) if array in table[s].arrays()]
    if not users:
        return f"{array} is not used in {name}"
    for s in users:
        if s.routine or s.write.array != array or array in {r.array for r in s.reads()} or s.reduce not in _JOIN:
            return f"{s.name} does not only reduce into {array}"
        if s.reduce != users[0].reduce:
            return f"{s.name} reduces into {array} by {s.reduce}, {users[0].name} by {users[0].reduce}"
    if not is_floating(users[0].write.dtype) and users[0].reduce in ("max", "min"):
        return f"there is no {users[0].write.dtype} to start a {users[0].reduce} from"
    if any((array, inner.name) in scheduled.private for inner in scheduled.loops.values()):
        return f"{array} lives in one iteration of a loop already"
    span = extent(scheduled, loop)
    if span is None or span[1] - span[0] + 1 > COPIES:
        return f"{name} has more than {COPIES} iterations, or a number known only at run time: tile it, and take the loop over blocks"
    for around in scheduled.outer(name):
        for s in users:
            if not around.value(s.name).is_name:
                return f"the loop {around.name} around {name} is not one of {s.name} as it was written"
    kept = _entered(scheduled, users[0], name)
    for d in kept:
        free = (d.lower.names() | d.upper.names()) & {x.name for x in users[0].dims} - {x.name for x in kept}
        if free:
            return f"the range of {d.name} around {name} follows {min(free)}, which is inside"
    for s in users[1:]:
        if _around(scheduled, s, name) != _around(scheduled, users[0], name):
            return f"{s.name} and {users[0].name} reduce into {array} in different iterations of the loops around {name}"
    reason = _axes(scheduled, array, users, name)[1]
    if reason is None:
        try:  # the new program will be that of the present order: which has to be one of the old program
            check_order(scheduled.nest, scheduled.nest.order, scheduled.found, rebased=scheduled.rebased)
        except IllegalSchedule as error:
            return error.reason
    return reason


def privatise(scheduled: Scheduled, array: str, name: str) -> Scheduled:
    """Every iteration of a loop (that over the blocks of a tiled one, usually) reduces into a copy of its own, which it first
    fills with the neutral element; after the loop the copies are joined, in order. So the loop may run in parallel, and the
    result is the same on any number of threads.

    for b:                                  for b:
        for i in the block: s += A(i)           s_p[b] = 0
                                    -->         for i in the block: s_p[b] += A(i)
                                            s += s_p[0] + s_p[1] + ...
    """
    reason = can_privatise(scheduled, array, name)
    if reason:
        raise ValueError(f"cannot privatise {array} at {name}: {reason}")
    nest, loop = scheduled.nest, scheduled.loop(name)
    users = [nest.statement_table[s] for s in leaves(loop) if array in nest.statement_table[s].arrays()]
    span = extent(scheduled, loop)
    axes, _ = _axes(scheduled, array, users, name)
    assert span is not None
    first, copies, info = span[0], span[1] - span[0] + 1, nest.array(array)
    own = [a for a, dim in enumerate(axes) if dim is not None]
    shape = [info.shape[a] for a in own]
    if shape and shape[-1].constant is not None:
        shape[-1] = Size.of(-(-shape[-1].constant // ALIGNED) * ALIGNED)
    copy = ArrayInfo(f"{array}_p", info.dtype, (Size.of(copies), *shape))

    def redirect(s: Statement) -> Statement:
        write = Access(copy.name, (loop.value(s.name) - first, *(s.write.index[a] for a in own)), info.dtype)
        return replace(s, write=write)

    model, outer = users[0], scheduled.outer(name)
    path = {o.name for o in outer}
    around = _entered(scheduled, model, name)
    guards = tuple(g for g in model.guards if g.size.names() <= {d.name for d in around} | set(nest.params))
    part = Dim(f"us_{name}", Size.of(copies))
    inner = [dim for dim in axes if dim is not None]
    places = [Size.of(dim.name) for dim in inner]
    neutral = Literal(_NEUTRAL[model.reduce], info.dtype)
    clear = Statement(
        f"{array}_clear",
        (*around, part, *inner),
        Access(copy.name, (Size.of(part.name), *places), info.dtype),
        neutral,
        guards=guards,
        span=model.span,
        values=model.values,
    )
    rows: list[Expr] = [Access(copy.name, (Size.of(n), *places), info.dtype) for n in range(copies)]
    joined = rows[0]
    for row in rows[1:]:
        joined = Apply(_JOIN[model.reduce], (joined, row), info.dtype)
    whole = tuple(model.write.index[a] if dim is None else Size.of(dim.name) for a, dim in enumerate(axes))
    join = Statement(
        f"{array}_join", (*around, *inner), Access(array, whole, info.dtype), joined, model.reduce, guards,
        span=model.span, values=model.values,
    )  # fmt: skip

    def over(statement: str) -> Order:
        order: Order = Leaf(statement)
        for n, dim in reversed(list(enumerate(inner))):
            order = LoopOrder(f"{statement}_{n}", ((statement, Size.of(dim.name)),), order)
        return order

    def change(order: Order) -> Order:
        if isinstance(order, Leaf):
            return order
        if isinstance(order, SequenceOrder):
            return sequence([change(c) for c in order.children])
        if order.name == name:
            values = (*order.values, (clear.name, Size.of(part.name) + first))
            body = sequence([over(clear.name), order.body])
            return sequence([replace(order, values=values, body=body), over(join.name)])
        body = change(order.body)
        new = tuple((n, order.value(model.name)) for n in (clear.name, join.name)) if order.name in path else ()
        return replace(order, values=(*order.values, *new), body=body)

    changed = tuple(redirect(s) if s in users else s for s in nest.statements)
    arrays = (*nest.arrays, copy)
    new = replace(nest, arrays=arrays, statements=(*changed, clear, join), order=change(nest.order))
    return scheduled.rewrite(new, {clear.name, join.name, *(s.name for s in users)})


_NEUTRAL: dict[str, complex] = {"add": 0, "mul": 1, "max": -inf, "min": inf, "and": True, "or": False}


def _entered(scheduled: Scheduled, s: Statement, name: str) -> list[Dim]:
    """The dims of a statement that the loops around one count, in the order in which their bounds name each other."""
    entered = {o.value(s.name) for o in scheduled.outer(name)}
    return [d for d in s.dims if Size.of(d.name) in entered]


def _around(scheduled: Scheduled, s: Statement, name: str) -> tuple[list[tuple[Size, Size]], set[Guard]]:
    """Bounds and guards of a statement over the loops around one, each of them called by the loop's name."""
    loops = {str(o.value(s.name)): Size.of(o.name) for o in scheduled.outer(name)}
    dims = {d.name: d for d in s.dims}
    bounds = [(dims[d].lower.substitute(loops), dims[d].upper.substitute(loops)) for d in loops]
    known = loops.keys() | set(scheduled.nest.params)
    return bounds, {replace(g, size=g.size.substitute(loops)) for g in s.guards if g.size.names() <= known}


def _axes(scheduled: Scheduled, array: str, users: list[Statement], name: str) -> tuple[list[Dim | None], str | None]:
    """For every axis of the array a dim over what the loop writes of it, or None where the loops around it fix the place;
    and the reason why there is no such list."""
    around = {o.value(s.name) for s in users for o in scheduled.outer(name)}
    fixed = set().union(*(v.names() for v in around)) | set(scheduled.nest.params)
    found: list[Dim | None] = []
    for axis, size in enumerate(scheduled.nest.array(array).shape):
        indices = {s.write.index[axis] for s in users}
        if all(i.names() <= fixed for i in indices):
            if len(indices) > 1:
                return found, f"statements reduce into different places of {array}"
            found.append(None)
            continue
        low, high = Size.of(0), size
        try:
            ranges = [_range(s, s.write.index[axis]) for s in users]
            if size.constant is not None:  # what dims tell one by one may be beyond it
                low = Size.of(max(0, min(r[0] for r in ranges)))
                high = Size.of(min(size.constant, max(r[1] for r in ranges) + 1))
        except (NotAffine, KeyError):
            pass  # bounded by run-time arguments: the whole axis
        found.append(Dim(f"us_{array}_{axis}", high, low))
    return found, None


def _range(s: Statement, index: Size) -> tuple[int, int]:
    """Least and greatest value of an index of a statement. Raises KeyError or NotAffine where there is none."""
    box: dict[str, tuple[int, int]] = {}
    for d in s.dims:
        if d.upper.names() | d.lower.names() <= box.keys():
            box[d.name] = (bound_values(d.lower, box)[0], bound_values(d.upper, box)[1] - 1)
    return bound_values(index, box)
