"""A batched graph as the text of one Triton kernel.

A program takes a tile of problems through all iterations, its state in registers, and then the next tile::

    for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):
        rows = tile * 16 + i16                  # the problems of the tile
        x = ...
        for n in range(0, K):
            x = ...
        tl.store(out + ..., x, mask=live)

What a loop stacks (a tape) and arrays whose sizes only a call knows are in scratch memory of the program. Iteration counts and the number
of problems are arguments: the text does not depend on them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ...compiler.diagnostics import CompileError
from ...compiler.graph.graph import Graph, Node, Region, free_names, walk
from ...compiler.graph.ops.table import lookup
from ...compiler.graph.specialize import size_names
from ...compiler.graph.types import At, Range, Size, Type, is_complex, is_floating, range_length
from ...compiler.loops.isl import safe
from .contract import Contractions
from .elementwise import cast, expression
from .memory import Memory
from .moves import Moves
from .text import KernelText, along
from .values import BATCH, TYPES, Axis, Held, Repeated, Tile, View, extent, is_known, strides

HEADER = """import triton
import triton.language as tl
from triton.language.extra.cuda import libdevice
"""


@dataclass(frozen=True)
class Operand:
    """An argument of the kernel: ``own`` tells whether every problem has its own."""

    name: str
    type: Type
    own: bool


class Emitter:
    """Prints the nodes of one graph."""

    def __init__(self, rows: int, precision: str) -> None:
        self.text = KernelText(rows)
        self.memory = Memory(self.text)
        self.moves = Moves(self.text, self.memory)
        self.contractions = Contractions(self.text, self.memory, precision)
        self.values: dict[str, Held] = {}
        self.indices: dict[str, Size] = {}  # loop indices of the graph, as variables of the kernel
        self.arrays: set[str] = set()  # values in memory that are changed in their place
        self.private: dict[str, int] = {}  # values in memory that may be, as nobody else has them: the region that made them
        self.uses: Counter[str] = Counter()
        self.regions, self.count = [0], 0  # open ones, by number

    # -- values ------------------------------------------------------------------------------------------------------

    def size(self, size: Size) -> Size:
        """A size of the graph in variables of the kernel."""
        return size.substitute(self.indices)

    def shape(self, type: Type) -> tuple[Size, ...]:
        """The shape of a type, likewise."""
        return tuple([self.size(s) for s in type.shape])

    def tile(self, name: str) -> Tile:
        """A value in registers."""
        value = self.values[name]
        if isinstance(value, View):
            return self.memory.load(value)
        if isinstance(value, Repeated):
            raise CompileError(f"an array is used whole, whose shape {', '.join(map(str, value.shape))} only a call knows")
        return value

    def full(self, name: str, shape: tuple[Size, ...]) -> Tile:
        """A value as a tile of a shape that it broadcasts to."""
        tile = self.tile(name)
        return self.spread(tile, shape)

    def spread(self, tile: Tile, shape: tuple[Size, ...]) -> Tile:
        """A tile repeated to a shape."""
        if tile.shape == shape:
            return tile
        name = self.lined(tile, len(shape))
        return Tile(self.text.let(f"tl.broadcast_to({name}, {self.text.extents(shape)})"), tile.dtype, shape)

    def lined(self, tile: Tile, rank: int) -> str:
        """A tile with axes of 1 in front, so that it has a rank; a scalar stays one."""
        if not tile.shape or len(tile.shape) == rank:
            return tile.name
        items = ["None"] * (rank - len(tile.shape)) + [":"] * len(tile.shape)
        return f"{tile.name}[{', '.join(items)}]"

    # -- nodes -------------------------------------------------------------------------------------------------------

    def nodes(self, nodes: Sequence[Node]) -> None:
        """Print nodes in order."""
        for node in nodes:
            try:
                self.node(node)
            except CompileError as error:
                where = f" ({node.span})" if node.span and " (" not in str(error) else ""
                raise CompileError(f"{error}{where}") from None

    def node(self, node: Node) -> None:
        """Print one node."""
        row = lookup(node.op)
        if any(is_complex(v.type.dtype) or v.type.dtype == "key" for v in node.outputs):
            raise CompileError(f"{node.outputs[0].type.dtype} values")
        if row.library or row.family in ("scan", "random", "selection", "library"):
            raise CompileError(f"{node.op} has no form in Triton here")
        if node.op == "for":
            self.loop(node)
        elif row.family == "elementwise":
            self.elementwise(node)
        elif node.op == "einsum":
            self.values[node.output.name] = self.contractions.einsum(
                node.attr("spec"), [self.values[n] for n in node.inputs], self.shape(node.output.type)
            )
        elif row.family == "reduction":
            self.reduction(node)
        else:
            method = getattr(self, f"op_{node.op}", None)
            if method is None:
                raise CompileError(f"{node.op} has no form in Triton here")
            method(node)

    def elementwise(self, node: Node) -> None:
        """An elementwise op; its operands broadcast."""
        shape, out = self.shape(node.output.type), node.output
        tiles = [self.tile(n) for n in node.inputs]
        names = [self.lined(t, len(shape)) for t in tiles]
        source = tiles[-1].dtype
        text = cast(names[0], source, out.type.dtype) if node.op == "cast" else expression(node.op, source, names)
        self.values[out.name] = Tile(self.text.let(text, "v"), out.type.dtype, shape)

    def op_const(self, node: Node) -> None:
        """A scalar constant."""
        value, dtype = node.attr("value"), node.attr("dtype")
        text = f"float('{value}')" if is_floating(dtype) and (value != value or abs(value) == float("inf")) else repr(value)
        self.values[node.output.name] = Tile(self.text.let(f"tl.full((), {text}, {TYPES[dtype]})", "c", 0), dtype, ())

    def op_size_value(self, node: Node) -> None:
        """A size, or a loop index, as a number."""
        size, dtype = self.size(Size.of(node.attr("value"))), node.attr("dtype")
        if size.constant is not None:
            value = f"tl.full((), {float(size.constant) if is_floating(dtype) else size.constant}, {TYPES[dtype]})"
        else:
            value = f"tl.cast({self.text.size(size)}, {TYPES[dtype]})"
        self.values[node.output.name] = Tile(self.text.let(value, "c", self.text.level_of(size)), dtype, ())

    def op_iota(self, node: Node) -> None:
        """The numbers 0, 1, ..."""
        dtype, shape = node.attr("dtype"), self.shape(node.output.type)
        self.values[node.output.name] = Tile(self.text.let(f"{self.text.index(shape[0])}.to({TYPES[dtype]})", "v", 0), dtype, shape)

    def op_broadcast(self, node: Node) -> None:
        """A value repeated to a shape."""
        value, shape = self.values[node.inputs[0]], self.shape(node.output.type)
        if isinstance(value, View):
            self.values[node.output.name] = value.spread(shape)
        elif not all(map(is_known, shape)):
            if isinstance(value, Tile) and any(s.constant != 1 for s in value.shape):
                raise CompileError("an array repeated to a shape that only a call knows")
            scalar = self.moves.reshape(value, ()) if isinstance(value, Tile) else value.scalar
            assert isinstance(scalar, Tile)
            self.values[node.output.name] = Repeated(scalar, shape)
        else:
            self.values[node.output.name] = self.full(node.inputs[0], shape)

    def op_permute(self, node: Node) -> None:
        """Axes in another order."""
        axes = node.attr("axes")
        self.still(node.inputs[0])
        if node.inputs[0] in self.private and self.uses[node.inputs[0]] == 1:
            self.private[node.output.name] = self.private[node.inputs[0]]
        self.values[node.output.name] = self.moves.permute(self.values[node.inputs[0]], [a + len(axes) for a in axes])

    def op_reshape(self, node: Node) -> None:
        """Another shape."""
        self.still(node.inputs[0])
        self.values[node.output.name] = self.moves.reshape(self.values[node.inputs[0]], self.shape(node.output.type))

    def op_flip(self, node: Node) -> None:
        """Some axes reversed."""
        self.still(node.inputs[0])
        rank = node.output.type.rank
        self.values[node.output.name] = self.moves.flip(self.values[node.inputs[0]], [a + rank for a in node.attr("axes")])

    def items(self, node: Node) -> list[At | Range]:
        """The items of a slice or an update, in variables of the kernel."""
        out: list[At | Range] = []
        for item in node.attr("items"):
            if isinstance(item, At):
                out.append(At(self.size(item.index)))
            elif isinstance(item, Range):
                out.append(Range(self.size(item.start), self.size(item.size), item.step))
            else:
                raise CompileError("an index comes from data")
        return out

    def op_slice(self, node: Node) -> None:
        """Part of an array."""
        found = self.moves.slice(self.values[node.inputs[0]], self.items(node))
        if node.inputs[0] in self.arrays and isinstance(found, View):
            found = self.memory.load(found)  # before it changes
        self.values[node.output.name] = found

    def op_update(self, node: Node) -> None:
        """An array with part of it replaced or added to: of one that is carried in memory, in its place."""
        old, value, items = self.values[node.inputs[0]], self.values[node.inputs[1]], self.items(node)
        add = node.attr("mode") == "add"
        if node.inputs[0] not in self.arrays and not all(map(is_known, old.shape)):
            old = self._own_copy(node.inputs[0], old)
            self.arrays.add(node.inputs[0])
        if node.inputs[0] in self.arrays:
            assert isinstance(old, View)
            place = old
            for n in range(len(items) - 1, -1, -1):
                item = items[n]
                place = place.at(n, item.index) if isinstance(item, At) else place.part(n, item)
            if not add:
                self.text.line("tl.debug_barrier()")
            self.memory.copy(place, value, lambda t: self.spread(t, place.shape) if all(map(is_known, place.shape)) else t, add=add)
            self.text.line("tl.debug_barrier()")
            self.arrays.add(node.output.name)
            self.values[node.output.name] = old
            return
        if isinstance(value, Repeated):
            raise CompileError("an update whose size only a call knows")
        self.values[node.output.name] = self.moves.update(self.tile(node.inputs[0]), value, items, add)

    def _own_copy(self, name: str, old: Held) -> View:
        """An array in memory that may be changed: itself if nobody else reads it, else a copy."""
        if isinstance(old, View) and self.private.get(name) == self.regions[-1] and self.uses[name] == 1:
            return old
        room = self.memory.room(old.dtype, old.shape)
        self.text.line("tl.debug_barrier()")
        self.memory.copy(room, old, lambda t: t)
        self.text.line("tl.debug_barrier()")
        return room

    def still(self, name: str) -> None:
        """Raises CompileError for an array that is changed in its place, of which no view can be kept."""
        if name in self.arrays:
            raise CompileError("a view of an array whose size only a call knows, while it changes")

    def op_concat(self, node: Node) -> None:
        """Arrays joined."""
        parts = [self.tile(n) if isinstance(self.values[n], Repeated) else self.values[n] for n in node.inputs]
        shape, axis = self.shape(node.output.type), node.attr("axis")
        self.values[node.output.name] = self.moves.concat(
            [p for p in parts if not isinstance(p, Repeated)], axis + len(shape), shape, node.output.type.dtype
        )

    def op_diagonal(self, node: Node) -> None:
        """The diagonal of the last two axes."""
        tile = self.tile(node.inputs[0])
        rank, index = len(tile.shape), self.text.index(tile.shape[-1])
        same = f"{along(index, rank - 2, rank)} == {along(index, rank - 1, rank)}"
        kept = self.text.let(f"tl.where({same}, {tile.name}, {self.zero(tile.dtype)})")
        self.values[node.output.name] = Tile(self.text.let(f"tl.reduce({kept}, {rank - 1}, tl.standard._sum_combine)"), tile.dtype, tile.shape[:-1])

    def zero(self, dtype: str) -> str:
        """Zero as an expression."""
        return f"tl.full((), {'False' if dtype == 'bool' else 0}, {TYPES[dtype]})"

    # -- reductions --------------------------------------------------------------------------------------------------

    def reduction(self, node: Node) -> None:
        """A reduction; padding gets what changes nothing."""
        tile, out = self.tile(node.inputs[0]), node.output
        rank = len(tile.shape)
        if node.op in ("argmax", "argmin"):
            self.values[out.name] = self.position(tile, node.attr("axis") + rank, node.op == "argmax", self.shape(out.type))
            return
        axes = sorted([a % rank for a in node.attr("axes")], reverse=True)
        if node.op == "sum":
            tile = self.contractions.zero_padded(tile, axes)
        for n in axes:
            tile = self.reduced(node.op, tile, n)
        self.values[out.name] = replace(tile, clean=False)

    def reduced(self, op: str, tile: Tile, axis: int) -> Tile:
        """A tile without an axis."""
        text, rest = self.text, tile.shape[:axis] + tile.shape[axis + 1 :]
        if op == "sum":
            return Tile(text.let(f"tl.reduce({tile.name}, {axis}, tl.standard._sum_combine)"), tile.dtype, rest)
        if op in ("any", "all"):
            number = self.filled(Tile(text.let(f"{tile.name}.to(tl.int32)"), "i32", tile.shape), axis, "0" if op == "any" else "1")
            combine = "_elementwise_max" if op == "any" else "_elementwise_min"
            found = text.let(f"tl.reduce({number.name}, {axis}, tl.standard.{combine})")
            return Tile(text.let(f"{found} != 0"), "bool", rest)
        if op in ("max", "min"):
            worst = "float('-inf')" if op == "max" else "float('inf')"
            if not is_floating(tile.dtype):
                bits = 8 * {"i8": 1, "i16": 2, "i32": 4, "i64": 8}[tile.dtype]
                worst = str(-(2 ** (bits - 1)) if op == "max" else 2 ** (bits - 1) - 1)
            padded = self.filled(tile, axis, worst)
            found = text.let(f"tl.reduce({padded.name}, {axis}, tl.standard._elementwise_{op})")
            if is_floating(tile.dtype):  # NaN if there is one, which Triton's reduction passes over
                bad = text.let(f"tl.reduce(({padded.name} != {padded.name}).to(tl.int32), {axis}, tl.standard._elementwise_max)")
                found = text.let(f"tl.where({bad} != 0, tl.full((), float('nan'), {TYPES[tile.dtype]}), {found})")
            return Tile(found, tile.dtype, rest)
        raise CompileError(f"{op} has no form in Triton here")

    def filled(self, tile: Tile, axis: int, value: str) -> Tile:
        """A tile with a number in the padding of an axis."""
        mask = self.text.masks(tile.shape, [axis])
        if mask is None:
            return tile
        return replace(tile, name=self.text.let(f"tl.where({mask}, {tile.name}, tl.full((), {value}, {TYPES[tile.dtype]}))"), clean=False)

    def position(self, tile: Tile, axis: int, largest: bool, shape: tuple[Size, ...]) -> Tile:
        """The first position of an extremum; NaN counts as one."""
        if tile.dtype == "bool":
            tile = Tile(self.text.let(f"{tile.name}.to(tl.int32)"), "i32", tile.shape)
        rank = len(tile.shape)
        best = self.reduced("max" if largest else "min", tile, axis)
        items = ", ".join("None" if n == axis else ":" for n in range(rank))
        wide = best.name if rank == 1 else f"{best.name}[{items}]"
        hit = f"({tile.name} == {wide}) | ({tile.name} != {tile.name})"
        mask = self.text.masks(tile.shape, [axis])
        hit = hit if mask is None else f"({hit}) & {mask}"
        index = along(self.text.index(tile.shape[axis]), axis, rank)
        place = self.text.let(f"tl.where({hit}, {index}, {2**30})")
        found = self.text.let(f"tl.reduce({place}, {axis}, tl.standard._elementwise_min)")
        return Tile(self.text.let(f"{found}.to(tl.int64)"), "i64", shape)

    # -- loops -------------------------------------------------------------------------------------------------------

    def loop(self, node: Node) -> None:
        """A loop: what it carries is in registers, or in memory where a call knows the size; what it stacks is in memory."""
        text, region = self.text, node.regions[0]
        if node.attr("until"):
            raise CompileError("a loop with `until`")
        carried, stacked = len(region.args), node.attr("stacked", 0)
        lower, step = self.size(Size.of(node.attr("lower"))), node.attr("step")
        trip = range_length(lower, self.size(Size.of(node.attr("upper"))), step)
        state: list[str | None] = []
        for name, arg in zip(node.inputs, region.args, strict=True):
            state.append(self._start(name, arg.name, self.shape(arg.type), arg.type.dtype, region))
        rooms = [self.memory.room(v.type.dtype, self.shape(v.type)) for v in node.outputs[carried:]]
        if rooms:
            text.line("tl.debug_barrier()")  # others may still read the rows of the tile before
        counter, index = text.fresh("n"), text.fresh(node.attr("index"))
        count = text.let(text.size(trip), "count")
        text.open()
        text.levels[index] = text.levels[counter] = text.level
        place = text.size(lower)
        text.line(f"{index} = {place} {'+' if step > 0 else '-'} {counter}{'' if abs(step) == 1 else f' * {abs(step)}'}")
        outer, self.indices = self.indices, {**self.indices, node.attr("index"): Size.of(index)}
        self.count += 1
        self.regions.append(self.count)
        self.nodes(region.nodes)
        self.regions.pop()
        for room, name in zip(rooms, region.results[carried : carried + stacked], strict=True):
            row = room.at(0, Size.of(counter))
            self.memory.store(row, self.full(name, row.shape))
        self._next(region, state)
        self.indices = outer
        text.close(f"for {counter} in range(0, {count}):")
        if rooms or None in state:
            text.line("tl.debug_barrier()")  # what is in memory is read by other threads than wrote it
        for out, arg in zip(node.outputs, region.args, strict=False):
            self.values[out.name] = self.values[arg.name]
        for out, room in zip(node.outputs[carried:], rooms, strict=True):
            if room.shape[0] != trip:
                self._rest(room, count)
            self.values[out.name] = room
            self.private[out.name] = self.regions[-1]

    def _rest(self, room: View, count: str) -> None:
        """Zeros behind the rows of a stack."""
        text = self.text
        row = text.fresh("n")
        text.open()
        text.levels[row] = text.level
        at = room.at(0, Size.of(row))
        zero = Tile(text.let(f"tl.full({text.extents(at.shape)}, 0, {TYPES[room.dtype]})"), room.dtype, at.shape)
        self.memory.store(at, zero)
        text.close(f"for {row} in range({count}, {text.size(room.shape[0])}):")
        text.line("tl.debug_barrier()")

    def _start(self, name: str, arg: str, shape: tuple[Size, ...], dtype: str, region: Region) -> str | None:
        """Bind what a loop carries to its first value: a variable, or None for an array in memory."""
        if all(map(is_known, shape)):
            variable = self.text.let(self.full(name, shape).name, arg)
            self.values[arg] = Tile(variable, dtype, shape)
            return variable
        _check_in_place(region, arg)
        room, source = self.memory.room(dtype, shape), self.values[name]
        self.text.line("tl.debug_barrier()")
        self.memory.copy(room, source, lambda t: t)
        self.text.line("tl.debug_barrier()")
        self.values[arg] = room
        self.arrays.add(arg)
        return None

    def _next(self, region: Region, state: Sequence[str | None]) -> None:
        """The values that the next iteration starts with; all are taken before one is set."""
        text, moves = self.text, []
        for arg, result, variable in zip(region.args, region.results, state, strict=False):
            if variable is None:
                continue
            name = self.full(result, self.shape(arg.type)).name
            if name != variable:
                moves.append((variable, name))
        targets = {v for v, _ in moves}
        taken = [(v, text.let(n, "next") if n in targets else n) for v, n in moves]
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


def integer(name: str) -> str:
    """The kernel's name of a size."""
    return f"n_{safe(name)}"


def operand_view(made: Emitter, operand: Operand, pointer: str) -> View:
    """An argument of a kernel, with its batch axis if every problem has its own."""
    core = made.shape(operand.type)
    axes = tuple([Axis(s, d) for s, d in zip(core, strides(core), strict=True)])
    if operand.own:
        axes = (Axis(BATCH, Size.of(f"s_{pointer}")), *axes)
    return View(operand.type.dtype, pointer, Size.of(0), axes, True)


def convert(emitter: Emitter, dtype: str, shape: tuple[Size, ...], value: Held) -> Held:
    """A result in its own dtype and shape."""
    if isinstance(value, Tile):
        if value.dtype != dtype:
            value = Tile(emitter.text.let(cast(value.name, value.dtype, dtype)), dtype, value.shape)
        return emitter.spread(value, shape)
    if value.dtype != dtype:
        raise CompileError(f"a result {dtype} of {value.dtype} values")
    return value


def emit(
    graph: Graph, inputs: Sequence[Operand], results: Sequence[Operand], *, name: str, rows: int, precision: str
) -> tuple[str, Size, tuple[str, ...]]:
    """The text of the kernel of a batched graph; the bytes of scratch memory of a program; the names of its arguments.

    Results that are not a problem's own are sums over the problems of a tile, and added to what the program has in ``team_stride`` elements
    of its own. Raises CompileError with a reason for what has no form in Triton.
    """
    made = Emitter(rows, precision)
    text = made.text
    integers = sorted(size_names(graph) - {"batch"})
    made.indices.update((n, Size.of(integer(n))) for n in integers)
    for value in graph.inputs:
        if is_complex(value.type.dtype) or value.type.dtype == "key":
            raise CompileError(f"{value.type.dtype} values")
    pointers = [f"a{n}_{''.join(c if c.isalnum() else '_' for c in o.name)}" for n, o in enumerate((*inputs, *results))]
    for value, operand, pointer in zip(graph.inputs, inputs, pointers, strict=False):
        made.values[value.name] = operand_view(made, operand, pointer)
    made.uses.update(n for node in walk(graph.nodes) for n in node.inputs)
    made.uses.update(r for node in walk(graph.nodes) for region in node.regions for r in region.results)
    made.uses.update(graph.results)
    made.nodes(graph.nodes)
    for n, (result, operand) in enumerate(zip(graph.results, results, strict=True), len(inputs)):
        place = replace(operand_view(made, operand, pointers[n]), fixed=False)
        if not operand.own:
            place = replace(place, offset=Size.of("program") * Size.of(f"t_{pointers[n]}"))
        held = convert(made, operand.type.dtype, place.shape, made.values[result])
        made.memory.copy(place, held, lambda t: t, add=not operand.own)
    scales = [f"s_{p}" for p, o in zip(pointers, (*inputs, *results), strict=True) if o.own]
    steps = [f"t_{p}" for p, o in zip(pointers[len(inputs) :], results, strict=True) if not o.own]
    numbers = ["batch", *scales, *steps, *map(integer, integers)]
    arguments = (*pointers, "scratch", *numbers)
    return _assembled(text, name, arguments, numbers, made.memory.scratch), made.memory.scratch, arguments


def _assembled(text: KernelText, name: str, arguments: Sequence[str], numbers: Sequence[str], scratch: Size) -> str:
    rows = text.rows
    wide = extent(BATCH, rows)
    kernel, tiles = text.scopes
    head = [
        *[f"{n} = tl.cast({n}, tl.int64)" for n in numbers],
        "program = tl.cast(tl.program_id(0), tl.int64)",
        f"own = scratch + program * ({text.size(scratch)})",
    ]
    if f"i{wide} = tl.arange(0, {wide})" not in kernel:
        head.append(f"i{wide} = tl.arange(0, {wide})")
    body = [
        f"for tile in range(tl.program_id(0), (batch + {rows - 1}) // {rows}, tl.num_programs(0)):",
        f"    rows = tl.cast(tile, tl.int64) * {rows} + i{wide}",
        "    live = rows < batch",
        *[f"    {line}" for line in tiles],
    ]
    quoted = ", ".join(f'"{n}"' for n in numbers)
    lines = [HEADER, "", f"@triton.jit(do_not_specialize=[{quoted}])", f"def {name}({', '.join(arguments)}):"]
    return "\n".join([*lines, *[f"    {line}" for line in (*head, *kernel, *body)]]) + "\n"
