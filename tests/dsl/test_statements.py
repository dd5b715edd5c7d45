"""What programs compute: statements and index sums against plain Python and NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.dsl.language_harness import evaluate, only

RNG = np.random.default_rng(7)
A = RNG.standard_normal((4, 5))
S = RNG.standard_normal((5, 5))
X = RNG.standard_normal(5)
Y = RNG.standard_normal(4)
W = RNG.standard_normal(3)
N, M = 5, 4


def fill(shape: tuple[int, ...], f: Callable[..., Any]) -> np.ndarray:
    """An array made element by element."""
    out = np.empty(shape)
    for index in np.ndindex(*shape):
        out[index] = f(*index)
    return out


def changed(x: np.ndarray, change: Callable[[np.ndarray], Any]) -> np.ndarray:
    """A copy of an array after a change in place."""
    x = np.array(x)
    change(x)
    return x


SUMS = {
    "matrix times vector": ("[sum(A[i, j] * x[j] for j in 0..n) for i in 0..m]", "real[m]", A @ X),
    "gram matrix": ("[sum(A[k, i] * A[k, j] for k in 0..m) for i in 0..n, j in 0..n]", "real[n, n]", A.T @ A),
    "sum over two": ("sum(A[i, j] * x[j] * y[i] for i in 0..m, j in 0..n)", "real", Y @ A @ X),
    "sum with a factor from outside": ("2 * sum(y[0] * x[j] * x[j] for j in 0..n)", "real", 2 * Y[0] * X @ X),
    "index in no factor": ("sum(x[i] * x[i] for i in 0..n, j in 0..m)", "real", M * X @ X),
    "trace": ("sum(S[i, i] for i in 0..n)", "real", np.trace(S)),
    "shifted diagonal": ("[S[i, i+1] for i in 0..n-1]", "real[n-1]", np.diagonal(S, 1)),
    "diagonal of a product": ("[sum(S[i, j] * S[j, i] for j in 0..n) for i in 0..n]", "real[n]", np.diagonal(S @ S)),
    "transpose": ("[A[i, j] for j in 0..n, i in 0..m]", "real[n, m]", A.T),
    "reversed": ("[x[n-1-i] for i in 0..n]", "real[n]", X[::-1]),
    "range that runs down": ("[x[i] for i in n-1..-1 by -1]", "real[n]", X[::-1]),
    "every second": ("[x[i] for i in 0..n by 2]", "real[(n+1)//2]", X[::2]),
    "strided index": ("[x[2*i] for i in 0..(n+1)//2]", "real[(n+1)//2]", X[::2]),
    "outer": ("[x[i] * y[j] for i in 0..n, j in 0..m]", "real[n, m]", np.outer(X, Y)),
    "rows": ("[A[i] + 1 for i in 0..m]", "real[m, n]", A + 1),
    "columns": ("[A[:, j] for j in 0..n]", "real[n, m]", A.T),
    "sum of rows": ("sum(A[i] for i in 0..m)", "real[n]", A.sum(0)),
    "row times row": ("sum(A[i] * A[i] for i in 0..m)", "real[n]", (A * A).sum(0)),
    "constant body": ("[1.5 for i in 0..n]", "real[n]", np.full(5, 1.5)),
    "index as a number": ("[i * 0.5 + j for i in 0..n, j in 0..m]", "real[n, m]", fill((5, 4), lambda i, j: i * 0.5 + j)),
    "index functions": ("[min(i, 2) + i // 2 + i % 3 + i * i for i in 0..n]", "i64[n]",
                        fill((5,), lambda i: min(i, 2) + i // 2 + i % 3 + i * i)),
    "triangle": ("[sum(S[i, j] * x[j] for j in 0..i) for i in 0..n]", "real[n]", np.tril(S, -1) @ X),
    "triangle with both bounds": ("[sum(x[k] for k in i..j+1) for i in 0..n, j in 0..n]", "real[n, n]",
                                  fill((5, 5), lambda i, j: X[i : j + 1].sum())),
    "triangle in one generator": ("sum(S[i, j] for i in 0..n, j in 0..i)", "real", np.tril(S, -1).sum()),
    "correlation": ("[sum(x[i+j] * w[j] for j in 0..3) for i in 0..n-2]", "real[n-2]", np.correlate(X, W)),
    "correlation in two": ("[sum(S[i+a, j+b] * w[a] * w[b] for a in 0..3, b in 0..3) for i in 0..n-2, j in 0..n-2]",
                           "real[n-2, n-2]",
                           fill((3, 3), lambda i, j: W @ S[i : i + 3, j : j + 3] @ W)),
    "moving windows": ("[x[i:i+3] for i in 0..n-2]", "real[n-2, 3]", np.lib.stride_tricks.sliding_window_view(X, 3)),
    "product": ("prod(x[i] for i in 0..n)", "real", X.prod()),
    "largest": ("max(abs(x[i]) for i in 0..n)", "real", abs(X).max()),
    "smallest of rows": ("[min(A[i, j] for j in 0..n) for i in 0..m]", "real[m]", A.min(1)),
    "largest in a triangle": ("[max(S[i, j] for j in 0..i+1) for i in 0..n]", "real[n]",
                              fill((5,), lambda i: S[i, : i + 1].max())),
    "any": ("[any(A[i, j] > 1 for j in 0..n) for i in 0..m]", "bool[m]", (A > 1).any(1)),
    "all": ("all(x[i] < 9 for i in 0..n)", "bool", True),
    "nested in a function": ("[sqrt(sum((A[i, j] - x[j])**2 for j in 0..n)) for i in 0..m]", "real[m]",
                             np.linalg.norm(A - X, axis=1)),
    "norm of rows": ("[norm(A[i]) for i in 0..m]", "real[m]", np.linalg.norm(A, axis=1)),
    "reduction of rows": ("[sum(A[i] * x) / n for i in 0..m]", "real[m]", A @ X / 5),
    "matrix product of rows": ("[S @ A[i] for i in 0..m]", "real[m, n]", A @ S.T),
    "data-dependent": ("[x[idx[i]] for i in 0..3]", "real[3]", X[[2, 0, 2]]),
    "data-dependent in two": ("[S[idx[i], j] for i in 0..3, j in 0..n]", "real[3, n]", S[[2, 0, 2]]),
    "data-dependent and its index": ("[S[idx[i], i] for i in 0..3]", "real[3]", S[[2, 0, 2], [0, 1, 2]]),
    "comprehension in a comprehension": ("[max([x[i] * y[j] for j in 0..m]) for i in 0..n]", "real[n]",
                                         np.outer(X, Y).max(1)),
    "same index twice": ("[sum(x[i] for i in 0..n) + y[i] for i in 0..m]", "real[m]", X.sum() + Y),
    "sums of sums": ("sum(y[i] * sum(A[i, j] * x[j] for j in 0..n) for i in 0..m)", "real", Y @ A @ X),
    "integers": ("sum(idx[i] * idx[i] for i in 0..3)", "i64", 8),
}  # fmt: skip


@pytest.mark.parametrize("name", SUMS)
def test_index_sums(name: str) -> None:
    text, result, expected = SUMS[name]
    head = f"algorithm f(A: real[m, n], S: real[n, n], x: real[n], y: real[m], w: real[3], idx: i64[3]) -> {result} where n >= 3:"
    algorithm = only(f"{head}\n    return {text}\n")
    (found,) = evaluate(algorithm, {"A": A, "S": S, "x": X, "y": Y, "w": W, "idx": np.array([2, 0, 2])})
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    assert found.shape == np.shape(expected)


def test_a_sum_of_a_product_is_one_contraction() -> None:
    algorithm = only(
        "algorithm f(A: real[m, n]) -> real[n, n]:\n    return [sum(A[k,i]*A[k,j] for k in 0..m) for i in 0..n, j in 0..n]"
    )
    assert [n.op for n in algorithm.graph.nodes if n.op not in ("permute",)] == ["einsum"]


def seidel(a: np.ndarray) -> np.ndarray:
    a = np.array(a)
    for i in range(1, 4):
        for j in range(1, 4):
            a[i, j] = (a[i - 1, j] + a[i, j - 1] + a[i, j] + a[i + 1, j] + a[i, j + 1]) / 5
    return a


def while_halving() -> float:
    x = 10.0
    for k in range(100):
        x = x / 2 + k * 0
        if x < 1:
            break
    return x


BODIES = {
    "rebinding": ("x = x + 1\nx = x * 2\nreturn x", "real[n]", (X + 1) * 2),
    "value semantics": ("z = x\nz[0] = 7\nreturn x + 0 * z", "real[n]", X),
    "element": ("x[0] = 7\nx[-1] += 1\nx[1] *= 2\nx[2] -= 1\nx[3] /= 4\nreturn x", "real[n]",
                np.array([7, X[1] * 2, X[2] - 1, X[3] / 4, X[4] + 1])),
    "slices": ("S[1:, :] = 0\nS[:, 0] += 1\nS[0, ::2] = y[0]\nS[0, -1] = w[0]\nreturn S", "real[n, n]",
               changed(S, lambda s: (s.__setitem__((slice(1, None), slice(None)), 0), s.__setitem__((slice(None), 0), s[:, 0] + 1),
                                     s.__setitem__((0, slice(None, None, 2)), Y[0]), s.__setitem__((0, -1), W[0])))),
    "reversed slice": ("x[::-1] = x\nreturn x", "real[n]", X[::-1]),
    "column from a vector": ("S[:, :1] = x[:, None]\nreturn S", "real[n, n]", np.concatenate([X[:, None], S[:, 1:]], 1)),
    "new axis in a target": ("S[None, 0] = x[None]\nreturn S", "real[n, n]", np.concatenate([X[None], S[1:]], 0)),
    "broadcast into a slice": ("S[1:3] = x\nreturn S", "real[n, n]", np.concatenate([S[:1], [X, X], S[3:]], 0)),
    "picked elements": ("x[idx] = 1\nreturn x", "real[n]", np.array([1, X[1], 1, X[3], X[4]])),
    "picked and added, once as in NumPy": ("x[idx] += 1\nreturn x", "real[n]", X + np.array([1, 0, 1, 0, 0])),
    "picked apart go in front": ("return S[idx, :, None][:, 0, 0] + S[idx[0], 0]", "real[3]", S[[2, 0, 2], 0] + S[2, 0]),
    "scalar and picked apart go in front": ("T = zeros(2, n, n)\nT[0] = S\nreturn T[0, :, idx]", "real[3, n]", S.T[[2, 0, 2]]),
    "ellipsis": ("return S[..., 0] + S[0, ...]", "real[n]", S[:, 0] + S[0]),
    "clamped slices": ("return sum(x[1:99]) + sum(x[:-9]) + sum(x[9:]) + sum(x[-99:2])", "real", X[1:].sum() + X[:2].sum()),
    "down": ("for i in n-2..-1 by -1:\n    x[i] += x[i+1]\nreturn x", "real[n]", np.cumsum(X[::-1])[::-1]),
    "by two": ("for i in 0..n by 2:\n    x[i] = 0\nreturn x", "real[n]", X * [0, 1, 0, 1, 0]),
    "in place": ("for i in 1..n-1, j in 1..n-1:\n    S[i, j] = (S[i-1, j] + S[i, j-1] + S[i, j] + S[i+1, j] + S[i, j+1]) / 5\nreturn S",
                 "real[n, n]", seidel(S)),
    "triangular": ("c = zeros(n)\nfor i in 0..n, j in i..n:\n    c[i] += S[i, j]\nreturn c", "real[n]", np.triu(S).sum(1)),
    "bounds with min": ("c = zeros(n)\nfor i in 0..n, j in max(i-1, 0)..min(i+2, n):\n    c[i] += x[j]\nreturn c", "real[n]",
                        np.convolve(X, [1, 1, 1], "same")),
    "blocks": ("c = zeros(n)\nfor b in 0..(n+1)//2:\n    for i in 2*b..min(2*b+2, n):\n        c[i] = b\nreturn c", "real[n]",
               np.array([0, 0, 1, 1, 2.0])),
    "empty loop": ("for i in 3..2:\n    x[0] = 9\nreturn x", "real[n]", X),
    "until": ("v = 10.0\nfor k in 0..100 until v < 1:\n    v = v / 2\nreturn v", "real", while_halving()),
    "literal that becomes real": ("s = 0\nfor i in 0..n:\n    s += x[i]\nreturn s", "real", X.sum()),
    "literal that stays an integer": ("s = 0\nfor i in 0..n:\n    s += i\nreturn s", "i64", 10),
    "literal through two loops": ("s = 0\nfor i in 0..m:\n    for j in 0..n:\n        s += A[i, j]\nreturn s", "real", A.sum()),
    "swap": ("a, b = x[0], x[1]\na, b = b, a\nreturn a - b", "real", X[1] - X[0]),
    "typed": ("t: real[n] = 1\nu: real = 2\nreturn t * u", "real[n]", np.full(5, 2.0)),
    "branch on data": ("if x[0] > x[1]:\n    r = x[0]\nelse:\n    r = x[1]\nreturn r", "real", max(X[0], X[1])),
    "branch keeps": ("r = 0.0\nif x[0] > 100:\n    r = 1\nreturn r", "real", 0.0),
    "elif": ("r = 0\nif x[0] > 100:\n    r = 1\nelif x[0] < -100:\n    r = 2\nelse:\n    r = 3.5\nreturn r", "real", 3.5),
    "branch on indices": ("for i in 0..n, j in 0..n:\n    if i < j:\n        S[i, j] = 0\n    elif i == j:\n        S[i, j] = 1\nreturn S",
                          "real[n, n]", np.tril(S, -1) + np.eye(5)),
    "branch proves a bound": ("for i in 0..n:\n    if i + 1 < n:\n        x[i] = x[i+1]\nreturn x", "real[n]", np.append(X[1:], X[-1])),
    "name of a branch": ("if x[0] > 0:\n    a = 1.0\n    b = 2.0\nelse:\n    a = 3.0\nreturn a", "real", 1.0 if X[0] > 0 else 3.0),
    "chained scalars": ("return where(0 <= n < 9, 1.0, 0.0) + cast(0 < abs(x[0]) < 9, real)", "real", 2.0),
    "weak fractions": ("c = 1 / n\nreturn x * c + 2**3 - 7 // 2", "real[n]", X / 5 + 8 - 3),
    "size as a name": ("h = n - 1\nreturn zeros(h) + x[:h]", "real[n-1]", X[:4]),
    "several results": ("u, s, v = svd(A)\nreturn sum(s)", "real", np.linalg.svd(A)[1].sum()),
    "struct": ("t = topk(x, 2)\nreturn t.values + x[t.indices]", "real[2]", 2 * np.sort(X)[::-1][:2]),
    "tuple of axes": ("return sum(S, axis=(0, 1)) + S.T[0, 1] - S[1, 0]", "real", S.sum()),
    "local of a loop": ("for i in 0..n:\n    t = x[i] * 2\n    x[i] = t\nreturn x", "real[n]", 2 * X),
    "inner index shadows": ("s = 0.0\nfor i in 0..2:\n    for i in 0..3:\n        s += i\nreturn s", "real", 6.0),
    "bool": ("mask = x > 0\nreturn where(mask and not (x > 1), x, 0)", "real[n]", np.where((X > 0) & ~(X > 1), X, 0)),
    "matrix products": ("return A @ x + (x @ A.T) + (S @ S)[0, 0] + y @ A @ x", "real[m]", 2 * A @ X + (S @ S)[0, 0] + Y @ A @ X),
    "assert": ('assert all(abs(x) < 99), "small"\nreturn x', "real[n]", X),
    "powers": ("return x**2 + abs(x)**1.5 + x**3 + (x**2 + 1)**-1 + 2**x + x**0", "real[n]",
               X**2 + abs(X) ** 1.5 + X**3 + 1 / (X**2 + 1) + 2**X + 1),
    "integer division": ("i = 7\nreturn (idx // 2) + idx % 2 + i // 2", "i64[3]", np.array([4, 3, 4])),
    "integers divided are real": ("return idx / 2 + sum(idx) / 3", "real[3]", np.array([1, 0, 1]) + 4 / 3),
    "weak fractions become integers": ("return idx * cast(sqrt(n), i64) + cast(-1.7, i64) + cast(n / 2, i64)", "i64[3]", np.array([5, 1, 5])),
    "complex": ("z = cast(x, complex) * 1j\nreturn re(z * z) + im(z)", "real[n]", -(X**2) + X),
    "unicode": ("λ = 2\nτ = x * λ\nreturn τ", "real[n]", 2 * X),
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
def test_bodies(name: str) -> None:
    text, result, expected = BODIES[name]
    head = f"algorithm f(A: real[m, n], S: real[n, n], x: real[n], y: real[m], w: real[3], idx: i64[3]) -> {result} where n >= 4:"
    body = text.replace("\n", "\n    ")
    algorithm = only(f"{head}\n    {body}\n")
    (found,) = evaluate(algorithm, {"A": A, "S": S, "x": X, "y": Y, "w": W, "idx": np.array([2, 0, 2])})
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    assert found.shape == np.shape(expected)


def test_failed_assertion() -> None:
    from unspool.compiler.diagnostics import DataError

    algorithm = only('algorithm f(x: real[n]) -> real[n]:\n    assert all(x > 0), "positive"\n    return x')
    with pytest.raises(DataError, match="positive"):
        evaluate(algorithm, {"x": -np.ones(3)})


CALLS = {
    "derivative per element": ("fn sq(v, a) = a * v**2", "[grad(sq, v)(x[i], i + 1) for i in 0..n]", 2 * X * np.arange(1, 6)),
    "derivative of an index sum": ("fn q(v, B) = sum(B[i, j] * v[i] * v[j] for i in 0..5, j in 0..5)", "grad(q, v)(x, S[:5, :5])", (S + S.T) @ X),
    "loop in a function": ("fn pw(v, k):\n    p = 1.0\n    for i in 0..k:\n        p = p * v\n    return p", "[pw(x[i], 3) for i in 0..n]", X**3),
    "loop as long as the index": ("fn pw(v, k):\n    p = 1.0\n    for i in 0..k:\n        p = p * v\n    return p", "[pw(x[i], i) for i in 0..n]",
                                  X ** np.arange(5)),
    "branch in a function": ("fn g(v, k):\n    if k < 2:\n        r = v\n    else:\n        r = 0 * v\n    return r", "[g(x[i], i) for i in 0..n]",
                             X * [1, 1, 0, 0, 0]),
    "update in a function": ("fn g(v, k):\n    v[k] = 0\n    return sum(v)", "[g(x, i) for i in 0..n]", X.sum() - X),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_functions_in_comprehensions(name: str) -> None:
    fn, text, expected = CALLS[name]
    algorithm = only(f"{fn}\nalgorithm f(S: real[n, n], x: real[n]) -> real[n] where n >= 5:\n    return {text}\n")
    (found,) = evaluate(algorithm, {"S": S, "x": X})
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_random_numbers_in_a_comprehension_are_those_of_the_loop() -> None:
    import torch

    algorithm = only(
        "algorithm f(rng: key, x: real[n]) -> (real[n, 3], real[n, 3]):\n    a = [normal(fold(rng, i, 2), 3) for i in 0..n]\n"
        "    b = zeros(n, 3)\n    for i in 0..n:\n        b[i] = normal(fold(rng, i, 2), 3)\n    return a, b"
    )
    a, b = evaluate(algorithm, {"rng": torch.tensor(11), "x": np.zeros(4)})
    assert a.tolist() == b.tolist()
    assert len({*a.ravel().tolist()}) == 12
