"""What follows from a state: the kernel, the nest under its steps, the predicted time. Made when somebody asks, and kept."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ...compiler.diagnostics import UnspoolError
from .state import Plan, State, Steps

if TYPE_CHECKING:
    from ...backends.kernel import Kernel
    from ...compiler.driver import Compiled
    from ...compiler.loops.scheduled import Scheduled

#: So many kernels, and nests, are kept.
KEPT = 200


@dataclass(frozen=True)
class Part:
    """A nest under steps: of which kernel, whether of its batch tile, and the sizes that a prediction is for."""

    name: str
    tile: bool
    scheduled: Scheduled
    compiled: Compiled
    sizes: dict[str, int]

    @cached_property
    def predicted(self) -> float:
        """Seconds, by the model that chooses schedules."""
        from ...backends.explain import estimated

        machine = self.compiled.target.capabilities.machine
        seconds: float = estimated(self.scheduled.nest, self.sizes, machine)["seconds"]
        return seconds


class Workbench:
    """Derived things, by what they are derived from."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, Any] = {}

    def kernel(self, state: State) -> Kernel:
        """The kernel of a state. Raises UnspoolError."""
        from ..session import compile_kernel

        handle = state.handle
        key = ("kernel", id(handle), state.sizes, state.counts, state.lead, state.chosen)
        if key not in self._kept:
            made = compile_kernel(handle, {}, dict(state.sizes), state.lead, dict(state.counts), state.chosen)[0]
            self._keep(key, (made, handle))  # as long as the handle is kept, its id is no other's
        kernel: Kernel = self._kept[key][0]
        return kernel

    def plan(self, state: State) -> Plan:
        """The plan of a state, the compiler's choice spelt out."""
        if state.plan is not None:
            return state.plan
        return tuple((name, steps_of(compiled.schedule)) for name, compiled in self.kernel(state).compiled)

    def empty(self, state: State) -> Plan:
        """Program order."""
        return tuple((name, Steps()) for name, _ in self.kernel(replace(state, plan=())).compiled)

    def names(self, state: State) -> list[str]:
        """The kernels that have a schedule."""
        return [name for name, _ in self.kernel(replace(state, plan=())).compiled]

    def part(self, state: State) -> Part:
        """The nest that steps go to. Raises UnspoolError if there is none, IllegalSchedule for steps that do not apply."""
        known = self.known(state)
        if known is not None:
            return known
        plan = self.plan(state) or ()
        if not plan:
            raise UnspoolError(f"{state.algorithm} has no kernel: the interpreter runs it (`explain` says why)")
        name, steps = next(((n, s) for n, s in plan if n == state.kernel), plan[0])
        tile = state.tile and steps.problems > 0
        base = replace(state, plan=tuple((n, Steps()) for n, _ in plan), kernel="", tile=False)
        if tile:
            base = base.set_part(name, Steps(problems=steps.problems))
        compiled = dict(self.kernel(base).compiled)[name]
        scheduled = self._replayed(base, name, compiled, steps.together if tile else steps.alone, tile=tile)
        made = Part(name, tile, scheduled, compiled, self._sizes(base, compiled, steps.problems if tile else 0))
        self._keep(("part", state), made)
        return made

    def known(self, state: State) -> Part | None:
        """The nest that steps go to if it was asked for before: completion compiles nothing."""
        found = self._kept.get(("part", state))
        return found if isinstance(found, Part) else None

    def _sizes(self, state: State, compiled: Compiled, problems: int) -> dict[str, int]:
        from ...backends.explain import tile_sizes
        from ...compiler.loops.isl import safe

        sizes = {safe(n): v for n, v in self.kernel(state).sizes.items()}
        tile = compiled.tree.tile
        return tile_sizes(compiled, tile, problems, sizes) if problems and tile is not None else sizes

    def _replayed(self, base: State, name: str, compiled: Compiled, steps: tuple[str, ...], *, tile: bool) -> Scheduled:
        """The nest after some steps, from the longest beginning of them that is known."""
        from ...compiler.loops.schedule import apply_step, parse_schedule
        from ...compiler.loops.scheduled import Scheduled

        nest = compiled.tile_lowered if tile else compiled.lowered
        if nest is None or compiled.problem is not None:
            raise UnspoolError(f"target {compiled.target.name} takes graphs and orders their loops itself: it has no schedule")
        options = base.options
        key = ("nest", base, name, tile)
        known = next((n for n in range(len(steps), -1, -1) if (*key, steps[:n]) in self._kept), None)
        if known is None:
            known = 0
            start = Scheduled.start(nest, strict=options.numerics == "strict", tf32=options.numerics == "tf32")
            self._keep((*key, ()), start)
        now: Scheduled = self._kept[(*key, steps[:known])]
        for n in range(known, len(steps)):
            (step,) = parse_schedule(steps[n]).steps
            now = apply_step(now, replace(step, line=0))
            self._keep((*key, steps[: n + 1]), now)
        return now

    def _keep(self, key: Hashable, value: Any) -> None:
        self._kept.pop(key, None)
        self._kept[key] = value
        while len(self._kept) > KEPT:
            del self._kept[next(iter(self._kept))]


def steps_of(text: str) -> Steps:
    """The steps in the text of one kernel's schedule. Raises IllegalSchedule."""
    from ...compiler.loops.schedule import parse_schedule
    from ...compiler.loops.schedule_parts import split_batch

    alone, problems, together = split_batch(text)
    return Steps(tuple(map(str, parse_schedule(alone).steps)), problems, tuple(map(str, parse_schedule(together).steps)))
