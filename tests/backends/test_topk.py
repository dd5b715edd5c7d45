"""Selection of few elements inside kernels: equal to the interpreter, ties, NaN and signed zeros included; counts known when a call comes."""

from __future__ import annotations

from math import inf, nan

import pytest
import torch

import unspool as us
from tests.backends.test_select import rows
from tests.helpers import TVM_SLOW
from unspool.backends import execute
from unspool.backends.execute import KernelPlan, Runner
from unspool.compiler.diagnostics import DataError
from unspool.compiler.graph.counts import counts, with_counts
from unspool.compiler.graph.text import print_graph
from unspool.dsl.api import AlgorithmHandle

ALL = """algorithm f(x: {type}[m, n]) -> ({type}[{taken}], i64[{taken}], bool[m, n]):
    found = topk(x, {count}, axis={axis})
    return found.values, found.indices, found.mask
"""
RUN_TIME = """algorithm load(x: real[m, n], c: i32) -> real[n]:
    iterations K = 3
    bias = zeros(n)
    for k in 0..K:
        bias = bias - 0.1 * sum(cast(topk(x + bias, c, axis=1).mask, real), axis=0)
    return bias
"""
THRESHOLDED = """algorithm iht(given A: real[m, n], y: real[m]) -> real[n]:
    iterations K = 4
    param step[K]: positive = 1 / norm2(A)**2
    x = zeros(n)
    for k in 0..K:
        z = x - step[k] * (A.T @ (A @ x - y))
        x = where(topk(abs(z), 3).mask, z, 0)
    return x
"""
POOLED = """algorithm pooled(x: real[m, n], w: real[n]) -> real[m]:
    return sum(topk(x * w, 3).values**2, axis=1)
"""


NUMBA_LATER: dict[str, tuple[object, ...]] = {"test_values_places_and_mask": ("f64", "i64"), "test_problems_of_a_batch_lie_side_by_side": ()}


@pytest.fixture(params=["c", "numba", TVM_SLOW])
def target(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def same(got: torch.Tensor, wanted: torch.Tensor) -> bool:
    if not got.is_floating_point():
        return torch.equal(got, wanted)
    numbers = ~wanted.isnan()
    return torch.equal(got.nan_to_num(9), wanted.nan_to_num(9)) and torch.equal(
        torch.signbit(got[numbers]), torch.signbit(wanted[numbers])
    )


@pytest.mark.parametrize(
    ("dtype", "axis", "count"), [("f32", 1, 5), ("f64", 0, 3), ("i64", 1, 1), ("i8", 1, 9), ("i32", 0, 16), ("f32", 1, 17)]
)
def test_values_places_and_mask(dtype: str, axis: int, count: int, target: str) -> None:
    if target == "numba" and count in (9, 16, 17):
        pytest.skip("the loops are those of the other cases")
    x = rows(dtype, 70, 20)
    if x.is_floating_point():
        x[1], x[1, ::2] = -0.0, 0.0
        x[2], x[3], x[4, 3:9] = nan, -inf, nan
    else:
        x[1], x[2] = torch.iinfo(x.dtype).min, torch.iinfo(x.dtype).max
    x = x if axis else x.T.contiguous()
    taken = f"m, {count}" if axis else f"{count}, n"
    text = ALL.format(type="real" if x.is_floating_point() else dtype, taken=taken, count=count, axis=axis)
    program = us.loads(text).f
    for got, wanted in zip(program(x, target=target), program(x, target="interpreter"), strict=True):
        assert same(got, wanted)


def runner(program: AlgorithmHandle, target: str) -> Runner:
    (routine,) = [r for s, r in program._routines.items() if s.target == target]
    (plan,) = routine.main.plans.values()
    assert isinstance(plan, KernelPlan)
    assert plan.forward is not None
    return plan.forward


def test_a_count_that_is_an_input_gets_a_kernel_without_a_call(target: str) -> None:
    program, x = us.loads(RUN_TIME).load, rows("f32", 70, 20)
    for count in (2, 17, 20, 0, 2):
        got, want = (program(x, count, target=t, numerics="strict") for t in (target, "interpreter"))  # ties hang on the last bit
        assert torch.equal(got, want), count
    made = runner(program, target)
    assert list(made.known) == [((1, 2),)]  # the others are the routine's
    assert any(s.routine for s in made.compiled.nest.statements)
    assert not any(s.routine for one in made.known.values() for s in one.compiled.nest.statements)
    for count in (-1, 21):
        with pytest.raises(DataError, match="topk"):
            program(x, count, target=target)


def test_kernels_for_counts_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execute, "KNOWN", 2)
    program, x = us.loads(RUN_TIME).load, torch.rand(40, 12)
    for count in (1, 3, 2):
        assert torch.equal(program(x, count, target="c"), program(x, count, target="interpreter")), count
    assert len(runner(program, "c").known) == 2


def test_counts_of_a_graph() -> None:
    graph = us.loads(RUN_TIME).load.algorithm.graph
    assert counts(graph, 16) == {}  # the number of elements is not known yet
    from unspool.compiler.graph.specialize import specialize

    graph = specialize(graph, "f32", {"m": 8, "n": 5})
    assert counts(graph, 16) == {1: 5}
    assert counts(graph, 3) == {1: 3}
    known = with_counts(graph, {1: 4})
    assert known.inputs == graph.inputs
    assert "value=4" in print_graph(known)
    assert counts(known, 16) == {}


def test_problems_of_a_batch_lie_side_by_side(target: str) -> None:
    program = us.loads(THRESHOLDED).iht
    A, y = torch.randn(12, 40, dtype=torch.float64), torch.randn(37, 12, dtype=torch.float64)
    assert "batch 16" in program.compile(target=target, shapes={"m": 12, "n": 40}).schedule
    torch.testing.assert_close(program(A, y, target=target), program(A, y, target="interpreter"), rtol=1e-9, atol=1e-9)


def test_gradients_through_masks_and_values() -> None:
    program, A = us.loads(THRESHOLDED).iht, torch.randn(8, 20, dtype=torch.float64)
    y = torch.randn(5, 8, dtype=torch.float64)
    inputs = [A.requires_grad_(), y.requires_grad_()]
    got, wanted = (torch.autograd.grad(program(*inputs, target=t).square().sum(), inputs) for t in ("c", "interpreter"))
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b)
    pooled = us.loads(POOLED).pooled
    x, w = torch.randn(40, 9, dtype=torch.float64, requires_grad=True), torch.rand(9, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *v: pooled(*v, target="c"), (x, w))
    exact = torch.autograd.grad((torch.topk(x * w, 3).values ** 2).sum(), [x, w])
    for a, b in zip(torch.autograd.grad(pooled(x, w, target="c").sum(), [x, w]), exact, strict=True):
        torch.testing.assert_close(a, b)
