"""``stdlib/em.us``: every algorithm against scikit-learn or its equations in NumPy, its gradients, and what its theory promises."""

from __future__ import annotations

import warnings
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import digamma, gammaln, log_softmax, softmax

import unspool as us
from tests.stdlib.harness import built, gradients_agree

EM = us.stdlib.em
Array = np.ndarray
K = 6
MIXTURES = {"gmm": "diag", "gmm_full": "full"}
FEW_SHOT = ("unem_gaussian", "unem_dirichlet")


def clusters(seed: int = 0, n: int = 40, d: int = 3, c: int = 3) -> tuple[Array, Array]:
    """Samples of a mixture of normals that overlap, and where their classes might begin."""
    random = np.random.default_rng(seed)
    means = 2 * random.standard_normal((c, d))
    x = means[random.integers(c, size=n)] + random.standard_normal((n, d)) @ random.standard_normal((d, d))
    return x, x[:c] + 0.1


def observed(seed: int = 0, n: int = 60, d: int = 6, r: int = 2) -> tuple[Array, Array]:
    """Samples of a factor model, and loadings to begin with."""
    random = np.random.default_rng(seed)
    x = (
        random.standard_normal((n, r)) @ random.standard_normal((r, d))
        + random.standard_normal((n, d)) * random.uniform(0.3, 1, d)
        + 1
    )
    return x, random.standard_normal((d, r))


def task(seed: int = 0, s: int = 2, q: int = 12, d: int = 4, c: int = 3) -> tuple[Array, Array, Array]:
    """Labelled samples, their labels and queries, of classes around unit vectors: s samples of each class."""
    random = np.random.default_rng(seed)
    means = np.eye(c, d) + 0.3
    support = np.repeat(means, s, 0) + 0.2 * random.standard_normal((s * c, d))
    query = means[random.integers(c, size=q)] + 0.2 * random.standard_normal((q, d))
    return support, np.repeat(np.eye(c), s, 0), query


def of_sklearn(name: str, x: Array, mu0: Array, iterations: int) -> Any:
    """A mixture of scikit-learn that has begun as ours does."""
    mixture = pytest.importorskip("sklearn.mixture")
    precision = 1 / (x.var(0) + 1e-6)
    first = np.tile(precision, (len(mu0), 1)) if name == "gmm" else np.tile(np.diag(precision), (len(mu0), 1, 1))
    c = len(mu0)
    model = mixture.GaussianMixture(
        c,
        covariance_type=MIXTURES[name],
        tol=0,
        max_iter=iterations,
        weights_init=np.full(c, 1 / c),
        means_init=mu0,
        precisions_init=first,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged
        return model.fit(x)


def log_likelihood(x: Array, share: Array, mu: Array, covariance: Array) -> float:
    """Of a mixture, per sample."""
    full = covariance if covariance.ndim == 3 else np.stack([np.diag(v) for v in covariance])
    off = x[:, None] - mu
    far = np.einsum("ncd,cde,nce->nc", off, np.linalg.inv(full), off)
    logs = np.log(share) - 0.5 * (far + np.linalg.slogdet(2 * np.pi * full)[1])
    return float(np.logaddexp.reduce(logs, axis=1).mean())


@pytest.mark.parametrize("name", MIXTURES)
def test_mixtures_are_those_of_scikit_learn(name: str) -> None:
    x, mu0 = clusters()
    model = of_sklearn(name, x, mu0, 20)
    got = getattr(EM, name)(x, mu0, K=20)
    for value, expected in zip(got, (model.weights_, model.means_, model.covariances_), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-8, atol=1e-9)


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), order=st.permutations(range(3)))
@pytest.mark.parametrize("name", MIXTURES)
def test_the_likelihood_of_a_mixture_never_falls_and_classes_may_come_in_any_order(
    name: str, seed: int, order: list[int]
) -> None:
    x, mu0 = clusters(seed)
    algorithm = getattr(EM, name)
    found = [algorithm(x, mu0, K=count) for count in (1, 2, 3, 8)]
    values = [log_likelihood(x, *result) for result in found]
    assert all(
        b >= a - 1e-5 for a, b in pairwise(values)
    )  # the 1e-6 on the diagonal is not of the likelihood
    np.testing.assert_allclose(found[-1][0].sum(), 1)
    assert np.all(found[-1][0] >= 0)
    samples = np.random.default_rng(seed).permutation(len(x))
    for one, other in zip(found[1], algorithm(x[samples], mu0[order], K=2), strict=True):
        np.testing.assert_allclose(other, one[order], rtol=1e-7, atol=1e-9)


def factor_analysis(x: Array, B: Array, iterations: int) -> tuple[Array, Array]:
    x = x - x.mean(0)
    psi = (x**2).mean(0)
    for _ in range(iterations):
        G = np.linalg.inv(np.eye(B.shape[1]) + (B.T / psi) @ B)
        z = x @ (B / psi[:, None]) @ G
        B = x.T @ z @ np.linalg.inv(len(x) * G + z.T @ z)
        psi = (x * (x - z @ B.T)).mean(0)
    return B, psi


def test_factor_analysis_is_its_equations_over_samples() -> None:
    x, B0 = observed()
    B, psi = EM.factor_analysis(x, B0, K=10)
    expected = factor_analysis(x, B0, 10)
    np.testing.assert_allclose(B, expected[0], rtol=1e-8)
    np.testing.assert_allclose(psi, expected[1], rtol=1e-8)
    z = EM.factors(x - x.mean(0), B, psi)
    covariance = np.linalg.inv(np.linalg.inv(np.eye(2)) + (B.T / psi) @ B)
    np.testing.assert_allclose(z, (x - x.mean(0)) / psi @ B @ covariance)


def test_factor_analysis_ends_where_scikit_learn_does() -> None:
    decomposition = pytest.importorskip("sklearn.decomposition")
    x, B0 = observed(1)
    B, psi = EM.factor_analysis(x, B0, K=3000)
    model = decomposition.FactorAnalysis(2, tol=1e-12, max_iter=5000, svd_method="lapack").fit(x)
    np.testing.assert_allclose(B @ B.T, model.components_.T @ model.components_, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(psi, model.noise_variance_, rtol=1e-3)


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6))
def test_the_likelihood_of_a_factor_model_never_falls(seed: int) -> None:
    x, B0 = observed(seed)
    values = []
    for count in (1, 2, 3, 8):
        B, psi = EM.factor_analysis(x, B0, K=count)
        values.append(log_likelihood(x, np.ones(1), x.mean(0)[None], (B @ B.T + np.diag(psi))[None]))
    assert all(b >= a - 1e-10 for a, b in pairwise(values))


def of_layers(p: dict[str, Array], c: int, classify: Any) -> Array:
    """The layers that both few-shot algorithms have; ``classify(u)`` gives the log densities of queries."""
    u: Array = np.zeros(0)
    share = np.full(c, 1 / c)
    for k in range(K):
        u = softmax((classify(u) + p["balance"][k] * np.log(share + 1e-6)) / p["temperature"][k], axis=1)
        share = u.mean(0)
    return u


def unem_gaussian(support: Array, labels: Array, query: Array, p: dict[str, Array]) -> Array:
    zs, zq = p["scale"] * support, p["scale"] * query

    def classify(u: Array) -> Array:
        z, y = (np.concatenate((zs, zq)), np.concatenate((labels, u))) if u.size else (zs, labels)
        mu = (y.T @ z) / y.sum(0)[:, None]
        return -0.5 * ((zq[:, None] - mu) ** 2).sum(-1)

    return of_layers(p, labels.shape[1], classify)


def unem_dirichlet(support: Array, labels: Array, query: Array, p: dict[str, Array]) -> Array:
    """By Newton's method for the Dirichlet parameters (Minka's), not by the majoriser."""
    xs, xq = log_softmax(p["scale"] * support, axis=1), log_softmax(p["scale"] * query, axis=1)

    def classify(u: Array) -> Array:
        x, y = (np.concatenate((xs, xq)), np.concatenate((labels, u))) if u.size else (xs, labels)
        alphas = np.stack([most_likely(t) for t in (y.T @ x) / y.sum(0)[:, None]])
        return np.stack([gammaln(a.sum()) - gammaln(a).sum() + xq @ (a - 1) for a in alphas], axis=1)

    return of_layers(p, labels.shape[1], classify)


def most_likely(t: Array) -> Array:
    """The Dirichlet parameters whose samples have mean logarithms t."""
    from scipy.optimize import minimize

    def negative(logs: Array) -> tuple[float, Array]:
        a = np.exp(logs)
        return gammaln(a).sum() - gammaln(a.sum()) - ((a - 1) * t).sum(), a * (digamma(a) - digamma(a.sum()) - t)

    found = minimize(negative, np.zeros(len(t)), jac=True, method="BFGS", options={"gtol": 1e-10})
    return np.exp(found.x)


SCALES = {"unem_gaussian": 2.0, "unem_dirichlet": 6.0}


@pytest.mark.parametrize("name", FEW_SHOT)
def test_few_shot_classification_is_its_equations(name: str) -> None:
    tasks = [task(seed) for seed in range(3)]
    random = np.random.default_rng(0)
    options: dict[str, Any] = {
        "balance": random.uniform(0.5, 2, K),
        "temperature": random.uniform(0.7, 2, K),
        "scale": SCALES[name],
    }
    if name == "unem_dirichlet":
        options.update(J=2000, temperature=60 * options["temperature"])
    layer = built(EM, name, K=K, **options)
    got = layer(*(torch.as_tensor(np.stack(part)) for part in zip(*tasks, strict=True))).detach().numpy()
    expected = np.stack([globals()[name](*one, {n: v.numpy() for n, v in layer.values().items()}) for one in tasks])
    # the majoriser stops at a relative change of 1e-6, which the temperature's inverse and the layers enlarge
    np.testing.assert_allclose(got, expected, atol=1e-9 if name == "unem_gaussian" else 2e-3)
    assert 0.05 < np.max(expected, axis=2).mean() < 0.999  # it is not decided from the start


def gradient_case(name: str) -> tuple[dict[str, Any], list[Array]]:
    """Options and inputs for a gradient."""
    if name in MIXTURES:
        return {"K": 3}, [*clusters(1)]
    if name == "factor_analysis":
        return {"K": 3}, [*observed()]
    if name == "factors":
        x, B = observed()
        return {}, [x, B, np.linspace(0.5, 2, len(B))]
    return {"K": 3, "scale": SCALES[name], **({"J": 20} if name == "unem_dirichlet" else {})}, [*task()]


@pytest.mark.parametrize(
    "name",
    [
        "gmm",
        "unem_gaussian",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("gmm_full", "factor_analysis", "factors", "unem_dirichlet")),
    ],
)
def test_gradients(name: str) -> None:
    options, inputs = gradient_case(name)
    gradients_agree(built(EM, name, **options), [torch.as_tensor(x) for x in inputs], tolerance=2e-5)


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), balance=st.floats(0, 5), temperature=st.floats(0.5, 5))
@pytest.mark.parametrize("name", FEW_SHOT)
def test_assignments_are_on_the_simplex_and_know_no_order(name: str, seed: int, balance: float, temperature: float) -> None:
    support, labels, query = task(seed)
    options = {"K": 4, "balance": balance, "temperature": temperature, "scale": SCALES[name]}
    u = getattr(EM, name)(support, labels, query, **options)
    assert np.all(u >= 0)
    np.testing.assert_allclose(u.sum(1), 1)
    random = np.random.default_rng(seed)
    classes, samples, queries = (random.permutation(size) for size in (labels.shape[1], len(support), len(query)))
    other = getattr(EM, name)(support[samples], labels[samples][:, classes], query[queries], **options)
    np.testing.assert_allclose(other, u[queries][:, classes], atol=1e-7)
