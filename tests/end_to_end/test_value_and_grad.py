"""``layer.value_and_grad(loss)``: against the layer, the loss and torch's own autograd, one by one."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import unspool as us
from unspool.backends.cpu import CTarget
from unspool.backends.execute import FallbackWarning
from unspool.compiler.loops.tree import Function

TEXT = """
fn square_error(x, x_true) = mean((x - x_true)**2)
fn weighted(x, x_true, w, c) = c * sum(w * (x - x_true)**2)
fn norm1(x) = sum(abs(x))
fn of_both(x, r, x_true) = sum((x - x_true)**2) + 0.1 * sum(r**2)
fn labelled(x, i) = -x[0] * i
fn vector(x, x_true) = x - x_true
fn volume(x, M) = sum(x**2) + log(det(M))

algorithm ista(given A: real[m, n], y: real[m]) -> real[n]:
    iterations K = 3
    param step[K]: positive = 0.2
    param lam[K]: nonneg = 0.1
    param mix: unit = 0.5
    param share[n]: simplex
    x = zeros(n)
    for k in 0..K:
        x = tanh(x - step[k] * (A.T @ (A @ x - y)) + mix * share) * exp(-lam[k])
    return x

algorithm both(A: real[m, n], y: real[m]) -> (real[n], real[m]):
    iterations K = 2
    param step: positive = 0.2
    x = zeros(n)
    for k in 0..K:
        x = x - step * (A.T @ (A @ x - y))
    return x, A @ x - y

algorithm learned(given A: real[m, n], y: real[m]) -> real[n]:
    iterations K = 2
    param step: positive = 0.2
    module denoise: (real[n]) -> real[n]
    x = zeros(n)
    for k in 0..K:
        x = denoise(x - step * (A.T @ (A @ x - y)))
    return x

algorithm nested(y: real[n]) -> real[n]:
    iterations J = 2
    iterations K = 2
    for j in 0..J:
        y = y + ista(eye(n), y)
    return y

algorithm twice(y: real[n]) -> real[n]:
    param a: positive = 1
    param b: positive = 2
    return b * sin(a * y)
"""
TEXTS = us.loads(TEXT)
TARGETS = ["c", "interpreter"]
F64 = torch.float64


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def ista(target: str = "c", **options: Any) -> us.Layer:
    return TEXTS.ista.build(**{"A": randn(3, 4, seed=1), "target": target, "dtype": "f64", **options})


def mean_square(x: Tensor, x_true: Tensor) -> Tensor:
    return ((x - x_true) ** 2).mean(-1)


def reference(layer: us.Layer, losses: Callable[[], Tensor], reduction: str = "mean") -> Any:
    """The loss and gradients by torch, one step after the other."""
    total = losses().mean() if reduction == "mean" else losses().sum()
    wanted = {n: p for n, p in layer.named_parameters() if p.requires_grad}
    found = torch.autograd.grad(total, list(wanted.values()), materialize_grads=True)
    return total.detach(), dict(zip(wanted, found, strict=True))


def same(got: Any, want: Any) -> None:
    (value, grads), (other, others) = got, want
    assert value.shape == ()
    assert not value.requires_grad
    assert list(grads) == list(others)
    torch.testing.assert_close(value, other, rtol=1e-10, atol=1e-12)
    for name in grads:
        torch.testing.assert_close(grads[name], others[name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("lead", [(), (5,), (2, 3)])
def test_loss_and_gradients(target: str, reduction: str, lead: tuple[int, ...]) -> None:
    layer, y, x_true = ista(target), randn(*lead, 3), randn(*lead, 4, seed=2)
    step = layer.value_and_grad(TEXTS.square_error, reduction=reduction)
    want = reference(layer, lambda: mean_square(layer(y), x_true), reduction)
    same(step(y, x_true), want)
    same(step(y, x_true), want)
    same(step(y, x_true=x_true), want)
    same(step(x_true=x_true, y=y), want)
    same(step(y.numpy(), x_true.numpy()), want)
    assert {n: g.shape for n, g in want[1].items()} == {n: p.shape for n, p in layer.named_parameters()}


def test_it_is_one_kernel() -> None:
    layer = us.loads(TEXT).ista.build(A=randn(3, 4, seed=1), target="c", dtype="f64")
    y, x_true = randn(5, 3), randn(5, 4, seed=2)
    layer.value_and_grad(TEXTS.square_error)(y, x_true)
    (plan,) = next(iter(layer._routine.fused.values())).values()
    assert plan is not None
    assert plan.forward is not None
    assert not layer._routine.main.plans, "the layer's own kernels are not needed"
    longer = layer.with_iterations(7)
    same(longer.value_and_grad(TEXTS.square_error)(y, x_true), reference(longer, lambda: mean_square(longer(y), x_true)))
    assert len(layer._routine.fused) == 1, "another iteration count compiles nothing"


def test_by_finite_differences() -> None:
    layer, y, x_true = ista(), randn(2, 3), randn(2, 4, seed=2)
    step = layer.value_and_grad(TEXTS.square_error)
    with torch.no_grad():
        for p in layer.parameters():
            p.add_(0.2)
    _, grads = step(y, x_true)
    for name, p in layer.named_parameters():
        for n in range(p.numel()):
            ends = []
            for move in (1e-6, -1e-6):
                with torch.no_grad():
                    p.view(-1)[n] += move
                    ends.append(step(y, x_true)[0])
                    p.view(-1)[n] -= move
            assert grads[name].view(-1)[n].item() == pytest.approx((ends[0] - ends[1]).item() / 2e-6, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("target", TARGETS)
def test_arguments_of_the_loss(target: str) -> None:
    layer, y, x_true, w = ista(target), randn(5, 3), randn(5, 4, seed=2), randn(1, 4, seed=3).abs()
    step = layer.value_and_grad(TEXTS.weighted)
    want = reference(layer, lambda: 2 * (w * (layer(y) - x_true) ** 2).sum(-1))
    same(step(y, x_true, w, 2.0), want)
    same(step(y, x_true, w, torch.tensor(2.0, dtype=F64)), want)
    same(step(y, x_true, c=2, w=w), want)
    c = randn(5, seed=4)
    same(step(y, x_true, w, c), reference(layer, lambda: c * (w * (layer(y) - x_true) ** 2).sum(-1)))
    labels = torch.tensor([0, 1, 2, 1, 0])
    same(layer.value_and_grad(TEXTS.labelled)(y, labels), reference(layer, lambda: -layer(y)[:, 0] * labels))
    same(layer.value_and_grad(TEXTS.norm1)(y), reference(layer, lambda: layer(y).abs().sum(-1)))


@pytest.mark.parametrize("target", TARGETS)
def test_several_results_and_inputs(target: str) -> None:
    layer = TEXTS.both.build(target=target, dtype="f64")
    A, y, x_true = randn(3, 4), randn(5, 3, seed=1), randn(5, 4, seed=2)

    def losses(A: Tensor) -> Tensor:
        x, r = layer(A, y)
        return ((x - x_true) ** 2).sum(-1) + 0.1 * (r**2).sum(-1)

    step = layer.value_and_grad(TEXTS.of_both)
    same(step(A, y, x_true), reference(layer, lambda: losses(A)))
    many = randn(5, 3, 4, seed=7)
    same(step(many, y, x_true), reference(layer, lambda: losses(many)))


@pytest.mark.parametrize("target", TARGETS)
def test_learned_operators_and_library_calls(target: str) -> None:
    torch.manual_seed(0)
    layer = TEXTS.learned.build(A=randn(3, 4), denoise=nn.Linear(4, 4).double(), target=target, dtype="f64")
    y, x_true = randn(5, 3), randn(5, 4, seed=2)
    got = layer.value_and_grad(TEXTS.square_error)(y, x_true)
    same(got, reference(layer, lambda: mean_square(layer(y), x_true)))
    assert set(got[1]) == {"step", "denoise.weight", "denoise.bias"}
    plain, M = ista(target), randn(1, 2, 2) + 5 * torch.eye(2, dtype=F64)
    want = reference(plain, lambda: (plain(y) ** 2).sum(-1) + torch.logdet(M))
    same(plain.value_and_grad(TEXTS.volume)(y, M), want)


def test_a_loss_that_does_not_compile_goes_by_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    emit = CTarget.emit

    def refuse(self: CTarget, function: Function) -> str:
        if "value_and_grad" in function.name:
            raise us.CompileError("no such loops, please")
        return emit(self, function)

    monkeypatch.setattr(CTarget, "emit", refuse)
    layer, y, x_true = ista(A=randn(3, 5)), randn(3), randn(5, seed=2)
    with pytest.warns(FallbackWarning, match="the value and gradient of ista runs in the interpreter: no such loops"):
        got = layer.value_and_grad(TEXTS.square_error)(y, x_true)
    same(got, reference(layer, lambda: mean_square(layer(y), x_true)))


def test_training_with_an_optimizer() -> None:
    layer, y, x_true = ista(dtype="f32"), randn(20, 3).float(), 0.3 * randn(20, 4, seed=2).float()
    other = copy.deepcopy(layer)
    loss = layer.value_and_grad(TEXTS.square_error)
    optimizers = [torch.optim.Adam(l.parameters(), lr=0.05) for l in (layer, other)]
    values = []
    for _ in range(20):
        for optimizer in optimizers:
            optimizer.zero_grad()
        values.append(loss.backward(y, x_true).item())
        mean_square(other(y), x_true).mean().backward()
        for optimizer in optimizers:
            optimizer.step()
    assert values[-1] < 0.9 * values[0]
    for name, p in layer.named_parameters():
        torch.testing.assert_close(p, other.get_parameter(name), rtol=1e-4, atol=1e-5)
    layer.zero_grad()
    loss.backward(y, x_true)
    once = layer.get_parameter("step").grad.clone()
    loss.backward(y, x_true)
    torch.testing.assert_close(layer.get_parameter("step").grad, 2 * once)


def test_frozen_and_shared_parameters() -> None:
    layer, y, x_true = ista(), randn(5, 3), randn(5, 4, seed=2)
    step = layer.value_and_grad(TEXTS.square_error)
    assert "step" in step(y, x_true)[1]
    layer.get_parameter("step").requires_grad_(False)
    got = step(y, x_true)
    assert set(got[1]) == {"lam", "mix", "share"}
    same(got, reference(layer, lambda: mean_square(layer(y), x_true)))
    for p in layer.parameters():
        p.requires_grad_(False)
    value, grads = step(y, x_true)
    assert grads == {}
    assert value.item() == pytest.approx(got[0].item())
    layer, y, x_true = TEXTS.twice.build(dtype="f64"), randn(5, 4), randn(5, 4, seed=2)
    layer.register_parameter("b", layer.get_parameter("a"))  # tied by the user
    got = layer.value_and_grad(TEXTS.square_error)(y, x_true)
    assert set(got[1]) == {"a"}
    same(got, reference(layer, lambda: mean_square(layer(y), x_true)))


def test_nested_parameters_modes_and_copies() -> None:
    layer, y, x_true = TEXTS.nested.build(n=4, dtype="f64"), randn(3, 4), randn(3, 4, seed=2)
    want = reference(layer, lambda: mean_square(layer(y), x_true))
    assert {n.split(".")[0] for n in want[1]} == {"ista"}
    step = layer.value_and_grad(TEXTS.square_error)
    same(step(y, x_true), want)
    with torch.no_grad():
        same(step(y, x_true), want)
    with torch.inference_mode():
        same(step(randn(3, 4), x_true), want)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert step(y.bfloat16(), x_true)[0].dtype == F64
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        same(other.value_and_grad(TEXTS.square_error)(y, x_true), want)
    assert layer.value_and_grad(TEXTS.square_error) is step
    layer.float()
    value, _ = step(y.float(), x_true.float())
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.double(), want[0], rtol=1e-5, atol=1e-6)


def test_threads_and_strides() -> None:
    layer, y, x_true = ista(), randn(3, 40).T, randn(4, 40, seed=2).T
    want = reference(layer, lambda: mean_square(layer(y), x_true))
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            same(layer.value_and_grad(TEXTS.square_error)(y, x_true), want)
    finally:
        torch.set_num_threads(before)


def test_errors() -> None:
    layer, y, x_true = ista(), randn(5, 3), randn(5, 4)
    with pytest.raises(us.DataError, match=r"the loss is a fn of a program .* not a function"):
        layer.value_and_grad(lambda x: x)
    with pytest.raises(us.DataError, match='reduction is "mean" or "sum", not \'none\''):
        layer.value_and_grad(TEXTS.norm1, reduction="none")
    with pytest.raises(us.DataError, match=r"norm1\(x\) takes the 2 results of both first"):
        TEXTS.both.build().value_and_grad(TEXTS.norm1)
    step = layer.value_and_grad(TEXTS.square_error)
    with pytest.raises(us.DataError, match=r"ista.value_and_grad\(square_error\)\(y, x_true\): x_true is missing"):
        step(y)
    with pytest.raises(us.DataError, match="takes 2 inputs; got 3"):
        step(y, x_true, x_true)
    with pytest.raises(us.DataError, match="has no input 'z'"):
        step(y, x_true, z=1)
    with pytest.raises(us.DataError, match="x_true is given twice"):
        step(y, x_true, x_true=x_true)
    with pytest.raises(us.DataError, match=r"x_true needs the leading dimensions \(5,\) of the call .* got shape \(4,\)"):
        step(y, x_true[0])
    with pytest.raises(us.DataError, match="mixed precisions: the layer is f64 and x_true is f32"):
        step(y, x_true.float())
    with pytest.raises(us.DataError, match="vector must return one real number"):
        layer.value_and_grad(TEXTS.vector)(y, x_true)
    with pytest.raises(us.ProgramError, match="the sizes 4 and 3 differ"):
        step(y, randn(5, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step(y, x_true)
