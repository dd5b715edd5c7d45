"""Ops that move elements, in a Triton kernel. Of an array in memory they are other views of it. Triton cannot take a part of a tile or
turn it around: what is in registers and moves along an axis goes through scratch memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ...compiler.diagnostics import CompileError
from ...compiler.graph.types import At, Pick, Range, Size
from .memory import Memory
from .text import KernelText, along
from .values import BATCH, TYPES, Held, Repeated, Tile, View, extent, is_known

Resolve = Callable[[Size], Size]


class Moves:
    """Views, parts and updates in one kernel."""

    def __init__(self, text: KernelText, memory: Memory) -> None:
        self.text, self.memory = text, memory

    def view(self, value: Held) -> View:
        """The value in memory."""
        if isinstance(value, Repeated):
            raise CompileError("part of an array of one number, whose size only a call knows")
        return value if isinstance(value, View) else self.memory.spill(value)

    def permute(self, value: Held, order: Sequence[int]) -> Held:
        """Axes in another order."""
        if isinstance(value, View):
            return value.ordered(order)
        shape = tuple([value.shape[n] for n in order])
        if isinstance(value, Repeated):
            return replace(value, shape=shape)
        return replace(value, name=self.text.let(f"tl.permute({value.name}, {tuple(order)})"), shape=shape)

    def reshape(self, value: Held, shape: tuple[Size, ...]) -> Held:
        """In another shape, elements in row-major order."""
        if isinstance(value, Repeated):
            return replace(value, shape=shape)
        if isinstance(value, View) and (found := value.reshaped(shape)) is not None:
            return found
        same = [s for s in value.shape if s.constant != 1] == [s for s in shape if s.constant != 1]
        if isinstance(value, View) and all(map(is_known, value.shape)):
            value = self.memory.load(value)
        if isinstance(value, Tile):
            rows = self.text.rows
            if same or all(s == BATCH or s.constant == extent(s, rows) for s in (*value.shape, *shape)):
                if not shape:  # one element, as a scalar
                    name = value.name
                    for _ in value.shape:
                        name = self.text.let(f"tl.reduce({name}, 0, tl.standard._sum_combine)")
                    return Tile(name, value.dtype, ())
                extents = self.text.extents(shape)
                kind = "reshape" if value.shape else "broadcast_to"
                return Tile(self.text.let(f"tl.{kind}({value.name}, {extents})"), value.dtype, shape)
            found = self.memory.spill(value).reshaped(shape)
            if found is not None:
                return self.memory.load(found)
        raise CompileError(f"a reshape of {', '.join(map(str, value.shape))} to {', '.join(map(str, shape))}")

    def flip(self, value: Held, axes: Sequence[int]) -> Held:
        """Some axes reversed."""
        if isinstance(value, Repeated):
            return value
        view = self.view(value)
        for n in axes:
            size = view.shape[n]
            view = view.part(n, Range(size - 1, size, -1))
        return view if isinstance(value, View) else self.memory.load(view)

    def slice(self, value: Held, items: Sequence[At | Range | Pick]) -> Held:
        """Part of an array."""
        if any(isinstance(i, Pick) for i in items):
            raise CompileError("an index comes from data")
        if isinstance(value, Repeated):
            shape = tuple([i.size for i in items if isinstance(i, Range)])
            if not all(map(is_known, shape)):
                return replace(value, shape=shape)
            if not shape:
                return value.scalar
            return Tile(self.text.let(f"tl.broadcast_to({value.scalar.name}, {self.text.extents(shape)})"), value.dtype, shape)
        whole = [isinstance(i, Range) and i == Range(Size.of(0), s) for i, s in zip(items, value.shape, strict=True)]
        if all(whole):
            return value
        if isinstance(value, Tile) and all(w or isinstance(i, At) for i, w in zip(items, whole, strict=True)):
            return self._picked(value, items)
        view = self.view(value)
        for n in range(len(items) - 1, -1, -1):
            item = items[n]
            if isinstance(item, At):
                view = view.at(n, item.index)
            elif not whole[n] and isinstance(item, Range):
                view = view.part(n, item)
        return view if isinstance(value, View) else self.memory.load(view)

    def _picked(self, tile: Tile, items: Sequence[At | Range | Pick]) -> Tile:
        """One position of some axes of a tile: all others count as zero in a sum, which has one term then."""
        name, shape = tile.name, tile.shape
        for n in range(len(items) - 1, -1, -1):
            item = items[n]
            if isinstance(item, At):
                chosen = along(f"({self.text.index(shape[n])} == {self.text.size(item.index)})", n, len(shape))
                zero = "False" if tile.dtype == "bool" else "0"
                kept = self.text.let(f"tl.where({chosen}, {name}, tl.full((), {zero}, {TYPES[tile.dtype]}))")
                shape = shape[:n] + shape[n + 1 :]
                kept = f"{kept}.to(tl.int32)" if tile.dtype == "bool" else kept
                name = self.text.let(f"tl.reduce({kept}, {n}, tl.standard._sum_combine)")
                name = self.text.let(f"{name} != 0") if tile.dtype == "bool" else name
        return Tile(name, tile.dtype, shape)

    def update(self, old: Tile, value: Tile | View, items: Sequence[At | Range | Pick], add: bool) -> Tile:
        """A tile with part of it replaced or added to; the value has the shape of the part, or fewer axes or axes of 1."""
        text, rank = self.text, len(old.shape)
        if any(isinstance(i, Pick) for i in items):
            raise CompileError("an index comes from data")
        inside: list[str] = []
        moved, shifts = False, []
        for n, (item, size) in enumerate(zip(items, old.shape, strict=True)):
            if isinstance(item, At):
                inside.append(along(f"{text.index(size)} == {text.size(item.index)}", n, rank))
            elif isinstance(item, Range) and item != Range(Size.of(0), size):
                if item.step != 1:
                    raise CompileError("an update of every other element")
                low, index = text.size(item.start), text.index(size)
                inside.append(along(f"({index} >= {low}) & ({index} < {text.size(item.start + item.size)})", n, rank))
                moved = True
                shifts.append((n, item))
        part = tuple([i.size for i in items if isinstance(i, Range)])
        name = self._placed(value, part, items, old, shifts) if moved else self._aligned(value, part, items)
        if not inside:
            new = f"{old.name} + {name}" if add else f"tl.broadcast_to({name}, {text.extents(old.shape)})"
            return Tile(text.let(new), old.dtype, old.shape)
        mask = " & ".join(f"({i})" for i in inside)
        new = f"{old.name} + {name}" if add else name
        return Tile(text.let(f"tl.where({mask}, {new}, {old.name})"), old.dtype, old.shape)

    def _aligned(self, value: Tile | View, part: tuple[Size, ...], items: Sequence[At | Range | Pick]) -> str:
        """The value as a tile that broadcasts to the array, axes of one position put back in."""
        tile = self.memory.load(value) if isinstance(value, View) else value
        if not tile.shape:
            return tile.name
        lead = len(part) - len(tile.shape)
        entries, seen = [], 0
        for item in items:
            if isinstance(item, At):
                entries.append("None")
            else:
                entries.append(":" if seen >= lead else "None")
                seen += 1
        return tile.name if all(e == ":" for e in entries) else f"{tile.name}[{', '.join(entries)}]"

    def _placed(
        self, value: Tile | View, part: tuple[Size, ...], items: Sequence[At | Range | Pick], old: Tile, shifts: Sequence[tuple[int, Range]]
    ) -> str:
        """The value with its elements where they belong in the array; elsewhere there is anything."""
        narrow = dict(zip(range(len(part) - len(value.shape), len(part)), value.shape, strict=True))
        positions = [n for n, i in enumerate(items) if isinstance(i, Range)]
        if all(narrow.get(positions.index(n), Size.of(1)).constant == 1 for n, _ in shifts):
            return self._aligned(value, part, items)
        view = self.view(value).spread(part)
        for n, item in enumerate(items):
            if isinstance(item, At):
                axis = replace(view.axes[0], size=Size.of(1), stride=Size.of(0), lanes=False) if view.axes else None
                assert axis is not None
                view = replace(view, axes=(*view.axes[:n], axis, *view.axes[n:]))
        mask, rank = [], len(old.shape)
        for n, (axis, size) in enumerate(zip(view.axes, old.shape, strict=True)):
            found = self.text.mask(size) if not axis.lanes and axis.stride != Size.of(0) else None
            if found is not None:
                mask.append(along(found, n, rank))
        axes = list(view.axes)
        for n, item in shifts:
            index = self.text.index(old.shape[n])
            mask.append(along(f"({index} >= {self.text.size(item.start)}) & ({index} < {self.text.size(item.start + item.size)})", n, rank))
            view = replace(view, offset=view.offset - item.start * axes[n].stride)
            axes[n] = replace(axes[n], size=old.shape[n])
        view = replace(view, axes=tuple(axes))
        return self.text.let(f"tl.load({self.memory.address(view)}, mask={' & '.join(f'({m})' for m in mask)}, other=0)")

    def concat(self, values: Sequence[Tile | View], axis: int, shape: tuple[Size, ...], dtype: str) -> Tile:
        """Arrays joined along an axis."""
        zero = "False" if dtype == "bool" else "0"
        out = Tile(self.text.let(f"tl.full({self.text.extents(shape)}, {zero}, {TYPES[dtype]})"), dtype, shape)
        start = Size.of(0)
        for value in values:
            items = [Range(Size.of(0), s) for s in shape]
            items[axis] = Range(start, value.shape[axis])
            out = self.update(out, value, items, add=False)
            start = start + value.shape[axis]
        return out
