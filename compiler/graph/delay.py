"""Delay: the sum of a carried value and of what the host makes last in an iteration is taken by the next iteration, whose kernel reads it.

    for k carry d:                     for k carry a, b:
        e = kernel(d)                      d, e = kernel(a, b)          (d = a + b)
        v = f(e)                 -->       v = f(e)                     (a, b = d, v)
        d = kernel(d, v)               d = a + b

Each iteration calls a kernel less. The first one adds zeros.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from .activity import differentiable
from .graph import Builder, Graph, Node, Region, Value, free_names, make_attrs
from .types import Type


def delayed(graph: Graph, expands: Callable[[Node], bool]) -> Graph:
    """The graph with the sums of its outermost loops delayed; ``expands`` tells which nodes kernels take."""
    made = _Delay(graph, expands)
    return replace(graph, nodes=tuple(n for node in graph.nodes for n in made.nodes(node)))


class _Delay:
    def __init__(self, graph: Graph, expands: Callable[[Node], bool]) -> None:
        self.expands = expands
        self.builder = Builder(graph.name, [Value(n, t) for n, t in graph.types.items()])

    def nodes(self, node: Node) -> list[Node]:
        """A node, with what comes before and behind it now."""
        if node.op != "for" or node.attr("until") or node.attr("names"):
            return [node]
        before: list[Node] = []
        behind: list[Node] = []
        for place in range(len(node.regions[0].args) - 1, -1, -1):
            last = self.sum_of(node, place)
            if last is not None:
                zeros = self.zeros(node.regions[0].args[place].type)
                node, sum = self.without(node, place, last, zeros[-1].output)
                before, behind = [*before, *zeros], [sum, *behind]
        return [*before, node, *behind]

    def sum_of(self, loop: Node, place: int) -> Node | None:
        """The node that makes a carried value, if it is a sum that can wait."""
        region = loop.regions[0]
        argument, result = region.args[place], region.results[place]
        makers = {v.name: n for n in region.nodes for v in n.outputs}
        node = makers.get(result)
        if node is None or node.op != "add" or not differentiable(argument.type):
            return None
        read = Counter(n for inner in region.nodes for n in free_names(inner)) + Counter(region.results)
        early = any(argument.name in free_names(n) and n is not node and self.expands(n) for n in region.nodes)
        whole = all(self.builder.types[n] == argument.type for n in node.inputs)
        hosted = any(n in makers and not self.expands(makers[n]) for n in node.inputs)
        return node if early and whole and hosted and read[result] == 1 else None

    def zeros(self, type: Type) -> list[Node]:
        """Nodes that end with zeros of a type."""
        zero = Node("const", (), (self.new(Type(type.dtype)),), make_attrs({"value": 0.0, "dtype": type.dtype}), ())
        if not type.shape:
            return [zero]
        return [zero, Node("broadcast", (zero.output.name,), (self.new(type),), make_attrs({"shape": type.shape}), ())]

    def without(self, loop: Node, place: int, last: Node, zeros: Value) -> tuple[Node, Node]:
        """The loop that carries both summands in place of the sum, and the sum behind it."""
        region, old = loop.regions[0], loop.outputs[place]
        argument = region.args[place]
        args, outputs = [self.new(argument.type) for _ in range(2)], [self.new(old.type) for _ in range(2)]
        first = replace(last, inputs=tuple(a.name for a in args), outputs=(argument,))
        inside = Region(
            (*region.args[:place], *args, *region.args[place + 1 :]),
            (first, *(n for n in region.nodes if n is not last)),
            (*region.results[:place], *last.inputs, *region.results[place + 1 :]),
        )
        made = replace(
            loop,
            inputs=(*loop.inputs[: place + 1], zeros.name, *loop.inputs[place + 1 :]),
            outputs=(*loop.outputs[:place], *outputs, *loop.outputs[place + 1 :]),
            regions=(inside,),
        )
        return made, replace(last, inputs=tuple(v.name for v in outputs), outputs=(old,))

    def new(self, type: Type) -> Value:
        """A value with a name of its own."""
        return Value(self.builder.fresh(), type)
