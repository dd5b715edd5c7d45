"""``stdlib/optim.us``: every optimizer against torch.optim or its equations in NumPy, its gradients, and what its theory promises."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call

import unspool as us
from tests.stdlib.harness import built, gradients_agree

OPTIM = us.stdlib.optim
Array = np.ndarray
SEEDS = st.integers(0, 10**6)
N, K = 4, 6


class Quartic(nn.Module):
    """sum_i c_i (A x - b)_i^2 / 2 + sum x^4 / 20 of points x[batch, n]."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(seed)
        self.A = nn.Parameter(torch.randn(6, N, generator=random, dtype=torch.float64) / 2)
        self.b = nn.Parameter(torch.randn(6, generator=random, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * ((x @ self.A.T - self.b) ** 2).sum(-1) + (x**4).sum(-1) / 20


class Curvature(nn.Module):
    """The Hessian of :class:`Quartic`."""

    def __init__(self, f: Quartic) -> None:
        super().__init__()
        self.f = f

    def forward(self, x: Tensor) -> Tensor:
        return self.f.A.T @ self.f.A + torch.diag_embed(0.6 * x**2)


def slope_at(f: nn.Module, x: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    (g,) = torch.autograd.grad(f(x[None])[0], x)
    return g


def start(*lead: int, seed: int = 1) -> Tensor:
    return torch.randn(*lead, N, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(
    ("name", "params", "peer"),
    [
        ("sgd", {"step": 0.1}, lambda p: torch.optim.SGD(p, lr=0.1)),
        ("momentum", {"step": 0.1, "mu": 0.7}, lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.7)),
        ("adam", {"step": 0.1, "beta2": 0.9, "decay": 0.2}, lambda p: torch.optim.AdamW(p, lr=0.1, betas=(0.9, 0.9), weight_decay=0.2, eps=1e-12)),
    ],
)  # fmt: skip
def test_torch_takes_the_same_steps(name: str, params: dict[str, float], peer: Any) -> None:
    f, x = Quartic(), start(3)
    got = getattr(OPTIM, name)(x, f=f, K=K, **params).detach()
    for i in range(3):
        p = nn.Parameter(x[i].clone())
        optimizer = peer([p])
        for _ in range(K):
            p.grad = slope_at(f, p)
            optimizer.step()
        torch.testing.assert_close(got[i], p.detach(), rtol=1e-9, atol=1e-11)


def test_lion_and_sam() -> None:
    f, x0 = Quartic(), start()
    x, m = x0.clone(), torch.zeros(N, dtype=torch.float64)
    for _ in range(K):  # as the authors publish it
        g = slope_at(f, x)
        x = x * (1 - 0.05 * 0.1)
        x = x - 0.05 * torch.sign(0.8 * m + (1 - 0.8) * g)
        m = 0.95 * m + (1 - 0.95) * g
    params = {"step": 0.05, "beta1": 0.8, "beta2": 0.95, "decay": 0.1}
    for got in (OPTIM.lion(x0, f=f, K=K, **params), OPTIM.lion_surrogate(x0, 0.1, f=f, K=K, **params)):
        torch.testing.assert_close(got.detach(), x, rtol=1e-12, atol=1e-14)
    x = x0.clone()
    for _ in range(K):
        g = slope_at(f, x)
        x = x - 0.1 * slope_at(f, x + 0.3 * g / g.norm())
    torch.testing.assert_close(OPTIM.sam(x0, f=f, K=K, step=0.1, rho=0.3).detach(), x, rtol=1e-10, atol=1e-13)
    torch.testing.assert_close(OPTIM.sam(x0, f=f, K=K, step=0.1, rho=0), OPTIM.sgd(x0, f=f, K=K, step=0.1))


@pytest.mark.parametrize("name", ["sgd", pytest.param("momentum", marks=pytest.mark.slow), pytest.param("adam", marks=pytest.mark.slow), "mfac"])
def test_gradients(name: str) -> None:
    options = {"mfac": {"window": 3, "lam": 0.5}, "adam": {"decay": 0.1}}.get(name, {})
    gradients_agree(built(OPTIM, name, f=Quartic(), K=K, step=0.05, **options), [start(2)])


def test_gradients_of_lion_go_through_the_decay_or_a_surrogate() -> None:
    f, x = Quartic(), start().requires_grad_()
    layer = built(OPTIM, "lion", f=f, K=K, step=0.05, decay=0.1)
    gradients_agree(layer, [start()])
    assert not any(p.any() for p in torch.autograd.grad(layer(x).sum(), list(f.parameters()), materialize_grads=True))
    soft = built(OPTIM, "lion_surrogate", f=f, K=K, step=0.05, decay=0.1)
    width = torch.tensor(0.3, dtype=torch.float64)
    leaves = [*f.parameters(), *soft.parameters_by_name().values(), x]
    found = torch.autograd.grad((soft(x, width) ** 2).sum(), leaves, allow_unused=True)

    beta1, beta2 = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (0.9, 0.99))
    y, m = x, torch.zeros_like(x)
    for _ in range(K):
        (g,) = torch.autograd.grad(f(y[None])[0], y, create_graph=True)
        c = beta1 * m + (1 - beta1) * g
        soft_sign = torch.tanh(c / width) + (torch.sign(c) - torch.tanh(c / width)).detach()
        y = y - 0.05 * (soft_sign + 0.1 * y)
        m = beta2 * m + (1 - beta2) * g
    want = torch.autograd.grad((y**2).sum(), [*f.parameters(), x, beta1, beta2])
    named = dict(zip([*range(len(list(f.parameters()))), *soft.parameters_by_name(), "x"], found, strict=True))
    for got, expected in zip([named[0], named[1], named["x"]], want, strict=False):
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-12)
    assert all(float(g.abs().max()) > 1e-4 for g in want)


def test_the_way_to_the_worst_point_has_no_derivative() -> None:
    f, x, rho = Quartic(), start().requires_grad_(), 0.3
    layer = built(OPTIM, "sam", f=f, K=1, step=0.1, rho=rho)
    (got,) = torch.autograd.grad(layer(x).sum(), x)
    g = slope_at(f, x)
    worst = (x + (rho * g / g.norm()).detach()).detach()
    want = torch.ones(N, dtype=torch.float64) - 0.1 * Curvature(f)(worst) @ torch.ones(N, dtype=torch.float64)
    torch.testing.assert_close(got, want.detach(), rtol=1e-10, atol=1e-13)


@settings(max_examples=10)
@given(seed=SEEDS, share=st.floats(0.05, 1.9))
def test_descent_falls_below_its_step_bound(seed: int, share: float) -> None:
    random = np.random.default_rng(seed)
    A = torch.as_tensor(random.standard_normal((6, N)))
    f = lambda x: 0.5 * ((x @ A.T) ** 2).sum(-1)  # noqa: E731
    bound = float(torch.linalg.matrix_norm(A, 2) ** 2)
    _, path = built(OPTIM, "sgd", f=f, K=K, step=share / bound)(start(seed=seed), trace=["x"])
    values = [float(f(start(seed=seed))), *map(float, f(path.x.detach()))]
    assert all(b <= a * (1 + 1e-12) for a, b in itertools.pairwise(values))


# -- weights of a network ----------------------------------------------------------------------------------------------

TRAIN = us.loads(
    """
use optim: momentum_step, adam_step, lion_step, sam_point

fn loss(th, f, x, t) = mean((f(x, weights=th) - t)**2)

algorithm train(x: real[n, d], t: real[n, c]) -> weights(f):
    iterations K = 3
    param step[K]: positive = 0.05
    module f: (real[n, d]) -> real[n, c]
    th = f.weights
    v = zeros_like(th)
    s = zeros_like(th)
    for k in 0..K:
        g = grad(loss, th)(sam_point(th, grad(loss, th)(th, f, x, t), 0.1), f, x, t)
        th, v, s = adam_step(th, v, s, g, k, step[k], 0.9, 0.99, 0.1)
    return th
"""
)


def test_steps_take_weights() -> None:
    torch.manual_seed(0)
    f = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    x, t = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 2, dtype=torch.float64)
    names = [n for n, _ in f.named_parameters()]
    got = TRAIN.train(x, t, f=f)
    ps = [nn.Parameter(p.detach().clone()) for p in f.parameters()]
    optimizer = torch.optim.AdamW(ps, lr=0.05, betas=(0.9, 0.99), weight_decay=0.1, eps=1e-12)

    def slopes(at: list[Tensor]) -> list[Tensor]:
        at = [p.detach().requires_grad_() for p in at]
        return list(torch.autograd.grad(((functional_call(f, dict(zip(names, at, strict=True)), (x,)) - t) ** 2).mean(), at))

    for _ in range(3):
        g = slopes(list(ps))
        size = torch.cat([v.flatten() for v in g]).norm()
        for p, slope_there in zip(ps, slopes([p + 0.1 * v / size for p, v in zip(ps, g, strict=True)]), strict=True):
            p.grad = slope_there
        optimizer.step()
    for name, p in zip(names, ps, strict=True):
        torch.testing.assert_close(got[name], p, rtol=1e-8, atol=1e-11)


# -- Newton ------------------------------------------------------------------------------------------------------------


def newton(f: nn.Module, hessian: nn.Module, x: Tensor, count: int, tol: float) -> tuple[Tensor, float]:
    gamma = 1.0
    for _ in range(count):
        g = slope_at(f, x)
        for _ in range(40):
            lam = float(g.norm()) / (gamma + 1e-8)
            h = -torch.linalg.solve(hessian(x[None])[0] + lam * torch.eye(N, dtype=torch.float64), g)
            if float((f(x[None])[0] - f((x + h)[None])[0]).detach()) >= float(slope_at(f, x + h).norm()) ** 2 / (8 * lam):
                break
            gamma /= 2
        x = (x + h).detach()
        gamma = max(2 * gamma, 1e-9)
        if float(slope_at(f, x).norm()) < tol:
            break
    return x, gamma


def zero(x: Tensor) -> Tensor:
    return x.new_zeros((*x.shape, N))


@pytest.mark.parametrize("exact", [True, False])
def test_gns_newton(exact: bool) -> None:
    f = Quartic()
    hessian = Curvature(f) if exact else zero
    x = 3 * start(2)
    (got, gamma), path = OPTIM.gns_newton(x, 1e-9, f=f, hessian=hessian, K=12, trace=["x"])
    for i in range(2):
        want, radius = newton(f, hessian, x[i], 12, 1e-9)
        torch.testing.assert_close(got[i].detach(), want, rtol=1e-8, atol=1e-10)
        assert float(gamma[i].detach()) == pytest.approx(radius, rel=1e-9)
        values = [*f(x[i][None]).tolist(), *f(path.x[i]).tolist()]
        assert all(b <= a + 1e-13 for a, b in itertools.pairwise(values))
        assert (float(slope_at(f, got[i]).norm()) < 1e-9) == exact
    layer = built(OPTIM, "gns_newton", f=f, hessian=hessian, K=3)
    gradients_agree(layer, [x, torch.tensor(1e-9, dtype=torch.float64)], tolerance=1e-4)


@pytest.mark.parametrize("exact", [0.0, 1.0])
def test_gns_on_a_smooth_maximum(exact: bool) -> None:
    random = np.random.default_rng(0)
    A, b, mu, x0 = random.uniform(-1, 1, (9, N)), random.uniform(-1, 1, 9), 0.7, np.ones(N)
    gamma = random.uniform(0.2, 2, K)
    layer = built(OPTIM, "gns_smooth_max", K=K, gamma=gamma)
    x = x0
    for k in range(K):
        z = (A @ x - b) / mu
        p = np.exp(z - z.max())
        p /= p.sum()
        g = A.T @ p
        H = sum(p[i] * np.outer(A[i], A[i]) for i in range(9)) / mu - exact * np.outer(g, g) / mu
        x = x - np.linalg.inv(H + np.linalg.norm(g) / (gamma[k] + 1e-8) * np.eye(N)) @ g
    inputs = [torch.as_tensor(v) for v in (A, b, np.array(mu), np.array(exact), x0)]
    np.testing.assert_allclose(layer(*inputs).detach(), x, rtol=1e-10)
    gradients_agree(layer, inputs)
    z = (A @ x - b) / mu
    np.testing.assert_allclose(layer.objective(torch.as_tensor(x), *inputs).detach(), mu * np.log(np.exp(z).sum()), rtol=1e-12)


# -- M-FAC -------------------------------------------------------------------------------------------------------------


def fisher(G: Array, lam: float) -> Array:
    """lam I + 1/m sum g g^T, dense."""
    return lam * np.eye(G.shape[1]) + G.T @ G / len(G)


@settings(max_examples=15)
@given(seed=SEEDS, lam=st.floats(0.003, 10))
def test_mfac_is_the_dense_inverse(seed: int, lam: float) -> None:
    random = np.random.default_rng(seed)
    G, x = random.standard_normal((7, 11)), random.standard_normal(11)
    V, q = OPTIM.mfac_static(G, lam)
    inverse = np.linalg.inv(fisher(G, lam))
    np.testing.assert_allclose(OPTIM.mfac_product(V, q, lam, x), inverse @ x, rtol=1e-7, atol=1e-7 / lam)
    np.testing.assert_allclose(OPTIM.mfac_diagonal(V, q, lam), np.diag(inverse), rtol=1e-7, atol=1e-9 / lam)
    assert (q >= 7).all()
    order = random.permutation(11)
    V2, q2 = OPTIM.mfac_static(G[:, order], lam)
    np.testing.assert_allclose(V2, V[:, order], rtol=1e-7, atol=1e-9 / lam)
    np.testing.assert_allclose(q2, q, rtol=1e-9)


def test_gradients_of_mfac_static() -> None:
    G = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    gradients_agree(built(OPTIM, "mfac_static"), [G, torch.tensor(0.5, dtype=torch.float64)])


def test_mfac_against_the_dense_inverse_of_the_last_gradients() -> None:
    f, x0, window, count = Quartic(), start(), 3, 8
    step, mu, lam = 0.05, 0.5, 0.3
    x, v, G = x0, torch.zeros(N, dtype=torch.float64), np.zeros((window, N))
    for _k in range(count):
        g = slope_at(f, x)
        G = np.vstack([G[1:], g[None]])  # in any order
        v = mu * v + (1 - mu) * torch.as_tensor(np.linalg.solve(fisher(G, lam), g))
        x = x - step * v
    got = OPTIM.mfac(x0, f=f, K=count, window=window, step=step, mu=mu, lam=lam)
    torch.testing.assert_close(got.detach(), x, rtol=1e-9, atol=1e-12)
