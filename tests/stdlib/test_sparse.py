"""``stdlib/sparse.us``: every algorithm against its equations in NumPy, its gradients, and what its theory promises."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import unspool as us
from tests.stdlib.harness import built, gradients_agree

SPARSE = us.stdlib.sparse
Array = np.ndarray
NAMES = ("ista", "fista", "iht", "lista", "alista", "admm_lasso", "amp")
K, M, N = 6, 12, 20


def soft(v: Array, t: Array | float) -> Array:
    return np.sign(v) * np.maximum(np.abs(v) - t, 0)


def problem(seed: int = 0, m: int = M, n: int = N, batch: int = 3) -> tuple[Array, Array, Array]:
    """A dictionary with unit columns, sparse codes, and what is measured of them."""
    random = np.random.default_rng(seed)
    A = random.standard_normal((m, n))
    A /= np.linalg.norm(A, axis=0)
    x = random.standard_normal((batch, n)) * (random.random((batch, n)) < 0.2)
    return A, x, x @ A.T + 0.02 * random.standard_normal((batch, m))


def ista(A: Array, y: Array, p: dict[str, Array]) -> Array:
    x = np.zeros(A.shape[1])
    for k in range(K):
        x = soft(x - p["step"][k] * A.T @ (A @ x - y), p["step"][k] * p["lam"])
    return x


def fista(A: Array, y: Array, p: dict[str, Array]) -> Array:
    x = z = np.zeros(A.shape[1])
    for k in range(K):
        new = soft(z - p["step"][k] * A.T @ (A @ z - y), p["step"][k] * p["lam"])
        x, z = new, new + p["momentum"][k] * (new - x)
    return x


def iht(A: Array, y: Array, p: dict[str, Array]) -> Array:
    x = np.zeros(A.shape[1])
    for k in range(K):
        v = x - p["step"][k] * A.T @ (A @ x - y)
        x = np.where(np.abs(v) > np.sqrt(2 * p["step"][k] * p["lam"]), v, 0)
    return x


def lista(A: Array, y: Array, p: dict[str, Array]) -> Array:
    x = np.zeros(A.shape[1])
    for k in range(K):
        x = soft(p["W"][k] @ y + p["S"][k] @ x, p["theta"][k])
    return x


def alista(A: Array, y: Array, p: dict[str, Array]) -> Array:
    inverse = np.linalg.inv(A @ A.T)
    W = np.stack([inverse @ a / (a @ inverse @ a) for a in A.T], axis=1)
    x = np.zeros(A.shape[1])
    for k in range(K):
        x = soft(x - p["step"][k] * W.T @ (A @ x - y), p["theta"][k])
    return x


def admm_lasso(A: Array, y: Array, p: dict[str, Array]) -> Array:
    inverse = np.linalg.inv(A.T @ A + p["rho"] * np.eye(A.shape[1]))
    z = u = np.zeros(A.shape[1])
    for _ in range(K):
        x = inverse @ (A.T @ y + p["rho"] * (z - u))
        z = soft(x + u, p["lam"] / p["rho"])
        u = u + x - z
    return z


def amp(A: Array, y: Array, p: dict[str, Array]) -> Array:
    x, r = np.zeros(A.shape[1]), y
    for k in range(K):
        x = soft(x + A.T @ r, p["alpha"][k] * np.linalg.norm(r) / np.sqrt(len(y)))
        r = y - A @ x + np.count_nonzero(x) / len(y) * r
    return x


@pytest.mark.parametrize("name", NAMES)
def test_equations_and_gradients(name: str) -> None:
    A, _, y = problem()
    layer = built(SPARSE, name, A=A, K=K)
    with torch.no_grad():
        for p in layer.parameters():
            p += 0.05 * torch.rand(p.shape, generator=torch.Generator().manual_seed(0), dtype=p.dtype)
    values = {n: v.numpy() for n, v in layer.values().items()}
    expected = np.stack([globals()[name](A, one, values) for one in y])
    got = layer(torch.as_tensor(y))
    np.testing.assert_allclose(got.detach().numpy(), expected, rtol=1e-9, atol=1e-11)
    assert 0 < np.count_nonzero(expected) < expected.size
    gradients_agree(layer, [torch.as_tensor(y)])


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), part=st.floats(0.05, 1.0), lam=st.floats(0, 1))
@pytest.mark.parametrize("name", ["ista", "iht"])
def test_the_objective_falls_under_the_step_size_condition(name: str, seed: int, part: float, lam: float) -> None:
    A, _, y = problem(seed, 7, 9)
    previous = np.inf
    for count in (1, 2, 3, 8):  # one kernel for all counts
        x = getattr(SPARSE, name)(A, y, K=count, step=part / np.linalg.norm(A, 2) ** 2, lam=lam)
        value = 0.5 * ((x @ A.T - y) ** 2).sum() + lam * (np.abs(x).sum() if name == "ista" else np.count_nonzero(x))
        assert value <= previous * (1 + 1e-9) + 1e-12
        previous = value


def test_fista_keeps_its_rate() -> None:
    A, _, y = problem(3)
    lam = 0.05
    best = built(SPARSE, "fista", A=A, K=5000, lam=lam)
    x = best(torch.as_tensor(y))
    least, bound = best.objective(x, torch.as_tensor(y)), np.linalg.norm(A, 2) ** 2 * (x**2).sum(-1)
    for count in (1, 2, 5, 20, 100):
        layer = built(SPARSE, "fista", A=A, K=count, lam=lam)
        over = layer.objective(layer(torch.as_tensor(y)), torch.as_tensor(y)) - least
        assert torch.all(over <= 2 * bound / (count + 1) ** 2)


def test_all_solvers_of_the_lasso_agree() -> None:
    A, _, y = problem(5)
    lam = 0.05
    found = [built(SPARSE, name, A=A, K=4000, lam=lam)(torch.as_tensor(y)) for name in ("ista", "fista", "admm_lasso")]
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-5, atol=1e-6)


def test_learned_ista_begins_as_ista() -> None:
    A, _, y = problem(7)
    one = built(SPARSE, "lista", A=A, K=K)(torch.as_tensor(y))
    torch.testing.assert_close(one, built(SPARSE, "ista", A=A, K=K, lam=0.1)(torch.as_tensor(y)), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["ista", "fista", "iht", "admm_lasso", "amp"])
def test_columns_may_come_in_any_order(name: str) -> None:
    A, _, y = problem(9)
    order = np.random.default_rng(0).permutation(N)
    one, other = (built(SPARSE, name, A=a, K=K)(torch.as_tensor(y)) for a in (A, A[:, order]))
    torch.testing.assert_close(other, one[:, torch.as_tensor(order)], rtol=1e-9, atol=1e-10)


def test_message_passing_recovers_what_ista_has_not_yet() -> None:
    random = np.random.default_rng(0)
    m, n = 250, 500
    A = random.standard_normal((m, n)) / np.sqrt(m)
    x = random.standard_normal((8, n)) * (random.random((8, n)) < 0.1)
    y = torch.as_tensor(x @ A.T)
    errors = {name: ((built(SPARSE, name, A=A, K=16)(y).detach().numpy() - x) ** 2).mean() for name in ("amp", "ista")}
    assert errors["amp"] < 1e-3 < errors["ista"]


def test_an_objective_is_compiled_once_for_all_counts_of_iterations() -> None:
    A, _, y = problem()
    layer = built(SPARSE, "ista", A=A, K=1)
    compiled: list[set[object]] = []
    for count in (1, 3, 4):
        layer = layer.with_iterations(count)
        x = layer(torch.as_tensor(y))
        codes = x.detach().numpy()
        expected = 0.5 * ((codes @ A.T - y) ** 2).sum(-1) + 0.1 * np.abs(codes).sum(-1)
        np.testing.assert_allclose(layer.objective(x, torch.as_tensor(y)).detach(), expected, rtol=1e-9)
        compiled.append(set(layer._routine.objective.plans))
    # Layers of one program share what was compiled, also with those that other tests made.
    assert compiled[0]
    assert compiled[1:] == compiled[:1] * 2
