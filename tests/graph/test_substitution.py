"""Triangular solves of a loop in blocks: the same values and gradients, and only where they pay."""

from __future__ import annotations

import pytest
import torch

import unspool as us
from unspool.compiler.driver import expands
from unspool.compiler.graph.graph import Graph, walk
from unspool.compiler.graph.interp import interpret
from unspool.compiler.graph.partition import own_names
from unspool.compiler.graph.simplify import simplify
from unspool.compiler.graph.specialize import specialize
from unspool.compiler.graph.substitution import BLOCKS, substitute

N, FEW = 69, 13
SOLVES = {
    "lower": "solve_triangular(C, x + b, lower=True)",
    "upper": "solve_triangular(C, x + b)",
    "lower, transposed": "solve_triangular(C.T, x + b)",
    "upper, transposed": "solve_triangular(C.T, x + b, lower=True)",
    "both": "solve_triangular(C.T, solve_triangular(C, x + b, lower=True))",
    "unit": "solve_triangular(C, x + b, lower=True, unit_diagonal=True)",
}


def program(solve: str, columns: str = "", n: int = N) -> Graph:
    text = f"""algorithm f(C: real[n, n], b: real[n{columns}]) -> real[n{columns}]:
    x = zeros(n{columns})
    for k in 0..3:
        x = tanh({solve})
    return x
"""
    (handle,) = us.loads(text)
    return simplify(specialize(handle.algorithm.graph, "f64", {"n": n}))


def substituted(graph: Graph, shared: set[str]) -> Graph:
    return substitute(graph, expands, own_names(graph, shared))


@pytest.mark.parametrize("columns", ["", ", 2"])
@pytest.mark.parametrize("name", SOLVES)
@pytest.mark.parametrize("n", [FEW, N])
def test_values_and_gradients_stay(name: str, columns: str, n: int) -> None:
    graph = program(SOLVES[name], columns, n)
    made = substituted(graph, {"C"})
    (loop,) = (n for n in made.nodes if n.op == "for")
    assert expands(loop)
    dice = torch.Generator().manual_seed(0)
    C = torch.randn(n, n, generator=dice, dtype=torch.float64) / n + 2 * torch.eye(n, dtype=torch.float64)
    b = torch.randn(n, *([2] if columns else []), generator=dice, dtype=torch.float64)
    found = []
    for one in (graph, simplify(made)):
        leaves = [C.clone().requires_grad_(), b.clone().requires_grad_()]
        (x,) = interpret(one, leaves, {})
        found.append([x.detach(), *torch.autograd.grad(x.square().sum(), leaves)])
    for want, got in zip(*found, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)


def test_blocks_are_inverted_once() -> None:
    made = substituted(program(SOLVES["both"]), {"C"})
    assert sum(n.op == "solve_triangular" for n in walk(made.nodes)) == BLOCKS


@pytest.mark.parametrize(
    ("solve", "shared"),
    [
        (SOLVES["lower"], set()),  # every problem has its matrix
        ("solve_triangular(C + k * eye(n), x + b, lower=True)", {"C"}),  # and every iteration
        ("solve_triangular(C, x + b, lower=True) + norm2(outer(x, b))", {"C"}),  # the loop is no kernel
        ("solve(C, x + b)", {"C"}),
    ],
)
def test_others_are_left_to_the_library(solve: str, shared: set[str]) -> None:
    graph = program(solve)
    assert substituted(graph, shared) is graph


def test_programs_outside_of_loops_too() -> None:
    (handle,) = us.loads("algorithm f(given C: real[n, n], b: real[n]) -> real[n]:\n    return solve_triangular(C, b, lower=True)\n")
    graph = simplify(specialize(handle.algorithm.graph, "f64", {"n": N}))
    assert substituted(graph, {"C"}) is graph


def test_a_batch_with_one_factor_is_one_kernel() -> None:
    (handle,) = us.loads("""algorithm admm(given A: real[m, n], y: real[m]) -> real[n]:
    iterations K = 4
    param rho: positive = 1.0
    C = cholesky(A.T @ A + rho * eye(n))
    b = A.T @ y
    z = zeros(n)
    u = zeros(n)
    for k in 0..K:
        x = solve_triangular(C.T, solve_triangular(C, b + rho * (z - u), lower=True))
        z = tanh(x + u)
        u = u + x - z
    return z
""")
    A = torch.randn(7, FEW, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = torch.randn(19, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = []
    for target in ("c", "interpreter"):
        layer = handle.build(A=A, target=target, dtype="f64")
        z = layer(y)
        found.append([z.detach(), *torch.autograd.grad(z.square().sum(), list(layer.parameters()))])
        if target == "c":
            (plan,) = layer._routine.main.plans.values()
            assert not [n for n in plan.program.graph.nodes if n.op == "for"]
            assert next(iter(reversed(plan.program.kernels.values()))).tile is not None
    for got, want in zip(*found, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-10)
