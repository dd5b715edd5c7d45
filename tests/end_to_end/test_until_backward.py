"""``backward=`` for loops with ``until``: the last iterations, or the fixed point, each against torch or differences, problem by problem."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import unspool as us
from unspool.compiler.graph.adjoint import backward
from unspool.compiler.graph.adjoint_until import with_backward
from unspool.compiler.graph.simplify import simplify
from unspool.compiler.graph.specialize import specialize
from unspool.compiler.loops.lower import lower

TEXTS = us.loads(
    """
fn soft(v, t) = sign(v) * max(abs(v) - t, 0)
fn mse(x, count, target) = mean((x - target)**2)

algorithm ista(A: real[m, n], y: real[m], tol: real) -> (real[n], real):
    iterations K = 2000
    param step: positive = 0.1
    param lam: nonneg = 0.05
    x = zeros(n)
    z = x
    count = 0.0
    for k in 0..K until norm(x - z) < tol:
        z = x
        x = soft(z - step * (A.T @ (A @ z - y)), lam * step)
        count = count + 1
    return x, count

algorithm inner(A: real[m, n], y: real[m], tol: real) -> (real[n], real):
    iterations K = 3
    param ridge: positive = 0.5
    x = zeros(n)
    count = 0.0
    for k in 0..K:
        b = A.T @ y + x
        z = x
        r = b
        for j in 0..500 until norm(r) < tol:
            r = b - ridge * z - A.T @ (A @ z)
            z = z + 0.15 * r
            count = count + 1
        x = tanh(z)
    return x, count

algorithm never(x: real[n], tol: real) -> (real[n], real):
    iterations K = 1
    count = 0.0
    for k in 1..K until sum(x) < tol:
        x = 0.5 * x
        count = count + 1
    return x, count

algorithm fixed(x: real[n]) -> real[n]:
    iterations K = 3
    for k in 0..K:
        x = tanh(x)
    return x
""",
    "until_backward.us",
)
NUMBA_LATER = {
    "test_the_last_iterations": (1, 4000),
    "test_the_fixed_point": (),
    "test_parameters_and_a_loss_in_the_kernel": (),
    "test_a_loop_that_never_runs_is_the_identity": (),
}
F64 = torch.float64
WEIGHTS = torch.linspace(-1, 2, 4, dtype=F64)
Loss = Callable[[Tensor, Tensor], Tensor]


def operands(batch: int = 5) -> tuple[Tensor, Tensor]:
    dice = torch.Generator().manual_seed(3)
    return torch.randn(7, 4, generator=dice, dtype=F64) / 2, torch.randn(batch, 7, generator=dice, dtype=F64)


def gradients(solve: Loss) -> tuple[Tensor, ...]:
    a, y = (x.requires_grad_() for x in operands())
    return torch.autograd.grad((solve(a, y) * WEIGHTS).sum(), (a, y))


def soft(v: Tensor, t: float) -> Tensor:
    return torch.sign(v) * torch.clamp(v.abs() - t, min=0)


def truncated(a: Tensor, y: Tensor, tol: Tensor, last: int) -> Tensor:
    """ista in torch, its state detached ``last`` iterations before the end."""
    found = []
    for p in range(len(y)):
        with torch.no_grad():
            states = [torch.zeros(4, dtype=F64)]
            while len(states) <= 2000:
                z = states[-1]
                states.append(soft(z - 0.1 * (a.T @ (a @ z - y[p])), 0.05 * 0.1))
                if torch.linalg.norm(states[-1] - z) < tol[p]:
                    break
        ran = len(states) - 1
        x = states[max(0, ran - last)]
        for _ in range(min(ran, last)):
            x = soft(x - 0.1 * (a.T @ (a @ x - y[p])), 0.05 * 0.1)
        found.append(x)
    return torch.stack(found)


@pytest.mark.parametrize("last", [1, 5, 4000])
def test_the_last_iterations(target: str, last: int) -> None:
    tol = torch.logspace(-0.5, -6, 5, dtype=F64)  # some problems stop before there are five, each after another number
    got = gradients(lambda a, y: TEXTS.ista(a, y, tol, target=target, dtype="f64", backward=f"truncated:{last}")[0])
    for g, w in zip(got, gradients(lambda a, y: truncated(a, y, tol, last)), strict=True):
        torch.testing.assert_close(g, w, rtol=1e-9, atol=1e-11)


def differences(solve: Loss, slopes: tuple[Tensor, ...], h: float = 1e-5) -> None:
    for place, slope in enumerate(slopes):
        along = torch.randn(slope.shape, generator=torch.Generator().manual_seed(place), dtype=F64)
        ends = [
            (solve(*(x + s * h * along if n == place else x for n, x in enumerate(operands()))) * WEIGHTS).sum() for s in (1, -1)
        ]
        assert float((slope * along).sum()) == pytest.approx(float(ends[0] - ends[1]) / (2 * h), rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("name", ["ista", "inner"])
def test_the_fixed_point(name: str, target: str) -> None:
    """In ``inner`` the fixed points are inside of a loop that is unrolled, which runs through them."""
    tol = torch.logspace(-10, -12, 5, dtype=F64)

    def solve(mode: str) -> Loss:
        return lambda a, y: TEXTS[name](a, y, tol, target=target, dtype="f64", backward=mode)[0]

    slopes = gradients(solve("implicit"))
    differences(solve("unrolled"), slopes)
    for g, w in zip(slopes, gradients(solve("unrolled")), strict=True):
        torch.testing.assert_close(g, w, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("mode", ["implicit", "truncated:5", "unrolled"])
def test_parameters_and_a_loss_in_the_kernel(mode: str, target: str) -> None:
    a, y = operands()
    tol = torch.full((5,), 1e-9, dtype=F64)
    layer = TEXTS.ista.build(target=target, dtype="f64", backward=mode)
    goal = torch.ones(5, 4, dtype=F64)
    value, grads = layer.value_and_grad(TEXTS.mse)(a, y, tol, goal)
    loss = (layer(a, y, tol)[0] - goal).square().mean()
    assert float(value) == pytest.approx(float(loss.detach()))
    loss.backward()
    for name, p in layer.named_parameters():
        torch.testing.assert_close(grads[name], p.grad, rtol=1e-9, atol=1e-12)
    if mode == "implicit":
        h, ends = 1e-5, []
        for s in (1, -1):
            moved = TEXTS.ista(a, y, tol, lam=0.05 + s * h, target=target, dtype="f64")[0]
            ends.append((moved - goal).square().mean())
        slope = torch.autograd.grad(
            (TEXTS.ista(a, y, tol, lam=(lam := torch.tensor(0.05, dtype=F64, requires_grad=True)), target=target, dtype="f64",
                        backward=mode)[0] - goal).square().mean(), lam)[0]  # fmt: skip
        assert float(slope) == pytest.approx(float(ends[0] - ends[1]) / (2 * h), rel=1e-5)


@pytest.mark.parametrize("mode", ["implicit", "truncated:2"])
def test_a_loop_that_never_runs_is_the_identity(mode: str, target: str) -> None:
    x = torch.rand(3, 2, dtype=F64, requires_grad=True)
    y, count = TEXTS.never(x, 0.0, target=target, dtype="f64", backward=mode)
    assert not count.any()
    assert torch.equal(torch.autograd.grad(y.sum(), x)[0], torch.ones_like(x))


def test_a_fixed_point_keeps_nothing_per_iteration_and_a_window_few_rows() -> None:
    graph = simplify(specialize(TEXTS.ista.algorithm.graph, "f64", {"m": 7, "n": 4}))
    long = {}
    for mode in ("unrolled", "truncated:5", "implicit"):
        nest = lower(simplify(backward(with_backward(graph, mode), [0, 1])))
        rows = [a for a in nest.arrays if a.dtype == "f64" and any("K" in s.names() for s in a.shape)]
        turns = [a for a in nest.arrays if a.dtype == "f64" and len(a.shape) > 1 and a.shape[0].constant == 5]
        long[mode] = len(rows), len(turns)
    assert long["unrolled"][0] > 0
    assert (long["truncated:5"][0], long["implicit"]) == (0, (0, 0))
    assert long["truncated:5"][1] > 0


REFUSED = [
    (lambda: TEXTS.fixed(torch.ones(3), backward="implicit"), 'backward="implicit" is about loops with `until`, and fixed has none'),
    (
        lambda: TEXTS.never(torch.ones(3), 0.0, backward="truncated:3", target="interpreter"),
        'the interpreter records every operation for the gradient: backward="truncated:3" takes a target that compiles',
    ),
    (
        lambda: TEXTS.never.build(backward="truncated:x"),
        'backward is "unrolled", "implicit" or "truncated:N" with N from 1 on, not \'truncated:x\'',
    ),
]


@pytest.mark.parametrize(("call", "message"), REFUSED, ids=["no until", "interpreter", "no number"])
def test_what_cannot_be(call: Callable[[], object], message: str) -> None:
    with pytest.raises(us.DataError, match=re.escape(message)):
        call()


def test_a_fixed_point_has_no_gradient_of_its_trace() -> None:
    x = torch.rand(2, dtype=F64, requires_grad=True)
    _, path = TEXTS.never(x, -1.0, K=4, target="c", dtype="f64", backward="implicit", trace=["x"])
    with pytest.raises(us.CompileError, match="no gradient of the states on the way"):
        path.x.sum().backward()
