"""The definition of a legal nest, what its dependences ask of its order aside (``schedule.prove``).

1. Names of arrays and statements are unique; every statement stands in the order once.
2. Bounds use outer dims and params, indices and guards dims and params, shapes params.
3. An access names an array with as many axes as it has indices, in the array's dtype; inputs are never written.
4. A loop has a value for exactly the statements below it; it is serial, unroll, parallel or vector, or both of these;
   on a GPU block, thread, both of these, or lane2 to lane32, or staged2 to staged4, or tensor; a thread loop may have by1 to by1024 beside it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ..diagnostics import UnspoolError
from ..graph.types import Size
from .nest import Access, Nest, Statement, Whole, leaves, loops_of, size_values
from .steps.deal import LANES, THREADS
from .steps.stage import PLACES
from .text import print_nest, print_statement

KINDS = frozenset({"serial", "parallel", "vector", "unroll", "block", "thread", "tensor", *(f"lane{n}" for n in LANES), *(f"staged{n}" for n in PLACES)})
_NUMBERED = frozenset(f"by{n}" for n in range(1, THREADS + 1))


class NestError(UnspoolError):
    """An illegal nest: a fault of the compiler, or of an edited dump. Shows the statement."""


def check_nest(nest: Nest) -> None:
    """Raise NestError unless the nest is legal."""
    checker = _Checker(nest)
    checker.names()
    for statement in nest.statements:
        checker.statement(statement)
    checker.order()


class _Checker:
    def __init__(self, nest: Nest) -> None:
        self.nest = nest
        self.params = set(nest.params)

    def fail(self, message: str, statement: Statement | None = None) -> None:
        shown = print_statement(statement) if statement else print_nest(self.nest)
        raise NestError(f"illegal nest {self.nest.name}: {message}\n{shown}")

    def names(self) -> None:
        for what, names in (("array", self.nest.arrays), ("statement", self.nest.statements)):
            for name, count in Counter(x.name for x in names).items():
                if count > 1:
                    self.fail(f"the {what} {name} is there {count} times")
        for array in self.nest.arrays:
            self.known(array.shape, self.params, f"the shape of {array.name}")

    def known(self, sizes: Iterable[Size], names: set[str], where: str, statement: Statement | None = None) -> None:
        stray = sorted(set().union(*(s.names() for s in sizes)) - names)
        if stray:
            self.fail(f"{stray[0]} in {where} is no dim and no param", statement)

    def statement(self, s: Statement) -> None:
        names = set(self.params)
        for dim in s.dims:
            self.known((dim.lower, dim.upper), names, f"a bound of {s.name}", s)
            names.add(dim.name)
        self.known([g.size for g in s.guards], names, f"a guard of {s.name}", s)
        self.known([*s.integers, *size_values(s.value)], names, s.name, s)
        for access in (s.write, *s.reads()):
            self.access(access, names, s, whole=False)
        for block in (*s.outputs, *s.inputs):
            self.access(block, names, s, whole=True)
        for name in (s.write.array, *(block.array for block in s.outputs)):
            if self.nest.array(name).scope == "input":
                self.fail(f"{s.name} writes the input {name}", s)

    def access(self, a: Access | Whole, names: set[str], s: Statement, *, whole: bool) -> None:
        array = self.nest.array_table.get(a.array)
        if array is None:
            self.fail(f"there is no array {a.array}", s)
            return
        self.known(a.index, names, f"an index of {a.array}", s)
        if len(a.index) > len(array.shape) or (not whole and not s.routine and len(a.index) != len(array.shape)):
            self.fail(f"{a.array} has {len(array.shape)} axes, and {len(a.index)} indices here", s)
        if a.dtype != array.dtype:
            self.fail(f"{a.array} is {array.dtype}, and {a.dtype} here", s)

    def order(self) -> None:
        placed = Counter(leaves(self.nest.order))
        for name in placed.keys() | self.nest.statement_table.keys():
            if name not in self.nest.statement_table:
                self.fail(f"there is no statement {name}, and the order has it")
            if placed[name] != 1:
                self.fail(f"the statement {name} is in the order {placed[name]} times")
        for loop in loops_of(self.nest.order):
            if sorted(s for s, _ in loop.values) != sorted(leaves(loop.body)):
                self.fail(f"the loop {loop.name} has not one value for each statement below it")
            if not loop.kind or not set(loop.kind.split()) <= (KINDS | _NUMBERED if "thread" in loop.kind else KINDS):
                self.fail(f"the loop {loop.name} is {loop.kind}; there are {', '.join(sorted(KINDS))}")
            for name, value in loop.values:
                statement = self.nest.statement_table[name]
                dims = {d.name for d in statement.dims}
                self.known((value,), self.params | dims, f"the value of the loop {loop.name} for {name}", statement)
