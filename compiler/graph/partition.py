"""Partition a graph: maximal runs of nodes that expand to loops become `kernel` nodes.

    topk; add; mul; svd; exp      -->      topk; kernel{add; mul}; svd; kernel{exp}

What is left is the host program: the interpreter runs it and calls a kernel where it meets one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from .graph import Builder, Graph, Node, Region, Value, free_names, make_attrs, walk
from .types import Type

#: Nodes that only rearrange or make scalars: a run of nothing else is not worth a kernel.
CHEAP = frozenset(
    {"const", "size_value", "iota", "broadcast", "reshape", "permute", "slice", "diagonal", "flip", "stop_gradient"}
)


def partition(graph: Graph, expands: Callable[[Node], bool]) -> Graph:
    """The host program of a graph; ``expands`` tells which nodes may go into kernels."""
    cutter = _Cutter(graph, expands)
    nodes = cutter.cut(graph.nodes, set(graph.results))
    return replace(graph, nodes=tuple(nodes))


class _Cutter:
    def __init__(self, graph: Graph, expands: Callable[[Node], bool]) -> None:
        self.types = graph.types
        self.expands = expands
        self.builder = Builder(graph.name, [Value(n, t) for n, t in self.types.items()])
        self.count = 0

    def cut(self, nodes: Sequence[Node], results: set[str]) -> list[Node]:
        pending = list(nodes)
        defined_here = {v.name for n in nodes for v in n.outputs}
        done: set[str] = set()
        out: list[Node] = []
        while pending:
            group = self._ready(pending, done, defined_here, True)
            later = {n for p in pending if p not in group for n in free_names(p)} | results
            if group and any(n.op not in CHEAP for n in group):
                out.append(self._kernel(group, later))
            else:
                out += group
            pending = [p for p in pending if p not in group]
            done |= {v.name for n in group for v in n.outputs}
            host = self._ready(pending, done, defined_here, False)
            for node in host:
                out.append(self._inside(node))
            pending = [p for p in pending if p not in host]
            done |= {v.name for n in host for v in n.outputs}
        return out

    def _ready(self, pending: list[Node], done: set[str], here: set[str], kernel: bool) -> list[Node]:
        """Nodes of one kind that can run now, through others of the same kind."""
        found: list[Node] = []
        known = set(done)
        for node in pending:
            if self.expands(node) == kernel and all(n in known or n not in here for n in free_names(node)):
                found.append(node)
                known |= {v.name for v in node.outputs}
        return found

    def _inside(self, node: Node) -> Node:
        if not node.regions or node.op == "solve_cg":  # the interpreter differentiates a solve as a whole
            return node
        regions = tuple(Region(r.args, tuple(self.cut(r.nodes, set(r.results))), r.results) for r in node.regions)
        return replace(node, regions=regions)

    def _kernel(self, group: list[Node], later: set[str]) -> Node:
        made = {v.name for n in group for v in n.outputs}
        inputs = sorted({n for node in group for n in free_names(node)} - made)
        outputs = [v for n in group for v in n.outputs if v.name in later]
        names: dict[str, str] = {}
        args = []
        for name in inputs:
            names[name] = self.builder.fresh(name)
            args.append(Value(names[name], self.types[name]))
        copies = tuple(self.builder.copy(n, names) for n in group)
        region = Region(tuple(args), copies, tuple(names[v.name] for v in outputs))
        types: tuple[Type, ...] = tuple(v.type for v in outputs)
        self.count += 1
        attrs = make_attrs({"types": types, "number": self.count - 1})
        return Node("kernel", tuple(inputs), tuple(outputs), attrs, (region,), group[0].span)


def kernels(graph: Graph) -> list[Node]:
    """The kernel nodes of a host program."""
    return [n for n in walk(graph.nodes) if n.op == "kernel"]


def kernel_graph(node: Node, name: str) -> Graph:
    """The graph inside a kernel node."""
    region = node.regions[0]
    return Graph(name, region.args, region.nodes, region.results)
