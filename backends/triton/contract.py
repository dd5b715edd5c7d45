"""Contractions in a Triton kernel: ``tl.dot`` where the sizes allow it, else a product that is summed.

    y[b, i] = sum over j of A[i, j] x[b, j]      -->      y = tl.dot(x, tl.load(A transposed))

``tl.dot`` needs 16 in every dimension. Where the contracted dimension is longer than a chunk, both operands are read a piece of it
at a time: an operand in memory is loaded so, one in registers goes through scratch memory, as Triton cannot take a part of a tile::

    for start in range(0, 512, 64):
        y = tl.dot(tl.load(room + ...), tl.load(A + ...), y)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

from ...compiler.diagnostics import CompileError
from ...compiler.graph.ops.contract import split_spec
from ...compiler.graph.types import Size, is_floating
from .memory import Memory
from .text import KernelText, along
from .values import BATCH, LARGEST, TYPES, Repeated, Tile, View, elements, extent, size_of

#: The least extent of a dimension that ``tl.dot`` takes.
LEAST = 16
#: Elements of the contracted dimension that one ``tl.dot`` takes. Products that tensor cores do not form (of single precision, exact) keep
#: in registers what the result's elements of a thread need.
CHUNK, EXACT_CHUNK = 64, 16
#: Bytes of an operand of one ``tl.dot``: both lie in shared memory.
OPERAND = 32 << 10
#: Elements of a product that is summed afterwards.
PRODUCT = 1 << 14


@dataclass(frozen=True)
class Factor:
    """An operand and the letter of each of its axes."""

    letters: str
    value: Tile | View

    def size(self, letter: str) -> Size:
        """The size of the axis of a letter."""
        return self.value.shape[self.letters.index(letter)]


class Contractions:
    """Contractions of one kernel. ``precision`` is that of products of single precision: ``ieee`` or ``tf32``. ``halves``: tensor cores may add
    up products of half precision."""

    def __init__(self, text: KernelText, memory: Memory, precision: str, *, halves: bool = True) -> None:
        self.text, self.memory, self.precision, self.halves = text, memory, precision, halves

    def einsum(self, spec: str, operands: list[Tile | View | Repeated], result: tuple[Size, ...]) -> Tile:
        """The result of an ``einsum``; operands two by two from the left."""
        parts, right = split_spec(spec)
        factors = []
        for part, value in zip(parts, operands, strict=True):
            if isinstance(value, Repeated):
                raise CompileError("a product with an array whose size only a call knows")
            factors.append(Factor(part, value))
        while True:
            later = set(right).union(*(f.letters for f in factors[2:]))
            factors[0] = self._without(factors[0], later.union(*(f.letters for f in factors[1:2])))
            if len(factors) == 1:
                break
            factors[1] = self._without(factors[1], later | set(factors[0].letters))
            factors[:2] = [self._pair(factors[0], factors[1], later)]
        found = self._ordered(factors[0], right)
        return replace(found, shape=result)

    def chunk(self, dtype: str) -> int:
        """The longest contracted dimension of one ``tl.dot``."""
        return EXACT_CHUNK if dtype == "f32" and self.precision == "ieee" else CHUNK

    # -- one operand -------------------------------------------------------------------------------------------------

    def _tile(self, factor: Factor) -> Tile:
        return self.memory.load(factor.value) if isinstance(factor.value, View) else factor.value

    def _without(self, factor: Factor, wanted: set[str]) -> Factor:
        """Summed over the letters that nobody else has."""
        for letter in [c for c in factor.letters if c not in wanted]:
            at = factor.letters.index(letter)
            tile = self.zero_padded(self._tile(factor), [at])
            rest = tile.shape[:at] + tile.shape[at + 1 :]
            name = self.text.let(f"tl.reduce({tile.name}, {at}, tl.standard._sum_combine)")
            factor = Factor(factor.letters.replace(letter, ""), Tile(name, tile.dtype, rest))
        return factor

    def _ordered(self, factor: Factor, letters: str) -> Tile:
        """The tile with its axes in the order of ``letters``."""
        order = [factor.letters.index(c) for c in letters]
        if isinstance(factor.value, View):
            return self.memory.load(factor.value.ordered(order))
        if order == list(range(len(order))):
            return factor.value
        shape = tuple([factor.value.shape[n] for n in order])
        return Tile(self.text.let(f"tl.permute({factor.value.name}, {tuple(order)})"), factor.value.dtype, shape, factor.value.clean)

    def zero_padded(self, tile: Tile, axes: list[int]) -> Tile:
        """The tile with zeros in the padding of some axes."""
        needed = [n for n in axes if not tile.clean or tile.shape[n] == BATCH]
        mask = self.text.masks(tile.shape, needed)
        if mask is None:
            return tile
        zero = "False" if tile.dtype == "bool" else "0"
        return replace(tile, name=self.text.let(f"tl.where({mask}, {tile.name}, tl.full((), {zero}, {TYPES[tile.dtype]}))"))

    # -- two operands ------------------------------------------------------------------------------------------------

    def _pair(self, a: Factor, b: Factor, wanted: set[str]) -> Factor:
        both = set(a.letters) & set(b.letters)
        summed = "".join(c for c in a.letters if c in both and c not in wanted)
        side = "".join(c for c in a.letters if c in both and c in wanted)
        left = "".join(c for c in a.letters if c not in both)
        right = "".join(c for c in b.letters if c not in both)
        if summed and not side and self._fits(a, left, summed) and self._fits(b, right, summed) and is_floating(a.value.dtype):
            return self._dot(a, b, left, summed, right)
        return self._product(a, b, side + left + right, summed)

    def _extent(self, factor: Factor, letters: str) -> int:
        return prod(extent(factor.size(c), self.text.rows) for c in letters)

    def _fits(self, factor: Factor, own: str, summed: str) -> bool:
        return self._extent(factor, own) >= LEAST and self._extent(factor, summed) >= LEAST

    def _product(self, a: Factor, b: Factor, kept: str, summed: str) -> Factor:
        letters = kept + summed
        sizes = tuple([(a if c in a.letters else b).size(c) for c in letters])
        count = elements(sizes, self.text.rows)
        if count > PRODUCT and summed:
            raise CompileError(f"a contraction that `tl.dot` does not take has {count} products for a tile of problems, more than {PRODUCT}")
        names = []
        for factor in (a, b):
            mine = "".join(c for c in letters if c in factor.letters)
            tile = self.zero_padded(self._ordered(factor, mine), [mine.index(c) for c in summed])  # of both: 0 times NaN is NaN
            items = ", ".join(":" if c in factor.letters else "None" for c in letters)
            names.append(tile.name if mine == letters or not mine else f"{tile.name}[{items}]")
        name = self.text.let(" * ".join(names))
        for n in range(len(letters) - 1, len(kept) - 1, -1):
            name = self.text.let(f"tl.reduce({name}, {n}, tl.standard._sum_combine)")
        return Factor(kept, Tile(name, a.value.dtype, sizes[: len(kept)]))

    def _dot(self, a: Factor, b: Factor, left: str, summed: str, right: str) -> Factor:
        text = self.text
        made = a.value.dtype
        a, b = self._halved(a, b)
        dtype = a.value.dtype
        rows, depth, columns = self._extent(a, left), self._extent(a, summed), self._extent(b, right)
        kept = left + right
        sizes = tuple([(a if c in a.letters else b).size(c) for c in kept])
        if rows * columns > LARGEST // 4:
            raise CompileError(f"a product of {rows} x {columns} elements does not fit into registers")
        whole = BATCH in [a.size(c) for c in summed]
        chunk = depth if whole else min(depth, self.chunk(dtype))
        while not whole and chunk > LEAST and max(rows, columns) * chunk * size_of(dtype) > OPERAND:
            chunk //= 2
        if len(summed) > 1 and chunk < depth:
            raise CompileError("a long contraction over several indices")
        more = f', input_precision="{self.precision}"' if dtype == "f32" else ""
        if chunk == depth:
            x = self._matrix(a, left, summed, rows, depth, first=True)
            y = self._matrix(b, right, summed, depth, columns, first=False)
            name = text.let(f"tl.dot({x}, {y}{more}{self._accumulator(dtype)})")
        else:
            views = [f.value if isinstance(f.value, View) else self.memory.spill(f.value) for f in (a, b)]
            name = text.let(f"tl.full(({rows}, {columns}), 0, {TYPES[made]})", "sum")
            start = text.fresh("start")
            text.open()
            index = text.let(f"{start} + tl.arange(0, {chunk})", "i")
            x = self._piece(Factor(a.letters, views[0]), left + summed, summed, index, (rows, chunk))
            y = self._piece(Factor(b.letters, views[1]), summed + right, summed, index, (chunk, columns))
            text.line(f"{name} = tl.dot({x}, {y}, {name}{more}{self._accumulator(dtype)})")
            text.close(f"for {start} in range(0, {depth}, {chunk}):")
        if len(left) != 1 or len(right) != 1:
            name = text.let(f"tl.reshape({name}, {text.extents(sizes)})")
        return Factor(kept, Tile(name, made, sizes))

    def _halved(self, a: Factor, b: Factor) -> tuple[Factor, Factor]:
        """Two operands as they are in memory, where both are of one half precision: tensor cores form the products that f32 would."""
        if not (self.halves and isinstance(a.value, View) and isinstance(b.value, View) and a.value.stored and a.value.stored == b.value.stored):
            return a, b
        bare = [replace(v, dtype=v.stored, stored="") for v in (a.value, b.value)]
        return Factor(a.letters, bare[0]), Factor(b.letters, bare[1])

    def _accumulator(self, dtype: str) -> str:
        return ", out_dtype=tl.float64" if dtype == "f64" else ""

    def _matrix(self, factor: Factor, own: str, summed: str, rows: int, columns: int, *, first: bool) -> str:
        """A whole operand of ``tl.dot``, zeros in the padding of what is summed."""
        letters = own + summed if first else summed + own
        tile = self._ordered(factor, letters)
        tile = self.zero_padded(tile, [letters.index(c) for c in summed])
        if len(letters) == 2:
            return tile.name
        return self.text.let(f"tl.reshape({tile.name}, ({rows}, {columns}))")

    def _piece(self, factor: Factor, letters: str, summed: str, index: str, shape: tuple[int, int]) -> str:
        """Part of an operand in memory, along what is summed."""
        assert isinstance(factor.value, View)
        text, view = self.text, factor.value.ordered([factor.letters.index(c) for c in letters])
        at, rank = letters.index(summed), len(letters)
        masks = [text.masks(view.shape, [n for n, a in enumerate(view.axes) if n != at and not a.lanes]),
                 along(f"{index} < {view.shape[at].constant}", at, rank)]  # fmt: skip
        mask = " & ".join(m for m in masks if m)
        if any(a.stride == Size.of(0) and a.size.constant != 1 for a in view.axes):
            raise CompileError("a long contraction with a repeated operand")
        address = self.memory.address(view, {at: index})
        wide = f".to({TYPES[view.dtype]})" if view.stored else ""
        name = text.let(f"tl.load({address}, mask={mask}, other=0){wide}")
        return name if rank == 2 else text.let(f"tl.reshape({name}, {shape})")
