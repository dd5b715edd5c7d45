"""What a forward pass hands to its backward pass: products outside of loops that are far cheaper to store than to make again.

    gram = x @ x.T                       forward:   gram is a result, too
    for k: u = f(u, gram)     -->        backward:  gram is an input; x @ x.T is not made a second time

Inside loops the tape decides (``tape.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

from .adjoint import backward
from .graph import Graph, Node, Region, free_names, region_captures
from .live import live
from .tape import NOMINAL
from .types import HALF

#: Floating-point operations per element from which on a value is kept: storing and loading it takes as long as some hundred.
LEAST = 128


def products(graph: Graph) -> dict[str, frozenset[int]]:
    """Results of costly contractions outside of loops, and the numbers of the inputs that each follows from."""
    if any(t.dtype in HALF for t in graph.types.values()):
        return {}
    sources = {v.name: frozenset((n,)) for n, v in enumerate(graph.inputs)}
    found = {}
    for node in graph.nodes:
        reached = frozenset[int]().union(*(sources[n] for n in free_names(node)))
        sources |= {v.name: reached for v in node.outputs}
        if node.op == "einsum" and reached and node.output.name not in graph.results and _cost(graph, node) >= LEAST:
            found[node.output.name] = reached
    return found


def _cost(graph: Graph, node: Node) -> int:
    """Operations per element of a contraction."""
    operands, result = node.attr("spec").split("->")
    extents = {
        letter: size.evaluate(dict.fromkeys(size.names(), NOMINAL))
        for part, name in zip(operands.split(","), node.inputs, strict=True)
        for letter, size in zip(part, graph.types[name].shape, strict=True)
    }
    return len(node.inputs) * prod(e for letter, e in extents.items() if letter not in result)


def wanted(graph: Graph, wrt: Sequence[int], names: Sequence[str]) -> tuple[str, ...]:
    """Those of some values that the gradient in inputs ``wrt`` reads."""
    made = backward(graph, wrt, kept=names)
    read = region_captures(Region((), tuple(live(made.nodes, set(made.results))), made.results))
    inputs = made.inputs[len(graph.inputs) : len(graph.inputs) + len(names)]
    return tuple(n for n, v in zip(names, inputs, strict=True) if v.name in read)


def keeping(graph: Graph, names: Sequence[str]) -> Graph:
    """The graph with more results."""
    return replace(graph, name=f"{graph.name}_keeping", results=(*graph.results, *names))
