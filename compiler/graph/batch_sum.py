"""Sums over the problems of a batch, taken as early as they can be.

    d_S[b, k] += outer(g[b], x[b]);  sum over b of d_S     -->      d_S[k] += einsum("bi,bj->ij", g, x)

The gradient of an operand that all problems share is such a sum. The sum of what is linear in other values is made of their sums, so that a
loop carries one array in place of one for each problem, and products of each problem become contractions over the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from .graph import Graph, Node, Region, Value, free_names, make_attrs, walk
from .ops.contract import split_spec
from .ops.table import infer
from .segments import unused
from .types import Range, Size, Type

BATCH = Size.of("batch")


def sum_batch(graph: Graph, own: Sequence[bool]) -> Graph:
    """A batched graph (every result has the leading axis ``batch``) whose results are summed over that axis, but for those that each
    problem has as its ``own``. What is no longer needed is still there."""
    if all(own):
        return graph
    wanted = [r for r, mine in zip(graph.results, own, strict=True) if not mine]
    work = _Sums(graph)
    nodes, sums = work.region(graph.nodes, wanted, {})
    results = tuple(r if mine else sums[r] for r, mine in zip(graph.results, own, strict=True))
    return replace(graph, nodes=tuple(nodes), results=results)


class _Sums:
    def __init__(self, graph: Graph) -> None:
        self.types = dict(graph.types)
        self.taken = set(self.types)
        self.zeros = {n.output.name for n in walk(graph.nodes) if n.op == "const" and n.attr("value") == 0}

    def value(self, hint: str, type: Type) -> Value:
        """A new value."""
        name = unused(hint, self.taken)
        self.taken.add(name)
        self.types[name] = type
        return Value(name, type)

    def region(self, nodes: Sequence[Node], wanted: Sequence[str], known: dict[str, str]) -> tuple[list[Node], dict[str, str]]:
        """The nodes of a region with further ones that make the sums of some values; ``known`` are sums of the region's arguments."""
        work = _Region(self, list(nodes), known)
        sums = {name: work.sum(name, len(nodes)) for name in wanted}
        out: list[Node] = []
        for n, node in enumerate(work.nodes):
            out += work.before.get(n, [])
            out.append(node)
        return [*out, *work.before.get(len(nodes), [])], sums


class _Region:
    """Nodes of one region; ``before`` has the new ones by the node that they stand before."""

    def __init__(self, work: _Sums, nodes: list[Node], known: dict[str, str]) -> None:
        self.work, self.nodes, self.known = work, nodes, known
        self.before: dict[int, list[Node]] = {}
        self.made: dict[tuple[str, int], str] = {}
        self.producers = {v.name: n for n, node in enumerate(nodes) for v in node.outputs}

    def op(self, at: int, op: str, *inputs: str, **attrs: Any) -> str:
        """A new node; the name of its output."""
        kept = make_attrs(attrs)
        (type,) = infer(op, tuple(self.work.types[i] for i in inputs), dict(kept))
        value = self.work.value("total", type)
        self.before.setdefault(at, []).append(Node(op, inputs, (value,), kept))
        return value.name

    def is_own(self, name: str) -> bool:
        """Whether every problem has its own."""
        shape = self.work.types[name].shape
        return bool(shape) and shape[0] == BATCH

    def sum(self, name: str, at: int) -> str:
        """The sum of a value over the problems, known before node ``at``."""
        if name in self.known:
            return self.known[name]
        found = self.made.get((name, at))
        if found is None:
            found = self._linear(name, at) or self.op(at, "sum", name, axes=(-self.work.types[name].rank,))
            self.made[name, at] = found
        return found

    def _linear(self, name: str, at: int) -> str | None:
        """The sum of a value made of sums of others, if it is linear in them."""
        place = self.producers.get(name)
        if place is None:
            return None
        node = self.nodes[place]
        own = [self.is_own(i) for i in node.inputs]
        rank = self.work.types[name].rank
        if node.op == "for":
            return self._carried(place, name)
        if node.op in ("add", "sub") and all(own) and len({self.work.types[i].rank for i in node.inputs}) == 1:
            return self.op(at, node.op, *[self.sum(i, at) for i in node.inputs])
        if node.op == "neg":
            return self.op(at, "neg", self.sum(node.inputs[0], at))
        if node.op == "mul" and own == [True, False] and self.work.types[node.inputs[1]].rank < rank:
            return self.op(at, "mul", self.sum(node.inputs[0], at), node.inputs[1])
        if node.op == "mul" and own == [False, True] and self.work.types[node.inputs[0]].rank < rank:
            return self.op(at, "mul", node.inputs[0], self.sum(node.inputs[1], at))
        if node.op == "einsum":
            parts, right = split_spec(node.attr("spec"))
            if right[0] in "".join(parts):
                return self.op(at, "einsum", *node.inputs, spec=f"{','.join(parts)}->{right[1:]}")
        if node.op == "permute" and node.attr("axes")[0] == -rank:
            return self.op(at, "permute", self.sum(node.inputs[0], at), axes=node.attr("axes")[1:])
        if node.op == "reshape" and own[0]:
            return self.op(at, "reshape", self.sum(node.inputs[0], at), shape=node.attr("shape")[1:])
        if node.op == "broadcast" and node.inputs[0] in self.work.zeros:
            return self.op(at, "broadcast", node.inputs[0], shape=node.attr("shape")[1:])
        if node.op == "update" and len(node.inputs) == 2 and own[0] and node.attr("items")[0] == Range(Size.of(0), BATCH):
            return self._update(node, at)
        return None

    def _update(self, node: Node, at: int) -> str | None:
        """The sum of an array that each problem changes in the same places."""
        items = node.attr("items")[1:]
        value = self.work.types[node.inputs[1]]
        if not self.is_own(node.inputs[1]) or value.rank != 1 + sum(isinstance(i, Range) for i in items):
            return None
        return self.op(at, "update", self.sum(node.inputs[0], at), self.sum(node.inputs[1], at), items=items, mode=node.attr("mode"))

    def _carried(self, place: int, name: str) -> str | None:
        """The sum of what a loop carries, carried instead of it, where nothing in the loop asks for the value itself."""
        node = self.nodes[place]
        region = node.regions[0]
        at = [v.name for v in node.outputs].index(name)
        if at >= len(region.args) or node.attr("until"):
            return None
        arg, type = region.args[at], self.work.types[name]
        total = self.work.value("sum", Type(type.dtype, type.shape[1:]))
        nodes, sums = self.work.region(region.nodes, [region.results[at]], {arg.name: total.name})
        new = nodes[:]
        for old in region.nodes:
            if old in new:
                new.remove(old)
        if any(arg.name in free_names(n) for n in new) or not self._only_in_chain(region, at):
            return None
        final = self.work.value("sum", total.type)
        count = len(region.args)
        made = Region((*region.args, total), tuple(nodes), (*region.results[:count], sums[region.results[at]], *region.results[count:]))
        self.nodes[place] = replace(
            node,
            inputs=(*node.inputs, self.sum(node.inputs[at], place)),
            outputs=(*node.outputs[:count], final, *node.outputs[count:]),
            regions=(made,),
        )
        return final.name

    def _only_in_chain(self, region: Region, at: int) -> bool:
        """Whether what a loop carries is only read to make its own next value."""
        reached = {region.args[at].name}
        others = {r for n, r in enumerate(region.results) if n != at}
        for node in region.nodes:
            if free_names(node) & reached:
                if node.regions:
                    return False
                reached.update(v.name for v in node.outputs)
        return not reached & others

