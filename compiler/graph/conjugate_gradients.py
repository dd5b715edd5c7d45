"""Solves by conjugate gradients as loops, once derivatives are taken (see :mod:`.adjoint_solve`).

    x = solve_cg(b, tol) {A}    -->    r = p = b;  x = 0
                                       for j in 0..iterations until |r| < tol |b|:
                                           q = A p;  a = r.r / p.q
                                           x += a p;  r -= a q;  p = r + (new r.r / old r.r) p

Systems side by side, as the columns of a matrix, are gone through together until the last of them is solved; one that is solved stays as it
is. What cannot be continued stays as it is, too: a right side 0, or a direction whose product with A p has become 0. Source: Hestenes and
Stiefel, Methods of conjugate gradients for solving linear systems, J. Res. NBS 49, 1952.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from string import ascii_letters

from .graph import Builder, Graph, LoopBody, Node, Region, Value, walk
from .ops.common import constant, reshape_to
from .segments import unused
from .types import Size, is_complex

SOLVE = "solve_cg"


def with_loops(graph: Graph) -> Graph:
    """The graph with its solves as loops."""
    if not any(node.op == SOLVE for node in walk(graph.nodes)):
        return graph
    work = _Loops(graph)
    return replace(graph, nodes=work.nodes(graph.nodes))


class _Loops:
    def __init__(self, graph: Graph) -> None:
        self.b = Builder(graph.name, [Value(n, t) for n, t in graph.types.items()])
        shapes = {n for t in graph.types.values() for s in t.shape for n in s.names()}
        self.taken = {*graph.types, *shapes}
        for node in walk(graph.nodes):
            self.taken.update(n for key in ("lower", "upper", "iterations") if node.attr(key) for n in node.attr(key).names())
            self.taken.add(node.attr("index") or "")

    def nodes(self, nodes: Sequence[Node]) -> tuple[Node, ...]:
        """The nodes with what solves have become."""
        out: list[Node] = []
        for node in nodes:
            regions = tuple(replace(r, nodes=self.nodes(r.nodes)) for r in node.regions)
            node = replace(node, regions=regions)
            out += self.loop(node) if node.op == SOLVE else [node]
        return tuple(out)

    def loop(self, node: Node) -> tuple[Node, ...]:
        """The nodes that solve; the last of them is the loop, and its first result has the name of the solution."""
        self.b.span = node.span
        made = self.b.region([], lambda: _solve(self.b, node, self.index())).nodes
        last = made[-1]
        return *made[:-1], replace(last, outputs=(node.output, *last.outputs[1:]))

    def index(self) -> str:
        """A name for the index of a loop."""
        name = unused("cg", self.taken)
        self.taken.add(name)
        return name


def _solve(b: Builder, node: Node, index: str) -> Sequence[Value]:
    right, tolerance, *start = (Value(n, b.types[n]) for n in node.inputs)
    region, core = node.regions[0], node.attr("core")
    lanes = tolerance.type.shape
    none = constant(b, 0, tolerance.type.dtype)

    def times(scale: Value, x: Value) -> Value:
        """A number for each system times its unknown."""
        if is_complex(x.type.dtype):
            scale = b.op("cast", scale, dtype=x.type.dtype)
        out: Value = b.op("mul", reshape_to(b, scale, (*lanes, *[Size.of(1)] * core)) if lanes else scale, x)
        return out

    squared = dot(b, right, right, core)
    limit: Value = b.op("mul", b.op("mul", tolerance, tolerance), squared)
    if start:
        x = start[0]
        r: Value = b.op("sub", right, applied(b, region, x))
    else:
        x, r = b.op("broadcast", constant(b, 0, right.type.dtype), shape=right.type.shape), right

    def body(x: Value, r: Value, p: Value, rr: Value) -> LoopBody:
        q = applied(b, region, p)
        pq = dot(b, p, q, core)
        idle = b.op("or", b.op("lt", rr, limit), b.op("eq", pq, none))  # neither holds for NaN, which goes on into the solution
        a = b.op("where", idle, none, b.op("div", rr, pq))
        x, r = b.op("add", x, times(a, p)), b.op("sub", r, times(a, q))
        after = dot(b, r, r, core)
        p = b.op("add", r, times(b.op("where", idle, none, b.op("div", after, rr)), p))
        done = b.op("or", b.op("lt", after, limit), b.op("eq", after, none))
        done = b.op("or", done, b.op("ne", after, after))
        if lanes:
            done = b.op("all", done, axes=tuple(range(-len(lanes), 0)))
        return LoopBody((x, r, p, after), until=done)

    found = b.loop(index, 0, node.attr("iterations"), [x, r, r, dot(b, r, r, core) if start else squared], body)
    return [found[0]]


def applied(b: Builder, region: Region, x: Value) -> Value:
    """What the operator of a solve gives for a value."""
    names = {region.args[0].name: x.name}
    for inner in region.nodes:
        b.append(b.copy(inner, names))
    name = names.get(region.results[0], region.results[0])
    return Value(name, b.types[name])


def dot(b: Builder, x: Value, y: Value, core: int) -> Value:
    """The real part of <x, y> over the last ``core`` axes."""
    letters = ascii_letters[: x.type.rank]
    if is_complex(x.type.dtype):
        x = b.op("conj", x)
    out: Value = b.op("einsum", x, y, spec=f"{letters},{letters}->{letters[: len(letters) - core]}")
    return b.op("re", out) if is_complex(out.type.dtype) else out
