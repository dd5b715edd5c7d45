"""Sweeps: problems outermost, all iterations inside, one parallel region.

The batch and its threads are the writer's outermost loops (see :class:`~..loops.tree.Function`); within one problem
sweeps whose dependences stay at equal positions are fused, the outermost independent loop of
each sweep is split over the threads of the team, innermost loops run as vectors, and temporaries are contracted.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..loops.batch_tile import reductions_inward
from ..loops.nest import LoopOrder, Order, loops_of
from ..loops.nest import Sequence as SequenceOrder
from ..loops.scheduled import Scheduled, conflicts, extent
from ..loops.steps.contract import can_contract
from ..loops.steps.fuse import aligned, can_fuse
from ..loops.steps.mark import can_parallel, can_vector
from ..target import Gpu
from .draft import Draft
from .gpu_width import narrows
from .meetings import spare
from .sinking import sunk


def finish(draft: Draft) -> None:
    """Fuse, contract and mark what is not closed.

    In a batch tile, whose innermost loops are vectors over problems, sums move next to them first.
    """
    if draft.task.tile:
        for outer, inner in list(reductions_inward(draft.task.nest)):
            draft.take("interchange", outer, inner)
    prepare(draft)
    _Sweeps(draft).mark_all()
    spare(draft)


def omit_overwritten(draft: Draft) -> None:
    """Leave out what is written again before anything reads it: zeros in arrays that loops fill, mostly."""
    for s in reversed(draft.task.nest.statements):  # what is left out needs no operands
        if s.reduce or s.routine:
            continue
        others = [x for x in draft.scheduled.nest.statements if x.name != s.name and s.write.array in x.arrays()]
        again = any(x.write.array == s.write.array and not x.reduce and not x.routine for x in others)
        if again or (not others and draft.scheduled.nest.array(s.write.array).temporary):
            draft.attempt("omit", s.name)


def prepare(draft: Draft) -> None:
    """Fuse sweeps at equal positions, and contract."""
    fuse_sweeps(draft)
    contract_temporaries(draft)


def fuse_sweeps(draft: Draft) -> None:
    """Fuse sweeps at equal positions."""
    _Sweeps(draft).fuse_all()


def contract_temporaries(draft: Draft) -> None:
    """Let temporaries live in as few iterations as they are used in."""
    _Sweeps(draft).contract_all()


class _Sweeps:
    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.iterating: dict[object, bool] = {}

    @property
    def scheduled(self) -> Scheduled:
        return self.draft.scheduled

    # -- fusion --------------------------------------------------------------------------------------------------

    def fuse_all(self) -> None:
        done: set[str] = set()
        while True:
            runs = (list(filter(self.draft.is_open, names)) for names in _sequences(self.scheduled.nest.order))
            todo = next((names for names in runs if names and names[0] not in done), None)
            if todo is None:
                return
            self._fuse_siblings(todo, done)

    def _fuse_siblings(self, names: list[str], done: set[str]) -> None:
        before = self.draft.copy()
        groups = self._fuse_upward(names)
        if len(groups) > 1 and (better := sunk(before.scheduled, groups, _Sweeps(before).worth_fusing)):
            if self.draft.trying(lambda draft: _fuse_groups(draft, before, better)):
                groups = better
        done.update(group[0] for group in groups)

    def _fuse_upward(self, names: list[str]) -> list[list[str]]:
        """Fuse each loop with the last one above it that it fits; the loops that were fused, group by group."""
        groups = {name: [name] for name in names}
        changed = True
        while changed:
            changed = False
            kept: list[str] = []
            for name in groups:
                for head in reversed(kept):
                    if not self.worth_fusing(head, name) or not aligned(self.scheduled, head, name):
                        continue
                    if can_fuse(self.scheduled, head, name) is None:
                        self.draft.take("fuse", head, name)
                        groups[head] += groups[name]
                        changed = True
                        break
                else:
                    kept.append(name)
            groups = {name: groups[name] for name in kept}
        return list(groups.values())

    def worth_fusing(self, a: str, b: str) -> bool:
        """Whether two loops had better be one, if they can be."""
        first, second = self.scheduled.loop(a), self.scheduled.loop(b)
        if not self._arrays(first) & self._arrays(second) or self._iterates(first) != self._iterates(second):
            return False
        x, y = extent(self.scheduled, first), extent(self.scheduled, second)
        if x is None or y is None:
            return x == y and not self._iterates(first)
        overlap = min(x[1], y[1]) - max(x[0], y[0]) + 1
        if overlap < 0.9 * max(x[1] - x[0] + 1, y[1] - y[0] + 1) and max(x[1] - x[0], y[1] - y[0]) > 8:
            return False
        if isinstance(self.draft.task.machine, Gpu) and narrows(self.scheduled, first, second):
            return False
        return not self._parallel_lost(first, second)

    def _iterates(self, loop: LoopOrder) -> bool:
        """Whether iterations of a loop build on each other: a value flows from one into a later one, sums aside."""
        key = (loop.name, loop.values)
        if key not in self.iterating:
            self.iterating[key] = any(d.kind == "flow" for d in conflicts(self.scheduled, loop.name, reductions=True))
        return self.iterating[key]

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
                    self.draft.take("contract", info.name, loop.name)
                    break

    def _common_loops(self, array: str) -> list[LoopOrder]:
        nest = self.scheduled.nest
        users = {s.name for s in nest.statements if array in s.arrays()}
        loops = [loop for loop in loops_of(nest.order) if users <= {s for s, _ in loop.values}]
        return [loop for loop in loops if self.draft.is_open(loop.name)]

    def _fits(self, array: str, loop: LoopOrder) -> bool:
        """Contract fully, to rows of a sweep, or scalars of an iteration; not whole arrays inside a loop over iterations."""
        rank = len(self.scheduled.nest.array(array).shape)
        return rank == 0 or any(not self._iterates(p) for p in (loop, *reversed(self.scheduled.outer(loop.name))))

    # -- parallel and vector loops -------------------------------------------------------------------------------

    def mark_all(self) -> None:
        self._parallel(self.scheduled.nest.order)
        for loop in [o for o in self.scheduled.loops.values() if self.draft.is_open(o.name)]:
            if all("unroll" in inner.kind for inner in loops_of(loop.body)) and can_vector(self.scheduled, loop.name) is None:
                self.draft.take("vector", loop.name)

    def _parallel(self, order: Order) -> None:
        if isinstance(order, SequenceOrder):
            for child in order.children:
                self._parallel(child)
        elif isinstance(order, LoopOrder) and self.draft.is_open(order.name):
            if can_parallel(self.scheduled, order.name) is None:
                self.draft.take("parallel", order.name)
            else:
                self._parallel(order.body)


def _fuse_groups(draft: Draft, before: Draft, groups: list[list[str]]) -> None:
    """Fuse loops, from where they were not yet fused."""
    draft.adopt(before.copy())
    for head, *others in groups:
        for name in others:
            draft.take("fuse", head, name)


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
