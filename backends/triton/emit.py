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

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ...compiler.diagnostics import CompileError
from ...compiler.graph.graph import Graph, walk
from ...compiler.graph.specialize import size_names
from ...compiler.graph.types import Size, Type, is_complex
from ...compiler.loops.isl import safe
from .elementwise import cast
from .nodes import Emitter
from .text import KernelText
from .values import BATCH, Axis, Held, Tile, View, extent, strides

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
    graph: Graph, inputs: Sequence[Operand], results: Sequence[Operand], *, name: str, rows: int, precision: str, halves: bool
) -> tuple[str, Size, tuple[str, ...]]:
    """The text of the kernel of a batched graph; the bytes of scratch memory of a program; the names of its arguments.

    Results that are not a problem's own are sums over the problems of a tile, and added to what the program has in ``team_stride`` elements
    of its own. Raises CompileError with a reason for what has no form in Triton.
    """
    made = Emitter(rows, precision, halves=halves)
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
