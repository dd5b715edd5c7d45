"""Large products of host programs are calls of torch: results and gradients, of problems with one matrix and of each with its own."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from torch import Tensor

import unspool as us
from unspool.compiler.graph.ops.table import lookup

TEXT = """algorithm f(W: real[i, j], x: complex[j, n]) -> real[i, n]:
    u = re(ifft(x))
    return relu(einsum("ij,jn->in", W, sin(u))) + sum(u)
"""
SIZES = {"i": 32, "j": 32, "n": 2048}


def operands(own: bool) -> list[Tensor]:
    random = torch.Generator().manual_seed(1)
    W = torch.randn(*(3,) * own, 32, 32, generator=random, dtype=torch.float64)
    x = torch.randn(3, 32, 2048, generator=random, dtype=torch.complex128)
    return [W.requires_grad_(), x.requires_grad_()]


def test_a_large_product_stands_between_two_kernels() -> None:
    kernel = us.loads(TEXT).f.compile(SIZES)
    found = {o["operation"]: o["reason"] for o in kernel.report()["host"]["operations"]}
    assert found["einsum"] == "the library is faster at a product of this size"
    assert us.loads(TEXT).f.compile(SIZES, numerics="strict").report()["host"]["operations"] == [
        o for o in kernel.report()["host"]["operations"] if o["operation"] != "einsum"
    ]


@pytest.mark.parametrize("own", [False, True])
def test_results_and_gradients_are_those_of_the_interpreter(own: bool) -> None:
    given = operands(own)
    f = us.loads(TEXT).f
    weights = torch.linspace(-1, 1, 3 * 32 * 2048, dtype=torch.float64).reshape(3, 32, 2048)
    found, right = f(*given), f(*given, target="interpreter")
    torch.testing.assert_close(found, right)
    for a, b in zip(*(torch.autograd.grad((weights * y).sum(), given) for y in (found, right)), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("spec", ["ij,bjk->bik", "bjk,ij->bik", "ji,bjkl->bikl", "ij,bjk->bki", "ij,bj->bi", "ij,jbk->bik"])
def test_one_matrix_and_many(spec: str) -> None:
    sizes = {"i": 3, "j": 4, "b": 5, "k": 2, "l": 3}
    operands = [torch.randn([sizes[x] for x in part], dtype=torch.float64) for part in spec.partition("->")[0].split(",")]
    found = lookup("einsum").numerics(torch, {"spec": spec}, *operands)
    torch.testing.assert_close(found, torch.einsum(spec, *operands))
    assert found.is_contiguous() or spec not in ("ij,bjk->bik", "bjk,ij->bik", "ji,bjkl->bikl")


def test_every_product_of_two_matrices_or_a_matrix_and_a_vector() -> None:
    """Whichever factor comes first and whichever is turned."""
    sizes = {"i": 2, "j": 3, "k": 4}
    axes = ["".join(found) for length in (1, 2) for found in permutations(sizes, length)]
    for left in axes:
        for right in axes:
            operands = [torch.randn([sizes[x] for x in part], dtype=torch.float64) for part in (left, right)]
            letters = sorted(set(left + right))
            for result in ("".join(found) for length in range(3) for found in permutations(letters, length)):
                spec = f"{left},{right}->{result}"
                found = lookup("einsum").numerics(torch, {"spec": spec}, *operands)
                torch.testing.assert_close(found, torch.einsum(spec, *operands), msg=spec)
