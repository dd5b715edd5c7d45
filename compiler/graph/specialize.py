"""Fixing the precision and sizes of a graph: ``real`` becomes ``f32``, ``n`` becomes 500."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .graph import Graph, Node, Region, Value, walk
from .half import half_outside
from .ops.common import attr_names, complex_twin
from .types import HALF, At, Range, Size, Type, is_floating


def specialize(graph: Graph, real: str, sizes: Mapping[str, int] | None = None) -> Graph:
    """``graph`` with ``real`` and ``complex`` replaced (by a floating dtype and its twin) and size names by integers.

    Half precision is for storage: inputs and results have it, what is between is f32 (see :mod:`.half`).
    Raises ValueError if ``real`` is no floating dtype. Loop indices shadow size names of the same spelling.
    """
    if not is_floating(real):
        raise ValueError(f"{real} is not a floating-point dtype")
    if real in HALF:
        return half_outside(_Specializer("f32", dict(sizes or {})).graph(graph), graph, real)
    return _Specializer(real, dict(sizes or {})).graph(graph)


def size_names(graph: Graph) -> frozenset[str]:
    """Every size name that occurs free in a graph (loop indices excluded)."""
    names: set[str] = set()
    indices: set[str] = set()
    for value in graph.types.values():
        names.update(*(s.names() for s in value.shape))
    for node in walk(graph.nodes):
        attrs = dict(node.attrs)
        if node.op == "for":
            indices.add(attrs["index"])
        names |= attr_names(tuple(attrs.values()))
    return frozenset(names - indices)


class _Specializer:
    def __init__(self, real: str, sizes: Mapping[str, int]) -> None:
        self.dtypes = {"real": real, "complex": complex_twin(real) or "complex"}
        self.sizes = sizes

    def graph(self, graph: Graph) -> Graph:
        inputs = tuple(self.value(v) for v in graph.inputs)
        return replace(graph, inputs=inputs, nodes=tuple(self.node(n) for n in graph.nodes))

    def type(self, type: Type) -> Type:
        return Type(self.dtypes.get(type.dtype, type.dtype), tuple(s.substitute(self.sizes) for s in type.shape))

    def value(self, value: Value) -> Value:
        return Value(value.name, self.type(value.type))

    def node(self, node: Node) -> Node:
        attrs = self.pairs(node.attrs)
        inner = self
        if node.op == "for" and node.attr("index") in self.sizes:
            inner = _Specializer(self.dtypes["real"], {k: v for k, v in self.sizes.items() if k != node.attr("index")})
        regions = tuple(
            Region(tuple(inner.value(v) for v in r.args), tuple(inner.node(n) for n in r.nodes), r.results) for r in node.regions
        )
        return Node(node.op, node.inputs, tuple(self.value(v) for v in node.outputs), attrs, regions, node.span)

    def pairs(self, attrs: tuple[tuple[str, Any], ...]) -> tuple[tuple[str, Any], ...]:
        """Attributes, those of the op inside a ``vjp`` too."""
        return tuple((k, self.attr(k, v)) for k, v in attrs)

    def attr(self, key: str, value: Any) -> Any:
        if key == "dtype":
            return self.dtypes.get(value, value)
        if key == "op_attrs":
            return self.pairs(value)
        return self.sizes_in(value)

    def sizes_in(self, value: Any) -> Any:
        if isinstance(value, Size):
            return value.substitute(self.sizes)
        if isinstance(value, tuple):
            return tuple(self.sizes_in(v) for v in value)
        if isinstance(value, At):
            return At(value.index.substitute(self.sizes))
        if isinstance(value, Range):
            return Range(value.start.substitute(self.sizes), value.size.substitute(self.sizes), value.step)
        if isinstance(value, Type):
            return self.type(value)
        return value
