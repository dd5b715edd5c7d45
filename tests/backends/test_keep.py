"""What the forward pass hands to its gradient: small tapes, products outside of loops. The gradient is the same as one that makes them again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import unspool as us
from tests.helpers import TVM_SLOW
from unspool.backends import autograd
from unspool.backends.execute import KernelPlan
from unspool.compiler.graph.keep import Tapes, keeping, products, read_results, tapes, wanted
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
#: See tests/conftest.py.
NUMBA_LATER = {"test_handed_tapes_give_the_gradients_of_the_interpreter": ((), (20,), (2, 2), (1.0, 0.0), (0.0, 1.0))}


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
    assert len(keeping(graph, [0], names).results) == 3
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
    monkeypatch.setattr(autograd, "HANDED", 0)
    kept: list[int] = []
    whole = KernelPlan.keeping

    def counting(self: KernelPlan, wrt: tuple[int, ...], names: tuple[str, ...]) -> KernelPlan:
        kept.append(len(names))
        return whole(self, wrt, names)

    monkeypatch.setattr(KernelPlan, "keeping", counting)
    gradients("c", *operands(4))
    gradients("c", *operands(4, shared=True))
    assert kept == [2, 1]


def test_explain_shows_what_the_gradient_gets() -> None:
    assert "kept_" in us.loads(TEXT).f.compile(m=M, n=N, K=3).explain(gradients=True)


SINKHORN = """algorithm f(cost: real[n, m], start: real[m]) -> (real[n], real[m]):
    iterations K = 20
    param eps: positive = 0.3
    f = zeros(n)
    g = start
    for k in 0..K:
        f = -eps * logsumexp((g[None, :] - cost) / eps, axis=1)
        g = -eps * logsumexp((f[:, None] - cost) / eps, axis=0)
    return f, g
"""
PLAIN = us.loads(SINKHORN).f


def transport(target: str, cost: Tensor, start: Tensor, weights: tuple[float, float], **options: int) -> list[Tensor]:
    """Gradients of a weighted sum of the two results; of a result of weight 0 nobody asks for one."""
    layer = PLAIN.build(dtype="f64", target=target, **options)
    loss = torch.stack([w * r.square().sum() for w, r in zip(weights, layer(cost, start)) if w]).sum()
    return list(torch.autograd.grad(loss, [cost, start, *layer.parameters()]))


def problem(*lead: int, n: int = 40, m: int = 30) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(3)
    cost = torch.rand(*lead, n, m, generator=random, dtype=torch.float64)
    return cost.requires_grad_(), torch.rand(*lead, m, generator=random, dtype=torch.float64).requires_grad_()


def test_a_gradient_runs_no_loop_forward_where_its_tapes_are_handed_over() -> None:
    graph = simplify(specialize(PLAIN.algorithm.graph, "f64", {"n": 40, "m": 30}))
    found = tapes(graph, [2])
    assert all(s <= {0, 1, 2} and s for s in found.sources)
    assert found.effort > autograd.EFFORT[False]
    call = PLAIN.compile(n=40, m=30, K=20, target="c").report(gradients=True)["kernels"][1]
    assert call["tape"]["values"] == []
    assert call["tape"]["handed_bytes"] > 0
    assert "comes from the forward pass" in PLAIN.compile(n=40, m=30, K=20, target="c").explain(gradients=True)


@pytest.mark.parametrize("target", ["c", "numba", TVM_SLOW])
@pytest.mark.parametrize("lead", [(), (3,), (20,), (2, 2)], ids=str)
@pytest.mark.parametrize("weights", [(1.0, 2.0), (0.0, 1.0), (1.0, 0.0)], ids=str)
def test_handed_tapes_give_the_gradients_of_the_interpreter(target: str, lead: tuple[int, ...], weights: tuple[float, float]) -> None:
    cost, start = problem(*lead)
    torch.testing.assert_close(transport(target, cost, start, weights), transport("interpreter", cost, start, weights))


@pytest.mark.parametrize("count", [1, 2, 7])
def test_tapes_of_any_length(count: int) -> None:
    cost, start = problem(2)
    torch.testing.assert_close(transport("c", cost, start, (1, 1), K=count), transport("interpreter", cost, start, (1, 1), K=count))


def test_tiles_of_problems_hand_over_tapes() -> None:
    program = us.load(Path(__file__).parents[1] / "programs" / "lasso.us").ista
    A = torch.randn(60, 130, generator=torch.Generator().manual_seed(0), dtype=torch.float64) / 8
    y = torch.randn(37, 60, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = {}
    for target in ("c", "interpreter"):
        layer = program.build(A=A, dtype="f64", target=target)
        found[target] = torch.autograd.grad(layer(y).square().sum(), list(layer.parameters()))
    torch.testing.assert_close(found["c"], found["interpreter"])


def test_large_tapes_stay_in_the_backward_kernel(monkeypatch: pytest.MonkeyPatch, asked: list[int]) -> None:
    cost, start = problem(3)
    want = transport("c", cost, start, (1, 1))
    small = max(asked)
    monkeypatch.setattr(autograd, "HANDED", 1 << 10)
    torch.testing.assert_close(transport("c", cost, start, (1, 1)), want)
    assert max(asked) > small + 20 * (40 + 30) * 8


def test_loops_with_until_and_budgets_hand_over_nothing() -> None:
    stopping = us.loads(SINKHORN.replace("0..K:", "0..K until norm(g) < 0.1:")).f
    assert tapes(simplify(specialize(stopping.algorithm.graph, "f64", {"n": 40, "m": 30})), [2]) == Tapes()
    told = PLAIN.compile(n=40, m=30, K=20, target="c", memory="1MiB").report(gradients=True)["kernels"][1]["tape"]
    assert told["handed_bytes"] == 0
    assert told["values"]


RECURRENT = """algorithm f(u: real[j, p], a: real[i, p], W: real[i, j], r: real[i]) -> (real[i, p], real[i, p]):
    s = relu(einsum("ij,jp->ip", W, u) + r[:, None] * a)
    return s, 2 * s
"""


@pytest.mark.parametrize("lead", [(), (3,)])
def test_gradients_read_results_in_place_of_what_they_follow_from(lead: tuple[int, ...]) -> None:
    program = us.loads(RECURRENT).f
    random = torch.Generator().manual_seed(5)
    draw = lambda *shape: torch.randn(*shape, generator=random, dtype=torch.float64).requires_grad_()  # noqa: E731
    given = draw(*lead, 40, 9), draw(*lead, 5, 9), draw(5, 40), draw(5)
    found = []
    for target in ("c", "interpreter"):
        s, t = program.build(dtype="f64", target=target)(*given)
        found.append(torch.autograd.grad((s.square() + t.sin()).sum(), given))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_which_results_gradients_read() -> None:
    graph = simplify(specialize(us.loads(RECURRENT).f.algorithm.graph, "f64", {"i": 5, "j": 40, "p": 9}))
    assert list(read_results(graph)) == list(graph.results)
    assert wanted(graph, [0], graph.results) == (graph.results[0],), "the second has a derivative that is known"
    assert len(keeping(graph, [0], graph.results).results) == 2
    few = simplify(specialize(us.loads(RECURRENT).f.algorithm.graph, "f64", {"i": 5, "j": 4, "p": 9}))
    assert not read_results(few), "cheaper to make than to load"
