"""Sums over a part of the rows or columns: triangular products cut so that all elements of a tile have the same summands.

    for i, j: for k in 0..i+1: C[i, j] += A[i, k] * B[k, j]
        -->     for i, j: for k in 0..i//12*12+1: C[i, j] += ..         all but the blocks on the diagonal: tiles as of a rectangle
                for i: for k in i//12*12+1..i+1: for j: C[i, j] += ..   the rest
"""

from __future__ import annotations

from ..graph.types import Size, SizeFn
from ..loops.nest import Apply, Expr, Statement, loop_path
from ..loops.steps.split import comparison, other
from .draft import Draft
from .isolation import own_loops, uses

_SIGNS = {"lt": "<", "le": "<=", "gt": ">", "ge": ">="}


def condition(s: Statement) -> str | None:
    """A comparison of indices of a statement that decides what its value takes, as :func:`~..loops.steps.split.split` wants it."""

    def first(e: Expr) -> str | None:
        if not isinstance(e, Apply):
            return None
        found = comparison(e.args[0]) if e.op == "where" else None
        if found and found[0] in _SIGNS and found[1].names() | found[2].names() <= {d.name for d in s.dims}:
            return f"{found[1]}{_SIGNS[found[0]]}{found[2]}"
        return next((c for a in e.args if (c := first(a))), None)

    return first(s.value)


def counted(draft: Draft, name: str) -> Draft:
    """A draft in which the loops of a sum count as its operands do: elements outside, summands inside, whose number may follow an element.
    The draft itself if that is so already, or cannot be."""
    s = draft.scheduled.nest.statement_table[name]
    own = own_loops(draft, name)
    dims = {loop.name: str(loop.value(name)) for loop in own}
    known = {d.name: d for d in s.dims}
    if s.guards or len(own) < len(s.dims) or not set(dims.values()) <= known.keys():
        return draft
    free = [n for n in dims if uses(s.write, dims[n])]
    summed = [n for n in dims if n not in free]
    sums = {dims[n] for n in summed}
    apart = {n: _offset(s, dims[n]) for n in summed}
    backward = any((known[dims[n]].lower.names() | known[dims[n]].upper.names()) & sums for n in free)
    if not summed or not free or not (backward or any(apart.values())):
        return draft
    trial = draft.copy()
    if list(dims) != [*free, *summed] and not trial.attempt("permute", *free, *summed):
        return draft
    loops = {d: n for n, d in dims.items()}
    for n, offset in apart.items():
        form = offset.affine() if offset else ({}, 0)
        if form is None or not form[0].keys() <= {dims[f] for f in free}:
            return draft
        if not all(trial.attempt("skew", n, loops[str(d)], c) for d, c in form[0].items()):
            return draft
        if form[1]:
            trial.take("shift", n, form[1])
    return trial if trial.attempt("reindex", name, *free, *summed) else draft


def _offset(s: Statement, dim: str) -> Size | None:
    """By how much all indices of operands that follow an index are beyond it, where that is the same expression of others."""
    found = {i - Size.of(dim) for r in s.reads() for i in r.index if dim in i.names()}
    offset = found.pop() if len(found) == 1 else Size.of(0)
    return None if offset.constant is not None or dim in offset.names() else offset


def uneven(s: Statement, dim: str, free: set[str]) -> list[tuple[bool, Size, str]]:
    """What bounds an index and follows, step by step, one of others: whether from above, the bound, and which."""
    d = next(x for x in s.dims if x.name == dim)
    found = []
    for above, bound in ((True, d.upper), (False, d.lower)):
        for part in _parts(bound, "min" if above else "max"):
            form = part.affine()
            stepwise = {a for a in (form[0] if form else ()) if isinstance(a, str)} & free
            found += [(above, part, name) for name in sorted(stepwise)]
    return found


def _parts(bound: Size, op: str) -> tuple[Size, ...]:
    atom = bound.terms[0][0][0] if len(bound.terms) == 1 and bound.terms[0][1] == 1 and bound.terms[0][0] else ""
    return atom.args if isinstance(atom, SizeFn) and atom.op == op else (bound,)


def trim(draft: Draft, name: str, free: dict[str, int], columns: str) -> bool:
    """Take out of a sum, alone in its loops, what not all elements of a tile have: ``free`` has the extent of tiles along each index,
    ``columns`` is that of the vectors. False, after some steps, if that cannot be done."""
    s = draft.scheduled.nest.statement_table[name]
    sums = [d.name for d in s.dims if not uses(s.write, d.name)]
    found = [(d, *one) for d in sums for one in uneven(s, d, set(free))]
    if not found:
        return True
    if len(found) > 1:
        return False
    ((dim, above, bound, follows),) = found
    form = bound.affine()
    c = form[0][follows] if form else 0
    size = free[follows]
    block = Size.of(follows) // size * size
    at = bound + (block - Size.of(follows)) * c
    if (c < 0) == above:
        at = at + c * (size - 1)  # the last of a tile decides
    rest = other(name, draft.scheduled)
    if not draft.attempt("split", name, f"{dim}{'<' if above else '>='}{at}"):
        return False
    outer = _outermost(draft, name, rest)
    if not draft.attempt("fission", outer, name) and not draft.attempt("fission", outer, rest):
        return False
    loops = {str(loop.value(rest)): loop.name for loop in own_loops(draft, rest)}
    order = [*(n for d, n in loops.items() if d not in sums and d != columns), *(loops[d] for d in sums), loops[columns]]
    return list(loops.values()) == order or draft.attempt("permute", *order)


def _outermost(draft: Draft, *statements: str) -> str:
    """The outermost loop that holds these statements and no others."""
    path = loop_path(draft.scheduled.nest.order, statements[0])
    return next(loop.name for loop in path if {s for s, _ in loop.values} == set(statements))
