"""The first schedule: problems outermost, all iterations inside, one parallel region.

The batch and its threads are the writer's outermost loops (see :class:`~.tree.Function`); within one problem
this recipe fuses sweeps whose dependences stay at equal positions, splits the outermost independent loop of
each sweep over the threads of the team, runs innermost loops as vectors, and contracts temporaries.
"""

from __future__ import annotations

from collections.abc import Iterator

from .batch_tile import reductions_inward
from .contract import can_contract
from .fuse import can_fuse
from .mark import can_parallel, can_vector
from .nest import LoopOrder, Nest, Order, loops_of
from .nest import Sequence as SequenceOrder
from .schedule import Schedule, Step, apply_step, prove
from .scheduled import Scheduled, extent


def recipe(nest: Nest, *, strict: bool = False, tile: bool = False) -> tuple[Scheduled, Schedule]:
    """Schedule a nest; the scheduled program (proved) and the steps that made it.

    ``tile``: the nest is that of a batch tile, whose innermost loops are vectors over problems; sums move next to them.
    """
    maker = _Maker(Scheduled.start(nest), strict)
    if tile:
        for outer, inner in list(reductions_inward(nest)):
            maker.take("interchange", outer, inner)
    maker.fuse_all()
    maker.contract_all()
    maker.mark_all()
    prove(maker.scheduled, strict=strict)
    return maker.scheduled, Schedule(tuple(maker.steps))


class _Maker:
    def __init__(self, scheduled: Scheduled, strict: bool) -> None:
        self.scheduled = scheduled
        self.strict = strict
        self.steps: list[Step] = []

    def take(self, name: str, *args: str | int) -> None:
        step = Step(name, args)
        self.scheduled = apply_step(self.scheduled, step)
        self.steps.append(step)

    # -- fusion --------------------------------------------------------------------------------------------------

    def fuse_all(self) -> None:
        done: set[str] = set()
        while True:
            order = self.scheduled.nest.order
            todo = next((names for names in _sequences(order) if names[0] not in done), None)
            if todo is None:
                return
            self._fuse_siblings(todo, done)

    def _fuse_siblings(self, names: list[str], done: set[str]) -> None:
        heads = list(names)
        changed = True
        while changed:
            changed = False
            kept: list[str] = []
            for name in heads:
                for head in reversed(kept):
                    if self._worth_fusing(head, name) and can_fuse(self.scheduled, head, name) is None:
                        self.take("fuse", head, name)
                        changed = True
                        break
                else:
                    kept.append(name)
            heads = kept
        done.update(heads)

    def _worth_fusing(self, a: str, b: str) -> bool:
        first, second = self.scheduled.loop(a), self.scheduled.loop(b)
        if first.name.startswith("t") != second.name.startswith("t") or not self._arrays(first) & self._arrays(second):
            return False
        x, y = extent(self.scheduled, first), extent(self.scheduled, second)
        if x is None or y is None:
            return x == y and not first.name.startswith("t")
        overlap = min(x[1], y[1]) - max(x[0], y[0]) + 1
        if overlap < 0.9 * max(x[1] - x[0] + 1, y[1] - y[0] + 1) and max(x[1] - x[0], y[1] - y[0]) > 8:
            return False
        return not self._parallel_lost(first, second)

    def _arrays(self, loop: LoopOrder) -> set[str]:
        """Arrays touched below a loop, inputs aside."""
        table = self.scheduled.nest.array_table
        statements = self.scheduled.nest.statement_table
        found = set().union(*(statements[s].arrays() for s, _ in loop.values))
        return {a for a in found if table[a].scope != "input"}

    def _parallel_lost(self, first: LoopOrder, second: LoopOrder) -> bool:
        """Fusing an independent loop with one that carries a reduction would make both sequential."""
        a, b = (can_parallel(self.scheduled, loop.name) is None for loop in (first, second))
        return a != b

    # -- contraction ---------------------------------------------------------------------------------------------

    def contract_all(self) -> None:
        for info in self.scheduled.nest.arrays:
            if not info.temporary or info.scope.startswith("local"):
                continue
            for loop in reversed(self._common_loops(info.name)):
                if self._fits(info.name, loop) and can_contract(self.scheduled, info.name, loop.name) is None:
                    self.take("contract", info.name, loop.name)
                    break

    def _common_loops(self, array: str) -> list[LoopOrder]:
        nest = self.scheduled.nest
        users = {s.name for s in nest.statements if array in s.arrays()}
        return [loop for loop in loops_of(nest.order) if users <= {s for s, _ in loop.values}]

    def _fits(self, array: str, loop: LoopOrder) -> bool:
        """Contract fully, to rows of a sweep, or scalars of an iteration; not whole arrays inside a loop over iterations."""
        rank = len(self.scheduled.nest.array(array).shape)
        around = [p for p in (*self.scheduled.outer(loop.name), loop) if not p.name.startswith("t")]
        return rank == 0 or bool(around)

    # -- parallel and vector loops -------------------------------------------------------------------------------

    def mark_all(self) -> None:
        self._parallel(self.scheduled.nest.order)
        for loop in list(self.scheduled.loops.values()):
            if not any(True for _ in loops_of(loop.body)) and can_vector(self.scheduled, loop.name) is None:
                self.take("vector", loop.name)

    def _parallel(self, order: Order) -> None:
        if isinstance(order, SequenceOrder):
            for child in order.children:
                self._parallel(child)
        elif isinstance(order, LoopOrder):
            if can_parallel(self.scheduled, order.name) is None:
                self.take("parallel", order.name)
            else:
                self._parallel(order.body)


def _sequences(order: Order) -> Iterator[list[str]]:
    """Names of sibling loops, outer ones first."""
    if isinstance(order, SequenceOrder):
        names = [c.name for c in order.children if isinstance(c, LoopOrder)]
        if names:
            yield names
        for child in order.children:
            yield from _sequences(child) if isinstance(child, LoopOrder) else ()
    elif isinstance(order, LoopOrder):
        yield from _sequences(order.body)
