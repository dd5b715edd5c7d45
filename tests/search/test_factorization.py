"""Factorizations: found by structure, however they are written; right at every size; never worse than program order by the estimate."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import unspool as us
from unspool.compiler.search import choose as choosing
from unspool.compiler.search import factorization
from unspool.compiler.search.choose import candidates
from unspool.compiler.search.cost import estimate
from unspool.compiler.search.draft import Task
from unspool.compiler.search.factorization import factorizations

CHOLESKY = """
algorithm f(A: real[n, n]) -> real[n, n]:
    for i in 0..n:
        for j in 0..i:
            for k in 0..j:
                A[i, j] -= A[i, k] * A[j, k]
            A[i, j] /= A[j, j]
        for k in 0..i:
            A[i, i] -= A[i, k]**2
        A[i, i] = sqrt(A[i, i])
    return A
"""
SCALARS = """
algorithm f(M: real[n, n]) -> real[n, n]:
    G = zeros(n, n)
    for row in 0..n:
        for col in 0..row:
            G[row, col] = (M[row, col] - sum(G[col, q] * G[row, q] for q in 0..col)) / G[col, col]
        G[row, row] = sqrt(M[row, row] - sum(G[row, q]**2 for q in 0..row))
    return G
"""
LU = """
algorithm f(A: real[n, n]) -> real[n, n]:
    for i in 0..n:
        for j in 0..i:
            for k in 0..j:
                A[i, j] -= A[i, k] * A[k, j]
            A[i, j] /= A[j, j]
        for j in i..n:
            for k in 0..i:
                A[i, j] -= A[i, k] * A[k, j]
    return A
"""
ORTHOGONAL = """
algorithm f(A: real[n, n]) -> (real[n, n], real[n, n]):
    Q = zeros(n, n)
    R = zeros(n, n)
    for k in 0..n:
        R[k, k] = sqrt(sum(A[i, k]**2 for i in 0..n))
        for i in 0..n:
            Q[i, k] = A[i, k] / R[k, k]
        for j in k+1..n:
            R[k, j] = sum(Q[i, k] * A[i, j] for i in 0..n)
            for i in 0..n:
                A[i, j] -= Q[i, k] * R[k, j]
    return Q, R
"""
TRMM = """
algorithm f(A: real[n, n]) -> real[n, n]:
    B = A
    for i in 0..n, j in 0..n:
        for k in i+1..n:
            B[i, j] += A[k, i] * B[k, j]
        B[i, j] = 1.5 * B[i, j]
    return B
"""
LU_SUMS = """
algorithm f(matrix: real[n, n]) -> real[n, n]:
    for row in 0..n:
        for col in 0..row:
            matrix[row, col] = (matrix[row, col] - sum(matrix[q, col] * matrix[row, q] for q in 0..col)) / matrix[col, col]
        for col in row..n:
            matrix[row, col] -= sum(matrix[row, q] * matrix[q, col] for q in 0..row)
    return matrix
"""
PATHS = """
algorithm f(A: real[n, n]) -> real[n, n]:
    A = abs(A)
    for k in 0..n, i in 0..n, j in 0..n:
        A[i, j] = min(A[i, j], A[i, k] + A[k, j])
    return A
"""


def _lu(a: np.ndarray) -> np.ndarray:
    a = a.copy()
    for k in range(len(a)):
        a[k + 1 :, k] /= a[k, k]
        a[k + 1 :, k + 1 :] -= np.outer(a[k + 1 :, k], a[k, k + 1 :])
    return a


def _qr(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    q, r = np.linalg.qr(a)
    signs = np.sign(np.diag(r))
    return q * signs, (r.T * signs).T


def _trmm(a: np.ndarray) -> np.ndarray:
    b = a.copy()
    for i in range(len(a)):
        b[i] = 1.5 * (b[i] + a[i + 1 :, i] @ b[i + 1 :])
    return b


def _paths(a: np.ndarray) -> np.ndarray:
    a = abs(a)
    for k in range(len(a)):
        a = np.minimum(a, a[:, k : k + 1] + a[k : k + 1])
    return a


def matrix(n: int) -> np.ndarray:
    """Positive definite; its magnitudes are lengths of paths."""
    m = np.random.default_rng(n).standard_normal((n, n))
    return m @ m.T / n + np.eye(n)


REFERENCES = {
    "in place": (CHOLESKY, lambda a: np.linalg.cholesky(a) + np.triu(a, 1)),
    "scalars": (SCALARS, np.linalg.cholesky),
    "lu": (LU, _lu),
    "lu with sums": (LU_SUMS, _lu),
    "orthogonal": (ORTHOGONAL, _qr),
    "trmm": (TRMM, _trmm),
    "paths": (PATHS, _paths),
}
#: Those that go into blocks.
BLOCKED = ("in place", "scalars", "lu", "lu with sums", "orthogonal")
#: And of those, the ones whose updates are products of rows and columns.
UPDATED = ("in place", "scalars", "lu", "lu with sums")


def compiled(name: str, n: int, monkeypatch: pytest.MonkeyPatch) -> tuple[tuple[np.ndarray, ...], list[Task]]:
    """Results of the last candidate that goes into blocks, if there is one, and what was to be scheduled."""
    from unspool.backends.tuning import choice

    tasks: list[Task] = []

    def pick(task: Task, _: str):  # type: ignore[no-untyped-def]
        tasks.append(task)
        made = [d for d in candidates(task) if "factorizations" in d.origin]
        return made[-1] if made else choosing.chosen(task)

    monkeypatch.setattr(choice, "chosen", pick)
    found = us.loads(REFERENCES[name][0]).f(torch.as_tensor(matrix(n)))
    return tuple(np.asarray(t) for t in (found if isinstance(found, tuple) else (found,))), tasks


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("n", [1, 63, 200])
def test_results_are_right_at_every_size(name: str, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.no_grad():
        found, _ = compiled(name, n, monkeypatch)
    expected = REFERENCES[name][1](matrix(n))
    for got, want in zip(found, expected if isinstance(expected, tuple) else (expected,), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", UPDATED)
def test_blocks_of_large_matrices(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(factorization, "BLOCK", factorization.WIDE)
    with torch.no_grad():
        (found,), (task, *_) = compiled(name, 203, monkeypatch)
    assert any(s.args[1:] == (factorization.WIDE,) for d in candidates(task) for s in d.steps if s.name == "tile")
    np.testing.assert_allclose(found, REFERENCES[name][1](matrix(203)), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", REFERENCES)
def test_they_are_found_by_structure(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _, (task, *_) = compiled(name, 200, monkeypatch)
    made = [d for d in candidates(task) if "factorizations" in d.origin]
    assert bool(made) == (name in BLOCKED)
    if made:
        assert any("parallel" in loop.kind for loop in made[-1].scheduled.loops.values())
        updates = [s for s in made[-1].steps if s.name == "accumulate"]
        assert len(updates) == (0 if name not in UPDATED else 2 if "lu" in name else 1)
        assert len([s for s in made[-1].steps if s.name == "pack"]) >= len(updates)


@pytest.mark.parametrize("name", REFERENCES)
def test_the_choice_is_never_estimated_worse_than_program_order(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _, (task, *_) = compiled(name, 200, monkeypatch)
    scheduled, _ = choosing.choose(task)
    start, *_ = candidates(task)
    assert estimate(scheduled, task.machine).seconds <= estimate(start.scheduled, task.machine).seconds * (1 + choosing.TIE)


def test_small_ones_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    _, (task, *_) = compiled("in place", 60, monkeypatch)
    from unspool.compiler.search.draft import Draft

    assert not factorizations(Draft.of(task))
