"""The pipeline from the middle: an IR that was dumped goes through the passes from one on.

    simplify   graph -> graph      lower   graph -> nest      schedule   nest -> nest      scan   nest -> tree      emit   tree -> source

A nest that is scanned is taken as it is: its order is the program's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from .diagnostics import UnspoolError
from .driver import GRAPH, NEST, TREE
from .graph.conjugate_gradients import with_loops
from .graph.simplify import simplify
from .loops.lower import lower
from .loops.nest import Nest
from .loops.scan import scan
from .loops.schedule import apply, parse_schedule
from .loops.scheduled import Scheduled
from .loops.tree import Function
from .search.choose import chosen
from .search.draft import Task
from .search.gpu_cost import best_blocks
from .stages import Form, Stages
from .target import ChoosingTarget, Gpu, GraphTarget, Target

#: The forms of dumps by what their files end in, and the passes that take each.
FORMS: dict[str, tuple[Form[Any], tuple[str, ...]]] = {
    "graph": (GRAPH, ("simplify", "lower")),
    "nest": (NEST, ("schedule", "scan")),
    "tree": (TREE, ("emit",)),
}
PASSES = ("simplify", "lower", "schedule", "scan", "emit")


@dataclass(frozen=True)
class Setting:
    """What the passes need to know: see :func:`~.driver.compile_graph`."""

    target: Target
    strict: bool = False
    schedule: str | None = None


def resume(text: str, form: str, first: str, last: str, setting: Setting) -> str:
    """What pass ``last`` makes of a dump that pass ``first`` takes. Raises UnspoolError for a dump that cannot be read or is not well formed, and for
    passes that do not fit; IllegalSchedule; CompileError."""
    known, takers = FORMS[form]
    if first not in takers:
        raise UnspoolError(f"a .{form} goes to {' or '.join(takers)}, not to {first}")
    if PASSES.index(last) < PASSES.index(first):
        raise UnspoolError(f"{last} comes before {first}; the passes are {', '.join(PASSES)}")
    if last == "emit" and isinstance(setting.target, GraphTarget):
        raise UnspoolError(f"target {setting.target.name} makes its source of a graph, not of a tree: end with --to scan, or name another target")
    try:
        assert known.read is not None
        value = known.read(text)
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise UnspoolError(f"the dump cannot be read: {error}") from None
    if known.verify is not None:
        known.verify(value)
    stages = Stages(getattr(value, "name", form))
    for name in PASSES[PASSES.index(first) : PASSES.index(last) + 1]:
        value, shown = _RUN[name](stages, value, setting)
    return shown


def _simplify(stages: Stages, graph: Any, setting: Setting) -> tuple[Any, str]:
    made = stages.run("simplify", GRAPH, lambda: simplify(with_loops(graph)), before=graph)
    return made, GRAPH.show(made)


def _lower(stages: Stages, graph: Any, setting: Setting) -> tuple[Any, str]:
    made = stages.run("lower", NEST, lambda: lower(graph, strict=setting.strict))
    return made, NEST.show(made)


def _schedule(stages: Stages, nest: Nest, setting: Setting) -> tuple[Any, str]:
    target = setting.target
    if setting.schedule is not None:
        scheduled = apply(nest, parse_schedule(setting.schedule), strict=setting.strict)
    else:
        task = Task(nest, target.capabilities.machine, setting.strict)
        scheduled = (target.choose(task) if isinstance(target, ChoosingTarget) else chosen(task)).scheduled
    made = stages.run("schedule", NEST, lambda: scheduled.nest)
    return replace(scheduled, nest=made), NEST.show(made)


def _scan(stages: Stages, nest: Nest | Scheduled, setting: Setting) -> tuple[Any, str]:
    scheduled = nest if isinstance(nest, Scheduled) else Scheduled.start(nest, strict=setting.strict)
    machine = setting.target.capabilities.machine
    blocks = best_blocks(scheduled, machine) if isinstance(machine, Gpu) else 1
    made = stages.run("scan", TREE, lambda: replace(scan(scheduled, f"us_{scheduled.nest.name}"), blocks=blocks))
    return made, TREE.show(made)


def _emit(stages: Stages, tree: Function, setting: Setting) -> tuple[Any, str]:
    form: Form[str] = Form(setting.target.suffix, str, str)
    made = stages.run("emit", form, lambda: setting.target.emit(tree))
    return made, made


_RUN: dict[str, Callable[[Stages, Any, Setting], tuple[Any, str]]] = {
    "simplify": _simplify,
    "lower": _lower,
    "schedule": _schedule,
    "scan": _scan,
    "emit": _emit,
}
