"""Random contractions: sums of products over free and summed dims, in any order of loops and axes, into a temporary."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from unspool.compiler.graph.types import Size
from unspool.compiler.loops.nest import (
    Access,
    Apply,
    ArrayInfo,
    Dim,
    Expr,
    Leaf,
    LoopOrder,
    Nest,
    Order,
    Statement,
    sequence,
)
from unspool.compiler.loops.tree import Literal


def _loops(statement: str, dims: tuple[str, ...]) -> Order:
    order: Order = Leaf(statement)
    for d in reversed(dims):
        order = LoopOrder(d, ((statement, Size.of(d)),), order)
    return order


@st.composite
def contractions(draw: st.DrawFn, most: int = 13, *, least: int = 1, steps: bool = True) -> Nest:
    """``R[i, j] = sum of products over k``, for ``j < i + 1`` only in one case of three; operands transposed, offset or strided;
    one or two products; the loops in any order; with ``steps``, in one case of two, all of it K times, each time from R's last value."""
    m, n, depth = (draw(st.integers(least, most)) for _ in range(3))
    triangular = draw(st.integers(0, 2)) == 0
    n = m if triangular else n
    repeated = steps and draw(st.booleans())
    extent = {"i": m, "j": n, "k": depth}
    shapes: dict[str, list[int]] = {}

    def operand(name: str, letters: tuple[str, str]) -> Access:
        letters = letters[:: draw(st.sampled_from([1, -1]))]
        index, shape = [], []
        for letter in letters:
            step, first = draw(st.sampled_from([1, 1, 1, 2])), draw(st.sampled_from([0, 0, 1, 3]))
            index.append(Size.of(f"{letter}1") * step + first)
            shape.append((extent[letter] - 1) * step + first + 1)
        shapes[name] = shape
        return Access(name, tuple(index), "f64")

    value: Expr = Apply("mul", (operand("A", ("i", "k")), operand("B", ("k", "j"))), "f64")
    if draw(st.booleans()):
        value = Apply("add", (value, Apply("mul", (operand("C", ("j", "k")), operand("D", ("i", "k"))), "f64")), "f64")
    turned = draw(st.booleans())  # the temporary is stored the other way round

    def sized(number: int, letters: str) -> tuple[Dim, ...]:
        lead = (Dim("t0", Size.of("K")),) if repeated else ()
        bound = {letter: Size.of(extent[letter]) for letter in letters}
        if triangular:
            bound["j"] = Size.of(f"i{number}") + 1
        return (*lead, *(Dim(f"{letter}{number}", bound[letter]) for letter in letters))

    def at(array: str, number: int) -> Access:
        i, j = Size.of(f"i{number}"), Size.of(f"j{number}")
        return Access(array, (j, i) if turned and array == "T" else (i, j), "f64")

    inner = "".join(draw(st.permutations("ijk")))
    letters = inner if not triangular or inner.index("i") < inner.index("j") else inner[::-1]
    scaled = Apply("mul", (Literal(0.5, "f64"), at("T", 2)), "f64")
    made = (
        Statement("S0", sized(0, "ij"), at("T", 0), Literal(0.0, "f64")),
        Statement("S1", sized(1, letters), at("T", 1), value, "add"),
        Statement("S2", sized(2, "ij"), at("R", 2), Apply("add", (scaled, at("R", 2)), "f64")),
    )
    lead = ("t0",) if repeated else ()
    parts = [_loops(s.name, tuple(d.name for d in s.dims if d.name not in lead)) for s in made]
    order: Order = sequence(parts)
    if repeated:
        order = LoopOrder("t0", tuple((s.name, Size.of("t0")) for s in made), order)
    temporary = (n, m) if turned else (m, n)
    arrays = [ArrayInfo(a, "f64", tuple(map(Size.of, shape)), "input") for a, shape in shapes.items()]
    arrays += [ArrayInfo("R", "f64", (Size.of(m), Size.of(n)), "output"), ArrayInfo("T", "f64", tuple(map(Size.of, temporary)))]
    return Nest("product", ("K",) if repeated else (), tuple(arrays), made, order)


def values(nest: Nest, seed: int) -> list[np.ndarray]:
    """Values for the operands and results of a nest, in order."""
    g = np.random.default_rng(seed)
    shown = [a for a in nest.arrays if not a.temporary]
    return [g.uniform(-1, 1, tuple(s.constant or 0 for s in a.shape)) for a in shown]
