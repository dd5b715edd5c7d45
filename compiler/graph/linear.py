"""Whether a graph is linear in one of its inputs, by its form.

    A.T @ (A @ v) + ridge * v      is linear in v
    A @ v - b                      is not: a term without v
    A @ tanh(v)                    is not: tanh

Every value is a zero, a constant (no v in it), linear in v, or anything else. What an op is linear in, its row in the table says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum

from .graph import Graph, Node, free_names
from .ops.common import is_differentiable
from .ops.table import Linear, lookup


class Kind(IntEnum):
    """What a value is as a function of the input. A value that may be of two kinds is of the kind :func:`_join` says."""

    ZERO = 0
    CONSTANT = 1
    LINEAR = 2
    OTHER = 3


def not_linear(graph: Graph, name: str) -> tuple[Node, bool] | None:
    """None if the results of a graph are linear in the input ``name``. Else a node that makes them otherwise, and whether that is only
    by adding a term without the input."""
    work = _Kinds()
    kinds = {v.name: Kind.LINEAR if v.name == name else Kind.CONSTANT for v in graph.inputs}
    work.nodes(graph.nodes, kinds)
    if all(kinds[r] in (Kind.ZERO, Kind.LINEAR) for r in graph.results):
        return None
    for result in graph.results:
        if result in work.blame:
            return work.blame[result]
    maker = {v.name: n for n in graph.nodes for v in n.outputs}
    constant = next(r for r in graph.results if kinds[r] == Kind.CONSTANT)
    return (maker[constant], True) if constant in maker else (Node("constant", (), ()), True)


def _join(kinds: Iterable[Kind]) -> Kind:
    """The kind of a value that is one of several."""
    found = set(kinds) - {Kind.ZERO}
    return Kind.ZERO if not found else found.pop() if len(found) == 1 else Kind.OTHER


class _Kinds:
    def __init__(self) -> None:
        self.blame: dict[str, tuple[Node, bool]] = {}  # of values of kind OTHER: the node where that began

    def nodes(self, nodes: Sequence[Node], kinds: dict[str, Kind]) -> None:
        for node in nodes:
            if node.op == "for":
                self._loop(node, kinds)
            elif node.op == "if":
                self._branch(node, kinds)
            elif node.op == "solve_cg":
                fixed = all(kinds[n] <= Kind.CONSTANT for n in free_names(node) - {node.inputs[0]})
                self._set(node, node.output.name, kinds[node.inputs[0]] if fixed else Kind.OTHER, kinds, free_names(node))
            else:
                kind = self._kind(node, [kinds[n] for n in node.inputs])
                for out in node.outputs:
                    fits = kind != Kind.LINEAR or is_differentiable(out.type.dtype)
                    self._set(node, out.name, kind if fits else Kind.OTHER, kinds, node.inputs)

    def _kind(self, node: Node, kinds: Sequence[Kind]) -> Kind:
        if node.op == "const":
            return Kind.ZERO if node.attr("value") == 0 else Kind.CONSTANT
        if Kind.OTHER in kinds:
            return Kind.OTHER
        moving = {n for n, kind in enumerate(kinds) if kind == Kind.LINEAR}
        for group in _linear(node):
            if moving <= set(group) and all(kinds[n] == Kind.ZERO for n in group if n < len(kinds) and n not in moving):
                return Kind.LINEAR if moving else Kind.ZERO
        return Kind.OTHER if moving else Kind.CONSTANT

    def _set(self, node: Node, name: str, kind: Kind, kinds: dict[str, Kind], read: Iterable[str]) -> None:
        kinds[name] = kind
        if kind == Kind.OTHER and name not in self.blame:
            earlier = next((self.blame[n] for n in read if n in self.blame), None)
            self.blame[name] = earlier or (node, any(_covers(node, group, kinds) for group in _linear(node)))

    def _branch(self, node: Node, kinds: dict[str, Kind]) -> None:
        for region in node.regions:
            self.nodes(region.nodes, kinds)
        decided = kinds[node.inputs[0]] <= Kind.CONSTANT
        for n, out in enumerate(node.outputs):
            sides = [r.results[n] for r in node.regions]
            self._set(node, out.name, _join(kinds[s] for s in sides) if decided else Kind.OTHER, kinds, sides)

    def _loop(self, node: Node, kinds: dict[str, Kind]) -> None:
        region = node.regions[0]
        carried = [kinds[n] for n in node.inputs]
        while True:
            for arg, kind, start in zip(region.args, carried, node.inputs, strict=True):
                self._set(node, arg.name, kind, kinds, (start,))
            self.nodes(region.nodes, kinds)
            after = [_join((kind, kinds[r])) for kind, r in zip(carried, region.results, strict=False)]
            if after == carried:
                break
            carried = after
        endless = not node.attr("until") or kinds[region.results[-1]] <= Kind.CONSTANT
        rows = [kinds[r] for r in region.results[len(carried) : len(node.outputs)]]
        for out, kind, result in zip(node.outputs, [*carried, *rows], region.results, strict=False):
            self._set(node, out.name, kind if endless else Kind.OTHER, kinds, (result,))


def _linear(node: Node) -> Linear:
    row = lookup(node.op).linear
    return row(node) if callable(row) else row


def _covers(node: Node, group: Sequence[int], kinds: Mapping[str, Kind]) -> bool:
    """Whether all operands with the input in them are in a group, and what is wrong is a constant beside them."""
    moving = {n for n, name in enumerate(node.inputs) if kinds[name] >= Kind.LINEAR}
    beside = any(kinds[node.inputs[n]] == Kind.CONSTANT for n in group if n < len(node.inputs))
    return bool(moving) and moving <= set(group) and beside
