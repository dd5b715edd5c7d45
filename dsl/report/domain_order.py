"""What a schedule makes of a plane of a domain: its blocks or fronts, in the order in which they run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from markupsafe import Markup

from ...compiler.graph.types import Size
from ...compiler.loops.nest import LoopOrder
from .section import render
from .slices import Plane, Point

#: Pixels of a drawing's side, and cells along it at most.
SIDE, CELLS = 228, 48
#: Instances along a dim where there are no blocks, or small ones; so many are looked at for the ends of blocks.
FEW, LOOK = 12, 4096
#: Colours of blocks, and how many blocks have numbers.
SHADES, LABELS = 3, 64

Keys = Sequence[tuple[LoopOrder, Size]]


@dataclass(frozen=True)
class Run:
    """Instances of one block beside each other in a row of the drawing, in cells."""

    row: int
    start: int
    width: int
    block: tuple[int, ...]


def is_plain(value: Size) -> bool:
    """Whether a value is a dim, moved at most: one step of the loop is one instance."""
    return value.is_name or any((value - Size.of(n)).constant is not None for n in value.names())


def order_drawing(made: Plane, loops: Keys) -> tuple[Markup, str]:
    """The drawing, and what it shows. ``loops`` are those around the statement whose values change in the plane."""
    if not loops:
        return Markup(""), "the schedule made other statements of it"
    cut = [(loop, value) for loop, value in loops if not is_plain(value)]
    keys = cut or list(loops[:1])  # without blocks or fronts, the iterations of the outermost loop
    sides = [_window(made, name, keys) for name in (made.outer, made.inner)]
    rows, columns = (side[:: max(1, -(-len(side) // CELLS))] for side in sides)
    step = min(SIDE / max(1, len(rows)), SIDE / max(1, len(columns)))
    runs = list(_runs(made, keys, rows, columns))
    number = {block: n for n, block in enumerate(sorted({run.block for run in runs}))}
    least = min(number, default=())
    cells = [
        {
            "x": run.start * step, "y": run.row * step, "width": run.width * step, "height": step, "block": number[run.block],
            "shade": sum(k - low for k, low in zip(run.block, least)) % SHADES,
            "title": ", ".join(f"{loop.name} = {v}" for (loop, _), v in zip(keys, run.block)),
        }
        for run in runs
    ]  # fmt: skip
    svg = render(
        "order.svg", made=made, cells=cells, labels=list(_labels(runs, number, step)), width=len(columns) * step, height=len(rows) * step,
        first=(sides[0].start, sides[1].start), last=(sides[0].stop - 1, sides[1].stop - 1),
    )  # fmt: skip
    kinds = ", ".join(f"{loop.name} ({loop.kind})" for loop, _ in keys)
    return svg, f"{'blocks, numbered as they run' if cut else 'one iteration after the other'}: {kinds}"


def _window(made: Plane, name: str, keys: Keys) -> range:
    """The part of a dim that shows three blocks along it, or a dozen instances where there are none or small ones."""
    extent = made.extent(name)
    at = made.extent(made.inner if name == made.outer else made.outer)
    env = {**made.held, (made.inner if name == made.outer else made.outer): at.start}
    values = [tuple(value.evaluate({**env, name: v}) for _, value in keys) for v in extent[:LOOK]]
    changes = [n for n in range(1, len(values)) if values[n] != values[n - 1]]
    if len(changes) > 2 and changes[2] >= FEW:
        return extent[: changes[2]]
    return extent if len(changes) in (1, 2) and len(extent) <= LOOK else extent[:FEW]


def _runs(made: Plane, keys: Keys, rows: range, columns: range) -> list[Run]:
    """The rows of a drawing, cell by cell: which block an instance is in."""

    def block(point: Point) -> tuple[int, ...] | None:
        x, y = point
        if not any(made.points(range(x, x + 1), range(y, y + 1))):
            return None
        env = made.env(point)
        return tuple(value.evaluate(env) for _, value in keys)

    found = []
    for row, x in enumerate(rows):
        at = 0
        for key, run in groupby(block((x, y)) for y in columns):
            width = len(list(run))
            if key is not None:
                found.append(Run(row, at, width, key))
            at += width
    return found


def _labels(runs: Sequence[Run], number: dict[tuple[int, ...], int], step: float) -> list[tuple[float, float, str]]:
    """Numbers of blocks that are large enough, each in the middle of the rectangle that its block begins with."""
    if len(number) > LABELS:
        return []
    begins: dict[tuple[int, ...], tuple[Run, int]] = {}
    for run in runs:
        first, rows = begins.setdefault(run.block, (run, 0))
        if (run.start, run.width, run.row) == (first.start, first.width, first.row + rows):
            begins[run.block] = first, rows + 1
    places = (((first.start + first.width / 2) * step, (first.row + rows / 2) * step, first.width * step, rows * step, b)
              for b, (first, rows) in begins.items())  # fmt: skip
    return [(x, y, str(number[block] + 1)) for x, y, width, height, block in places if width > 16 and height > 12]
