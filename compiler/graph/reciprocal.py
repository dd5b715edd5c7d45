"""One division by a root in the place of several: what is divided by the same root is multiplied by its reciprocal.

    n = sqrt(max(1, p * p + q * q))          r = 1 / n
    p = p / n                          -->   p = p * r
    q = q / n                                q = q * r

A division takes as long as some ten multiplications. Results are rounded once more, so kernels with ``numerics="strict"`` keep the divisions. A
reciprocal could overflow, or lose digits, where a quotient does not; that of a square root is a normal number whatever the root is of, if not 0,
infinity or NaN, for which quotient and product are the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from .graph import Graph, Node, Region, Value, walk
from .types import Type

_ROOTS = frozenset({"sqrt", "root"})


def shared_reciprocals(graph: Graph) -> Graph:
    """A graph whose divisions by one root, if there are several or its elements divide several, are multiplications by its reciprocal."""
    types = graph.types
    roots = {n.output.name for n in walk(graph.nodes) if n.op in _ROOTS and n.output.type.dtype in ("f32", "f64")}
    divisions = [n for n in walk(graph.nodes) if _divisor(n, types) in roots]
    count = Counter(n.inputs[1] for n in divisions)
    spread = {n.inputs[1] for n in divisions if n.output.type.shape != types[n.inputs[1]].shape}
    wanted = {name for name in roots if count[name] > 1 or name in spread}
    return replace(graph, nodes=_Shared(types, wanted).nodes(graph.nodes)) if wanted else graph


def _divisor(node: Node, types: Mapping[str, Type]) -> str:
    """What a node divides by, if the dtypes are the same; nothing for other nodes."""
    return node.inputs[1] if node.op == "div" and len({types[n].dtype for n in (*node.inputs, node.output.name)}) == 1 else ""


class _Shared:
    def __init__(self, types: Mapping[str, Type], wanted: set[str]) -> None:
        self.types, self.used = types, set(types)
        self.made: dict[str, str] = {}
        self.wanted = wanted

    def nodes(self, nodes: Sequence[Node]) -> tuple[Node, ...]:
        """Nodes with a reciprocal after every root that is wanted."""
        out: list[Node] = []
        for node in nodes:
            inverse = self.made.get(_divisor(node, self.types))
            if inverse is not None:
                out.append(replace(node, op="mul", inputs=(node.inputs[0], inverse)))
                continue
            out.append(replace(node, regions=tuple(Region(r.args, self.nodes(r.nodes), r.results) for r in node.regions)))
            if node.op in _ROOTS and node.output.name in self.wanted:
                out += self._reciprocal(node)
        return tuple(out)

    def _reciprocal(self, root: Node) -> list[Node]:
        name, type = root.output.name, root.output.type
        one, inverse = self._fresh(f"{name}_one"), self._fresh(f"{name}_inverse")
        self.made[name] = inverse
        scalar = Value(one, type.with_shape())
        literal = Node("const", (), (scalar,), (("dtype", type.dtype), ("value", 1.0)), (), root.span)
        return [literal, Node("div", (one, name), (Value(inverse, type),), (), (), root.span)]

    def _fresh(self, name: str) -> str:
        while name in self.used:
            name += "_"
        self.used.add(name)
        return name
