"""Statements that enter a loop beside them or get one of their own, and loops taken apart at any depth: imperfect nests become bands
and come apart again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from ...graph.types import Size, parse_size
from ..dependences import IllegalSchedule, check_order
from ..nest import Leaf, LoopOrder, Order, children, leaves, loops_of, sequence
from ..nest import Sequence as SequenceOrder
from ..scheduled import Scheduled, change_loop, once, replace_siblings, siblings


@once
def can_sink(scheduled: Scheduled, statement: str, name: str, value: str | int = "") -> str | None:
    """Why what stands beside a loop cannot enter it, or None (the final check proves legality)."""
    if name not in scheduled.loops:
        return f"no such loop: {name}"
    if statement not in scheduled.nest.statement_table:
        return f"no such statement: {statement}"
    beside = siblings(scheduled.nest.order, name)
    part = next((c for c in beside if statement in leaves(c)), None)
    if part is None or (isinstance(part, LoopOrder) and part.name == name):
        return f"{statement} does not stand beside {name}"
    found = _value(value)
    if found is None:
        return f"`{value}` is no integer expression"
    unknown = found.names() - {o.name for o in scheduled.outer(name)} - set(scheduled.nest.params)
    return f"`{sorted(unknown)[0]}` is no loop around {name}, nor a count" if unknown else None


def sink(scheduled: Scheduled, statement: str, name: str, value: str | int = "") -> Scheduled:
    """What stands beside a loop enters it at one iteration: ``sink S1 j i``. The value is over the loops around; without one it is 0.

    for i:                                  for i:
        for j in 0..i: S0(i, j)     -->         for j in 0..i+1:
        S1(i)                                       if j < i: S0(i, j)
                                                    if j == i: S1(i)
    """
    reason = can_sink(scheduled, statement, name, value)
    at = _value(value)
    if reason or at is None:
        raise ValueError(f"cannot sink {statement} into {name}: {reason}")
    beside = siblings(scheduled.nest.order, name)
    place = next(n for n, c in enumerate(beside) if statement in leaves(c))
    part, loop = beside[place], scheduled.loop(name)
    outer = scheduled.outer(name)
    values = tuple((s, at.substitute({o.name: o.value(s) for o in outer})) for s in leaves(part))
    first = place < next(n for n, c in enumerate(beside) if isinstance(c, LoopOrder) and c.name == name)
    body = sequence([part, loop.body] if first else [loop.body, part])
    wide = replace(loop, values=(*values, *loop.values) if first else (*loop.values, *values), body=body)
    new = [wide if c is loop else c for c in beside if c is not part]
    return scheduled.with_order(replace_siblings(scheduled.nest.order, name, new))


@once
def can_enclose(scheduled: Scheduled, statement: str, name: str, value: str | int = "") -> str | None:
    """Why a part of a loop's body cannot get a loop around it, or None."""
    if name not in scheduled.loops:
        return f"no such loop: {name}"
    if statement not in leaves(scheduled.loop(name)):
        return f"no such statement in {name}: {statement}"
    if f"{statement}_at" in scheduled.loops:
        return f"there is a loop {statement}_at already"
    if set(scheduled.loop(name).kind.split()) & {"vector", "unroll"}:
        return f"{name} is {scheduled.loop(name).kind}"
    found = _value(value)
    if found is None:
        return f"`{value}` is no integer expression"
    unknown = found.names() - {o.name for o in (*scheduled.outer(name), scheduled.loop(name))} - set(scheduled.nest.params)
    return f"`{sorted(unknown)[0]}` is no loop around {statement}, nor a count" if unknown else None


def enclose(scheduled: Scheduled, statement: str, name: str, value: str | int = "") -> Scheduled:
    """The part of a loop that holds a statement gets a loop of one iteration, ``STATEMENT_at``, around it, as if it were a sweep of one row:
    ``enclose S0 t 0``. The value is over the loops around; without one it is 0.

    for t:                              for t:
        S0(t)                               for S0_at in 0..1: S0(t)
        for i: S1(t, i)     -->             for i: S1(t, i)
    """
    reason = can_enclose(scheduled, statement, name, value)
    at = _value(value)
    if reason or at is None:
        raise ValueError(f"cannot enclose {statement} in {name}: {reason}")
    around = (*scheduled.outer(name), scheduled.loop(name))

    def change(loop: LoopOrder) -> Order:
        made: list[Order] = []
        for part in children(loop.body):
            held = list(leaves(part))
            values = tuple((s, at.substitute({o.name: o.value(s) for o in around})) for s in held)
            made.append(LoopOrder(f"{statement}_at", values, part) if statement in held else part)
        return replace(loop, body=sequence(made))

    return scheduled.with_order(change_loop(scheduled.nest.order, name, change))


def _value(value: str | int) -> Size | None:
    if isinstance(value, int):
        return Size.of(value)
    try:
        return parse_size(value or "0")
    except ValueError:
        return None


@once
def can_fission(scheduled: Scheduled, name: str, statement: str, *others: str) -> str | None:
    """Why statements cannot run in a loop of their own before the rest of a loop, or None."""
    if name not in scheduled.loops:
        return f"no such loop: {name}"
    chosen, below = {statement, *others}, set(leaves(scheduled.loop(name)))
    for s in (statement, *others):
        if s not in below:
            return f"no such statement in {name}: {s}"
    if chosen == below:
        return f"{name} has no other statement"
    inside = {name, *(loop.name for loop in loops_of(scheduled.loop(name).body))}
    for array, owner in scheduled.private:
        users = {s.name for s in scheduled.nest.statements if array in s.arrays()}
        if owner in inside and users & chosen and users - chosen:
            return f"{array} lives in one iteration of {owner} and is used on both sides"
    order, _ = _apart(scheduled, name, chosen)
    across = [d for d in scheduled.found if d.source in below - chosen and d.sink in chosen]
    try:
        check_order(scheduled.nest, order, across, rebased=True)
    except IllegalSchedule as error:
        return error.reason
    return None


def fission(scheduled: Scheduled, name: str, statement: str, *others: str) -> Scheduled:
    """Statements of a loop run in a loop of their own, before the others; loops inside are doubled where needed (``NAME_b``).

    for i:                                  for i:
        for j: A(i, j); B(i, j)     -->         for j: A(i, j)
        C(i)                                    C(i)
                                            for i_b:
                                                for j_b: B(i_b, j_b)            fission i A C
    """
    reason = can_fission(scheduled, name, statement, *others)
    if reason:
        raise ValueError(f"cannot take {statement} out of {name}: {reason}")
    chosen = {statement, *others}
    order, names = _apart(scheduled, name, chosen)
    users = {a.name: {s.name for s in scheduled.nest.statements if a.name in s.arrays()} for a in scheduled.nest.arrays}
    moved = {a for a, owner in scheduled.private if owner in names and not users[a] & chosen}
    private = frozenset((a, names[owner] if a in moved and owner in names else owner) for a, owner in scheduled.private)
    arrays = tuple(
        replace(a, scope=f"local {names[a.scope.split()[1]]}") if a.name in moved else a for a in scheduled.nest.arrays
    )
    return replace(scheduled, nest=replace(scheduled.nest, order=order, arrays=arrays), private=private)


def _apart(scheduled: Scheduled, name: str, chosen: set[str]) -> tuple[Order, dict[str, str]]:
    """The order after a fission, and what loops are called in the second part where the first keeps their name."""
    loop = scheduled.loop(name)
    first = _part(loop, lambda s: s in chosen, {})
    second = _part(loop, lambda s: s not in chosen, {})
    assert first is not None
    assert second is not None
    kept = {o.name for o in loops_of(first)}
    taken, names = set(scheduled.loops), {}
    for o in loops_of(second):
        if o.name in kept:
            new = f"{o.name}_b"
            while new in taken:
                new += "b"
            taken.add(new)
            names[o.name] = new
    second = _part(loop, lambda s: s not in chosen, names)
    assert second is not None
    return change_loop(scheduled.nest.order, name, lambda _: sequence([first, second])), names


def _part(order: Order, wanted: Callable[[str], bool], names: Mapping[str, str]) -> Order | None:
    """What is left of an order with some statements only."""
    if isinstance(order, Leaf):
        return order if wanted(order.statement) else None
    if isinstance(order, SequenceOrder):
        parts = [p for c in order.children if (p := _part(c, wanted, names)) is not None]
        return sequence(parts) if parts else None
    body = _part(order.body, wanted, names)
    values = tuple((s, v) for s, v in order.values if wanted(s))
    return None if body is None else LoopOrder(names.get(order.name, order.name), values, body, order.kind)
