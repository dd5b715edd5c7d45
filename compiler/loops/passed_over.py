"""Loops that do nothing in some iterations: the body is one branch on a scalar that is known before the iteration.

    for k carry x:                              for k carry x, unless not k < ran:
        x = if k < ran: f(x) else: x    -->         x = f(x)

Both sides of other branches on data are computed, and then chosen between.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from ..graph.graph import Node, Region
from ..graph.types import Size
from .nest import Apply, Expr, SizeValue
from .tree import Literal

_OPS = frozenset({"lt", "le", "gt", "ge", "eq", "ne", "and", "or", "not", "add", "sub"})


@dataclass(frozen=True)
class PassedOver:
    """A loop as one whose body is the side that does something, and the condition of that: the nodes it is made by, its name."""

    loop: Node
    producers: Mapping[str, Node]
    name: str

    def condition(self, outer: Callable[[str], Expr], env: Mapping[str, Size]) -> Expr:
        """The condition with sizes over ``env``; ``outer`` gives values from outside of the loop."""

        def visit(name: str) -> Expr:
            node = self.producers.get(name)
            if node is None:
                return outer(name)
            dtype = node.output.type.dtype
            if node.op == "size_value":
                return SizeValue(node.attr("value").substitute(env), dtype)
            if node.op == "const":
                return Literal(node.attr("value"), dtype)
            return Apply(node.op, tuple(map(visit, node.inputs)), dtype)

        return visit(self.name)

    def sizes(self) -> frozenset[str]:
        """The sizes and indices that the condition names."""
        nodes = self.made_by(self.name)
        return frozenset[str]().union(*(n.attr("value").names() for n in nodes if n.op == "size_value"))

    def outer(self) -> frozenset[str]:
        """The values from outside of the loop that the condition reads."""
        return frozenset({self.name, *(i for n in self.made_by(self.name) for i in n.inputs)}) - self.producers.keys()

    def made_by(self, name: str) -> list[Node]:
        """The nodes in the loop that give a value."""
        node = self.producers.get(name)
        return [] if node is None else [node, *(m for i in node.inputs for m in self.made_by(i))]


def passed_over(node: Node) -> PassedOver | None:
    """A ``for`` node as a loop that does nothing in some iterations, or None if it is none."""
    region = node.regions[0]
    if not region.nodes or region.nodes[-1].op != "if" or len(node.outputs) != len(region.args) or node.attr("until"):
        return None
    *before, branch = region.nodes
    then, other = branch.regions
    if other.nodes:
        return None
    taken = {v.name: (a, b) for v, a, b in zip(branch.outputs, then.results, other.results, strict=True)}
    results = []
    for arg, result in zip(region.args, region.results, strict=True):
        inside, outside = taken.get(result, (result, result))
        if outside != arg.name:
            return None
        results.append(inside)
    producers = {v.name: n for n in before for v in n.outputs}
    made = PassedOver(
        replace(node, regions=(Region(region.args, (*before, *then.nodes), tuple(results)),)), producers, branch.inputs[0]
    )
    args = {a.name for a in region.args}
    nodes = made.made_by(made.name)
    simple = all(n.op in (*_OPS, "size_value", "const") and not n.output.type.rank for n in nodes)
    reads = {i for n in nodes for i in n.inputs} | {made.name}
    return made if simple and not reads & args else None
