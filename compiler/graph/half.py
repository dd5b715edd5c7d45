"""Half precision as storage: f16 and bf16 outside, f32 inside.

    graph f(%x: real[n]) { %y = exp(%x); return %y }

    graph f(%x: f16[n]) { %1 = cast(%x) : f32[n]; %y = exp(%1) : f32[n]; %2 = cast(%y) : f16[n]; return %2 }

Inputs and results that the program calls ``real`` are stored in half precision; everything between, iterates and sums too, is
f32, and a result is rounded once. Learned operators get and give half precision, as their weights have it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from .graph import Builder, Graph, Node, Region, Value
from .types import HALF, Type


def half_outside(graph: Graph, declared: Graph, half: str) -> Graph:
    """``graph``, specialised to f32, with inputs and results in ``half`` where ``declared``, the same graph before that, has
    ``real``."""
    is_real = {name for name, t in declared.types.items() if t.dtype == "real"}
    inside = _Modules(graph, is_real, half).graph()
    b = Builder(graph.name, [_in(v, half) if v.name in is_real else v for v in graph.inputs])
    results = b.inline(inside, [b.op("cast", v, dtype="f32") if v.type.dtype == half else v for v in b.inputs])
    names = zip(results, graph.results, strict=True)
    return b.finish([b.op("cast", v, dtype=half) if name in is_real and v.type.dtype == "f32" else v for v, name in names])


def wide_results(graph: Graph) -> Graph:
    """The graph with results in f32 that were in half precision: sums of them over problems are rounded once, by the caller."""
    producers = {n.outputs[0].name: n for n in graph.nodes if n.op == "cast"}
    nodes, results = list(graph.nodes), []
    for position, (name, type) in enumerate(zip(graph.results, graph.result_types, strict=True)):
        if type.dtype not in HALF:
            results.append(name)
            continue
        made = producers.get(name)
        if made is not None and graph.types[made.inputs[0]].dtype == "f32":
            results.append(made.inputs[0])
            continue
        fresh = _fresh(f"wide_{position}", set(graph.types))
        nodes.append(Node("cast", (name,), (Value(fresh, type.with_dtype("f32")),), (("dtype", "f32"),)))
        results.append(fresh)
    return replace(graph, nodes=tuple(nodes), results=tuple(results))


def _in(value: Value, dtype: str) -> Value:
    return Value(value.name, value.type.with_dtype(dtype))


def _fresh(name: str, used: set[str]) -> str:
    while name in used:
        name += "_"
    used.add(name)
    return name


class _Modules:
    """Casts around calls of learned operators, and around their derivatives."""

    def __init__(self, graph: Graph, is_real: set[str], half: str) -> None:
        self.whole, self.is_real, self.half = graph, is_real, half
        self.used = set(graph.types)

    def graph(self) -> Graph:
        return replace(self.whole, nodes=self._nodes(self.whole.nodes))

    def _nodes(self, nodes: tuple[Node, ...]) -> tuple[Node, ...]:
        return tuple(made for node in nodes for made in self._node(node))

    def _node(self, node: Node) -> list[Node]:
        if node.op in ("module", "weights") or (node.op == "vjp" and node.attr("op") == "module"):
            return self._called(node)
        regions = tuple(Region(r.args, self._nodes(r.nodes), r.results) for r in node.regions)
        return [replace(node, regions=regions)]

    def _called(self, node: Node) -> list[Node]:
        types = self.whole.types
        before, after, inputs, outputs = [], [], [], []
        for name in node.inputs:
            if name in self.is_real:
                inner = Value(_fresh(f"{name}_half", self.used), types[name].with_dtype(self.half))
                before.append(_cast(name, inner, node))
                name = inner.name
            inputs.append(name)
        for out in node.outputs:
            if out.name in self.is_real:
                inner = Value(_fresh(f"{out.name}_half", self.used), out.type.with_dtype(self.half))
                after.append(_cast(inner.name, out, node))
                out = inner
            outputs.append(out)
        attrs = tuple((k, self._attr(k, v)) for k, v in node.attrs)
        return [*before, replace(node, inputs=tuple(inputs), outputs=tuple(outputs), attrs=attrs), *after]

    def _attr(self, key: str, value: Any) -> Any:
        narrow: Callable[[Type], Type] = lambda t: t.with_dtype(self.half) if t.dtype == "f32" else t  # noqa: E731
        if key == "types":
            return tuple(map(narrow, value))
        return tuple((k, self._attr(k, v)) for k, v in value) if key == "op_attrs" else value


def _cast(name: str, out: Value, node: Node) -> Node:
    return Node("cast", (name,), (out,), (("dtype", out.type.dtype),), (), node.span)
