"""``cg`` whose operator applies a module: batches, and derivatives of both orders in what the module reads by itself."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import unspool as us
from tests.slopes import slope

PROGRAM = us.loads(
    """
fn lower(y, x, g) = g(x, y)

# The step before the solve reads the parameters of the module, too.
algorithm newton(x: real[n], y: real[n]) -> real[n]:
    module g: (real[n], real[n]) -> real
    y = y - 0.05 * grad(lower, y)(y, x, g)
    return cg(hvp(lower, y), v, tol=0.000000000001)(x + y, y, x, g)
"""
)


class Lower(nn.Module):
    """Strictly convex in ``y``; its Hessian there depends on every parameter."""

    def __init__(self, extra: Tensor | None = None) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(0)
        self.B = nn.Parameter(torch.randn(4, 4, generator=random, dtype=torch.float64))
        self.c = nn.Parameter(torch.tensor(0.2, dtype=torch.float64))
        self.extra = [extra] if extra is not None else []

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        found = 0.5 * (y @ self.B.T - x).square().sum(-1) + self.c * (y**4).sum(-1) + (x * y).sum(-1) ** 2
        return found + sum((e * y**2).sum(-1) for e in self.extra)


def reference(g: Lower, x: Tensor, y: Tensor) -> Tensor:
    """One problem, with the Hessian as a matrix."""

    def slope_at(y: Tensor) -> Tensor:
        return (y @ g.B.T - x) @ g.B + 4 * g.c * y**3 + 2 * (x * y).sum() * x + sum(2 * e * y for e in g.extra)

    y = y - 0.05 * slope_at(y)
    H = g.B.T @ g.B + torch.diag(12 * g.c * y**2 + sum(2 * e for e in g.extra)) + 2 * torch.outer(x, x)
    return torch.linalg.solve(H, x + y)


def points() -> list[Tensor]:
    random = torch.Generator().manual_seed(1)
    return [torch.randn(2, 4, generator=random, dtype=torch.float64).requires_grad_() for _ in range(2)]


@pytest.mark.parametrize("target", ["interpreter", "c"])
def test_a_module_inside_the_operator(target: str) -> None:
    extra = torch.full((4,), 0.1, dtype=torch.float64, requires_grad=True)  # no parameter of the module
    g, (x, y) = Lower(2 * extra), points()
    found = PROGRAM.newton.build(g=g, dtype="f64", target=target)(x, y)
    wanted = torch.stack([reference(g, *p) for p in zip(x, y, strict=True)])
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-11)
    leaves = [x, y, g.B, g.c, extra]
    for a, b in zip(*(torch.autograd.grad(v.sin().sum(), leaves, retain_graph=True) for v in (found, wanted)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)


def test_second_derivatives_in_the_parameters_of_the_module() -> None:
    g, (x, y) = Lower(), points()
    layer, leaves = PROGRAM.newton.build(g=g, dtype="f64"), [x, y, g.B, g.c]

    def steepness() -> Tensor:
        with torch.enable_grad():
            grads = torch.autograd.grad(layer(x, y).sin().sum(), leaves, create_graph=True)
        return sum(((a**2).sum() for a in grads), torch.zeros((), dtype=torch.float64))

    for leaf, grad in zip(leaves, torch.autograd.grad(steepness(), leaves), strict=True):
        direction = torch.randn(leaf.shape, generator=torch.Generator().manual_seed(2), dtype=leaf.dtype)
        expected = slope(steepness, leaf, direction)
        assert float((grad * direction).sum()) == pytest.approx(expected, rel=1e-5)
