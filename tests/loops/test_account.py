"""Counting and summing up: instances against isl's count, distances of known stencils, statements in infix."""

from __future__ import annotations

from random import Random

import islpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.loops.nests import CLASSES, random_nest
from unspool.compiler.graph.types import Size
from unspool.compiler.loops import isl
from unspool.compiler.loops.account import array_bytes, fix, flops_of, instances, work_of_nest
from unspool.compiler.loops.carriers import summaries
from unspool.compiler.loops.infix import domain_text, infix
from unspool.compiler.loops.nest import Access, Apply, ArrayInfo, Dim, Guard, Leaf, LoopOrder, Nest, Statement
from unspool.compiler.loops.scheduled import Scheduled
from unspool.compiler.loops.tree import Literal

N = Size.of("n")
i, j, k = map(Size.of, "ijk")


def counted(statement: Statement, sizes: dict[str, int]) -> int:
    points = isl.domain(statement, sorted(sizes))
    for place in range(points.dim(islpy.dim_type.param)):
        name = points.get_dim_name(islpy.dim_type.param, place)
        points = points.fix_val(islpy.dim_type.param, place, islpy.Val(sizes[name]))
    return int(points.count_val().to_python())


def over(*dims: Dim, guards: tuple[Guard, ...] = ()) -> Statement:
    return Statement("S0", dims, Access("a", (), "f64"), Literal(0.0, "f64"), guards=guards)


SHAPES = {
    "a box": over(Dim("i", N), Dim("j", N + 3)),
    "a triangle": over(Dim("i", N), Dim("j", i + 1)),
    "a pyramid": over(Dim("i", N), Dim("j", i), Dim("k", i, j)),
    "a band": over(Dim("i", N), Dim("j", i + 3, i)),
    "empty rows": over(Dim("i", N), Dim("j", i - 2)),
    "a triangle cut off": over(Dim("i", N), Dim("j", N, i + 1), Dim("k", Size.of(5))),
    "a diagonal": over(Dim("i", N), Dim("j", N), guards=(Guard(i - j, "=="),)),
    "all but a diagonal": over(Dim("i", N), Dim("j", N), guards=(Guard(i - j, "!="),)),
    "one half": over(Dim("i", N), Dim("j", N), guards=(Guard(i - j),)),
    "nothing": over(Dim("i", N), Dim("j", N), guards=(Guard(Size.of(-1)),)),
    "a point": over(),
}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("n", [0, 1, 2, 7, 60, 200])
def test_instances_of_known_shapes(name: str, n: int) -> None:
    assert instances(SHAPES[name], {"n": n}) == counted(SHAPES[name], {"n": n})


def test_large_counts_take_no_time_and_are_exact() -> None:
    n = 10**6
    assert instances(SHAPES["a triangle"], {"n": n}) == n * (n + 1) // 2
    assert instances(SHAPES["a pyramid"], {"n": n}) == sum(v * (v + 1) // 2 for v in range(n))


def test_what_is_no_polynomial_is_counted_nearly() -> None:
    half = over(Dim("i", N), Dim("j", i // Size.of(2)))
    assert instances(half, {"n": 1000}) == pytest.approx(counted(half, {"n": 1000}), rel=0.02)


@pytest.mark.parametrize("kind", CLASSES)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 9))
def test_instances_of_random_statements(kind: str, seed: int, count: int) -> None:
    nest = random_nest(Random(seed), kind)
    sizes = dict.fromkeys(nest.params, count)
    for statement in nest.statements:
        assert instances(statement, sizes) == counted(statement, sizes)
    fixed = fix(nest, sizes)
    assert not set().union(*(s.params() for s in fixed.statements))
    assert work_of_nest(fixed, {}) == work_of_nest(nest, sizes)


def test_operations_are_counted_by_their_names() -> None:
    x, z = Access("x", (i,), "f64"), Access("z", (i,), "c64")
    product = Apply("mul", (x, x), "f64")
    assert flops_of(Statement("S", (), x, product, "add")) == 2
    assert flops_of(Statement("S", (), x, Apply("where", (Apply("lt", (x, x), "bool"), product, x), "f64"))) == 1
    assert flops_of(Statement("S", (), z, Apply("mul", (z, z), "c64"), "add")) == 8
    assert flops_of(Statement("S", (), Access("n", (), "i64"), Apply("add", (Literal(1, "i64"),) * 2, "i64"))) == 0
    assert array_bytes(ArrayInfo("a", "bf16", (N, Size.of(3))), {"n": 5}) == 30


def sweep() -> Nest:
    """Gauss-Seidel in one dimension: ``A[i] = A[i - 1] + A[i + 1]``, T times."""
    t = Size.of("t")
    left, right = (Access("A", (i + d,), "f64") for d in (0, 2))
    s = Statement("S0", (Dim("t", Size.of("T")), Dim("i", Size.of(20))), Access("A", (i + 1,), "f64"),
                  Apply("mul", (Literal(0.5, "f64"), Apply("add", (left, right), "f64")), "f64"))  # fmt: skip
    order = LoopOrder("t", (("S0", t),), LoopOrder("i", (("S0", i),), Leaf("S0")))
    return Nest("sweep", ("T",), (ArrayInfo("A", "f64", (Size.of(22),), "output"),), (s,), order)


def test_dependences_have_distances_and_carriers() -> None:
    found = {d.kind: d for d in summaries(Scheduled.start(sweep()))}
    assert found["flow"].distances == (("0..", "1"), ("1..", "-1"))
    assert found["anti"].distances == (("1..", "-1"), ("0..", "1"))
    assert found["output"].distances == (("1..", "0"),)
    assert (found["flow"].carried, found["output"].carried) == (("t", "i"), ("t",))
    assert str(found["output"]) == "output A: S0 -> S0    (t, i) = (1.., 0)    carried by t"


def test_statements_in_infix() -> None:
    (s,) = sweep().statements
    assert infix(s) == "A[i + 1] = 0.5 * (A[i] + A[i + 2])"
    assert domain_text(s) == "t in 0..T, i in 0..20"
    x = Access("x", (), "f64")
    minus = Apply("sub", (x, Apply("sub", (x, Apply("neg", (x,), "f64")), "f64")), "f64")
    assert infix(Statement("S", (), x, minus, "max")) == "x max= x - (x - -x)"
    assert domain_text(over(guards=(Guard(N - 1),))) == "n - 1 >= 0"
