"""Stencil programs as different people would write them: loops, slices, one expression; renamed, reordered, with temporaries."""

from __future__ import annotations

from dataclasses import dataclass, field

HEAT = """
algorithm heat(A: real[n, n, n], B: real[n, n, n]) -> (real[n, n, n], real[n, n, n]) where n >= 3:
    iterations T = 500
    for t in 0..T:
        for i in 1..n-1, j in 1..n-1, k in 1..n-1:
            B[i, j, k] = (0.125 * (A[i+1, j, k] - 2 * A[i, j, k] + A[i-1, j, k]) + 0.125 * (A[i, j+1, k] - 2 * A[i, j, k] + A[i, j-1, k])
                          + 0.125 * (A[i, j, k+1] - 2 * A[i, j, k] + A[i, j, k-1]) + A[i, j, k])
        for i in 1..n-1, j in 1..n-1, k in 1..n-1:
            A[i, j, k] = (0.125 * (B[i+1, j, k] - 2 * B[i, j, k] + B[i-1, j, k]) + 0.125 * (B[i, j+1, k] - 2 * B[i, j, k] + B[i, j-1, k])
                          + 0.125 * (B[i, j, k+1] - 2 * B[i, j, k] + B[i, j, k-1]) + B[i, j, k])
    return A, B
"""
HEAT_SLICES = """
fn ring(u) = u[2:, 1:-1, 1:-1] + u[:-2, 1:-1, 1:-1] + u[1:-1, 2:, 1:-1] + u[1:-1, :-2, 1:-1] + u[1:-1, 1:-1, 2:] + u[1:-1, 1:-1, :-2]

algorithm heat(hot: real[n, n, n], cold: real[n, n, n]) -> (real[n, n, n], real[n, n, n]) where n >= 3:
    iterations T = 500
    for t in 0..T:
        cold[1:-1, 1:-1, 1:-1] = 0.25 * hot[1:-1, 1:-1, 1:-1] + 0.125 * ring(hot)
        hot[1:-1, 1:-1, 1:-1] = 0.25 * cold[1:-1, 1:-1, 1:-1] + 0.125 * ring(cold)
    return hot, cold
"""
HEAT_IN_PLACE = """
algorithm heat(u: real[n, n, n]) -> real[n, n, n] where n >= 3:
    iterations T = 500
    for t in 0..T:
        x = u[2:, 1:-1, 1:-1] - 2 * u[1:-1, 1:-1, 1:-1] + u[:-2, 1:-1, 1:-1]
        y = u[1:-1, 2:, 1:-1] - 2 * u[1:-1, 1:-1, 1:-1] + u[1:-1, :-2, 1:-1]
        z = u[1:-1, 1:-1, 2:] - 2 * u[1:-1, 1:-1, 1:-1] + u[1:-1, 1:-1, :-2]
        u[1:-1, 1:-1, 1:-1] += 0.125 * (x + y + z)
    return u
"""
FDTD = """
algorithm fdtd(ex: real[n, m], ey: real[n, m], hz: real[n, m], source: real[T]) -> (real[n, m], real[n, m], real[n, m]) where n >= 2, m >= 2:
    iterations T = 500
    for t in 0..T:
        for j in 0..m:
            ey[0, j] = source[t]
        for i in 1..n, j in 0..m:
            ey[i, j] = ey[i, j] - 0.5 * (hz[i, j] - hz[i-1, j])
        for i in 0..n, j in 1..m:
            ex[i, j] = ex[i, j] - 0.5 * (hz[i, j] - hz[i, j-1])
        for i in 0..n-1, j in 0..m-1:
            hz[i, j] = hz[i, j] - 0.7 * (ex[i, j+1] - ex[i, j] + ey[i+1, j] - ey[i, j])
    return ex, ey, hz
"""
FDTD_SLICES = """
algorithm fdtd(ex: real[n, m], ey: real[n, m], hz: real[n, m], source: real[T]) -> (real[n, m], real[n, m], real[n, m]) where n >= 2, m >= 2:
    iterations T = 500
    for t in 0..T:
        ey[0, :] = source[t]
        ey[1:, :] -= 0.5 * (hz[1:, :] - hz[:-1, :])
        ex[:, 1:] -= 0.5 * (hz[:, 1:] - hz[:, :-1])
        hz[:-1, :-1] -= 0.7 * (ex[:-1, 1:] - ex[:-1, :-1] + ey[1:, :-1] - ey[:-1, :-1])
    return ex, ey, hz
"""
FDTD_REORDERED = """
algorithm fdtd(q: real[n, m], p: real[n, m], w: real[n, m], f: real[T]) -> (real[n, m], real[n, m], real[n, m]) where n >= 2, m >= 2:
    iterations T = 500
    for t in 0..T:
        for i in 0..n:
            for j in 1..m:
                change = 0.5 * (w[i, j] - w[i, j-1])
                q[i, j] = q[i, j] - change
        half = 0.5 * f[t]
        for i in 0..n-1, j in 0..m:
            p[i+1, j] = p[i+1, j] - 0.5 * (w[i+1, j] - w[i, j])
        p[0, :] = 2 * half
        w[:-1, :-1] = w[:-1, :-1] - 0.7 * (q[:-1, 1:] - q[:-1, :-1]) - 0.7 * (p[1:, :-1] - p[:-1, :-1])
    return q, p, w
"""
TV = """
algorithm tv(image: real[n, m], strength: real) -> real[n, m] where n >= 2, m >= 2:
    iterations T = 50
    param tau[T]: positive = 0.25
    param sigma[T]: positive = 0.5
    u = image
    u_bar = image
    p = zeros(n, m)
    q = zeros(n, m)
    for k in 0..T:
        p[:-1, :] += sigma[k] * (u_bar[1:, :] - u_bar[:-1, :])
        q[:, :-1] += sigma[k] * (u_bar[:, 1:] - u_bar[:, :-1])
        length = sqrt(max(1, p**2 + q**2))
        p = p / length
        q = q / length
        div = zeros(n, m)
        div[:-1, :] += p[:-1, :]
        div[1:, :] -= p[:-1, :]
        div[:, :-1] += q[:, :-1]
        div[:, 1:] -= q[:, :-1]
        u_old = u
        u = (u + tau[k] * (div + image / strength)) / (1 + tau[k] / strength)
        u_bar = 2 * u - u_old
    return u
"""
TV_PADDED = """
algorithm tv(noisy: real[n, m], weight: real) -> real[n, m] where n >= 2, m >= 2:
    iterations T = 50
    x = noisy
    bar = noisy
    a = zeros(n + 1, m)
    b = zeros(n, m + 1)
    for k in 0..T:
        a[1:-1, :] = clip(a[1:-1, :] + 0.5 * (bar[1:, :] - bar[:-1, :]), -1, 1)
        b[:, 1:-1] = clip(b[:, 1:-1] + 0.5 * (bar[:, 1:] - bar[:, :-1]), -1, 1)
        fresh = (x + 0.25 * (a[1:, :] - a[:-1, :] + b[:, 1:] - b[:, :-1] + noisy / weight)) / (1 + 0.25 / weight)
        bar = 2 * fresh - x
        x = fresh
    return x
"""
TV_LOOPS = """
algorithm tv(image: real[n, m], strength: real) -> real[n, m] where n >= 2, m >= 2:
    iterations T = 50
    param tau[T]: positive = 0.25
    u = image
    u_bar = image
    p = zeros(n, m)
    q = zeros(n, m)
    for k in 0..T:
        shrink = 1 + tau[k] / strength
        for i in 0..n-1, j in 0..m-1:
            a = p[i, j] + 0.5 * (u_bar[i+1, j] - u_bar[i, j])
            b = q[i, j] + 0.5 * (u_bar[i, j+1] - u_bar[i, j])
            length = sqrt(max(1, a**2 + b**2))
            p[i, j] = a / length
            q[i, j] = b / length
        for j in 1..m:
            u_bar[0, j] = image[0, j] - tau[k] * p[0, j]
        for i in 1..n, j in 1..m:
            new = (u[i, j] + tau[k] * (p[i, j] - p[i-1, j] + q[i, j] - q[i, j-1] + image[i, j] / strength)) / shrink
            u_bar[i, j] = 2 * new - u[i, j]
            u[i, j] = new
    return u
"""
JACOBI_1D = """
algorithm smooth(A: real[n], B: real[n]) -> (real[n], real[n]) where n >= 3:
    iterations T = 500
    for t in 0..T:
        B[1:-1] = (A[:-2] + A[1:-1] + A[2:]) / 3
        A[1:-1] = (B[:-2] + B[1:-1] + B[2:]) / 3
    return A, B
"""
JACOBI_SOURCE = """
algorithm smooth(A: real[n, m], f: real[T]) -> real[n, m] where n >= 5, m >= 5:
    iterations T = 500
    B = A
    for t in 0..T:
        A[2, 3] = A[2, 3] + f[t]
        for i in 1..n-1, j in 1..m-1:
            B[i, j] = 0.25 * (A[i-1, j] + A[i+1, j] + A[i, j-1] + A[i, j+1])
        for i in 1..n-1:
            B[i, 0] = B[i, 1]
        A = B
    return A
"""
WINDOW = """
algorithm smooth(A: real[n, m], w: real[3, 3]) -> real[n, m] where n >= 3, m >= 3:
    iterations T = 500
    B = A
    for t in 0..T:
        for i in 1..n-1, j in 1..m-1:
            B[i, j] = sum(w[a, b] * A[i+a-1, j+b-1] for a in 0..3, b in 0..3)
        A[:, :] = B
    return A
"""


@dataclass(frozen=True)
class Form:
    """A program, the sizes it is tried at, and the steps that it has to be brought into form with."""

    text: str
    name: str
    sizes: dict[str, int] = field(default_factory=dict)
    steps: frozenset[str] = frozenset()
    l2: int = 16


_CUBE, _PLANE = {"n": 18}, {"n": 33, "m": 9}
#: What the time blocks of stencils have to be found in.
FORMS = {
    "heat, loops": Form(HEAT, "heat", _CUBE, frozenset({"expand"})),
    "heat, slices": Form(HEAT_SLICES, "heat", _CUBE),
    "heat, in place": Form(HEAT_IN_PLACE, "heat", _CUBE),
    "fdtd, loops": Form(FDTD, "fdtd", _PLANE, frozenset({"enclose"})),
    "fdtd, slices": Form(FDTD_SLICES, "fdtd", _PLANE, frozenset({"enclose"})),
    "fdtd, reordered": Form(FDTD_REORDERED, "fdtd", _PLANE, frozenset({"enclose"})),
    "tv, slices": Form(TV, "tv", _PLANE, frozenset({"expand", "fission"})),
    "tv, padded": Form(TV_PADDED, "tv", _PLANE),
    "tv, loops": Form(TV_LOOPS, "tv", _PLANE, frozenset({"expand", "fission", "enclose"})),
    "jacobi-1d": Form(JACOBI_1D, "smooth", {"n": 80}, l2=512),
    "point source": Form(JACOBI_SOURCE, "smooth", _PLANE, frozenset({"enclose"})),
    "window": Form(WINDOW, "smooth", _PLANE),
}
