"""Proposer for one pass over a matrix: a reduction over its rows, and what else uses the same rows, block by block.

    t[i] = sum_j A[i, j] * x[j]                    parallel over blocks of rows:
    y[j] += A[i, j] * t[i]              -->            y_p[block] = 0
                                                       a few rows at a time:  t, what is done with it, y_p[block] += rows
                                                   y = y_p[0] + y_p[1] + ...

The matrix comes from memory once, in the order in which it lies there, and all threads take part. It pays where the matrix is
larger than what the cores keep for themselves. A sum over one long vector is the same without columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod

from ..graph.types import BYTES, Size, is_floating
from ..loops.nest import Access, Leaf, LoopOrder, Order, Statement, children, leaves, loop_path, loops_of
from ..loops.nest import Sequence as SequenceOrder
from ..loops.scheduled import conflicts, extent, siblings
from .draft import Draft

#: Copies per core: blocks are shared out evenly enough, and a last short one costs little.
COPIES = 4
#: More are not made in any case.
MOST = 32
#: Clearing and joining copies may cost this share of the pass.
SHARE = 1 / 12
#: The matrix must be larger than this part of a core's own cache.
LEAST = 1 / 16
#: Rows that share the loads and stores of a row of sums.
ROWS = 8


@dataclass(frozen=True)
class Pass:
    """A reduction: ``statement`` adds up over the loop ``rows``; ``columns`` is the loop inside, if there is one."""

    statement: str
    rows: str
    columns: str
    matrix: str


def reduction(draft: Draft) -> bool:
    """Whether the draft has such passes; they are transformed."""
    if draft.task.strict or draft.task.tile or draft.task.machine.cores < 2:
        return False
    done = False
    for s in draft.task.nest.statements:
        done |= draft.trying(_make, s)
    return done


def _make(draft: Draft, s: Statement) -> bool:
    found = _pass(draft, s)
    return found is not None and draft.is_open(found.rows) and _transform(draft, found)


def _pass(draft: Draft, old: Statement) -> Pass | None:
    """The pass that a statement makes in the present order, if it is one that pays."""
    scheduled = draft.scheduled
    s = scheduled.nest.statement_table[old.name]
    path = loop_path(scheduled.nest.order, s.name)
    if (
        not s.reduce
        or s.routine
        or not is_floating(s.write.dtype)
        or not path
        or any(p.value(s.name).names() == set() for p in path)
    ):
        return None
    written = s.write.names()
    *outer, last = path
    rows, columns = last, None
    if last.value(s.name).names() & written:
        if not outer or not isinstance(last.body, Leaf):
            return None
        rows, columns = outer.pop(), last
    elif outer and outer[-1].value(s.name).names() & written and isinstance(last.body, Leaf):
        columns = outer.pop()
    if rows.value(s.name).names() & written or any("parallel" in o.kind for o in path):
        return None
    inner = columns or rows
    along = [r for r in s.reads() if r.index and r.index[-1] == inner.value(s.name) and _follows(r, rows.value(s.name))]
    matrix = max(along, key=lambda r: len(r.index), default=None)
    if matrix is None or not _pays(draft, rows, columns, matrix):
        return None
    if any(_independent(draft, o.name) for o in outer):
        return None
    return Pass(s.name, rows.name, columns.name if columns else "", matrix.array)


def _independent(draft: Draft, name: str) -> bool:
    """Whether a loop is parallel once temporaries that one of its iterations uses alone live there."""
    arrays = {d.array for d in conflicts(draft.scheduled, name, reductions=False)}
    return all(draft.can("contract", array, name) for array in arrays)


def _follows(read: Access, row: Size) -> bool:
    return any(i == row for i in read.index)


def _trips(draft: Draft, loop: LoopOrder | None) -> int:
    """Iterations of a loop; 1 of none, 0 if a run-time argument bounds it."""
    span = extent(draft.scheduled, loop) if loop else (0, 0)
    return 0 if span is None else span[1] - span[0] + 1


def _pays(draft: Draft, rows: LoopOrder, columns: LoopOrder | None, matrix: Access) -> bool:
    """Whether the pass is long enough to be shared out, and copies of the sums are small beside it."""
    machine, trips = draft.task.machine, (_trips(draft, rows), _trips(draft, columns))
    return prod(trips) * BYTES[matrix.dtype] >= machine.l2 * LEAST and trips[0] * SHARE >= machine.cores


def _transform(draft: Draft, found: Pass) -> bool:
    """Fuse what uses the same rows, give every block of rows its copies, and work on a few rows at a time."""
    if found.columns and any(loop.name == found.rows for loop in loops_of(draft.scheduled.loop(found.columns).body)):
        draft.take("interchange", _alone(draft, found.columns, found.statement), found.rows)
    head = _gather(draft, found) if found.columns else found.rows
    partial = sorted({d.array for d in conflicts(draft.scheduled, head, reductions=False)})
    trips = _trips(draft, draft.scheduled.loop(head))
    copies = min(COPIES * draft.task.machine.cores, int(trips * SHARE), MOST)
    rows = ROWS if found.columns else 1
    block = ceil(ceil(trips / copies) / rows) * rows
    if not partial or not _reduced(draft, head, partial):
        return False
    draft.take("tile", head, block)
    for array in partial:
        draft.take("privatise", array, f"{head}_o")
    if found.columns:
        draft.take("tile", f"{head}_i", rows)
        _part(draft, f"{head}_i_i", {f"{a}_p" for a in partial})
    draft.take("parallel", f"{head}_o")
    for loop in loops_of(draft.scheduled.loop(f"{head}_o").body):
        innermost = all("unroll" in inner.kind for inner in loops_of(loop.body)) and "unroll" not in loop.kind
        if innermost and draft.can("vector", loop.name):
            draft.take("vector", loop.name)
    draft.closed.add(f"{head}_o")
    return True


def _alone(draft: Draft, name: str, statement: str) -> str:
    """Take a loop apart so that one holds nothing but the child with a statement; the name of that one."""
    while isinstance(body := draft.scheduled.loop(name).body, SequenceOrder):
        place = next(n for n, c in enumerate(body.children) if statement in leaves(c))
        draft.take("distribute", name, next(leaves(body.children[place or 1])))
        name = f"{name}_b" if place else name
    return name


def _reduced(draft: Draft, name: str, arrays: list[str]) -> bool:
    """Whether the arrays are only reduced into below a loop."""
    table = draft.scheduled.nest.statement_table
    users = [table[s] for s in leaves(draft.scheduled.loop(name)) if table[s].arrays() & set(arrays)]
    return all(u.reduce and u.write.array in arrays and not {r.array for r in u.reads()} & set(arrays) for u in users)


# -- fusion ------------------------------------------------------------------------------------------------------------


def _gather(draft: Draft, found: Pass) -> str:
    """Fuse sibling loops over the same rows with that of the pass: readers of the matrix, and what stands between. The name of
    the loop."""
    head = found.rows
    changed = True
    while changed:
        changed = False
        around = [c.name for c in siblings(draft.scheduled.nest.order, head) if isinstance(c, LoopOrder)]
        here = around.index(head)
        for other in [*reversed(around[:here]), *around[here + 1 :]]:
            pair = (other, head) if around.index(other) < here else (head, other)
            if draft.is_open(other) and _related(draft, found, head, other) and draft.can("fuse", *pair):
                tried = draft.copy()
                tried.take("fuse", *pair)
                if _reduced(tried, pair[0], [d.array for d in conflicts(tried.scheduled, pair[0], reductions=False)]):
                    draft.adopt(tried)
                    head, changed = pair[0], True
                    break
    return head


def _related(draft: Draft, found: Pass, head: str, other: str) -> bool:
    """Whether a loop runs over the same rows and reads them, or hands over what the pass works on."""
    scheduled = draft.scheduled
    a, b = scheduled.loop(head), scheduled.loop(other)
    if extent(scheduled, a) != extent(scheduled, b):
        return False
    nest = scheduled.nest
    for name in leaves(b):
        s = nest.statement_table[name]
        if any(r.array == found.matrix and r.index[: len(r.index) - 1].count(b.value(name)) for r in s.reads()):
            return True
    shared = set.intersection(*(set().union(*(nest.statement_table[s].arrays() for s in leaves(x))) for x in (a, b)))
    return any(nest.array(x).scope != "input" for x in shared)


# -- blocks of rows ----------------------------------------------------------------------------------------------------


def _part(draft: Draft, name: str, copies: set[str]) -> None:
    """Take a loop over a few rows apart, so that what reduces into copies has loops of its own: rows innermost, written out. So has what
    is done with the sum of each row, as vectors over rows. What only these rows need lives in their block."""
    block = draft.scheduled.outer(name)[-1].name
    while True:
        body = draft.scheduled.loop(name).body
        parts = children(body)
        kinds = _kinds(draft, parts, copies)
        cut = next((n for n in range(1, len(parts)) if kinds[n] != kinds[n - 1] or kinds[n] == "sums"), 0)
        first = next(leaves(parts[cut]))
        if cut and not draft.can("distribute", name, first):
            break
        if cut:
            draft.take("distribute", name, first)
        inner = draft.scheduled.loop(name).body
        if kinds[0] == "sums" and isinstance(inner, LoopOrder) and isinstance(inner.body, Leaf):
            draft.take("interchange", name, inner.name)
            draft.take("unroll", name)
        elif kinds[0] != "sums":
            _contract(draft, name)
        if not cut:
            break
        name = f"{name}_b"
    _contract(draft, block)


def _kinds(draft: Draft, parts: Sequence[Order], copies: set[str]) -> list[str]:
    """What the parts of a loop over rows do: "sums" into copies, "products" with a row, or something with what came of those, "rows"."""
    table = draft.scheduled.nest.statement_table
    found: list[str] = []
    for part in parts:
        after = any(isinstance(p, LoopOrder) for p in parts[: len(found)])
        if any(table[s].write.array in copies for s in leaves(part)):
            found.append("sums")
        else:
            found.append("rows" if after and isinstance(part, Leaf) else "products")
    return found


def _contract(draft: Draft, name: str) -> None:
    """What only one iteration needs lives in it."""
    nest = draft.scheduled.nest
    inside = set(leaves(draft.scheduled.loop(name)))
    for info in nest.arrays:
        users = {s.name for s in nest.statements if info.name in s.arrays()}
        if info.temporary and not info.scope.startswith("local") and users <= inside and draft.can("contract", info.name, name):
            draft.take("contract", info.name, name)
