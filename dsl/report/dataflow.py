"""The dataflow graph, drawn: values flow downward, a loop or a condition is a box around its body."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from ...compiler.graph.graph import Node, Value, free_names
from ...compiler.graph.types import Type
from .layout import HEADING, MARGIN, Box, Layout, layout
from .links import GraphLinks, Tag
from .section import Section, render
from .subject import Subject

#: Pixels of a letter and of a line.
LETTER, ROW = 7.0, 17.0
#: Graphs of more nodes than this are told, not drawn.
MOST = 400


@dataclass(frozen=True)
class Drawn:
    """A box of the drawing, in its coordinates: lines of text, what kind of thing it is, and the tag of its node."""

    x: float
    y: float
    width: float
    height: float
    texts: tuple[str, ...]
    kind: str
    tag: Tag


@dataclass(frozen=True)
class Edge:
    """A curve, and the type of the value that flows along it."""

    path: str
    type: str


def section(subject: Subject) -> Section | None:
    """The graph of every kernel."""
    if not subject.parts:
        return None
    html = render("dataflow.html", graphs=[(part.name, drawing(part, f"graph{n}")) for n, part in enumerate(subject.parts)])
    return Section("graph", "Dataflow graph", html)


def drawing(links: GraphLinks, name: str) -> Markup:
    """The drawing of a graph as SVG, ``name`` being its own on the page; or a sentence where it would be too large to be read."""
    graph = links.graph
    count = sum(1 for _ in _all(graph.nodes))
    if count > MOST:
        return Markup.escape(f"The graph has {count} nodes, more than can be seen in a drawing; its text is above.")
    maker = _Maker(links)
    whole = maker.region(graph.inputs, graph.nodes, graph.results, "result")
    maker.collect(whole, MARGIN, MARGIN)
    return render(
        "graph.svg",
        name=name,
        boxes=maker.boxes,
        edges=maker.edges,
        width=whole.width + 2 * MARGIN,
        height=whole.height + 2 * MARGIN,
    )


def _all(nodes: Sequence[Node]) -> Iterator[Node]:
    for node in nodes:
        yield node
        for region in node.regions:
            yield from _all(region.nodes)


class _Maker:
    """Boxes of nodes, from the inside out, and then their places on the page."""

    def __init__(self, links: GraphLinks) -> None:
        self.links = links
        self.about: dict[str, tuple[tuple[str, ...], str, Tag]] = {}
        self.boxes: list[Drawn] = []
        self.edges: list[Edge] = []
        self.types: dict[str, str] = {}
        self.flows: dict[tuple[int, str, str], str] = {}  # what flows along the edges of a layout, which its boxes keep

    def region(self, args: Sequence[Value], nodes: Sequence[Node], results: Sequence[str], end: str) -> Layout:
        """The layout of a region: its arguments above, what it yields below. Values from outside are not drawn inside."""
        boxes, edges = [], []
        made: dict[str, str] = {}
        for v in args:
            boxes.append(self.box(f"arg {v.name}", (v.name, _type(v.type)), "arg", Tag()))
            made[v.name] = f"arg {v.name}"
            self.types[v.name] = _type(v.type)
        for node in nodes:
            key = f"node {node.outputs[0].name}" if node.outputs else f"node at {len(boxes)}"
            for v in node.outputs:
                made[v.name] = key
                self.types[v.name] = _type(v.type)
            boxes.append(self.node(key, node))
            edges += [(made[n], key, n) for n in dict.fromkeys(free_names(node)) if n in made]
        for n, name in enumerate(results):
            key = f"{end} {n} {name}"
            boxes.append(self.box(key, (f"{end} {name}" if len(results) > 1 else end,), "end", Tag()))
            if name in made:
                edges.append((made[name], key, name))
        placed = layout(boxes, [(a, b) for a, b, _ in edges])
        self.flows.update({(id(placed), a, b): self.types.get(n, "") for a, b, n in edges})
        return placed

    def box(self, key: str, texts: tuple[str, ...], kind: str, tag: Tag) -> Box:
        """A box around lines of text."""
        self.about[key] = texts, kind, tag
        return Box(key, max(len(t) for t in texts) * LETTER + 18, len(texts) * ROW + 8)

    def node(self, key: str, node: Node) -> Box:
        """The box of a node; with regions it is around them."""
        tag, types = self.links.of_node(node), ", ".join(_type(v.type) for v in node.outputs)
        if not node.regions:
            return self.box(key, (_label(node), types), "node", tag)
        head = self.box(key, (_label(node),), "around", tag)
        inside = [self.region(r.args, r.nodes, r.results, "next" if node.op == "for" else "yield") for r in node.regions]
        head.inside = inside
        head.width = max(head.width, sum(p.width + MARGIN for p in inside) + MARGIN)
        head.height = HEADING + max(p.height for p in inside) + MARGIN
        return head

    def collect(self, placed: Layout, x: float, y: float) -> None:
        """Boxes and edges of a layout whose corner is at a place, outer boxes before those inside."""
        for (a, b), points in placed.edges.items():
            self.edges.append(Edge(_curve([(px + x, py + y) for px, py in points]), self.flows.get((id(placed), a, b), "")))
        for box in placed.boxes.values():
            texts, kind, tag = self.about[box.key]
            self.boxes.append(Drawn(box.x + x, box.y + y, box.width, box.height, texts, kind, tag))
            at = box.x + x + (box.width - sum(p.width + MARGIN for p in box.inside) + MARGIN) / 2
            for part in box.inside:
                self.collect(part, at, box.y + y + HEADING)
                at += part.width + MARGIN


def _label(node: Node) -> str:
    """What a node does, as short as it can be told."""
    name = node.op
    if node.op == "const":
        return f"{node.attr('value'):g}" if isinstance(node.attr("value"), float) else str(node.attr("value"))
    if node.op == "for":
        step = node.attr("step", 1)
        return f"for {node.attr('index')} in {node.attr('lower')}..{node.attr('upper')}" + (f" by {step}" if step != 1 else "")
    for attribute in ("spec", "axes", "items", "value"):
        found = node.attr(attribute, None)
        if found is not None:
            return f"{name} {_shown(found)}"
    return name


def _shown(value: object) -> str:
    text = ", ".join(_item(v) for v in value) if isinstance(value, tuple) else str(value)
    return text if len(text) <= 28 else f"{text[:27]}…"


def _item(value: object) -> str:
    for name in ("index", "start"):
        if hasattr(value, name):
            found = getattr(value, name)
            return str(found) if name == "index" else f"{found}..{found + getattr(value, 'size')}"  # noqa: B009
    return str(value)


def _type(type: Type) -> str:
    return str(type).removesuffix("[]")


def _curve(points: Sequence[tuple[float, float]]) -> str:
    """A smooth way through points, vertical at each of them."""
    text = f"M{points[0][0]:.1f},{points[0][1]:.1f}"
    for (ax, ay), (bx, by) in pairwise(points):
        middle = (ay + by) / 2
        text += f"C{ax:.1f},{middle:.1f} {bx:.1f},{middle:.1f} {bx:.1f},{by:.1f}"
    return text
