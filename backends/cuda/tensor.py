"""Tiles of 16 x 8 elements that the lanes of a warp have in registers, and products of such on tensor cores.

Lane ``l`` has elements of row ``g`` and ``g + 8``, columns ``2 t`` and ``2 t + 1``, with ``g = l / 4`` and ``t = l % 4`` (PTX manual,
mma.m16n8k16). A statement in loops over a tile is printed once for each of the four; one that adds up products is one instruction, and operands
that tiles of one block of code share are loaded once.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

from ...compiler.diagnostics import CompileError
from ...compiler.loops.tree import Array, Call, Expr, Function, Int, Load, Loop, Store
from ...compiler.loops.tree_walk import loads, reads, walk, writes
from ..affine import coefficient, constant, linear, offset, simple, substitute
from ..rewrite import map_ints

if TYPE_CHECKING:
    from .emit import CudaWriter

#: Rows, columns and lanes of a tile.
ROWS, COLUMNS, LANES = 16, 8, 32
#: Operands of an instruction: what it is called, terms, and of which elements.
_CALLS = {"bf16": ("us_mma_m16n8k16_bf16", 16, "16"), "f16": ("us_mma_m16n8k16_f16", 16, "16"), "f32": ("us_mma_m16n8k8_tf32", 8, "32")}


class Tiles:
    """Prints loops over tiles for a writer."""

    def __init__(self, writer: CudaWriter) -> None:
        self.writer = writer
        self.whole: dict[str, tuple[int, ...]] = {}  # arrays held in tiles, with the extents of what a warp has
        self.loaded: dict[tuple[object, ...], str] = {}  # operands that are in registers, by where they come from

    def forget(self) -> None:
        """What was loaded may have changed."""
        self.loaded.clear()

    def own(self, array: Array, function: Function) -> Array:
        """What each lane has of an array that is held in registers."""
        tiles = [t for t in walk(function.body) if isinstance(t, Loop) and t.kind == "tensor"]
        if not any(array.name in reads(t) | writes(t) for t in tiles):
            return array
        extents = [constant(e) or 0 for e in array.shape]
        self.whole[array.name] = tuple(extents)
        total = 1
        for extent in extents:
            total *= extent
        return replace(array, shape=(Int("const", value=total // LANES),))

    def print(self, loop: Loop) -> None:
        """Print loops over rows and columns, and over terms if there are."""
        if self.writer.split and not self.writer.common:  # each thread has its own
            self.writer.serial(loop)
            return
        if not self.writer.common:  # outside of loops that are dealt out: every warp computes the same
            with self.writer.as_group(LANES):
                self.print(loop)
            return
        if len(loop.body.children) != 1 or not isinstance(columns := loop.body.children[0], Loop) or columns.kind != "tensor":
            raise self.fault(loop)
        body = columns.body.children
        if len(body) == 1 and isinstance(body[0], Loop) and body[0].kind == "tensor":
            self.sum(loop, columns, body[0])
        else:
            self.each(loop, columns)

    def fault(self, loop: Loop) -> CompileError:
        """What cannot be printed."""
        return CompileError(f"target cuda cannot run the tile {loop.name} on a warp: what is in its loops is not as `tensor` has left it")

    # -- single elements ---------------------------------------------------------------------------------------------------

    def each(self, rows: Loop, columns: Loop) -> None:
        """Print what is done with each element of a tile."""
        w, before = self.writer, self.writer.guarded
        visible = not before and any(w.seen(array) for array in writes(columns.body) - self.whole.keys())
        if visible:
            w.meet()
        w.guarded = True  # each lane has its own elements
        for down, right in product((0, 1), (0, 1)):
            block = map_ints(columns.body, lambda e: e, lambda load, n=2 * down + right: self.register(load, rows, columns, n))  # type: ignore[misc]
            w.text.scope()
            guards = []
            for one, size, place in ((rows, ROWS, f"(int)threadIdx.x % 32 / 4 + {8 * down}"), (columns, COLUMNS, f"(int)threadIdx.x % 4 * 2 + {right}")):
                v, low = w.names.get("variable", one.name), w.printer.int(simple(one.lower))
                w.text.let(w.index, v, place if low == "0" else f"{low} + {place}")
                guards += [] if self.full(one, size) else [f"{v} < {w.printer.int(simple(one.upper))}"]
            if guards:
                w.text.if_(" && ".join(guards))
            w.block(block)
            if guards:
                w.text.close()
            w.text.close()
        w.guarded = before
        if visible:
            w.meet()

    def register(self, load: Load, rows: Loop, columns: Loop, element: int) -> Load:
        """The register that holds an element of a tile."""
        if load.array not in self.whole:
            return load
        return replace(load, index=(Int("const", value=4 * self.tile(load, rows, columns) + element),))

    def tile(self, load: Load, rows: Loop, columns: Loop) -> int:
        """The number of a tile among those that a warp has."""
        first = {rows.name: rows.lower, columns.name: columns.lower}
        number = 0
        for index, extent in zip(load.index, self.whole[load.array], strict=True):
            down, right = (coefficient(index, one.name) for one in (rows, columns))
            at, size = constant(substitute(index, first)), ROWS if down == 1 else COLUMNS if right == 1 else 1
            if at is None or at % size or extent % size or (down, right) not in ((1, 0), (0, 1), (0, 0)):
                raise self.fault(rows)
            number = number * (extent // size) + at // size
        return number

    def full(self, loop: Loop, size: int) -> bool:
        """Whether a loop goes over a whole block for certain."""
        return constant(Int("-", (loop.upper, loop.lower))) == size

    # -- products ----------------------------------------------------------------------------------------------------------

    def sum(self, rows: Loop, columns: Loop, terms: Loop) -> None:
        """Print a sum of products."""
        w, stores = self.writer, terms.body.children
        if len(stores) != 1 or not isinstance(s := stores[0], Store) or s.array not in self.whole:
            raise self.fault(rows)
        found = list(loads(s.value))
        left = next((x for x in found if coefficient(self.offset(x), rows.name)), None)
        right = next((x for x in found if coefficient(self.offset(x), columns.name)), None)
        if left is None or right is None or not _plain(s.value):
            raise self.fault(rows)
        call, count, _ = _CALLS[left.dtype]
        first, second = self.operand(left, "left", rows, ROWS, terms, count), self.operand(right, "right", columns, COLUMNS, terms, count)
        name = w.names.get("array", s.array)
        w.text.call(f"{call}(*(float (*)[4])({name} + {4 * self.tile(Load(s.array, s.index, 'f32'), rows, columns)}), {first}, {second})")

    def offset(self, load: Load) -> Int:
        """Where an element is in its array."""
        return offset(load.index, self.writer.printer.arrays[load.array].shape)

    def operand(self, load: Load, side: str, across: Loop, size: int, terms: Loop, count: int) -> str:
        """The registers that hold an operand of a tile."""
        w, place = self.writer, self.offset(load)
        strides = coefficient(place, across.name), coefficient(place, terms.name)
        if None in strides:
            raise self.fault(across)
        base = simple(substitute(place, {across.name: across.lower, terms.name: terms.lower}))
        key = (side, load.array, base, across.upper, terms.upper)
        if key not in self.loaded:
            name = self.loaded[key] = w.names.fresh(side)
            own = w.printer.arrays[load.array].scope not in ("input", "output")
            pairs = own and load.dtype != "f32" and strides[1] == 1 and not any(c % 2 for c in (strides[0] or 0, *linear(base).values()))
            room = [str(n) if self.full(one, n) else self.left(one) for one, n in ((across, size), (terms, count))]
            w.text.line(f"unsigned {name}[{4 if side == 'left' else 2}];")
            array = w.names.get("array", load.array)
            words = [*((pairs,) if load.dtype != "f32" else ()), room == [str(size), str(count)]]
            flags = f"<{', '.join('true' if word else 'false' for word in words)}>"
            steps = f"{strides[0]}, {strides[1]}"
            w.text.call(f"us_{side}_{_CALLS[load.dtype][2]}{flags}({name}, {array}, {w.printer.int(base)}, {steps}, {room[0]}, {room[1]})")
        return self.loaded[key]

    def left(self, loop: Loop) -> str:
        """How many iterations there are from the start of a block on."""
        return self.writer.printer.int(simple(Int("-", (loop.upper, loop.lower))))


def _plain(e: Expr) -> bool:
    """Whether a value is the product of two elements."""
    return isinstance(e, Call) and e.op == "mul" and all(isinstance(a, Load) or (isinstance(a, Call) and a.op == "cast") for a in e.args)
