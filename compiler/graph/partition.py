"""Partition a graph: maximal runs of nodes that expand to loops become `kernel` nodes.

    topk; add; mul; svd; exp      -->      topk; kernel{add; mul}; svd; kernel{exp}
    a = x - y; f = fft(z); b = a + f      -->      f = fft(z); kernel{a = x - y; b = a + f}

Problems of a batch share what depends on shared inputs alone. A matrix of that kind, and what the host waits for, is made by a kernel without a batch,
once for all of them; so a library call that reads it is one call, not one for each problem.

A node that nothing on the host waits for goes with those that read it, where that moves fewer bytes: what stands between two library calls is then one
kernel. What is left is the host program: the interpreter runs it and calls a kernel where it meets one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import replace

from .graph import Builder, Graph, Node, Region, Value, free_names, make_attrs, walk
from .types import BYTES, At, Range, Size, Type
from .work import extent

#: Nodes that only rearrange or make scalars: a run of nothing else is not worth a kernel.
CHEAP = frozenset(
    {"const", "size_value", "iota", "broadcast", "reshape", "permute", "slice", "diagonal", "flip", "stop_gradient"}
)


def partition(
    graph: Graph, expands: Callable[[Node], bool], shared: Set[str] = frozenset(), late: Set[str] = frozenset()
) -> Graph:
    """The host program of a graph; ``expands`` tells which nodes may go into kernels, ``shared`` names the inputs that problems of a batch share.
    What follows from inputs ``late`` stands behind all that does not."""
    cutter = _Cutter(graph, expands, shared)
    first, last = apart(graph, late)
    nodes = cutter.cut(first, {n for node in last for n in free_names(node)} | set(graph.results))
    return replace(graph, nodes=(*nodes, *cutter.cut(last, set(graph.results))))


def apart(graph: Graph, late: Set[str]) -> tuple[list[Node], list[Node]]:
    """The nodes that do not follow from inputs ``late``, and those that do."""
    following = own_names(graph, {v.name for v in graph.inputs} - late)
    last = [n for n in graph.nodes if any(v.name in following for v in n.outputs)]
    return without(graph.nodes, last), last


class _Cutter:
    def __init__(self, graph: Graph, expands: Callable[[Node], bool], shared: Set[str]) -> None:
        self.types = graph.types
        self.own = own_names(graph, shared)
        self.expands = expands
        self.builder = Builder(graph.name, [Value(n, t) for n, t in self.types.items()])
        self.count = 0

    def cut(self, nodes: Sequence[Node], results: set[str]) -> list[Node]:
        pending = list(nodes)
        defined_here = {v.name for n in nodes for v in n.outputs}
        done: set[str] = set()
        out: list[Node] = []
        while pending:
            ready = self._ready(pending, done, defined_here, True)
            group = self._timely(ready, without(pending, ready), results)
            views = [n for part in connected(group) if all(n.op in CHEAP for n in part) for n in part]
            pending = without(pending, group)
            group = without(group, views)
            made_here, asked = {v.name for n in group for v in n.outputs}, self._asked(pending)
            rows = [n for n in group if is_row(n) and n.inputs[0] not in made_here and n.output.name in asked]
            out += views + rows
            parts = self._parts(group, pending)
            for n, part in enumerate(parts):
                readers = [*pending, *(node for other in parts[n + 1 :] for node in other)]
                later = ({name for p in readers for name in free_names(p)} | results) - {row.output.name for row in rows}
                asked_for = makers(part, later)
                cheap = all(n.op in CHEAP for n in asked_for)
                out += asked_for if cheap else [self._kernel(asked_for, later)]
            done |= {v.name for n in (*views, *group) for v in n.outputs}
            host = self._ready(pending, done, defined_here, False)
            for node in host:
                out.append(self._inside(node))
            pending = without(pending, host)
            done |= {v.name for n in host for v in n.outputs}
        return out

    def _parts(self, group: list[Node], rest: list[Node]) -> list[list[Node]]:
        """The nodes of one kernel, or of two: first what problems share, where it is a matrix or the host waits for it."""
        if not any(v.name in self.own for node in group for v in node.outputs):
            return [group] if group else []
        shared = [node for node in group if not any(v.name in self.own for v in node.outputs)]
        matrices = {v.name for node in shared if node.op not in CHEAP for v in node.outputs if v.type.rank > 1}
        common = makers(shared, self._asked(rest) | matrices)
        return [common, without(group, common)] if any(n.op not in CHEAP for n in common) else [group]

    def _ready(self, pending: list[Node], done: set[str], here: set[str], kernel: bool) -> list[Node]:
        """Nodes of one kind that can run now, through others of the same kind."""
        found: list[Node] = []
        known = set(done)
        for node in pending:
            if self.expands(node) == kernel and all(n in known or n not in here for n in free_names(node)):
                found.append(node)
                known |= {v.name for v in node.outputs}
        return found

    def _timely(self, ready: list[Node], rest: list[Node], results: set[str]) -> list[Node]:
        """Those of the nodes that are ready which are not better computed by a later kernel; all of them if the host has nothing left to do."""
        if all(self.expands(p) for p in rest):
            return ready
        needed = makers(ready, self._asked(rest))
        read, read_now = ({n for node in nodes for n in free_names(node)} for nodes in (rest, needed))
        made_now = {v.name for node in needed for v in node.outputs}
        late: list[Node] = []
        for part in connected(without(ready, needed)):
            if not needed or self._saved(part, made_now, read_now, read, results) > 0:
                late += part
        return without(ready, late)

    def _asked(self, rest: list[Node]) -> set[str]:
        """What the host reads of nodes that are left."""
        return {n for node in rest if not self.expands(node) for n in free_names(node)}

    def _saved(self, part: list[Node], made_now: set[str], read_now: set[str], read: set[str], results: set[str]) -> int:
        """How many bytes fewer are moved if nodes go into a later kernel, and not into the one that makes and reads these names now: what they make is
        not written and read again; what that kernel makes or reads, too, is read once more, and perhaps written for that."""
        made = {v.name for node in part for v in node.outputs}
        saved = sum(self._bytes(n) * (1 if n in results else 2) for n in made & read)
        for name in {n for node in part for n in free_names(node)} - made:
            if name in made_now:
                saved -= self._bytes(name) * (1 if name in read | results else 2)
            elif name in read_now:
                saved -= self._bytes(name)
        return saved

    def _bytes(self, name: str) -> int:
        return extent(self.types[name].numel, {}) * BYTES[self.types[name].dtype]

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


def is_row(node: Node) -> bool:
    """Whether a node is a slice that lies in memory as a row of its operand."""
    if node.op != "slice":
        return False
    items, shape = node.attr("items"), node.output.type.shape
    return len(items) == 1 + len(shape) and isinstance(items[0], At) and list(items[1:]) == [Range(Size.of(0), s) for s in shape]


def own_names(graph: Graph, shared: Set[str]) -> set[str]:
    """The values that every problem of a batch has for itself: what depends on inputs that are not ``shared``."""
    own = {v.name for v in graph.inputs} - shared

    def follow(nodes: Sequence[Node]) -> None:
        for node in nodes:
            if free_names(node) & own:
                own.update(v.name for v in (*node.outputs, *(a for r in node.regions for a in r.args)))
            for region in node.regions:
                follow(region.nodes)

    follow(graph.nodes)
    return own


def without(nodes: Sequence[Node], others: Sequence[Node]) -> list[Node]:
    """The nodes that are none of the others, which are the same objects."""
    gone = {id(n) for n in others}
    return [n for n in nodes if id(n) not in gone]


def makers(nodes: Sequence[Node], names: Set[str]) -> list[Node]:
    """Those of the nodes that make these names, and those that they read from, in order."""
    found: list[Node] = []
    wanted = set(names)
    for node in reversed(nodes):
        if any(v.name in wanted for v in node.outputs):
            found.append(node)
            wanted |= free_names(node)
    return found[::-1]


def connected(nodes: Sequence[Node]) -> list[list[Node]]:
    """Nodes in parts, so that none reads what one of another part makes; each part in the order that they had."""
    import networkx as nx  # takes a while, and only host programs need it

    graph = nx.Graph()
    graph.add_nodes_from(range(len(nodes)))
    maker = {v.name: i for i, n in enumerate(nodes) for v in n.outputs}
    graph.add_edges_from((maker[name], i) for i, n in enumerate(nodes) for name in free_names(n) if name in maker)
    return [[nodes[i] for i in sorted(part)] for part in nx.connected_components(graph)]


def kernels(graph: Graph) -> list[Node]:
    """The kernel nodes of a host program."""
    return [n for n in walk(graph.nodes) if n.op == "kernel"]


def kernel_graph(node: Node, name: str) -> Graph:
    """The graph inside a kernel node."""
    region = node.regions[0]
    return Graph(name, region.args, region.nodes, region.results)
