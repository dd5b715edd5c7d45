"""Gradients of matrices that the problems of a batch share, left as the factors of their products.

    for k: S'[k] += outer(g, x[k])   return S'       -->      for k: G[k] = g   return G
                                                              behind the kernel, over all problems: S' = einsum("bki,bkj->kij", G, x)

One problem has a product of two vectors for every iteration, all problems together have a product of two matrices, which a library takes at the
speed of the processor, and no problem writes an array of the size of the matrix.
"""

from __future__ import annotations

import string
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

from .graph import Builder, Graph, Node, Region, Value, make_attrs
from .ops.common import zeros
from .ops.contract import split_spec
from .simplify import simplify
from .tape import trip_count
from .types import At, Range, Size, Type


@dataclass(frozen=True)
class Product:
    """A contraction of two ``factors`` by ``spec``, as einsum has it. A factor is the place of an input of the graph, or of a result."""

    spec: str
    factors: tuple[tuple[bool, int], tuple[bool, int]]  # whether it is an input, its place


@dataclass(frozen=True)
class Factored:
    """A graph in place of another one: ``results`` has for each result of that one its place here, or the products whose sum it is."""

    graph: Graph
    results: tuple[int | tuple[Product, ...], ...]

    def likes(self, whole: Sequence[int]) -> tuple[int | None, ...]:
        """What holds for results of the ``whole`` graph, for those of this one; None for factors."""
        found = {place: like for place, like in zip(self.results, whole, strict=True) if isinstance(place, int)}
        return tuple(found.get(place) for place in range(len(self.graph.results)))


#: A product of two values, by name: in a loop of those of one iteration, else of the top level.
_Term = tuple[str, str, str]


def factored(graph: Graph, chosen: Set[int]) -> Factored | None:
    """The graph with the ``chosen`` results, of those that are sums of products, as factors; None if none of them is."""
    work = _Factors(graph)
    found = {i: terms for i in sorted(chosen) if (terms := work.top(graph.results[i]))}
    if not found:
        return None
    inputs = {v.name: i for i, v in enumerate(graph.inputs)}
    results = [r for i, r in enumerate(graph.results) if i not in found]
    places: dict[int, int] = dict(zip([i for i in range(len(graph.results)) if i not in found], range(len(results)), strict=True))

    def place(name: str) -> tuple[bool, int]:
        if name in inputs:
            return True, inputs[name]
        if name not in results[len(places) :]:
            results.append(name)
        return False, results.index(name, len(places))

    products = {i: tuple(Product(spec, (place(a), place(b))) for spec, a, b in terms) for i, terms in found.items()}
    made = simplify(replace(graph, nodes=tuple(work.nodes), results=tuple(results)))
    return Factored(made, tuple(products.get(i, places.get(i, -1)) for i in range(len(graph.results))))


class _Factors:
    def __init__(self, graph: Graph) -> None:
        self.builder = Builder(graph.name, [Value(n, t) for n, t in graph.types.items()])
        self.nodes = list(graph.nodes)
        self.outer = {v.name for v in graph.inputs}
        self.recorded: dict[tuple[str, str], str] = {}  # rows, by the first output of their loop and the value
        for node in graph.nodes:
            self.outer.update(v.name for v in node.outputs)

    def producer(self, name: str, nodes: Sequence[Node]) -> Node | None:
        """The node that makes a value, if one of these does."""
        return next((n for n in nodes if any(v.name == name for v in n.outputs)), None)

    def is_zero(self, node: Node) -> bool:
        """Whether a node makes zeros."""
        if node.op == "broadcast":
            made = self.producer(node.inputs[0], self.nodes)
            return made is not None and self.is_zero(made)
        return node.op == "const" and node.attr("value") == 0

    def top(self, name: str) -> list[_Term] | None:
        """The products whose sum a value of the top level is; None where it is something else."""
        node = self.producer(name, self.nodes)
        if node is None:
            return None
        if self.is_zero(node):
            return []
        if node.op == "einsum" and len(node.inputs) == 2:
            return [(node.attr("spec"), *node.inputs)]
        if node.op == "add":
            return _together(*map(self.top, node.inputs))
        if node.op == "permute":
            return _permuted(self.top(node.inputs[0]), node.attr("axes"))
        return self.carried(name, node) if node.op == "for" else None

    def carried(self, name: str, node: Node) -> list[_Term] | None:
        """The products whose sum a loop carries, over all iterations."""
        region, index = node.regions[0], node.attr("index")
        at = [v.name for v in node.outputs].index(name)
        counted = (node.attr("step"), node.attr("lower"), node.attr("upper"))
        upwards, downwards = counted[:2] == (1, Size.of(0)), counted[::2] == (-1, Size.of(-1))
        if at >= len(region.args) or len(region.results) != len(node.outputs) or not (upwards or downwards):
            return None
        start, count = self.top(node.inputs[at]), trip_count(node)
        chain = _Chain(self, region, region.args[at].name, At(Size.of(index)), count)
        inner = chain.terms(region.results[at])
        if start is None or inner is None or chain.met != 1:
            return None
        found, first = start, node.outputs[0].name
        for spec, a, b, rows in inner:
            (left, right), out = split_spec(spec)
            row = next(c for c in string.ascii_letters if c not in left + right + out)
            parts = [chain.rows(a), chain.rows(b)]
            if all(part is not None for part in parts):
                parts[0] = None  # rows of iterations that there are not would count
            names, letters = [], []
            for value, part, word in zip((a, b), parts, (left, right), strict=True):
                if part is None and value not in self.outer:
                    part = self.record(first, value, index, count), True
                elif part is None:
                    part = value, False
                names.append(part[0])
                letters.append(row * part[1] + word)
            if not any(word.startswith(row) for word in letters):
                return None
            found = [*found, (f"{letters[0]},{letters[1]}->{row * rows}{out}", names[0], names[1])]
        return found

    def record(self, first: str, name: str, index: str, count: Size) -> str:
        """What the loop whose first output is ``first`` makes of a value, a row for each iteration."""
        if (first, name) not in self.recorded:
            place = next(n for n, node in enumerate(self.nodes) if node.outputs and node.outputs[0].name == first)
            node = self.nodes[place]
            region = node.regions[0]
            b, type = self.builder, self.builder.types[name]
            start = zeros(b, Type(type.dtype, (count, *type.shape)))
            arg, made, final = (Value(b.fresh("rows"), start.type) for _ in range(3))
            items = (At(Size.of(index)), *[Range(Size.of(0), s) for s in type.shape])
            update = Node("update", (arg.name, name), (made,), make_attrs({"items": items, "mode": "set"}))
            args = len(region.args)
            body = Region(
                (*region.args, arg), (*region.nodes, update), (*region.results[:args], made.name, *region.results[args:])
            )
            loop = replace(
                node,
                inputs=(*node.inputs[:args], start.name, *node.inputs[args:]),
                outputs=(*node.outputs[:args], final, *node.outputs[args:]),
                regions=(body,),
            )
            self.nodes[place : place + 1] = [*b.taken(), loop]
            self.recorded[first, name] = final.name
        return self.recorded[first, name]


@dataclass
class _Chain:
    """What an iteration adds to a value that the loop carries; ``met`` counts where that value itself came up."""

    work: _Factors
    region: Region
    arg: str
    at: At
    count: Size
    met: int = 0

    def terms(self, name: str) -> list[tuple[str, str, str, bool]] | None:
        """The products that are added, each with whether it goes to the row of the iteration."""
        if name == self.arg:
            self.met += 1
            return []
        node = self.work.producer(name, self.region.nodes)
        if node is None:
            return None
        if node.op == "einsum" and len(node.inputs) == 2:
            return [(node.attr("spec"), *node.inputs, False)]
        if node.op == "add":
            return _together(*map(self.terms, node.inputs))
        if node.op == "update" and len(node.inputs) == 2 and node.attr("mode") == "add" and self._is_row(node.attr("items"), node.output.type):
            before, more = self.terms(node.inputs[0]), self.terms(node.inputs[1])
            if before is None or more is None or any(rows for *_, rows in more):
                return None
            return [*before, *[(spec, a, b, True) for spec, a, b, _ in more]]
        return None

    def _is_row(self, items: Sequence[Any], type: Type) -> bool:
        """Whether these are all elements of the row of the iteration, of an array with one for each."""
        whole = all(isinstance(i, Range) and i == Range(Size.of(0), s) for i, s in zip(items[1:], type.shape[1:], strict=False))
        return items[0] == self.at and whole and type.shape[0] == self.count

    def rows(self, name: str) -> tuple[str, bool] | None:
        """The value of the top level whose rows the values of an iteration are."""
        node = self.work.producer(name, self.region.nodes)
        if node is None or node.op != "slice" or node.inputs[0] not in self.work.outer or len(node.inputs) != 1:
            return None
        whole = node.inputs[0]
        return (whole, True) if self._is_row(node.attr("items"), self.work.builder.types[whole]) else None


def _permuted(terms: list[_Term] | None, axes: Sequence[int]) -> list[_Term] | None:
    """Terms with the axes of their results in another order."""
    if terms is None:
        return None
    split = [(*spec.split("->"), a, b) for spec, a, b in terms]
    return [(f"{left}->{''.join(right[axis] for axis in axes)}", a, b) for left, right, a, b in split]


def _together(*parts: list[Any] | None) -> list[Any] | None:
    """All terms of a sum, None if one is none."""
    return None if any(p is None for p in parts) else [t for p in parts if p is not None for t in p]
