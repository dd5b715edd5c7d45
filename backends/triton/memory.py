"""Loads, stores and scratch memory of a Triton kernel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ...compiler.diagnostics import CompileError
from ...compiler.graph.types import Size
from .text import TILES, KernelText, along
from .values import BATCH, LARGEST, TYPES, Axis, Held, Repeated, Tile, View, elements, is_known, size_of, strides

#: Bytes of a tile that is loaded once for a whole loop; larger ones are loaded where they are used.
HOISTED = 32 << 10
#: Scratch memory is handed out in pieces of so many bytes.
ALIGN = 128


class Memory:
    """What a kernel has in memory; ``scratch`` is how many bytes of it each program has for itself."""

    def __init__(self, text: KernelText) -> None:
        self.text = text
        self.scratch = Size.of(0)

    # -- scratch memory ----------------------------------------------------------------------------------------------

    def room(self, dtype: str, shape: Sequence[Size]) -> View:
        """Scratch memory for an array of a tile of problems: contiguous, its batch axis (if any) as long as a tile."""
        lengths = [Size.of(self.text.rows) if s == BATCH else s for s in shape]
        count = Size.of(1)
        for s in lengths:
            count = count * s
        text, pointer = self.text, self.text.fresh("room")
        text.line(f"{pointer} = (own + ({text.size(self.scratch)})).to(tl.pointer_type({TYPES[dtype]}))", 0)
        size = count * size_of(dtype)
        self.scratch = self.scratch + (size + (ALIGN - 1)) // ALIGN * ALIGN
        axes = tuple([Axis(s, d, s == BATCH) for s, d in zip(shape, strides(lengths), strict=True)])
        return View(dtype, pointer, Size.of(0), axes, False)

    def spill(self, tile: Tile) -> View:
        """A tile in scratch memory, where all threads can read any of it until the next time this is reached."""
        view = self.room(tile.dtype, tile.shape)
        self.text.line("tl.debug_barrier()")  # others may still read what was here
        self.store(view, tile)
        self.text.line("tl.debug_barrier()")
        return view

    # -- loads and stores --------------------------------------------------------------------------------------------

    def address(self, view: View, indices: dict[int, str] | None = None) -> str:
        """The addresses of a view's elements; ``indices`` has index vectors that take the place of whole axes."""
        rank, parts = len(view.axes), []
        if view.offset != Size.of(0):
            parts.append(self.text.size(view.offset))
        for n, axis in enumerate(view.axes):
            if axis.stride == Size.of(0):
                continue
            vector = (indices or {}).get(n) or ("rows" if axis.size == BATCH and not axis.lanes else self.text.index(axis.size))
            index, stride = along(vector, n, rank), axis.stride
            parts.append(index if stride == Size.of(1) else f"{index} * ({self.text.size(stride)})")
        return " + ".join([view.pointer, *parts])

    def load(self, view: View) -> Tile:
        """The tile of a view: loaded once, as far outside as nothing changes it and there is room to keep it."""
        text = self.text
        for axis in view.axes:
            if not is_known(axis.size):
                raise CompileError(f"an array is used whole, whose size {axis.size} only a call knows")
        for known in text.loaded:
            if view in known:
                return known[view]
        count = elements(view.shape, text.rows)
        if count > LARGEST:
            raise CompileError(f"a tile of {count} elements is more than the {LARGEST} that fit into registers")
        level = text.level
        if view.fixed and count * size_of(view.dtype) <= HOISTED:
            level = max(text.level_of(view.offset, *[a.stride for a in view.axes]), TILES * (BATCH in view.shape))
        tile = self._load(view, level)
        if view.fixed:
            text.loaded[level][view] = tile
        return tile

    def _load(self, view: View, level: int) -> Tile:
        text = self.text
        real = tuple([a if a.stride != Size.of(0) else Axis(Size.of(1), a.stride) for a in view.axes])
        narrow = replace(view, axes=real)
        if narrow.axes != view.axes:
            inner = self._load(narrow, level)
            name = text.let(f"tl.broadcast_to({inner.name}, {text.extents(view.shape)})", "v", level)
            return Tile(name, view.dtype, view.shape)
        own = [n for n, a in enumerate(view.axes) if not a.lanes]  # memory of a tile itself has all of its rows
        mask = text.masks(view.shape, own)
        address = self.address(view)
        if all(a.stride == Size.of(0) for a in view.axes) and view.axes:  # one element, as a tile
            address = f"{address} + tl.full({text.extents(view.shape)}, 0, tl.int32)"
        more = "" if mask is None else f", mask={mask}, other=0"
        value = f"tl.load({address}{more})"
        if view.dtype == "bool":
            value = f"{value} != 0"
        if view.stored:
            value = f"{value}.to({TYPES[view.dtype]})"
        return Tile(text.let(value, "v", level), view.dtype, view.shape, clean=True)

    def store(self, view: View, tile: Tile, *, add: bool = False) -> None:
        """Write a tile to where a view of the same shape is; with ``add`` to what is there."""
        text = self.text
        own = [n for n, a in enumerate(view.axes) if not a.lanes]
        mask = text.masks(view.shape, own)
        more = "" if mask is None else f", mask={mask}"
        address, value = self.address(view), tile.name
        if view.axes and all(a.stride == Size.of(0) for a in view.axes):
            address = f"{address} + tl.full({text.extents(view.shape)}, 0, tl.int32)"
        place = text.let(address, "place")
        if add:
            text.line("tl.debug_barrier()")  # what is there may come from other threads
            value = f"tl.load({place}{more}) + {value}"
        text.line(f"tl.store({place}, {value}{more})")

    # -- arrays whose sizes only a call knows ------------------------------------------------------------------------

    def each_row(self, shape: Sequence[Size], body: Callable[[dict[int, Size]], None]) -> None:
        """Loops over the axes that no tile can have; ``body`` gets the position along each."""
        text = self.text
        open_axes = [n for n, s in enumerate(shape) if not is_known(s)]
        places: dict[int, Size] = {}
        heads = []
        for n in open_axes:
            counter = text.fresh("n")
            heads.append(f"for {counter} in range(0, {text.size(shape[n])}):")
            text.open()
            text.levels[counter] = text.level
            places[n] = Size.of(counter)
        body(places)
        for head in reversed(heads):
            text.close(head)

    def copy(self, target: View, source: Held, convert: Callable[[Tile], Tile], *, add: bool = False) -> None:
        """Copy an array, row by row where it is large."""
        def row(places: dict[int, Size]) -> None:
            to = rows_of(target, places)
            if isinstance(source, View):
                tile = self.load(rows_of(source, places))
            elif isinstance(source, Repeated):
                name = self.text.let(f"tl.broadcast_to({source.scalar.name}, {self.text.extents(to.shape)})") if to.axes else source.scalar.name
                tile = Tile(name, source.dtype, to.shape)
            else:
                tile = source
            self.store(to, convert(tile), add=add)

        self.each_row(target.shape, row)


def rows_of(view: View, places: dict[int, Size]) -> View:
    """A view at positions of some axes."""
    for n in sorted(places, reverse=True):
        view = view.at(n, places[n])
    return view
