"""The programs of the suite in JAX: a scan over the iterations, to be jitted whole.

Vectors go to the left of a matrix (``v @ X``): the same product as ``X.T @ v`` takes XLA on a CPU many times longer.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax


def ista(A: Array, y: Array, step: Array, lam: Array) -> Array:
    """Sparse recovery for a batch of ``y``."""

    def one(x: Array, now: tuple[Array, Array]) -> tuple[Array, None]:
        s, t = now
        v = x - s * ((x @ A.T - y) @ A)
        return v - jnp.clip(v, -t, t), None

    return lax.scan(one, jnp.zeros((*y.shape[:-1], A.shape[1]), y.dtype), (step, lam * step))[0]


def admm(Q: Array, c: Array, relax: Array, lam: Array) -> Array:
    """The lasso by ADMM with the symmetric inverse ``Q`` made before."""

    def one(state: tuple[Array, Array], now: tuple[Array, Array]) -> tuple[tuple[Array, Array], None]:
        (z, u), (a, t) = state, now
        s = a * ((c + z - u) @ Q) + (1 - a) * z + u
        dual = jnp.clip(s, -t, t)
        return (s - dual, dual), None

    zero = jnp.zeros_like(c)
    return lax.scan(one, (zero, zero), (relax, lam))[0][0]


def tv(image: Array, strength: Array, tau: Array, sigma: Array) -> Array:
    """Total-variation denoising."""

    def one(state: tuple[Array, ...], now: tuple[Array, Array]) -> tuple[tuple[Array, ...], None]:
        (u, u_bar, p, q), (t, s) = state, now
        p = p + s * jnp.pad(u_bar[1:] - u_bar[:-1], ((0, 1), (0, 0)))
        q = q + s * jnp.pad(u_bar[:, 1:] - u_bar[:, :-1], ((0, 0), (0, 1)))
        scale = lax.rsqrt(jnp.maximum(p * p + q * q, 1))
        p, q = p * scale, q * scale
        div = p - jnp.pad(p[:-1], ((1, 0), (0, 0))) + q - jnp.pad(q[:, :-1], ((0, 0), (1, 0)))
        new = (u + t * (div + image / strength)) / (1 + t / strength)
        return (new, 2 * new - u, p, q), None

    zero = jnp.zeros_like(image)
    return lax.scan(one, (image, image, zero, zero), (tau, sigma))[0][0]


def sinkhorn(C: Array, a: Array, b: Array, eps: Array) -> Array:
    """Entropic transport in the log domain, for a batch of cost matrices."""
    log_a, log_b = jnp.log(a), jnp.log(b)

    def one(state: tuple[Array, Array], e: Array) -> tuple[tuple[Array, Array], None]:
        f = e * (log_a - jax.nn.logsumexp((state[1][..., None, :] - C) / e, axis=-1))
        return (f, e * (log_b - jax.nn.logsumexp((f[..., :, None] - C) / e, axis=-2))), None

    start = (jnp.zeros(C.shape[:-1], C.dtype), jnp.zeros((*C.shape[:-2], C.shape[-1]), C.dtype))
    f, g = lax.scan(one, start, eps)[0]
    return jnp.exp((f[..., :, None] + g[..., None, :] - C) / eps[-1])


@partial(jax.jit, static_argnums=1)
def scaling(M: Array, iterations: int) -> tuple[Array, Array]:
    """Sinkhorn's scaling of a batch of positive matrices."""

    def one(state: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        r = 1 / jnp.einsum("bij,bj->bi", M, state[1])
        return (r, 1 / jnp.einsum("bij,bi->bj", M, r)), None

    start = (jnp.ones(M.shape[:2], M.dtype), jnp.ones((M.shape[0], M.shape[2]), M.dtype))
    return lax.scan(one, start, None, length=iterations)[0]


@partial(jax.jit, static_argnums=1)
def moe(scores: Array, top: int, step: Array) -> Array:
    """Balancing of experts with ``top_k``."""
    mean = scores.shape[0] * top / scores.shape[1]

    def one(bias: Array, s: Array) -> tuple[Array, None]:
        value = scores + bias
        threshold = lax.top_k(value, top)[0][:, -1:]
        return bias - s * ((value >= threshold).sum(0) / mean - 1), None

    return lax.scan(one, jnp.zeros(scores.shape[1], scores.dtype), step)[0]


@partial(jax.jit, static_argnums=1)
def moe_maxima(scores: Array, top: int, step: Array) -> Array:
    """Balancing of experts with the threshold found by masked maxima."""
    mean = scores.shape[0] * top / scores.shape[1]

    def one(bias: Array, s: Array) -> tuple[Array, None]:
        value = scores + bias
        threshold = value.max(1, keepdims=True)
        for _ in range(top - 1):
            threshold = jnp.where(value < threshold, value, -1e30).max(1, keepdims=True)
        return bias - s * ((value >= threshold).sum(0).astype(scores.dtype) / mean - 1), None

    return lax.scan(one, jnp.zeros(scores.shape[1], scores.dtype), step)[0]


def em(support: Array, labels: Array, query: Array, temperature: Array, balance: Array) -> Array:
    """Transductive EM with the means as written."""
    count, total = labels.sum(-2), jnp.einsum("bnc,bnd->bcd", labels, support)

    def one(state: tuple[Array, ...], now: tuple[Array, Array]) -> tuple[tuple[Array, ...], None]:
        (mu, share, _), (t, b) = state, now
        score = jnp.einsum("bnd,bcd->bnc", query, mu) - 0.5 * (mu * mu).sum(-1)[:, None]
        u = jax.nn.softmax(t * score + b * jnp.log(share + 1e-12)[:, None], -1)
        mu = (total + jnp.einsum("bnc,bnd->bcd", u, query)) / (count + u.sum(-2))[..., None]
        return (mu, u.mean(-2), u), None

    u = jnp.zeros((*query.shape[:-1], labels.shape[-1]), query.dtype)
    start = (total / count[..., None], jnp.full_like(count, 1 / labels.shape[-1]), u)
    return lax.scan(one, start, (temperature, balance))[0][2]


def em_gram(support: Array, labels: Array, query: Array, temperature: Array, balance: Array) -> Array:
    """Transductive EM in Gram form."""
    gram = jnp.einsum("bnd,bmd->bnm", query, query)
    cross = jnp.einsum("bnd,bmd->bnm", query, support) @ labels
    known = (labels * (jnp.einsum("bnd,bmd->bnm", support, support) @ labels)).sum(-2)
    count = labels.sum(-2)

    def one(state: tuple[Array, Array], now: tuple[Array, Array]) -> tuple[tuple[Array, Array], None]:
        (u, share), (t, b) = state, now
        total = count + u.sum(-2)
        product = gram @ u + cross
        square = (known + (u * (product + cross)).sum(-2)) / (total * total)
        u = jax.nn.softmax(t * (product / total[:, None] - 0.5 * square[:, None]) + b * jnp.log(share + 1e-12)[:, None], -1)
        return (u, u.mean(-2)), None

    return lax.scan(one, (jnp.zeros_like(cross), jnp.full_like(count, 1 / labels.shape[-1])), (temperature, balance))[0][0]


def es(
    X: Array,
    target: Array,
    W1: Array,
    W2: Array,
    A1: Array,
    B1: Array,
    A2: Array,
    B2: Array,
    lr: Array,
    sigma: Array,
) -> tuple[Array, Array]:
    """Evolution strategies with antithetic pairs of low-rank perturbations."""
    _, pairs, rank, width = A1.shape
    rows, hidden, out = X.shape[0], W1.shape[1], W2.shape[1]

    def one(state: tuple[Array, Array], now: tuple[Array, ...]) -> tuple[tuple[Array, Array], None]:
        (U, V), (a1, b1, a2, b2, rate, s) = state, now
        low = jnp.swapaxes((X @ a1.reshape(pairs * rank, width).T).reshape(rows, pairs, rank), 0, 1)
        base, move = X @ U, s * (low @ b1)
        h = jax.nn.relu(jnp.stack([base + move, base - move]))
        y = (h.reshape(-1, hidden) @ V).reshape(2, pairs, rows, out)
        q = (h @ jnp.swapaxes(a2, 1, 2)) @ b2
        fitness = -((y + s * jnp.stack([q[0], -q[1]]) - target) ** 2).mean((2, 3))
        c = ((fitness[0] - fitness[1]) * (rate / (2 * pairs * s)))[:, None, None]
        U = U + a1.reshape(-1, width).T @ (c * b1).reshape(-1, hidden)
        return (U, V + a2.reshape(-1, hidden).T @ (c * b2).reshape(-1, out)), None

    return lax.scan(one, (W1, W2), (A1, B1, A2, B2, lr, sigma))[0]


def bilevel(X: Array, t: Array, weight: Array, step: Array) -> Array:
    """Logistic regression on weighted samples by gradient descent."""

    def one(w: Array, s: Array) -> tuple[Array, None]:
        return w - s * ((weight * (jax.nn.sigmoid(X @ w) - t)) @ X / X.shape[0] + 0.001 * w), None

    return lax.scan(one, jnp.zeros(X.shape[1], X.dtype), step)[0]
