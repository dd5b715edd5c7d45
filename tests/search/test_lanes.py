"""Recurrences side by side: found in every text of one, left alone where they are not independent."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import TVM_SLOW
from tests.loops.test_transform import reused
from tests.search.programs import DURBIN, chosen, graph_of, proposed
from unspool.compiler.loops.dependences import IllegalSchedule
from unspool.compiler.loops.schedule import apply, parse_schedule
from unspool.compiler.search.lanes import lanes
from unspool.compiler.target import Machine
from unspool.dsl.api import loads

MACHINE = Machine(32, 16, cores=2)
SIZES = {"m": 41, "n": 9, "K": 2}
TRIDIAGONAL = """algorithm thomas(a: real[m, n], d: real[m, n]) -> real[m, n]:
    x = zeros(m, n)
    p = zeros(m, n)
    q = zeros(m, n)
    for i in 0..m:
        p[i, 0] = 0.3
        q[i, 0] = d[i, 0] / 2
        for j in 1..n:
            p[i, j] = 1 / (4 - a[i, j] * p[i, j-1])
            q[i, j] = (d[i, j] - a[i, j] * q[i, j-1]) / (4 - a[i, j] * p[i, j-1])
        x[i, n-1] = q[i, n-1]
        for j in n-2..-1 by -1:
            x[i, j] = q[i, j] - p[i, j] * x[i, j+1]
    return x
"""
COLUMNS = """algorithm g(e: real[n, m]) -> real[n, m]:
    w = zeros(n, m)
    for c in 0..m:
        w[0, c] = e[0, c]
        for r in 1..n:
            w[r, c] = e[r, c] / (3 + w[r-1, c])
    return w
"""
FILTER = """algorithm iir(x: real[m, n]) -> real[m, n]:
    y = zeros(m, n)
    for i in 0..m:
        y[i, 0] = x[i, 0]
        for j in 1..n:
            y[i, j] = 0.9 * y[i, j-1] + x[i, j]
    return y
"""
BOTH_WAYS = """algorithm smooth(x: real[m, n]) -> real[m, n]:
    y = zeros(m, n)
    z = zeros(m, n)
    for i in 0..m:
        y[i, 0] = x[i, 0]
        z[i, n-1] = x[i, n-1]
        for j in 1..n:
            y[i, j] = 0.5 * y[i, j-1] + x[i, j]
        for j in n-2..-1 by -1:
            z[i, j] = 0.5 * z[i, j+1] + x[i, j]
    return y + z
"""
SCALARS = """algorithm second_order(x: real[m, n]) -> real[m, n]:
    y = zeros(m, n)
    for i in 0..m:
        last = 0.0
        before = 0.0
        for j in 0..n:
            y[i, j] = 0.9 * last - 0.2 * before + x[i, j]
            before = last
            last = y[i, j]
    return y
"""
DOWN = """algorithm filter(x: real[n, m]) -> real[n, m]:
    y = zeros(n, m)
    for c in 0..m:
        s = 0.0
        for r in n-1..-1 by -1:
            s = 0.5 * s + x[r, c]
            y[r, c] = s
    return y
"""
ITERATED = """algorithm adi(u: real[m, m]) -> real[m, m]:
    iterations K = 2
    p = zeros(m, m)
    for k in 0..K:
        for i in 0..m:
            p[i, 0] = 1
            for j in 1..m:
                p[i, j] = u[j, i] / (2 + p[i, j-1])
            for j in m-2..-1 by -1:
                u[j, i] = p[i, j] * u[j+1, i] + 0.1
        for i in 0..m:
            p[i, 0] = 2
            for j in 1..m:
                p[i, j] = u[i, j] / (3 + p[i, j-1])
            for j in m-2..-1 by -1:
                u[i, j] = p[i, j] * u[i, j+1] + 0.2
    return u
"""
#: name -> (text, loops whose iterations run side by side)
FOUND = {
    "tridiagonal": (TRIDIAGONAL, 1),
    "along columns": (COLUMNS, 1),
    "filter": (FILTER, 1),
    "both ways": (BOTH_WAYS, 1),
    "iterated": (ITERATED, 2),
    "scalars": (SCALARS, 1),
    "scalars down columns": (DOWN, 1),
}


@pytest.mark.parametrize("name", FOUND)
def test_it_is_found_in_every_text(name: str) -> None:
    text, loops = FOUND[name]
    schedule = proposed(lanes, graph_of(text), SIZES, MACHINE)
    assert sum(line.startswith("tile") for line in schedule.splitlines()) == loops, schedule


@settings(max_examples=8, deadline=None)
@given(m=st.integers(20, 45), n=st.integers(3, 9), name=st.sampled_from(sorted(FOUND)))
def test_sizes_that_nothing_divides(m: int, n: int, name: str) -> None:
    assert "tile" in proposed(lanes, graph_of(FOUND[name][0]), {"m": m, "n": n, "K": 2}, MACHINE)


def test_temporaries_of_a_block_have_their_lanes_innermost() -> None:
    schedule = proposed(lanes, graph_of(ITERATED), SIZES, MACHINE, run=False)
    assert schedule.count("rename p ") == schedule.count("contract p_") == 2
    assert schedule.count("layout p_") == 2


def test_it_says_no_where_nothing_is_independent() -> None:
    assert not proposed(lanes, graph_of(DURBIN), {"n": 60}, MACHINE)
    triangular = COLUMNS.replace("for r in 1..n", "for r in 1..c+1").replace("real[n, m]", "real[m, m]").replace("zeros(n, m)", "zeros(m, m)")
    assert not proposed(lanes, graph_of(triangular), {"m": 60}, MACHINE)
    sweep = COLUMNS.replace("(3 + w[r-1, c])", "(3 + w[r-1, c] + w[r, c-1])").replace("for c in 0..m", "for c in 1..m")
    assert not proposed(lanes, graph_of(sweep), SIZES, MACHINE)
    plain = "algorithm f(x: real[m, n], y: real[n]) -> real[m]:\n    return x @ y\n"
    assert not proposed(lanes, graph_of(plain), SIZES, MACHINE)
    assert not proposed(lanes, graph_of(COLUMNS), {"m": 6, "n": 9}, MACHINE)  # too few


def test_it_is_the_choice_where_lanes_lie_side_by_side() -> None:
    assert "tile" in chosen(graph_of(COLUMNS), {"m": 1000, "n": 1000}, Machine(64, 32))


@pytest.mark.parametrize("target", ["c", "numba", TVM_SLOW])
def test_kernels_and_gradients(target: str) -> None:
    """A forced schedule of the class, compiled, against the interpreter; the derivative too."""
    program = next(iter(loads(COLUMNS)))
    e = torch.rand(40, 150, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    found = []
    for chosen_target in (target, "interpreter"):
        y = program.build(target=chosen_target, dtype="f64")(e)
        found.append((y, torch.autograd.grad(y.square().sum(), e)[0]))
    for got, want in zip(*found, strict=True):
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("rename A i0", "not a temporary"),
        ("rename T i5", "no loop|no such loop"),
        ("rename T i2; rename T i2", "not used in i2"),
        ("layout T 0", "each of the 2 axes"),
        ("layout T 1 1", "each of the 2 axes"),
        ("layout B 0", "not a temporary"),
    ],
)
def test_what_does_not_apply_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(IllegalSchedule, match=reason):
        apply(reused(), parse_schedule(text))


def test_a_value_that_is_read_later_keeps_its_place() -> None:
    text = """algorithm f(x: real[m, n]) -> real[m]:
    p = zeros(n)
    y = zeros(m)
    for i in 0..m:
        for j in 0..n:
            p[j] = x[i, j]
        for j in 1..n:
            p[j] = p[j] + p[j-1]
        y[i] = p[n-1]
    return y + p[0]
"""
    schedule = proposed(lanes, graph_of(text), SIZES, MACHINE)
    assert "rename p" not in schedule
