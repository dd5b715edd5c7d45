"""What the values of a graph are in a Triton kernel: tiles in registers, views of memory, and one scalar repeated.

Every axis of a tile is padded to a power of two, and its padding holds nothing in particular: whoever sums or stores masks it. The batch axis
(:data:`BATCH`) of a tile has as many rows as problems that a program takes at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

from ...compiler.diagnostics import CompileError
from ...compiler.graph.types import BYTES, HALF, Range, Size

#: The size of the batch axis of a batched graph.
BATCH = Size.of("batch")
#: Elements of a tile at most; Triton itself stops at 2^20.
LARGEST = 1 << 17
#: Triton's names of element types, and those of pointers to them.
TYPES = {"f16": "tl.float16", "bf16": "tl.bfloat16", "f32": "tl.float32", "f64": "tl.float64",
         "i8": "tl.int8", "i16": "tl.int16", "i32": "tl.int32", "i64": "tl.int64", "bool": "tl.int1"}  # fmt: skip
POINTERS = {"f16": "*fp16", "bf16": "*bf16", "f32": "*fp32", "f64": "*fp64", "i8": "*i8", "i16": "*i16", "i32": "*i32", "i64": "*i64", "bool": "*i1"}


def power(count: int) -> int:
    """The smallest power of two that is not less."""
    return 1 << max(0, count - 1).bit_length()


def is_known(size: Size) -> bool:
    """Whether a tile can have an axis of this size."""
    return size == BATCH or size.constant is not None


def extent(size: Size, rows: int) -> int:
    """The padded extent of an axis in a tile. Raises CompileError for a size that only a call knows, and for an empty axis."""
    if size == BATCH:
        return rows
    if size.constant is None:
        raise CompileError(f"a tile has no axis of size {size}, which only a call knows")
    if size.constant < 1:
        raise CompileError("an axis is empty")
    return power(size.constant)


def elements(shape: Sequence[Size], rows: int) -> int:
    """Elements of a tile, padding included."""
    return prod(extent(s, rows) for s in shape)


@dataclass(frozen=True)
class Tile:
    """A variable of the kernel in registers. ``clean``: its padding is zero in every axis but that of the batch."""

    name: str
    dtype: str
    shape: tuple[Size, ...]
    clean: bool = False


@dataclass(frozen=True)
class Axis:
    """An axis of a view: elements ``stride`` apart. ``lanes``: a batch axis of a tile's own memory, counted from the tile's first problem."""

    size: Size
    stride: Size
    lanes: bool = False


@dataclass(frozen=True)
class View:
    """Elements in memory: ``pointer`` is a variable of the kernel, ``offset`` counts elements. ``fixed``: nothing in the kernel writes there.
    ``stored``: what they are in memory, if not ``dtype``: half precision that becomes f32 when it is loaded."""

    dtype: str
    pointer: str
    offset: Size
    axes: tuple[Axis, ...]
    fixed: bool
    stored: str = ""

    @property
    def shape(self) -> tuple[Size, ...]:
        """The sizes of its axes."""
        return tuple([a.size for a in self.axes])

    def at(self, axis: int, index: Size) -> View:
        """Without an axis, at one position of it."""
        return replace(self, offset=self.offset + index * self.axes[axis].stride, axes=(*self.axes[:axis], *self.axes[axis + 1 :]))

    def part(self, axis: int, item: Range) -> View:
        """With some positions of an axis."""
        old = self.axes[axis]
        new = replace(old, size=item.size, stride=old.stride * item.step)
        offset = self.offset + item.start * old.stride
        return replace(self, offset=offset, axes=(*self.axes[:axis], new, *self.axes[axis + 1 :]))

    def ordered(self, order: Sequence[int]) -> View:
        """With its axes in another order."""
        return replace(self, axes=tuple([self.axes[n] for n in order]))

    def spread(self, shape: Sequence[Size]) -> View:
        """Repeated to a shape."""
        lead = [Axis(s, Size.of(0)) for s in shape[: len(shape) - len(self.axes)]]
        rest = [a if a.size == s else Axis(s, Size.of(0)) for a, s in zip(self.axes, shape[len(lead) :], strict=True)]
        return replace(self, axes=(*lead, *rest))

    def reshaped(self, shape: Sequence[Size]) -> View | None:
        """In another shape, where that needs no copy: None if it does."""
        kept = [a for a in self.axes if a.size.constant != 1]
        if [a.size for a in kept] == [s for s in shape if s.constant != 1]:
            left = iter(kept)
            return replace(self, axes=tuple([Axis(s, Size.of(0)) if s.constant == 1 else next(left) for s in shape]))
        if kept and kept[0].size == BATCH and shape and shape[0] == BATCH:
            inner = replace(self, axes=tuple(kept[1:])).reshaped(shape[1:])
            return None if inner is None else replace(inner, axes=(kept[0], *inner.axes))
        if any(a.size == BATCH for a in kept) or BATCH in shape or [a.stride for a in kept] != strides([a.size for a in kept]):
            return None
        return replace(self, axes=tuple([Axis(s, d) for s, d in zip(shape, strides(shape), strict=True)]))


@dataclass(frozen=True)
class Repeated:
    """A scalar in every place of an array whose sizes only a call knows."""

    scalar: Tile
    shape: tuple[Size, ...]

    @property
    def dtype(self) -> str:
        """The dtype of the scalar."""
        return self.scalar.dtype


Held = Tile | View | Repeated


def widens(source: str, target: str) -> bool:
    """Whether a conversion makes f32 of half precision: of an array in memory that takes no registers."""
    return source in HALF and target == "f32"


def strides(shape: Sequence[Size]) -> list[Size]:
    """Strides of a contiguous array."""
    out, step = [], Size.of(1)
    for size in reversed(shape):
        out.append(step)
        step = step * size
    return out[::-1]


def size_of(dtype: str) -> int:
    """Bytes of an element in memory."""
    return BYTES[dtype]
