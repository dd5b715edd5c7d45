"""The twenty kernels in NumPy in float64, with data that suits each, the sizes of the published baseline, and small ones.

Source: PolyBench/C 4.2.1 (Pouchet and Yuki), for the definitions and the sizes; data is random here instead of PolyBench's
formulas, several of which give rank-deficient matrices.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
Inputs = dict[str, F64]
Sizes = Mapping[str, int]

PROGRAMS = Path(__file__).parent


@dataclass(frozen=True, eq=False)
class Kernel:
    """One kernel.

    ``inputs(rng, sizes)`` draws the operands by name, float64, scalars with shape ``()``. ``reference`` takes them by name, and the
    sizes that are no operand's (``T``); it returns the results in the program's order and changes no operand. ``sizes`` are those
    of the baseline table, of PolyBench's data set ``dataset``; ``small`` ones, different and odd, are for tests. ``minimum``
    gives sizes whose least value is not 1.
    """

    name: str
    dataset: str
    sizes: Sizes
    small: Sizes
    inputs: Callable[[np.random.Generator, Sizes], Inputs]
    reference: Callable[..., tuple[F64, ...]]
    minimum: Sizes = field(default_factory=dict)

    @property
    def file(self) -> Path:
        """The program."""
        return PROGRAMS / f"{self.name}.us"

    @property
    def title(self) -> str:
        """PolyBench's name."""
        return self.name.removeprefix("k").replace("_", "-") if self.name[1].isdigit() else self.name.replace("_", "-")

    def wanted(self, inputs: Inputs, sizes: Sizes) -> tuple[F64, ...]:
        """The reference's results."""
        steps = {"T": sizes["T"]} if "T" in sizes else {}
        return self.reference(**inputs, **steps)

    def defined(self, results: tuple[Any, ...], sizes: Sizes) -> tuple[Any, ...]:
        """The part of the results that exact arithmetic defines: of gramschmidt the first m columns of Q and rows of R."""
        if self.name != "gramschmidt":
            return results
        q, r = results
        return q[:, : sizes["m"]], r[: sizes["m"]]


# -- data -------------------------------------------------------------------------------------------------------------


def arrays(scalars: str = "", **shapes: str) -> Callable[[np.random.Generator, Sizes], Inputs]:
    """Uniform numbers in 0.5 .. 1.5: ``shapes`` names the sizes of each array, separated by spaces; ``scalars`` have none."""

    def make(rng: np.random.Generator, sizes: Sizes) -> Inputs:
        axes = {**shapes, **dict.fromkeys(scalars.split(), "")}
        return {name: 0.5 + rng.random(tuple(sizes[s] for s in text.split())) for name, text in axes.items()}

    return make


def _positive_definite(rng: np.random.Generator, sizes: Sizes) -> Inputs:
    n = sizes["n"]
    m = rng.standard_normal((n, n))
    return {"A": m @ m.T / n + np.eye(n)}


def _dominant(rng: np.random.Generator, sizes: Sizes) -> Inputs:
    """A lower triangle whose diagonal outweighs its row; what is above it must not be read."""
    n = sizes["n"]
    full = rng.standard_normal((n, n)) / n
    full[np.diag_indices(n)] = 1 + rng.random(n)
    return {"L": full, "b": rng.standard_normal(n)}


def _lower_triangle(rng: np.random.Generator, sizes: Sizes) -> Inputs:
    """``symm``: what is above the diagonal of A is huge, so that reading it would show."""
    inputs = arrays("alpha beta", C="m n", A="m m", B="m n")(rng, sizes)
    inputs["A"][np.triu_indices(sizes["m"], 1)] = 1e6
    return inputs


def _independent(rng: np.random.Generator, sizes: Sizes) -> Inputs:
    """Columns that are nearly orthogonal where there are no more of them than rows."""
    m, n = sizes["m"], sizes["n"]
    return {"A": np.eye(m, n) + 0.3 * rng.standard_normal((m, n)) / np.sqrt(m)}


def _observations(rng: np.random.Generator, sizes: Sizes) -> Inputs:
    """The first variable hardly varies: its deviation is below correlation's bound."""
    data = rng.standard_normal((sizes["n"], sizes["m"]))
    data[:, 0] *= 1e-3
    return {"data": data}


# -- references -------------------------------------------------------------------------------------------------------


def _symm(C: F64, A: F64, B: F64, alpha: F64, beta: F64) -> tuple[F64, ...]:
    lower = np.tril(A)
    return (alpha * (lower + np.tril(A, -1).T) @ B + beta * C,)


def _syrk(C: F64, A: F64, alpha: F64, beta: F64) -> tuple[F64, ...]:
    return (np.tril(alpha * A @ A.T + beta * C) + np.triu(C, 1),)


def _syr2k(C: F64, A: F64, B: F64, alpha: F64, beta: F64) -> tuple[F64, ...]:
    return (np.tril(alpha * (A @ B.T + B @ A.T) + beta * C) + np.triu(C, 1),)


def _doitgen(A: F64, C4: F64) -> tuple[F64, ...]:
    return (np.einsum("rqs,sp->rqp", A, C4),)


def _trisolv(L: F64, b: F64) -> tuple[F64, ...]:
    return (np.linalg.solve(np.tril(L), b),)


def _gramschmidt(A: F64) -> tuple[F64, ...]:
    a, n = A.copy(), A.shape[1]
    q, r = np.zeros_like(a), np.zeros((n, n))
    for k in range(n):
        r[k, k] = np.sqrt(a[:, k] @ a[:, k])
        q[:, k] = a[:, k] / r[k, k]
        r[k, k + 1 :] = q[:, k] @ a[:, k + 1 :]
        a[:, k + 1 :] -= np.outer(q[:, k], r[k, k + 1 :])
    return q, r


def _correlation(data: F64) -> tuple[F64, ...]:
    n, m = data.shape
    deviation = data.std(axis=0)
    deviation[deviation <= 0.1] = 1
    z = (data - data.mean(axis=0)) / (np.sqrt(n) * deviation)
    c = z.T @ z
    c[np.diag_indices(m)] = 1
    return (c,)


def _covariance(data: F64) -> tuple[F64, ...]:
    return (np.atleast_2d(np.cov(data, rowvar=False)),)


def _jacobi_1d(A: F64, B: F64, T: int) -> tuple[F64, ...]:
    a, b = A.copy(), B.copy()
    for _ in range(T):
        for source, into in ((a, b), (b, a)):
            into[1:-1] = 0.33333 * (source[:-2] + source[1:-1] + source[2:])
    return a, b


def _jacobi_2d(A: F64, B: F64, T: int) -> tuple[F64, ...]:
    a, b = A.copy(), B.copy()
    for _ in range(T):
        for s, into in ((a, b), (b, a)):
            into[1:-1, 1:-1] = 0.2 * (s[1:-1, 1:-1] + s[1:-1, :-2] + s[1:-1, 2:] + s[2:, 1:-1] + s[:-2, 1:-1])
    return a, b


def _seidel_2d(A: F64, T: int) -> tuple[F64, ...]:
    a, n = A.copy(), len(A)
    for _ in range(T):
        for i in range(1, n - 1):
            for j in range(1, n - 1):
                a[i, j] = a[i - 1 : i + 2, j - 1 : j + 2].sum() / 9
    return (a,)


def _adi(u: F64, T: int) -> tuple[F64, ...]:
    """The implicit half steps by a dense solver of the tridiagonal systems, all lines at once."""
    u, n = u.copy(), len(u)
    if n < 3:
        return (u,)
    first, second = 2.0 * n**2 / T, 1.0 * n**2 / T  # what the second difference is multiplied by, per direction
    v = np.zeros_like(u)
    for _ in range(T):
        v[0, 1:-1] = v[-1, 1:-1] = 1
        v[1:-1, 1:-1] = _implicit(first / 2, _explicit(second / 2, u))
        u[1:-1, 0] = u[1:-1, -1] = 1
        u[1:-1, 1:-1] = _implicit(second / 2, _explicit(first / 2, v.T)).T
    return (u,)


def _explicit(c: float, u: F64) -> F64:
    """(1 + c D) u at inner points, D the second difference along the last axis."""
    found: F64 = u[1:-1, 1:-1] + c * (u[1:-1, :-2] - 2 * u[1:-1, 1:-1] + u[1:-1, 2:])
    return found


def _implicit(c: float, right: F64) -> F64:
    """The w with (1 - c D) w = right along the first axis, w being 1 beyond both ends."""
    k = len(right)
    matrix = (1 + 2 * c) * np.eye(k) - c * (np.eye(k, k=1) + np.eye(k, k=-1))
    full = right.copy()
    full[0] += c
    full[-1] += c
    return np.linalg.solve(matrix, full)


# -- the kernels ------------------------------------------------------------------------------------------------------

_KERNELS = [
    Kernel(
        "gemm",
        "LARGE",
        {"ni": 1000, "nj": 1100, "nk": 1200},
        {"ni": 7, "nj": 5, "nk": 9},
        arrays("alpha beta", C="ni nj", A="ni nk", B="nk nj"),
        lambda C, A, B, alpha, beta: (alpha * A @ B + beta * C,),
    ),
    Kernel(
        "k2mm",
        "LARGE",
        {"ni": 800, "nj": 900, "nk": 1100, "nl": 1200},
        {"ni": 7, "nj": 5, "nk": 9, "nl": 3},
        arrays("alpha beta", A="ni nk", B="nk nj", C="nj nl", D="ni nl"),
        lambda A, B, C, D, alpha, beta: (alpha * A @ B @ C + beta * D,),
    ),
    Kernel(
        "k3mm",
        "LARGE",
        {"ni": 800, "nj": 900, "nk": 1000, "nl": 1100, "nm": 1200},
        {"ni": 7, "nj": 5, "nk": 9, "nl": 3, "nm": 11},
        arrays(A="ni nk", B="nk nj", C="nj nm", D="nm nl"),
        lambda A, B, C, D: (A @ B @ C @ D,),
    ),
    Kernel(
        "atax",
        "LARGE",
        {"m": 1900, "n": 2100},
        {"m": 7, "n": 9},
        arrays(A="m n", x="n"),
        lambda A, x: (A.T @ (A @ x),),
    ),
    Kernel(
        "bicg",
        "LARGE",
        {"m": 1900, "n": 2100},
        {"m": 7, "n": 9},
        arrays(A="n m", p="m", r="n"),
        lambda A, p, r: (A.T @ r, A @ p),
    ),
    Kernel(
        "mvt",
        "LARGE",
        {"n": 2000},
        {"n": 9},
        arrays(x1="n", x2="n", y1="n", y2="n", A="n n"),
        lambda x1, x2, y1, y2, A: (x1 + A @ y1, x2 + A.T @ y2),
    ),
    Kernel(
        "gesummv",
        "EXTRALARGE",
        {"n": 2800},
        {"n": 9},
        arrays("alpha beta", A="n n", B="n n", x="n"),
        lambda A, B, x, alpha, beta: (alpha * A @ x + beta * B @ x,),
    ),
    Kernel("symm", "LARGE", {"m": 1000, "n": 1200}, {"m": 7, "n": 9}, _lower_triangle, _symm),
    Kernel("syrk", "LARGE", {"m": 1000, "n": 1200}, {"m": 7, "n": 9}, arrays("alpha beta", C="n n", A="n m"), _syrk),
    Kernel("syr2k", "LARGE", {"m": 1000, "n": 1200}, {"m": 7, "n": 9}, arrays("alpha beta", C="n n", A="n m", B="n m"), _syr2k),
    Kernel(
        "doitgen",
        "LARGE",
        {"nq": 140, "nr": 150, "np": 160},
        {"nq": 7, "nr": 5, "np": 9},
        arrays(A="nr nq np", C4="np np"),
        _doitgen,
    ),
    Kernel("cholesky", "LARGE", {"n": 2000}, {"n": 9}, _positive_definite, lambda A: (np.linalg.cholesky(A),)),
    Kernel("trisolv", "EXTRALARGE", {"n": 4000}, {"n": 9}, _dominant, _trisolv),
    Kernel("gramschmidt", "LARGE", {"m": 1000, "n": 1200}, {"m": 9, "n": 7}, _independent, _gramschmidt),
    Kernel("correlation", "LARGE", {"m": 1200, "n": 1400}, {"m": 7, "n": 9}, _observations, _correlation),
    Kernel("covariance", "LARGE", {"m": 1200, "n": 1400}, {"m": 7, "n": 9}, _observations, _covariance, {"n": 2}),
    Kernel("jacobi_1d", "EXTRALARGE", {"T": 1000, "n": 4000}, {"T": 5, "n": 9}, arrays(A="n", B="n"), _jacobi_1d),
    Kernel("jacobi_2d", "LARGE", {"T": 500, "n": 1300}, {"T": 5, "n": 9}, arrays(A="n n", B="n n"), _jacobi_2d),
    Kernel("seidel_2d", "MEDIUM", {"T": 100, "n": 400}, {"T": 5, "n": 9}, arrays(A="n n"), _seidel_2d),
    Kernel("adi", "LARGE", {"T": 500, "n": 1000}, {"T": 5, "n": 9}, arrays(u="n n"), _adi),
]

#: The kernels by the name of their file, which is their algorithm's.
KERNELS = {kernel.name: kernel for kernel in _KERNELS}
