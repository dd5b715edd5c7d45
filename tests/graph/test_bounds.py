"""Upper bounds of sizes over an index, against every value; gradients of loops whose inner ranges are longest in the middle."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import unspool as us
from tests.helpers import TVM_SLOW
from unspool.compiler.graph.bounds import greatest
from unspool.compiler.graph.types import Size, size_fn

I, N = Size.of("i"), Size.of("n")
LINEAR = st.builds(lambda a, b, c: a * I + b * N + c, st.integers(-2, 2), st.integers(-1, 1), st.integers(-4, 4))
SIZES = st.recursive(
    LINEAR,
    lambda inner: st.one_of(
        st.builds(lambda op, a, b: size_fn(op, a, b), st.sampled_from(["min", "max"]), inner, inner),
        st.builds(lambda op, a, d: size_fn(op, a, d), st.sampled_from(["//", "%"]), inner, st.integers(2, 4)),
        st.builds(lambda a, b, c: a + c * b, inner, inner, st.sampled_from([-2, -1, 1, 3])),
    ),
    max_leaves=5,
)


@given(size=SIZES, n=st.integers(1, 9), first=LINEAR, last=LINEAR)
def test_no_value_is_greater(size: Size, n: int, first: Size, last: Size) -> None:
    first, last = (x.substitute({"i": 0}) for x in (first, last))
    bound = greatest(size, "i", first, last)
    assert "i" not in bound.names()
    low, high = sorted(x.evaluate({"n": n}) for x in (first, last))
    assert all(size.evaluate({"n": n, "i": i}) <= bound.evaluate({"n": n}) for i in range(low, high + 1))


def test_bounds_of_bands_are_the_width_of_the_band() -> None:
    trips = size_fn("min", N, I + 3) - size_fn("max", 0, I - 2)
    assert greatest(trips, "i", Size.of(0), N - 1).evaluate({"n": 100}) == 5


LOOPS = {
    "band": "for j in max(0, i - 2)..min(n, i + 3):",
    "alternating": "for j in 1 + i % 2..n by 2:",
    "longest in the middle": "for j in 0..min(i, n - i):",
    "shortest in the middle": "for j in min(i, n - i)..n:",
    "halves": "for j in i // 2..n - i // 3:",
}


@pytest.mark.parametrize("target", ["c", "numba", TVM_SLOW, "interpreter"])
@pytest.mark.parametrize("name", LOOPS)
def test_gradients_of_loops_with_such_ranges(name: str, target: str) -> None:
    """The stacks of an inner loop hold its longest run, wherever that is; against finite differences."""
    body = f"        {LOOPS[name]}\n            u[j] = 0.5 * w * u[j] + 0.2 * u[i]\n"
    text = f"algorithm f(u: real[n], w: real) -> real[n]:\n    for i in 0..n:\n{body}    return u\n"
    program = next(iter(us.loads(text)))
    g = torch.Generator().manual_seed(0)
    u, w = torch.rand(9, generator=g, dtype=torch.float64), torch.tensor(1.3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda *x: program(*x, target=target), (u.requires_grad_(), w.requires_grad_()))
