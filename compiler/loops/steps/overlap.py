"""Blocks of an iteration loop on overlapping tiles of space, which compute what they need of their neighbours themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ...graph.types import Size, size_fn
from .. import isl
from ..dependences import Reason, pair_map, primed
from ..nest import Access, ArrayInfo, Dim, Guard, Leaf, LoopOrder, Order, Statement, leaves, map_accesses, sequence
from ..scheduled import Scheduled, change_loop, once
from .contract import can_contract
from .expand import axis_of
from .split import with_guard
from .trapezoid import Cone, can_trapezoid, cone_of

_ZERO = Size.of(0)


@dataclass(frozen=True)
class _Field:
    """An array that tiles have a part of: its axis that goes along with space, how far before the tile's own part its copy begins,
    how long that is; ``kept`` if its values outlive a block of iterations."""

    info: ArrayInfo
    axis: int
    low: int
    length: int
    kept: bool


@dataclass(frozen=True)
class _Plan:
    """``low`` and ``high``: a tile's part of the instances is ``low <= x + behind - fall * t - width * tile`` and
    ``x + ahead + rise * t - width * tile <= high``, where ``t`` counts within a block."""

    outer: str
    block: int
    width: int
    tiles: int
    blocks: Size  # number of blocks of iterations
    first: Size
    position: Mapping[str, Size]
    cone: Cone
    low: int
    high: int
    fields: tuple[_Field, ...]

    @property
    def tile(self) -> str:
        """The dim that counts tiles."""
        return f"us_{self.outer}_tile"

    def time(self, value: Size) -> Size:
        """The place in a block of an iteration."""
        return (value - self.first) % Size.of(self.block)

    def guards(self, s: str, value: Size) -> tuple[Guard, Guard]:
        """What makes an instance of a statement, at a value of the iteration loop, one of a tile's."""
        own, time = Size.of(self.tile) * self.width, self.time(value)
        x = self.position[s]
        left = x + (self.cone.behind[s] - self.low) - time * self.cone.fall - own
        right = own + (self.high - self.cone.ahead[s]) - x - time * self.cone.rise
        return Guard(left), Guard(right)

    def local(self, field: _Field) -> str:
        """What the tile's part of an array is called."""
        return f"{field.info.name}_{self.outer}"


@once
def can_overlap(scheduled: Scheduled, outer: str, block: int, width: int, *loops: str) -> str | None:
    """Why an iteration loop cannot be cut into blocks on overlapping tiles over the positions that ``loops`` give, or None.

    That a tile computes all it needs itself, and all of its own part, is proved by isl.
    """
    if not isinstance(block, int) or not isinstance(width, int) or block < 1 or width < 1 or not loops:
        return "name the iteration loop, iterations in a block, the width of a tile, then a loop over space for each sweep"
    reason = can_trapezoid(scheduled, outer, block, 1, *loops)
    if reason:
        return reason
    plan = _plan(scheduled, outer, block, width, loops)
    return plan if isinstance(plan, str) else _unproved(scheduled, plan) or scheduled.unproved()


def _plan(scheduled: Scheduled, outer: str, block: int, width: int, loops: tuple[str, ...]) -> _Plan | str:
    nest, around = scheduled.nest, scheduled.loop(outer)
    if scheduled.outer(outer):
        return f"{outer} is inside another loop"
    if f"{outer}_tile" in scheduled.loops:
        return f"there is a loop {outer}_tile already"
    range_of = axis_of(scheduled, around)
    if range_of is None:
        return f"the number of iterations of {outer} is not known outside it"
    below = [nest.statement_table[s] for s in leaves(around)]
    if any(s.routine for s in below):
        return f"a routine is called in {outer}"
    if any(scheduled.asked(s.name) != s for s in below):
        return f"a statement in {outer} is padded"
    cone = cone_of(scheduled, outer, loops)
    if isinstance(cone, str):
        return cone
    position = {s: v for name in loops for s, v in scheduled.loop(name).values}
    touched = _touched(scheduled, below, position)
    if isinstance(touched, str):
        return touched
    inner = {a for a in touched if nest.array(a).temporary and can_contract(scheduled, a, outer) is None}
    last = block - 1
    kept = [(s, c) for a, (_, found) in touched.items() if a not in inner for s, c, writes in found if writes]
    if not kept:
        return f"nothing that {outer} computes is used after it"
    low = min(cone.behind[s] - c for s, c in kept) - cone.fall * last
    high = max(cone.ahead[s] - c for s, c in kept) + cone.rise * last + width - 1
    fields = []
    for a, (axis, found) in touched.items():
        least = min(0, *(low - cone.behind[s] + c for s, c, _ in found))
        most = max(width - 1, *(high - cone.ahead[s] + c for s, c, _ in found))
        fields.append(_Field(nest.array(a), axis, least, most - least + 1, a not in inner))
    longest = max(f.info.shape[f.axis].constant or 0 for f in fields if f.kept)
    blocks = (range_of[1] + last) // Size.of(block)
    return _Plan(outer, block, width, -(-longest // width), blocks, range_of[0], position, cone, low, high, tuple(fields))


def _touched(
    scheduled: Scheduled, below: list[Statement], position: Mapping[str, Size]
) -> dict[str, tuple[int, list[tuple[str, int, bool]]]] | str:
    """For every array that statements write the axis along space, and (statement, index minus position, writes) of every access."""
    found: dict[str, tuple[int, list[tuple[str, int, bool]]]] = {}
    for array in dict.fromkeys(s.write.array for s in below):
        info = scheduled.nest.array(array)
        if info.scope.startswith("local"):
            return f"{array} is contracted"
        places = [(s, access) for s in below for access in (s.write, *s.reads()) if access.array == array]
        for axis, extent in enumerate(info.shape):
            apart = [(access.index[axis] - position[s.name]).constant for s, access in places]
            known = [c for c in apart if c is not None]
            if extent.constant is not None and len(known) == len(apart):
                found[array] = axis, [(s.name, c, access is s.write) for (s, access), c in zip(places, known, strict=True)]
                break
        else:
            return f"{array} does not go along with the loops over space"
    return found


def _unproved(scheduled: Scheduled, plan: _Plan) -> str | None:
    """An instance that a tile lacks: one that another one of its needs, or one that writes an element of its own part."""
    nest, loop = scheduled.nest, scheduled.loop(plan.outer)
    params, q = (*nest.params, plan.tile), plan.tile
    for d in scheduled.found:
        if d.source not in plan.position or d.sink not in plan.position:
            continue
        source, sink = nest.statement_table[d.source], nest.statement_table[d.sink]
        rename = primed(sink)
        inside = [isl.affine_text(g.size.substitute(rename)) for g in plan.guards(sink.name, loop.value(sink.name))]
        outside = [isl.affine_text(g.size) for g in plan.guards(source.name, loop.value(source.name))]
        blocks = [(loop.value(s.name) - plan.first) // Size.of(plan.block) for s in (source, sink)]
        same = f"{isl.affine_text(blocks[0])} = {isl.affine_text(blocks[1].substitute(rename))}"
        needed = " and ".join(f"{g} >= 0" for g in inside)
        missing = " or ".join(f"{g} < 0" for g in outside)
        condition = f"0 <= {q} < {plan.tiles} and {same} and {needed} and ({missing})"
        pairs = d.relation.intersect(pair_map(source, sink, condition, params))
        if not pairs.is_empty():
            return Reason.of(f"the {d.kind} dependence on {d.array} comes from outside of a tile", d, pairs)
    for field in plan.fields:
        for s in (nest.statement_table[name] for name in plan.position):
            if field.kept and s.write.array == field.info.name:
                own = s.write.index[field.axis] - Size.of(q) * plan.width
                for guard in plan.guards(s.name, loop.value(s.name)):
                    away = (Guard(own), Guard(plan.width - 1 - own), Guard(-guard.size - 1))
                    lacking = replace(s, dims=(Dim(q, Size.of(plan.tiles)), *s.dims), guards=(*s.guards, *away))
                    if not isl.domain(lacking, nest.params).is_empty():
                        return f"a tile does not compute all of its part of {field.info.name}"
    return None


def overlap(scheduled: Scheduled, outer: str, block: int, width: int, *loops: str) -> Scheduled:
    """Blocks of ``block`` iterations on tiles of ``width`` positions. A tile copies its part of the data, with as much beside it as
    reaches into it within a block, computes all of the block by itself, what its neighbours compute too included, and writes
    back its own part.

    for t:                              for t_o:                            # blocks of iterations
        for i: S(t, i)                      for t_tile:                     # independent: may be parallel
                            -->                 A_t = A[tile and halo]
                                                for t_i in the block:
                                                    for i in the tile and what is left of the halo: S(t, i)
                                                A_t_next[tile] = A_t        # every other block: back into A
    t ^   ____________
      |  / 0 __|__  1 \\      i goes to the right: both tiles compute what lies between the slanting lines,
      | /___/__|__\\____\\     slopes are solved from the dependences, as for trapezoids

    ``overlap t 8 64 i j`` is for two sweeps in ``t``. ``contract A_t t_tile`` leaves of a tile's copies one for each thread. A trapezoid
    computes nothing twice, but its threads meet twice as often.
    Source: overlapped tiling, S. Krishnamoorthy et al., Effective automatic parallelization of stencil computations, PLDI 2007.
    """
    reason = can_overlap(scheduled, outer, block, width, *loops)
    plan = reason or _plan(scheduled, outer, block, width, loops)
    if not isinstance(plan, _Plan):
        raise ValueError(f"cannot overlap tiles of {outer}: {plan}")
    return _Rewrite(scheduled, plan).made()


class _Rewrite:
    def __init__(self, scheduled: Scheduled, plan: _Plan) -> None:
        self.scheduled, self.plan, self.loop = scheduled, plan, scheduled.loop(plan.outer)
        self.fields = {f.info.name: f for f in plan.fields}
        self.count, self.tile = f"us_{plan.outer}_o", Size.of(plan.tile)

    def made(self) -> Scheduled:
        """The nest with tiles."""
        nest, plan = self.scheduled.nest, self.plan
        kept = [f for f in plan.fields if f.kept]
        come = [s for f in kept for s in self.copies(f, into=True)]
        go = [s for f in kept for s in self.copies(f, into=False)]
        back = [s for f in kept for s in self.back(f)]
        below = set(leaves(self.loop))
        statements = tuple(self.inside(s) if s.name in below else s for s in nest.statements)
        gone = {f.info.name for f in plan.fields if not f.kept}
        arrays = [a for a in nest.arrays if a.name not in gone]
        for f in plan.fields:
            arrays.append(ArrayInfo(plan.local(f), f.info.dtype, self.shape(f)))
            arrays += [ArrayInfo(self.next(f), f.info.dtype, f.info.shape)] if f.kept else []

        def change(loop: LoopOrder) -> Order:
            blocks = [(s, (v - plan.first) // Size.of(plan.block)) for s, v in loop.values]
            tiles = [(s, self.tile) for s, _ in loop.values]
            body = sequence([*map(_over, come), replace(loop, name=f"{plan.outer}_i"), *map(_over, go)])
            extra = [(s.name, Size.of(self.count)) for s in (*come, *go)]
            body = LoopOrder(f"{plan.outer}_tile", (*((s.name, self.tile) for s in (*come, *go)), *tiles), body)
            return sequence([LoopOrder(f"{plan.outer}_o", (*extra, *blocks), body), *map(_over, back)])

        order = change_loop(nest.order, plan.outer, change)
        new = replace(nest, arrays=tuple(arrays), statements=(*statements, *come, *go, *back), order=order)
        made = self.scheduled.rewrite(new, {s.name for s in (*come, *go, *back)} | below)
        return made.renamed({plan.outer: f"{plan.outer}_i"})

    def next(self, f: _Field) -> str:
        """The other one of the two copies of an array, between which blocks of iterations alternate."""
        return f"{self.plan.local(f)}_next"

    def shape(self, f: _Field) -> tuple[Size, ...]:
        """A part for every tile."""
        own = tuple(Size.of(f.length) if n == f.axis else size for n, size in enumerate(f.info.shape))
        return (Size.of(self.plan.tiles), *own)

    def place(self, f: _Field, index: tuple[Size, ...]) -> tuple[Size, ...]:
        """An element in the part of a tile."""
        start = self.tile * self.plan.width + f.low
        return (self.tile, *(i - start if n == f.axis else i for n, i in enumerate(index)))

    def inside(self, s: Statement) -> Statement:
        """A statement on the parts of tiles."""

        def moved(a: Access) -> Access:
            f = self.fields.get(a.array)
            return Access(self.plan.local(f), self.place(f, a.index), a.dtype) if f else a

        wide = replace(map_accesses(s, moved), dims=(Dim(self.plan.tile, Size.of(self.plan.tiles)), *s.dims))
        for guard in self.plan.guards(s.name, self.loop.value(s.name)):
            wide = with_guard(wide, guard, self.scheduled.nest.params)
        return wide

    def copies(self, f: _Field, *, into: bool) -> list[Statement]:
        """What brings the data into a tile's part, or its own part out of it: one statement for even and one for odd blocks."""
        start = self.tile * self.plan.width
        low, high = (start + f.low, start + f.low + f.length) if into else (start, start + self.plan.width)
        axes = self.axes(f, "in" if into else "out", size_fn("max", _ZERO, low), size_fn("min", f.info.shape[f.axis], high))
        index = tuple(Size.of(d.name) for d in axes)
        part, dtype = Access(self.plan.local(f), self.place(f, index), f.info.dtype), f.info.dtype
        dims = (Dim(self.count, self.plan.blocks), Dim(self.plan.tile, Size.of(self.plan.tiles)), *axes)
        made = []
        for odd, name in enumerate((f.info.name, self.next(f))):
            other = (self.next(f), f.info.name)[odd]
            whole = Access(name if into else other, index, dtype)
            guard = Guard(Size.of(self.count) % Size.of(2) - odd, "==")
            text = f"{self.plan.local(f)}_{'in' if into else 'out'}{odd or ''}"
            ends = (part, whole) if into else (whole, part)
            made.append(Statement(text, dims, *ends, guards=(guard,), values=self.values(f)))
        return made

    def values(self, f: _Field) -> tuple[str, ...]:
        """The values of the graph that an array is for."""
        writers = [s for s in self.scheduled.nest.statements if s.write.array == f.info.name]
        return tuple(dict.fromkeys(v for s in writers for v in s.values))

    def back(self, f: _Field) -> list[Statement]:
        """After an odd number of blocks the result is in the other copy."""
        odd = self.plan.blocks % Size.of(2)
        if odd.constant == 0:
            return []
        axes = self.axes(f, "back", _ZERO, f.info.shape[f.axis])
        index = tuple(Size.of(d.name) for d in axes)
        to, of = Access(f.info.name, index, f.info.dtype), Access(self.next(f), index, f.info.dtype)
        guards = () if odd.constant else (Guard(odd - 1, "=="),)
        return [Statement(f"{self.plan.local(f)}_back", axes, to, of, guards=guards, values=self.values(f))]

    def axes(self, f: _Field, text: str, low: Size, high: Size) -> tuple[Dim, ...]:
        """Dims over the elements of an array."""
        names = [f"us_{f.info.name}_{text}{n}" for n in range(len(f.info.shape))]
        return tuple(Dim(x, high, low) if n == f.axis else Dim(x, f.info.shape[n]) for n, x in enumerate(names))


def _over(s: Statement) -> Order:
    """A copy in loops over the elements of its array."""
    order: Order = Leaf(s.name)
    whole = min((s.write, *s.reads()), key=lambda a: len(a.index))
    for n, i in reversed(list(enumerate(whole.index))):
        order = LoopOrder(f"{s.name}_{n}", ((s.name, i),), order)
    return order
