"""Simplify a graph: rules on single nodes, common subexpressions, loop invariants, dead code.

Every rule keeps results bit for bit, NaN and infinity included (so `x * 0` stays). Rules are rows of a table: a rule takes a
node and the producers of its inputs, and names the value that replaces its output, or a simpler node.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from .graph import Graph, Node, Region, free_names, region_captures
from .ops.table import lookup
from .types import Range, Size, Type

Producers = Mapping[str, Node]
Types = Mapping[str, Type]
#: A rule's answer: the name of an equal value, a replacement for the node, or None if it does not apply.
Answer = "str | Node | None"


def simplify(graph: Graph) -> Graph:
    """An equal graph with less in it."""
    while True:
        found = _Pass(graph).run()
        if found == graph:
            return found
        graph = found


def _literal(producers: Producers, name: str) -> object:
    node = producers.get(name)
    while node is not None and node.op == "broadcast":
        node = producers.get(node.inputs[0])
    return node.attr("value") if node is not None and node.op == "const" else None


def _neutral(node: Node, producers: Producers, types: Types) -> str | None:
    """``x * 1``, ``1 * x``, ``x / 1``, ``x - 0``, ``x ** 1``."""
    neutral = {"mul": 1, "div": 1, "sub": 0, "pow": 1}.get(node.op)
    if neutral is None:
        return None
    for kept, other in ((0, 1), (1, 0)) if node.op == "mul" else ((0, 1),):
        value = _literal(producers, node.inputs[other])
        if value == neutral and not isinstance(value, bool) and types[node.inputs[kept]] == node.output.type:
            return node.inputs[kept]
    return None


def _same_type(node: Node, producers: Producers, types: Types) -> str | None:
    """Casts, reshapes and broadcasts to the type a value has."""
    return node.inputs[0] if node.op in ("cast", "reshape", "broadcast") and types[node.inputs[0]] == node.output.type else None


def _whole_slice(node: Node, producers: Producers, types: Types) -> str | None:
    """``x[:, :]``."""
    if node.op != "slice":
        return None
    whole = tuple(Range(Size.of(0), s) for s in types[node.inputs[0]].shape)
    return node.inputs[0] if node.attr("items") == whole else None


def _permute(node: Node, producers: Producers, types: Types) -> str | Node | None:
    """A permutation that changes nothing, or of a permutation."""
    if node.op != "permute":
        return None
    axes, rank = node.attr("axes"), node.output.type.rank
    inner = producers.get(node.inputs[0])
    if axes == tuple(range(-rank, 0)):
        return node.inputs[0]
    if inner is not None and inner.op == "permute":
        return replace(node.with_attrs(axes=tuple(inner.attr("axes")[a] for a in axes)), inputs=inner.inputs)
    return None


def _twice(node: Node, producers: Producers, types: Types) -> str | Node | None:
    """``--x``, a reshape of a reshape, a broadcast of a broadcast."""
    inner = producers.get(node.inputs[0]) if node.inputs else None
    if inner is None or inner.op != node.op:
        return None
    if node.op in ("neg", "not"):
        return inner.inputs[0]
    return replace(node, inputs=inner.inputs) if node.op in ("reshape", "broadcast") else None


def _where(node: Node, producers: Producers, types: Types) -> str | None:
    """A choice that is known."""
    if node.op != "where":
        return None
    value = _literal(producers, node.inputs[0])
    kept = None if not isinstance(value, bool) else node.inputs[1 if value else 2]
    return kept if kept is not None and types[kept] == node.output.type else None


def _constant(node: Node, producers: Producers, types: Types) -> Node | None:
    """Arithmetic on integer and bool literals, casts of literals."""
    if node.op not in ("cast", "add", "sub", "mul"):
        return None
    values = [_literal(producers, n) for n in node.inputs]
    if (
        not node.inputs
        or node.outputs[0].type.shape
        or any(v is None for v in values)
        or any(types[n].shape for n in node.inputs)
    ):
        return None
    dtype = node.output.type.dtype
    if node.op == "cast" and isinstance(values[0], (bool, int)) and dtype in ("real", "f32", "f64", "i32", "i64"):
        value: float = int(values[0]) if dtype.startswith("i") else float(values[0])
    elif node.op in ("add", "sub", "mul") and dtype == "i64" and all(isinstance(v, int) for v in values):
        a, b = (int(v) for v in values)  # type: ignore[call-overload]
        value = a + b if node.op == "add" else a - b if node.op == "sub" else a * b
    else:
        return None
    return Node("const", (), node.outputs, (("dtype", dtype), ("value", value)), (), node.span)


RULES: tuple[Callable[[Node, Producers, Types], str | Node | None], ...] = (
    _neutral,
    _same_type,
    _whole_slice,
    _permute,
    _twice,
    _where,
    _constant,
)


class _Pass:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.types = graph.types
        self.producers: dict[str, Node] = {}
        self.renamed: dict[str, str] = {}

    def run(self) -> Graph:
        nodes = self.nodes(self.graph.nodes, {})
        results = tuple(self.name(r) for r in self.graph.results)
        return replace(self.graph, nodes=tuple(live(nodes, set(results))), results=results)

    def name(self, name: str) -> str:
        return self.renamed.get(name, name)

    def nodes(self, nodes: Sequence[Node], known: dict[object, Node]) -> list[Node]:
        """Simplified nodes; ``known`` maps what a node computes to the node, for this region and those around it."""
        out: list[Node] = []
        seen = dict(known)
        for old in nodes:
            node = replace(old, inputs=tuple(self.name(i) for i in old.inputs))
            answer = self.rules(node)
            if isinstance(answer, str):
                self.renamed[node.output.name] = answer
                continue
            node = answer
            if node.regions:
                node, hoisted = self.regions(node, seen)
                out += hoisted
                seen.update((self.key(n), n) for n in hoisted)
            pure = lookup(node.op).family not in ("effect", "control")
            twin = seen.get(self.key(node)) if pure else None
            if twin is not None:
                self.renamed.update((a.name, b.name) for a, b in zip(node.outputs, twin.outputs, strict=True))
                continue
            if pure:
                seen[self.key(node)] = node
            self.producers.update((v.name, node) for v in node.outputs)
            out.append(node)
        return out

    def key(self, node: Node) -> object:
        return node.op, node.inputs, tuple((k, type(v), v) for k, v in node.attrs), tuple(v.type for v in node.outputs)

    def rules(self, node: Node) -> str | Node:
        for rule in RULES:
            answer = rule(node, self.producers, self.types)
            if isinstance(answer, str):
                return answer
            if answer is not None:
                node = answer
        return node

    def regions(self, node: Node, seen: dict[object, Node]) -> tuple[Node, list[Node]]:
        """A node with its regions simplified, and what its loop computes the same in every iteration."""
        regions, hoisted = [], []
        for region in node.regions:
            nodes = self.nodes(region.nodes, seen)
            if node.op == "for":
                moved, nodes = _invariant(region, nodes, node.attr("index"))
                hoisted += moved
            results = tuple(self.name(r) for r in region.results)
            regions.append(Region(region.args, tuple(live(nodes, set(results))), results))
        return replace(node, regions=tuple(regions)), hoisted


def _invariant(region: Region, nodes: Sequence[Node], index: str) -> tuple[list[Node], list[Node]]:
    """Split a loop body into what does not depend on the iteration and the rest."""
    inside = {a.name for a in region.args} | {v.name for n in nodes for v in n.outputs}
    moved: list[Node] = []
    kept: list[Node] = []
    for node in nodes:
        fixed = not node.regions and lookup(node.op).family not in ("effect", "control") and not (free_names(node) & inside)
        if fixed and not _names_index(node, index):
            moved.append(node)
            inside -= {v.name for v in node.outputs}
        else:
            kept.append(node)
    return moved, kept


def _names_index(node: Node, index: str) -> bool:
    def names(value: object) -> bool:
        if isinstance(value, Size):
            return index in value.names()
        if isinstance(value, tuple):
            return any(map(names, value))
        return any(names(getattr(value, field)) for field in ("index", "start", "size", "shape") if hasattr(value, field))

    return any(names(v) for _, v in node.attrs) or any(index in s.names() for v in node.outputs for s in v.type.shape)


def live(nodes: Sequence[Node], wanted: set[str]) -> list[Node]:
    """Nodes that something needs; effects stay. Results that nobody reads are dropped from loops."""
    out: list[Node] = []
    for node in reversed(nodes):
        if lookup(node.op).family == "effect" or _has_effect(node) or any(v.name in wanted for v in node.outputs):
            if node.op == "for":
                node = _trim(node, wanted)
            elif node.op == "if":
                node = _trim_branches(node, wanted)
            out.append(node)
            wanted |= free_names(node)
    return out[::-1]


def _trim_branches(node: Node, wanted: set[str]) -> Node:
    """An `if` without results that nobody reads."""
    kept = [n for n, v in enumerate(node.outputs) if v.name in wanted]
    regions = []
    for region in node.regions:
        results = tuple(region.results[n] for n in kept)
        regions.append(Region((), tuple(live(region.nodes, set(results))), results))
    outputs = tuple(node.outputs[n] for n in kept)
    return replace(node.with_attrs(types=tuple(v.type for v in outputs)), outputs=outputs, regions=tuple(regions))


def _has_effect(node: Node) -> bool:
    return any(lookup(n.op).family == "effect" or _has_effect(n) for r in node.regions for n in r.nodes)


def _trim(node: Node, wanted: set[str]) -> Node:
    """A loop without carried values and stacks that neither its results nor its own iterations need."""
    region = node.regions[0]
    count, total = len(region.args), len(node.outputs)
    tail = region.results[total:]  # the condition of `until`
    keep = {n for n, v in enumerate(node.outputs) if v.name in wanted}
    while True:
        results = [region.results[n] for n in sorted(keep)] + list(tail)
        nodes = live(region.nodes, set(results))
        used = region_captures(Region((), tuple(nodes), tuple(results)))
        more = {n for n in range(count) if region.args[n].name in used} - keep
        if not more:
            break
        keep |= more
    if len(keep) == total and tuple(nodes) == region.nodes:
        return node
    carried = [n for n in range(count) if n in keep]
    names = node.attr("names")
    stacked = sum(n >= count for n in keep)
    changes = {"stacked": stacked, "names": tuple(names[n] for n in carried if n < len(names)) if names else None}
    slim = Region(tuple(region.args[n] for n in carried), tuple(nodes), tuple(results))
    attrs = tuple((k, v) for k, v in node.with_attrs(**changes).attrs if k != "stack_size" or stacked)
    return replace(node, inputs=tuple(node.inputs[n] for n in carried), outputs=tuple(node.outputs[n] for n in sorted(keep)),
                   attrs=attrs, regions=(slim,))  # fmt: skip
