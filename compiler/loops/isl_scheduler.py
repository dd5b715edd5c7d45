"""isl's scheduler: an order of a nest from its dependences alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import islpy

from ..graph.types import Size
from .isl import NotAffine, domain, head
from .nest import Leaf, LoopOrder, Order, Statement, leaves, sequence

#: How far isl's scheduler joins components: ``min`` none, ``max`` whole components at once, ``smart`` as it sees fit.
FUSIONS = ("smart", "max", "min")
#: Operations of isl, less than a second of them, after which it has found no order.
MOST = 2_000_000
#: Largest coefficient of a value of a loop: sizes that are literals tempt isl into others like themselves.
LARGEST = 4


#: What isl says where it finds no order, and in our words.
_GIVEN_UP = {
    "maximal number of operations": "isl finds no order in a reasonable time",
    "unable to carry dependences": f"isl finds no order with coefficients up to {LARGEST}",
}


@dataclass(frozen=True)
class Wishes:
    """Relations between instances: ``kept`` stay in sequence, ``apart`` are of one iteration of the outer loops, ``near`` of close ones,
    the latter two as far as that is possible."""

    kept: Sequence[islpy.Map]
    apart: Sequence[islpy.Map]
    near: Sequence[islpy.Map]


def rescheduled(statements: Sequence[Statement], wishes: Wishes, params: Sequence[str], fusion: str) -> Order:
    """The order that isl's scheduler finds.

    Loops are ``b0``, ``b1``, ... from the outside in, the same every time. Raises NotAffine for a schedule that is not
    one affine value per statement and loop. Source: Verdoolaege & Janssens, "Scheduling for PPCG", 2017.
    """
    context = islpy.Context()  # what isl has seen before can change its order
    start = head(params)
    instances = "; ".join(_inside(domain(s, params)) for s in statements)
    validity, coincidence, proximity = (
        islpy.UnionMap.read_from_str(context, f"{start}{{ {_union(r)} }}") for r in (wishes.kept, wishes.apart, wishes.near)
    )
    domains = islpy.UnionSet.read_from_str(context, f"{start}{{ {instances} }}")
    constraints = islpy.ScheduleConstraints.on_domain(domains)
    constraints = constraints.set_validity(validity).set_coincidence(coincidence).set_proximity(proximity)
    options = {"serialize_sccs": int(fusion == "min"), "whole_component": int(fusion == "max"), "max_coefficient": LARGEST}
    for option, value in options.items():
        getattr(context, f"set_schedule_{option}")(value)
    context.reset_operations()
    context.set_max_operations(MOST)
    try:
        found = constraints.compute_schedule()
    except islpy.Error as error:
        text = next((text for word, text in _GIVEN_UP.items() if word in str(error)), None)
        if text is None:
            raise
        raise NotAffine(text) from None
    names = (f"b{n}" for n in count())
    order = _read_order(found.get_root(), {s.name: s for s in statements}, names)
    placed = set(leaves(order))
    return sequence([order, *(_by_itself(s, names) for s in statements if s.name not in placed)])


def _by_itself(statement: Statement, names: Iterator[str]) -> Order:
    """A statement in its own loops, as isl leaves out those without instances."""
    order: Order = Leaf(statement.name)
    for dim in reversed(statement.dims):
        order = LoopOrder(next(names), ((statement.name, Size.of(dim.name)),), order)
    return order


def _union(relations: Iterable[islpy.Map]) -> str:
    return "; ".join(_inside(relation.coalesce()) for relation in relations)


def _inside(found: islpy.Set | islpy.Map) -> str:
    """What stands between the braces of the text of a set or relation."""
    text = str(found)
    return text[text.index("{") + 1 : text.rindex("}")].strip()


def _read_order(node: Any, active: Mapping[str, Statement], names: Iterator[str]) -> Order:
    """A node of isl's schedule tree as an order of the statements it holds."""
    kind = node.get_type()
    types = islpy.schedule_node_type
    if kind == types.leaf:
        return sequence([Leaf(name) for name in active])  # of several, nothing asks which is first
    if kind in (types.sequence, types.set):
        parts = [node.child(n) for n in range(node.n_children())]
        return sequence([_read_order(part, active, names) for part in parts])
    if kind == types.filter:
        inside: set[str] = set()
        node.filter_get_filter().foreach_set(lambda s: inside.add(s.get_tuple_name()))
        return _read_order(node.child(0), {n: s for n, s in active.items() if n in inside}, names)
    if kind == types.band:
        schedule = node.band_get_partial_schedule()
        loops = [(next(names), _values(schedule.get_union_pw_aff(n), active)) for n in range(node.band_n_member())]
        body = _read_order(node.child(0), active, names)
        for name, values in reversed(loops):
            body = LoopOrder(name, values, body)
        return body
    return _read_order(node.child(0), active, names)


def _values(schedule: Any, active: Mapping[str, Statement]) -> tuple[tuple[str, Size], ...]:
    """What one dimension of a schedule gives every statement."""
    by_statement: list[Any] = []
    schedule.foreach_pw_aff(by_statement.append)
    found: dict[str, Size] = {}
    for value in by_statement:
        name = value.domain().get_tuple_name()
        pieces: list[Any] = []
        value.foreach_piece(lambda _, piece, pieces=pieces: pieces.append(piece))
        if len(pieces) != 1:
            raise NotAffine(f"isl gives {name} a value in several pieces")
        found[name] = _size(pieces[0], active[name])
    return tuple((name, found[name]) for name in active)


def _size(value: Any, statement: Statement) -> Size:
    """An affine expression of isl in the dims of a statement and parameters."""
    if value.dim(islpy.dim_type.div) or not value.get_denominator_val().is_one():
        raise NotAffine(f"isl gives {statement.name} the value {value}, which divides")
    total = Size.of(value.get_constant_val().to_python())
    for n, d in enumerate(statement.dims):
        total = total + Size.of(d.name) * value.get_coefficient_val(islpy.dim_type.in_, n).to_python()
    for n in range(value.dim(islpy.dim_type.param)):
        factor = value.get_coefficient_val(islpy.dim_type.param, n).to_python()
        if factor:
            total = total + Size.of(value.get_dim_name(islpy.dim_type.param, n)) * factor
    return total
