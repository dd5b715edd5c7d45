"""Programs of the standard library in JAX, the twins of those in ``library``: a scan over the iterations, to be jitted whole."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.sparse.linalg import cg


def soft(v: Array, t: Array) -> Array:
    """Soft thresholding."""
    return v - jnp.clip(v, -t, t)


def fista(A: Array, y: Array, step: Array, momentum: Array, lam: Array) -> Array:
    """ISTA with momentum."""

    def one(state: tuple[Array, Array], now: tuple[Array, Array]) -> tuple[tuple[Array, Array], None]:
        (x, z), (s, m) = state, now
        new = soft(z - s * ((z @ A.T - y) @ A), lam * s)
        return (new, new + m * (new - x)), None

    zero = jnp.zeros((*y.shape[:-1], A.shape[1]), y.dtype)
    return lax.scan(one, (zero, zero), (step, momentum))[0][0]


def iht(A: Array, y: Array, step: Array, lam: Array) -> Array:
    """Iterative hard thresholding."""

    def one(x: Array, s: Array) -> tuple[Array, None]:
        v = x - s * ((x @ A.T - y) @ A)
        return jnp.where(jnp.abs(v) > jnp.sqrt(2 * lam * s), v, 0), None

    return lax.scan(one, jnp.zeros((*y.shape[:-1], A.shape[1]), y.dtype), step)[0]


def lista(A: Array, y: Array, W: Array, S: Array, theta: Array) -> Array:
    """Learned ISTA."""

    def one(x: Array, now: tuple[Array, Array, Array]) -> tuple[Array, None]:
        w, s, t = now
        return soft(y @ w.T + x @ s.T, t), None

    return lax.scan(one, jnp.zeros((*y.shape[:-1], A.shape[1]), y.dtype), (W, S, theta))[0]


def alista(A: Array, y: Array, step: Array, theta: Array) -> Array:
    """Analytic LISTA."""
    G = jnp.linalg.solve(A @ A.T, A)
    W = G / (A * G).sum(0)

    def one(x: Array, now: tuple[Array, Array]) -> tuple[Array, None]:
        s, t = now
        return soft(x - s * ((x @ A.T - y) @ W), t), None

    return lax.scan(one, jnp.zeros((*y.shape[:-1], A.shape[1]), y.dtype), (step, theta))[0]


def admm_lasso(A: Array, y: Array, rho: Array, lam: Array, iterations: int) -> Array:
    """The lasso by ADMM, with one factorisation."""
    factor = jax.scipy.linalg.cho_factor(A.T @ A + rho * jnp.eye(A.shape[1]))
    b = y @ A

    def one(state: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        z, u = state
        x = jax.scipy.linalg.cho_solve(factor, (b + rho * (z - u)).T).T
        new = soft(x + u, lam / rho)
        return (new, u + x - new), None

    return lax.scan(one, (jnp.zeros_like(b), jnp.zeros_like(b)), length=iterations)[0][0]


def amp(A: Array, y: Array, alpha: Array) -> Array:
    """Approximate message passing."""
    m = A.shape[0]

    def one(state: tuple[Array, Array], a: Array) -> tuple[tuple[Array, Array], None]:
        x, r = state
        x = soft(x + r @ A, a * jnp.linalg.norm(r, axis=-1, keepdims=True) / m**0.5)
        return (x, y - x @ A.T + (x != 0).sum(-1, keepdims=True) / m * r), None

    return lax.scan(one, (jnp.zeros((*y.shape[:-1], A.shape[1]), y.dtype), y), alpha)[0][0]


def gmm(x: Array, mu: Array, iterations: int) -> tuple[Array, Array, Array]:
    """A mixture of normals with diagonal covariances."""
    c = mu.shape[-2]

    def one(state: tuple[Array, Array, Array], _: None) -> tuple[tuple[Array, Array, Array], None]:
        share, mu, variance = state
        far = ((x[..., :, None, :] - mu[..., None, :, :]) ** 2 / variance[..., None, :, :]).sum(-1)
        r = jax.nn.softmax((jnp.log(share) - 0.5 * jnp.log(variance).sum(-1))[..., None, :] - 0.5 * far, -1)
        weight = r.sum(-2) + 1e-10
        mu = r.mT @ x / weight[..., None]
        off = (x[..., :, None, :] - mu[..., None, :, :]) ** 2
        return (weight / x.shape[-2], mu, (r[..., None] * off).sum(-3) / weight[..., None] + 1e-6), None

    variance = jnp.broadcast_to((x.var(-2) + 1e-6)[..., None, :], mu.shape)
    return lax.scan(one, (jnp.full((*x.shape[:-2], c), 1 / c, x.dtype), mu, variance), length=iterations)[0]


def factor_analysis(x: Array, B: Array, iterations: int) -> tuple[Array, Array]:
    """Factor analysis by the covariance of the samples."""
    centred = x - x.mean(-2, keepdims=True)
    S = centred.mT @ centred / x.shape[-2]
    spread, eye = jnp.diagonal(S, axis1=-2, axis2=-1), jnp.eye(B.shape[-1])

    def one(state: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        B, psi = state
        scaled = B / psi[..., None]
        G = jnp.linalg.inv(eye + B.mT @ scaled)
        cross = S @ scaled @ G
        B = cross @ jnp.linalg.inv(G + G @ scaled.mT @ cross)
        return (B, jnp.maximum(spread - (B * cross).sum(-1), 1e-6)), None

    return lax.scan(one, (B, jnp.maximum(spread, 1e-6)), length=iterations)[0]


def gmm_full(x: Array, mu: Array, iterations: int) -> tuple[Array, Array, Array]:
    """A mixture of normals with full covariances."""
    c, d = mu.shape[-2:]
    eye = jnp.eye(d, dtype=x.dtype)

    def one(state: tuple[Array, Array, Array], _: None) -> tuple[tuple[Array, Array, Array], None]:
        share, mu, sigma = state
        C = jnp.linalg.cholesky(sigma)
        off = x[..., None, :, :] - mu[..., None, :]
        far = (jax.scipy.linalg.solve_triangular(C, off.mT, lower=True) ** 2).sum(-2)
        half = jnp.log(jnp.diagonal(C, axis1=-2, axis2=-1)).sum(-1)
        r = jax.nn.softmax((jnp.log(share) - half)[..., None, :] - 0.5 * far.mT, -1)
        weight = r.sum(-2) + 1e-10
        mu = r.mT @ x / weight[..., None]
        off = x[..., None, :, :] - mu[..., None, :]
        return (weight / x.shape[-2], mu, off.mT @ (r.mT[..., None] * off) / weight[..., None, None] + 1e-6 * eye), None

    sigma = jnp.broadcast_to((x.var(-2) + 1e-6)[..., None, :, None] * eye, (*mu.shape, d))
    return lax.scan(one, (jnp.full((*x.shape[:-2], c), 1 / c, x.dtype), mu, sigma), length=iterations)[0]


def factors(x: Array, B: Array, psi: Array) -> Array:
    """The factors of samples under a factor model."""
    scaled = B / psi[..., None]
    return x @ scaled @ jnp.linalg.inv(jnp.eye(B.shape[-1]) + B.mT @ scaled)


def unem_gaussian(support: Array, labels: Array, query: Array, scale: Array, balance: Array, temperature: Array) -> Array:
    """Few-shot classification with Gaussian classes."""
    zs, zq = scale * support, scale * query
    c = labels.shape[-1]

    def one(state: tuple[Array, Array], now: tuple[Array, Array]) -> tuple[tuple[Array, Array], None]:
        (u, share), (b, t) = state, now
        mu = (labels.mT @ zs + u.mT @ zq) / (labels.sum(-2) + u.sum(-2))[..., None]
        bias = b * jnp.log(share + 1e-6) - 0.5 * (mu**2).sum(-1)
        u = jax.nn.softmax((zq @ mu.mT + bias[..., None, :]) / t, -1)
        return (u, u.mean(-2)), None

    start = jnp.zeros((*query.shape[:-1], c), query.dtype), jnp.full((*query.shape[:-2], c), 1 / c, query.dtype)
    return lax.scan(one, start, (balance, temperature))[0][0]


def loads(scores: Array, top: int) -> Array:
    """How many tokens each expert gets."""
    return jnp.zeros(scores.shape[-1], scores.dtype).at[lax.top_k(scores, top)[1].ravel()].add(1)


def alf_lb(scores: Array, top: int, step: Array) -> tuple[Array, Array]:
    """Balancing of experts: the bias and the load."""
    tokens, experts = scores.shape
    target = tokens * top / experts

    def one(state: tuple[Array, Array], s: Array) -> tuple[tuple[Array, Array], None]:
        bias, load = state
        bias = bias + s * (target - load) / target
        return (bias, loads(scores + bias, top)), None

    zero = jnp.zeros(experts, scores.dtype)
    found: Any = lax.scan(one, (zero, loads(scores, top)), step)[0]
    return found


def alf_lb_sign(scores: Array, top: int, step: Array) -> tuple[Array, Array]:
    """The same by signs."""
    tokens, experts = scores.shape
    target = tokens * top / experts

    def one(state: tuple[Array, Array], s: Array) -> tuple[tuple[Array, Array], None]:
        bias, load = state
        bias = bias + s * jnp.sign(target - load)
        return (bias, loads(scores + bias, top)), None

    found: Any = lax.scan(one, (jnp.zeros(experts, scores.dtype), loads(scores, top)), step)[0]
    return found


def alf_lb_online(scores: Array, top: int, step: Array) -> tuple[Array, Array]:
    """The same with fresh tokens in every iteration."""
    _, tokens, experts = scores.shape
    target = tokens * top / experts

    def one(bias: Array, now: tuple[Array, Array]) -> tuple[Array, Array]:
        fresh, s = now
        load = loads(fresh + bias, top)
        return bias + s * (target - load) / target, load

    return lax.scan(one, jnp.zeros(experts, scores.dtype), (scores, step))


def gns_smooth_max(A: Array, b: Array, mu: Array, exact: Array, x: Array, gamma: Array) -> Array:
    """Newton steps on a smooth maximum."""

    def one(x: Array, radius: Array) -> tuple[Array, None]:
        p = jax.nn.softmax((A @ x - b) / mu)
        g = p @ A
        H = (A.T @ (p[:, None] * A) - exact * jnp.outer(g, g)) / mu
        return x - jnp.linalg.solve(H + jnp.linalg.norm(g) / (radius + 1e-8) * jnp.eye(len(x)), g), None

    return lax.scan(one, x, gamma)[0]


def capped_simplex(v: Array, total: Array, cap: Array, iterations: int) -> Array:
    """Projection onto the capped simplex."""

    def one(state: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        low, high = state
        middle = (low + high) / 2
        more = jnp.clip(v - middle, 0, cap).sum(-1, keepdims=True) > total
        return (jnp.where(more, middle, low), jnp.where(more, high, middle)), None

    start = v.min(-1, keepdims=True) - cap, v.max(-1, keepdims=True)
    low, high = lax.scan(one, start, length=iterations)[0]
    shift = lax.stop_gradient((low + high) / 2)
    inside = ((v > shift) & (v < shift + cap)).sum(-1, keepdims=True)
    shift = shift + (jnp.clip(v - shift, 0, cap).sum(-1, keepdims=True) - total) / jnp.maximum(inside, 1)
    return jnp.clip(v - shift, 0, cap)


def entropies(W: Array, X: Array, T: Array) -> Array:
    """Cross-entropy of each sample."""
    logits = X @ W
    return jax.nn.logsumexp(logits, -1) - (T * logits).sum(-1)


def weighted(W: Array, s: Array, X: Array, T: Array, ridge: Array) -> Array:
    """The lower objective of hyper-cleaning."""
    return (jax.nn.sigmoid(s) * entropies(W, X, T)).mean() + ridge * (W**2).sum()


def trained(W: Array, s: Array, X: Array, T: Array, step: Array, ridge: Array, iterations: int) -> Array:
    """Gradient descent on it."""

    def one(W: Array, _: None) -> tuple[Array, None]:
        return W - step * jax.grad(weighted)(W, s, X, T, ridge), None

    return lax.scan(one, W, None, iterations)[0]


def hyperclean(
    X: Array, T: Array, Xv: Array, Tv: Array, s: Array, eta: Array, step: Array, ridge: Array, inner: int
) -> tuple[Array, Array]:
    """Hyper-cleaning by unrolling."""
    zero = jnp.zeros((X.shape[1], T.shape[1]), X.dtype)

    def cleaned(s: Array) -> Array:
        return entropies(trained(zero, s, X, T, step, ridge, inner), Xv, Tv).mean()

    s = lax.scan(lambda s, rate: (s - len(s) * rate * jax.grad(cleaned)(s), None), s, eta)[0]
    return s, trained(zero, s, X, T, step, ridge, inner)


def hyperclean_implicit(
    X: Array, T: Array, Xv: Array, Tv: Array, s: Array, eta: Array, step: Array, ridge: Array, inner: int
) -> tuple[Array, Array]:
    """Hyper-cleaning by implicit differentiation, with conjugate gradients."""
    slope = jax.grad(weighted)

    def one(state: tuple[Array, Array], rate: Array) -> tuple[tuple[Array, Array], None]:
        s, W = state
        W = trained(W, s, X, T, step, ridge, inner)
        right = jax.grad(lambda W: entropies(W, Xv, Tv).mean())(W)
        Z, _ = cg(lambda v: jax.jvp(lambda W: slope(W, s, X, T, ridge), (W,), (v,))[1], right, tol=1e-3)
        return (s + len(s) * rate * jax.grad(lambda s: (Z * slope(W, s, X, T, ridge)).sum())(s), W), None

    return lax.scan(one, (s, jnp.zeros((X.shape[1], T.shape[1]), X.dtype)), eta)[0]
