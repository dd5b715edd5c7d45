"""Proposer for a GPU: large products in tiles of blocks of threads, with operands in shared memory and sums in registers.

    for i: for j:                               block i_o: block j_o:                       # a tile of sums for a block of threads
        s[i, j] = 0                                 thread i by 16: thread j by 16: s = 0   # a small tile of them in registers of a thread
        for k: s[i, j] += A[i, k] * B[k, j]  -->    for k_o:                                # chunks of the terms, the next one on its way
        f(s[i, j])                                      A, B of the tile and the chunk into shared memory
                                                        thread i by 16: thread j by 16: for k in the chunk: s += A * B
                                                    thread i by 16: thread j by 16: f(s)

Every element that a block loads serves a row or a column of its tile, and every one that a thread loads from shared memory one of its own.
Source: V. Volkov and J. Demmel, Benchmarking GPUs to tune dense linear algebra, SC 2008.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, prod

from ..graph.types import BYTES, HALF, Size
from ..loops.nest import Access, Apply, Expr, Leaf, Statement, children, leaves, loop_path
from ..loops.scheduled import extent
from ..loops.steps.mark import can_parallel
from ..loops.steps.pack import buffer_name
from ..loops.steps.tensor import COLUMNS, ROWS, TERMS
from ..target import Gpu
from .draft import Draft
from .gpu_apart import apart
from .gpu_inward import move_inward
from .gpu_width import WARP
from .isolation import uses
from .space import Space
from .sweeps import fuse_sweeps

#: Fewer multiplications and additions, rows, columns or terms are not worth the copies.
WORK, LEAST, FEWEST = 2_000_000, 16, 32
#: Terms of a chunk, the most first; bytes that lie between rows in shared memory, so that they are in other banks.
CHUNKS, APART = (32, 16), 16
#: Bytes that one copy brings at most, elements of f32 that one load does.
COPIED, VECTOR = 16, 4
#: Rows and columns of a block, and of a warp whose products run on tensor cores; places of the copies of a chunk then.
TENSOR, PLACES = ((128, 128, 64, 32), (128, 64, 32, 32), (64, 64, 32, 32), (64, 32, 32, 16), (32, 32, 16, 16)), 4
#: Rows and columns of a block, and of a thread.
TILES = (
    (128, 128, 8, 8), (128, 64, 8, 4), (64, 128, 4, 8), (64, 64, 8, 4), (64, 64, 4, 4), (32, 64, 4, 4), (64, 32, 8, 2), (32, 32, 4, 2),
    (16, 128, 4, 4), (16, 64, 4, 2), (16, 32, 2, 2), (32, 16, 2, 2), (16, 16, 2, 2),
)  # fmt: skip
#: Multiplications and additions, those on tensor cores, elements of shared memory and bytes from beyond that a multiprocessor has in a cycle; cycles of
#: a meeting.
FUSED, FUSED_TENSOR, NEAR, BEYOND, MEETING = 128, 1024, 32, 24, 60
_OPS = {"add", "sub", "mul", "neg"}


def gpu_products(draft: Draft) -> bool:
    """Tile the large products of a draft, and deal tiles to blocks; whether there was one."""
    tried = _begun(draft)
    if tried is None or not [name for name in _large(draft) if _tried(tried, name, alone=False)]:
        return False
    draft.adopt(tried)
    return True


def gpu_products_apart(draft: Draft) -> bool:
    """Tile the large products in loops whose iterations are for blocks, each with temporaries of its own; whether there was one."""
    tried = _begun(draft)
    if tried is None:
        return False
    around = {name: loops for name in _large(draft) if (loops := _around(tried, name))}
    done = [name for name in around if _tried(tried, name, alone=True)]
    dealt = tried.copy()  # as it will be, once loops beside are fused
    for name in done:
        any(dealt.trying(apart, loop) for loop in around[name])
    if not done or any(not any(o.kind == "block" for o in loop_path(dealt.scheduled.nest.order, name)) for name in done):
        return False
    draft.adopt(tried)
    return True


def _large(draft: Draft) -> list[str]:
    """The sums of many products."""
    return [s.name for s in draft.task.nest.statements if _is_sum(s) and Space.of(s).points >= WORK]


def _begun(draft: Draft) -> Draft | None:
    """The draft in which products are looked for; None if there are none."""
    names = _large(draft)
    if draft.task.tile or not names:
        return None
    tried = draft.copy()
    for name in names:
        _converted(tried, name)
    move_inward(tried)
    fuse_sweeps(tried)
    return tried


def _tried(draft: Draft, name: str, *, alone: bool) -> bool:
    """Tile a product, on tensor cores if that can be; whether it could be tiled."""
    return draft.trying(_tiled, name, True, alone) or draft.trying(_tiled, name, False, alone)


def _around(draft: Draft, name: str) -> list[str]:
    """The loops around a product, outermost first, that its operands follow, and whose iterations are not independent as it is: temporaries may
    be in the way."""
    scheduled, read = draft.scheduled, set[str]().union(*(r.names() for r in draft.scheduled.nest.statement_table[name].reads()))
    path = loop_path(scheduled.nest.order, name)[:-3]
    return [o.name for o in path if o.exit is None and o.value(name).names() & read and can_parallel(scheduled, o.name)]


def _is_sum(s: Statement) -> bool:
    """Whether a statement adds up products of elements in f32 or f64, or of such in half precision."""

    def plain(e: Expr) -> bool:
        if isinstance(e, Apply) and e.op == "cast":
            return isinstance(e.args[0], Access) and e.args[0].dtype in HALF and e.dtype == s.write.dtype
        if isinstance(e, Apply):
            return e.op in _OPS and e.dtype == s.write.dtype and all(map(plain, e.args))
        return e.dtype == s.write.dtype

    return s.reduce == "add" and not s.routine and not s.guards and s.write.dtype in ("f32", "f64") and plain(s.value)


def _converted(draft: Draft, name: str) -> None:
    """Let a product read its operands in half precision where temporaries are only what they are in f32; where TF32 will do, only if all are."""
    found = []
    reads = draft.scheduled.nest.statement_table[name].reads()
    for r in reads:
        made = [s for s in draft.scheduled.nest.statements if s.write.array == r.array]
        if len(made) == 1 and isinstance(made[0].value, Apply) and made[0].value.op == "cast" and isinstance(made[0].value.args[0], Access):
            found.append(r.array)
    for array in found if len(found) == len(reads) or not draft.task.tf32 else ():
        draft.attempt("inline", array)


@dataclass(frozen=True)
class _Product:
    """A sum of products: its loops over rows, columns and terms, which follow the statement's dims of the same place; how many there are of
    each; ``tiles``: how many products of that size there are side by side."""

    statement: Statement
    loops: tuple[str, str, str]
    dims: tuple[str, str, str]
    counts: tuple[int, int, int]
    batch: int

    def operands(self, which: int) -> list[Access]:
        """What is read along the terms and the rows (0), or the columns (1)."""
        own, other, term = self.dims[which], self.dims[1 - which], self.dims[2]
        return [r for r in self.statement.reads() if uses(r, own) and uses(r, term) and not uses(r, other)]


def _product(draft: Draft, name: str) -> _Product | None:
    """How a sum is a product, if it is one: its terms alone in the innermost loop, that in loops over columns and rows."""
    scheduled = draft.scheduled
    s, path = scheduled.nest.statement_table[name], loop_path(scheduled.nest.order, name)
    if len(path) < 3:
        return None
    rows, columns, terms = path[-3:]
    values = [o.value(name) for o in (rows, columns, terms)]
    dims = {d.name: d for d in s.dims}
    kept = set[str]().union(*(i.names() for i in s.write.index))
    if not all(v.is_name for v in values) or list(leaves(terms)) != [name] or not all(draft.is_open(o.name) for o in (rows, columns, terms)):
        return None
    names = [next(iter(v.names())) for v in values]
    if not {names[0], names[1]} <= kept or names[2] in kept or any(n not in dims for n in names):
        return None
    if any(not dims[n].upper.constant or dims[n].lower.constant != 0 for n in names):
        return None
    counts = [dims[n].upper.constant or 0 for n in names]
    if min(counts[:2]) < LEAST or counts[2] < FEWEST or any(can_parallel(scheduled, o.name) for o in (rows, columns)):
        return None
    if any(extent(scheduled, o) != (0, count - 1) for o, count in zip((rows, columns), counts)):
        return None
    around = [extent(scheduled, o) for o in path[:-3] if o.value(name).names() & kept]
    batch = prod(span[1] - span[0] + 1 if span else 1 for span in around)
    found = _Product(s, (rows.name, columns.name, terms.name), (names[0], names[1], names[2]), (counts[0], counts[1], counts[2]), batch)
    follows = [n for n in names if any(uses(r, n) for r in s.reads())]
    plain = all(_plain(i, names) for r in s.reads() for i in r.index)
    both = any(uses(r, names[0]) and uses(r, names[1]) for r in s.reads())
    return found if len(follows) == 3 and plain and not both and found.operands(0) and found.operands(1) else None


def _plain(index: Size, names: list[str]) -> bool:
    """Whether an index follows at most one of some dims, step by step."""
    used = [n for n in names if n in index.names()]
    return not used or (len(used) == 1 and (index - Size.of(used[0])).constant is not None)


# -- what is chosen ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Tile:
    """Rows, columns and terms of a tile, and rows and columns of a thread, or of a warp that has them on tensor cores."""

    rows: int
    columns: int
    terms: int
    high: int
    wide: int
    tensor: bool

    @property
    def numbers(self) -> tuple[int, int]:
        """Threads, or warps, along rows and columns."""
        return self.rows // self.high, self.columns // self.wide

    @property
    def threads(self) -> int:
        """All threads."""
        return prod(self.numbers) * (WARP if self.tensor else 1)

    @property
    def places(self) -> int:
        """Chunks that are in shared memory at a time."""
        return PLACES if self.tensor else 2

    def shared(self, width: int) -> int:
        """Bytes of the copies of chunks at most, whichever way they lie."""
        each = [max(n * (self.terms * width + APART), self.terms * (n * width + APART)) for n in (self.rows, self.columns)]
        return self.places * sum(each)

    def cycles(self, product: _Product, gpu: Gpu, width: int) -> float:
        """How long all of a product takes on the whole GPU."""
        rows, columns, terms = product.counts
        rounds = ceil(ceil(rows / self.rows) * ceil(columns / self.columns) * product.batch / gpu.cores)
        if self.tensor:
            fused = self.rows * self.columns / FUSED_TENSOR * (width / 2)
            loads = prod(self.numbers) * (self.high + self.wide) * width / 4 / NEAR
        else:
            fused = self.rows * self.columns / FUSED * max(1, width // 4)
            loads = prod(self.numbers) * (self.high / VECTOR + self.wide) / NEAR * max(1, width / 4)
        copied = (self.rows + self.columns) * width / BEYOND
        return rounds * ceil(terms / self.terms) * (self.terms * max(fused, loads, copied) + MEETING)


def _choose(product: _Product, gpu: Gpu, tensor: bool, alone: bool) -> _Tile | None:
    """The fastest tile whose copies fit into shared memory; of equals the larger one."""
    gpu = replace(gpu, cores=1) if alone else gpu
    width = max(BYTES[a.dtype] for which in (0, 1) for a in product.operands(which))
    found = [_Tile(*shape[:2], terms, *shape[2:], tensor) for shape in (TENSOR if tensor else TILES) for terms in CHUNKS]
    found = [t for t in found if t.rows <= product.counts[0] and t.columns <= product.counts[1]]
    fits = [t for t in found if t.threads <= gpu.threads and t.shared(width) <= gpu.shared_bytes and (tensor or width < 8 or t.high * t.wide <= 32)]
    return min(fits, key=lambda t: t.cycles(product, gpu, width), default=None)


# -- what is done --------------------------------------------------------------------------------------------------------------


def _tiled(draft: Draft, name: str, tensor: bool, alone: bool) -> bool:
    """The steps for one product, on tensor cores or not, with tiles dealt to blocks or, ``alone``, one after the other in one block; False where
    they do not apply."""
    machine = draft.task.machine
    assert isinstance(machine, Gpu)
    if not _separate(draft, name):
        return False
    product = _product(draft, name)
    if product is None:
        return False
    dtypes = {a.dtype for which in (0, 1) for a in product.operands(which)}
    if tensor and not (len(dtypes) == 1 and dtypes <= {*HALF, *(("f32",) if draft.task.tf32 else ())}):
        return False
    tile = _choose(product, machine, tensor, alone)
    if tile is None:
        return False
    array = product.statement.write.array
    if not _all_inside(draft, array, product.loops[1]):
        if not draft.attempt("accumulate", name, product.loops[2]):
            return False
        array = draft.scheduled.nest.statement_table[name].write.array
    if any(not isinstance(c, Leaf) for c in children(draft.scheduled.loop(product.loops[1]).body) if name not in leaves(c)):
        return False
    return _Tiling(draft, product, tile, array, alone).apply()


def _separate(draft: Draft, name: str) -> bool:
    """Let the loop over columns hold nothing beside the sums that has loops of its own, and that over rows nothing but it."""
    for depth, kept in ((2, Leaf), (3, ())):
        for later in (False, True):
            path = loop_path(draft.scheduled.nest.order, name)
            if len(path) < 3:
                return False
            parts = children(path[-depth].body)
            at = next(n for n, c in enumerate(parts) if name in leaves(c))
            others = [n for n, c in enumerate(parts) if not isinstance(c, kept) and (n > at if later else n < at)]
            if others and not draft.attempt("distribute", path[-depth].name, next(leaves(parts[others[0] if later else others[-1] + 1]))):
                return False
    return True


def _all_inside(draft: Draft, array: str, loop: str) -> bool:
    """Whether an array is a temporary that only statements in a loop use."""
    inside, info = set(leaves(draft.scheduled.loop(loop))), draft.scheduled.nest.array(array)
    users = {s.name for s in draft.scheduled.nest.statements if array in s.arrays()}
    return info.temporary and info.scope == "problem" and users <= inside


class _Tiling:
    """The steps that tile one product; ``array`` is what its sums are added up in; ``alone``: all tiles are one block's."""

    def __init__(self, draft: Draft, product: _Product, tile: _Tile, array: str, alone: bool) -> None:
        self.draft, self.product, self.tile, self.array, self.alone = draft, product, tile, array, alone
        self.name = product.statement.name
        rows, columns, terms = product.loops
        self.around, self.outer, self.chunk = f"{rows}_o", f"{columns}_o", f"{terms}_o"

    def apply(self) -> bool:
        """All steps; False after some of them. Raises IllegalSchedule where one does not apply."""
        take, tile, (rows, columns, terms) = self.draft.take, self.tile, self.product.loops
        statements = list(leaves(self.draft.scheduled.loop(columns)))
        take("tile", rows, columns, tile.rows, tile.columns)
        at = statements.index(self.name)
        groups = [g for g in (statements[:at], [self.name], statements[at + 1 :]) if g]
        for group in groups[1:]:
            for loop in reversed(self.band(group[0])):
                take("distribute", loop, group[0])
        bands = {group[0]: self.band(group[0]) for group in groups}
        take("tile", terms, tile.terms)
        r, c = bands[self.name]
        take("permute", r, c, f"{terms}_o", f"{terms}_i")
        take("permute", f"{terms}_o", r, c, f"{terms}_i")
        for r, c in bands.values():
            take("tile", r, c, tile.high, tile.wide)
            if tile.tensor:
                take("tile", f"{r}_i", f"{c}_i", ROWS, COLUMNS)
        r, c = bands[self.name]
        if tile.tensor:
            take("tile", f"{terms}_i", TERMS[self.product.operands(0)[0].dtype])
            inner = [f"{loop}_i_{end}" for end in ("o", "i") for loop in (r, c)]
            take("permute", f"{r}_o", f"{c}_o", f"{terms}_i_o", *inner, f"{terms}_i_i")
        else:
            take("permute", f"{r}_o", f"{c}_o", f"{terms}_i", f"{r}_i", f"{c}_i")
        copies = [(a, which, self.pack(a, which)) for which in (0, 1) for a in self.product.operands(which)]
        if not self.pad(groups, bands):
            return False
        if not tile.tensor and any(self.along(a, which)[0] == self.product.dims[2] for a, which, _ in copies):
            take("unroll", f"{terms}_i", VECTOR if tile.high * tile.wide <= 32 else 2)  # rows of it, which are read along the terms
        for statement, (r, c) in bands.items():
            for loop, count in zip((r, c), tile.numbers, strict=True):
                take("thread", f"{loop}_o", count)
                take("unroll", f"{loop}_i_o" if tile.tensor else f"{loop}_i")
            if tile.tensor:
                take("tensor", f"{r}_i_i", f"{c}_i_i", *((f"{terms}_i_i",) if statement == self.name else ()))
        for access, which, name in copies:
            self.copy(access, which, name)
        around = self.around if self.alone else self.blocks()
        take("register", self.array, self.outer)
        if self.product.counts[2] > tile.terms:
            take("stage", self.chunk, *((tile.places,) if tile.tensor else ()))
        self.draft.closed.add(around)
        return True

    def band(self, statement: str) -> tuple[str, str]:
        """The loops over rows and columns of a tile around a statement."""
        path = [o.name for o in loop_path(self.draft.scheduled.nest.order, statement)]
        first, second = path[path.index(self.outer) + 1 :][:2]
        return first, second

    def along(self, access: Access, which: int) -> tuple[str, int, bool]:
        """Along which dim an operand is packed, what a tile has of it, and whether what lies next to each other there does so in the copy.
        What columns of a thread read lies next to each other; tensor cores take it as it comes."""
        own, term = self.product.dims[which], self.product.dims[2]
        size = self.tile.columns if which else self.tile.rows
        last = access.index[self.nearest(access)].names()
        if term in last and (self.tile.tensor or not which):
            return term, self.tile.terms, True
        return own, size, own in last

    def nearest(self, access: Access) -> int:
        """The axis along which elements of an array are neighbours."""
        shape = self.draft.scheduled.nest.array(access.array).shape
        return next((n for n in reversed(range(len(shape))) if shape[n].constant != 1), len(shape) - 1)

    def pack(self, access: Access, which: int) -> str:
        """Copy a chunk of an operand; the name of the copy."""
        dim, size, _ = self.along(access, which)
        name = buffer_name(self.draft.scheduled, access.array, self.name, dim)
        self.draft.take("pack", access.array, self.name, dim, size + APART // BYTES[access.dtype], self.chunk)
        self.draft.take("contract", name, self.chunk)
        return name

    def copy(self, access: Access, which: int, name: str) -> None:
        """Deal the copy of an operand to all threads, neighbours to neighbours, and several elements at once where rows are whole numbers of
        these."""
        dim, size, near = self.along(access, which)
        threads, dims = self.tile.threads, self.product.dims
        axis = next(n for n, i in enumerate(access.index) if dim in i.names())
        other = next((n for n, i in enumerate(access.index) if n != axis and i.names() & {dims[which], dims[2]}), None)
        inner, outer = f"{name}_i", "" if other is None else f"{name}_{other}"
        if near:
            whole = self.draft.scheduled.nest.array(access.array).shape[self.nearest(access)].constant or 1
            count = self.product.counts[dims.index(dim)]
            width = BYTES[access.dtype]
            vector = next(v for v in (8, 4, 2, 1) if whole % v == 0 and count % v == 0 and v * width <= COPIED)
            if vector > 1:
                self.draft.take("unroll", inner, vector)
                inner, size = f"{inner}_o", size // vector
        elif outer:
            chain = self.chain(name)
            self.draft.take("permute", *(n for n in chain if n not in (inner, outer)), inner, outer)
            inner, outer, size = outer, inner, self.tile.terms
        size = min(size, threads)
        for loop in self.chain(name):
            self.draft.take("thread", loop, size if loop == inner else threads // size if loop == outer else 1)

    def chain(self, name: str) -> list[str]:
        """The loops of a copy that are not written out."""
        path = loop_path(self.draft.scheduled.nest.order, f"{self.name}_{name}")
        at = next(n for n, o in enumerate(path) if o.name == self.chunk)
        return [o.name for o in path[at + 1 :] if "unroll" not in o.kind]

    def pad(self, groups: list[list[str]], bands: dict[str, tuple[str, str]]) -> bool:
        """Let tiles be full; whether they are."""
        rows, columns, _ = self.product.counts
        if rows % self.tile.rows == 0 and columns % self.tile.columns == 0:
            return True
        table = self.draft.scheduled.nest.statement_table
        for group in groups:
            for s in group:
                if table[s].write.array == self.array:
                    end = "_i_i" if self.tile.tensor else "_i"
                    values = [self.draft.scheduled.loop(f"{loop}{end}").value(s) for loop in bands[group[0]]]
                    done = all(v.is_name for v in values) and self.draft.attempt(
                        "pad", s, str(values[0]), self.tile.rows, str(values[1]), self.tile.columns
                    )
                    if s == self.name and not done:
                        return False
        return True

    def blocks(self) -> str:
        """Deal tiles to blocks of threads, with what is side by side around them; the outermost of these loops."""
        path = loop_path(self.draft.scheduled.nest.order, self.name)
        at = next(n for n, o in enumerate(path) if o.name == self.around)
        first = at
        while first and path[first - 1].body == path[first] and can_parallel(self.draft.scheduled, path[first - 1].name) is None:
            first -= 1
        for loop in path[first : at + 2]:
            self.draft.take("block", loop.name)
        return path[first].name
