"""Sizes that ``where`` makes equal: the graph keeps one name, callers use the names they declared."""

from __future__ import annotations

import pytest
import torch

import unspool as us

SQUARE = us.loads(
    """
algorithm f(given A: real[m, n], y: real[m]) -> real[m] where m == n:
    objective J(x) = sum(x**2)
    param g[m] = 1
    return A @ y * g

algorithm halves(x: real[m], y: real[n]) -> real[n] where m == 2 * n:
    return x[:n] + x[n:] + y
"""
)
A, y = torch.eye(3), torch.ones(3)


@pytest.mark.parametrize("target", ["c", "interpreter"])
def test_every_way_to_call(target: str) -> None:
    want = A @ y
    assert torch.equal(SQUARE.f(A, y, target=target), want)
    layer = SQUARE.f.build(A=A, target=target)
    assert torch.equal(layer(y), want)
    assert layer.objective(y, y).item() == 3
    assert SQUARE.f.objective(y, A, y, target=target).item() == 3
    assert torch.equal(SQUARE.f.compile(shapes={"m": 3, "n": 3}, target=target)(A, y), want)
    assert torch.equal(SQUARE.halves(torch.ones(6), y, target=target), 3 * y)


def test_messages_use_the_declared_names() -> None:
    with pytest.raises(us.DataError, match=r"y is real\[m\] and needs shape \(3,\); got shape \(4,\); m = 3 \(A\)"):
        SQUARE.f(A, torch.ones(4))
    with pytest.raises(us.DataError, match=r"f needs m == n; here m = 3 \(A\), n = 2 \(A\)"):
        SQUARE.f(A[:, :2], y)
    with pytest.raises(us.DataError, match=r"f needs m == n; here m = 3 \(given by name\), n = 4 \(given by name\)"):
        SQUARE.f.compile(shapes={"m": 3, "n": 4})
    with pytest.raises(us.DataError, match=r"f needs the size n"):
        SQUARE.f.compile(shapes={"m": 3})
