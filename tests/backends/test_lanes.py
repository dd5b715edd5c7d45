"""Vector loops that reduce: how they are cut, and that every cut gives the sums of the interpreter."""

import doctest

import pytest
import torch

import unspool as us
from unspool.backends import lanes
from unspool.backends.lanes import FEWEST, pieces

PROGRAM = """
algorithm reduce(x: real[n], y: real[n, 3]) -> (real, real[3], real, real):
    return sum(x[i] * x[i] - 1 for i in 0..n), [sum(y[i, j] * x[i] for i in 0..n) for j in 0..3], max(x), max(-x)
"""


def test_examples() -> None:
    assert doctest.testmod(lanes).failed == 0


@pytest.mark.parametrize("size", [4, 8, 16])
def test_pieces_cover_a_loop(size: int) -> None:
    for trips in range(1, 300):
        found = pieces(trips, size)
        ends = [0, *(piece.end for piece in found)]
        assert [piece.first for piece in found] == ends[:-1]
        assert all((piece.end - piece.first) % piece.lanes == 0 < piece.end - piece.first for piece in found)
        assert 0 <= trips - ends[-1] < FEWEST


def test_sums_of_what_an_iteration_has_for_itself() -> None:
    text = "algorithm f(x: real[n], y: real[n]) -> (real, real[n]):\n    t = y * x\n    return sum(t * t + x), t + 1\n"
    schedule = "fuse i0 i3; fuse i0 i6; contract v0 i0; vector i0"
    x, y = torch.arange(40.0), torch.linspace(-1, 1, 40)
    total, others = us.loads(text).f.build(n=40, target="c", schedule=schedule)(x, y)
    torch.testing.assert_close(total, ((x * y) ** 2 + x).sum())
    torch.testing.assert_close(others, x * y + 1)


@pytest.mark.parametrize("n", [3, 23, 151])
def test_sums_of_all_cuts(n: int) -> None:
    torch.manual_seed(n)
    x, y = torch.randn(n), torch.randn(n, 3)
    program = us.loads(PROGRAM).reduce
    expected = program.build(target="interpreter", dtype="f64")(x.double(), y.double())
    for got, want in zip(program.build(target="c", dtype="f32")(x, y), expected):
        torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=1e-5)
    z = x.clone()
    z[n // 2] = float("nan")
    assert all(torch.isnan(got).all() for got in program.build(target="c", dtype="f32")(z, y))
