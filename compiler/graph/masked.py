"""Loops with ``until`` for problems side by side: what a problem has stays as it is once it has stopped.

    for k carry x until c:         for k carry x, on until not on:
        x = f(x)            -->        x = where(on, f(x), x)
                                       on = on and not c

For one problem it is the same loop. Of several (:mod:`~..loops.batch_tile`) each has its own ``on``, and they leave the loop together, the last one
that is on being through. A loop inside of another starts with those that are on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .graph import Graph, Node, Region, Value, make_attrs
from .segments import unused
from .types import Type

BOOL = Type("bool")


def masked(graph: Graph) -> Graph:
    """The graph with a mask in each loop with ``until``."""
    return replace(graph, nodes=_Masks(set(graph.types)).nodes(graph.nodes, None))


class _Masks:
    def __init__(self, taken: set[str]) -> None:
        self.taken = taken

    def new(self, hint: str, type: Type = BOOL) -> Value:
        """A value with a name of its own."""
        name = unused(hint, self.taken)
        self.taken.add(name)
        return Value(name, type)

    def nodes(self, nodes: Sequence[Node], around: str | None) -> tuple[Node, ...]:
        """The nodes of a region; ``around`` is the mask of the loop that they stand in, if it has one."""
        out: list[Node] = []
        for node in nodes:
            if node.op == "for" and node.attr("until"):
                out += self.loop(node, around)
            else:
                out.append(replace(node, regions=tuple(replace(r, nodes=self.nodes(r.nodes, around)) for r in node.regions)))
        return tuple(out)

    def loop(self, node: Node, around: str | None) -> list[Node]:
        """A loop with its mask as the last carried value, and what starts it."""
        region, carried = node.regions[0], len(node.regions[0].args)
        start: list[Node] = []
        if around is None:
            yes = self.new("on_0")
            start.append(Node("const", (), (yes,), make_attrs({"value": True, "dtype": "bool"}), (), node.span))
            around = yes.name
        on, final = self.new("on"), self.new("on_end")
        nodes = list(self.nodes(region.nodes, on.name))

        def op(name: str, hint: str, *inputs: str, type: Type = BOOL) -> str:
            nodes.append(Node(name, inputs, (self.new(hint, type),), (), (), node.span))
            return nodes[-1].output.name

        ends = [
            result if result == arg.name else op("where", f"{arg.name}_kept", on.name, result, arg.name, type=arg.type)
            for arg, result in zip(region.args, region.results, strict=False)
        ]
        going = op("and", "going", on.name, op("not", "more", region.results[-1]))
        results = (*ends, going, *region.results[carried:-1], op("not", "off", going))
        made = replace(
            node,
            inputs=(*node.inputs, around),
            outputs=(*node.outputs[:carried], final, *node.outputs[carried:]),
            regions=(Region((*region.args, on), tuple(nodes), results),),
        )
        return [*start, made]
