"""Legality by brute force: all instances of a small nest enumerated in the order they run, all conflicting pairs looked at.

Independent of ``dependences.py`` and of isl: sizes are evaluated as Python, pairs are compared one by one.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Any

from unspool.compiler.graph.types import Size
from unspool.compiler.loops.nest import Guard, Leaf, LoopOrder, Nest, Order, Sequence, Statement, loop_path

Point = tuple[int, ...]
Instance = tuple[str, Point]


@lru_cache(maxsize=4096)
def compiled(names: tuple[str, ...], sizes: tuple[Size, ...]) -> Callable[..., Point]:
    """The values of sizes as a function of their names: their text is Python."""
    function: Callable[..., Point] = eval(f"lambda {', '.join(names)}: ({' '.join(f'({s}),' for s in sizes)})")
    return function


def points(statement: Statement, params: tuple[str, ...], integers: Mapping[str, int]) -> Iterator[Point]:
    """The instances of a statement, in the order of its own loops."""
    fixed = tuple(integers[p] for p in params)
    names = tuple(d.name for d in statement.dims)
    limits = [compiled((*params, *names[:n]), (d.lower, d.upper)) for n, d in enumerate(statement.dims)]
    guards = compiled((*params, *names), tuple(g.size for g in statement.guards))

    def extend(at: Point) -> Iterator[Point]:
        if len(at) == len(limits):
            if all(map(holds, statement.guards, guards(*fixed, *at))):
                yield at
            return
        for x in range(*limits[len(at)](*fixed, *at)):
            yield from extend((*at, x))

    return extend(())


def holds(guard: Guard, value: int) -> bool:
    """Whether a condition is met."""
    return {">=": value >= 0, "==": value == 0, "!=": value != 0}[guard.op]


def _levels(order: Order) -> Iterator[tuple[str, tuple[Size | int, ...]]]:
    """For each statement the positions in sequences and the values of loops around it, outermost first."""
    if isinstance(order, Leaf):
        yield order.statement, ()
    elif isinstance(order, Sequence):
        for n, child in enumerate(order.children):
            yield from ((name, (n, *levels)) for name, levels in _levels(child))
    else:
        yield from ((name, (order.value(name), *levels)) for name, levels in _levels(order.body))


class Times:
    """When each instance of a nest runs: tuples that compare as the instances follow each other."""

    def __init__(self, nest: Nest, order: Order, integers: Mapping[str, int]) -> None:
        self.fixed = tuple(integers[p] for p in nest.params)
        table = nest.statement_table
        self.made = {
            name: compiled((*nest.params, *(d.name for d in table[name].dims)), tuple(map(Size.of, levels)))
            for name, levels in _levels(order)
        }

    def __call__(self, instance: Instance) -> Point:
        return self.made[instance[0]](*self.fixed, *instance[1])


#: Two instances as a refusal names them, and the counts of iterations they are for.
_CITED = re.compile(r"(\w+)\[([^]]*)\] -> (\w+)\[([^]]*)\](?: \(([^)]*)\))?$")


def cited(text: str) -> tuple[tuple[Instance, Instance], dict[str, int]] | None:
    """The instances and counts that the text of a refusal ends with: ``S0[t0=0, i0=1] -> S1[t0=1, i0=0] (K=2)``."""
    found = _CITED.search(text)
    if found is None:
        return None
    first, at, second, to, counts = found.groups(default="")
    pair = tuple((name, tuple(map(int, re.findall(r"-?\d+(?=,|$)", values)))) for name, values in ((first, at), (second, to)))
    return (pair[0], pair[1]), {name: int(value) for name, value in re.findall(r"(\w+)=(-?\d+)", counts)}


@dataclass(frozen=True)
class Touch:
    """One access of an instance to one element. ``sums``: it accumulates."""

    instance: Instance
    write: bool
    sums: bool


class Conflicts:
    """All pairs of instances that touch one element and do not both read it, first the one that program order has first.

    ``reductions`` tells of each pair whether it is two accumulations of one statement. ``private``: (array, loop whose every iteration
    has its own copy of it) in program order; iterations of these do not meet. ``only``: the instances to look at, all by default.
    """

    def __init__(
        self,
        program: Nest,
        integers: Mapping[str, int],
        private: Collection[tuple[str, str]] = (),
        only: Collection[Instance] | None = None,
    ) -> None:
        assert not any(s.routine for s in program.statements)
        self.program, self.integers, self.private = program, dict(integers), private
        touched: dict[tuple[str, Point], list[Touch]] = defaultdict(list)
        fixed = tuple(integers[p] for p in program.params)
        self.count = 0
        for s in program.statements:
            names = (*program.params, *(d.name for d in s.dims))
            reads = [(r.array, compiled(names, r.index)) for r in s.reads()]
            write = compiled(names, s.write.index)
            sums = bool(s.reduce)  # what it reads of the array is a touch of its own
            for point in points(s, program.params, integers):
                instance = (s.name, point)
                if only is not None and instance not in only:
                    continue
                self.count += 1
                touched[s.write.array, write(*fixed, *point)].append(Touch(instance, True, sums))
                for array, index in reads:
                    touched[array, index(*fixed, *point)].append(Touch(instance, False, False))
        when = Times(program, program.order, integers)
        copies = {array: self.iteration(owner) for array, owner in private}
        found: dict[tuple[Instance, Instance, str], bool] = {}
        self.kinds: set[tuple[str, str, str, str]] = set()
        for (array, _), touches in touched.items():
            if not any(t.write for t in touches):
                continue
            for a, b in combinations(touches, 2):
                if a.instance == b.instance or not (a.write or b.write):
                    continue
                if array in copies and copies[array](a.instance) != copies[array](b.instance):
                    continue
                first, second = (a, b) if when(a.instance) < when(b.instance) else (b, a)
                key = (first.instance, second.instance, array)
                reduction = first.sums and second.sums and first.instance[0] == second.instance[0]
                found[key] = found.get(key, True) and reduction
                kind = "output" if first.write and second.write else "flow" if first.write else "anti"
                self.kinds.add((first.instance[0], second.instance[0], array, kind))
        self.pairs = [(a, b, array, reduction) for (a, b, array), reduction in found.items()]

    def iteration(self, name: str) -> Callable[[Instance], Point]:
        """In which iteration of a loop, and of those around it, an instance below it runs."""
        values: dict[str, Callable[..., Point]] = {}
        for s in self.program.statements:
            path = loop_path(self.program.order, s.name)
            depth = next((n for n, p in enumerate(path) if p.name == name), None)
            if depth is not None:
                sizes = tuple(p.value(s.name) for p in path[: depth + 1])
                values[s.name] = compiled((*self.program.params, *(d.name for d in s.dims)), sizes)
        fixed = tuple(self.integers[p] for p in self.program.params)
        return lambda instance: values[instance[0]](*fixed, *instance[1])

    def reversed(self, order: Order, *, strict: bool = False) -> str:
        """A pair whose second instance no longer runs after the first one in another order; empty if there is none."""
        when = Times(self.program, order, self.integers)
        for a, b, array, reduction in self.pairs:
            if (strict or not reduction) and not when(a) < when(b):
                return f"{a} and {b} on {array}"
        return ""

    def joined(self, order: Order, loop: LoopOrder, *, reductions: bool, private: Callable[[str], bool]) -> str:
        """A pair in one iteration of all loops around ``loop`` and in two of ``loop``; empty if there is none.

        ``reductions``: accumulations may be in different iterations. ``private`` tells what every iteration has for itself.
        """
        below = dict(loop.values)
        names = self.program.statement_table
        values: dict[str, Callable[..., Point]] = {}
        for s in below:
            path = loop_path(order, s)
            depth = [p.name for p in path].index(loop.name)
            sizes = tuple(p.value(s) for p in path[: depth + 1])
            values[s] = compiled((*self.program.params, *(d.name for d in names[s].dims)), sizes)
        fixed: tuple[Any, ...] = tuple(self.integers[p] for p in self.program.params)
        for a, b, array, reduction in self.pairs:
            if a[0] not in below or b[0] not in below or (reductions and reduction) or private(array):
                continue
            x, y = values[a[0]](*fixed, *a[1]), values[b[0]](*fixed, *b[1])
            if x[:-1] == y[:-1] and x[-1] != y[-1]:
                return f"{a} and {b} on {array}"
        return ""
