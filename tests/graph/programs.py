"""Hand-built graphs that tests of the passes share: the shapes that real programs have."""

from __future__ import annotations

from collections.abc import Callable

from unspool.compiler.graph.graph import Builder, Graph, LoopBody, Value
from unspool.compiler.graph.types import At, Range, Size, SizeLike, Type


def at(*index: SizeLike) -> tuple[At, ...]:
    """Items that pick one element."""
    return tuple(At(Size.of(i)) for i in index)


def scalar(b: Builder, value: float) -> Value:
    """A float64 constant."""
    out: Value = b.op("const", value=float(value), dtype="f64")
    return out


def row(b: Builder, x: Value, index: SizeLike) -> Value:
    """``x[index]``."""
    out: Value = b.op("slice", x, items=(*at(index), *(Range(Size.of(0), s) for s in x.type.shape[1:])))
    return out


def ista() -> Graph:
    """Sparse recovery: two contractions an iteration, parameters ``step[k]`` and ``lam[k]``."""
    b = Builder("ista")
    A, y = b.input("A", Type.of("f64", "m", "n")), b.input("y", Type.of("f64", "m"))
    step, lam = b.input("step", Type.of("f64", "K")), b.input("lam", Type.of("f64", "K"))
    zero = scalar(b, 0.0)

    def body(x: Value) -> LoopBody:
        s = row(b, step, "k")
        r = b.op("sub", b.op("einsum", A, x, spec="ij,j->i"), y)
        v = b.op("sub", x, b.op("mul", s, b.op("einsum", A, r, spec="ij,i->j")))
        t = b.op("mul", row(b, lam, "k"), s)
        size = b.op("maximum", b.op("sub", b.op("abs", v), t), zero)
        return LoopBody((b.op("mul", b.op("sign", v), size),))

    start = b.op("broadcast", zero, shape=(Size.of("n"),))
    return b.finish(b.loop("k", 0, "K", [start], body, names=["x"]))


def cholesky() -> Graph:
    """In place, element by element, with triangular bounds."""
    b = Builder("cholesky")
    A = b.input("A", Type.of("f64", "n", "n"))

    def put(x: Value, value: Value, *index: SizeLike) -> Value:
        out: Value = b.op("update", x, value, items=at(*index), mode="set")
        return out

    def get(x: Value, *index: SizeLike) -> Value:
        out: Value = b.op("slice", x, items=at(*index))
        return out

    def less(x: Value, i: str, j: str, k: str) -> Value:
        return put(x, b.op("sub", get(x, i, j), b.op("mul", get(x, i, k), get(x, j, k))), i, j)

    def column(x: Value) -> LoopBody:
        (x,) = b.loop("k", 0, "j", [x], lambda x: LoopBody((less(x, "i", "j", "k"),)))
        return LoopBody((put(x, b.op("div", get(x, "i", "j"), get(x, "j", "j")), "i", "j"),))

    def line(x: Value) -> LoopBody:
        (x,) = b.loop("j", 0, "i", [x], column)
        (x,) = b.loop("k", 0, "i", [x], lambda x: LoopBody((less(x, "i", "i", "k"),)))
        return LoopBody((put(x, b.op("sqrt", get(x, "i", "i")), "i", "i"),))

    return b.finish(b.loop("i", 0, "n", [A], line, names=["A"]))


def substitution() -> Graph:
    """Forward substitution with slices whose size is the loop index: ``x[i] = (y[i] - L[i, :i] @ x[:i]) / L[i, i]``."""
    b = Builder("substitution")
    L, y = b.input("L", Type.of("f64", "n", "n")), b.input("y", Type.of("f64", "n"))
    first = Range(Size.of(0), Size.of("i"))

    def body(x: Value) -> LoopBody:
        known = b.op("slice", x, items=(first,))
        factors = b.op("slice", L, items=(*at("i"), first))
        dot = b.op("einsum", b.op("exp", factors), b.op("sin", known), spec="i,i->")
        rest = b.op("sub", row(b, y, "i"), dot)
        new = b.op("div", rest, b.op("slice", L, items=at("i", "i")))
        return LoopBody((b.op("update", x, new, items=at("i"), mode="set"),))

    start = b.op("broadcast", scalar(b, 0.0), shape=(Size.of("n"),))
    return b.finish(b.loop("i", 0, "n", [start], body, names=["x"]))


def branching() -> Graph:
    """A loop whose body takes one of two ways, chosen by data."""
    b = Builder("branching")
    x, theta = b.input("x", Type.of("f64", "n")), b.input("theta", Type.of("f64", "K"))

    def side(make: Callable[[], Value]) -> object:
        return b.region([], lambda: [make()])

    def body(x: Value) -> LoopBody:
        t = row(b, theta, "k")
        wave = b.op("sin", b.op("mul", x, t))
        low = b.op("lt", b.op("sum", wave, axes=(-1,)), scalar(b, 0.3))
        regions = (side(lambda: b.op("mul", b.op("exp", wave), x)), side(lambda: b.op("add", b.op("mul", t, t), b.op("cos", x))))
        out = b.op("if", low, regions=regions, types=(x.type,))
        return LoopBody((b.op("tanh", out),), (b.op("sum", out, axes=(-1,)),))

    return b.finish(b.loop("k", 0, "K", [x], body, names=["x"]))


def nested() -> Graph:
    """A loop over ``t`` of a loop over ``k``, both with parameters of their own, going up by two and down."""
    b = Builder("nested")
    x, theta, phi = b.input("x", Type.of("f64", "n")), b.input("theta", Type.of("f64", "K")), b.input("phi", Type.of("f64", "m"))

    def inner(z: Value) -> LoopBody:
        return LoopBody((b.op("sin", b.op("mul", z, row(b, phi, "t"))),), (b.op("exp", z),))

    def body(x: Value) -> LoopBody:
        z, path = b.loop("t", Size.of("m") - 1, -1, [b.op("mul", x, row(b, theta, "k"))], inner, step=-1, names=["z"])
        return LoopBody((b.op("add", z, b.op("sum", path, axes=(-2,))),))

    return b.finish(b.loop("k", 1, "K", [x], body, step=2, names=["x"]))
