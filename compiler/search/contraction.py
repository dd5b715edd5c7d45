"""Contractions as in BLAS: operands in packed panels, blocks for the caches, tiles of sums in vector registers.

    for i, k, j: C[i, j] += A[i, k] * B[k, j]
        -->     pack A in panels of 12 rows, B in panels of 16 columns
                parallel for blocks of i: for blocks of k: for panels of j: for panels of i:     what is reused stays near
                    for i in the panel: for k in the block: vector for j in the panel            one register tile

What counts is which dims an access follows: rows (some operands, the sum), columns (others, the sum, unit stride), summed dims
(operands only). Sources: Goto and van de Geijn, Anatomy of high-performance matrix multiplication, 2008; Van Zee and van de
Geijn, BLIS, 2015.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from math import prod

from ..graph.types import Size
from ..loops.nest import Access, Apply, Expr, LoopOrder, Statement, leaves, loop_path
from ..loops.scheduled import extent, siblings
from ..loops.steps.split import other
from ..loops.storing import nominal
from .draft import Draft
from .isolation import isolated, own_loops, uses
from .space import Space
from .triangle import condition, counted, trim

#: Fewer multiplications and additions are not worth the copies.
WORK = 2_000_000
#: The least number of rows, columns and summands.
LEAST = 24
#: Summands of a block: a panel of 16 columns stays in the near caches.
SUMMANDS = 512
#: A panel has two vectors, which share what they load, unless that takes this many times as many columns as with one.
SPARED = 1.1
_OPS = {"add", "sub", "mul", "neg"}


def contractions(draft: Draft) -> bool:
    """Block the contractions of a draft that are worth it. True if there were any."""
    if draft.task.tile:
        return False
    waiting = [s.name for s in draft.task.nest.statements if s.reduce == "add" and not s.routine and _work(s) >= WORK]
    made: list[_Blocking] = []
    while waiting:
        name = waiting.pop(0)
        cut = condition(draft.scheduled.nest.statement_table[name])
        if cut and draft.can("split", name, cut):
            tried, parts = draft.copy(), (name, other(name, draft.scheduled))
            tried.take("split", name, cut)
            blocked = [b for n in parts if (b := _block(tried, n, {*waiting, *parts} - {n}))]
            if blocked:
                draft.adopt(tried)
        else:
            blocked = [b for b in (_block(draft, name, waiting),) if b]
        made += blocked
        for b in reversed(made if blocked else []):
            b.draft = draft
            b.share(waiting)
    return bool(made)


def _block(draft: Draft, name: str, waiting: Collection[str]) -> _Blocking | None:
    """Block one sum, if it is worth it; ``waiting`` are others that may be blocked later."""
    s = draft.scheduled.nest.statement_table[name]
    if not _is_sum(s):
        return None
    for start in (one for first in _starts(draft, s) for one in isolated(first, name, _work(s) / max(1, LEAST))):
        tried = counted(start, name).copy()
        shape = _shape(tried, name)
        if shape is None:
            continue
        blocking = _Blocking(tried, shape)
        if blocking.apply(waiting):
            draft.adopt(tried)
            return blocking
    return None


def _starts(draft: Draft, s: Statement) -> Iterator[Draft]:
    """The draft, and one in which a sum has temporaries of its own: a tile may change what is beside its elements, which others use."""
    if s.write.array not in {r.array for r in s.reads()}:
        yield draft.copy()
    free: list[str] = []
    sums: list[str] = []
    for loop in own_loops(draft, s.name):
        (free if any(uses(s.write, n) for n in loop.value(s.name).names()) else sums).append(loop.name)
    apart = draft.copy()
    if sums and (apart.can("accumulate", s.name, sums[0]) or apart.attempt("permute", *free, *sums)):
        if apart.attempt("accumulate", s.name, sums[0]):
            yield apart


def _is_sum(s: Statement) -> bool:
    """Whether a statement adds up products of elements in f32 or f64."""

    def plain(e: Expr) -> bool:
        if isinstance(e, Apply):
            return e.op in _OPS and e.dtype == s.write.dtype and all(map(plain, e.args))
        return e.dtype == s.write.dtype

    return s.write.dtype in ("f32", "f64") and plain(s.value)


def _work(s: Statement) -> float:
    """Instances of a statement, counted by samples."""
    return Space.of(s).points


# -- what is there ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Shape:
    """A contraction whose loops are its own: each loop of ``batch``, ``rows``, ``columns`` and ``summed`` follows one dim."""

    statement: Statement
    batch: tuple[str, ...]
    rows: str
    columns: str
    summed: tuple[str, ...]
    dims: dict[str, str]  # loop -> dim
    extents: dict[str, int]  # loop -> number of values
    triangular: bool

    @property
    def bytes(self) -> int:
        """Of an element."""
        return 8 if self.statement.write.dtype == "f64" else 4

    def operands(self, follows: str, other: str) -> list[Access]:
        """Reads that follow one loop and not another."""
        dim, not_dim = self.dims[follows], self.dims[other]
        return [r for r in self.statement.reads() if uses(r, dim) and not uses(r, not_dim)]


def _shape(draft: Draft, name: str) -> _Shape | None:
    """How the loops that only a statement has take part in its sum, or None if there is no gain in blocking them."""
    scheduled = draft.scheduled
    s = scheduled.nest.statement_table[name]
    if s.guards or not scheduled.nest.array(s.write.array).temporary or s.write.array in {r.array for r in s.reads()}:
        return None
    own = own_loops(draft, name)
    dims = {loop.name: str(loop.value(name)) for loop in own}
    known = {d.name: d for d in s.dims}
    if not all(d in known for d in dims.values()) or not all(draft.is_open(loop.name) for loop in own):
        return None
    extents = {}
    for loop in own:
        span = extent(scheduled, loop)
        if span is None or (span[0] != 0 and uses(s.write, dims[loop.name])):
            return None
        extents[loop.name] = span[1] - span[0] + 1
    free = [n for n in dims if uses(s.write, dims[n])]
    summed = tuple(n for n in dims if n not in free)
    if not s.write.index or not summed or len(free) < 2 or any(not _plain(i, dims) for i in s.write.index):
        return None
    columns = next((n for n in free if _follows(s.write.index[-1], dims[n])), None)
    if columns is None:
        return None
    place = {n: axis for n in free for axis, i in enumerate(s.write.index) if _follows(i, dims[n])}
    for rows in sorted((n for n in free if n != columns), key=lambda n: -place.get(n, -1)):
        batch = tuple(n for n in free if n not in (rows, columns))
        triangular = any(
            (known[dims[n]].upper.names() | known[dims[n]].lower.names()) & set(dims.values()) for n in (*free, *summed)
        )
        shape = _Shape(s, batch, rows, columns, summed, dims, extents, triangular)
        if _pays(shape):
            return shape
    return None


def _plain(index: Size, dims: dict[str, str]) -> bool:
    """Whether an index follows at most one of the loops, step by step."""
    used = [d for d in dims.values() if d in index.names()]
    return not used or (len(used) == 1 and (index - Size.of(used[0])).constant is not None)


def _follows(index: Size, dim: str) -> bool:
    return (index - Size.of(dim)).constant is not None


def _pays(shape: _Shape) -> bool:
    """Whether rows and columns share what they read: every operand follows one of the two, and sums."""
    s, rows, columns = shape.statement, shape.dims[shape.rows], shape.dims[shape.columns]
    summed = {shape.dims[n] for n in shape.summed}
    bounds = {n: next(d for d in s.dims if d.name == shape.dims[n]) for n in shape.dims}
    if any((bounds[n].upper.names() | bounds[n].lower.names()) & {rows, columns} for n in shape.batch):
        return False
    if any(bounds[n].lower.constant != 0 for n in (shape.rows, shape.columns)):
        return False
    for r in s.reads():
        if uses(r, rows) and uses(r, columns):
            return False
    left, right = shape.operands(shape.rows, shape.columns), shape.operands(shape.columns, shape.rows)
    if not left or not right or not all(any(uses(r, k) for k in summed) for r in (*left, *right)):
        return False
    sizes = [shape.extents[shape.rows], shape.extents[shape.columns], prod(shape.extents[n] for n in shape.summed)]
    return min(sizes) >= LEAST and prod(sizes) >= WORK / 8


# -- what is done ----------------------------------------------------------------------------------------------------


class _Blocking:
    """The steps that block one contraction."""

    def __init__(self, draft: Draft, shape: _Shape) -> None:
        self.draft = draft
        self.shape = shape
        self.outer = ""
        machine = draft.task.machine
        lanes, columns = machine.lanes(shape.statement.write.dtype), shape.extents[shape.columns]
        narrow, twice = (-(-columns // panel) * panel for panel in (lanes, 2 * lanes))
        wide = columns > lanes and (shape.triangular or twice < SPARED * narrow)  # else many columns that nobody wants fill panels up
        self.panel = 2 * lanes if wide else lanes
        self.tile = _divisor(self.height(), machine.accumulators // (2 if wide else 1))

    def apply(self, waiting: Collection[str]) -> bool:
        """All steps, or False after some of them."""
        name, dims = self.shape.statement.name, self.shape.dims
        tiles = {dims[self.shape.rows]: self.tile, dims[self.shape.columns]: self.panel}
        if not trim(self.draft, name, tiles, dims[self.shape.columns]):
            return False
        trimmed = _shape(self.draft, name)
        if trimmed is None:
            return False
        self.shape = shape = trimmed
        if not all(self.pack(r, shape.columns, self.panel) for r in shape.operands(shape.columns, shape.rows)):
            return False
        if not all(self.pack(r, shape.rows, self.tile) for r in shape.operands(shape.rows, shape.columns) if self.scattered(r)):
            return False
        blocked = self.block()
        if blocked is None:
            return False
        self.outer, inner, column = blocked
        self.share(waiting)
        blocks = (shape.dims[shape.rows], self.tile, shape.dims[shape.columns], self.panel)
        if not self.draft.attempt("pad", name, *blocks) and (shape.triangular or not self.divides()):
            return False
        if not self.draft.attempt("vector", column):
            return False
        self.draft.closed.add(inner)
        return True

    def height(self) -> int:
        """The number of rows: all that the sums have, where the triangle only leaves out a few, so that products of it have equal blocks."""
        shape, dim = self.shape, self.shape.dims[self.shape.rows]
        found = shape.extents[shape.rows]
        axis = next(n for n, i in enumerate(shape.statement.write.index) if dim in i.names())
        whole = nominal(self.draft.scheduled.nest.array(shape.statement.write.array).shape[axis])
        return whole if shape.triangular and 0 < whole - found < self.draft.task.machine.accumulators // 2 else found

    def divides(self) -> bool:
        """Whether the tiles are full as it is."""
        return self.shape.extents[self.shape.rows] % self.tile == 0 and self.shape.extents[self.shape.columns] % self.panel == 0

    def scattered(self, access: Access) -> bool:
        """Whether rows of an operand are better read from panels: a tile would reach outside, or its columns are far apart."""
        shape = self.shape
        if shape.extents[shape.rows] % self.tile:
            return True
        near = any(_follows(access.index[-1], shape.dims[n]) for n in shape.summed)
        return (
            not near
            or prod(shape.extents[n] for n in (shape.rows, *shape.summed)) * shape.bytes > self.draft.task.machine.l2 // 2
        )

    def pack(self, access: Access, loop: str, size: int) -> bool:
        """Copy an operand into panels: once, or as seldom as its values change."""
        name, dim = self.shape.statement.name, self.shape.dims[loop]
        around = [p.name for p in loop_path(self.draft.scheduled.nest.order, name) if p.name not in self.shape.dims]
        return any(self.draft.attempt("pack", access.array, name, dim, size, *place) for place in ((), *((p,) for p in around)))

    def block(self) -> tuple[str, str, str] | None:
        """Tile the loops: the outermost loop, the outermost one that is not split over threads, and the vector loop."""
        shape, machine = self.shape, self.draft.task.machine
        depth = prod(shape.extents[n] for n in shape.summed)
        blocks = max(1, round(depth / SUMMANDS)) if len(shape.summed) == 1 else 1
        count = -(-depth // blocks)
        panels = -(-self.height() // self.tile)
        most = max(1, machine.l2 // 2 // (count * shape.bytes * self.tile))
        if shape.batch:
            parts = -(-panels // most)
        else:
            least = machine.cores * (16 if shape.triangular else 1)
            parts = -(-max(panels // most, 1) // least) * least
        each = -(-panels // parts)
        order, inner = list(shape.batch), []
        rows = shape.rows
        if each < panels:
            if not self.draft.attempt("tile", rows, each * self.tile):
                return None
            order.append(f"{rows}_o")
            rows = f"{rows}_i"
        summed = list(shape.summed)
        if blocks > 1:
            if not self.draft.attempt("tile", summed[0], count):
                return None
            inner.append(f"{summed[0]}_o")
            summed[0] = f"{summed[0]}_i"
        if not self.draft.attempt("tile", shape.columns, self.panel) or not self.draft.attempt("tile", rows, self.tile):
            return None
        inner += [f"{shape.columns}_o", f"{rows}_o", f"{rows}_i", *summed, f"{shape.columns}_i"]
        if not self.draft.attempt("permute", *order, *inner):
            return None
        return (order[0] if order else inner[0]), inner[0], inner[-1]

    def share(self, waiting: Collection[str]) -> None:
        """What fills and uses the sums runs in the same blocks, so that one block of them is kept; where that is not possible, or others
        would have to be in between that are yet to be blocked, all are."""
        array, name = self.shape.statement.write.array, self.shape.statement.name
        if self.outer not in self.draft.scheduled.loops or any(a == array for a, _ in self.draft.scheduled.private):
            return
        tried = self.draft.copy()
        value = tried.scheduled.loop(self.outer).value(name)
        children = siblings(tried.scheduled.nest.order, self.outer)
        users = [s for s in tried.scheduled.nest.statements if array in s.arrays() and s.name != name]
        size, follows = _block_size(value), value.names()
        axis = next((n for n, i in enumerate(self.shape.statement.write.index) if i.names() & follows), None)
        if axis is None:
            return
        names = [c.name if isinstance(c, LoopOrder) else "" for c in children]
        heads: dict[str, str] = {}  # loop -> what it is once it counts blocks
        for s in users:
            at = next((n for n, c in enumerate(children) if s.name in leaves(c)), None)
            if at is None or not names[at] or set(waiting) & set(leaves(children[at])):
                return
            sites = {a.index[axis] for a in (s.write, *s.reads()) if a.array == array}
            own = tried.scheduled.loop(names[at]).value(s.name)
            if sites == {own}:
                heads[names[at]] = f"{names[at]}_o" if size > 1 else names[at]
            elif len(sites) == 1 and own == sites.pop() // size:
                heads[names[at]] = names[at]
            else:
                return
        for head, whole in heads.items():
            if head != whole and not tried.attempt("tile", head, size):
                return
        target, *others = [self.outer if n == self.outer else heads[n] for n in names if n == self.outer or n in heads]
        for head in others:
            if not tried.attempt("fuse", target, head):
                return
        if tried.attempt("contract", array, target):
            self.draft.adopt(tried)


def _block_size(value: Size) -> int:
    """The number of iterations in a block that a loop counts; 1 if it counts iterations."""
    if value.is_name:
        return 1
    atom = value.terms[0][0][0]
    size = atom.args[1].constant if not isinstance(atom, str) else 1
    return size or 1


def _divisor(count: int, most: int) -> int:
    """Rows of a tile: at most ``most``, with as few left over in the last tile as may be."""
    return min(range(most, max(1, min(8, most * 2 // 3)) - 1, -1), key=lambda n: (-count % n, -n))
