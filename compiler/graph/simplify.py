"""Simplify a graph: rules on single nodes (``rules.py``), common subexpressions and loops (``twins.py``), loop invariants (``hoist.py``), dead code.

Results stay the same bit for bit, NaN and infinity included.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

from .. import options
from .graph import Graph, Node, Region, free_names
from .hoist import invariant
from .live import live
from .ops.table import lookup
from .rules import RULES, literal
from .text import print_node
from .twins import merged


def simplify(graph: Graph) -> Graph:
    """An equal graph with less in it."""
    while True:
        found = _Pass(graph).run()
        if found == graph:
            return found
        graph = found


class _Pass:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.types = graph.types
        self.producers: dict[str, Node] = {}
        self.renamed: dict[str, str] = {}
        self.loops: list[Node] = []  # around the node at hand, outermost first

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
            choice = literal(self.producers, node.inputs[0]) if node.op == "if" else None
            if choice is not None:
                self.note("if of a constant", node, "its first branch" if choice else "its second branch")
                taken = node.regions[0 if choice else 1]
                out += self.nodes(taken.nodes, seen)
                self.renamed.update((v.name, self.name(r)) for v, r in zip(node.outputs, taken.results, strict=True))
                continue
            if node.regions:
                node, hoisted = self.regions(node, seen)
                out += hoisted
                seen.update((self.key(n), n) for n in hoisted)
                if node.op == "for" and self.has_twin(node, out):
                    continue
            pure = lookup(node.op).family not in ("effect", "control")
            twin = seen.get(self.key(node)) if pure else None
            if twin is not None:
                self.note("common subexpression", node, f"%{twin.outputs[0].name}")
                self.renamed.update((a.name, b.name) for a, b in zip(node.outputs, twin.outputs, strict=True))
                continue
            if pure:
                seen[self.key(node)] = node
            self.producers.update((v.name, node) for v in node.outputs)
            out.append(node)
        return out

    def has_twin(self, loop: Node, before: list[Node]) -> bool:
        """Whether a loop ``before`` it computes what this one does; its results have the names of that one then."""
        for place, node in enumerate(before):
            found = merged(node, loop, self.key) if node.op == "for" else None
            if found is None:
                continue
            later = {v.name for n in before[place + 1 :] for v in n.outputs}
            if free_names(found[0]).isdisjoint(later):  # what the second loop stacks may have been made behind the first
                before[place], renamed = found
                self.note("loops that compute the same", loop, f"%{before[place].outputs[0].name}")
                self.renamed.update(renamed)
                self.producers.update((v.name, before[place]) for v in before[place].outputs)
                return True
        return False

    def key(self, node: Node) -> object:
        attrs = tuple((k, type(v), repr(v) if isinstance(v, (float, complex)) else v) for k, v in node.attrs)  # -0.0 is not 0.0
        return node.op, node.inputs, attrs, tuple(v.type for v in node.outputs)

    def rules(self, node: Node) -> str | Node:
        for rule in RULES:
            answer = rule(node, self.producers, self.types)
            if answer is not None:
                after = f"%{answer}" if isinstance(answer, str) else print_node(answer)
                self.note(rule.__name__.strip("_").replace("_", " "), node, after)
            if isinstance(answer, str):
                return answer
            node = answer or node
        return node

    def note(self, rule: str, node: Node, after: str) -> None:
        """Show a rewrite, if asked to (``UNSPOOL_DEBUG=5``)."""
        if options.current.debug >= 5:
            print(f"unspool: {self.graph.name}: {rule}: {print_node(node)}  -->  {after}", file=sys.stderr)

    def regions(self, node: Node, seen: dict[object, Node]) -> tuple[Node, list[Node]]:
        """A node with its regions simplified, and what its loop computes the same in every iteration."""
        regions, hoisted = [], []
        loop = [node] if node.op == "for" else []
        self.loops += loop
        for region in node.regions:
            nodes = self.nodes(region.nodes, seen)
            if loop:
                moved, nodes = invariant(region, nodes, self.types, self.loops)
                hoisted += moved
                for one in moved:
                    self.note("hoist", one, f"before the loop over {node.attr('index')}")
            results = tuple(self.name(r) for r in region.results)
            regions.append(Region(region.args, tuple(live(nodes, set(results))), results))
        del self.loops[len(self.loops) - len(loop) :]
        return replace(node, regions=tuple(regions)), hoisted
