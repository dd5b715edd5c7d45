"""Loops with ``until`` in the adjoint: how many iterations ran, and what runs only for those.

    for k in 0..K carry x until c:  -->  for k in 0..K carry x, ran until c: ...; ran = ran + 1
                                         for k in K-1..-1 by -1 carry dx:
                                             dx = if k < ran: (adjoint of the k-th iteration)(dx) else: dx

Where the loops become code, the reverse loop does nothing in iterations that did not run but to compare two numbers.

How the backward pass of such a loop is made stands in its attribute ``backward``, which :func:`with_backward` sets: nothing is the gradient of
the iterations that ran; ``truncated:N`` that of the last N of them, before which the state counts as a constant; ``implicit`` that of the fixed
point at which the loop has stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from .graph import Builder, Graph, Node, Region, Value, make_attrs, walk
from .ops.common import real_twin
from .types import At, Range, Size, Type

COUNT = Type("i64")
#: The implicit gradient stops where a step of its iteration is this much shorter than what it has come to.
FINE, COARSE = 1e-12, 1e-6  # in double precision, and in others


def with_backward(graph: Graph, mode: str) -> Graph:
    """The graph with the backward pass of its loops with ``until`` chosen. ``mode`` is ``unrolled``, ``truncated:N`` or ``implicit``."""
    if mode == "unrolled":
        return graph

    def change(node: Node) -> Node:
        regions = tuple(replace(r, nodes=tuple(map(change, r.nodes))) for r in node.regions)
        made = replace(node, regions=regions)
        return made.with_attrs(backward=mode) if node.attr("until") else made

    return replace(graph, nodes=tuple(map(change, graph.nodes)))


def stops_by_data(graph: Graph) -> bool:
    """Whether there is a loop with ``until``."""
    return any(node.attr("until") for node in walk(graph.nodes))


def window(node: Node) -> int | None:
    """How many of the last iterations of a loop the backward pass goes through; None: all."""
    mode = node.attr("backward") or ""
    return int(mode.removeprefix("truncated:")) if mode.startswith("truncated:") else None


def is_implicit(node: Node) -> bool:
    """Whether the gradient of a loop is that of its fixed point."""
    return bool(node.attr("backward") == "implicit")


def counted(node: Node, new: Callable[[str, Type], Value]) -> tuple[tuple[Node, ...], Node, str]:
    """What starts the count, the loop with the count as its last carried value, and the name of the count at the end.

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
    return (start,), made, final.name


def in_turns(node: Node, stacks: int, places: int, new: Callable[[str, Type], Value]) -> tuple[tuple[Node, ...], Node]:
    """The last ``stacks`` stacks of a loop as carried arrays whose few places the rows take in turn, and what starts them."""
    region, carried, total = node.regions[0], len(node.regions[0].args), len(node.outputs)
    rows, outputs = region.results[total - stacks : total], node.outputs[total - stacks :]
    row = row_of(node)
    starts: list[Node] = []
    updates: list[Node] = []
    inputs, args, finals = [], [], []
    for result, old in zip(rows, outputs, strict=True):
        type = old.type.with_shape(places, *old.type.shape[1:])
        zero, full, arg, after = new("turn_0", Type(type.dtype)), new("turns_0", type), new("turns", type), new("turns_after", type)
        value = False if type.dtype == "bool" else 0 if type.dtype[0] in "ik" else 0.0
        starts.append(Node("const", (), (zero,), make_attrs({"value": value, "dtype": type.dtype}), (), node.span))
        starts.append(Node("broadcast", (zero.name,), (full,), make_attrs({"shape": type.shape}), (), node.span))
        items = (At(row % places), *(Range(Size.of(0), s) for s in type.shape[1:]))
        attrs = make_attrs({"items": items, "mode": "set"})
        updates.append(Node("update", (arg.name, result), (after,), attrs, (), node.span))
        inputs.append(full.name)
        args.append(arg)
        finals.append(replace(old, type=type))
    results = (
        *region.results[:carried],
        *(u.output.name for u in updates),
        *region.results[carried : total - stacks],
        *region.results[total:],
    )
    stacked = node.attr("stacked", 0) - stacks
    made = replace(
        node,
        inputs=(*node.inputs, *inputs),
        outputs=(*node.outputs[:carried], *finals, *node.outputs[carried : total - stacks]),
        regions=(Region((*region.args, *args), (*region.nodes, *updates), results),),
    )
    made = made.with_attrs(stacked=stacked, loose=node.attr("loose", 0) - stacks, stack_size=node.attr("stack_size") if stacked else None)
    return tuple(starts), made


def row_of(node: Node) -> Size:
    """The row in stacks that an iteration of a loop has, from its index."""
    index, step = Size.of(node.attr("index")), node.attr("step")
    lower: Size = node.attr("lower")
    row: Size = (index - lower) // step if step > 0 else (lower - index) // -step
    return row


def number(b: Builder, value: float, dtype: str = COUNT.dtype) -> Value:
    """A constant, a count if nothing else is said."""
    out: Value = b.op("const", value=value, dtype=dtype)
    return out


def has_run(b: Builder, row: Size, ran: Value, last: int | None = None) -> Value:
    """Whether the iteration in a row was one of those that ran, or of the ``last`` so many of them."""
    here: Value = b.op("size_value", value=row, dtype=COUNT.dtype)
    out: Value = b.op("lt", here, ran)
    if last is not None:
        out = b.op("and", out, b.op("ge", here, b.op("sub", ran, number(b, last))))
    return out


def settled(b: Builder, new: Sequence[Value], old: Sequence[Value]) -> Value:
    """Whether values have all but stopped to move: the step, and what they have come to, compared in the Euclidean norm of all together."""
    totals: list[Value] = []
    fine = all(real_twin(v.type.dtype) == "f64" for v in new)
    for values in ([b.op("sub", x, y) for x, y in zip(new, old, strict=True)], new):
        total = number(b, 0, "f64")
        for v in values:
            size = b.op("abs", v)
            square = b.op("mul", size, size)
            part = b.op("sum", square, axes=tuple(range(-v.type.rank, 0))) if v.type.rank else square
            part = part if part.type.dtype == "f64" else b.op("cast", part, dtype="f64")
            total = b.op("add", total, part)
        totals.append(total)
    limit = number(b, (FINE if fine else COARSE) ** 2, "f64")
    out: Value = b.op("le", totals[0], b.op("mul", limit, totals[1]))
    return out


def when(
    b: Builder, condition: Value, types: Sequence[Type], then: Callable[[], Sequence[Value]], otherwise: Callable[[], Sequence[Value]]
) -> tuple[Value, ...]:
    """Values of one of two sides."""
    found = b.op("if", condition, regions=(b.region([], then), b.region([], otherwise)), types=tuple(types))
    return found if isinstance(found, tuple) else (found,)
