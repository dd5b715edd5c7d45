"""Dead code: nodes whose values nobody reads go, and results that nobody reads go from loops, branches and derivatives
of library calls.

    x, s = for k carry x: stack x; return x      -->      x = for k carry x; return x

Effects (assertions) stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .graph import Node, Region, free_names, region_captures
from .ops.library import narrowed
from .ops.table import lookup


def live(nodes: Sequence[Node], wanted: set[str]) -> list[Node]:
    """Nodes that something needs; effects stay. Results that nobody reads are dropped from loops."""
    out: list[Node] = []
    for node in reversed(nodes):
        if lookup(node.op).family == "effect" or _has_effect(node) or any(v.name in wanted for v in node.outputs):
            if node.op == "for":
                node = _trim(node, wanted)
            elif node.op == "if":
                node = _trim_branches(node, wanted)
            elif node.op == "vjp":
                node = narrowed(node, [n for n, v in enumerate(node.outputs) if v.name in wanted])
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
    loose = sum(n >= total - node.attr("loose", 0) for n in keep)
    changes = {"stacked": stacked, "loose": loose or None, "names": tuple(names[n] for n in carried if n < len(names)) if names else None}
    slim = Region(tuple(region.args[n] for n in carried), tuple(nodes), tuple(results))
    attrs = tuple((k, v) for k, v in node.with_attrs(**changes).attrs if k != "stack_size" or stacked)
    return replace(node, inputs=tuple(node.inputs[n] for n in carried), outputs=tuple(node.outputs[n] for n in sorted(keep)),
                   attrs=attrs, regions=(slim,))  # fmt: skip
