"""Exact dependences of a nest, and whether an order respects them.

A dependence is the relation between instances of two statements that touch one array element, at least one of
them writing, the first before the second in program order. An order is legal if every pair stays in that sequence.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..diagnostics import UnspoolError
from ..graph.types import Size
from . import isl
from .nest import Access, Leaf, LoopOrder, Nest, Order, Statement, accesses, exits
from .nest import Sequence as SequenceOrder

Level = tuple[str, Any]  # ("at", position) or ("loop", value)


class IllegalSchedule(UnspoolError):
    """An order breaks a dependence, or a step does not apply. The text names the step, the array and two instances.

    The instances are looked for when the text is read: that can take isl long, and a search drops thousands of orders unread.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)

    def __str__(self) -> str:
        return self.reason.full if isinstance(self.reason, Reason) else self.reason


@dataclass(frozen=True)
class Dependence:
    """``source`` before ``sink`` on ``array``; ``reduction`` if both only accumulate into it with one operator."""

    source: str
    sink: str
    array: str
    kind: str  # flow, anti or output
    reduction: bool
    relation: Any
    same: tuple[tuple[Size, Size], ...] = ()  # index of the source = index of the sink, axis by axis

    def forces_equal(self, at_source: Size, at_sink: Size) -> bool:
        """Whether the equal indices alone imply that two loop values are equal."""
        for x, y in self.same:
            shift = (at_source - x).constant
            if shift is not None and shift == (at_sink - y).constant:
                return True
        return False

    def part(self, source: Statement, sink: Statement, condition: str, params: Sequence[str]) -> Any:
        """The pairs of instances that meet a condition (sink dims primed); None if there are none. Answers are kept: candidates have most
        dependences in common."""
        kept = self.__dict__.setdefault("_parts", {})
        text = isl.relation_text(source, sink, condition, params)
        if text not in kept:
            pairs = self.relation.intersect(isl.map_of(text))
            kept[text] = None if pairs.is_empty() else pairs
        return kept[text]

    def __str__(self) -> str:
        return f"{self.kind} {self.array}: {self.relation}"


class Reason(str):
    """Why a step does not apply: a text that knows the dependence in the way, and pairs of instances of it that are."""

    dependence: Dependence
    pairs: Any
    behind: str

    @staticmethod
    def of(text: str, dependence: Dependence, pairs: Any, behind: str = "") -> Reason:
        """A reason; ``pairs`` is a non-empty part of the dependence's relation, ``behind`` what is to be said after the instances."""
        made = Reason(text)
        made.dependence, made.pairs, made.behind = dependence, pairs, behind
        return made

    @property
    def full(self) -> str:
        """The text with concrete iterations."""
        return f"{self}, for instance {isl.example_pair(self.pairs)}{self.behind}"


def paths(order: Order) -> dict[str, tuple[tuple[str, Any], ...]]:
    """For every statement the levels above it: ("at", position in a sequence) or ("loop", loop)."""
    found: dict[str, tuple[tuple[str, Any], ...]] = {}

    def visit(node: Order, above: tuple[tuple[str, Any], ...]) -> None:
        if isinstance(node, Leaf):
            found[node.statement] = above
        elif isinstance(node, SequenceOrder):
            for position, child in enumerate(node.children):
                visit(child, (*above, ("at", position)))
        else:
            visit(node.body, (*above, ("loop", node)))

    visit(order, ())
    return found


def primed(statement: Statement) -> dict[str, Size]:
    """Dims renamed for the second statement of a pair."""
    return {d.name: Size.of(d.name + "_") for d in statement.dims}


def _levels(source: Statement, sink: Statement, above: Mapping[str, Sequence[Level]]) -> Iterator[tuple[str, Any]]:
    """Comparisons from the outside in: ("at", bool) or ("loop", (source value, sink value))."""
    rename = primed(sink)
    for (kind, a), (_, b) in zip(above[source.name], above[sink.name]):
        if kind == "at":
            if a != b:
                yield "at", a < b
                return
        else:
            yield "loop", (isl.affine_text(a.value(source.name)), isl.affine_text(b.value(sink.name).substitute(rename)))
    return


def before_text(source: Statement, sink: Statement, above: Mapping[str, Sequence[Level]], *, inside: int = 0) -> str:
    """A condition, in isl notation, for an instance of ``source`` to run before one of ``sink`` (primed dims).

    Both are in one iteration of the first ``inside`` loops, as the caller sees to.
    """
    tie = False  # the same place: never strictly before
    loops: list[tuple[str, str]] = []
    for kind, value in _levels(source, sink, above):
        if kind == "at":
            tie = value
            break
        loops.append(value)
    text = "1 = 1" if tie else ""
    for first, second in reversed(loops[inside:]):
        text = f"{first} < {second} or ({first} = {second} and ({text}))" if text else f"{first} < {second}"
    return text or "1 = 0"


def pair_map(source: Statement, sink: Statement, condition: str, params: Sequence[str]) -> Any:
    """The relation ``{ source -> sink : condition }`` within both domains (sink dims primed)."""
    found = isl.relation(source, sink, condition, params)
    return found.intersect_domain(isl.domain(source, params)).intersect_range(isl.domain(sink, params))


@dataclass(frozen=True)
class _Touch:
    statement: Statement
    index: tuple[Size, ...]
    write: bool
    reduce: str


def _touches(nest: Nest) -> dict[str, list[_Touch]]:
    found: dict[str, list[_Touch]] = {}
    for s in nest.statements:
        writes = [Access(w.array, w.index, w.dtype) for w in s.outputs] if s.routine else [s.write]
        reads = [Access(w.array, w.index, w.dtype) for w in s.inputs] if s.routine else list(s.reads())
        for w in writes:
            found.setdefault(w.array, []).append(_Touch(s, w.index, True, s.reduce))
        for r in reads:
            found.setdefault(r.array, []).append(_Touch(s, r.index, False, ""))
    for loop in exits(nest.order).values():  # each statement runs or not by what the test reads
        for name, value in loop.values:
            for a in accesses(loop.exit.test) if loop.exit else ():
                index = tuple(i.substitute({loop.name: value}) for i in a.index)
                found.setdefault(a.array, []).append(_Touch(nest.statement_table[name], index, False, ""))
    return found


def dependences(nest: Nest, of: Container[str] | None = None) -> tuple[Dependence, ...]:
    """All dependences of a nest in its present order, memory-based (every pair, not only the last writer).

    With ``of`` only those that one of these statements takes part in.
    """
    above = paths(nest.order)
    position = {name: n for n, name in enumerate(above)}
    found = []
    for array, touches in _touches(nest).items():
        if not any(t.write for t in touches):
            continue
        for a in touches:
            for b in touches:
                if not (a.write or b.write) or not _may_precede(a.statement, b.statement, above, position):
                    continue
                if of is not None and a.statement.name not in of and b.statement.name not in of:
                    continue
                dependence = _dependence(array, a, b, above, nest.params)
                if dependence is not None:
                    found.append(dependence)
    return tuple(found)


def _may_precede(a: Statement, b: Statement, above: Mapping[str, Sequence[Level]], position: Mapping[str, int]) -> bool:
    shares_loop = any(x[0] == "loop" and y[0] == "loop" and x[1] is y[1] for x, y in zip(above[a.name], above[b.name]))
    return shares_loop or position[a.name] < position[b.name]


def _dependence(
    array: str, a: _Touch, b: _Touch, above: Mapping[str, Sequence[Level]], params: Sequence[str]
) -> Dependence | None:
    rename = primed(b.statement)
    same = []
    for x, y in zip(a.index, b.index):
        shifted = y.substitute(rename)
        difference = (x - shifted).constant
        if difference is not None and difference != 0:
            return None
        same.append(f"{isl.affine_text(x)} = {isl.affine_text(shifted)}")
    order = before_text(a.statement, b.statement, above)
    condition = " and ".join([*same, f"({order})"])
    relation = pair_map(a.statement, b.statement, condition, params)
    if relation.is_empty():
        return None
    kind = "output" if a.write and b.write else "flow" if a.write else "anti"
    reduction = a.statement is b.statement and a.write and b.write and bool(a.reduce)  # what it reads is a dependence of its own
    return Dependence(a.statement.name, b.statement.name, array, kind, reduction, relation, tuple(zip(a.index, b.index)))


def check_order(nest: Nest, order: Order, found: Sequence[Dependence], *, strict: bool = False, rebased: bool = False) -> None:
    """Raise IllegalSchedule unless ``order`` keeps every dependence. Reductions may be reordered unless ``strict``.

    ``rebased``: the program order that the dependences are of is not that of the statements' dims.
    """
    above, table = paths(order), nest.statement_table
    missing = {s.name for s in nest.statements} ^ set(above)
    if missing:
        raise IllegalSchedule(f"the schedule does not place {', '.join(sorted(missing))} exactly once")
    for d in found:
        if d.reduction and not strict:
            continue
        broken = _broken(table[d.source], table[d.sink], above, d, nest.params, kept=not rebased)
        if broken is not None:
            raise IllegalSchedule(Reason.of(f"the {d.kind} dependence on {d.array} is reversed", d, broken))


def _broken(
    source: Statement, sink: Statement, above: Mapping[str, Sequence[Level]], d: Dependence, params: Sequence[str], *, kept: bool
) -> Any:
    """The part of a dependence whose sink runs at or before the source, given that program order had it after; None if there is none.

    With ``kept``, levels that are still the leading loops of program order can only be equal or right; levels that equal
    indices force to be equal decide nothing.
    """
    equal: list[str] = []  # of levels outside
    rename = primed(sink)

    def where(*more: str) -> Any:
        condition = " and ".join([*equal, *more])
        return d.part(source, sink, condition, params) if condition else d.relation

    for depth, ((kind, a), (_, b)) in enumerate(_loop_levels(source, sink, above)):
        if kind == "at":
            if a < b:
                return None
            break
        x, y = a.value(source.name), b.value(sink.name)
        shared = depth < min(len(source.dims), len(sink.dims)) and source.dims[depth] == sink.dims[depth]
        kept = kept and shared and x == y == Size.of(source.dims[depth].name)
        if d.forces_equal(x, y):
            continue
        first, second = isl.affine_text(x), isl.affine_text(y.substitute(rename))
        if not kept and (before := where(f"{first} > {second}")) is not None:
            return before
        equal.append(f"{first} = {second}")
        if not kept and where() is None:
            return None
    return where()  # the same place: never strictly before


def _loop_levels(source: Statement, sink: Statement, above: Mapping[str, Sequence[Level]]) -> Iterator[tuple[Level, Level]]:
    """Levels of both statements while they share the loops, ending with the place where they part."""
    for a, b in zip(above[source.name], above[sink.name]):
        if a[0] == "at" and a[1] == b[1]:
            continue
        yield a, b
        if a[0] == "at":
            return


def carried(nest: Nest, order: Order, loop: LoopOrder, d: Dependence, outer: Sequence[LoopOrder]) -> bool:
    """Whether a dependence joins different iterations of ``loop`` (both statements below it), outer loops equal."""
    return _joined(nest, loop, d, outer) is not None


def joins(nest: Nest, loop: LoopOrder, d: Dependence, outer: Sequence[LoopOrder], how: str = "!=") -> Reason | None:
    """The reason that a dependence :func:`carried` by a loop is, or None. ``how`` compares the iterations of source and sink."""
    pairs = _joined(nest, loop, d, outer, how)
    return None if pairs is None else Reason.of(f"the {d.kind} dependence on {d.array} joins different iterations", d, pairs)


def goes_back(nest: Nest, loop: LoopOrder, d: Dependence, outer: Sequence[LoopOrder]) -> Reason | None:
    """The reason that a dependence, carried by a loop to an earlier iteration, is; or None."""
    pairs = _joined(nest, loop, d, outer, ">")
    return (
        None if pairs is None else Reason.of(f"the {d.kind} dependence on {d.array} goes back to an earlier iteration", d, pairs)
    )


def _joined(nest: Nest, loop: LoopOrder, d: Dependence, outer: Sequence[LoopOrder], how: str = "!=") -> Any:
    """The part of a dependence that joins different iterations of a loop, outer loops equal; None if there is none. ``how`` compares
    the iterations of source and sink."""
    if d.forces_equal(loop.value(d.source), loop.value(d.sink)):
        return None
    table = nest.statement_table
    source, sink = table[d.source], table[d.sink]
    rename = primed(sink)

    def values(one: LoopOrder) -> tuple[str, str]:
        return isl.affine_text(one.value(source.name)), isl.affine_text(one.value(sink.name).substitute(rename))

    equal = [f"{a} = {b}" for a, b in map(values, outer)]
    first, second = values(loop)
    condition = " and ".join([*equal, f"{first} {how} {second}"])
    return d.part(source, sink, condition, nest.params)
