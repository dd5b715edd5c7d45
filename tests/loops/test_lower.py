"""Random graphs as nests: lowered, scheduled by our choice, scanned and run element by element."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import unspool as us
from tests.helpers import SIZES, random_graphs, random_inputs
from tests.loops.run_tree import Runner
from unspool.compiler.graph.graph import Builder, Graph, LoopBody, Value
from unspool.compiler.graph.interp import interpret
from unspool.compiler.graph.simplify import simplify
from unspool.compiler.graph.specialize import specialize
from unspool.compiler.graph.types import At, Range, Size, Type
from unspool.compiler.loops.lower import lower
from unspool.compiler.loops.scan import scan
from unspool.compiler.loops.schedule import apply, parse_schedule
from unspool.compiler.loops.text import parse_nest, print_nest
from unspool.compiler.search.choose import choose
from unspool.compiler.search.draft import Task
from unspool.compiler.target import Machine

CORE = {n: v for n, v in SIZES.items() if n != "K"}


def compare(graph: Graph, seed: int, schedule: str | None = None) -> None:
    fixed = simplify(specialize(graph, "f64", CORE))
    nest = lower(fixed)
    scheduled = choose(Task(nest, Machine(64, 32)))[0] if schedule is None else apply(nest, parse_schedule(schedule))
    assert parse_nest(print_nest(scheduled.nest)) == scheduled.nest
    inputs = random_inputs(graph, seed)
    want = interpret(graph, inputs, SIZES)
    outputs = [np.zeros(tuple(w.shape)) for w in want]
    Runner(scan(scheduled, "k"), [*(x.numpy() for x in inputs), *outputs], {p: SIZES[p] for p in nest.params}, seed)
    for got, expected in zip(outputs, want, strict=True):
        np.testing.assert_allclose(got, expected.numpy(), rtol=1e-9, atol=1e-9)


@settings(max_examples=60)
@given(graph=random_graphs(), seed=st.integers(0, 10**6))
def test_the_choice_computes_what_the_interpreter_does(graph: Graph, seed: int) -> None:
    compare(graph, seed)


@settings(max_examples=25)
@given(graph=random_graphs(), seed=st.integers(0, 10**6))
def test_program_order_computes_what_the_interpreter_does(graph: Graph, seed: int) -> None:
    compare(graph, seed, schedule="")


def test_values_are_not_overwritten_while_they_are_needed() -> None:
    """``A`` is updated in place in an inner loop while ``old = A[0]`` and the old ``A`` are still to be read."""
    b = Builder("hazard")
    a = b.input("A", Type.of("f64", "n"))

    def outer(x: object) -> LoopBody:
        old = b.op("mul", b.op("slice", x, items=(At(Size.of(0)),)), b.op("const", value=2.0, dtype="f64"))
        (inner,) = b.loop("i", 0, "n", [x], lambda y: LoopBody((b.op("update", y, old, items=(At(Size.of("i")),), mode="add"),)))
        return LoopBody((b.op("add", inner, x),))

    (x,) = b.loop("k", 0, "K", [a], outer)
    compare(b.finish([x, x]), 3)


def test_shifted_update_reads_the_old_values() -> None:
    """``x[1:] = x[:-1]`` copies the right side first."""
    b = Builder("shift")
    x = b.input("x", Type.of("f64", "n"))
    n = Size.of("n")
    body = b.op("slice", x, items=(Range(Size.of(0), n - 1),))
    y = b.op("mul", x, x)
    z = b.op("update", y, b.op("slice", y, items=(Range(Size.of(0), n - 1),)), items=(Range(Size.of(1), n - 1),), mode="set")
    compare(b.finish([z, body]), 1)


def test_swapped_carried_values() -> None:
    """``a, b = b, a`` in a loop."""
    b = Builder("swap")
    x, y = b.input("x", Type.of("f64", "n")), b.input("y", Type.of("f64", "n"))
    p, q = b.loop("k", 0, "K", [x, y], lambda u, v: LoopBody((v, b.op("tanh", u))))
    compare(b.finish([p, q]), 2)


BRANCHES = us.loads("""
algorithm least(v: real[n]) -> (real, real, real):
    iterations K = 6
    best = 1e9
    length = 0.0
    found = 0.0
    for k in 0..K:
        length += 1
        e = sum(v) - (length - 2)**2
        if e < best:
            best = e
            found = found + length
            length = 0.0
    return best, found, length

algorithm ordered(v: real[n]) -> (real[n], real[n]):
    iterations K = 3
    low = v + 2
    high = -v
    for k in 0..K:
        high[0] = 0.5 * k - low[0]
        if sum(low) > sum(high):
            low, high = high, low
    return low, high
""")


@pytest.mark.parametrize("name", ["least", "ordered"])
def test_a_branch_on_data_reads_the_old_states(name: str) -> None:
    """Its condition reads a state that it writes; it exchanges two."""
    compare(specialize(getattr(BRANCHES, name).algorithm.graph, "f64", CORE), 4, schedule="")


def test_the_nest_does_not_depend_on_the_iteration_count() -> None:
    b = Builder("count")
    x = b.input("x", Type.of("f64", 4))
    (out,) = b.loop("k", 0, "K", [x], lambda u: LoopBody((b.op("tanh", u),)))
    nest = lower(b.finish([out]))
    assert nest.params == ("K",)
    step = next(s for s in nest.statements if len(s.dims) == 2)
    assert str(step.dims[0].upper) == "K"


def test_an_equality_between_indices_guards_a_statement() -> None:
    """``if k == i: A[i] = 2 A[i]`` in two loops over indices: the guard becomes part of the domain."""
    b = Builder("diagonal")
    a = b.input("A", Type.of("f64", "n"))
    i = (At(Size.of("i")),)

    def inner(x: Value) -> LoopBody:
        test = b.op("eq", *(b.op("size_value", value=Size.of(n), dtype="i64") for n in "ki"))
        double = b.region([], lambda: [b.op("update", x, b.op("slice", x, items=i), items=i, mode="add")])
        same = b.region([], lambda: [x])
        return LoopBody((b.op("if", test, regions=(double, same), types=(x.type,)),))

    (out,) = b.loop("k", 0, "K", [a], lambda x: LoopBody(b.loop("i", 0, "n", [x], inner)))
    compare(b.finish([out]), 5)


def test_rows_of_a_stack_that_no_iteration_reaches_are_zeros() -> None:
    """A loop of ``k`` iterations inside a loop over ``k`` stacks into ``K`` rows; all of them are read."""
    b = Builder("triangle")
    a = b.input("a", Type.of("f64", "n"))

    def outer(total: Value) -> LoopBody:
        _, stack = b.loop("j", 0, "k", [a], lambda x: LoopBody((b.op("tanh", x),), (x,)), stack_size="K")
        return LoopBody((b.op("add", total, b.op("sum", stack, axes=(-2,))),))

    compare(b.finish(b.loop("k", 0, "K", [a], outer)), 4)


@pytest.mark.parametrize(("columns", "inner"), [(4, "column"), (5, "summand"), (16, "column")])
def test_columns_that_fill_short_vectors_go_innermost(columns: int, inner: str) -> None:
    """``x @ B`` goes along the columns of ``B``, whose rows are short vectors, and along the summands where vectors would have lanes over."""
    b = Builder("product")
    x, B = b.input("x", Type.of("f64", 64, 32)), b.input("B", Type.of("f64", 32, columns))
    nest = lower(b.finish([b.op("einsum", x, B, spec="ij,jk->ik")]))
    product = next(s for s in nest.statements if s.reduce)
    assert ("column" if product.dims[-1].name in product.write.names() else "summand") == inner
