"""Products outside of loops: the forward pass hands them to its gradient, which is the same as one that makes them again."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import unspool as us
from unspool.compiler.graph.keep import keeping, products, wanted
from unspool.compiler.graph.simplify import simplify
from unspool.compiler.graph.specialize import specialize

TEXT = """algorithm f(A: real[m, n], y: real[m]) -> real[n]:
    iterations K = 3
    param step[K]: free = 0.01
    G = A.T @ A
    b = A.T @ y
    x = zeros(n)
    for k in 0..K:
        x = x - step[k] * tanh(G @ x - b)
    return x
"""
M, N = 80, 6


def operands(*lead: int, shared: bool = False) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(len(lead))
    A = torch.randn(*(() if shared else lead), M, N, generator=random, dtype=torch.float64)
    return A.requires_grad_(), torch.randn(*lead, M, generator=random, dtype=torch.float64)


def gradients(target: str, A: Tensor, y: Tensor, *, twice: bool = False) -> list[Tensor]:
    layer = us.loads(TEXT).f.build(dtype="f64", target=target)
    wrt = [A, *layer.parameters()]
    found = torch.autograd.grad(layer(A, y).square().sum(), wrt, create_graph=twice)
    return [*found, *torch.autograd.grad(sum(g.square().sum() for g in found), wrt)] if twice else list(found)


def test_what_is_kept() -> None:
    graph = simplify(specialize(us.loads(TEXT).f.algorithm.graph, "f64", {"m": M, "n": N}))
    found = products(graph)
    assert sorted(map(sorted, found.values())) == [[0], [0, 1]]
    names = list(found)
    assert wanted(graph, [0], names) == tuple(names)
    assert len(keeping(graph, names).results) == 3
    small = simplify(specialize(us.loads(TEXT).f.algorithm.graph, "f64", {"m": 20, "n": N}))
    assert not products(small), "cheaper to make than to load"


@pytest.mark.parametrize("lead", [(), (4,), (2, 3)])
def test_gradients_are_those_of_the_interpreter(lead: tuple[int, ...]) -> None:
    for shared in {False, bool(lead)}:
        A, y = operands(*lead, shared=shared)
        torch.testing.assert_close(gradients("c", A, y), gradients("interpreter", A, y))


def test_gradients_of_gradients_follow_from_the_operands() -> None:
    A, y = operands(2)
    torch.testing.assert_close(gradients("c", A, y, twice=True), gradients("interpreter", A, y, twice=True))


def test_a_backward_pass_may_come_twice() -> None:
    A, y = operands(2)
    layer = us.loads(TEXT).f.build(dtype="f64", target="c")
    loss = layer(A, y).square().sum()
    first, second = (torch.autograd.grad(loss, A, retain_graph=True)[0] for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_products_of_shared_operands_are_not_kept_for_every_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    from unspool.backends.execute import KernelPlan

    kept: list[int] = []
    whole = KernelPlan.keeping

    def counting(self: KernelPlan, names: tuple[str, ...]) -> KernelPlan:
        kept.append(len(names))
        return whole(self, names)

    monkeypatch.setattr(KernelPlan, "keeping", counting)
    gradients("c", *operands(4))
    gradients("c", *operands(4, shared=True))
    assert kept == [2, 1]


def test_explain_shows_what_the_gradient_gets() -> None:
    assert "kept_" in us.loads(TEXT).f.compile(m=M, n=N, K=3).explain(gradients=True)
