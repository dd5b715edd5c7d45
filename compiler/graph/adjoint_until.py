"""Loops with ``until`` in the adjoint: how many iterations ran, and what runs only for those.

    for k in 0..K carry x until c:  -->  for k in 0..K carry x, ran until c: ...; ran = ran + 1
                                         for k in K-1..-1 by -1 carry dx:
                                             dx = if k < ran: (adjoint of the k-th iteration)(dx) else: dx

Where the loops become code, the reverse loop does nothing in iterations that did not run but to compare two numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from .graph import Builder, Node, Region, Value, make_attrs
from .types import Size, Type

COUNT = Type("i64")


def counted(node: Node, new: Callable[[str, Type], Value]) -> tuple[Node, Node, str]:
    """A node that starts the count, the loop with the count as its last carried value, and the name of the count at the end.

    ``new`` makes values with names of their own.
    """
    region, carried = node.regions[0], len(node.regions[0].args)
    zero, ran, one, after, final = (new(hint, COUNT) for hint in ("ran_0", "ran", "ran_1", "ran_after", "ran_total"))
    start = Node("const", (), (zero,), make_attrs({"value": 0, "dtype": COUNT.dtype}), (), node.span)
    step = Node("const", (), (one,), make_attrs({"value": 1, "dtype": COUNT.dtype}), (), node.span)
    add = Node("add", (ran.name, one.name), (after,), (), (), node.span)
    results = (*region.results[:carried], after.name, *region.results[carried:])
    made = replace(
        node,
        inputs=(*node.inputs, zero.name),
        outputs=(*node.outputs[:carried], final, *node.outputs[carried:]),
        regions=(Region((*region.args, ran), (*region.nodes, step, add), results),),
    )
    return start, made, final.name


def has_run(b: Builder, row: Size, ran: Value) -> Value:
    """Whether the iteration in a row was one of those that ran."""
    out: Value = b.op("lt", b.op("size_value", value=row, dtype=COUNT.dtype), ran)
    return out


def when(
    b: Builder, condition: Value, types: Sequence[Type], then: Callable[[], Sequence[Value]], otherwise: Callable[[], Sequence[Value]]
) -> tuple[Value, ...]:
    """Values of one of two sides."""
    found = b.op("if", condition, regions=(b.region([], then), b.region([], otherwise)), types=tuple(types))
    return found if isinstance(found, tuple) else (found,)
