"""Places of the nodes of a dataflow graph: layers from top to bottom, what depends on a node below it, loops as boxes around their bodies.

Sugiyama, Tagawa and Toda, Methods for visual understanding of hierarchical system structures, IEEE Transactions on Systems, Man, and
Cybernetics 11(2), 1981: layers, an order in each by the means of neighbours, edges over several layers by way of points between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import networkx as nx

#: Pixels: between neighbours, between layers, around what is in a box, and for its heading.
GAP, LAYER, MARGIN, HEADING = 14.0, 30.0, 12.0, 22.0
#: Sweeps up and down that order the layers.
SWEEPS = 6


@dataclass
class Box:
    """What is placed: its key and size; ``inside`` of a loop is what its regions hold, each laid out. ``x`` and ``y`` of the upper left corner are
    set by :func:`layout`, relative to the box around."""

    key: str
    width: float
    height: float
    inside: list[Layout] = field(default_factory=list)
    x: float = 0.0
    y: float = 0.0


@dataclass
class Layout:
    """Boxes with places, and edges (from, to) as points from the lower edge of one to the upper edge of the other."""

    boxes: dict[str, Box]
    edges: dict[tuple[str, str], list[tuple[float, float]]]
    width: float
    height: float


def layout(boxes: Sequence[Box], edges: Sequence[tuple[str, str]]) -> Layout:
    """Place boxes so that every edge goes down."""
    graph = nx.DiGraph()
    table = {b.key: b for b in boxes}
    graph.add_nodes_from(table)
    graph.add_edges_from(dict.fromkeys((a, b) for a, b in edges if a != b))
    layers = [list(layer) for layer in nx.topological_generations(graph)]
    _pull_down(graph, layers)
    paths = _with_points(graph, layers, table)
    chain = nx.DiGraph([pair for path in paths.values() for pair in pairwise(path)])
    chain.add_nodes_from(table)
    _order(chain, layers)
    return _placed(chain, layers, table, paths)


def _pull_down(graph: nx.DiGraph, layers: list[list[str]]) -> None:
    """Nodes without inputs go to the layer above the first that uses them."""
    level = {key: n for n, layer in enumerate(layers) for key in layer}
    for key in layers[0] if layers else []:
        used = [level[after] for after in graph.successors(key)]
        if used and min(used) > 1:
            level[key] = min(used) - 1
    kept: list[list[str]] = [[] for _ in layers]
    for n, layer in enumerate(layers):
        for key in layer:
            kept[level[key]].append(key)
        layers[n] = []
    layers[:] = [layer for layer in kept if layer]


def _with_points(graph: nx.DiGraph, layers: list[list[str]], table: dict[str, Box]) -> dict[tuple[str, str], list[str]]:
    """Edges as ways through every layer between; the points on them become narrow boxes."""
    level = {key: n for n, layer in enumerate(layers) for key in layer}
    paths = {}
    for a, b in graph.edges:
        path = [a]
        for n in range(level[a] + 1, level[b]):
            key = f"{a}>{b} {n}"
            table[key] = Box(key, 2.0, 0.0)
            layers[n].append(key)
            path.append(key)
        paths[a, b] = [*path, b]
    return paths


def _order(chain: nx.DiGraph, layers: list[list[str]]) -> None:
    """Order each layer by the mean place of its neighbours in the layer before, downward and upward in turn."""
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for n in range(1, len(layers)) if down else range(len(layers) - 2, -1, -1):
            before = {key: place for place, key in enumerate(layers[n - 1 if down else n + 1])}
            own = {key: place for place, key in enumerate(layers[n])}

            def mean(key: str, before: Mapping[str, int] = before, own: Mapping[str, int] = own, down: bool = down) -> float:
                near = [before[o] for o in (chain.predecessors(key) if down else chain.successors(key)) if o in before]
                return sum(near) / len(near) if near else own[key]

            layers[n].sort(key=mean)


def _placed(
    chain: nx.DiGraph, layers: list[list[str]], table: dict[str, Box], paths: Mapping[tuple[str, str], list[str]]
) -> Layout:
    points = {key for path in paths.values() for key in path[1:-1]}
    y, bottoms = 0.0, {}
    for layer in layers:
        x = 0.0
        for key in layer:
            table[key].x, table[key].y = x, y
            x += table[key].width + GAP
        height = max(table[key].height for key in layer)
        for key in layer:
            if key in points:  # an edge runs straight down beside the boxes of a layer
                table[key].height = height
        bottoms.update(dict.fromkeys(layer, y + height))
        y += height + LAYER
    for sweep in range(2 * SWEEPS):
        for layer in layers if sweep % 2 == 0 else reversed(layers):
            _settle([table[key] for key in layer], [_wish(chain, table, key, up=sweep % 2 == 0) for key in layer])
    least = min((b.x for b in table.values()), default=0.0)
    for b in table.values():
        b.x -= least
    edges = {}
    for (first, last), path in paths.items():
        a, b = table[first], table[last]
        between = [(p.x + 1, y) for p in (table[key] for key in path[1:-1]) for y in (p.y, p.y + p.height)]
        start = [(a.x + a.width / 2, a.y + a.height), (a.x + a.width / 2, bottoms[first])]  # past what is higher in its layer
        edges[first, last] = [*start, *between, (b.x + b.width / 2, b.y)]
    boxes = {key: b for key, b in table.items() if key not in points}
    return Layout(boxes, edges, max((b.x + b.width for b in table.values()), default=0.0), max(0.0, y - LAYER))


def _wish(chain: nx.DiGraph, table: Mapping[str, Box], key: str, *, up: bool) -> float:
    """Where a box would have its centre: at the mean of its neighbours' above (or below)."""
    near = list(chain.predecessors(key) if up else chain.successors(key)) or list(
        chain.successors(key) if up else chain.predecessors(key)
    )
    centres = [table[n].x + table[n].width / 2 for n in near]
    return sum(centres) / len(centres) if centres else table[key].x + table[key].width / 2


def _settle(row: Sequence[Box], wishes: Sequence[float]) -> None:
    """Move the boxes of a layer, in their order, as near to what they wish as their widths allow: neighbours in the way of each other become one
    block, at the mean of their wishes."""
    blocks: list[tuple[list[Box], float]] = []  # boxes, and where the left edge of the first would be
    for box, wish in zip(row, wishes, strict=True):
        block, left = [box], wish - box.width / 2
        while blocks and blocks[-1][1] + _extent(blocks[-1][0]) > left:
            before, at = blocks.pop()
            shifted = left - _extent(before)
            left = (at * len(before) + shifted * len(block)) / (len(before) + len(block))
            block = [*before, *block]
        blocks.append((block, left))
    for block, left in blocks:
        for box in block:
            box.x = left
            left += box.width + GAP


def _extent(block: Sequence[Box]) -> float:
    return sum(b.width + GAP for b in block)
