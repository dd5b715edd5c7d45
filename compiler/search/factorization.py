"""Factorizations and what resembles them (Cholesky, LU, Gram-Schmidt): sums over earlier results of the same loops, in blocks.

    for i:                                  for each block of columns:
        for j before i:                         parallel for i: for j in the block:
            for k before j: L[i, j] -= ..           for k before the block: L[i, j] -= ..     most of the work: a contraction
            L[i, j] /= ..              -->      what is left in the rows of the block, in program order
        L[i, i] = ..                            parallel for i below: what is left of row i, in program order

Found by structure: a loop around a loop whose bounds follow it, and a sum that reads what statements of these loops write. What
stands beside the inner loop enters it at the iteration next to its own (``sink``), blocks of the inner loop move outwards, and the
part of the sums that reads results of earlier blocks only is taken out (``split``, ``fission``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod

from ..graph.types import BYTES, Size
from ..loops.dependences import IllegalSchedule
from ..loops.nest import LoopOrder, Statement, children, leaves, loop_path, outermost
from ..loops.scheduled import extent
from ..loops.steps.split import other
from ..loops.storing import nominal
from .draft import Draft
from .space import stride
from .update import Update, apart, beside, reindexed, turned

#: Columns of a block; of one where the matrix is beyond the caches, as earlier columns are read again for every block; and of the part of a
#: block that a thread takes where columns are what is parallel.
BLOCK, WIDE, PANEL = 64, 96, 32


def factorizations(draft: Draft) -> bool:
    """Put every factorization into blocks; whether there was one."""
    fired = False
    if draft.task.tile:
        return False
    for name in [loop.name for loop in outermost(draft.scheduled.nest.order)]:
        if name not in draft.scheduled.loops or not draft.is_open(name):
            continue
        for inner in _columns(draft, name):
            for step_of_sum in (True, False):
                if draft.trying(_blocks, name, inner, step_of_sum):
                    fired = True
                    break
            if name not in draft.scheduled.loops or not draft.is_open(name):
                break
    return fired


def _blocks(draft: Draft, name: str, inner: str, step_of_sum: bool) -> None:
    _Blocks(draft, name, inner).make(step_of_sum)


def _columns(draft: Draft, name: str) -> list[str]:
    """Loops directly inside a loop, with bounds that follow it, around a sum over what statements of the outer loop write."""
    nest, loop = draft.scheduled.nest, draft.scheduled.loop(name)
    statements = [nest.statement_table[s] for s in leaves(loop)]
    known = extent(draft.scheduled, loop)
    if known is None or known[1] - known[0] < 2 * BLOCK or any(s.routine for s in statements):
        return []
    written = {s.write.array for s in statements}
    found = []
    for child in children(loop.body):
        if not isinstance(child, LoopOrder):
            continue
        inside = [nest.statement_table[s] for s in leaves(child)]
        sums = [s for s in inside if s.reduce == "add" and len(s.dims) > 2 and any(r.array in written for r in s.reads())]
        if sums and _follows(draft, child, loop):
            found.append(child.name)
    return found


def _range(draft: Draft, inner: LoopOrder, outer: LoopOrder) -> tuple[Size, Size] | None:
    """First and last value of a loop, over the name of the loop around it."""
    name, value = inner.values[0]
    around = outer.value(name)
    dims = {d.name: d for d in draft.scheduled.nest.statement_table[name].dims}
    own = [n for n in value.names() if n in dims and n not in around.names()]
    if not around.is_name or len(own) != 1 or (value - Size.of(own[0])).names() - around.names():
        return None
    d, rename = dims[own[0]], {next(iter(around.names())): Size.of(outer.name)}
    first, last = value.substitute({d.name: d.lower}), value.substitute({d.name: d.upper - 1})
    if (first.names() | last.names()) - around.names():
        return None
    return first.substitute(rename), last.substitute(rename)


def _slope(size: Size, name: str) -> int:
    form = size.affine()
    return 0 if form is None else form[0].get(name, 0)


def _follows(draft: Draft, inner: LoopOrder, outer: LoopOrder) -> bool:
    ends = _range(draft, inner, outer)
    return ends is not None and [_slope(e, outer.name) for e in ends] in ([0, 1], [1, 0], [0, -1])


class _Blocks:
    """The steps for one loop ``outer`` around one loop ``inner``. Raises IllegalSchedule where one does not apply."""

    def __init__(self, draft: Draft, outer: str, inner: str) -> None:
        self.draft, self.outer, self.inner = draft, outer, inner

    def loop(self, name: str) -> LoopOrder:
        """A loop as it is now."""
        return self.draft.scheduled.loop(name)

    def statement(self, name: str) -> Statement:
        """A statement as it is now."""
        return self.draft.scheduled.nest.statement_table[name]

    def around(self, statement: str) -> list[str]:
        """Names of the loops around a statement."""
        return [p.name for p in loop_path(self.draft.scheduled.nest.order, statement)]

    def make(self, by_sums: bool) -> None:
        """All steps. ``by_sums``: the step of which a result is needed is that of the innermost sum, else that of the outer loop."""
        own = list(leaves(self.loop(self.inner)))
        if by_sums:
            self.align()
        self.band()
        self.expand(by_sums)
        size = self.width() if by_sums else PANEL * max(2, self.draft.task.machine.cores)
        self.draft.take("tile", self.inner, size)
        blocks = f"{self.inner}_o"
        self.draft.take("interchange", self.outer, blocks)
        if by_sums:
            self.sums(own, blocks, size)
        else:
            self.panels(own, blocks, size)
        self.draft.vectorise(blocks)
        self.draft.closed.add(blocks)

    def width(self) -> int:
        """Columns of a block."""
        nest, machine = self.draft.scheduled.nest, self.draft.task.machine
        used = {a for s in leaves(self.loop(self.outer)) for a in self.statement(s).arrays()}
        shown = [nest.array(a) for a in used if not nest.array(a).temporary] or [nest.array(a) for a in used]
        largest = max(prod(max(1, nominal(n)) for n in a.shape) * BYTES[a.dtype] for a in shown)
        return WIDE if largest > machine.l3 // 2 else BLOCK

    def align(self) -> None:
        """Other loops that begin with the outer one count as it does."""
        for child in children(self.loop(self.outer).body):
            if isinstance(child, LoopOrder) and child.name != self.inner:
                ends = _range(self.draft, child, self.loop(self.outer))
                if ends is not None and _slope(ends[1], self.outer) == -1:
                    self.draft.take("skew", child.name, self.outer, 1)

    def band(self) -> None:
        """What stands beside the inner loop enters it: before its first iteration or after its last, which follow the outer loop."""
        ends = _range(self.draft, self.loop(self.inner), self.loop(self.outer))
        if ends is not None and _slope(ends[1], self.outer) == -1:
            self.draft.take("skew", self.inner, self.outer, 1)
            ends = _range(self.draft, self.loop(self.inner), self.loop(self.outer))
        if ends is None:
            raise IllegalSchedule(f"{self.inner} does not follow {self.outer}")
        before = _slope(ends[0], self.outer) == 1
        shift = (ends[0] - 1 if before else ends[1] + 1) - Size.of(self.outer)
        if shift.constant is None:
            raise IllegalSchedule(f"{self.inner} does not begin or end with {self.outer}")
        if shift.constant:
            self.draft.take("shift", self.inner, -shift.constant)
        while (beside := self.beside()) is not None:
            self.draft.take("sink", beside, self.inner, self.outer)

    def beside(self) -> str | None:
        """A statement of what stands next to the inner loop."""
        parts = children(self.loop(self.outer).body)
        place = next(n for n, c in enumerate(parts) if isinstance(c, LoopOrder) and c.name == self.inner)
        near = [*parts[:place][::-1], *parts[place + 1 :]]
        return next(leaves(near[0])) if near else None

    def expand(self, by_sums: bool) -> None:
        """Temporaries of an iteration get an element for each: of the inner loop, or of all loops that differ around what uses them."""
        nest = self.draft.scheduled.nest
        for info in nest.arrays:
            users = [s.name for s in nest.statements if info.name in s.arrays()]
            if not info.temporary or not users or not set(users) <= set(leaves(self.loop(self.outer))):
                continue
            paths = [self.around(s) for s in users]
            loops: dict[tuple[Size, ...], str] = {}
            for name in paths[0][paths[0].index(self.outer) :]:
                if all(name in path for path in paths):
                    loops.setdefault(tuple(self.loop(name).value(s) for s in users), name)
            self.draft.attempt("expand", info.name, *(loops.values() if by_sums else (self.inner,)))

    # -- sums over earlier columns -----------------------------------------------------------------------------------

    def sums(self, own: Sequence[str], blocks: str, size: int) -> None:
        """The part of every sum that earlier blocks have made runs first, one sum after the other."""
        rest = self.outer
        taken: list[str] = []
        updates: dict[str, Update] = {}
        for name in list(leaves(self.loop(self.outer))):
            s = self.statement(name)
            sums = [p for p in self.around(name) if self.is_sum(p, s)]
            if s.reduce != "add" or len(s.dims) < 3 or not sums:
                continue
            dims = self.loop(sums[-1]).value(name)
            if not dims.is_name:
                continue
            update = reindexed(self.draft, name, next(p for p in self.around(name) if p.startswith(f"{self.inner}_i")))
            self.draft.take("split", name, f"{dims}<{size}*{blocks}")
            first = [x.name for x in map(self.statement, leaves(self.loop(rest))) if self.starts(x, s)]
            self.draft.take("fission", rest, name, *first)
            taken.append(name)
            if update and apart(self.draft, update, first, blocks, size):
                first = []
                updates[other(name)] = update
            head = self.around(name)[1]
            if self.draft.can("parallel", head):
                self.draft.take("parallel", head)
            self.inward(name, first)
            rest = self.around(other(name))[1]
        if not taken:
            raise IllegalSchedule("no sum is over earlier blocks")
        kept = self.draft.copy()
        try:
            self.below(updates, rest, blocks, size)
        except IllegalSchedule:
            self.draft.adopt(kept)
        for info in self.draft.scheduled.nest.arrays:
            if info.temporary and not info.scope.startswith("local"):
                self.draft.attempt("contract", info.name, blocks)

    def is_sum(self, loop: str, s: Statement) -> bool:
        """Whether all iterations of a loop go into one element."""
        used = s.write.names()
        names = self.loop(loop).value(s.name).names()
        return bool(names) and not names & used

    def starts(self, x: Statement, s: Statement) -> bool:
        """Whether a statement fills what another adds to."""
        return x.write.array == s.write.array and not x.reduce and x.write.array not in {r.array for r in x.reads()}

    def inward(self, name: str, first: Sequence[str]) -> None:
        """The loop that gives a contraction unit strides moves inside; what fills its results goes into a loop of its own."""
        s, path = self.statement(name), self.around(name)
        arrays = self.draft.scheduled.nest.array_table
        for n in range(len(path) - 2, 0, -1):
            dims = self.loop(path[n]).value(name)
            moved = next((d.name for d in reversed(s.dims) if d.name in dims.names()), "")
            strides = {stride(a, arrays[a.array], moved) for a in (s.write, *s.reads())}
            if not strides <= {0, 1} or stride(s.write, arrays[s.write.array], moved) != 1 or self.is_sum(path[n], s):
                continue
            if first:
                self.draft.take("fission", path[n], *first)
            moving = self.around(name)[n]
            while isinstance(self.loop(moving).body, LoopOrder):
                inside = self.loop(moving).body
                assert isinstance(inside, LoopOrder)
                self.draft.take("interchange", moving, inside.name)
            return

    def below(self, updates: Mapping[str, Update], rest: str, blocks: str, size: int) -> None:
        """What is left of a block: rows below it wait for those of the block only, and so do columns beside it: they are parallel."""
        near: list[str] = []
        rows: list[str] = []
        columns: list[str] = []
        for name in list(leaves(self.loop(rest))):
            new = other(name, self.draft.scheduled)
            for beyond, far in self.ways(name, rest):
                group = rows if far == rest else columns
                if self.draft.attempt("split", name, f"{beyond}<{size}*{blocks}+{size}"):
                    group.append(new)
                    if name in updates:
                        updates = {**updates, new: updates[name]}
                    break
            near.append(name)
        if not (rows or columns) or not self.draft.can("fission", rest, *near):
            return
        self.draft.take("fission", rest, *near)
        if columns:
            head = self.around(columns[0])[1]
            if rows:
                self.draft.take("fission", head, *columns)
            beside(self.draft, columns, head)
        for name in rows:
            if name in updates:
                turned(self.draft, updates[name], name, blocks)
        if rows:
            self.draft.attempt("parallel", self.around(rows[0])[1])

    def ways(self, name: str, rest: str) -> Iterator[tuple[Size, str]]:
        """What of a statement may go beyond the block, and the loop that counts it: the row, or a loop inside that is not over the block."""
        around = self.around(name)
        rows = self.loop(rest).value(name)
        yield rows, rest
        for loop in map(self.loop, around[around.index(rest) + 1 :]):
            value = loop.value(name)
            if not (self.is_sum(loop.name, self.statement(name)) or loop.name.startswith(self.inner) or value == rows):
                yield value, loop.name

    # -- updates of whole columns ------------------------------------------------------------------------------------

    def panels(self, own: Sequence[str], blocks: str, size: int) -> None:
        """All that earlier blocks do to the columns of this one runs first, a panel of columns per thread."""
        for name in own:
            row = self.loop(self.outer).value(name)
            self.draft.take("split", name, f"{row}<{size}*{blocks}")
        rows = f"{self.inner}_i"
        self.draft.take("fission", self.outer, *own)
        last = self.around(other(own[0]))[2]
        self.draft.take("tile", rows, PANEL)
        self.draft.take("interchange", self.outer, f"{rows}_o")
        self.draft.take("parallel", f"{rows}_o")
        self.apart(own, f"{rows}_i")
        inside = list(leaves(self.loop(last)))
        late = [other(s) for s in own]
        self.draft.take("fission", last, *(s for s in inside if s not in late))
        self.apart(late, self.around(late[0])[2])

    def apart(self, names: Sequence[str], column: str) -> None:
        """Statements in a loop over columns get one each, inside the loops over rows."""
        left = list(names)
        while left:
            s = left.pop(0)
            if left:
                self.draft.take("fission", column, s)
            path = self.around(s)
            inside = self.loop(column).body
            if isinstance(inside, LoopOrder) and self.unit(s, column):
                self.draft.take("interchange", column, inside.name)
            if left:
                column = self.around(left[0])[len(path) - 1 if not isinstance(inside, LoopOrder) else len(path) - 2]

    def unit(self, name: str, loop: str) -> bool:
        """Whether every access moves by one element with a loop, or not at all."""
        s, arrays = self.statement(name), self.draft.scheduled.nest.array_table
        moved = next((d.name for d in reversed(s.dims) if d.name in self.loop(loop).value(name).names()), "")
        return {stride(a, arrays[a.array], moved) for a in (s.write, *s.reads())} <= {0, 1}
