"""Loops in a Triton kernel: what they carry is in registers, what they stack is in scratch memory of the program.

A loop with ``until`` goes on while a problem of the tile is at work. Each problem leaves by itself: what it has keeps its value from then on::

    going, some = live, 0 < count
    while some:
        ...
        x = tl.where(going[:, None], next_x, x)
        going = going & ~stop
        n += 1
        some = (n < count) & (tl.reduce(going.to(tl.int32), 0, _elementwise_max) != 0)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...compiler.diagnostics import CompileError
from ...compiler.graph.graph import Node, Region, free_names
from ...compiler.graph.types import Size, range_length
from .text import along
from .values import BATCH, TYPES, Tile, View, is_known

if TYPE_CHECKING:
    from .nodes import Emitter


@dataclass(frozen=True)
class _Until:
    """Variables of a loop with ``until``: whether to go on, which problems are ``going`` (none: they leave together), and for each stack the
    row that they have at last."""

    some: str
    going: str
    rows: tuple[Tile, ...]


class Loops:
    """Loops of one kernel."""

    def __init__(self, emitter: Emitter) -> None:
        self.emitter, self.text, self.memory = emitter, emitter.text, emitter.memory

    def loop(self, node: Node) -> None:
        """Print a loop."""
        made, text, region = self.emitter, self.text, node.regions[0]
        carried, stacked = len(region.args), node.attr("stacked", 0)
        lower, step = made.size(Size.of(node.attr("lower"))), node.attr("step")
        trip = range_length(lower, made.size(Size.of(node.attr("upper"))), step)
        state: list[str | None] = []
        for name, arg in zip(node.inputs, region.args, strict=True):
            state.append(self._start(name, arg.name, made.shape(arg.type), arg.type.dtype, region))
        rooms = [self.memory.room(v.type.dtype, made.shape(v.type)) for v in node.outputs[carried:]]
        if rooms:
            text.line("tl.debug_barrier()")  # others may still read the rows of the tile before
        counter, index = text.fresh("n"), text.fresh(node.attr("index"))
        count = text.let(text.size(trip), "count")
        before = made.going
        until = self._until(node, rooms, None in state, counter, count) if node.attr("until") else None
        text.open()
        text.levels[index] = text.levels[counter] = text.level
        place = text.size(lower)
        text.line(f"{index} = {place} {'+' if step > 0 else '-'} {counter}{'' if abs(step) == 1 else f' * {abs(step)}'}")
        outer, made.indices = made.indices, {**made.indices, node.attr("index"): Size.of(index)}
        made.count += 1
        made.regions.append(made.count)
        made.nodes(region.nodes)
        made.regions.pop()
        for n, (room, name) in enumerate(zip(rooms, region.results[carried : carried + stacked], strict=True)):
            row = room.at(0, Size.of(counter))
            self.memory.store(row, self._kept(made.full(name, row.shape), until, n))
        self._next(region, state, until.going if until else "")
        if until:
            self._leave(region.results[-1], until, counter, count)
        made.indices, made.going = outer, before
        text.close(f"while {until.some}:" if until else f"for {counter} in range(0, {count}):")
        if rooms or None in state:
            text.line("tl.debug_barrier()")  # what is in memory is read by other threads than wrote it
        for out, arg in zip(node.outputs, region.args, strict=False):
            made.values[out.name] = made.values[arg.name]
        for n, (out, room) in enumerate(zip(node.outputs[carried:], rooms, strict=True)):
            if until:  # the last state stays
                self._fill(room, counter, count, until.rows[n] if until.going else room.at(0, Size.of(counter) - 1))
            if room.shape[0] != trip:
                self._fill(room, count, text.size(room.shape[0]), None)
            made.values[out.name] = room
            made.private[out.name] = made.regions[-1]

    # -- until -------------------------------------------------------------------------------------------------------

    def _until(self, node: Node, rooms: Sequence[View], in_place: bool, counter: str, count: str) -> _Until:
        """What stands before a loop with ``until``. Problems leave one by one if the test is one of each problem."""
        made, text = self.emitter, self.text
        each = any(a.type.shape[:1] == (BATCH,) for a in node.regions[0].args)
        if each and in_place:
            raise CompileError("an array whose size only a call knows changes in a loop that problems leave one by one (`until`)")
        text.line(f"{counter} = tl.full((), 0, tl.int64)")
        some = text.let(f"{counter} < {count}", "some")
        if not each:
            return _Until(some, "", ())
        going = text.let(made.going or "live", "going")
        made.going = going
        rows = []
        for room in rooms:
            shape = room.shape[1:]
            if not all(map(is_known, shape)):
                raise CompileError("rows whose size only a call knows are kept of a loop that problems leave one by one (`until`)")
            rows.append(Tile(text.let(f"tl.full({text.extents(shape)}, 0, {TYPES[room.dtype]})", "row"), room.dtype, shape))
        return _Until(some, going, tuple(rows))

    def _kept(self, row: Tile, until: _Until | None, number: int) -> Tile:
        """The row that a stack gets: of problems that have left, their last one."""
        if until is None or not until.going:
            return row
        kept = until.rows[number]
        self.text.line(f"{kept.name} = {self._chosen(until.going, row.name, kept.name, kept.shape)}")
        return kept

    def _chosen(self, going: str, new: str, old: str, shape: Sequence[Size]) -> str:
        """A value that only problems at work take. What all problems share changes as long as one is at work."""
        return f"tl.where({along(going, 0, len(shape))}, {new}, {old})" if BATCH in shape[:1] else new

    def _leave(self, test: str, until: _Until, counter: str, count: str) -> None:
        """The end of an iteration: who leaves, and whether there is another one."""
        text, stop = self.text, self.emitter.tile(test)
        text.line(f"{counter} += 1")
        more = f"({counter} < {count})"
        if not until.going:
            text.line(f"{until.some} = {more} & ({stop.name} == 0)")
            return
        text.line(f"{until.going} = {until.going} & ({stop.name} == 0)")
        text.line(f"{until.some} = {more} & (tl.reduce({until.going}.to(tl.int32), 0, tl.standard._elementwise_max) != 0)")

    # -- stacks ------------------------------------------------------------------------------------------------------

    def _fill(self, room: View, first: str, last: str, value: Tile | View | None) -> None:
        """A value (default: zeros) in the rows of a stack from one to another."""
        text = self.text
        row = text.fresh("n")
        text.open()
        text.levels[row] = text.level
        at = room.at(0, Size.of(row))
        if value is None:
            value = Tile(text.let(f"tl.full({text.extents(at.shape)}, 0, {TYPES[room.dtype]})"), room.dtype, at.shape)
        if isinstance(value, View):  # of the stack itself
            text.line("tl.debug_barrier()")
            value = self.memory.load(value)
            text.line("tl.debug_barrier()")
        self.memory.store(at, value)
        text.close(f"for {row} in range({first}, {last}):")
        text.line("tl.debug_barrier()")

    # -- state -------------------------------------------------------------------------------------------------------

    def _start(self, name: str, arg: str, shape: tuple[Size, ...], dtype: str, region: Region) -> str | None:
        """Bind what a loop carries to its first value: a variable, or None for an array in memory."""
        made = self.emitter
        if all(map(is_known, shape)):
            variable = self.text.let(made.full(name, shape).name, arg)
            made.values[arg] = Tile(variable, dtype, shape)
            return variable
        _check_in_place(region, arg)
        room, source = self.memory.room(dtype, shape), made.values[name]
        self.text.line("tl.debug_barrier()")
        self.memory.copy(room, source, lambda t: t)
        self.text.line("tl.debug_barrier()")
        made.values[arg] = room
        made.arrays.add(arg)
        return None

    def _next(self, region: Region, state: Sequence[str | None], going: str) -> None:
        """The values that the next iteration starts with; all are taken before one is set."""
        text, made, moves = self.text, self.emitter, []
        for arg, result, variable in zip(region.args, region.results, state, strict=False):
            if variable is None:
                continue
            shape = made.shape(arg.type)
            name = made.full(result, shape).name
            if name != variable:
                moves.append((variable, self._chosen(going, name, variable, shape) if going else name))
        targets = {v for v, _ in moves}
        taken = [(v, text.let(n, "next") if n in targets or going else n) for v, n in moves]
        for variable, name in taken:
            text.line(f"{variable} = {name}")


def _check_in_place(region: Region, arg: str) -> None:
    """Raise CompileError unless the updates of an array that a loop carries can be done in its place: one after another, and nobody reads
    what it was before."""
    at = region.args.index(next(a for a in region.args if a.name == arg))
    chain, last = arg, -1
    position = {v.name: n for n, node in enumerate(region.nodes) for v in node.outputs}
    while True:
        users = [n for n, node in enumerate(region.nodes) if chain in free_names(node)]
        following = [n for n in users if region.nodes[n].op == "update" and region.nodes[n].inputs[0] == chain]
        if region.results.count(chain) > 1 or len(following) > 1 or (chain in region.results and following):
            raise CompileError("an array whose size only a call knows is kept beside its next value")
        if not following:
            if region.results[at] != chain or any(n < last for n in users):
                raise CompileError("an array whose size only a call knows is made anew in a loop")
            return
        if any(n > following[0] for n in users) or chain in region.nodes[following[0]].inputs[1:]:
            raise CompileError("an array whose size only a call knows is read after it is changed")
        last = following[0]
        chain = region.nodes[last].output.name
        assert chain in position
