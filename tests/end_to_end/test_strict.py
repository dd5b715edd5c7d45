"""``numerics="strict"``: every sum and product has the bits of one that is taken element by element in the order of the program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import unspool as us
from benchmarks.polybench.references import KERNELS
from tests.helpers import TVM_SLOW

Array = np.ndarray[Any, Any]


def added(terms: Array, axis: int = 0) -> Array:
    """The sum along an axis, one after the other."""
    taken: Array = np.take(np.cumsum(terms, axis=axis, dtype=terms.dtype), -1, axis)
    return taken


#: A program, and the same element by element.
SUMS: dict[str, tuple[str, Callable[..., Array]]] = {
    "vector": ("algorithm f(x: real[n]) -> real:\n    return sum(x)\n", added),
    "norm": ("algorithm f(x: real[n]) -> real:\n    return norm(x)\n", lambda x: np.sqrt(added(x * x))),
    "factors": ("algorithm f(x: real[n]) -> real:\n    return prod(1 + x / 8)\n", lambda x: np.cumprod(1 + x / np.float32(8))[-1]),
    "rows": ("algorithm f(A: real[m, n], x: real[n]) -> real[m]:\n    return A @ x\n", lambda A, x: added(A * x, 1)),
    "columns": ("algorithm f(A: real[m, n], x: real[m]) -> real[n]:\n    return A.T @ x\n", lambda A, x: added(A * x[:, None])),
    "matrix": ("algorithm f(A: real[m, n]) -> real:\n    return sum(A)\n", lambda A: added(A.ravel())),
    "product": ("algorithm f(A: real[m, n], B: real[n, p]) -> real[m, p]:\n    return A @ B\n",
                lambda A, B: added(A[:, :, None] * B, 1)),
    "loop": ("algorithm f(x: real[n]) -> real:\n    s = 0\n    for i in 0..n:\n        s += x[i]\n    return s\n", added),
    "distances": ("algorithm f(A: real[m, n], B: real[p, n]) -> real[m, p]:\n"
                  "    return [sum((A[i, k] - B[j, k]) ** 2 for k in 0..n) for i in 0..m, j in 0..p]\n",
                  lambda A, B: added((A[:, None] - B) ** 2, 2)),
}  # fmt: skip


def operands(handle: Any, sizes: dict[str, int]) -> dict[str, Array]:
    rng = np.random.default_rng(7)
    return {v.name: rng.normal(size=[s.evaluate(sizes) for s in v.type.shape]).astype("f4") for v in handle.algorithm.graph.inputs}


@pytest.mark.parametrize("target", ["c", "numba", TVM_SLOW])
@pytest.mark.parametrize("name", SUMS)
def test_sums_are_taken_in_order(name: str, target: str) -> None:
    text, in_order = SUMS[name]
    (handle,) = us.loads(text)
    given = operands(handle, {"m": 37, "n": 203, "p": 29})
    np.testing.assert_array_equal(handle(**given, numerics="strict", target=target), in_order(*given.values()))


def test_the_default_takes_them_otherwise() -> None:
    differ = []
    for text, in_order in SUMS.values():
        (handle,) = us.loads(text)
        given = operands(handle, {"m": 37, "n": 203, "p": 29})
        differ.append(not np.array_equal(handle(**given, target="c"), in_order(*given.values())))
    assert sum(differ) > len(differ) / 2


def tuple_of(found: Any) -> Sequence[Array]:
    return found if isinstance(found, tuple) else (found,)


@pytest.mark.parametrize("name", ["gemm", "mvt", "gesummv", "syr2k", "symm", "correlation", "cholesky", "trisolv"])
def test_the_choice_has_the_bits_of_program_order(name: str) -> None:
    kernel = KERNELS[name]
    sizes = {n: 61 + 7 * i for i, n in enumerate(kernel.sizes)}
    inputs = {n: np.float32(x) for n, x in kernel.inputs(np.random.default_rng(1), sizes).items()}
    handle = us.load(kernel.file)[kernel.name]
    ours, plain = (tuple_of(handle(**inputs, numerics="strict", target="c", schedule=s)) for s in (None, ""))
    for got, want in zip(ours, plain, strict=True):
        np.testing.assert_array_equal(got, want)


def test_a_sum_in_a_vector_loop_is_refused() -> None:
    (handle,) = us.loads(SUMS["rows"][0])
    handle.compile({"m": 4, "n": 6}, schedule="vector i3")
    with pytest.raises(us.UnspoolError, match=r"step `vector i3` does not apply: the output dependence on v0 joins different iterations"):
        handle.compile({"m": 4, "n": 6}, schedule="vector i3", numerics="strict")
