"""Nodes of a batched graph as lines of a Triton kernel; loops are in :mod:`.loops`, reductions in :mod:`.reductions`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from ...compiler.diagnostics import CompileError
from ...compiler.graph.graph import Node
from ...compiler.graph.ops.table import lookup
from ...compiler.graph.types import At, Range, Size, Type, is_complex, is_floating
from .contract import Contractions
from .elementwise import cast, expression
from .loops import Loops
from .memory import Memory
from .moves import Moves
from .reductions import Reductions
from .text import KernelText, along
from .values import TYPES, Held, Repeated, Tile, View, is_known, widens


class Emitter:
    """Prints the nodes of one graph."""

    def __init__(self, rows: int, precision: str, *, halves: bool) -> None:
        self.text = KernelText(rows)
        self.memory = Memory(self.text)
        self.moves = Moves(self.text, self.memory)
        self.contractions = Contractions(self.text, self.memory, precision, halves=halves)
        self.reductions = Reductions(self.text, self.contractions)
        self.values: dict[str, Held] = {}
        self.indices: dict[str, Size] = {}  # loop indices of the graph, as variables of the kernel
        self.arrays: set[str] = set()  # values in memory that are changed in their place
        self.private: dict[str, int] = {}  # values in memory that may be, as nobody else has them: the region that made them
        self.uses: Counter[str] = Counter()
        self.regions, self.count = [0], 0  # open ones, by number
        self.going = ""  # which problems are still at work, inside of a loop that they leave one by one

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
            Loops(self).loop(node)
        elif row.family == "elementwise":
            self.elementwise(node)
        elif node.op == "einsum":
            self.values[node.output.name] = self.contractions.einsum(
                node.attr("spec"), [self.values[n] for n in node.inputs], self.shape(node.output.type)
            )
        elif row.family == "reduction":
            self.values[node.output.name] = self.reductions.reduction(node, self.tile(node.inputs[0]), self.shape(node.output.type))
        else:
            method = getattr(self, f"op_{node.op}", None)
            if method is None:
                raise CompileError(f"{node.op} has no form in Triton here")
            method(node)

    def elementwise(self, node: Node) -> None:
        """An elementwise op; its operands broadcast."""
        shape, out = self.shape(node.output.type), node.output
        held = self.values[node.inputs[0]]
        if node.op == "cast" and widens(held.dtype, out.type.dtype) and isinstance(held, View) and node.inputs[0] not in self.arrays:
            self.values[out.name] = replace(held, dtype=out.type.dtype, stored=held.dtype)
            return
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
