"""The programs of the suite in Numba, the loops fused by hand as a careful user would. Forward only: Numba has no derivatives."""

from __future__ import annotations

import numba as nb
import numpy as np


@nb.njit(parallel=True, fastmath=True)
def ista(A, Y, step, threshold):  # type: ignore[no-untyped-def]
    """A problem per thread, both products in one pass over ``A``."""
    m, n = A.shape
    X = np.zeros((Y.shape[0], n), np.float32)
    for b in nb.prange(Y.shape[0]):
        x, g = X[b], np.empty(n, np.float32)
        for k in range(step.shape[0]):
            g[:] = 0
            for i in range(m):
                r = np.float32(0)
                for j in range(n):
                    r += A[i, j] * x[j]
                r -= Y[b, i]
                for j in range(n):
                    g[j] += r * A[i, j]
            for j in range(n):
                v = x[j] - step[k] * g[j]
                x[j] = v - max(-threshold[k], min(threshold[k], v))
    return X


@nb.njit(parallel=True, fastmath=True)
def admm(Q, C, relax, lam):  # type: ignore[no-untyped-def]
    """A problem per thread; updates of the state as soon as an entry of the product is there."""
    n = Q.shape[0]
    Z = np.zeros((C.shape[0], n), np.float32)
    for b in nb.prange(C.shape[0]):
        z, u, v = Z[b], np.zeros(n, np.float32), C[b].copy()
        for k in range(relax.shape[0]):
            for i in range(n):
                s = np.float32(0)
                for j in range(n):
                    s += Q[i, j] * v[j]
                s = relax[k] * s + (np.float32(1) - relax[k]) * z[i] + u[i]
                u[i] = max(-lam[k], min(lam[k], s))
                z[i] = s - u[i]
            for i in range(n):
                v[i] = C[b, i] + z[i] - u[i]
    return Z


@nb.njit(parallel=True, fastmath=True)
def tv(y, tau, sigma, weight):  # type: ignore[no-untyped-def]
    """Two sweeps over the rows per iteration, everything in place; ``weight`` is 1 / strength."""
    H, W = y.shape
    u, u_bar = y.copy(), y.copy()
    p, q = np.zeros_like(y), np.zeros_like(y)
    one = np.float32(1)
    for k in range(tau.shape[0]):
        t, s = tau[k], sigma[k]
        c = one / (one + t * weight)
        for i in nb.prange(H):
            if i < H - 1:
                for j in range(W - 1):
                    a = p[i, j] + s * (u_bar[i + 1, j] - u_bar[i, j])
                    b = q[i, j] + s * (u_bar[i, j + 1] - u_bar[i, j])
                    r = one / np.sqrt(max(one, a * a + b * b))
                    p[i, j] = a * r
                    q[i, j] = b * r
                a = p[i, W - 1] + s * (u_bar[i + 1, W - 1] - u_bar[i, W - 1])
                p[i, W - 1] = a / max(one, abs(a))
            else:
                for j in range(W - 1):
                    b = q[i, j] + s * (u_bar[i, j + 1] - u_bar[i, j])
                    q[i, j] = b / max(one, abs(b))
        for i in nb.prange(H):
            for j in range(W):
                d = p[i, j] + q[i, j] + weight * y[i, j]
                if i > 0:
                    d -= p[i - 1, j]
                if j > 0:
                    d -= q[i, j - 1]
                old = u[i, j]
                new = (old + t * d) * c
                u[i, j] = new
                u_bar[i, j] = new + new - old
    return u


@nb.njit(parallel=True, fastmath=True)
def moe(scores, top, step):  # type: ignore[no-untyped-def]
    """A sorted list of the best values per token, counts per block of tokens."""
    tokens, experts = scores.shape
    bias = np.zeros(experts, np.float32)
    mean = np.float32(tokens * top / experts)
    blocks = 64
    count = np.zeros((blocks, experts), np.int64)
    for k in range(step.shape[0]):
        count[:] = 0
        for block in nb.prange(blocks):
            best = np.empty(top, np.float32)
            for i in range(block * tokens // blocks, (block + 1) * tokens // blocks):
                best[:] = -1e30
                for e in range(experts):
                    v = scores[i, e] + bias[e]
                    if v > best[top - 1]:
                        r = top - 1
                        while r > 0 and best[r - 1] < v:
                            best[r] = best[r - 1]
                            r -= 1
                        best[r] = v
                for e in range(experts):
                    if scores[i, e] + bias[e] >= best[top - 1]:
                        count[block, e] += 1
        load = count.sum(0)
        for e in range(experts):
            bias[e] -= step[k] * (load[e] / mean - np.float32(1))
    return bias


@nb.njit(parallel=True, fastmath=True)
def scaling(M, iterations):  # type: ignore[no-untyped-def]
    """A matrix per thread, both products in one pass over its rows."""
    B, n, m = M.shape
    R, C = np.ones((B, n), np.float32), np.ones((B, m), np.float32)
    for b in nb.prange(B):
        g = np.empty(m, np.float32)
        for _ in range(iterations):
            g[:] = 0
            for i in range(n):
                s = np.float32(0)
                for j in range(m):
                    s += M[b, i, j] * C[b, j]
                s = np.float32(1) / s
                R[b, i] = s
                for j in range(m):
                    g[j] += s * M[b, i, j]
            for j in range(m):
                C[b, j] = np.float32(1) / g[j]
    return R, C


@nb.njit(parallel=True, fastmath=True)
def sinkhorn(C, log_a, log_b, eps):  # type: ignore[no-untyped-def]
    """A problem per thread, in the log domain; a maximum and a sum per row, then per column, rows outermost in both."""
    B, n, m = C.shape
    P = np.empty_like(C)
    for b in nb.prange(B):
        f, g = np.zeros(n, np.float32), np.zeros(m, np.float32)
        top, total = np.empty(m, np.float32), np.empty(m, np.float32)
        for k in range(eps.shape[0]):
            e, inverse = eps[k], np.float32(1) / eps[k]
            for i in range(n):
                high = np.float32(-1e30)
                for j in range(m):
                    high = max(high, (g[j] - C[b, i, j]) * inverse)
                s = np.float32(0)
                for j in range(m):
                    s += np.exp((g[j] - C[b, i, j]) * inverse - high)
                f[i] = e * (log_a[i] - high - np.log(s))
            top[:] = -1e30
            total[:] = 0
            for i in range(n):
                for j in range(m):
                    top[j] = max(top[j], (f[i] - C[b, i, j]) * inverse)
            for i in range(n):
                for j in range(m):
                    total[j] += np.exp((f[i] - C[b, i, j]) * inverse - top[j])
            for j in range(m):
                g[j] = e * (log_b[j] - top[j] - np.log(total[j]))
        for i in range(n):
            for j in range(m):
                P[b, i, j] = np.exp((f[i] + g[j] - C[b, i, j]) / eps[-1])
    return P


@nb.njit(fastmath=True)
def bilevel(X, t, weight, step):  # type: ignore[no-untyped-def]
    """Both products in one pass over ``X``, one thread."""
    n, d = X.shape
    w, g = np.zeros(d, np.float32), np.empty(d, np.float32)
    for k in range(step.shape[0]):
        g[:] = 0
        for i in range(n):
            z = np.float32(0)
            for j in range(d):
                z += X[i, j] * w[j]
            c = weight[i] * (np.float32(1) / (np.float32(1) + np.exp(-z)) - t[i])
            for j in range(d):
                g[j] += c * X[i, j]
        for j in range(d):
            w[j] -= step[k] * (g[j] / n + np.float32(0.001) * w[j])
    return w
