"""Reductions in a Triton kernel: padding gets what changes nothing, and NaN stays NaN."""

from __future__ import annotations

from dataclasses import replace

from ...compiler.diagnostics import CompileError
from ...compiler.graph.graph import Node
from ...compiler.graph.types import Size, is_floating
from .contract import Contractions
from .text import KernelText, along
from .values import TYPES, Tile


class Reductions:
    """Reductions of one kernel."""

    def __init__(self, text: KernelText, contractions: Contractions) -> None:
        self.text, self.contractions = text, contractions

    def reduction(self, node: Node, tile: Tile, shape: tuple[Size, ...]) -> Tile:
        """A reduction of a tile to a shape; padding gets what changes nothing."""
        rank = len(tile.shape)
        if node.op in ("argmax", "argmin"):
            return self.position(tile, node.attr("axis") + rank, node.op == "argmax", shape)
        axes = sorted([a % rank for a in node.attr("axes")], reverse=True)
        if node.op == "sum":
            tile = self.contractions.zero_padded(tile, axes)
        for n in axes:
            tile = self.reduced(node.op, tile, n)
        return replace(tile, clean=False)

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
