"""Random nests: several statements over shared arrays inside a loop over iterations."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from unspool.compiler.graph.types import Size
from unspool.compiler.loops.nest import Access, Apply, ArrayInfo, Dim, Expr, Leaf, LoopOrder, Nest, Order, Statement, sequence

N = 6
ARRAYS = ("A", "B", "T")


def _offset() -> st.SearchStrategy[int]:
    return st.sampled_from([0, 0, 0, -1, 1])


@st.composite
def random_nests(draw: st.DrawFn, *, statements: int = 4) -> Nest:
    """A nest over 6x6 arrays A, B (outputs), T (temporary), a vector R and a scalar S; indices stay inside."""
    made: list[Statement] = []
    orders: list[Order] = []
    for n in range(draw(st.integers(2, statements))):
        i, j = f"i{n}", f"j{n}"
        triangular = draw(st.integers(0, 5)) == 0
        dims = (Dim("t0", Size.of("K")), Dim(i, Size.of(N - 2)), Dim(j, Size.of(i) + 1 if triangular else Size.of(N - 2)))

        def at(array: str, i: str = i, j: str = j) -> Access:
            return Access(array, (Size.of(i) + 1 + draw(_offset()), Size.of(j) + 1 + draw(_offset())), "f64")

        value: Expr = at(draw(st.sampled_from(ARRAYS)))
        if draw(st.booleans()):
            value = Apply("add", (value, at(draw(st.sampled_from(ARRAYS)))), "f64")
        if draw(st.integers(0, 3)) == 0:
            value = Apply("sub", (value, Access("R", (Size.of(i) + 1,), "f64")), "f64")
        kind = draw(st.integers(0, 5))
        if kind == 0:
            write, reduce = Access("R", (Size.of(i) + 1,), "f64"), "add"
        elif kind == 1:
            write, reduce = Access("S", (), "f64"), "add"
        else:
            write, reduce = Access(draw(st.sampled_from(ARRAYS)), (Size.of(i) + 1, Size.of(j) + 1), "f64"), ""
            value = Apply("mul", (value, Access("A", (Size.of(0), Size.of(0)), "f64")), "f64")
        made.append(Statement(f"S{n}", dims, write, value, reduce))
        order: Order = Leaf(f"S{n}")
        for name in (j, i):
            order = LoopOrder(name, ((f"S{n}", Size.of(name)),), order)
        orders.append(order)
    body = sequence(orders)
    whole = LoopOrder("t0", tuple((s.name, Size.of("t0")) for s in made), body)
    square, vector = (Size.of(N), Size.of(N)), (Size.of(N),)
    arrays = (
        ArrayInfo("A", "f64", square, "output"),
        ArrayInfo("B", "f64", square, "output"),
        ArrayInfo("T", "f64", square, "output"),
        ArrayInfo("R", "f64", vector, "output"),
        ArrayInfo("S", "f64", (), "output"),
    )
    return Nest("random", ("K",), arrays, tuple(made), whole)


def random_arrays(seed: int) -> list[np.ndarray]:
    """Values for the five arrays of a random nest."""
    g = np.random.default_rng(seed)
    return [
        g.uniform(-1, 1, (N, N)),
        g.uniform(-1, 1, (N, N)),
        g.uniform(-1, 1, (N, N)),
        g.uniform(-1, 1, N),
        g.uniform(-1, 1, ()),
    ]
