"""Batching: a batch gives what one problem after another gives, and fails where one of them fails. Random graphs:
``test_passes.py``."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from tests.graph import programs
from unspool.compiler.diagnostics import DataError
from unspool.compiler.graph.adjoint import backward
from unspool.compiler.graph.batch import batch
from unspool.compiler.graph.graph import Builder, Graph, LoopBody, Region, Value, walk
from unspool.compiler.graph.interp import interpret
from unspool.compiler.graph.simplify import simplify
from unspool.compiler.graph.types import Pick, Size, Type
from unspool.compiler.graph.verify import verify

SIZES = {"m": 3, "n": 4, "K": 3}
F64 = Type.of("f64")


def draw(graph: Graph, flags: list[bool], count: int) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    out = []
    for v, flag in zip(graph.inputs, flags, strict=True):
        shape = ([count] if flag else []) + [s.evaluate(SIZES) for s in v.type.shape]
        x = torch.randn(shape, generator=g, dtype=torch.float64)
        out.append(x @ x.mT + 4 * torch.eye(x.shape[-1]) if v.type.rank == 2 and v.type.shape[0] == v.type.shape[1] else x)
    return out


def check(graph: Graph, flags: list[bool], inputs: list[torch.Tensor], count: int) -> None:
    many = batch(graph, flags)
    verify(many)
    assert all(t.shape[0] == Size.of("batch") for t in many.result_types)
    found = interpret(many, inputs, SIZES | {"batch": count})
    for n in range(count):
        one = interpret(graph, [x[n] if f else x for x, f in zip(inputs, flags, strict=True)], SIZES)
        for got, want in zip(found, one, strict=True):
            torch.testing.assert_close(got[n], want, rtol=1e-12, atol=1e-12)


PROGRAMS = [programs.ista, programs.cholesky, programs.substitution, programs.branching, programs.nested]


@pytest.mark.parametrize("make", PROGRAMS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("pattern", ["all", "first", "last"])
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "backward"])
def test_programs(make: Callable[[], Graph], pattern: str, reverse: bool) -> None:
    graph = backward(make(), range(len(make().inputs))) if reverse else make()
    size = len(graph.inputs)
    flags = [pattern == "all" or n == (0 if pattern == "first" else size - 1) for n in range(size)]
    for made in (graph, simplify(graph)):
        check(made, flags, draw(made, flags, 3), 3)


def test_shared_operands_stay_shared() -> None:
    many = batch(programs.ista(), [False, True, False, False])
    products = [n for n in walk(many.nodes) if n.op == "einsum"]
    assert next(str(many.types[i]) for n in products for i in n.inputs if many.types[i].rank == 2) == "f64[m, n]"
    assert {str(many.types[n.inputs[0]]) for n in products} == {"f64[m, n]"}


def split(then: Callable[[Builder, Value, Value], Value]) -> Graph:
    """``then(x, i) if c > 0 else x[0]``."""
    b = Builder("split")
    x, c, i = b.input("x", Type.of("f64", "n")), b.input("c", F64), b.input("i", Type.of("i64"))

    def side(make: Callable[[], Value]) -> Region:
        return b.region([], lambda: [make()])

    condition = b.op("gt", c, programs.scalar(b, 0.0))
    regions = (side(lambda: then(b, x, i)), side(lambda: programs.row(b, x, 0)))
    return b.finish([b.op("if", condition, regions=regions, types=(F64,))])


def checked(b: Builder, x: Value, i: Value) -> Value:
    first = programs.row(b, x, 0)
    b.op("assert", b.op("gt", first, programs.scalar(b, 0.0)), message="positive")
    return first


def picked(b: Builder, x: Value, i: Value) -> Value:
    out: Value = b.op("slice", x, i, items=(Pick(0),))
    return out


def looped(b: Builder, x: Value, i: Value) -> Value:
    (out,) = b.loop("k", 0, "K", [programs.scalar(b, 0.0)], lambda s: LoopBody((b.op("add", s, picked(b, x, i)),)))
    return out


def divided(b: Builder, x: Value, i: Value) -> Value:
    out: Value = b.op("cast", b.op("floordiv", b.op("const", value=7, dtype="i64"), i), dtype="f64")
    return out


@pytest.mark.parametrize(
    ("then", "good", "bad"),
    [(checked, 1, 1), (picked, 2, 9), (looped, 2, 9), (divided, 2, 0)],
    ids=lambda v: getattr(v, "__name__", ""),
)
@pytest.mark.parametrize("own", [True, False], ids=["own", "shared"])
def test_what_fails_in_a_branch_fails_only_where_it_is_taken(
    then: Callable[[Builder, Value, Value], Value], good: int, bad: int, own: bool
) -> None:
    graph = split(then)
    x = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    xs = torch.stack([x, -x])  # the second problem violates the assertion
    c = torch.tensor([1.0, -1.0], dtype=torch.float64)
    i = torch.tensor([good, bad])
    if own:
        check(graph, [True, True, True], [xs, c, i], 2)
    else:
        check(graph, [False, True, False], [-x, -c.abs(), torch.tensor(bad)], 2)
    with pytest.raises(DataError):
        interpret(batch(graph, [True, True, True]), [xs, c.abs(), i], SIZES | {"batch": 2})


def test_problems_stop_one_by_one() -> None:
    b = Builder("stop")
    x = b.input("x", F64)

    def body(z: Value) -> LoopBody:
        new = b.op("mul", z, z)
        return LoopBody((new,), (new,), until=b.op("lt", new, programs.scalar(b, 0.2)))

    graph = b.finish(b.loop("k", 0, "K", [x], body))
    check(graph, [True], [torch.tensor([0.3, 0.9, 0.5, 0.99], dtype=torch.float64)], 4)
    check(graph, [True], [torch.zeros(0, dtype=torch.float64)], 0)


def test_a_branch_not_taken_has_no_gradient() -> None:
    """``sqrt(w) / c if c > 0 else w``: where c is 0, the infinite derivative of the other branch must not come through."""
    b = Builder("guard")
    c, w = b.input("c", F64), b.input("w", F64)
    regions = (b.region([], lambda: [b.op("div", b.op("sqrt", w), c)]), b.region([], lambda: [w]))
    graph = b.finish([b.op("if", b.op("gt", c, programs.scalar(b, 0.0)), regions=regions, types=(F64,))])
    c_values = torch.tensor([0.0, 2.0], dtype=torch.float64, requires_grad=True)
    shared = torch.tensor(4.0, dtype=torch.float64, requires_grad=True)
    (found,) = interpret(batch(graph, [True, False]), [c_values, shared], SIZES | {"batch": 2})
    by_c, by_w = torch.autograd.grad(found.sum(), (c_values, shared))
    assert found.tolist() == [4.0, 1.0]
    assert by_c.tolist() == [0.0, -0.5]
    assert by_w.item() == 1.0 + 0.125
