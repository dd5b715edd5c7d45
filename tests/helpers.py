"""Random graphs for property tests: elementwise with broadcasting, views, updates, reductions, contractions, scans,
branches and loops with indices, descending and triangular ones too, some with ``until``.

Values stay bounded, so that float32 and reordering show only rounding. ``USED`` counts the ops drawn, ``STEPS`` programs compiled
and the transformations applied to them, ``RUNS`` other random inputs, by kind; conftest.py prints all at the end of a run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
import torch
from hypothesis import strategies as st

from unspool.compiler.graph.graph import Builder, Graph, LoopBody, Value, walk
from unspool.compiler.graph.types import At, Range, Size, Type

USED: Counter[str] = Counter()
STEPS: Counter[str] = Counter()
RUNS: Counter[str] = Counter()
SIZES = {"n": 5, "m": 4, "K": 3}
#: Target tvm, in the default run too, and with ``--slow`` only: whole programs go through it in test_programs.py.
TVM = pytest.param("tvm", marks=pytest.mark.needs("tvm"))
TVM_SLOW = pytest.param("tvm", marks=[pytest.mark.needs("tvm"), pytest.mark.slow])
_SHAPES = [(), ("n",), ("m",), ("m", "n"), ("n", "n"), ("K",)]
_SMOOTH = ["tanh", "sin", "cos", "sigmoid", "softplus", "neg"]
_KINKED = ["abs", "relu", "sign"]
_BINARY = ["add", "sub", "mul"]


class _Maker:
    def __init__(self, draw: st.DrawFn, b: Builder, values: Sequence[Value], smooth: bool, index: str = "") -> None:
        self.draw, self.b, self.smooth = draw, b, smooth
        self.values = list(values)
        self.index = index  # of the loop around, which runs within 0..K

    def pick(self, rank: int | None = None) -> Value:
        fitting = [v for v in self.values if rank is None or v.type.rank == rank]
        return self.draw(st.sampled_from(fitting)) if fitting else self.values[0]

    def op(self, name: str, *operands: Value, **attrs: object) -> Value:
        out: Value = self.b.op(name, *operands, **attrs)
        return out

    def bounded(self, v: Value) -> Value:
        """The value squashed, so that products of products stay small."""
        return self.op("tanh", v)

    def elementwise(self) -> Value:
        x = self.pick()
        kind = self.draw(st.integers(0, 4))
        if kind == 0:
            return self.op(self.draw(st.sampled_from(_SMOOTH if self.smooth else _SMOOTH + _KINKED)), x)
        others = [
            v
            for v in self.values
            if v.type == x.type or v.type.rank == 0 or (v.type.rank == 1 and x.type.shape[-1:] == v.type.shape)
        ]
        y = self.draw(st.sampled_from(others))
        if kind == 1:
            one = self.op("const", value=1.5, dtype="f64")
            return self.op("div", x, self.op("add", one, self.op("mul", y, y)))
        if kind == 2 and not self.smooth:
            test = self.op(self.draw(st.sampled_from(["lt", "ge"])), x, y)
            return self.op("where", test, self.op("maximum", x, y), x)
        return self.op(self.draw(st.sampled_from(_BINARY)), x, y)

    def view(self) -> Value:
        x = self.pick()
        if not x.type.rank:
            return self.op("broadcast", x, shape=(Size.of(self.draw(st.sampled_from(["n", "m"]))),))
        kind = self.draw(st.integers(0, 4))
        if kind == 0:
            return self.op("flip", x, axes=(-1,))
        if kind == 1 and x.type.rank == 2:
            return self.op("permute", x, axes=(-1, -2))
        if kind == 2 and x.type.rank == 2 and x.type.shape[0] == x.type.shape[1]:
            return self.op("diagonal", x)
        if kind == 3:
            return self.op("slice", x, items=(*(Range(Size.of(0), s) for s in x.type.shape[:-1]), At(x.type.shape[-1] - 1)))
        base = self.op("concat", self.part(x, 1), self.part(x, 0, 1), axis=-1)
        return base

    def part(self, x: Value, start: int, size: int | None = None) -> Value:
        last = x.type.shape[-1]
        items = [Range(Size.of(0), s) for s in x.type.shape[:-1]]
        return self.op("slice", x, items=(*items, Range(Size.of(start), last - start if size is None else Size.of(size))))

    def update(self) -> Value:
        x = self.pick()
        if not x.type.rank:
            return self.elementwise()
        value = self.part(x, 0, 2)
        items = [Range(Size.of(0), s) for s in x.type.shape[:-1]]
        start = self.draw(st.integers(0, 1))
        mode = self.draw(st.sampled_from(["set", "add"]))
        return self.op("update", x, self.bounded(value), items=(*items, Range(Size.of(start), Size.of(2))), mode=mode)

    def reduce(self) -> Value:
        x = self.pick()
        if not x.type.rank:
            return self.elementwise()
        kind = self.draw(st.integers(0, 4))
        axes = (-1,) if x.type.rank == 1 or self.draw(st.booleans()) else (-2, -1) if self.draw(st.booleans()) else (-2,)
        if kind == 0 and not self.smooth:
            return self.op(self.draw(st.sampled_from(["max", "min"])), x, axes=axes)
        if kind == 1:
            return self.op("cumsum", self.bounded(x), axis=-1)
        if kind == 2 and x.type.rank == 2:
            y = self.op("permute", x, axes=(-1, -2))
            return self.bounded(self.op("einsum", x, y, spec="ij,jk->ik"))
        if kind == 4 and x.type.rank == 2:
            vectors = [v for v in self.values if v.type.shape == x.type.shape[1:]]
            if vectors:
                return self.bounded(self.op("einsum", x, self.draw(st.sampled_from(vectors)), spec="ij,j->i"))
        if kind == 3 and x.type.rank < 3:
            return self.bounded(self.op("einsum", x, x, spec="i,i->" if x.type.rank == 1 else "ij,ij->i"))
        return self.bounded(self.op("sum", x, axes=axes))

    def indexed(self) -> Value:
        """Something at, or up to, the index of the loop around."""
        long = [v for v in self.values if v.type.shape[:1] == (Size.of("K"),)]
        if not self.index or not long:
            return self.branch()
        x = self.draw(st.sampled_from(long))
        rest = [Range(Size.of(0), s) for s in x.type.shape[1:]]
        if self.draw(st.booleans()):
            part = self.op("slice", x, items=(Range(Size.of(0), Size.of(self.index) + 1), *rest))
            return self.bounded(self.op("sum", part, axes=(-x.type.rank,)))
        mode = self.draw(st.sampled_from(["set", "add"]))
        return self.op("update", x, self.bounded(self.pick(0)), items=(At(Size.of(self.index)), *rest), mode=mode)

    def branch(self) -> Value:
        """One of two ways, chosen by data."""
        if self.smooth:
            return self.elementwise()
        x, test = self.pick(), self.op("lt", self.pick(0), self.op("const", value=0.1, dtype="f64"))
        then = self.b.region([], lambda: [self.op("neg", self.bounded(x))])
        otherwise = self.b.region([], lambda: [x if self.draw(st.booleans()) else self.op("mul", x, self.pick(0))])
        return self.op("if", test, regions=(then, otherwise), types=(x.type,))

    def step(self, depth: int) -> None:
        makers = [self.elementwise, self.elementwise, self.view, self.update, self.reduce, self.indexed]
        if depth < 2 and self.draw(st.integers(0, 4)) == 0:
            self.values += self.loop(depth)
            return
        self.values.append(self.draw(st.sampled_from(makers))())

    def loop(self, depth: int) -> tuple[Value, ...]:
        index = "kj"[depth]
        state = [self.pick() for _ in range(self.draw(st.integers(1, 2)))]
        descending = self.draw(st.integers(0, 3)) == 0
        stack = self.draw(st.integers(0, 3)) == 0
        triangular = depth == 1 and self.draw(st.booleans())
        until = self.draw(st.integers(0, 3)) == 0
        thetas = [v for v in self.values if v.type.shape == (Size.of("K"),)]

        def body(*carried: Value) -> LoopBody:
            inner = _Maker(self.draw, self.b, [*self.values, *carried], self.smooth, index)
            if thetas and not triangular:
                inner.values.append(self.op("slice", thetas[0], items=(At(Size.of(index)),)))
            inner.values.append(self.op("size_value", value=Size.of(index), dtype="f64"))
            for _ in range(self.draw(st.integers(1, 4))):
                inner.step(depth + 1)
            after = []
            for old in carried:
                same = [v for v in inner.values if v.type == old.type]
                after.append(self.bounded(self.draw(st.sampled_from(same))))
            test = inner.op("lt", inner.pick(0), inner.op("const", value=0.1, dtype="f64")) if until else None
            return LoopBody(tuple(after), tuple(after[:1]) if stack else (), test)

        bounds: dict[str, object] = {"lower": 0, "upper": "k" if triangular else "K"}
        if descending:
            bounds = {"lower": Size.of("K") - 1, "upper": -1, "step": -1}
            if triangular:
                bounds["lower"] = Size.of("k") - 1
        if stack and triangular:
            bounds["stack_size"] = "K"
        return self.b.loop(index, carried=state, body=body, names=["x"] * 0, **bounds)  # type: ignore[arg-type]


@st.composite
def random_graphs(draw: st.DrawFn, *, smooth: bool = False, results: int = 2) -> Graph:
    """A well-typed float64 graph over inputs of the shapes above; ``smooth`` ones suit finite differences."""
    b = Builder("random")
    inputs = [b.input(f"in{n}", Type.of("f64", *shape)) for n, shape in enumerate(_SHAPES)]
    maker = _Maker(draw, b, inputs, smooth)
    for _ in range(draw(st.integers(2, 7))):
        maker.step(0)
    made = maker.values[len(inputs) :]
    graph = b.finish([made[-1], *(draw(st.sampled_from(made)) for _ in range(results - 1))])
    USED.update("until" if node.attr("until") else node.op for node in walk(graph.nodes))
    return graph


def random_inputs(graph: Graph, seed: int, batch: int = 0, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    """Values for the inputs of a random graph, with a leading axis of ``batch`` if that is not 0."""
    g = torch.Generator().manual_seed(seed)
    lead = (batch,) if batch else ()
    return [torch.randn((*lead, *(s.evaluate(SIZES) for s in v.type.shape)), generator=g, dtype=dtype) for v in graph.inputs]
