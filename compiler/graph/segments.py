"""Tape policies: for which iterations of the outermost loops a tape is recorded, and the loops in segments that some of them need.

    keep        every iteration records what its adjoint needs, or the state where that is much smaller
    no calls    as keep, but loops around library calls record what is not made by cheap ops, however large: they are not called again
    recompute   every iteration records the carried values it starts from; its adjoint computes the rest again
    every s     every s-th iteration records the carried values; the adjoint goes through one segment of s iterations at a time,
                forward from its first state with a tape, then backward

    for k in 0..K:                   for o in 0..K by s:           (records x)
        x = f(x, theta[k])     -->       for k in o..min(K, o+s):  (its tape has s rows)
                                             x = f(x, theta[k])

Memory is K rows of a tape, K states, or K/s states and s rows; the last two cost a second forward pass (Griewank and Walther,
Evaluating Derivatives, 2nd ed., section 12.3: one level of checkpoints at equal distances).
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from .graph import Graph, Node, Region, Value, loop_indices, make_attrs, walk
from .types import BYTES, Size, size_fn


@dataclass(frozen=True, order=True)
class Policy:
    """``every`` = 0: keep; 1: recompute; -1: no calls; otherwise the length of a segment."""

    every: int = 0

    def __str__(self) -> str:
        return {0: "keep", 1: "recompute", -1: "no calls"}.get(self.every, f"every {self.every}")

    def prepare(self, graph: Graph) -> Graph:
        """The graph with its outermost loops in the segments that the policy needs; it computes the same."""
        return segment(graph, self.every) if self.every > 1 else graph


KEEP = Policy()
NO_CALLS = Policy(-1)


def segment(graph: Graph, length: int) -> Graph:
    """The outermost loops of a graph as loops over segments of ``length`` iterations; loops that stack values or have an ``until``
    stay as they are."""
    taken = {*graph.types, *loop_indices(graph)}
    return replace(graph, nodes=tuple(_segmented(n, length, taken) if _divisible(n) else n for n in graph.nodes))


def _divisible(node: Node) -> bool:
    return node.op == "for" and not node.attr("stacked", 0) and not node.attr("until")


def _segmented(node: Node, length: int, taken: set[str]) -> Node:
    index, upper, step = node.attr("index"), node.attr("upper"), node.attr("step")
    outer = _free(f"{index}_from", taken)
    end = size_fn("min" if step > 0 else "max", upper, Size.of(outer) + length * step)
    region = node.regions[0]
    args = tuple(Value(_free(a.name, taken), a.type) for a in region.args)
    ends = tuple(Value(_free(v.name, taken), v.type) for v in node.outputs)
    attrs = dict(node.attrs)
    inner = replace(
        node,
        inputs=tuple(a.name for a in args),
        outputs=ends,
        attrs=make_attrs(attrs | {"lower": Size.of(outer), "upper": end, "stack_size": Size.of(length)}),
    )
    whole = Region(args, (inner,), tuple(v.name for v in ends))
    return replace(node, attrs=make_attrs(attrs | {"index": outer, "step": length * step}), regions=(whole,))


def _free(hint: str, taken: set[str]) -> str:
    name = unused(hint, taken)
    taken.add(name)
    return name


def unused(hint: str, taken: Container[str]) -> str:
    """``hint``, with a number behind it if that name is ``taken``."""
    name, n = hint, 0
    while name in taken:
        name, n = f"{hint}_{n}", n + 1
    return name


def tape_bytes(graph: Graph, sizes: Mapping[str, int]) -> int:
    """Bytes of what the loops of a graph stack, for one problem; a loop inside another one has the stacks of one iteration."""
    return sum(stack_bytes(value, sizes) for value in stacks(graph.nodes))


def stack_bytes(value: Value, sizes: Mapping[str, int]) -> int:
    """Bytes of one of the :func:`stacks`."""
    numel = value.type.numel
    return numel.evaluate({n: sizes[n] for n in numel.names()}) * BYTES[value.type.dtype]


def stacks(nodes: Sequence[Node]) -> Iterator[Value]:
    """What loops, and those inside them, stack."""
    for node in walk(nodes):
        if node.op == "for":
            yield from node.outputs[len(node.regions[0].args) :]


def followed(nodes: Sequence[Node]) -> set[str]:
    """The names of those :func:`stacks` that have the value at the end of their loop as one more row."""
    every = list(walk(nodes))
    found = {value.name for value in stacks(nodes)}
    return {n.inputs[0] for n in every if n.op == "update" and n.inputs[0] in found}
