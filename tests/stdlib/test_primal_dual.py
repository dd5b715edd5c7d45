"""``stdlib/primal_dual.us``: every algorithm against its equations in NumPy or another solver, its gradients, and what its theory promises."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

import unspool as us
from tests.stdlib.harness import built, gradients_agree

PD = us.stdlib.primal_dual
Array = np.ndarray
SEEDS = st.integers(0, 10**6)


# -- balancing of experts ----------------------------------------------------------------------------------------------

TOKENS, EXPERTS, TOP = 40, 6, 2
TARGET = TOKENS * TOP / EXPERTS


def scores(seed: int, *lead: int) -> Array:
    """Affinities with experts that most tokens like."""
    random = np.random.default_rng(seed)
    return 1 / (1 + np.exp(-random.standard_normal((*lead, TOKENS, EXPERTS)) - random.standard_normal(EXPERTS)))


def loads(values: Array) -> Array:
    return np.bincount(np.argsort(-values, axis=1)[:, :TOP].ravel(), minlength=values.shape[1]).astype(float)


def lagrangian(values: Array, bias: Array) -> float:
    return float(np.sort(values + bias, axis=1)[:, -TOP:].sum() - TARGET * bias.sum())


@pytest.mark.parametrize("name", ["alf_lb", "alf_lb_sign", "alf_lb_online"])
def test_balancing(name: str) -> None:
    online, count = name == "alf_lb_online", 12
    g = scores(0, 3, count) if online else scores(0, 3)
    layer = built(PD, name, K=count)
    step = layer.values()["step"].numpy()
    with torch.no_grad():
        bias, load = (v.numpy() for v in layer(torch.as_tensor(g), TOP))
    for b in range(3):
        p, found = np.zeros(EXPERTS), []
        for k in range(count):
            found.append(loads((g[b, k] if online else g[b]) + p))
            p = p + step[k] * (np.sign(TARGET - found[-1]) if name == "alf_lb_sign" else (TARGET - found[-1]) / TARGET)
        np.testing.assert_allclose(bias[b], p, rtol=1e-12, atol=1e-14)
        np.testing.assert_array_equal(load[b], found if online else loads(g[b] + p))
        assert load[b].sum() == TOKENS * TOP * (count if online else 1)
    gradients_agree(layer, [torch.as_tensor(g), torch.tensor(TOP, dtype=torch.int32)])


@settings(max_examples=15)
@given(seed=SEEDS, size=st.floats(1e-4, 0.5))
def test_the_lagrangian_falls_with_steps_below_the_gaps_of_scores(seed: int, size: float) -> None:
    g, count, previous = scores(seed), 6, np.zeros(EXPERTS)
    for k in range(1, count):  # one kernel for all counts
        bias, load = PD.alf_lb(g, TOP, K=k, step=size)
        before, after = lagrangian(g, previous), lagrangian(g, bias)
        moved, ranked = bias - previous, np.sort(g + previous, axis=1)
        np.testing.assert_allclose(PD.alf_lb.objective(bias, g, TOP), after, rtol=1e-12)
        excess = loads(g + previous) - TARGET
        assert excess @ moved - 1e-9 <= after - before <= (load - TARGET) @ moved + 1e-9  # convex, with load - target as a subgradient
        if np.ptp(moved) < (ranked[:, -TOP] - ranked[:, -TOP - 1]).min():
            assert after < before or not moved.any()
        previous = bias


def test_balanced_routing_is_the_best_of_all_assignments() -> None:
    g = scores(1)
    bias, load = PD.alf_lb(g, TOP, K=4000, step=0.2 / np.sqrt(np.arange(4000) + 1))
    rows, columns = np.kron(np.eye(TOKENS), np.ones(EXPERTS)), np.kron(np.ones(TOKENS), np.eye(EXPERTS))
    best = linprog(-g.ravel(), A_eq=np.vstack([rows, columns]), b_eq=[TOP] * TOKENS + [TARGET] * EXPERTS, bounds=(0, 1))
    assert -best.fun - 1e-9 <= lagrangian(g, bias) <= -best.fun + 0.01
    assert np.abs(load / TARGET - 1).max() < 0.15 < np.abs(loads(g) / TARGET - 1).max()


def test_experts_and_tokens_may_come_in_any_order() -> None:
    g, random = scores(2), np.random.default_rng(0)
    bias, load = PD.alf_lb(g, TOP, K=12)
    order = random.permutation(EXPERTS)
    other, other_load = PD.alf_lb(g[random.permutation(TOKENS)][:, order], TOP, K=12)
    np.testing.assert_allclose(other, bias[order], atol=1e-14)
    np.testing.assert_array_equal(other_load, load[order])


# -- transport ---------------------------------------------------------------------------------------------------------

N, M = 7, 9


def transport(seed: int) -> tuple[Array, Array, Array]:
    random = np.random.default_rng(seed)
    return random.random((N, M)), random.dirichlet(np.ones(N) * 3), random.dirichlet(np.ones(M) * 3)


def test_sinkhorn() -> None:
    C, a, b = transport(0)
    layer = built(PD, "sinkhorn", K=8, eps=0.3 / np.arange(1, 9))
    eps = layer.values()["eps"].numpy()
    f, g = np.zeros(N), np.zeros(M)
    for e in eps:  # potentials of scalings u = a / (K v), v = b / (K^T u)
        f = e * np.log(a / (np.exp(-C / e) @ np.exp(g / e)))
        g = e * np.log(b / (np.exp(-C / e).T @ np.exp(f / e)))
    P = np.exp(f / eps[-1])[:, None] * np.exp(-C / eps[-1]) * np.exp(g / eps[-1])
    got = layer(*map(torch.as_tensor, (C, a, b)))
    np.testing.assert_allclose(got.detach(), P, rtol=1e-9, atol=1e-14)
    gradients_agree(layer, [torch.as_tensor(x) for x in (C, a, b)])


@settings(max_examples=15)
@given(seed=SEEDS, eps=st.floats(0.02, 2))
def test_masses_are_kept_and_rows_come_closer(seed: int, eps: float) -> None:
    C, a, b = transport(seed)
    error = np.inf
    for count in (1, 2, 3, 8):  # one kernel for all counts
        P = PD.sinkhorn(C, a, b, K=count, eps=eps)
        assert P.min() >= 0
        np.testing.assert_allclose(P.sum(0), b, rtol=1e-9)
        assert np.abs(P.sum(1) - a).sum() <= error + 1e-12
        error = np.abs(P.sum(1) - a).sum()
    rows, columns = np.random.default_rng(seed).permutation(N), np.random.default_rng(seed).permutation(M)
    moved = PD.sinkhorn(C[rows][:, columns], a[rows], b[columns], K=8, eps=eps)
    np.testing.assert_allclose(moved, P[rows][:, columns], rtol=1e-9, atol=1e-13)


def test_the_dual_of_transport_rises_to_the_objective() -> None:
    C, a, b = transport(3)
    layer = built(PD, "sinkhorn", K=300, eps=0.1)
    inputs = [torch.as_tensor(x) for x in (C, a, b)]
    P, path = layer(*inputs, trace=["f", "g"])
    f, g = path.f.detach().numpy(), path.g.detach().numpy()
    dual = f @ a + g @ b - 0.1 * np.exp((f[:, :, None] + g[:, None] - C) / 0.1).sum((1, 2))
    assert np.all(np.diff(dual) >= -1e-12)
    assert layer.objective(P, *inputs).item() == pytest.approx(dual[-1], abs=1e-8)


# -- images ------------------------------------------------------------------------------------------------------------

HEIGHT, WIDTH = 7, 9


def slopes(u: Array) -> Array:
    """Forward differences down and across, 0 at the end."""
    return np.stack([np.diff(u, axis=0, append=u[-1:]), np.diff(u, axis=1, append=u[:, -1:])])


def slopes_back(p: Array) -> Array:
    """The transpose of ``slopes``."""
    down, across = p[0].copy(), p[1].copy()
    down[-1], across[:, -1] = 0, 0
    return -np.diff(down, axis=0, prepend=0) - np.diff(across, axis=1, prepend=0)


def test_total_variation() -> None:
    random = np.random.default_rng(0)
    image, strength = random.random((2, HEIGHT, WIDTH)), 0.3
    layer = built(PD, "tv", K=6)
    with torch.no_grad():
        for p in layer.parameters():
            p += 0.05 * torch.rand(p.shape, generator=torch.Generator().manual_seed(0), dtype=p.dtype)
    tau, sigma = (layer.values()[n].numpy() for n in ("tau", "sigma"))
    expected = []
    for one in image:
        u, bar, p = one, one, np.zeros((2, HEIGHT, WIDTH))
        for k in range(6):
            p = p + sigma[k] * slopes(bar)
            p = p / np.maximum(1, np.linalg.norm(p, axis=0))
            new = (u - tau[k] * slopes_back(p) + tau[k] / strength * one) / (1 + tau[k] / strength)
            u, bar = new, 2 * new - u
        expected.append(u)
    inputs = [torch.as_tensor(image), torch.tensor(strength, dtype=torch.float64)]
    np.testing.assert_allclose(layer(*inputs).detach(), expected, rtol=1e-10, atol=1e-12)
    gradients_agree(layer, inputs)


@settings(max_examples=10)
@given(seed=SEEDS, strength=st.floats(0.05, 2))
def test_denoising_keeps_the_mean_and_closes_the_gap(seed: int, strength: float) -> None:
    image = np.random.default_rng(seed).random((WIDTH, WIDTH))
    layer = built(PD, "tv", K=400)
    inputs = [torch.as_tensor(image), torch.tensor(strength, dtype=torch.float64)]
    u, path = layer(*inputs, trace=["u", "p", "q"])
    gaps = []
    for k in (0, 20, 399):
        x, p = path.u[k].detach().numpy(), np.stack([path.p[k].detach().numpy(), path.q[k].detach().numpy()])
        assert x.mean() == pytest.approx(image.mean(), abs=1e-12)
        back = slopes_back(p)
        primal = ((x - image) ** 2).sum() / (2 * strength) + np.linalg.norm(slopes(x), axis=0).sum()
        gaps.append(primal - (back * image).sum() + strength / 2 * (back**2).sum())
        assert layer.objective(path.u[k], *inputs).item() == pytest.approx(primal)
    assert 0.1 * gaps[0] > gaps[1] > gaps[2] > -1e-10
    assert gaps[2] < 0.003 * gaps[0]
    torch.testing.assert_close(layer(inputs[0].T.contiguous(), inputs[1]).T, u, rtol=1e-9, atol=1e-12)


# -- the capped simplex ------------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(seed=SEEDS, part=st.floats(0.02, 0.98), cap=st.floats(0.1, 3), ties=st.booleans())
def test_projection_onto_the_capped_simplex(seed: int, part: float, cap: float, ties: bool) -> None:
    random = np.random.default_rng(seed)
    v = random.standard_normal((3, N))
    v, total = np.round(v) if ties else v, part * N * cap
    x = PD.capped_simplex(v, total, cap)
    assert x.min() >= 0
    assert x.max() <= cap
    np.testing.assert_allclose(x.sum(-1), total, rtol=1e-9)
    for one, found in zip(v, x, strict=True):  # the minimiser of x . w over the set is greedy: a linear problem certifies the projection
        order, least, left = np.argsort(found - one), 0.0, total
        for j in order:
            least, left = least + min(cap, left) * (found - one)[j], left - min(cap, left)
        assert (found - one) @ found <= least + 1e-7
    order = random.permutation(N)
    np.testing.assert_allclose(PD.capped_simplex(v[:, order], total, cap), x[:, order], atol=1e-9)


def test_gradients_of_the_projection() -> None:
    v = torch.randn(4, N, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    gradients_agree(built(PD, "capped_simplex"), [v, torch.tensor(2.5, dtype=v.dtype), torch.tensor(1.0, dtype=v.dtype)])


# -- linear programs ---------------------------------------------------------------------------------------------------

ROWS, COLUMNS = 6, 9
Program = tuple[Array, Array, Array, Array, Array, Array]


def program(seed: int) -> Program:
    """Costs, rows of which the first two are equations, bounds of which some are infinite; bounded and feasible."""
    random = np.random.default_rng(seed)
    A, point = random.standard_normal((ROWS, COLUMNS)), random.random(COLUMNS)
    equal = np.arange(ROWS) < 2
    b = A @ point + np.where(equal, 0, random.random(ROWS))
    reduced = random.random(COLUMNS) + 0.1  # c + A^T y for prices y: a bound from below
    c = reduced - A.T @ np.where(equal, random.standard_normal(ROWS), random.random(ROWS))
    return c, A, b, equal, np.zeros(COLUMNS), np.where(np.arange(COLUMNS) % 3 == 0, np.inf, 2.0)


def solution(p: Program) -> Any:
    c, A, b, equal, low, high = p
    return linprog(c, A[~equal], b[~equal], A[equal], b[equal], np.stack([low, high], axis=1))


def lp_error(p: Program, x: Array, y: Array) -> float:
    c, A, b, equal, low, high = p
    over, r = A @ x - b, c + A.T @ y
    answered = np.isfinite(np.where(r > 0, low, high))
    dual = sum(r[j] * (low[j] if r[j] > 0 else high[j]) for j in np.flatnonzero(answered)) - b @ y
    rows = np.linalg.norm(np.where(equal, over, np.maximum(over, 0))) / (1 + np.linalg.norm(b))
    costs = np.linalg.norm(r[~answered]) / (1 + np.linalg.norm(c))
    return max(rows, costs, abs(c @ x - dual) / (1 + abs(c @ x) + abs(dual)))


def pdhg(p: Program, blocks: int, steps: int, weight: float) -> tuple[Array, Array, float]:
    c, A, b, equal, low, high = p
    eta = 0.9 / np.linalg.norm(A, 2)
    x, y = np.clip(np.zeros(len(c)), low, high), np.zeros(len(b))
    start, best, seen = (x, y), np.inf, []
    for _ in range(blocks):
        for _ in range(steps):
            new = np.clip(x - eta / weight * (c + A.T @ y), low, high)
            y = y + eta * weight * (A @ (2 * new - x) - b)
            x, y = new, np.where(equal, y, np.maximum(y, 0))
            seen.append((x, y))
        points = [(x, y), tuple(np.mean(v, axis=0) for v in zip(*seen, strict=True))]
        errors = [lp_error(p, *point) for point in points]
        error = errors[0]
        if min(errors) < 0.5 * best:
            x, y = points[int(errors[1] < errors[0])]
            weight = np.sqrt(weight * np.linalg.norm(y - start[1]) / np.linalg.norm(x - start[0]))
            start, best, error, seen = (x, y), min(errors), min(errors), []
    return x, y, error


def test_linear_programs() -> None:
    programs = [program(seed) for seed in range(4)]
    c, _, b, equal, low, high = (np.stack(v) for v in zip(*programs, strict=True))
    layer = built(PD, "pdhg_lp", A=programs[0][1], K=5, J=4)
    inputs = [torch.as_tensor(v[0]) for v in (c, b, equal, low, high)]
    x, y, error = (v.detach().numpy() for v in layer(*inputs, 0.0))
    want = pdhg(programs[0], 5, 4, 1.0)
    for got, expected in zip((x, y, error), want, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-11)


@settings(max_examples=10)
@given(seed=SEEDS)
def test_linear_programs_are_solved(seed: int) -> None:
    p = program(seed)
    best = solution(p)
    previous = np.inf
    for count in (2, 20, 400):  # one kernel for all counts
        x, y, error = PD.pdhg_lp(*p, 1e-9, K=count)
        assert error == pytest.approx(lp_error(p, x, y), rel=1e-6, abs=1e-13)
        assert error <= previous
        previous = error
    assert error < 1e-9
    assert p[0] @ x == pytest.approx(best.fun, rel=1e-6, abs=1e-6)
    assert np.all((x >= p[4]) & (x <= p[5]))


@pytest.mark.parametrize("target", ["interpreter", pytest.param("c", marks=pytest.mark.slow)])
def test_gradients_of_linear_programs(target: str) -> None:
    c, A, b, equal, low, high = program(1)
    layer = built(PD, "pdhg_lp", A=A, K=3, J=4, target=target)
    gradients_agree(layer, [torch.as_tensor(v) for v in (c, b, equal, low - 0.1, np.minimum(high, 5), np.asarray(0.0))])
