"""Sums of outer products as products of stacks: the same values, and nothing but such sums."""

from __future__ import annotations

import pytest
import torch

import unspool as us
from unspool.compiler.graph.adjoint import backward
from unspool.compiler.graph.graph import Graph
from unspool.compiler.graph.interp import interpret
from unspool.compiler.graph.postpone import Postponed, Product, postpone
from unspool.compiler.graph.simplify import simplify
from unspool.compiler.graph.specialize import specialize

N = 64


def adjoint(body: str) -> Graph:
    text = f"""algorithm f(C: real[n, n], b: real[n]) -> real[n]:
    iterations K = 3
    x = b
    for k in 0..K:
        {body}
    return x
"""
    (handle,) = us.loads(text)
    return simplify(backward(specialize(handle.algorithm.graph, "f64", {"n": N}), [0, 1]))


def added_up(made: Postponed, found: tuple[torch.Tensor, ...], batched: bool = False, own: bool = False) -> torch.Tensor:
    terms = [torch.einsum(t.subscripts(batched, own), found[t.left], found[t.right]) for t in made.sums[0]]
    return sum(terms[1:], terms[0])


@pytest.mark.parametrize(("body", "terms"), [("x = tanh(C @ x)", 1), ("x = tanh(C @ tanh(C @ x + b))", 2)])
def test_gradients_of_matrices_are_products(body: str, terms: int) -> None:
    graph = adjoint(body)
    made = postpone(graph, {0})
    assert made is not None
    assert (made.stay, len(made.sums[0])) == ((1,), terms)
    assert all(made.graph.types[r].rank == 2 for r in made.graph.results[1:])
    dice = torch.Generator().manual_seed(0)
    operands = [torch.randn(*[N] * v.type.rank, generator=dice, dtype=torch.float64) / 8 for v in graph.inputs]
    for count in (0, 3):
        want = interpret(graph, operands, {"K": count})
        found = interpret(made.graph, operands, {"K": count})
        torch.testing.assert_close(found[0], want[1])
        torch.testing.assert_close(added_up(made, found), want[0])


@pytest.mark.parametrize(
    "body",
    [
        "x = tanh(b)",  # no gradient
        "x = tanh(C * x) @ x",  # its values follow from the matrix itself, element by element
        "x = tanh(C @ x) + sum(C * C) * x",  # more is added than outer products
    ],
)
def test_other_sums_stay(body: str) -> None:
    assert postpone(adjoint(body), {0}) is None


def test_results_that_nobody_asks_for_stay() -> None:
    assert postpone(adjoint("x = tanh(C @ x)"), {1}) is None  # a vector
    assert postpone(adjoint("x = tanh(C @ x)"), set()) is None


def test_subscripts_of_problems() -> None:
    product = Product(0, 1, "x,k->kx")
    assert product.subscripts(False, False) == "ax,ak->kx"
    assert product.subscripts(True, False) == "bax,bak->kx"
    assert product.subscripts(True, True) == "bax,bak->bkx"


def test_a_layer_with_a_library_call_learns_by_products() -> None:
    """The kernel of a loop stacks; gradients are those of the interpreter, of one problem and of many, and once more differentiated."""
    (handle,) = us.loads("""algorithm f(given A: real[n, n], y: real[n]) -> real[n]:
    iterations K = 3
    param scale: positive = 1.0
    W = inv(A + scale * eye(n))
    x = y
    for k in 0..K:
        x = tanh(W @ x + y)
    return x
""")
    dice = torch.Generator().manual_seed(0)
    A = torch.randn(N, N, generator=dice, dtype=torch.float64) / 8 + 2 * torch.eye(N, dtype=torch.float64)
    ours, reference = (handle.build(A=A, target=target, dtype="f64") for target in ("c", "interpreter"))
    for shape in ((N,), (19, N)):
        y = torch.randn(*shape, generator=dice, dtype=torch.float64)
        found = []
        for layer in (ours, reference):
            leaf = y.clone().requires_grad_()
            leaves = [leaf, *layer.parameters()]
            grads = torch.autograd.grad(layer(leaf).square().sum(), leaves, create_graph=True)
            found.append([*grads, *torch.autograd.grad(sum(g.square().sum() for g in grads), leaves)])
        for got, want in zip(*found, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-9)
    (plan,) = ours._routine.main.plans.values()
    assert any(type(d).__name__ == "Stacking" for p in plan.plans.values() for d in p._derived.values())
