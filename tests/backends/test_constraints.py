"""Constraints: inverse of each other, derivatives at the bounds, what is refused."""

from __future__ import annotations

import pytest
import torch

from unspool.backends.constraints import check, constrain, default, settled, store
from unspool.compiler.diagnostics import DataError
from unspool.compiler.graph.algorithm import Constraint

VALUES = {
    Constraint("free"): [-3.0, 0.0, 7.0],
    Constraint("positive"): [1e-30, 1e-6, 0.1, 1.0, 30.0, 1e6],
    Constraint("nonneg"): [0.0, 0.5, 1e9],
    Constraint("unit"): [0.0, 0.3, 1.0],
    Constraint("interval", -2.0, 5.0): [-2.0, 0.0, 5.0],
    Constraint("simplex"): [0.2, 0.7, 0.1],
}


@pytest.mark.parametrize("constraint", VALUES, ids=lambda c: c.kind)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_store_is_the_inverse(constraint: Constraint, dtype: torch.dtype) -> None:
    value = torch.tensor(VALUES[constraint], dtype=dtype)
    found = constrain(store(value, constraint, "p"), constraint)
    assert torch.allclose(found, value, rtol=64 * torch.finfo(dtype).eps, atol=0)
    check(default(constraint, (3,), dtype), constraint, "p")


@pytest.mark.parametrize(
    ("constraint", "value", "needed"),
    [
        (Constraint("positive"), [1.0, 0.0], "greater than 0; got 0"),
        (Constraint("positive"), [float("nan")], "greater than 0; got nan"),
        (Constraint("nonneg"), [-1e-3], "at least 0; got -0.001"),
        (Constraint("unit"), [1.5], "between 0 and 1; got 1.5"),
        (Constraint("interval", -2.0, 5.0), [6.0], "between -2 and 5; got 6"),
        (Constraint("simplex"), [0.5, 0.6], "sum 1 along the last axis"),
        (Constraint("simplex"), [1.5, -0.5], "at least 0 with sum 1"),
    ],
    ids=str,
)
def test_values_that_break_a_constraint(constraint: Constraint, value: list[float], needed: str) -> None:
    with pytest.raises(DataError, match=f"p is {constraint.kind}: every value must be .*{needed}"):
        store(torch.tensor(value), constraint, "p")


@pytest.mark.parametrize("constraint", [c for c in VALUES if c.kind in ("nonneg", "unit", "interval")], ids=lambda c: c.kind)
def test_derivative_is_one_up_to_the_bounds_and_what_is_beyond_comes_back(constraint: Constraint) -> None:
    stored = torch.tensor([*VALUES[constraint], -1e3, 1e12], requires_grad=True)
    constrain(stored, constraint).sum().backward()
    assert stored.grad is not None
    assert stored.grad.tolist() == [1.0] * len(stored)
    value = constrain(stored, constraint).detach()
    stored.grad = None
    again = settled(stored, constraint)
    assert torch.equal(stored.detach(), value)
    assert torch.equal(again.detach(), value)
    again.sum().backward()
    assert stored.grad.tolist() == [1.0] * len(stored)


def test_positive_stays_open() -> None:
    stored = torch.tensor([-1e4, -200.0, 0.0, 1e4], requires_grad=True)
    assert bool((constrain(stored, Constraint("positive")) > 0).all())
