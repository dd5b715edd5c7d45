"""A nest on its way through transformations: its order, the dependences of its program order, and questions about loops.

A transformation is a function ``Scheduled -> Scheduled`` with a ``can_`` twin that gives the reason why not. Loops are named;
names stay unique. Nothing here trusts itself: :func:`~.dependences.check_order` proves the final order.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Set
from dataclasses import dataclass, replace
from functools import cached_property, wraps
from typing import Any, TypeVar, cast

import networkx as nx

from ..graph.types import Size, SizeFn
from .dependences import Dependence, IllegalSchedule, Reason, check_order, dependences, joins
from .isl import NotAffine, bound_values
from .nest import Dim, Leaf, LoopOrder, Nest, Order, Statement, leaves, loop_path, loops_of, sequence
from .nest import Sequence as SequenceOrder

#: What ends the scope of an array whose elements threads hold in registers (see :mod:`.steps.register`).
HELD = " held"


@dataclass(frozen=True)
class Scheduled:
    """A nest under transformation and the dependences of its program order."""

    nest: Nest
    found: tuple[Dependence, ...]
    private: frozenset[tuple[str, str]] = frozenset()  # (array, loop whose every iteration has its own copy)
    rebased: bool = False  # program order is no longer that of the statements' dims
    dropped: frozenset[tuple[str, tuple[tuple[str, Size], ...]]] = frozenset()  # (array, statement and index of an axis it lost)
    padded: tuple[tuple[str, tuple[Dim, ...]], ...] = ()  # statements that run for more than the program asks, and what it asks
    strict: bool = False  # no re-association
    tf32: bool = False  # factors of products may be rounded to TF32

    @staticmethod
    def start(nest: Nest, *, strict: bool = False, tf32: bool = False) -> Scheduled:
        """The untransformed program."""
        return Scheduled(nest, dependences(nest), strict=strict, tf32=tf32)

    def rebase(self, nest: Nest) -> Scheduled:
        """A rewritten nest (other statements, other arrays) becomes the program: its dependences are found anew, in its order.

        For a step that changes more than the order. The rewriting must compute the same, in the present order; as that order is the
        program from here on, the step has to prove it first.
        """
        return replace(self, nest=nest, found=dependences(nest), rebased=True)

    def renamed(self, names: Mapping[str, str]) -> Scheduled:
        """What lives in one iteration of a loop lives in one of the loop that took its place."""
        private = frozenset((array, names.get(owner, owner)) for array, owner in self.private)
        scopes = {f"local {old}{held}": f"local {new}{held}" for old, new in names.items() for held in ("", HELD)}
        arrays = tuple(replace(a, scope=scopes.get(a.scope, a.scope)) for a in self.nest.arrays)
        return replace(self, nest=replace(self.nest, arrays=arrays), private=private)

    def rewrite(self, nest: Nest, changed: Set[str]) -> Scheduled:
        """As :meth:`rebase`, where all that changed are some statements: those with these names are new, or other than they were.

        Their dependences are found anew, in the present order; :meth:`unproved` must have found no fault in it.
        """
        kept = tuple(d for d in self.found if d.source not in changed and d.sink not in changed)
        return replace(self, nest=nest, found=kept + dependences(nest, changed), rebased=True).proved_as(None)

    def proved_as(self, fault: str | None) -> Scheduled:
        """The same; :meth:`unproved` need not look for what is known."""
        self.__dict__["_fault"] = fault
        return self

    @property
    def known_proved(self) -> bool:
        """Whether the present order has been found to be one of the program."""
        return self.__dict__.get("_fault", "") is None

    def asked(self, statement: str) -> Statement:
        """A statement with the dims that the program gave it."""
        s = self.nest.statement_table[statement]
        return replace(s, dims=dict(self.padded).get(statement, s.dims))

    def unproved(self) -> str | None:
        """Why the present order cannot be taken for the program's, or None. Sums must be in order, too."""
        return self._fault

    @cached_property
    def _fault(self) -> str | None:
        try:
            check_order(self.nest, self.nest.order, self.found, strict=True, rebased=self.rebased)
        except IllegalSchedule as error:
            return error.reason
        return None

    def with_order(self, order: Order) -> Scheduled:
        """The same program in another order."""
        return replace(self, nest=replace(self.nest, order=order))

    @cached_property
    def answers(self) -> dict[tuple[object, ...], Any]:
        """What :func:`once` has found out."""
        return {}

    @cached_property
    def loops(self) -> dict[str, LoopOrder]:
        """Loops by name."""
        return {loop.name: loop for loop in loops_of(self.nest.order)}

    def loop(self, name: str) -> LoopOrder:
        """A loop by name. Raises KeyError."""
        return self.loops[name]

    def outer(self, name: str) -> tuple[LoopOrder, ...]:
        """The loops around a loop, outermost first."""
        path = loop_path(self.nest.order, next(leaves(self.loop(name))))
        return path[: [p.name for p in path].index(name)]

    def is_private(self, array: str, loop: LoopOrder) -> bool:
        """Whether every iteration of ``loop`` (or of one inside it) has its own copy of an array."""
        if not any(a == array for a, _ in self.private):
            return False
        inside = {loop.name} | {inner.name for inner in loops_of(loop.body)}
        return any((array, name) in self.private for name in inside)


Question = TypeVar("Question", bound=Callable[..., Any])


def once(question: Question) -> Question:
    """A question, a ``can_`` twin mostly, answered once for a program, which never changes: a proposer asks, then the step, then its
    transformation."""

    @wraps(question)
    def answer(scheduled: Scheduled, *args: Hashable) -> Any:
        key = (question, *args)
        if key not in scheduled.answers:
            scheduled.answers[key] = question(scheduled, *args)
        return scheduled.answers[key]

    return cast(Question, answer)


def change_loop(order: Order, name: str, change: Callable[[LoopOrder], Order]) -> Order:
    """The order with one loop replaced."""
    if isinstance(order, Leaf):
        return order
    if isinstance(order, SequenceOrder):
        return sequence([change_loop(c, name, change) for c in order.children])
    if order.name == name:
        return change(order)
    return replace(order, body=change_loop(order.body, name, change))


def siblings(order: Order, name: str) -> tuple[Order, ...]:
    """The children of the sequence that holds a loop (itself included)."""
    if isinstance(order, LoopOrder):
        return (order,) if order.name == name else siblings(order.body, name)
    if isinstance(order, SequenceOrder):
        if any(isinstance(c, LoopOrder) and c.name == name for c in order.children):
            return order.children
        for child in order.children:
            found = siblings(child, name)
            if found:
                return found
    return ()


def ends_by_data(scheduled: Scheduled, name: str) -> str | None:
    """The reason that a loop stays as it is because data tells which of its iterations run, or None."""
    return f"data tells which iterations of {name} run" if scheduled.loop(name).exit is not None else None


def extent(scheduled: Scheduled, loop: LoopOrder) -> tuple[int, int] | None:
    """Least and greatest value of a loop, or None if a run-time argument bounds it."""
    low, high = None, None
    for name, value in loop.values:
        statement = scheduled.nest.statement_table[name]
        box: dict[str, tuple[int, int]] = {}
        try:
            for d in statement.dims:
                if d.upper.names() <= box.keys():
                    box[d.name] = (bound_values(d.lower, box)[0], bound_values(d.upper, box)[1] - 1)
            first, last = bound_values(value, box)
        except (NotAffine, KeyError):
            return None
        low, high = (first if low is None else min(low, first)), (last if high is None else max(high, last))
    return None if low is None or high is None else (low, high)


def block_of(scheduled: Scheduled, loop: LoopOrder) -> tuple[LoopOrder, int] | None:
    """The loop around a loop of which every iteration is one block of its iterations, and the size of a block."""
    for around in reversed(scheduled.outer(loop.name)):
        sizes = {_blocks(around.value(s), v) for s, v in loop.values}
        if len(sizes) == 1 and (size := sizes.pop()):
            return around, size
    return None


def _blocks(block: Size, value: Size) -> int | None:
    """``n`` where a value of a loop is ``x // n`` of that of another, or where they are ``x // m`` and ``x // (n m)``."""
    size = _divisor(block, value)
    if size:
        return size
    atom = value.terms[0][0][0] if len(value.terms) == 1 and value.terms[0][1] == 1 and len(value.terms[0][0]) == 1 else None
    if not isinstance(atom, SizeFn) or atom.op != "//" or not (inner := atom.args[1].constant):
        return None
    whole = _divisor(block, atom.args[0])
    return whole // inner if whole and whole % inner == 0 else None


def _divisor(block: Size, value: Size) -> int | None:
    functions = [m[0] for m, _ in block.terms if len(m) == 1 and isinstance(m[0], SizeFn) and m[0].op == "//"]
    sizes = [f.args[1].constant for f in functions]
    return next((s for s in sizes if s and block == value // Size.of(s)), None)


def conflicts(scheduled: Scheduled, name: str, *, reductions: bool) -> Iterator[Dependence]:
    """Dependences between different iterations of a loop; private arrays have none."""
    for reason in _conflicts(scheduled, name, reductions):
        yield reason.dependence


def conflict(scheduled: Scheduled, name: str, *, reductions: bool) -> Reason | None:
    """Why iterations of a loop are not independent (the first of :func:`conflicts`), or None."""
    return next(_conflicts(scheduled, name, reductions), None)


def _conflicts(scheduled: Scheduled, name: str, reductions: bool) -> Iterator[Reason]:
    loop, outer = scheduled.loop(name), scheduled.outer(name)
    below = {s for s, _ in loop.values}
    for d in scheduled.found:
        if d.source not in below or d.sink not in below or (d.reduction and reductions):
            continue
        if not scheduled.is_private(d.array, loop) and (reason := joins(scheduled.nest, loop, d, outer)):
            yield reason


def sibling_graph(scheduled: Scheduled, children: tuple[Order, ...]) -> nx.DiGraph:
    """Which sibling must stay before which: edges from dependences within one iteration of the loops around."""
    owner = {s: n for n, child in enumerate(children) for s in leaves(child)}
    graph = nx.DiGraph()
    graph.add_nodes_from(range(len(children)))
    for d in scheduled.found:
        a, b = owner.get(d.source), owner.get(d.sink)
        if a is not None and b is not None and a != b:
            graph.add_edge(min(a, b), max(a, b))
    return graph


def replace_siblings(order: Order, name: str, new: list[Order]) -> Order:
    """The order with the sequence that holds a loop replaced."""
    if isinstance(order, LoopOrder):
        return replace(order, body=replace_siblings(order.body, name, new))
    if isinstance(order, SequenceOrder):
        if any(isinstance(c, LoopOrder) and c.name == name for c in order.children):
            return sequence(new)
        return sequence([replace_siblings(c, name, new) for c in order.children])
    return order
