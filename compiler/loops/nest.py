"""Nests: statements over integer sets, the arrays they touch, and the order they run in.

A statement has dims (its iterators), affine bounds, one write and an expression with reads. Every dim
counts up from 0 by 1; index expressions are :class:`~..graph.types.Size` over dims and parameters. The order is a
tree of loops, sequences and statements; a loop gives every statement under it an affine value, so that statements with
different iterators share one loop. All of it is immutable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from ..diagnostics import Span
from ..graph.types import Size
from .tree import DEALT, Literal, number_in


@dataclass(frozen=True)
class Access:
    """One element of an array, as a value of ``dtype``."""

    array: str
    index: tuple[Size, ...]
    dtype: str

    def __str__(self) -> str:
        return f"{self.array}[{', '.join(map(str, self.index))}]"

    def names(self) -> frozenset[str]:
        """Iterators and parameters in the index."""
        return frozenset[str]().union(*(i.names() for i in self.index))


@dataclass(frozen=True)
class SizeValue:
    """An integer expression as a value of ``dtype``."""

    size: Size
    dtype: str


@dataclass(frozen=True)
class Apply:
    """An elementwise op of the graph table on scalars; ``span`` is known in debug builds."""

    op: str
    args: tuple[Expr, ...]
    dtype: str
    span: Span | None = field(default=None, compare=False, repr=False)


Expr = Access | SizeValue | Literal | Apply


ZERO = Size.of(0)


@dataclass(frozen=True)
class Dim:
    """An iterator: ``lower <= name < upper``; bounds over outer dims and parameters."""

    name: str
    upper: Size
    lower: Size = ZERO


@dataclass(frozen=True)
class Guard:
    """One affine condition: ``size op 0`` with op ``>=``, ``==`` or ``!=``."""

    size: Size
    op: str = ">="


@dataclass(frozen=True)
class Whole:
    """A block of an array that a routine takes: leading ``index``, all of the trailing axes."""

    array: str
    index: tuple[Size, ...]
    dtype: str


@dataclass(frozen=True)
class Statement:
    """``write = value`` (or ``write reduce= value``) for every point of the domain.

    With ``routine`` set, the statement calls that routine of the run-time library on ``blocks`` (outputs,
    inputs) instead; ``write`` is then its first output. ``values`` names the values of the graph that it was made for, those that it computes
    in passing among them. In debug builds: ``around``, the loops of the program that it is in, outer ones first, with the values of their
    indices, and ``tests``, which must all hold for what it computes to be chosen.
    """

    name: str
    dims: tuple[Dim, ...]
    write: Access
    value: Expr
    reduce: str = ""
    guards: tuple[Guard, ...] = ()
    routine: str = ""
    outputs: tuple[Whole, ...] = ()
    inputs: tuple[Whole, ...] = ()
    integers: tuple[Size, ...] = ()
    span: Span | None = field(default=None, compare=False, repr=False)
    values: tuple[str, ...] = field(default=(), compare=False, repr=False)
    around: tuple[tuple[str, Size], ...] | None = field(default=None, compare=False, repr=False)
    tests: tuple[Expr, ...] = field(default=(), compare=False, repr=False)

    def reads(self) -> tuple[Access, ...]:
        """Every element access of the value, in order, repeats dropped."""
        return self._reads

    @cached_property
    def _reads(self) -> tuple[Access, ...]:
        return tuple(dict.fromkeys(accesses(self.value)))

    def params(self) -> set[str]:
        """Names in bounds, guards and indices that are not its dims."""
        sizes = (
            [s for d in self.dims for s in (d.lower, d.upper)]
            + [g.size for g in self.guards]
            + [*self.write.index, *self.integers]
        )
        sizes += [i for a in self.reads() for i in a.index] + size_values(self.value)
        sizes += [i for block in (*self.outputs, *self.inputs) for i in block.index]
        return set().union(*(s.names() for s in sizes)) - {d.name for d in self.dims}

    def arrays(self) -> frozenset[str]:
        """Every array it touches."""
        return self._arrays

    @cached_property
    def _arrays(self) -> frozenset[str]:
        return frozenset((self.write.array, *(r.array for r in self.reads()), *(w.array for w in (*self.outputs, *self.inputs))))


@dataclass(frozen=True)
class ArrayInfo:
    """Storage of a nest. ``scope`` as in :class:`~.tree.Array`; ``temporary`` ones may be contracted."""

    name: str
    dtype: str
    shape: tuple[Size, ...]
    scope: str = "problem"

    @property
    def temporary(self) -> bool:
        """True of scratch that only the nest sees. That of scope ``kept`` no step may change."""
        return self.scope not in ("input", "output", "kept")


@dataclass(frozen=True)
class Leaf:
    """A statement in its place."""

    statement: str

    @property
    def statements(self) -> tuple[str, ...]:
        """The statement."""
        return (self.statement,)


@dataclass(frozen=True)
class Sequence:
    """Children in order."""

    children: tuple[Order, ...]

    @cached_property
    def statements(self) -> tuple[str, ...]:
        """Names of the statements below, in textual order."""
        return tuple(s for child in self.children for s in child.statements)

    @cached_property
    def loops(self) -> tuple[LoopOrder, ...]:
        """Every loop below, outer ones first."""
        return tuple(loop for child in self.children for loop in loops_of(child))

    @cached_property
    def paths(self) -> dict[str, tuple[LoopOrder, ...]]:
        """The loops around each statement below that are inside of here, outermost first."""
        return {s: loop_path(child, s) for child in self.children for s in child.statements}


@dataclass(frozen=True)
class Exit:
    """Which iterations of a loop do not run, by data: those before which ``test``, over the loop's name, holds; with ``leaves``
    all from the first such one on."""

    test: Expr
    leaves: bool


@dataclass(frozen=True)
class LoopOrder:
    """One loop: each statement below is at the iteration that its expression gives.

    ``kind`` is ``serial``, ``unroll`` (few iterations, written out), ``parallel`` or ``vector``; on a GPU ``block``, ``thread`` or
    ``lane8`` (see :mod:`.steps.deal`). A loop with an ``exit`` keeps its statements: none may enter or leave it.
    """

    name: str
    values: tuple[tuple[str, Size], ...]
    body: Order
    kind: str = "serial"
    exit: Exit | None = None

    @property
    def statements(self) -> tuple[str, ...]:
        """Names of the statements below, in textual order."""
        return self.body.statements

    def value(self, statement: str) -> Size:
        """The loop's value for a statement below it."""
        return self._table[statement]

    @property
    def at_once(self) -> bool:
        """Whether iterations run at once, on threads or side by side in vectors."""
        return self.dealt or "vector" in self.kind or "lane" in self.kind or self.kind == "tensor"

    @property
    def dealt(self) -> bool:
        """Whether iterations are dealt out to threads, or to blocks of them."""
        return not DEALT.isdisjoint(self.kind.split())

    @property
    def lanes(self) -> int:
        """Threads that have an iteration of the loop around in common and deal out this one; 1 for other loops."""
        return 32 if self.kind == "tensor" else number_in(self.kind, "lane", 1)

    @property
    def numbered(self) -> int:
        """How many threads iterations are dealt to by number; 0 if not by number."""
        return number_in(self.kind, "by", 0)

    @property
    def places(self) -> int:
        """Places that the copies at the start of its iterations take turns in."""
        return number_in(self.kind, "staged", 1)

    @property
    def innermost(self) -> bool:
        """Whether there is no loop inside."""
        return next(loops_of(self.body), None) is None

    @cached_property
    def _table(self) -> dict[str, Size]:
        return dict(self.values)


Order = Leaf | Sequence | LoopOrder


@dataclass(frozen=True)
class Nest:
    """A program part at the polyhedral level."""

    name: str
    params: tuple[str, ...]
    arrays: tuple[ArrayInfo, ...]
    statements: tuple[Statement, ...]
    order: Order

    def array(self, name: str) -> ArrayInfo:
        """The array of that name."""
        return self.array_table[name]

    @cached_property
    def array_table(self) -> dict[str, ArrayInfo]:
        """Arrays by name."""
        return {a.name: a for a in self.arrays}

    @cached_property
    def statement_table(self) -> dict[str, Statement]:
        """Statements by name."""
        return {s.name: s for s in self.statements}


def accesses(value: Expr) -> Iterator[Access]:
    """The element accesses in an expression."""
    if isinstance(value, Access):
        yield value
    elif isinstance(value, Apply):
        for arg in value.args:
            yield from accesses(arg)


def size_values(value: Expr) -> list[Size]:
    """The integer expressions that an expression takes as values."""
    if isinstance(value, SizeValue):
        return [value.size]
    return [s for a in value.args for s in size_values(a)] if isinstance(value, Apply) else []


def map_expr(value: Expr, change: Callable[[Expr], Expr]) -> Expr:
    """``change`` applied to every sub-expression, leaves first."""
    if isinstance(value, Apply):
        return change(Apply(value.op, tuple(map_expr(a, change) for a in value.args), value.dtype))
    return change(value)


def map_accesses(statement: Statement, change: Callable[[Access], Access]) -> Statement:
    """A statement with its element accesses, the write included, replaced; blocks of a routine stay."""
    value = map_expr(statement.value, lambda e: change(e) if isinstance(e, Access) else e)
    return replace(statement, write=change(statement.write), value=value)


def substitute(value: Expr, env: Mapping[str, Size]) -> Expr:
    """Dims replaced in the indices of an expression."""

    def change(e: Expr) -> Expr:
        if isinstance(e, Access):
            return Access(e.array, tuple(i.substitute(env) for i in e.index), e.dtype)
        if isinstance(e, SizeValue):
            return SizeValue(e.size.substitute(env), e.dtype)
        return e

    return map_expr(value, change)


def leaves(order: Order) -> Iterator[str]:
    """Names of the statements under an order, in textual order."""
    return iter(order.statements)


def loops_of(order: Order) -> Iterator[LoopOrder]:
    """Every loop under an order, outer ones first."""
    if isinstance(order, Sequence):
        yield from order.loops
    elif isinstance(order, LoopOrder):
        yield order
        yield from loops_of(order.body)


def exits(order: Order) -> dict[str, LoopOrder]:
    """The loops whose iterations depend on data, by name."""
    return {loop.name: loop for loop in loops_of(order) if loop.exit is not None}


def children(order: Order) -> tuple[Order, ...]:
    """The parts of a sequence; anything else is one part."""
    return order.children if isinstance(order, Sequence) else (order,)


def outermost(order: Order) -> Iterator[LoopOrder]:
    """The loops of an order that are in no other."""
    for part in children(order):
        if isinstance(part, Sequence):
            yield from outermost(part)
        elif isinstance(part, LoopOrder):
            yield part


def sequence(children: list[Order]) -> Order:
    """A sequence, flattened; a single child stands for itself."""
    flat: list[Order] = []
    for child in children:
        flat.extend(child.children if isinstance(child, Sequence) else [child])
    return flat[0] if len(flat) == 1 else Sequence(tuple(flat))


def loop_path(order: Order, statement: str) -> tuple[LoopOrder, ...]:
    """The loops around a statement, outermost first."""
    if isinstance(order, Leaf):
        return ()
    if isinstance(order, Sequence):
        return order.paths.get(statement, ())
    return (order, *loop_path(order.body, statement))
