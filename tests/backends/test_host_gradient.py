"""The gradient of a host program around modules, as a host program of its own, is the one that torch finds operation by operation."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import unspool as us
from tests.backends.descents import DESCENT, Scaled

PROGRAM = us.loads(
    DESCENT
    + """
algorithm heavy(x: real[n], scale: real[n]) -> real[n]:
    iterations K = 4
    param step = 0.1
    param inertia[K] = 0.5
    module f: (real[n]) -> real
    v = 0 * x
    for k in 0..K:
        g = grad(value, x)(x, f)
        v = inertia[k] * v + g * scale
        x = x - step * v / (1 + norm(g))
    return x

algorithm mixed(x: real[n, n]) -> real[n, n]:
    iterations K = 3
    param weight[K] = 0.5
    module f: (real[n, n]) -> real[n, n]
    for k in 0..K:
        x = weight[k] * f(x * (k + 1)) + x
    return x

algorithm each_its_own(x: real[n]) -> real[n]:
    iterations K = 3
    param step = 0.1
    module f[K]: (real[n]) -> real
    for k in 0..K:
        x = x - step * grad(value, x)(x, f[k])
    return x

algorithm newton(A: real[m, n], x: real[n]) -> real[n]:
    iterations K = 3
    param damping[K] = 0.5
    for k in 0..K:
        p = softmax(A @ x, axis=0)
        H = A.T @ (p[:, None] * A) + eye(n)
        x = x - damping[k] * solve(H, A.T @ p + x)
    return x

algorithm filtered(x: real[n]) -> real[n]:
    iterations K = 3
    param weight[K] = 0.5
    for k in 0..K:
        x = tanh(x + weight[k] * re(ifft(fft(x) * (k + 1))))
    return x

algorithm factored(A: real[n, n], x: real[n]) -> real[n]:
    iterations K = 2
    param damping[K] = 0.5
    for k in 0..K:
        x = x - damping[k] * solve_triangular(cholesky(A @ A.T + eye(n) * (1 + dot(x, x))), x, lower=True)
    return x

algorithm conditional(x: real[n]) -> real[n]:
    iterations K = 4
    param step = 0.1
    module f: (real[n]) -> real
    for k in 0..K until norm(x) < 1e-3:
        x = x - step * grad(value, x)(x, f)
    return x
"""
)


def turned(x: Tensor) -> Tensor:
    return torch.sin(x).mT


def leaf(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).requires_grad_()


CASES: dict[str, tuple[Callable[[], dict[str, Any]], list[Tensor]]] = {
    "descent": (lambda: {"f": Scaled(0.1)}, [leaf(5), leaf(4, seed=1)]),
    "heavy": (lambda: {"f": Scaled(0.2)}, [leaf(5), leaf(5, seed=1), leaf(seed=2), leaf(4, seed=3)]),
    "mixed": (lambda: {"f": turned}, [leaf(3, 3), leaf(3, seed=1)]),
    "each_its_own": (lambda: {"f": [Scaled(0.1), Scaled(0.0), Scaled(0.3)]}, [leaf(5), leaf(seed=1)]),
    "newton": (dict, [leaf(7, 4), leaf(4, seed=1), leaf(3, seed=2)]),
    "filtered": (dict, [leaf(6), leaf(3, seed=1)]),
    "factored": (dict, [leaf(4, 4), leaf(4, seed=1), leaf(2, seed=2)]),
}
PARAMS = {
    "descent": ["step"], "heavy": ["step", "inertia"], "mixed": ["weight"], "each_its_own": ["step"], "newton": ["damping"],
    "filtered": ["weight"], "factored": ["damping"],
}  # fmt: skip
#: Torch keeps what derivatives of a factorisation need.
RECORDED = {"factored"}


def run(name: str, values: list[Tensor], **options: Any) -> Tensor:
    count = len(values) - len(PARAMS[name])
    named = dict(zip(PARAMS[name], values[count:], strict=True))
    return getattr(PROGRAM, name)(*values[:count], **CASES[name][0](), **named, **options)  # type: ignore[no-any-return]


def is_one_function(y: Tensor) -> bool:
    """Whether torch sees the program as one function."""
    found, stack = False, [y.grad_fn]
    while stack:
        function = stack.pop()
        if function is not None:
            found |= function.name() == "_ProgramBackward"
            stack += [f for f, _ in function.next_functions]
    return found


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_the_interpreter(name: str) -> None:
    values = CASES[name][1]
    for wrt in (values, values[:1], values[-1:]):  # learned or not
        here = [v if any(v is w for w in wrt) else v.detach() for v in values]
        for _ in range(2):
            got, want = run(name, here), run(name, here, target="interpreter")
            assert is_one_function(got) == (name not in RECORDED)
            assert not is_one_function(want)
            torch.testing.assert_close(got, want)
            found = torch.autograd.grad(got.square().sum(), wrt), torch.autograd.grad(want.square().sum(), wrt)
            torch.testing.assert_close(*found)


@pytest.mark.parametrize("name", CASES)
def test_finite_differences(name: str) -> None:
    assert torch.autograd.gradcheck(lambda *xs: run(name, list(xs)), CASES[name][1])


@pytest.mark.parametrize("name", CASES)
def test_derivatives_of_gradients(name: str) -> None:
    values = CASES[name][1]

    def twice(**options: Any) -> tuple[Tensor, ...]:
        first = torch.autograd.grad(run(name, values, **options).square().sum(), values, create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in first), values)

    torch.testing.assert_close(twice(), twice(target="interpreter"))


def test_a_module_is_called_once_for_an_iteration() -> None:
    f, step = Scaled(0.1), leaf(4, seed=1)
    y = PROGRAM.descent(leaf(5), f=f, step=step)
    assert f.calls == 4
    y.sum().backward()
    assert f.calls == 4


def test_operands_of_another_layout() -> None:
    f = turned
    x, weight = leaf(3, 3), leaf(3, seed=1)
    for other in (x.mT, x[:, [2, 0, 1]], x.expand(3, 3)):
        got, want = (PROGRAM.mixed(other, f=f, weight=weight, target=target) for target in ("c", "interpreter"))
        torch.testing.assert_close(*[torch.autograd.grad(y.square().sum(), (x, weight), retain_graph=True) for y in (got, want)])


def test_gradients_more_than_once_and_what_is_left() -> None:
    x, step = leaf(5), leaf(4, seed=1)
    y = PROGRAM.descent(x, f=Scaled(0.1), step=step)
    first = torch.autograd.grad(y.sum(), (x, step), retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(y.sum(), (x, step), retain_graph=True), first)
    y.detach().zero_()  # changes nothing that the gradient reads
    torch.testing.assert_close(torch.autograd.grad(y.sum(), (x, step)), first)
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        torch.autograd.grad(y.sum(), (x, step))


def test_what_was_recorded_goes_with_the_gradient_or_the_result() -> None:
    made: list[weakref.ref[Tensor]] = []

    def f(x: Tensor) -> Tensor:
        kept = x.square()
        made.append(weakref.ref(kept))
        return (kept * kept).sum(-1)

    x, step = leaf(5), leaf(4, seed=1)
    gc.collect()
    gc.disable()
    try:
        y = PROGRAM.descent(x, f=f, step=step)
        assert [kept() is not None for kept in made[1:-1]] == [True, True]
        y.sum().backward()
        assert not any(kept() is not None for kept in made)
        made.clear()
        y = PROGRAM.descent(x, f=f, step=step)
        result = weakref.ref(y)
        del y
        assert result() is None
        assert not any(kept() is not None for kept in made)
    finally:
        gc.enable()


def test_an_operand_that_changes_meanwhile_is_an_error() -> None:
    x, step = leaf(5), leaf(4, seed=1)
    y = PROGRAM.descent(x, f=Scaled(0.1), step=step)
    with torch.no_grad():
        step.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_what_a_function_has_learned_gets_its_gradient() -> None:
    """Torch sees the operations of such a program: that the function reads more than its operands shows when it is called."""
    learned, x, step = leaf(5, seed=3), leaf(5), leaf(4, seed=1)

    @dataclass
    class Weighted:
        """It has no hash."""

        weights: Tensor

        def __call__(self, x: Tensor) -> Tensor:
            return (self.weights * x * x).sum(-1)

    f = Weighted(learned)
    assert is_one_function(PROGRAM.descent(x, f=Weighted(learned.detach()), step=step))
    found = [
        torch.autograd.grad(PROGRAM.descent(x, f=f, step=step, target=target).square().sum(), (learned, x, step))
        for target in ("c", "c", "interpreter")
    ]
    torch.testing.assert_close(found[0], found[2])
    torch.testing.assert_close(found[1], found[2])


@pytest.mark.parametrize("when", range(4))
def test_what_a_function_reads_in_one_iteration_only(when: int) -> None:
    learned, x, step = leaf(5, seed=3), leaf(5), leaf(4, seed=1)
    seen: list[Tensor] = []

    def plain(x: Tensor) -> Tensor:
        seen.append(x.detach())
        return (x * x).sum(-1)

    def f(x: Tensor) -> Tensor:
        return ((learned if torch.equal(x.detach(), seen[when]) else 1) * x * x).sum(-1)

    with torch.no_grad():
        PROGRAM.descent(x, f=plain, step=step)
    found = []
    for target in ("c", "interpreter"):
        y = PROGRAM.descent(x, f=f, step=step, target=target)
        assert not is_one_function(y)
        found.append(torch.autograd.grad(y.square().sum(), (learned, x, step)))
    torch.testing.assert_close(*found)


def test_modules_with_parameters() -> None:
    """Learned ones get gradients; those that are not are as functions."""
    x, step = leaf(5), leaf(4, seed=1)

    class Net(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).square().sum(-1)

    net = Net(nn.Linear(5, 3, dtype=torch.float64), nn.Tanh())
    learned = list(net.parameters())
    found = [
        torch.autograd.grad(PROGRAM.descent(x, f=net, step=step, target=target).square().sum(), [x, step, *learned])
        for target in ("c", "interpreter")
    ]
    torch.testing.assert_close(*found)
    net.requires_grad_(False)
    y = PROGRAM.descent(x, f=net, step=step)
    assert is_one_function(y)
    torch.testing.assert_close(torch.autograd.grad(y.square().sum(), (x, step)), found[1][:2])


def test_checkpoints_and_hooks_see_what_torch_saves() -> None:
    x, step = leaf(5), leaf(4, seed=1)
    f = Scaled(0.1)
    y = checkpoint(lambda x, step: PROGRAM.descent(x, f=f, step=step), x, step, use_reentrant=False)
    assert not is_one_function(y)
    want = PROGRAM.descent(x, f=f, step=step)
    torch.testing.assert_close(*[torch.autograd.grad(z.square().sum(), (x, step)) for z in (y, want)])
    with torch.autograd.graph.save_on_cpu():
        z = PROGRAM.descent(x, f=f, step=step)
    torch.testing.assert_close(*[torch.autograd.grad(z.square().sum(), (x, step)) for z in (z, PROGRAM.descent(x, f=f, step=step))])


def test_loops_that_stop_by_themselves_are_recorded() -> None:
    x, step = leaf(5), leaf(seed=1)
    y, z = (PROGRAM.conditional(x, f=Scaled(0.1), step=step, target=target) for target in ("c", "interpreter"))
    assert not is_one_function(y)
    torch.testing.assert_close(*[torch.autograd.grad(w.square().sum(), (x, step)) for w in (y, z)])


def test_batches_and_transforms() -> None:
    """Problems of a batch are recorded, and so is what torch.func differentiates."""
    X, step, f = leaf(3, 5), leaf(4, seed=1), Scaled(0.1)
    want = [torch.autograd.grad(PROGRAM.descent(x, f=f, step=step).square().sum(), (X, step)) for x in X]
    found = torch.autograd.grad(PROGRAM.descent(X, f=f, step=step).square().sum(), (X, step))
    torch.testing.assert_close(list(found), [sum(gs) for gs in zip(*want, strict=True)])
    one = torch.func.grad(lambda x: PROGRAM.descent(x, f=f, step=step.detach()).square().sum())(X[0].detach())
    torch.testing.assert_close(one, want[0][0][0])


def test_a_layer_learns() -> None:
    layer = PROGRAM.descent.build(f=Scaled(0.1), dtype="f64")
    x = leaf(5).detach()
    optimizer = torch.optim.SGD(layer.parameters(), lr=1e-2)
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        y = layer(x)
        loss = y.square().sum()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert is_one_function(y)
    assert losses[-1] < losses[0]


def test_a_module_that_raises_leaves_nothing() -> None:
    x, step = leaf(5), leaf(4, seed=1)
    failing = [True]

    def f(x: Tensor) -> Tensor:
        if failing:
            raise RuntimeError("not today")
        return x.square().sum(-1)

    with pytest.raises(RuntimeError, match="not today"):
        PROGRAM.descent(x, f=f, step=step)
    assert torch.is_grad_enabled()
    failing.clear()
    PROGRAM.descent(x, f=f, step=step).sum().backward()
    assert step.grad is not None
