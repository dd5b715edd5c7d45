"""Scratch memory of kernels: the bytes that arrays take one behind the other, as expressions in the integers of a kernel and as numbers in a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from ..compiler.loops.tree import Array, Int
from .affine import const, evaluate, plus, simple
from .c_runtime import BITS

#: Bytes of a cache line.
LINE = 64


def elements(a: Array, size: int = 1) -> Int:
    """Elements of an array, of ``size`` bytes (or other parts) each."""
    total: Int = const(size)
    for extent in a.shape:
        total = Int("*", (total, extent))
    return simple(total)


def bytes_of(a: Array) -> Int:
    """Bytes of an array."""
    return elements(a, BITS[a.dtype] // 8)


def room(a: Array, line: int = LINE, gap: int = LINE) -> Int:
    """Bytes that an array takes: whole multiples of ``line``, and by default one line more so that equal arrays do not share cache sets."""
    return simple(Int("*", (const(line), Int("//", (plus(bytes_of(a), gap + line - 1), const(line))))))


def rooms(arrays: Sequence[Array], line: int = LINE, gap: int = LINE) -> Int:
    """Bytes that arrays take one behind the other (see :func:`room`)."""
    total = const(0)
    for a in arrays:
        total = plus(total, room(a, line, gap))
    return simple(total)


class Placed(Protocol):
    """A source that says what scratch memory its kernel needs: bytes of a problem and of a thread, without batch tiles and with them, in its
    ``integers``; and how many problems it takes for tiles (0: there are none)."""

    @property
    def integers(self) -> tuple[str, ...]:
        """Names of the integers that a call gives."""

    @property
    def problem_bytes(self) -> tuple[Int, Int]:
        """Of a problem, or of a tile of them."""

    @property
    def thread_bytes(self) -> tuple[Int, Int]:
        """Of a thread."""

    @property
    def tile_from(self) -> int:
        """Problems from which on there are tiles."""


class Rooms:
    """What calls of one kernel need, in numbers."""

    def __init__(self, source: Placed) -> None:
        self.source = source
        self._known: dict[tuple[int, ...], tuple[int, int]] = {}

    def of(self, batch: int, integers: Sequence[int]) -> tuple[int, int]:
        """Bytes of scratch memory of a problem (or tile) and of a thread, in a call with so many problems."""
        tiled = 0 < self.source.tile_from <= batch
        key = (tiled, *integers)
        found = self._known.get(key)
        if found is None:
            values = dict(zip(self.source.integers, integers, strict=True))
            found = self._known[key] = self.measured(tiled, values)
        return found

    def measured(self, tiled: bool, values: Mapping[str, int]) -> tuple[int, int]:
        """The same for values of the integers, worked out."""
        return evaluate(self.source.problem_bytes[tiled], values), evaluate(self.source.thread_bytes[tiled], values)
