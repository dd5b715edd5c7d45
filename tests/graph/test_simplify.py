"""Simplify: each rule, and what it must leave alone. Random graphs: ``test_passes.py``."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from tests.graph import programs
from tests.graph.programs import row, scalar
from unspool.compiler.graph.graph import Builder, Graph, LoopBody, Node, Value, walk
from unspool.compiler.graph.interp import interpret
from unspool.compiler.graph.simplify import simplify
from unspool.compiler.graph.types import At, Range, Size, Type
from unspool.compiler.graph.verify import verify

Make = Callable[[Builder, Value], Value]


def graph_of(make: Make) -> Graph:
    b = Builder("rule")
    x = b.input("x", Type.of("f64", "m", "n"))
    return b.finish([make(b, x)])


def ops(graph: Graph) -> list[str]:
    return [n.op for n in walk(graph.nodes)]


def whole(n: str) -> Range:
    return Range(Size.of(0), Size.of(n))


def strip(b: Builder, x: Value) -> Value:
    inner = b.op("slice", x, items=(Range(Size.of(1), Size.of("m") - 1), Range(Size.of("n") - 1, Size.of("n"), -1)))
    out: Value = b.op("slice", inner, items=(At(Size.of(0)), Range(Size.of(1), Size.of(2))))
    return out


def either(b: Builder, x: Value, known: bool) -> Value:
    sides = tuple(b.region([], lambda op=op: [b.op(op, x)]) for op in ("exp", "sin"))
    out: Value = b.op("if", b.op("const", value=known, dtype="bool"), regions=sides, types=(x.type,))
    return out


GONE: dict[str, tuple[Make, list[str]]] = {
    "times one": (lambda b, x: b.op("mul", scalar(b, 1), x), []),
    "product with one": (lambda b, x: b.op("einsum", scalar(b, 1), x, spec=",ij->ij"), []),
    "over one": (lambda b, x: b.op("div", x, scalar(b, 1)), []),
    "minus zero": (lambda b, x: b.op("sub", x, b.op("broadcast", scalar(b, 0), shape=x.type.shape)), []),
    "to the one": (lambda b, x: b.op("pow", x, scalar(b, 1)), []),
    "minus minus": (lambda b, x: b.op("neg", b.op("neg", x)), []),
    "transposed twice": (lambda b, x: b.op("permute", b.op("permute", x, axes=(-1, -2)), axes=(-1, -2)), []),
    "same cast": (lambda b, x: b.op("cast", x, dtype="f64"), []),
    "cast there and back": (lambda b, x: b.op("cast", b.op("cast", b.op("gt", x, x), dtype="f64"), dtype="bool"), ["gt"]),
    "whole slice": (lambda b, x: b.op("slice", x, items=(whole("m"), whole("n"))), []),
    "slice of a slice": (strip, ["slice"]),
    "reshaped twice": (
        lambda b, x: b.op(
            "reshape", b.op("reshape", x, shape=(Size.of("m") * "n",)), shape=(Size.of(1), Size.of("m"), Size.of("n"))
        ),
        ["reshape"],
    ),
    "known choice": (lambda b, x: b.op("where", b.op("const", value=False, dtype="bool"), b.op("exp", x), x), []),
    "choice of equals": (lambda b, x: b.op("where", b.op("gt", x, scalar(b, 0)), x, x), []),
    "known branch": (lambda b, x: either(b, x, False), ["sin"]),
    "known condition": (lambda b, x: b.op("and", b.op("const", value=True, dtype="bool"), b.op("gt", x, x)), ["gt"]),
    "sum over nothing": (lambda b, x: b.op("sum", x, axes=()), []),
    "real part": (lambda b, x: b.op("re", b.op("conj", x)), []),
    "twice the same": (lambda b, x: b.op("add", b.op("exp", x), b.op("exp", x)), ["exp", "add"]),
    "literal size": (lambda b, x: b.op("size_value", value=Size.of(3), dtype="f64"), ["const"]),
    "dead code": (lambda b, x: (b.op("exp", x), b.op("sin", x))[1], ["sin"]),
}


def data() -> torch.Tensor:
    x = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x[0, :] = torch.tensor([math.nan, math.inf, -math.inf, -0.0], dtype=torch.float64)
    return x


def assert_same_bits(a: Graph, b: Graph) -> None:
    sizes = {"m": 3, "n": 4, "K": 2}
    for got, want in zip(interpret(a, [data()], sizes), interpret(b, [data()], sizes), strict=True):
        assert got.dtype == want.dtype
        assert torch.equal(torch.nan_to_num(got.double(), nan=7.5), torch.nan_to_num(want.double(), nan=7.5))
        assert torch.equal(torch.signbit(got.double()), torch.signbit(want.double())) or got.isnan().any()


@pytest.mark.parametrize("name", GONE)
def test_rules(name: str) -> None:
    make, left = GONE[name]
    graph = graph_of(make)
    simple = simplify(graph)
    verify(simple)
    assert ops(simple) == left
    assert_same_bits(simple, graph)


KEPT: dict[str, Make] = {
    "times zero": lambda b, x: b.op("mul", x, scalar(b, 0)),
    "plus zero": lambda b, x: b.op("add", x, scalar(b, 0)),
    "minus minus zero": lambda b, x: b.op("sub", x, scalar(b, -0.0)),
    "minus itself": lambda b, x: b.op("sub", x, x),
    "over itself": lambda b, x: b.op("div", x, x),
    "cast that rounds": lambda b, x: b.op("cast", b.op("cast", x, dtype="f32"), dtype="f64"),
    "two zeros": lambda b, x: b.op("mul", b.op("div", x, scalar(b, 0.0)), b.op("div", x, scalar(b, -0.0))),
    "widening product": lambda b, x: b.op("mul", row(b, x, 0), b.op("broadcast", scalar(b, 1), shape=x.type.shape)),
}


@pytest.mark.parametrize("name", KEPT)
def test_what_changes_bits_stays(name: str) -> None:
    graph = graph_of(KEPT[name])
    assert sorted(ops(simplify(graph))) == sorted(ops(graph))


def test_an_assertion_stays() -> None:
    b = Builder("checked")
    x = b.input("x", Type.of("f64", "m", "n"))

    def body(z: Value) -> LoopBody:
        b.op("assert", b.op("gt", b.op("sum", z, axes=(-1, -2)), scalar(b, 0)), message="positive")
        return LoopBody((b.op("exp", z),))

    b.loop("k", 0, "K", [x], body)
    assert ops(simplify(b.finish([x]))) == ["const", "for", "sum", "gt", "assert", "exp"]


def looped(lower: int, upper: str, make: Callable[[Builder, Value], Value]) -> Graph:
    b = Builder("looped")
    x = b.input("x", Type.of("f64", "m", "n"))
    start = b.op("broadcast", scalar(b, 0), shape=(Size.of("n"),))
    return b.finish(b.loop("k", lower, upper, [start], lambda z: LoopBody((b.op("add", z, make(b, x)),))))


def inside(graph: Graph) -> list[Node]:
    return [n for node in graph.nodes if node.op == "for" for n in walk(node.regions[0].nodes)]


def test_invariants_move_out_of_loops() -> None:
    graph = simplify(looped(0, "K", lambda b, x: b.op("sum", b.op("mul", x, x), axes=(-2,))))
    assert [n.op for n in inside(graph)] == ["add"]
    verify(graph)


def test_an_index_that_may_be_out_of_range_stays_in_its_loop() -> None:
    def second(b: Builder, x: Value) -> Value:
        return row(b, x, 1)

    assert [n.op for n in inside(simplify(looped(1, "m", second)))] == ["slice", "add"]  # m = 1: no iteration, no row 1
    assert [n.op for n in inside(simplify(looped(0, "m", second)))] == ["add"]  # runs at least once
    small = torch.ones(1, 4, dtype=torch.float64)
    assert not interpret(simplify(looped(1, "m", second)), [small], {"m": 1, "n": 4})[0].any()
    first = simplify(looped(1, "m", lambda b, x: row(b, x, Size.of("m") - 1)))
    assert [n.op for n in inside(first)] == ["add"]  # in range whatever m is


def test_an_index_moves_out_of_an_inner_loop_if_the_outer_one_bounds_it() -> None:
    b = Builder("triangle")
    x = b.input("x", Type.of("f64", "n"))
    zero = scalar(b, 0)

    def body(s: Value) -> LoopBody:
        def inner(t: Value) -> LoopBody:
            return LoopBody((b.op("add", t, b.op("mul", row(b, x, "i"), row(b, x, Size.of("i") - 1))),))

        return LoopBody(b.loop("j", 1, "i", [s], inner))

    graph = simplify(b.finish(b.loop("i", 0, "n", [zero], body)))
    verify(graph)
    outer = next(n for n in graph.nodes if n.op == "for").regions[0].nodes
    assert [n.op for n in outer] == ["slice", "for"]
    assert [n.op for n in outer[1].regions[0].nodes] == ["slice", "mul", "add"]  # x[i - 1] is out of range at i = 0
    assert float(interpret(graph, [torch.arange(4.0).double()], {"n": 4})[0]) == 2 * 1 * 1 + 3 * 2 * 2


def test_what_a_loop_carries_in_vain_is_dropped() -> None:
    b = Builder("vain")
    x, y = b.input("x", Type.of("f64", "n")), b.input("y", Type.of("f64", "n"))
    body = lambda u, v, w: LoopBody((b.op("exp", u), b.op("add", v, w), b.op("sin", w)), (b.op("cos", w), b.op("cos", u)))  # noqa: E731
    u, _, _, _, path = b.loop("k", 0, "K", [x, y, y], body, names=["u", "v", "w"])
    graph = simplify(b.finish([u, path]))
    verify(graph)
    (loop,) = graph.nodes
    assert loop.attr("names") == ("u",)
    assert [n.op for n in walk(loop.regions[0].nodes)] == ["exp", "cos"]


def twins(second: str = "sin", start: str = "x", stops: bool = False) -> Graph:
    """Two loops over k that add sin (``second``) of a sum over j to x (``start``); the first stacks a value, the second what it starts from."""
    b = Builder("twins")
    x, y = b.input("x", Type.of("f64", "n")), b.input("y", Type.of("f64", "n"))

    def loop(start: Value, op: str, stacks: bool) -> tuple[Value, ...]:
        def body(u: Value) -> LoopBody:
            (v,) = b.loop("j", 0, 3, [u], lambda w: LoopBody((b.op("add", w, b.op("cos", w)),)))
            made = b.op("add", u, b.op(op, v))
            until = b.op("gt", b.op("sum", made, axes=(-1,)), scalar(b, 9)) if stops else None
            return LoopBody((made,), (u if stacks else v,), until)

        return b.loop("k", 0, "K", [start], body)

    (first, one), (other, two) = loop(x, "sin", False), loop({"x": x, "y": y}[start], second, True)
    return b.finish([first, one, other, two])


def test_loops_that_compute_the_same_are_one() -> None:
    inputs, sizes = [torch.rand(4, dtype=torch.float64), torch.rand(4, dtype=torch.float64)], {"n": 4, "K": 5}
    for made, count in ((twins(), 1), (twins("cos"), 2), (twins(start="y"), 2), (twins(stops=True), 2)):
        graph = simplify(made)
        verify(graph)
        assert [n.op for n in graph.nodes].count("for") == count
        torch.testing.assert_close(interpret(graph, inputs, sizes), interpret(made, inputs, sizes), rtol=0, atol=0)


def test_what_a_later_loop_stacks_may_be_made_behind_the_earlier_one() -> None:
    b = Builder("late")
    x, y = b.input("x", Type.of("f64")), b.input("y", Type.of("f64", "n"))
    (first,) = b.loop("k", 0, "K", [x], lambda u: LoopBody((b.op("sin", u),)))
    made = b.op("tanh", y)
    second, rows = b.loop("k", 0, "K", [x], lambda u: LoopBody((b.op("sin", u),), (made,)))
    graph = b.finish([first, second, rows])
    simple = simplify(graph)
    verify(simple)
    inputs, sizes = [torch.rand((), dtype=torch.float64), torch.rand(4, dtype=torch.float64)], {"n": 4, "K": 3}
    torch.testing.assert_close(interpret(simple, inputs, sizes), interpret(graph, inputs, sizes), rtol=0, atol=0)


@pytest.mark.parametrize(
    "make", [programs.ista, programs.cholesky, programs.branching, programs.nested], ids=lambda f: f.__name__
)
def test_it_is_done_after_one_call(make: Callable[[], Graph]) -> None:
    simple = simplify(make())
    assert simplify(simple) == simple
