"""The definition of a legal graph.

1. Names are unique, and defined before they are used; a region sees what is around it.
2. Every node's op is in the table and its outputs have the types the table infers.
3. A loop's region takes its carried values and returns them with the same types, then what it stacks, then its condition.
4. Both regions of an `if` return the types of its outputs; so does the operator of a `solve_cg`, which takes them, too.
5. Attributes are plain values, sizes, items and types. The index of a loop occurs in sizes inside that loop only, and a loop
   inside it has another index.
"""

from __future__ import annotations

from ..diagnostics import UnspoolError
from .graph import Graph, Node, Region, loop_indices
from .ops.common import attr_names
from .ops.table import OpTypeError, infer, lookup
from .text import print_graph
from .types import At, Pick, Range, Size, Type


class GraphError(UnspoolError):
    """An illegal graph: a fault of the compiler. Shows the neighbourhood of the faulty node."""


def verify(graph: Graph) -> None:
    """Raise GraphError unless the graph is legal."""
    checker = _Verifier(graph)
    checker.region(Region(graph.inputs, graph.nodes, graph.results), {})


class _Verifier:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.names: set[str] = set()
        self.indices = set(loop_indices(graph))
        self.open: set[str] = set()  # indices of the loops around the node being checked

    def fail(self, node: Node | None, message: str) -> None:
        lines = print_graph(self.graph).splitlines()
        mark = f"%{node.outputs[0].name} =" if node and node.outputs else (node.op if node else "return")
        at = next((n for n, line in enumerate(lines) if mark in line), 0)
        shown = [f"{'>' if n == at else ' '} {lines[n]}" for n in range(max(0, at - 5), min(len(lines), at + 5))]
        raise GraphError("\n".join([f"illegal graph {self.graph.name}: {message}", *shown]))

    def region(self, region: Region, around: dict[str, Type]) -> dict[str, Type]:
        scope = dict(around)
        for value in region.args:
            self.define(None, value.name)
            scope[value.name] = value.type
        for node in region.nodes:
            self.node(node, scope)
            for value in node.outputs:
                self.define(node, value.name)
                scope[value.name] = value.type
        for name in region.results:
            if name not in scope:
                self.fail(None, f"%{name} is returned but not defined")
        return scope

    def define(self, node: Node | None, name: str) -> None:
        if name in self.names:
            self.fail(node, f"%{name} is defined twice")
        self.names.add(name)

    def node(self, node: Node, scope: dict[str, Type]) -> None:
        for name in node.inputs:
            if name not in scope:
                self.fail(node, f"%{name} is used before it is defined")
        try:
            lookup(node.op)
        except KeyError:
            self.fail(node, f"there is no op {node.op}")
        self.sizes(node)
        if node.op == "for":
            self.loop(node, scope)
            return
        for region in node.regions:
            inner = self.region(region, scope)
            if tuple(inner[r] for r in region.results) != tuple(v.type for v in node.outputs):
                self.fail(node, f"a region of {node.op} does not return the types of its outputs")
            if node.op == "solve_cg" and tuple(v.type for v in region.args) != tuple(v.type for v in node.outputs):
                self.fail(node, "the operator of solve_cg does not take the type that it solves for")
        try:
            types = infer(node.op, tuple(scope[n] for n in node.inputs), dict(node.attrs))
        except OpTypeError as error:
            self.fail(node, str(error))
            return
        if types != tuple(v.type for v in node.outputs):
            self.fail(node, f"{node.op} gives {', '.join(map(str, types))}, not {', '.join(str(v.type) for v in node.outputs)}")

    def sizes(self, node: Node) -> None:
        for key, value in node.attrs:
            if not _is_plain(value):
                self.fail(node, f"the attribute {key} of {node.op} is a {type(value).__name__}")
        used = attr_names(tuple(v for _, v in node.attrs)) | attr_names(tuple(v.type for v in node.outputs))
        stray = sorted(used & self.indices - self.open)
        if stray:
            self.fail(node, f"the index {stray[0]} is used outside its loop")

    def loop(self, node: Node, scope: dict[str, Type]) -> None:
        (region,) = node.regions
        index = node.attr("index")
        if index in self.open:
            self.fail(node, f"a loop over {index} inside a loop over {index}")
        self.open.add(index)
        inner = self.region(region, scope)
        self.open.remove(index)
        carried = tuple(a.type for a in region.args)
        stacked = node.attr("stacked", 0)
        results = tuple(inner[r] for r in region.results)
        if tuple(scope[n] for n in node.inputs) != carried or results[: len(carried)] != carried:
            self.fail(node, "the loop does not carry the types it starts with")
        expected = len(carried) + stacked + (1 if node.attr("until") else 0)
        if len(results) != expected or len(node.outputs) != len(carried) + stacked:
            self.fail(node, "the loop does not return what it carries and stacks")
        if tuple(v.type for v in node.outputs[: len(carried)]) != carried:
            self.fail(node, "the loop's outputs are not what it carries")


def _is_plain(value: object) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, complex, str, Size, At, Range, Pick, Type))
