"""The verifier: each rule of a legal graph, broken once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.graph import programs
from tests.graph.programs import row, scalar
from unspool.compiler.graph.graph import Builder, Graph, LoopBody, Node, Region, Value
from unspool.compiler.graph.types import At, Size, Type
from unspool.compiler.graph.verify import GraphError, verify


def with_node(change: Callable[[Node], Node], op: str) -> Graph:
    graph = programs.branching()

    def visit(nodes: tuple[Node, ...]) -> tuple[Node, ...]:
        return tuple(
            change(n) if n.op == op else replace(n, regions=tuple(replace(r, nodes=visit(r.nodes)) for r in n.regions))
            for n in nodes
        )

    return replace(graph, nodes=visit(graph.nodes))


def region_of(node: Node, **changes: object) -> Node:
    return replace(node, regions=(replace(node.regions[0], **changes), *node.regions[1:]))  # type: ignore[arg-type]


def escaped_index() -> Graph:
    b = Builder("escaped")
    theta = b.input("theta", Type.of("f64", "K"))
    b.loop("k", 0, "K", [], lambda: LoopBody((), (row(b, theta, "k"),)))
    return b.finish([b.op("slice", theta, items=(At(Size.of("k")),))])


def shadowed_index() -> Graph:
    b = Builder("shadowed")
    start = scalar(b, 0)
    inner = lambda z: LoopBody((b.op("exp", z),))  # noqa: E731
    return b.finish(b.loop("k", 0, "K", [start], lambda z: LoopBody(b.loop("k", 0, "K", [z], inner))))


def growing_state() -> Graph:
    graph = programs.ista()
    loop = graph.nodes[-1]
    out = replace(loop.outputs[0], type=Type.of("f64", "k"))
    return replace(graph, nodes=(*graph.nodes[:-1], replace(loop, outputs=(out,))))


BROKEN: dict[str, tuple[Callable[[], Graph], str]] = {
    "undefined": (lambda: with_node(lambda n: replace(n, inputs=("nowhere",)), "exp"), "%nowhere is used before it is defined"),
    "twice": (lambda: with_node(lambda n: replace(n, outputs=(Value("x", n.output.type),)), "exp"), "%x is defined twice"),
    "unknown op": (lambda: with_node(lambda n: replace(n, op="frobnicate"), "exp"), "there is no op frobnicate"),
    "type": (
        lambda: with_node(lambda n: replace(n, outputs=(Value("e", Type.of("f32", "n")),)), "exp"),
        r"exp gives f64\[n\], not f32\[n\]",
    ),
    "operands": (lambda: with_node(lambda n: replace(n, inputs=(n.inputs[0],)), "lt"), "lt takes 2 operands"),
    "attribute": (lambda: with_node(lambda n: n.with_attrs(axes=[-1]), "sum"), "the attribute axes of sum is a list"),
    "branch": (lambda: with_node(lambda n: region_of(n, results=("theta",)), "if"), "a region of if does not return the types"),
    "carried": (
        lambda: with_node(lambda n: region_of(n, results=("theta", *n.regions[0].results[1:])), "for"),
        "carry the types",
    ),
    "stacked": (lambda: with_node(lambda n: region_of(n, results=n.regions[0].results[:1]), "for"), "what it carries and stacks"),
    "returned": (lambda: replace(programs.ista(), results=("nothing",)), "%nothing is returned but not defined"),
    "escaped index": (escaped_index, "the index k is used outside its loop"),
    "escaped in a type": (growing_state, "the index k is used outside its loop"),
    "shadowed index": (shadowed_index, "a loop over k inside a loop over k"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_illegal_graphs_are_refused(name: str) -> None:
    make, message = BROKEN[name]
    with pytest.raises(GraphError, match=message):
        verify(make())


def test_a_value_of_a_region_is_not_seen_outside() -> None:
    graph = programs.ista()
    inner = graph.nodes[-1].regions[0].nodes[0].output.name
    with pytest.raises(GraphError, match="used before it is defined"):
        verify(replace(graph, nodes=(*graph.nodes, Node("exp", (inner,), (Value("late", Type.of("f64")),)))))


def test_a_fault_is_shown_in_its_place() -> None:
    with pytest.raises(GraphError) as caught:
        verify(with_node(lambda n: replace(n, op="frobnicate"), "exp"))
    lines = str(caught.value).splitlines()
    assert lines[0] == "illegal graph branching: there is no op frobnicate"
    marked = [line for line in lines[1:] if line.startswith(">")]
    assert len(marked) == 1
    assert "frobnicate" in marked[0]
    assert len(lines) == 11


def test_regions_may_return_what_is_around_them() -> None:
    b = Builder("around")
    x, c = b.input("x", Type.of("f64", "n")), b.input("c", Type.of("bool"))
    sides = (Region((), (), ("x",)), b.region([], lambda: [b.op("exp", x)]))
    verify(b.finish([b.op("if", c, regions=sides, types=(x.type,))]))
