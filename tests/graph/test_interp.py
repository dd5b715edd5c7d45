"""The interpreter: loops, branches, calls out of the graph, sizes, memory, derivatives through it; and specialize."""

from __future__ import annotations

import copy
import gc
import pickle
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from unspool.compiler.diagnostics import DataError
from unspool.compiler.graph import interp
from unspool.compiler.graph.batch import batch
from unspool.compiler.graph.graph import Builder, Graph, LoopBody, Node, Value
from unspool.compiler.graph.interp import interpret
from unspool.compiler.graph.ops.library import library_adjoint
from unspool.compiler.graph.simplify import simplify
from unspool.compiler.graph.specialize import specialize
from unspool.compiler.graph.types import At, Pick, Range, Size, Type

F = "f64"


def f64(*values: Any) -> torch.Tensor:
    return torch.tensor(values[0] if len(values) == 1 else list(values), dtype=torch.float64)


def number(b: Builder, value: float, dtype: str = F) -> Value:
    out: Value = b.op("const", value=value, dtype=dtype)
    return out


# -- loops -----------------------------------------------------------------------------------------------------------


def gradient_descent(stacked: bool = False) -> Graph:
    """x <- x - step[k] * A^T (A x - y), k in 0..K, its iterates stacked if asked."""
    b = Builder("descent")
    A, y = b.input("A", Type.of(F, "m", "n")), b.input("y", Type.of(F, "m"))
    step = b.input("step", Type.of(F, "K"))
    start = b.op("broadcast", number(b, 0.0), shape=(Size.of("n"),))

    def body(x: Value) -> LoopBody:
        r = b.op("sub", b.op("einsum", A, x, spec="ij,j->i"), y)
        s = b.op("slice", step, items=(At(Size.of("k")),))
        new = b.op("sub", x, b.op("mul", s, b.op("einsum", A, r, spec="ij,i->j")))
        return LoopBody((new,), (new,) if stacked else ())

    return b.finish(b.loop("k", 0, "K", [start], body, names=["x"]))


def data(m: int = 4, n: int = 3, K: int = 5) -> tuple[list[torch.Tensor], dict[str, int]]:
    g = torch.Generator().manual_seed(0)
    A, y = torch.randn(m, n, generator=g, dtype=torch.float64), torch.randn(m, generator=g, dtype=torch.float64)
    return [A, y, torch.linspace(0.01, 0.1, K, dtype=torch.float64)], {"m": m, "n": n, "K": K}


def by_hand(A: torch.Tensor, y: torch.Tensor, step: torch.Tensor) -> list[torch.Tensor]:
    x = torch.zeros(A.shape[1], dtype=torch.float64)
    path = []
    for s in step:
        x = x - s * (A.T @ (A @ x - y))
        path.append(x)
    return path


def test_a_loop_runs_and_stacks() -> None:
    inputs, sizes = data()
    x, path = interpret(gradient_descent(stacked=True), inputs, sizes)
    want = by_hand(*inputs)
    torch.testing.assert_close(x, want[-1])
    torch.testing.assert_close(path, torch.stack(want))


def test_one_graph_runs_for_any_sizes() -> None:
    graph = gradient_descent()
    for m, n, K in [(4, 3, 5), (2, 6, 1), (4, 3, 5), (1, 1, 30)]:
        inputs, sizes = data(m, n, K)
        torch.testing.assert_close(interpret(graph, inputs, sizes)[0], by_hand(*inputs)[-1])


def test_a_loop_of_no_iterations_keeps_the_start_and_stacks_nothing() -> None:
    inputs, sizes = data(K=0)
    x, path = interpret(gradient_descent(stacked=True), inputs, sizes)
    assert x.tolist() == [0.0, 0.0, 0.0]
    assert path.shape == (0, 3)
    assert path.dtype == torch.float64


def test_autograd_goes_through() -> None:
    inputs, sizes = data()
    for x in inputs:
        x.requires_grad_()
    graph = gradient_descent(stacked=True)
    assert torch.autograd.gradcheck(lambda *xs: interpret(graph, xs, sizes), tuple(inputs))


def triangle() -> Graph:
    """Bounds and slices that depend on outer indices: t[i] = sum of x[j] for j in n-1..i by -1."""
    b = Builder("triangle")
    x = b.input("x", Type.of(F, "n"))
    out = b.op("broadcast", number(b, 0.0), shape=(Size.of("n"),))
    i, j = Size.of("i"), Size.of("j")

    def outer(t: Value) -> LoopBody:
        def inner(t: Value) -> LoopBody:
            return LoopBody((b.op("update", t, b.op("slice", x, items=(At(j),)), items=(At(i),), mode="add"),))

        return LoopBody(b.loop("j", Size.of("n") - 1, i, [t], inner, step=-1))

    return b.finish(b.loop("i", 0, "n", [out], outer))


def test_nested_loops_with_bounds_of_outer_indices() -> None:
    x = f64(1, 2, 4, 8)
    assert interpret(triangle(), [x], {"n": 4})[0].tolist() == [14.0, 12.0, 8.0, 0.0]


def test_stacks_longer_than_the_trip_are_filled_with_zeros() -> None:
    b = Builder("stack")
    x = b.input("x", Type.of(F))

    def body(x: Value) -> LoopBody:
        y = b.op("mul", x, number(b, 2.0))
        return LoopBody((y,), (y,))

    _, rows = b.loop("k", 0, "K", [x], body, stack_size=5)
    assert interpret(b.finish([rows]), [f64(1.0)], {"K": 3})[0].tolist() == [2.0, 4.0, 8.0, 0.0, 0.0]


def halving(batch: bool) -> Graph:
    """x <- x / 2 until x < tol, with a trace and a counter."""
    lead = ("batch",) if batch else ()
    b = Builder("halving")
    x, tol = b.input("x", Type.of(F, *lead)), b.input("tol", Type.of(F))
    zero = b.op("broadcast", number(b, 0.0), shape=tuple(map(Size.of, lead)))

    def body(x: Value, count: Value) -> LoopBody:
        half = b.op("mul", x, number(b, 0.5))
        return LoopBody((half, b.op("add", count, number(b, 1.0))), (half,), b.op("lt", half, tol))

    return b.finish(b.loop("k", 0, "K", [x, zero], body, names=["x", "count"]))


def test_until_stops_after_the_body_and_the_trace_stays() -> None:
    x, count, path = interpret(halving(False), [f64(8.0), f64(1.5)], {"K": 6})
    assert (float(x), float(count)) == (1.0, 3.0)
    assert path.tolist() == [4.0, 2.0, 1.0, 1.0, 1.0, 1.0]
    x, count, path = interpret(halving(False), [f64(8.0), f64(0.0)], {"K": 2})
    assert (float(x), float(count), path.tolist()) == (2.0, 2.0, [4.0, 2.0])


def test_in_a_batch_each_problem_stops_by_itself() -> None:
    xs = f64(8.0, 1.0, 100.0, float("nan"))
    x, count, path = interpret(halving(True), [xs, f64(1.5)], {"K": 5, "batch": 4})
    for p in range(4):
        alone = interpret(halving(False), [xs[p], f64(1.5)], {"K": 5})
        for got, want in zip((x[p], count[p], path[:, p]), alone, strict=True):
            torch.testing.assert_close(got, want, equal_nan=True)


def test_a_batch_of_no_problems() -> None:
    x, count, path = interpret(halving(True), [torch.zeros(0, dtype=torch.float64), f64(1.5)], {"K": 3, "batch": 0})
    assert x.shape == count.shape == (0,)
    assert path.shape == (3, 0)


def test_autograd_through_until_stops_where_the_problem_stopped() -> None:
    xs = f64(8.0, 1.0).requires_grad_()
    x, _, _ = interpret(halving(True), [xs, f64(1.5)], {"K": 5, "batch": 2})
    x.sum().backward()
    assert xs.grad is not None
    assert xs.grad.tolist() == [1 / 8, 1 / 2]


# -- branches and checks ---------------------------------------------------------------------------------------------


def test_a_branch_sees_outer_values_and_runs_one_side() -> None:
    b = Builder("branch")
    c, x = b.input("c", Type.of("bool")), b.input("x", Type.of(F))

    def fails() -> Sequence[Value]:
        b.op("assert", c, message="the wrong side ran")
        return [x]

    sides = (b.region([], lambda: [b.op("add", x, x)]), b.region([], lambda: [x]))
    y = b.op("if", c, regions=sides, types=(x.type,))
    guarded = b.op("if", c, regions=(b.region([], lambda: [y]), b.region([], fails)), types=(x.type,))
    graph = b.finish([y, guarded])
    assert [float(v) for v in interpret(graph, [torch.tensor(True), f64(3.0)], {})] == [6.0, 6.0]
    with pytest.raises(DataError, match="the wrong side ran"):
        interpret(graph, [torch.tensor(False), f64(3.0)], {})


def test_errors_of_data_are_data_errors() -> None:
    b = Builder("errors")
    A, i = b.input("A", Type.of(F, "n", "n")), b.input("i", Type.of("i64"))
    root = b.finish([b.op("cholesky", A)])
    with pytest.raises(DataError, match=r"positive-definite"):
        interpret(root, [-torch.eye(3, dtype=torch.float64), torch.tensor(0)], {"n": 3})
    b = Builder("errors")
    A, i = b.input("A", Type.of(F, "n", "n")), b.input("i", Type.of("i64"))
    row = b.finish([b.op("slice", A, i, items=(Pick(0), Range(Size.of(0), Size.of("n"))))])
    assert interpret(row, [torch.eye(3, dtype=torch.float64), torch.tensor(1)], {"n": 3})[0].tolist() == [0.0, 1.0, 0.0]
    with pytest.raises(DataError, match="index 3 is out of range for an axis of size 3"):
        interpret(row, [torch.eye(3, dtype=torch.float64), torch.tensor(3)], {"n": 3})


def test_wrong_use_is_told() -> None:
    inputs, sizes = data()
    with pytest.raises(DataError, match="descent takes 3 inputs, not 2"):
        interpret(gradient_descent(), inputs[:2], sizes)
    with pytest.raises(KeyError, match="K"):
        interpret(gradient_descent(), inputs, {"m": 4, "n": 3})


# -- modules, kernels, vjp -------------------------------------------------------------------------------------------


def call_module(index: Size | None = None, batched: bool = False) -> Graph:
    b = Builder("call")
    x = b.input("x", Type.of(F, *(("batch",) if batched else ()), "n"))
    return b.finish([b.op("module", x, name="f", index=index, types=(x.type,), batched=True if batched else None)])


def test_a_module_gets_one_leading_axis() -> None:
    seen: list[tuple[int, ...]] = []

    def double(x: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(x.shape))
        return 2 * x

    assert interpret(call_module(), [f64(1, 2)], {"n": 2}, modules={"f": double})[0].tolist() == [2.0, 4.0]
    interpret(call_module(batched=True), [f64([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])], {"n": 2, "batch": 3}, modules={"f": double})
    assert seen == [(1, 2), (3, 2)]


def test_a_module_by_index_and_a_wrong_shape() -> None:
    modules = {"f": [lambda x: x, lambda x: 10 * x]}
    assert interpret(call_module(Size.of("k")), [f64(1, 2)], {"n": 2, "k": 1}, modules=modules)[0].tolist() == [10.0, 20.0]
    with pytest.raises(DataError, match=r"module f returned shape \(1, 1\), but \(1, 2\) is needed"):
        interpret(call_module(), [f64(1, 2)], {"n": 2}, modules={"f": lambda x: x[:, :1]})


def test_the_derivative_of_a_module_and_of_that() -> None:
    """vjp of a module equals torch's gradient; it is differentiable again, in its weights too."""
    b = Builder("vjp")
    x, g = b.input("x", Type.of(F, "n")), b.input("g", Type.of(F, "n"))
    y = b.op("module", x, name="f", types=(x.type,))
    (dx,) = library_adjoint(b, b._nodes[-1], (g,), lambda n: x, lambda n: y)
    assert dx is not None
    (ddx, _) = library_adjoint(b, b._nodes[-1], (g,), lambda n: (x, g)[n], lambda n: dx)
    assert ddx is not None
    graph = b.finish([dx, ddx])
    weights = torch.randn(3, 3, dtype=torch.float64, requires_grad=True)
    f = lambda x: torch.sin(x @ weights)  # noqa: E731
    tx, tg = torch.randn(3, dtype=torch.float64, requires_grad=True), torch.randn(3, dtype=torch.float64)
    got = interpret(graph, [tx, tg], {"n": 3}, modules={"f": f})
    (want,) = torch.autograd.grad(f(tx), tx, tg, create_graph=True)
    (again,) = torch.autograd.grad(want, tx, tg, create_graph=True)
    torch.testing.assert_close(got, (want, again))
    torch.testing.assert_close(torch.autograd.grad(got[1].sum(), [tx, weights]), torch.autograd.grad(again.sum(), [tx, weights]))
    with torch.no_grad():
        torch.testing.assert_close(interpret(graph, [tx, tg], {"n": 3}, modules={"f": f}), (want, again))


def test_derivatives_of_one_call_share_it() -> None:
    """A call, its gradient, and two products with its second derivatives evaluate the module once, where torch records nothing around them."""
    real, counted = Type.of(F, "n"), []

    def f(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        counted.append(1)
        return torch.sin(x * y) * y

    b = Builder("shared")
    x, y, g, z = (b.input(n, real) for n in "xygz")
    value = b.op("module", x, y, name="f", types=(real,))
    gradients = library_adjoint(b, b._nodes[-1], (g,), lambda n: (x, y)[n], lambda n: value)
    first = b._nodes[-1]
    operands = (x, y, g)
    (_, along, _) = library_adjoint(b, first, (None, z), operands.__getitem__, lambda n: gradients[n])
    (mixed, own, slope) = library_adjoint(b, first, (None, along), operands.__getitem__, lambda n: gradients[n])
    graph = simplify(b.finish([value, *gradients, along, mixed, own, slope]))
    inputs = [torch.randn(3, dtype=torch.float64) for _ in range(4)]
    with torch.no_grad():
        got = interpret(graph, inputs, {"n": 3}, modules={"f": f})
    assert len(counted) == 1
    tx, ty, tg, tz = (v.requires_grad_() for v in inputs)
    primal = f(tx, ty)
    slopes = torch.autograd.grad(primal, [tx, ty], tg, create_graph=True)
    (product,) = torch.autograd.grad(slopes[1], ty, tz, create_graph=True)
    want = (primal, *slopes, product, *torch.autograd.grad(slopes[1], [tx, ty, tg], product, create_graph=True))
    torch.testing.assert_close(got, want)
    recorded = interpret(graph, inputs, {"n": 3}, modules={"f": f})
    torch.testing.assert_close(recorded, want)
    weights = [torch.randn(3, dtype=torch.float64) for _ in want]
    total = [sum((w * v).sum() for w, v in zip(weights, values)) for values in (recorded, want)]
    torch.testing.assert_close(*(torch.autograd.grad(t, [tx, ty, tg, tz]) for t in total))


def test_a_derivative_is_taken_in_what_is_read() -> None:
    b = Builder("one")
    x, y = b.input("x", Type.of(F, "n")), b.input("y", Type.of(F, "n"))
    value = b.op("module", x, y, name="f", types=(x.type,))
    one = b.op("broadcast", b.op("const", value=1.0, dtype=F), shape=x.type.shape)
    (_, dy) = library_adjoint(b, b._nodes[-3], (one,), (x, y).__getitem__, lambda n: value)
    graph = simplify(b.finish([dy]))
    assert graph.nodes[-1].attr("wrt") == (1,)
    asked: list[bool] = []

    def f(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        asked.extend((x.requires_grad, y.requires_grad))
        return x * y

    with torch.no_grad():
        assert interpret(graph, [f64([2.0]), f64([3.0])], {"n": 1}, modules={"f": f})[0].tolist() == [2.0]
    assert asked == [False, True]


def test_the_derivative_of_a_module_batches() -> None:
    b = Builder("vjp")
    x, g = b.input("x", Type.of(F, "n")), b.input("g", Type.of(F, "n"))
    y = b.op("module", x, name="f", types=(x.type,))
    (dx,) = library_adjoint(b, b._nodes[-1], (g,), lambda n: x, lambda n: y)
    assert dx is not None
    graph = batch(b.finish([y, dx]), [True, False])
    xs, tg = torch.randn(4, 3, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    found = interpret(graph, [xs, tg], {"n": 3, "batch": 4}, modules={"f": torch.sin})
    torch.testing.assert_close(found, (torch.sin(xs), torch.cos(xs) * tg))


def test_kernel_nodes_go_to_the_runner() -> None:
    b = Builder("host")
    x = b.input("x", Type.of(F, "n"))
    region = b.region([("a", x.type)], lambda a: [b.op("add", a, a)])
    graph = b.finish([b.op("neg", b.op("kernel", x, regions=(region,), types=(x.type,), name="k0"))])

    def runner(node: Node, inputs: list[torch.Tensor], sizes: Mapping[str, int]) -> list[torch.Tensor]:
        assert (node.attr("name"), sizes) == ("k0", {"n": 2})
        return [inputs[0] * 2]

    assert interpret(graph, [f64(1, 2)], {"n": 2}, kernels=runner)[0].tolist() == [-2.0, -4.0]
    with pytest.raises(TypeError, match="nothing was given to run them"):
        interpret(graph, [f64(1, 2)], {"n": 2})


# -- memory ----------------------------------------------------------------------------------------------------------


def test_results_share_no_memory_with_inputs_constants_or_each_other() -> None:
    b = Builder("same")
    x = b.input("x", Type.of(F, "n"))
    one = number(b, 1.0)
    wide = b.op("broadcast", one, shape=(Size.of("n"),))
    graph = b.finish(
        [
            x,
            x,
            b.op("flip", b.op("flip", x, axes=(-1,)), axes=(-1,)),
            one,
            wide,
            b.op("reshape", x, shape=(Size.of(1), Size.of("n"))),
        ]
    )
    value = f64(1, 2)
    first = interpret(graph, [value], {"n": 2})
    for y in first:
        y.fill_(9.0)
    assert value.tolist() == [1.0, 2.0]
    assert [y.tolist() for y in interpret(graph, [value], {"n": 2})[3:5]] == [1.0, [1.0, 1.0]]


def test_an_update_never_writes_the_callers_tensor() -> None:
    b = Builder("update")
    x = b.input("x", Type.of(F, "n"))
    graph = b.finish([b.op("update", x, number(b, 7.0), items=(At(Size.of(0)),), mode="set")])
    value = torch.ones(1, dtype=torch.float64).expand(3)
    assert interpret(graph, [value], {"n": 3})[0].tolist() == [7.0, 1.0, 1.0]
    assert value.tolist() == [1.0, 1.0, 1.0]


def test_strided_and_overlapping_inputs() -> None:
    inputs, sizes = data(6, 3)
    want = interpret(gradient_descent(), inputs, sizes)[0]
    odd = inputs[0].T.contiguous().T, torch.stack([inputs[1]] * 2, 1)[:, 0], inputs[2].flip(0).contiguous().flip(0)
    torch.testing.assert_close(interpret(gradient_descent(), odd, sizes)[0], want)


def test_constants_made_in_inference_mode_serve_autograd_later() -> None:
    b = Builder("c")
    x = b.input("x", Type.of(F))
    graph = b.finish([b.op("mul", x, number(b, 3.0))])
    with torch.inference_mode():
        assert float(interpret(graph, [f64(2.0)], {})[0]) == 6.0
    x1 = f64(2.0).requires_grad_()
    interpret(graph, [x1], {})[0].backward()
    assert x1.grad is not None
    assert float(x1.grad) == 3.0


def test_constants_made_inside_a_transform_serve_kernels_later() -> None:
    b = Builder("g")
    x = b.input("x", Type.of(F))
    region = b.region([("a", x.type), ("b", x.type)], lambda a, c: [b.op("add", a, c)])
    graph = b.finish([b.op("kernel", x, number(b, 2.0), regions=(region,), types=(x.type,))])

    def runner(node: Node, inputs: list[torch.Tensor], sizes: Mapping[str, int]) -> list[torch.Tensor]:
        assert inside or all(x.data_ptr() for x in inputs), "what was made in a transform that is over has no memory"
        return [inputs[0] + inputs[1]]

    inside = True
    torch.func.grad(lambda x: interpret(graph, [x], {}, kernels=runner)[0])(f64(3.0))
    inside = False
    assert interpret(graph, [f64(3.0)], {}, kernels=runner)[0].item() == 5.0


def test_plans_go_with_their_graphs_and_graphs_stay_plain() -> None:
    graph = gradient_descent()
    inputs, sizes = data()
    want = interpret(graph, inputs, sizes)[0]
    assert pickle.loads(pickle.dumps(graph)) == graph
    torch.testing.assert_close(interpret(copy.deepcopy(graph), inputs, sizes)[0], want)
    gc.collect()
    before = len(interp._PLANS)
    for _ in range(3):
        interpret(gradient_descent(), inputs, sizes)
    gc.collect()
    assert len(interp._PLANS) <= before


def test_threads_do_not_disturb_each_other() -> None:
    graph = gradient_descent()
    jobs = [data(m, n, K) for m, n, K in [(4, 3, 5), (5, 2, 9), (3, 3, 2)] * 4]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda job: interpret(graph, *job)[0], jobs))
    for (inputs, _), x in zip(jobs, found, strict=True):
        torch.testing.assert_close(x, by_hand(*inputs)[-1])


# -- specialize ------------------------------------------------------------------------------------------------------


def test_specialize_fixes_precision_and_sizes_everywhere() -> None:
    b = Builder("s")
    x = b.input("x", Type.of("complex", "n", "n"))
    scale = b.op("cast", b.op("size_value", value=Size.of("n"), dtype="real"), dtype="complex")

    def body(x: Value) -> LoopBody:
        row = b.op("slice", x, items=(At(Size.of("k")), Range(Size.of(0), Size.of("n"))))
        return LoopBody((b.op("mul", x, scale),), (b.op("abs", row),))

    y, rows = b.loop("k", 0, "n", [x], body)
    inverse = b.op("inv", y)
    (back,) = library_adjoint(b, b._nodes[-1], (y,), lambda n: y, lambda n: inverse)
    assert back is not None
    graph = specialize(b.finish([y, rows, back]), "f32", {"n": 3})
    assert [str(t) for t in graph.result_types] == ["c64[3, 3]", "f32[3, 3]", "c64[3, 3]"]
    assert not {d for t in graph.types.values() for d in (t.dtype,)} & {"real", "complex"}
    assert "real" not in repr(graph)
    out = interpret(graph, [torch.eye(3, dtype=torch.complex64)], {})
    assert out[1].dtype == torch.float32
    with pytest.raises(ValueError, match="i32 is not a floating-point dtype"):
        specialize(graph, "i32")


def test_a_loop_index_hides_a_size_of_the_same_name() -> None:
    b = Builder("s")
    x = b.input("x", Type.of(F, "n"))

    def body(total: Value) -> LoopBody:
        return LoopBody((b.op("add", total, b.op("slice", x, items=(At(Size.of("k")),))),))

    graph = b.finish(b.loop("k", 0, "n", [number(b, 0.0)], body))
    fixed = specialize(graph, "f64", {"k": 1, "n": 3})
    assert float(interpret(fixed, [f64(1, 2, 4)], {})[0]) == 7.0
