"""What a forward pass hands to its backward pass: what is far cheaper to store than to make again.

    gram = x @ x.T                       forward:   gram and the tape of u are results, too
    for k: u = f(u, gram)     -->        backward:  gram and the tape are inputs; x @ x.T is not made, the loop not run a second time

Products outside of loops are worth it at any size, tapes only if they are small (``autograd.py``); large ones stay in the backward kernel, tile by
tile (``tape.py``). Results are there as they are: what the gradient reads of them it need not make again.

    v = W u; s = relu(v + a)      -->      backward: s is an input, which tells where v + a > 0; W u is not made
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .adjoint import backward, recorded
from .adjoint_until import stops_by_data
from .graph import Graph, Region, free_names, region_captures
from .live import live
from .tape import choose
from .types import HALF
from .work import extent, operations

#: Floating-point operations per element from which on a value is kept: storing and loading it takes as long as some hundred.
LEAST = 128
#: And from which on a result is read: it is stored anyway, and loading it takes half of that.
LEAST_OF_RESULT = LEAST // 2
#: No inputs are so much smaller than what follows from them that all is computed again.
NEVER = 1 << 62


def products(graph: Graph) -> dict[str, frozenset[int]]:
    """Results of costly contractions outside of loops, and the numbers of the inputs that each follows from."""
    if any(t.dtype in HALF for t in graph.types.values()):
        return {}
    sources = _sources(graph)
    costly = [n for n in graph.nodes if n.op == "einsum" and operations([n], graph.types, {}) >= LEAST * extent(n.output.type.numel, {})]
    return {n.output.name: sources[n.output.name] for n in costly if sources[n.output.name] and n.output.name not in graph.results}


def read_results(graph: Graph) -> dict[str, frozenset[int]]:
    """Results that follow from inputs by many operations, made outside of loops by an op with one output, and the numbers of these inputs."""
    if any(t.dtype in HALF for t in graph.types.values()):
        return {}
    sources, makers, found = _sources(graph), {v.name: n for n in graph.nodes for v in n.outputs}, dict[str, frozenset[int]]()
    for name in graph.results:
        maker = makers.get(name)
        if maker is None or maker.regions or len(maker.outputs) > 1 or not sources[name]:
            continue
        effort = operations(live(graph.nodes, {name}), graph.types, {})
        if effort >= LEAST_OF_RESULT * extent(graph.types[name].numel, {}):
            found[name] = sources[name]
    return found


def _sources(graph: Graph) -> dict[str, frozenset[int]]:
    """The numbers of the inputs that each value outside of loops follows from."""
    found = {v.name: frozenset((n,)) for n, v in enumerate(graph.inputs)}
    for node in graph.nodes:
        reached = frozenset[int]().union(*(found[n] for n in free_names(node)))
        found |= {v.name: reached for v in node.outputs}
    return found


def wanted(graph: Graph, wrt: Sequence[int], names: Sequence[str]) -> tuple[str, ...]:
    """Those of some values that the gradient in inputs ``wrt`` reads."""
    made = backward(graph, wrt, kept=names)
    read = region_captures(Region((), tuple(live(made.nodes, set(made.results))), made.results))
    inputs = made.inputs[len(graph.inputs) : len(graph.inputs) + len(names)]
    return tuple(n for n, v in zip(names, inputs, strict=True) if v.name in read)


@dataclass(frozen=True)
class Tapes:
    """Values ``names`` from which a gradient follows without the forward pass, and the numbers of the inputs that each follows from;
    ``effort`` is how many operations that takes for each of their elements, for counts known only at run time with nominal ones."""

    names: tuple[str, ...] = ()
    sources: tuple[frozenset[int], ...] = ()
    effort: float = 0.0


def tapes(graph: Graph, wrt: Sequence[int]) -> Tapes:
    """Values of the recorded graph from which all that the gradient in inputs ``wrt`` reads follows without any loop, sum or product:
    tapes, final states, small sums. Nothing where a loop's iterations are counted as it runs: rows of its tape may stay unwritten."""
    if stops_by_data(graph) or any(t.dtype in HALF for t in graph.types.values()):
        return Tapes()
    whole, read = recorded(graph, wrt)
    if not any(node.op == "for" for node in whole.nodes):
        return Tapes()
    inputs = frozenset(v.name for v in graph.inputs)
    found = choose(inputs, whole.nodes, read, whole.types, "", NEVER, inputs)
    names = tuple(name for name in found.record if name not in inputs)
    elements = sum(extent(whole.types[name].numel, {}) for name in names)
    sources = _sources(whole)
    return Tapes(names, tuple(sources[name] for name in names), operations(graph.nodes, graph.types, {}) / max(1, elements))


def keeping(graph: Graph, wrt: Sequence[int], names: Sequence[str]) -> Graph:
    """The graph with more results: values of the graph that is recorded for the gradient in inputs ``wrt``; those that are results stay as they are."""
    nodes = graph.nodes if set(names) <= set(graph.types) else recorded(graph, wrt)[0].nodes
    return replace(graph, name=f"{graph.name}_keeping", nodes=nodes, results=(*graph.results, *(n for n in names if n not in graph.results)))
