"""Triangular solves: their adjoint is a solve with the transpose, and keeps nothing of the steps, whether a loop or a builtin."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import unspool as us
from unspool.compiler.graph.adjoint import backward
from unspool.compiler.graph.graph import walk
from unspool.compiler.graph.simplify import simplify
from unspool.compiler.graph.specialize import specialize
from unspool.compiler.loops.lower import lower

TEXTS = us.loads(
    """
algorithm forward(L: real[n, n], b: real[n]) -> real[n]:
    x = b
    for i in 0..n:
        x[i] = (x[i] - sum(L[i, j] * x[j] for j in 0..i)) / L[i, i]
    return x

algorithm rows(L: real[n, n], b: real[n]) -> real[n, 2]:
    X = zeros(n, 2)
    for i in 0..n:
        s = stack(b[i], sin(b[i]), axis=0)
        for j in 0..i:
            s -= L[i, j] * X[j, :]
        X[i, :] = s / L[i, i]
    return X

algorithm backward(L: real[n, n], b: real[n]) -> real[n]:
    x = zeros(n)
    for i in n-1..-1 by -1:
        x[i] = (b[i] - sum(L[j, i] * x[j] for j in i+1..n)) / L[i, i]
    return x

algorithm nonlinear(L: real[n, n], b: real[n]) -> real[n]:
    x = b
    for i in 1..n:
        x[i] = tanh(x[i] * x[i-1]) - sum(L[i, j] * sin(x[j]) for j in 0..i-1)
    return x

algorithm iterated(L: real[n, n], b: real[n]) -> real[n]:
    iterations K = 3
    x = b
    for k in 0..K:
        z = zeros(n)
        for i in 0..n:
            z[i] = (x[i] - sum(L[i, j] * z[j] for j in 0..i)) / L[i, i]
        x = tanh(z + b)
    return x

algorithm later(L: real[n, n], b: real[n]) -> real[n]:
    x = b
    for i in 0..n-1:
        x[i] = sin(x[i] * x[i+1]) * L[i, i]
    return x

algorithm builtin(L: real[n, n], b: real[n]) -> real[n]:
    x = solve_triangular(L, b, lower=True)
    y = solve_triangular(L.T, sin(x))
    return solve(L @ L.T + eye(n), y)
""",
    "solves.us",
)
LOOPS = ["forward", "rows", "backward", "nonlinear", "iterated", "later"]
NUMBA_LATER = {"test_gradients_of_solves": ("rows", "backward", "nonlinear", "iterated", "later", "builtin")}
F64 = torch.float64


def operands() -> tuple[Tensor, Tensor]:
    dice = torch.Generator().manual_seed(2)
    lower = torch.randn(6, 6, generator=dice, dtype=F64) / 3 + 2 * torch.eye(6, dtype=F64)
    return torch.tril(lower), torch.randn(3, 6, generator=dice, dtype=F64)


@pytest.mark.parametrize("name", [*LOOPS, "builtin"])
def test_gradients_of_solves(name: str, target: str) -> None:
    a, b = operands()

    def solve(a: Tensor, b: Tensor) -> Tensor:
        x: Tensor = TEXTS[name](a, b, target=target, dtype="f64")
        return x

    assert torch.autograd.gradcheck(solve, (a.requires_grad_(), b.requires_grad_()))


@pytest.mark.parametrize("name", ["forward", "backward", "nonlinear", "builtin"])
def test_second_derivatives_of_solves(name: str) -> None:
    a, b = (x.requires_grad_() for x in operands())
    assert torch.autograd.gradgradcheck(lambda a, b: TEXTS[name](a, b, target="c", dtype="f64"), (a, b[:1].detach().requires_grad_()))


@pytest.mark.parametrize(("name", "stacks"), [("forward", 0), ("rows", 0), ("backward", 0), ("iterated", 1), ("nonlinear", 1), ("later", 1)])
def test_what_a_solve_keeps(name: str, stacks: int) -> None:
    """At most one row or number for each iteration, where a state for each would be a matrix."""
    graph = simplify(specialize(TEXTS[name].algorithm.graph, "f64", {"n": 50}))
    nest = lower(simplify(backward(graph, [0, 1])))
    tapes = [a for a in nest.arrays if "tape" in a.name]
    assert len(tapes) <= 2 * stacks
    assert not [a for a in tapes if len([s for s in a.shape if s.constant == 50]) > 1]


def test_the_adjoint_of_a_builtin_solve_is_a_solve() -> None:
    graph = simplify(specialize(TEXTS.builtin.algorithm.graph, "f64", {"n": 6}))
    used = [n.op for n in walk(simplify(backward(graph, [0, 1])).nodes)]
    assert "vjp" not in used
    assert used.count("solve_triangular") + used.count("solve") == 6


@pytest.mark.parametrize(("lead", "vector"), [((), True), ((), False), ((2,), False)])
def test_solves_of_stacks_of_complex_matrices(lead: tuple[int, ...], vector: bool) -> None:
    text = f"algorithm f(A: complex[{'p, ' if lead else ''}n, n], b: complex[{'p, ' if lead else ''}n{'' if vector else ', q'}]) -> "
    text += f"complex[{'p, ' if lead else ''}n{'' if vector else ', q'}]:\n    return "
    dice = torch.Generator().manual_seed(5)
    a = torch.randn(*lead, 4, 4, generator=dice, dtype=torch.complex128) + 3 * torch.eye(4)
    b = torch.randn(*lead, *((4,) if vector else (4, 3)), generator=dice, dtype=torch.complex128)
    for call in ("solve(A, b)", "solve_triangular(A, b, lower=True)", "solve_triangular(A, b, lower=True, unit_diagonal=True)"):
        (f,) = us.loads(text + call + "\n")
        assert torch.autograd.gradcheck(
            lambda a, b, f=f: f(a, b, target="c", dtype="f64"), (a.requires_grad_(), b.requires_grad_())
        )
