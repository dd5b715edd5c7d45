"""Constraints: inverse of each other, derivatives at the bounds, what is refused."""

from __future__ import annotations

import pytest
import torch

import unspool as us
from unspool.backends.constraints import check, constrain, default, pull_back, settled, store
from unspool.compiler.diagnostics import DataError
from unspool.compiler.graph.algorithm import Constraint

VALUES = {
    Constraint("free"): [-3.0, 0.0, 7.0],
    Constraint("positive"): [1e-30, 1e-6, 0.1, 1.0, 30.0, 1e6],
    Constraint("nonneg"): [0.0, 0.5, 1e9],
    Constraint("unit"): [0.0, 0.3, 1.0],
    Constraint("interval", -2.0, 5.0): [-2.0, 0.0, 5.0],
    Constraint("simplex"): [0.2, 0.7, 0.1],
}


@pytest.mark.parametrize("constraint", VALUES, ids=lambda c: c.kind)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_store_is_the_inverse(constraint: Constraint, dtype: torch.dtype) -> None:
    value = torch.tensor(VALUES[constraint], dtype=dtype)
    found = constrain(store(value, constraint, "p"), constraint)
    assert torch.allclose(found, value, rtol=64 * torch.finfo(dtype).eps, atol=0)
    check(default(constraint, (3,), dtype), constraint, "p")


@pytest.mark.parametrize(
    ("constraint", "value", "needed"),
    [
        (Constraint("positive"), [1.0, 0.0], "greater than 0; got 0"),
        (Constraint("positive"), [float("nan")], "greater than 0; got nan"),
        (Constraint("nonneg"), [-1e-3], "at least 0; got -0.001"),
        (Constraint("unit"), [1.5], "between 0 and 1; got 1.5"),
        (Constraint("interval", -2.0, 5.0), [6.0], "between -2 and 5; got 6"),
        (Constraint("simplex"), [0.5, 0.6], "sum 1 along the last axis"),
        (Constraint("simplex"), [1.5, -0.5], "at least 0 with sum 1"),
    ],
    ids=str,
)
def test_values_that_break_a_constraint(constraint: Constraint, value: list[float], needed: str) -> None:
    with pytest.raises(DataError, match=f"p is {constraint.kind}: every value must be .*{needed}"):
        store(torch.tensor(value), constraint, "p")


@pytest.mark.parametrize("constraint", [c for c in VALUES if c.kind in ("nonneg", "unit", "interval")], ids=lambda c: c.kind)
def test_derivative_is_one_up_to_the_bounds_and_what_is_beyond_comes_back(constraint: Constraint) -> None:
    stored = torch.tensor([*VALUES[constraint], -1e3, 1e12], requires_grad=True)
    constrain(stored, constraint).sum().backward()
    assert stored.grad is not None
    assert stored.grad.tolist() == [1.0] * len(stored)
    value = constrain(stored, constraint).detach()
    stored.grad = None
    again = settled(stored, constraint)
    assert torch.equal(stored.detach(), value)
    assert torch.equal(again.detach(), value)
    again.sum().backward()
    assert stored.grad.tolist() == [1.0] * len(stored)


def test_positive_stays_open() -> None:
    stored = torch.tensor([-1e4, -200.0, 0.0, 1e4], requires_grad=True)
    assert bool((constrain(stored, Constraint("positive")) > 0).all())


@pytest.mark.parametrize("constraint", VALUES, ids=lambda c: c.kind)
def test_pulling_back_is_what_autograd_does(constraint: Constraint) -> None:
    stored = store(torch.tensor(VALUES[constraint], dtype=torch.float64), constraint, "p").requires_grad_()
    value = constrain(stored, constraint)
    gradient = torch.arange(1.0, 1.0 + len(value), dtype=torch.float64)
    (want,) = torch.autograd.grad(value, stored, gradient)
    torch.testing.assert_close(pull_back(gradient, value.detach(), constraint), want)


KINDS = ["free", "positive", "nonneg", "unit", "interval(-1, 2)", "simplex"]


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_a_layer_go_to_what_is_stored(kind: str) -> None:
    text = (
        f"algorithm f(x: real[n]) -> real[n]:\n    param w[4]: {kind} = [0.1 * (i + 1) for i in 0..4]\n"
        "    return sin(w[0] * x + w[1] * w[2]) + w[3]**3 * x\n"
    )
    x = torch.rand(3, 5, dtype=torch.float64)

    def derivatives(target: str) -> list[torch.Tensor]:
        layer = us.loads(text).f.build(target=target, dtype="f64")
        (p,) = layer.parameters()
        (first,) = torch.autograd.grad(layer(x).square().sum(), p, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), p)
        (alone,) = torch.autograd.grad(layer(x).square().sum(), p)
        return [first.detach(), second, alone]

    torch.testing.assert_close(derivatives("c"), derivatives("interpreter"))


def test_forward_passes_between_a_forward_and_its_backward_pass() -> None:
    text = "algorithm f(x: real[n]) -> real[n]:\n    param w: nonneg = 0.5\n    param s: positive = 2.0\n    return sin(w * x) * s\n"
    layer = us.loads(text).f.build(target="c", dtype="f64")
    x = torch.rand(4, dtype=torch.float64)
    (layer(x).sum() + layer(2 * x).sum()).backward()  # the second one brings w back between its bounds, in place
    both = [p.grad.clone() for p in layer.parameters()]
    layer.zero_grad()
    first = layer(x).sum()
    with torch.no_grad():
        values = [p.clone() for p in layer.parameters()]
        for p in layer.parameters():
            p.add_(1.0)  # the values that were used are what the gradient is taken at
    first.backward()
    with torch.no_grad():
        for p, v in zip(layer.parameters(), values):
            p.copy_(v)
    layer(2 * x).sum().backward()
    torch.testing.assert_close([p.grad for p in layer.parameters()], both)
