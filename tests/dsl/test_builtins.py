"""Every builtin against NumPy, SciPy and PyTorch: value, derivative, and in a batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from unspool.dsl.builtins.all import BUILTINS

from .builtin_cases import CASES, Case
from .builtin_harness import Key, Text, check_batched, check_gradient, close, run

#: Not functions of arrays alone; tested by their own tests.
ELSEWHERE = {"grad", "value_and_grad", "jvp", "vjp", "hvp", "cg", "normal", "uniform", "rademacher", "bernoulli", "randint",
             "permutation", "fold"}  # fmt: skip
DIFFERENTIABLE = [c for c in CASES if c.torch is not None]


def arrays(case: Case) -> list[np.ndarray]:
    flat: list[Any] = []
    for a in (*case.args, *case.kwargs.values()):
        flat.extend(a if isinstance(a, tuple) else (a,))
    return [a for a in flat if isinstance(a, np.ndarray)]


def test_every_builtin_has_a_case() -> None:
    assert {c.name for c in CASES} | ELSEWHERE == set(BUILTINS)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)
@pytest.mark.parametrize("symbolic", [True, False], ids=["named", "literal"])
def test_value(case: Case, symbolic: bool) -> None:
    if not symbolic and any("Size" in type(a).__name__ for a in case.args):
        pytest.skip("the call names a size")
    expected = case.expect(*arrays(case))
    found = run(case.name, *case.args, symbolic=symbolic, **case.kwargs)
    if isinstance(expected, tuple):
        for one, other in zip(found, expected, strict=True):
            close(one, other)
    else:
        close(found, np.asarray(expected))


@pytest.mark.parametrize("case", DIFFERENTIABLE, ids=lambda c: c.id)
def test_derivative(case: Case) -> None:
    assert case.torch is not None
    check_gradient(case.name, case.args, case.kwargs, case.torch)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)
def test_batched(case: Case) -> None:
    check_batched(case.name, case.args, case.kwargs)


def test_einsum_is_not_confused_by_case() -> None:
    a = np.arange(6.0).reshape(2, 3)
    close(run("einsum", Text("aB,B"), a, np.ones(3)), a.sum(1))


class TestRandom:
    def test_draws(self) -> None:
        x = run("normal", Key(3), 200, 50)
        assert x.shape == (200, 50)
        assert abs(x.mean()) < 0.05
        assert abs(x.std() - 1) < 0.05
        u = run("uniform", Key(3), 10000)
        assert 0 <= u.min() < 0.01 < 0.99 < u.max() < 1
        assert set(np.unique(run("rademacher", Key(3), 100))) == {-1.0, 1.0}
        r = run("randint", Key(3), -2, 3, 1000)
        assert r.dtype == np.int64
        assert set(np.unique(r)) == {-2, -1, 0, 1, 2}

    def test_bernoulli(self) -> None:
        x = run("bernoulli", Key(3), 0.25, 4000)
        assert x.dtype == np.float64
        assert abs(x.mean() - 0.25) < 0.03
        p = np.array([0.0, 0.5, 1.0])
        assert run("bernoulli", Key(3), p, 100, 3, symbolic=False)[:, ::2].mean() == 0.5
        assert run("bernoulli", Key(3), p).shape == (3,)
        close(run("bernoulli", Key(5), 0.3, 50), (run("uniform", Key(5), 50) < 0.3).astype(float))

    def test_permutation(self) -> None:
        order = run("permutation", Key(1), 20)
        assert sorted(order) == list(range(20))
        x = np.arange(40.0).reshape(20, 2)
        close(run("permutation", Key(1), x), x[order])
        check_gradient("permutation", [Key(1), x], {}, lambda _, t: t[torch.from_numpy(order)])

    def test_fold_gives_other_numbers(self) -> None:
        keys = {int(run("fold", Key(1), *words)) for words in ((0,), (1,), (0, 0), (0, 1), (1, 0), (np.asarray(7),))}
        assert len(keys) == 6
