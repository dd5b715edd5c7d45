"""The way from a nest to its loops, step by step, as text: what ``--emit steps`` shows."""

from __future__ import annotations

from collections.abc import Iterator

from ..compiler.driver import Compiled
from ..compiler.loops.carriers import summaries
from ..compiler.loops.infix import domain_text, infix
from ..compiler.loops.nest import Nest, Order, Sequence
from ..compiler.loops.schedule import apply_step, parse_schedule
from ..compiler.loops.schedule_parts import split_batch
from ..compiler.loops.scheduled import Scheduled
from ..compiler.loops.text import print_order


def steps_text(compiled: Compiled) -> str:
    """The order of a kernel before its schedule, then every step and the parts of the order that it changed."""
    alone, size, together = split_batch(compiled.schedule)
    found = list(_replay(compiled.lowered, alone)) if compiled.lowered is not None else []
    if compiled.tile_lowered is not None:
        found += ["", f"batch {size}", *_replay(compiled.tile_lowered, together)]
    return "\n".join(found)


def _replay(nest: Nest, text: str) -> Iterator[str]:
    now = Scheduled.start(nest)
    yield from _shown(_parts(nest.order))
    for step in parse_schedule(text).steps:
        before, now = now, apply_step(now, step)
        yield ""
        yield str(step)
        yield from changes(before.nest, now.nest)


def changes(before: Nest, now: Nest) -> Iterator[str]:
    """What became of a nest: the parts of its order that changed, then statements with other dims, then arrays."""
    yield from _shown([p for p in _parts(now.order) if p not in _parts(before.order)])
    known = {s.name: s.dims for s in before.statements}
    made = [s for s in now.statements if known.get(s.name) != s.dims]
    yield from (f"  {s.name}: {infix(s)} for {domain_text(s)}" for s in made)
    changed = [a for a in now.arrays if a not in before.arrays]
    yield from (f"  array {a.name}: {a.dtype}[{', '.join(map(str, a.shape))}] {a.scope}" for a in changed)


def nest_lines(nest: Nest) -> Iterator[str]:
    """A nest for a reader: its arrays, its statements as formulas, its loops."""
    yield from (f"array {a.name}: {a.dtype}[{', '.join(map(str, a.shape))}] {a.scope}" for a in nest.arrays)
    yield from (f"{s.name}: {infix(s)} for {domain_text(s)}" for s in nest.statements)
    yield from (line for part in _parts(nest.order) for line in print_order(part).splitlines())


def _parts(order: Order) -> list[Order]:
    return list(order.children) if isinstance(order, Sequence) else [order]


def _shown(parts: list[Order]) -> Iterator[str]:
    for part in parts:
        yield from (f"  {line}" for line in print_order(part).splitlines())


def dependences_text(compiled: Compiled) -> str:
    """Every dependence of a kernel's program order, those of a batch tile behind it."""
    found = [] if compiled.lowered is None else [str(d) for d in summaries(Scheduled.start(compiled.lowered))]
    if compiled.tile_lowered is not None:
        size = split_batch(compiled.schedule)[1]
        found += [f"batch {size}", *(str(d) for d in summaries(Scheduled.start(compiled.tile_lowered)))]
    return "\n".join(found)
