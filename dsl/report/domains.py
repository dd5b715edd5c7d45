"""Dependences and the order of instances, drawn for planes of the domains of statements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from markupsafe import Markup

from ...backends.explain import Report
from ...compiler.loops.isl import safe
from ...compiler.loops.nest import Nest, Statement
from .domain_order import SIDE, is_plain, order_drawing
from .links import PartLinks, Tag
from .section import Section, render
from .slices import Arrow, Plane, Point, loops_in, plane
from .subject import Subject

#: Planes drawn of a kernel at most; points of a side where dependences are drawn.
PLANES, POINTS = 4, 7


@dataclass(frozen=True)
class Drawing:
    """A plane with the dependences in a corner of it, and the blocks or the way of the schedule."""

    title: str
    statement: str
    tag: Tag
    held: str
    dependences: Markup
    order: Markup
    note: str
    telling: bool  # whether there are dependences or blocks


def section(subject: Subject) -> Section | None:
    """Planes of the statements that do most of the work."""
    found = [
        (p.name, drawings(p, k, subject.kernel.sizes)) for p, k in zip(subject.parts, subject.explained["kernels"], strict=True)
    ]
    found = [(name, made) for name, made in found if made]
    return Section("domains", "Dependences and tiles", render("domains.html", kernels=found)) if found else None


def drawings(part: PartLinks, explained: Report, sizes: Mapping[str, int]) -> list[Drawing]:
    """The planes of a kernel: of the statements of most instances, in which most is to be seen."""
    start = part.compiled.lowered
    if start is None:
        return []
    env = {safe(n): v for n, v in sizes.items()}
    ranked = sorted(explained["statements"], key=lambda s: -s["instances"])
    out: list[Drawing] = []
    for row in ranked:
        statement = start.statement_table[row["statement"]]
        if len(out) == PLANES:
            break
        if len(statement.dims) < 2 or statement.routine or not row["instances"]:
            continue
        outer, inner = _chosen(statement, part.compiled.nest, explained["dependences"])
        made = _drawing(part, plane(statement, outer, inner, env))
        if made.telling:
            out.append(made)
    return out


def _chosen(statement: Statement, nest: Nest, dependences: Sequence[Report]) -> tuple[str, str]:
    """The two dims to be shown: those of loops that carry dependences of the statement and that the schedule cut or bent; of equals the inner ones."""
    names = [d.name for d in statement.dims]
    carried = {n for d in dependences if statement.name in (d["from"], d["to"]) for n in d["carried_by"]}
    loops = loops_in(nest, statement.name, names) if statement.name in nest.statement_table else []
    bent = {n for _, value in loops if not is_plain(value) for n in value.names()}

    def worth(pair: tuple[str, str]) -> tuple[int, int, int]:
        return sum(n in bent for n in pair), sum(n in carried for n in pair), names.index(pair[0]) + names.index(pair[1])

    return max(combinations(names, 2), key=worth)


def _drawing(part: PartLinks, made: Plane) -> Drawing:
    s, nest = made.statement, part.compiled.nest
    own = {d.name for d in s.dims}
    held = ", ".join(f"{n} = {v}" for n, v in made.held.items() if n in own)
    loops = loops_in(nest, s.name, (made.outer, made.inner)) if s.name in nest.statement_table else []
    order, note = order_drawing(made, loops)
    title = f"{made.outer}, {made.inner}"
    tag = part.of_statements(part.compiled.tree.name, [s.name])
    arrows = made.arrows(*_corner(made))
    telling = bool(arrows) or not all(is_plain(value) for _, value in loops)
    return Drawing(title, s.name, tag, held, _dependences(made, arrows), order, note, telling)


# -- dependences --------------------------------------------------------------------------------------------------------


def _corner(made: Plane) -> tuple[range, range]:
    return made.extent(made.outer)[:POINTS], made.extent(made.inner)[:POINTS]


def _dependences(made: Plane, arrows: Sequence[Arrow]) -> Markup:
    outer, inner = _corner(made)
    points = list(made.points(outer, inner))
    rows, columns = max(1, len(outer)), max(1, len(inner))
    step = min(SIDE / rows, SIDE / columns)

    def place(p: Point) -> tuple[float, float]:
        return (p[1] - inner.start + 0.5) * step, (p[0] - outer.start + 0.5) * step

    arrays = list(dict.fromkeys(a.array for a in arrows))
    lines = [(_bent(place(a.source), place(a.sink), step), a.kind, arrays.index(a.array), _told(made, a)) for a in arrows]
    dots = [(*place(p), _named(made, p)) for p in points]
    return render(
        "dependences.svg", made=made, dots=dots, lines=lines, arrays=arrays, width=columns * step, height=rows * step,
        first=(outer.start, inner.start), last=(outer.stop - 1, inner.stop - 1), kinds=sorted({a.kind for a in arrows}),
    )  # fmt: skip


def _bent(a: tuple[float, float], b: tuple[float, float], step: float) -> str:
    """An arrow from point to point; what jumps over others goes around them."""
    (ax, ay), (bx, by) = a, b
    length = max(1e-9, ((bx - ax) ** 2 + (by - ay) ** 2) ** 0.5)
    ux, uy, near = (bx - ax) / length, (by - ay) / length, min(7.0, step / 4)
    ax, ay, bx, by = ax + ux * near, ay + uy * near, bx - ux * near, by - uy * near
    if length < 1.6 * step:
        return f"M{ax:.1f},{ay:.1f}L{bx:.1f},{by:.1f}"
    cx, cy = (ax + bx) / 2 - uy * step * 0.35, (ay + by) / 2 + ux * step * 0.35
    return f"M{ax:.1f},{ay:.1f}Q{cx:.1f},{cy:.1f} {bx:.1f},{by:.1f}"


def _named(made: Plane, p: Point) -> str:
    return f"{made.statement.name}[{made.outer}={p[0]}, {made.inner}={p[1]}]"


def _told(made: Plane, a: Arrow) -> str:
    return f"{a.kind} {a.array}: {_named(made, a.source)} -> {_named(made, a.sink)}"
