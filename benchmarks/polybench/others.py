"""The other ten kernels of PolyBench in NumPy in float64, as :mod:`.references` has the twenty: tried on what was built for those.

Source: PolyBench/C 4.2.1 (Pouchet and Yuki), for the definitions and the sizes: LARGE, EXTRALARGE where that takes less than 5 ms
(durbin), MEDIUM where it takes some 20 s (floyd-warshall). PolyBench computes deriche in float32, floyd-warshall and nussinov in int32;
here everything is in float64.
"""

from __future__ import annotations

import numpy as np

from .references import F64, KERNELS, Inputs, Kernel, Sizes, arrays

# -- data -------------------------------------------------------------------------------------------------------------


def _toeplitz(rng: np.random.Generator, sizes: Sizes) -> Inputs:
    """Half the correlations of white noise: with ones on the diagonal, the matrix has no eigenvalue below one half."""
    n = sizes["n"]
    noise = rng.standard_normal(2 * n)
    return {"r": np.array([noise[k:] @ noise[: 2 * n - k] for k in range(1, n + 1)]) / (2 * noise @ noise)}


def _unit_triangle(rng: np.random.Generator, sizes: Sizes) -> Inputs:
    """``trmm``: the diagonal of A and what is above it are huge, so that reading them would show."""
    inputs = arrays("alpha", A="m m", B="m n")(rng, sizes)
    inputs["A"][np.triu_indices(sizes["m"])] = 1e6
    return inputs


def _dominant(rng: np.random.Generator, sizes: Sizes) -> Inputs:
    """A matrix that needs no pivoting: its diagonal outweighs rows and columns."""
    n = sizes["n"]
    return {"A": rng.standard_normal((n, n)) / n + 2 * np.eye(n)}


def _system(rng: np.random.Generator, sizes: Sizes) -> Inputs:
    return {**_dominant(rng, sizes), "b": rng.standard_normal(sizes["n"])}


def _image(rng: np.random.Generator, sizes: Sizes) -> Inputs:
    return {"image": rng.random((sizes["w"], sizes["h"])), "alpha": np.array(0.25)}


def _edges(rng: np.random.Generator, sizes: Sizes) -> Inputs:
    """Lengths of which many are far from shortest."""
    n = sizes["n"]
    lengths = np.ceil(100 * rng.random((n, n)) ** 2)
    lengths[np.diag_indices(n)] = 0
    return {"paths": lengths}


def _bases(rng: np.random.Generator, sizes: Sizes) -> Inputs:
    return {"seq": rng.integers(0, 4, sizes["n"]).astype(np.float64)}


# -- references -------------------------------------------------------------------------------------------------------


def _gemver(
    A: F64, u1: F64, v1: F64, u2: F64, v2: F64, x: F64, y: F64, z: F64, alpha: F64, beta: F64
) -> tuple[F64, ...]:
    a = A + np.outer(u1, v1) + np.outer(u2, v2)
    new = x + beta * (y @ a) + z
    return a, new, alpha * (a @ new)


def _trmm(A: F64, B: F64, alpha: F64) -> tuple[F64, ...]:
    return (alpha * (np.tril(A, -1) + np.eye(len(A))).T @ B,)


def _durbin(r: F64) -> tuple[F64, ...]:
    n = len(r)
    first = np.concatenate(([1.0], r[:-1]))
    return (np.linalg.solve(first[np.abs(np.subtract.outer(np.arange(n), np.arange(n)))], -r),)


def _lu(A: F64) -> tuple[F64, ...]:
    a = A.copy()
    for k in range(len(a)):
        a[k + 1 :, k] /= a[k, k]
        a[k + 1 :, k + 1 :] -= np.outer(a[k + 1 :, k], a[k, k + 1 :])
    return (a,)


def _deriche(image: F64, alpha: F64) -> tuple[F64, ...]:
    return (_smooth(_smooth(image.T, float(alpha)).T, float(alpha)),)


def _smooth(x: F64, alpha: float) -> F64:
    """Both sweeps down the columns, added: y[i] = a1 x[i] + a2 x[i-1] + 2 e y[i-1] - e^2 y[i-2] and its mirror image."""
    e = np.exp(-alpha)
    k = (1 - e) ** 2 / (1 + 2 * alpha * e - e**2)
    rows = len(x)
    down, up = np.zeros((rows + 2, x.shape[1])), np.zeros((rows + 2, x.shape[1]))  # two rows of zeros behind: index -1, -2 and rows, rows + 1
    padded = np.vstack((x, np.zeros((2, x.shape[1]))))
    for i in range(rows):
        down[i] = k * padded[i] + k * e * (alpha - 1) * padded[i - 1] + 2 * e * down[i - 1] - e**2 * down[i - 2]
    for i in reversed(range(rows)):
        up[i] = k * e * (alpha + 1) * padded[i + 1] - k * e**2 * padded[i + 2] + 2 * e * up[i + 1] - e**2 * up[i + 2]
    found: F64 = (down + up)[:rows]
    return found


def _floyd_warshall(paths: F64) -> tuple[F64, ...]:
    p = paths.copy()
    for k in range(len(p)):
        p = np.minimum(p, np.add.outer(p[:, k], p[k]))
    return (p,)


def _nussinov(seq: F64) -> tuple[F64, ...]:
    """By diagonals, from short stretches to long ones."""
    n = len(seq)
    table = np.zeros((n, n))
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            pair = float(length > 1 and seq[i] + seq[j] == 3)
            split = max((table[i, k] + table[k + 1, j] for k in range(i, j)), default=0.0)
            table[i, j] = max(split, table[i + 1, j - 1] + pair)
    return (table,)


def _fdtd_2d(ex: F64, ey: F64, hz: F64, fict: F64, T: int) -> tuple[F64, ...]:
    ex, ey, hz = ex.copy(), ey.copy(), hz.copy()
    for t in range(T):
        ey[0] = fict[t]
        ey[1:] -= 0.5 * np.diff(hz, axis=0)
        ex[:, 1:] -= 0.5 * np.diff(hz, axis=1)
        hz[:-1, :-1] -= 0.7 * (np.diff(ex, axis=1)[:-1] + np.diff(ey, axis=0)[:, :-1])
    return ex, ey, hz


def _heat_3d(A: F64, B: F64, T: int) -> tuple[F64, ...]:
    a, b = A.copy(), B.copy()
    inner = (slice(1, -1),) * 3
    for _ in range(T):
        for s, into in ((a, b), (b, a)):
            second = [np.diff(s[(*inner[:d], slice(None), *inner[d + 1 :])], n=2, axis=d) for d in range(3)] if len(s) > 2 else [s[inner]]
            into[inner] = s[inner] + 0.125 * sum(second)
    return a, b


# -- the kernels ------------------------------------------------------------------------------------------------------

_OTHERS = [
    Kernel(
        "gemver",
        "LARGE",
        {"n": 2000},
        {"n": 7},
        arrays("alpha beta", A="n n", u1="n", v1="n", u2="n", v2="n", x="n", y="n", z="n"),
        _gemver,
    ),
    Kernel("trmm", "LARGE", {"m": 1000, "n": 1200}, {"m": 7, "n": 9}, _unit_triangle, _trmm),
    Kernel("durbin", "EXTRALARGE", {"n": 4000}, {"n": 9}, _toeplitz, _durbin),
    Kernel("lu", "LARGE", {"n": 2000}, {"n": 9}, _dominant, _lu),
    Kernel("ludcmp", "LARGE", {"n": 2000}, {"n": 9}, _system, lambda A, b: (np.linalg.solve(A, b),)),
    Kernel("deriche", "LARGE", {"w": 4096, "h": 2160}, {"w": 7, "h": 9}, _image, _deriche),
    Kernel("floyd_warshall", "MEDIUM", {"n": 500}, {"n": 9}, _edges, _floyd_warshall),
    Kernel("nussinov", "LARGE", {"n": 2500}, {"n": 11}, _bases, _nussinov),
    Kernel(
        "fdtd_2d",
        "LARGE",
        {"T": 500, "nx": 1000, "ny": 1200},
        {"T": 5, "nx": 7, "ny": 9},
        arrays(ex="nx ny", ey="nx ny", hz="nx ny", fict="T"),
        _fdtd_2d,
    ),
    Kernel("heat_3d", "LARGE", {"T": 500, "n": 120}, {"T": 3, "n": 7}, arrays(A="n n n", B="n n n"), _heat_3d),
]

#: The ten, and all thirty.
OTHERS = {kernel.name: kernel for kernel in _OTHERS}
EVERY = {**KERNELS, **OTHERS}
