"""Gradients of large matrices that the problems of a batch share: the kernel leaves factors, products are taken over all problems at once."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import unspool as us
from unspool.backends import autograd, products
from unspool.compiler.graph.factors import factored
from unspool.compiler.graph.specialize import specialize

M, N, K = 64, 80, 3
ROWS = """algorithm f(A: real[m, n], y: real[m]) -> real[n]:
    iterations K = 3
    param W[K, n, m] = 0.1
    x = zeros(n)
    for k in 0..K:
        x = tanh(x - 0.1 * (A.T @ (A @ x - y)) + W[k] @ y)
    return x
"""
#: Not in factors: what an iteration adds depends on the iterations before it in another way than by products.
SCALED = """algorithm f(A: real[m, n], y: real[m]) -> real[n]:
    iterations K = 3
    param W[K, n, m] = 0.1
    x = zeros(n)
    for k in 0..K:
        x = tanh((W[k]**3) @ y + A.T @ y + x)
    return x
"""


def operands(*lead: int) -> list[Tensor]:
    random = torch.Generator().manual_seed(1)

    def made(*shape: int) -> Tensor:
        return (0.1 * torch.randn(*shape, generator=random, dtype=torch.float64)).requires_grad_()

    return [made(M, N), made(*lead, M), made(K, N, M)]


def gradients(text: str, target: str, given: list[Tensor], **options: Any) -> list[Tensor]:
    A, y, W = given
    found = us.loads(text).f(A, y, W=W, K=K, target=target, **options)
    return list(torch.autograd.grad((found**2).sum(), given))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many results were made of factors, in each call that makes any."""
    seen: list[int] = []
    run = products.Products.__call__

    def counted(self: products.Products, *args: Any) -> list[Tensor]:
        seen.append(sum(not isinstance(r, int) for r in self.results))
        return run(self, *args)

    monkeypatch.setattr(autograd.Products, "__call__", counted)
    return seen


@pytest.mark.parametrize(("lead", "made"), [((5,), [2]), ((2, 3), [2]), ((2,), []), ((), [])])
def test_gradients_are_those_of_the_interpreter(lead: tuple[int, ...], made: list[int], calls: list[int]) -> None:
    given = operands(*lead)
    found = gradients(ROWS, "c", given)
    assert calls == made
    for g, want in zip(found, gradients(ROWS, "interpreter", given), strict=True):
        torch.testing.assert_close(g, want)


def test_what_is_no_sum_of_products_stays_in_the_kernel(calls: list[int]) -> None:
    given = operands(5)
    found = gradients(SCALED, "c", given)
    assert calls in ([], [1]), "at most that of A"
    for g, want in zip(found, gradients(SCALED, "interpreter", given), strict=True):
        torch.testing.assert_close(g, want)


def test_factors_that_take_too_much_are_not_made(calls: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "MOST", 8192)
    gradients(ROWS, "c", operands(5))
    assert not calls


def test_gradients_that_are_differentiated_again(calls: list[int]) -> None:
    found = []
    for target in ("c", "interpreter"):
        A, y, W = given = operands(5)
        first = torch.autograd.grad((us.loads(ROWS).f(A, y, W=W, K=K, target=target) ** 2).sum(), given, create_graph=True)
        found.append(torch.autograd.grad(first[2].square().sum() + first[0].square().sum(), given))
    for g, want in zip(*found, strict=True):
        torch.testing.assert_close(g, want)


def test_a_graph_that_is_no_gradient() -> None:
    graph = specialize(us.loads(ROWS).f.algorithm.graph, "f64", {"m": M, "n": N})
    assert factored(graph, {0}) is None


def test_a_gradient_that_is_nothing_but_a_product(calls: list[int]) -> None:
    text = "algorithm f(A: real[m, n], x: real[n]) -> real[m]:\n    return A @ x\n"
    A, x = torch.randn(M, N, dtype=torch.float64, requires_grad=True), torch.randn(5, N, dtype=torch.float64)
    us.loads(text).f(A, x, target="c").square().sum().backward()
    assert calls == [1]
    torch.testing.assert_close(A.grad, 2 * (x @ A.detach().T).T @ x)
