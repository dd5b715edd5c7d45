"""Triangular solves in a loop, by blocks of rows: products, so that the loop is one kernel.

    for k: x = solve_triangular(C, f(x))    -->    D_i = C[i, i]^-1 for every block of rows i, once
                                                   for k: b = f(x)
                                                       for each block of rows i, from the first on: x[i] = D_i (b[i] - C[i, :i] x[:i])

The matrix is one that problems of a batch share, from outside of the loop, and nothing else in the loop asks for the host: a library would be called
between kernels in every iteration. A transposed matrix has the same blocks, taken from the last one on. Rounding errors are of the size that
substitution has. Source: Du Croz and Higham, Stability of methods for matrix inversion, IMA J. Numer. Anal. 12, 1992.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, replace
from itertools import pairwise

from .graph import Builder, Graph, Node, Region, Value, walk
from .types import Range, Size

#: Blocks of rows of a matrix: many take long to compile, with few more zeros are multiplied. A matrix of at most ``ONE`` rows is one block; those with
#: fewer rows than ``LEAST`` or more than ``MOST`` are left to the library.
BLOCKS, ONE, LEAST, MOST = 2, 64, 8, 2048


@dataclass(frozen=True)
class _Triangle:
    """A matrix on the top level as it is stored, and whether a solve takes its transpose."""

    name: str
    lower: bool
    unit: bool
    turned: bool


def substitute(graph: Graph, expands: Callable[[Node], bool], own: Set[str]) -> Graph:
    """The graph with the solves of such loops in blocks, itself if there are none; ``expands`` tells which nodes may go into kernels, ``own`` has the
    values that every problem of a batch has for itself."""
    made = _Substitution(graph, expands, own)
    nodes = made.top()
    return replace(graph, nodes=tuple(nodes)) if made.inverses else graph


class _Substitution:
    def __init__(self, graph: Graph, expands: Callable[[Node], bool], own: Set[str]) -> None:
        self.graph, self.expands, self.own = graph, expands, own
        self.builder = Builder(graph.name, [Value(n, t) for n, t in graph.types.items()])
        self.types = self.builder.types
        self.outer: dict[str, Node | None] = {v.name: None for v in graph.inputs}
        self.inverses: dict[tuple[str, bool, bool], list[Value]] = {}

    def top(self) -> list[Node]:
        """The nodes of the graph."""
        out: list[Node] = []
        for node in self.graph.nodes:
            if node.op == "for":
                solves = {id(n): found for n in walk([node]) if (found := self.triangle(n)) is not None}
                inner = [n for n in walk([node]) if not n.regions and id(n) not in solves]
                if solves and all(map(self.expands, inner)):
                    for found in solves.values():
                        out += self.inverted(found)
                    node = self.rewritten(node, solves)
            out.append(node)
            self.outer.update((v.name, node) for v in node.outputs)
        return out

    def triangle(self, node: Node) -> _Triangle | None:
        """The matrix of a solve that is taken apart."""
        if node.op != "solve_triangular" or node.inputs[0] not in self.outer:
            return None
        name, lower = node.inputs[0], bool(node.attr("lower"))
        maker, turned = self.outer[name], False
        if maker is not None and maker.op == "permute" and maker.attr("axes") == (-1, -2):
            name, lower, turned = maker.inputs[0], not lower, True
        type = self.types[name]
        rows = type.shape[-1].constant
        if name in self.own or type.rank != 2 or type.dtype not in ("f32", "f64") or rows is None or not LEAST <= rows <= MOST:
            return None
        return _Triangle(name, lower, bool(node.attr("unit")), turned)

    def blocks(self, name: str) -> list[tuple[int, int]]:
        """Where blocks of rows of a matrix begin and end."""
        rows = self.types[name].shape[-1].constant or 0
        count = 1 if rows <= ONE else BLOCKS
        ends = [rows * n // count for n in range(count + 1)]
        return list(pairwise(ends))

    def inverted(self, triangle: _Triangle) -> list[Node]:
        """The nodes that invert the blocks on the diagonal of a matrix, if they are not there yet."""
        key = (triangle.name, triangle.lower, triangle.unit)
        if key in self.inverses:
            return []
        b, matrix = self.builder, Value(triangle.name, self.types[triangle.name])
        self.inverses[key], b.span = [], None
        for begin, end in self.blocks(triangle.name):
            rows = Size.of(end - begin)
            place = b.op("iota", size=rows, dtype="i64")
            one = b.op("cast", b.op("eq", b.op("reshape", place, shape=(rows, Size.of(1))), place), dtype=matrix.type.dtype)
            block = b.op("slice", matrix, items=(_range(begin, end), _range(begin, end)))
            self.inverses[key].append(b.op("solve_triangular", block, one, lower=triangle.lower, unit=triangle.unit or None))
        return b.taken()

    def rewritten(self, node: Node, solves: Mapping[int, _Triangle]) -> Node:
        """A node with the solves inside it in blocks."""
        regions = []
        for region in node.regions:
            nodes: list[Node] = []
            for inner in region.nodes:
                triangle = solves.get(id(inner))
                nodes += [self.rewritten(inner, solves)] if triangle is None else self.solved(inner, triangle)
            regions.append(Region(region.args, tuple(nodes), region.results))
        return replace(node, regions=tuple(regions))

    def solved(self, node: Node, triangle: _Triangle) -> list[Node]:
        """The nodes of one solve; the last one has its output."""
        b, right = self.builder, Value(node.inputs[1], self.types[node.inputs[1]])
        b.span = node.span
        matrix = Value(triangle.name, self.types[triangle.name])
        inverses = self.inverses[triangle.name, triangle.lower, triangle.unit]
        columns = [Range(Size.of(0), s) for s in right.type.shape[1:]]
        spec = f"{'kx' if triangle.turned else 'xk'},k{'y' if columns else ''}->x{'y' if columns else ''}"
        down = triangle.lower != triangle.turned
        parts = list(zip(self.blocks(triangle.name), inverses, strict=True))
        found: Value | None = None
        for (begin, end), inverse in parts if down else parts[::-1]:
            rest = b.op("slice", right, items=(_range(begin, end), *columns))
            if found is not None:
                known = _range(0, begin) if down else _range(end, parts[-1][0][1])
                own = _range(begin, end)
                block = b.op("slice", matrix, items=(known, own) if triangle.turned else (own, known))
                rest = b.op("sub", rest, b.op("einsum", block, found, spec=spec))
            part = b.op("einsum", inverse, rest, spec=spec)
            found = part if found is None else b.op("concat", *((found, part) if down else (part, found)), axis=-right.type.rank)
        nodes = b.taken()
        return [*nodes[:-1], replace(nodes[-1], outputs=(node.output,))]


def _range(begin: int, end: int) -> Range:
    return Range(Size.of(begin), Size.of(end - begin))
