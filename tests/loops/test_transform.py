"""Every step drawn, with what it does to one small nest; planted illegal schedules. Random ones: ``test_random_nests.py``."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.loops.run_tree import Runner
from unspool.compiler.graph.types import Size
from unspool.compiler.loops.dependences import IllegalSchedule
from unspool.compiler.loops.nest import Access, Apply, ArrayInfo, Dim, Leaf, LoopOrder, Nest, Statement, sequence
from unspool.compiler.loops.scan import scan
from unspool.compiler.loops.schedule import STEPS, Step, apply, apply_step, parse_schedule, prove
from unspool.compiler.loops.scheduled import Scheduled
from unspool.compiler.loops.steps.omit import can_omit
from unspool.compiler.loops.text import parse_nest, print_nest
from unspool.compiler.loops.tree import Literal
from unspool.compiler.loops.tree_text import print_tree


def chain(offset: int) -> Nest:
    """``T[i] = A[i]``, then ``B[i] = T[i + offset]``, in one loop over iterations."""
    i, j = Size.of("i0"), Size.of("i1")
    first = Statement("S0", (Dim("t0", Size.of("K")), Dim("i0", Size.of(8))), Access("T", (i,), "f64"), Access("A", (i,), "f64"))
    second = Statement("S1", (Dim("t0", Size.of("K")), Dim("i1", Size.of(8 - offset))), Access("B", (j,), "f64"),
                       Apply("neg", (Access("T", (j + offset,), "f64"),), "f64"))  # fmt: skip
    body = sequence([LoopOrder("i0", (("S0", i),), Leaf("S0")), LoopOrder("i1", (("S1", j),), Leaf("S1"))])
    order = LoopOrder("t0", (("S0", Size.of("t0")), ("S1", Size.of("t0"))), body)
    arrays = tuple(ArrayInfo(n, "f64", (Size.of(8),), s) for n, s in (("A", "input"), ("B", "output"), ("T", "problem")))
    return Nest("chain", ("K",), arrays, (first, second), order)


def sweep(reach: int = 1) -> Nest:
    """Gauss-Seidel in one dimension: ``A[i] = A[i] + A[i + reach]`` for all ``i``, K times."""
    i = Size.of("i0")
    dims = (Dim("t0", Size.of("K")), Dim("i0", Size.of(12 - reach)))
    value = Apply("add", (Access("A", (i,), "f64"), Access("A", (i + reach,), "f64")), "f64")
    statement = Statement("S0", dims, Access("A", (i,), "f64"), value)
    order = LoopOrder("t0", (("S0", Size.of("t0")),), LoopOrder("i0", (("S0", i),), Leaf("S0")))
    return Nest("sweep", ("K",), (ArrayInfo("A", "f64", (Size.of(12),), "output"),), (statement,), order)


def mean() -> Nest:
    """Gauss-Seidel in one dimension: ``A[i + 1] = (A[i] + A[i + 1] + A[i + 2]) / 3`` for all ``i``, K times."""
    i = Size.of("i0")
    dims = (Dim("t0", Size.of("K")), Dim("i0", Size.of(10)))
    terms = [Access("A", (i + n,), "f64") for n in range(3)]
    total = Apply("add", (Apply("add", (terms[0], terms[1]), "f64"), terms[2]), "f64")
    statement = Statement("S0", dims, terms[1], Apply("div", (total, Literal(3.0, "f64")), "f64"))
    order = LoopOrder("t0", (("S0", Size.of("t0")),), LoopOrder("i0", (("S0", i),), Leaf("S0")))
    return Nest("mean", ("K",), (ArrayInfo("A", "f64", (Size.of(12),), "output"),), (statement,), order)


def pair() -> Nest:
    """``A[i] = A[i] + 1; B[i] = A[i] * B[i]`` in one loop over i, K times."""
    i, t, one = Size.of("i0"), Size.of("t0"), Literal(1.0, "f64")
    dims = (Dim("t0", Size.of("K")), Dim("i0", Size.of(12)))
    a, b = Access("A", (i,), "f64"), Access("B", (i,), "f64")
    made = (Statement("S0", dims, a, Apply("add", (a, one), "f64")), Statement("S1", dims, b, Apply("mul", (a, b), "f64")))
    body = LoopOrder("i0", (("S0", i), ("S1", i)), sequence([Leaf("S0"), Leaf("S1")]))
    arrays = tuple(ArrayInfo(n, "f64", (Size.of(12),), "output") for n in "AB")
    return Nest("pair", ("K",), arrays, made, LoopOrder("t0", (("S0", t), ("S1", t)), body))


def reused() -> Nest:
    """``T[i, 0] = A[i]; B[i] = T[i, 0]``, then the same again with twice the values."""
    zero, two = Size.of(0), Literal(2.0, "f64")
    made, orders = [], []
    for n in (0, 2):
        i = Size.of(f"i{n}")
        a, b, t = Access("A", (i,), "f64"), Access("B", (i,), "f64"), Access("T", (i, zero), "f64")
        dims = (Dim(f"i{n}", Size.of(12)),)
        made += [Statement(f"S{n}", dims, t, a if n == 0 else Apply("mul", (a, two), "f64")), Statement(f"S{n + 1}", dims, b, t)]
        orders.append(LoopOrder(f"i{n}", ((f"S{n}", i), (f"S{n + 1}", i)), sequence([Leaf(f"S{n}"), Leaf(f"S{n + 1}")])))
    arrays = tuple(ArrayInfo(n, "f64", (Size.of(12),), s) for n, s in (("A", "input"), ("B", "output")))
    scratch = ArrayInfo("T", "f64", (Size.of(12), Size.of(3)), "problem")
    return Nest("reused", (), (*arrays, scratch), tuple(made), sequence(list(orders)))


def total() -> Nest:
    """``S += A[i] * A[j]`` for all ``i`` and ``j``, K times."""
    i, j, t = Size.of("i0"), Size.of("i1"), Size.of("t0")
    dims = (Dim("t0", Size.of("K")), Dim("i0", Size.of(12)), Dim("i1", Size.of(12)))
    value = Apply("mul", (Access("A", (i,), "f64"), Access("A", (j,), "f64")), "f64")
    statement = Statement("S0", dims, Access("S", (), "f64"), value, "add")
    order = LoopOrder("i0", (("S0", i),), LoopOrder("i1", (("S0", j),), Leaf("S0")))
    arrays = (ArrayInfo("A", "f64", (Size.of(12),), "input"), ArrayInfo("S", "f64", (), "output"))
    return Nest("total", ("K",), arrays, (statement,), LoopOrder("t0", (("S0", t),), order))


def rows() -> Nest:
    """A triangle with a statement at the end of each row: ``A[i] = A[i] + A[t]`` for ``i < t``, then ``A[t] = 2 * A[t]``."""
    i, t = Size.of("i0"), Size.of("t0")
    a, b = Access("A", (i,), "f64"), Access("A", (t,), "f64")
    inner = Statement("S0", (Dim("t0", Size.of(12)), Dim("i0", t)), a, Apply("add", (a, b), "f64"))
    last = Statement("S1", (Dim("t0", Size.of(12)),), b, Apply("mul", (Literal(2.0, "f64"), b), "f64"))
    body = sequence([LoopOrder("i0", (("S0", i),), Leaf("S0")), Leaf("S1")])
    arrays = (ArrayInfo("A", "f64", (Size.of(12),), "output"),)
    return Nest("rows", (), arrays, (inner, last), LoopOrder("t0", (("S0", t), ("S1", t)), body))


def history(reach: int, last: bool = True) -> Nest:
    """``T[t, i] = A[i] + T[t - 1, i] + T[t - reach, i]`` from ``reach`` rows on that are ``A``, and ``B`` is what came out."""
    i, t = Size.of("i0"), Size.of("t0")
    rows = Size.of("K") + reach
    first = Statement("S0", (Dim("t1", Size.of(reach)), Dim("i1", Size.of(8))), Access("T", (Size.of("t1"), Size.of("i1")), "f64"),
                      Access("A", (Size.of("i1"),), "f64"))  # fmt: skip
    terms = (Access("T", (t - 1, i), "f64"), Access("T", (t - reach, i), "f64"))
    step = Statement(
        "S1", (Dim("t0", rows, Size.of(reach)), Dim("i0", Size.of(8))), Access("T", (t, i), "f64"), Apply("add", terms, "f64")
    )
    row = rows - 1 if last else t
    out = Statement("S2", (Dim("t2", rows, Size.of(reach)), Dim("i2", Size.of(8))) if not last else (Dim("i2", Size.of(8)),),
                    Access("B", (Size.of("i2"),), "f64"), Access("T", (row if last else Size.of("t2"), Size.of("i2")), "f64"))  # fmt: skip

    def loops(name: str, *dims: str) -> LoopOrder:
        order: LoopOrder | Leaf = Leaf(name)
        for dim in reversed(dims):
            order = LoopOrder(dim, ((name, Size.of(dim)),), order)
        assert isinstance(order, LoopOrder)
        return order

    order = sequence([loops("S0", "t1", "i1"), loops("S1", "t0", "i0"), loops("S2", *(() if last else ("t2",)), "i2")])
    arrays = tuple(ArrayInfo(n, "f64", (Size.of(8),), s) for n, s in (("A", "input"), ("B", "output")))
    return Nest("history", ("K",), (*arrays, ArrayInfo("T", "f64", (rows, Size.of(8)), "problem")), (first, step, out), order)


def grid() -> Nest:
    """``T[i] = 2 * A[i]``; ``B[4 * i + j] = T[i] + T[j]``."""
    return parse_nest(
        "nest grid []\narray A: f64[4] input\narray B: f64[12] output\narray T: f64[4] problem\n"
        "S0 { i0: 0..4 } T[i0]:f64 = mul:f64(2.0:f64, A[i0]:f64)\n"
        "S1 { i1: 0..3, j1: 0..4 } B[4 * i1 + j1]:f64 = add:f64(T[i1]:f64, T[j1]:f64)\n"
        "order\n  for i0 serial (S0: i0)\n    S0\n  for i1 serial (S1: i1)\n    for j1 serial (S1: j1)\n      S1\n"
    )


DRAWN = {
    "fuse": (chain(0), "fuse i0 i1"),
    "distribute": (pair(), "distribute i0 S1"),
    "interchange": (pair(), "interchange t0 i0"),
    "shift": (chain(1), "shift i1 1; fuse i0 i1"),
    "retime": (chain(0), "retime S1 t0 S0"),
    "reverse": (pair(), "reverse i0"),
    "skew": (sweep(), "skew i0 t0"),
    "wavefront": (sweep(), "wavefront t0 i0; parallel t0"),
    "presum": (mean(), "presum S0 i0; distribute i0 S0; vector i0"),
    "trapezoid": (chain(1), "trapezoid t0 2 2 i0 i1; parallel t0_chunk"),
    "overlap": (chain(1), "overlap t0 2 3 i0 i1; contract T_t0 t0_tile; contract B_t0 t0_tile; parallel t0_tile"),
    "tile": (sweep(), "skew i0 t0 1; tile t0 i0 2 4"),
    "parallel": (chain(0), "parallel i0"),
    "vector": (chain(0), "vector i0"),
    "contract": (chain(0), "fuse i0 i1; contract T i0"),
    "permute": (pair(), "permute i0 t0"),
    "expand": (chain(0), "expand T t0"),
    "pack": (chain(0), "pack T S1 i1 3 t0"),
    "pad": (chain(0), "pack A S0 i0 3; pad S0 i0 3; tile i0 3; vector i0_i"),
    "rename": (reused(), "rename T i2; contract T_i2 i2"),
    "layout": (reused(), "layout T 1 0"),
    "privatise": (total(), "tile i0 5; privatise S i0_o; parallel i0_o"),
    "unroll": (chain(0), "unroll i0 3"),
    "unroll_jam": (total(), "unroll_jam i0 3"),
    "sink": (rows(), "sink S1 i0 t0"),
    "enclose": (rows(), "enclose S1 t0 t0+1"),
    "fission": (pair(), "fission i0 S0"),
    "split": (pair(), "split S0 i0<4"),
    "reindex": (rows(), "skew i0 t0 1; reindex S0 t0 i0"),
    "accumulate": (total(), "accumulate S0 i0"),
    "drop": (rows(), "sink S1 i0 t0; fission i0 S0; drop i0_b"),
    "omit": (reused(), "omit S1; omit S0"),
    "isl": (chain(1), "isl"),
    "fold": (history(2), "fold T 0"),
    "block": (chain(1), "overlap t0 2 3 i0 i1; contract T_t0 t0_tile; contract B_t0 t0_tile; block t0_tile; thread i0; thread i1"),
    "thread": (chain(0), "thread i0"),
    "lane": (total(), "lane i1 4"),
    "shared": (chain(0), "shared T; thread i0; thread i1"),
    "stage": (total(), "pack A S0 i1 8 i0; contract A_i1 i0; thread A_i1_o; thread A_i1_i; stage i0"),
    "tensor": (grid(), "tile i1 j1 16 8; thread i1_o 2; thread j1_o 2; tensor i1_i j1_i"),
    "inline": (grid(), "inline T"),
    "register": (chain(0), "fuse i0 i1; thread i0; register T i0"),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_step_drawn(name: str, golden: Callable[[str], None]) -> None:
    nest, text = DRAWN[name]
    scheduled = apply(nest, parse_schedule(text))
    golden(f"{print_nest(nest)}\n{text}\n\n{print_nest(scheduled.nest)}\n{print_tree(scan(scheduled, name))}")
    kept = [a for a in nest.arrays if a.scope != "problem"]
    found, expected = (
        [np.arange(1.0, 13.0)[: a.shape[0].constant] if a.shape else np.array(1.0) for a in kept] for _ in range(2)
    )
    Runner(scan(scheduled, name), found, {"K": 5}, 1)
    Runner(scan(Scheduled.start(nest), name), expected, {"K": 5}, 1)
    for got, want in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12)


def test_tiling_time_needs_a_skew_and_says_so() -> None:
    with pytest.raises(
        IllegalSchedule, match=r"step `tile t0 i0 2 4` does not apply: .* dependence on A is reversed, for instance S0\["
    ):
        apply(sweep(), parse_schedule("tile t0 i0 2 4"))
    apply(sweep(), parse_schedule("skew i0 t0 1; tile t0 i0 2 4"))
    with pytest.raises(IllegalSchedule, match="step `tile t0 i0 2 4`"):
        apply(sweep(2), parse_schedule("skew i0 t0 1; tile t0 i0 2 4"))
    apply(sweep(2), parse_schedule("skew i0 t0 2; tile t0 i0 2 4"))


def test_a_wavefront_is_parallel() -> None:
    scheduled = apply(sweep(), parse_schedule("skew i0 t0 2; interchange t0 i0; parallel t0"))
    found, expected = (np.arange(12.0) for _ in range(2))
    Runner(scan(scheduled, "k"), [found], {"K": 5}, 3)
    Runner(scan(Scheduled.start(sweep()), "k"), [expected], {"K": 5})
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    with pytest.raises(IllegalSchedule, match="joins different iterations"):
        apply(sweep(), parse_schedule("skew i0 t0 1; interchange t0 i0; parallel t0"))


def test_distributing_a_backward_dependence_is_refused() -> None:
    apply(pair(), parse_schedule("distribute i0 S1"))
    with pytest.raises(IllegalSchedule, match="does not begin a later part"):
        apply(pair(), parse_schedule("distribute i0 S0"))
    with pytest.raises(IllegalSchedule, match="lives in one iteration of i0"):
        apply(chain(0), parse_schedule("fuse i0 i1; contract T i0; distribute i0 S1"))
    with pytest.raises(IllegalSchedule, match="goes from S1 back to S0"):
        apply(chain(0), parse_schedule("distribute t0 S1"))


def test_what_waits_for_the_next_iteration_is_proved() -> None:
    apply(chain(0), parse_schedule("retime S1 t0 S0; retime S0 t0 S1"))
    with pytest.raises(IllegalSchedule, match=r"step `retime S0 t0 S1` does not apply: the flow dependence on T is reversed, for instance S0\["):
        apply(chain(0), parse_schedule("retime S0 t0 S1"))
    with pytest.raises(IllegalSchedule, match="the body of t0 has one part"):
        apply(chain(0), parse_schedule("fuse i0 i1; retime S1 t0 S0"))
    with pytest.raises(IllegalSchedule, match="S1 and S1 are in one part of t0"):
        apply(chain(0), parse_schedule("retime S1 t0 S1"))
    with pytest.raises(IllegalSchedule, match="there is no statement `S7`"):
        apply(chain(0), parse_schedule("retime S7 t0 S0"))
    with pytest.raises(IllegalSchedule, match="T lives in one iteration of t0 and is used in both"):
        apply(chain(0), parse_schedule("contract T t0; retime S1 t0 S0"))


def test_fusing_at_unequal_positions_is_refused_with_the_array() -> None:
    with pytest.raises(IllegalSchedule, match="dependence on T goes back to an earlier iteration"):
        apply(chain(1), parse_schedule("fuse i0 i1"))


def test_a_planted_illegal_order_is_refused_with_concrete_iterations() -> None:
    nest = chain(1)
    order = nest.order
    assert isinstance(order, LoopOrder)
    swapped = LoopOrder(order.name, order.values, sequence([order.body.children[1], order.body.children[0]]))  # type: ignore[union-attr]
    with pytest.raises(IllegalSchedule, match=r"flow dependence on T is reversed, for instance S0\[.*\] -> S1\["):
        prove(Scheduled.start(nest).with_order(swapped))


def test_a_planted_parallel_mark_is_refused() -> None:
    nest = chain(0)
    with pytest.raises(IllegalSchedule, match="joins different iterations"):
        apply(nest, parse_schedule("parallel t0"))
    order = nest.order
    assert isinstance(order, LoopOrder)
    marked = LoopOrder(order.name, order.values, order.body, "parallel")
    with pytest.raises(IllegalSchedule, match="t0 is marked parallel"):
        prove(Scheduled.start(nest).with_order(marked))


def test_contraction_makes_a_scalar_and_refuses_what_outlives_the_iteration() -> None:
    scheduled = apply(chain(0), parse_schedule("fuse i0 i1; contract T i0"))
    assert scheduled.nest.array("T").shape == ()
    with pytest.raises(IllegalSchedule, match="used outside"):
        apply(chain(0), parse_schedule("contract T i0"))


@pytest.mark.parametrize(
    "text", ["fuse i0", "fuse i0 nothing", "lane i0 3", "shared A", "register T i0", "melt i0", "tile i0 1", "parallel", "unroll_jam t0 0"]
)  # fmt: skip
def test_steps_that_do_not_apply_say_why(text: str) -> None:
    with pytest.raises(IllegalSchedule, match="step"):
        apply(chain(0), parse_schedule(text))


def test_copies_of_loops_whose_range_follows_one_inside_are_refused() -> None:
    nest = parse_nest(
        "nest f []\narray A: f64[2, 5] input\narray C: f64[5, 5] output\n"
        "S1 { i2: 0..2, i3: 0..5, i4: 0..i3 + 1 } C[i3, i4]:f64 add= A[i2, i3]:f64\norder\n"
        "  for i2 serial (S1: i2)\n    for i3 serial (S1: i3)\n      for i4 serial (S1: i4)\n        S1\n"
    )
    apply(nest, parse_schedule("permute i4 i3 i2; privatise C i2"))
    with pytest.raises(IllegalSchedule, match="the range of i4 around i2 follows i3, which is inside"):
        apply(nest, parse_schedule("permute i4 i2 i3; privatise C i2"))


def test_a_condition_on_the_counts_alone_is_kept_by_other_indices() -> None:
    """One row of a history, where there is one."""
    nest = parse_nest(
        "nest f [K]\narray A: f64[K] output\nS0 { t0: 0..K, t0 - 2 == 0 } A[t0]:f64 = 1.0:f64\norder\n  for t0 serial (S0: t0)\n    S0\n"
    )
    scheduled = apply(nest, parse_schedule("shift t0 3; reindex S0 t0"))
    (s,) = scheduled.nest.statements
    assert (str(s.dims), str(s.write.index), str(s.guards)) == ("(Dim(name='t0', upper=6, lower=5),)", "(t0 - 3,)", "(Guard(size=K - 3, op='>='),)")
    for count in range(5):
        found = np.zeros(count)
        Runner(scan(scheduled, "k"), [found], {"K": count})
        np.testing.assert_array_equal(found, [float(n == 2) for n in range(count)])


FILLED = """nest filled [K]
array A: f64[6] input
array B: f64[6] output
array T: f64[6] problem
S0 { i0: 0..6 } T[i0]:f64 = 0.0:f64
S1 { t1: 0..K, i1: 0..6 } T[i1]:f64 = A[i1]:f64
S2 { i2: 0..5 } B[i2]:f64 = T[i2]:f64
S3 { i3: 1..6 } T[i3]:f64 = 2.0:f64
S4 { i4: 1..6 } B[i4]:f64 add= T[i4]:f64
S5 { i5: 0..6 } B[i5]:f64 = add:f64(B[i5]:f64, T[i5]:f64)
order
  for i0 serial (S0: i0)
    S0
  for t1 serial (S1: t1)
    for i1 serial (S1: i1)
      S1
  for i2 serial (S2: i2)
    S2
  for i3 serial (S3: i3)
    S3
  for i4 serial (S4: i4)
    S4
  for i5 serial (S5: i5)
    S5
"""


@pytest.mark.parametrize(
    ("old", "new", "statement", "reason"),
    [
        ("", "", "S0", r"S2 reads of T what S0 writes, for instance S0\[i0=0\] -> S2\[i2=0\] \(K=0\)"),  # no iteration, no other value
        ("t1: 0..K", "t1: 0..3", "S0", None),
        ("t1: 0..K, i1: 0..6", "t1: 0..3, i1: 0..5", "S0", None),  # S3 writes the last one
        ("t1: 0..K, i1: 0..6", "t1: 0..3, i1: 1..6", "S0", r"S0\[i0=0\] -> S2\[i2=0\]"),
        ("", "", "S2", r"S4 reads of B what S2 writes, for instance S2\[i2=1\] -> S4\[i4=1\]"),  # a sum adds to it
        ("", "", "S5", "S5 writes results that stay in B"),
        ("i2: 0..5 } B[i2]:f64 = T[i2]", "i2: 0..5 } B[i2]:f64 = A[i2]", "S1", r"S5 reads of T what S1 writes, for instance .* \(K=1\)"),
    ],
)
def test_what_is_written_again_unread_may_be_omitted(old: str, new: str, statement: str, reason: str | None) -> None:
    nest = parse_nest(FILLED.replace(old, new) if old else FILLED)
    if reason is not None:
        with pytest.raises(IllegalSchedule, match=reason):
            apply(nest, parse_schedule(f"omit {statement}"))
        return
    scheduled = apply(nest, parse_schedule(f"omit {statement}"))
    assert statement not in scheduled.nest.statement_table
    for count in (0, 1, 2):
        found, expected = (np.zeros(6) for _ in range(2))
        Runner(scan(scheduled, "k"), [np.arange(6.0), found], {"K": count})
        Runner(scan(Scheduled.start(nest), "k"), [np.arange(6.0), expected], {"K": count})
        np.testing.assert_array_equal(found, expected)


def test_a_program_of_one_statement_keeps_it() -> None:
    with pytest.raises(IllegalSchedule, match="S0 is the whole program"):
        apply(sweep(), parse_schedule("omit S0"))


def test_copies_of_a_reduction_are_as_large_as_the_array() -> None:
    """``j0 - 3 i0`` is from 0 to 2, and by the ranges of ``i0`` and ``j0`` alone from -9 to 11."""
    nest = parse_nest(
        "nest f []\narray A: f64[4, 12] input\narray C: f64[3] output\n"
        "S1 { i0: 0..4, j0: 3 * i0..3 * i0 + 3 } C[-3 * i0 + j0]:f64 add= A[i0, j0]:f64\norder\n"
        "  for i0 serial (S1: i0)\n    for j0 serial (S1: j0)\n      S1\n"
    )
    scheduled = apply(nest, parse_schedule("privatise C i0; parallel i0"))
    a, found = np.arange(48.0).reshape(4, 12), np.ones(3)
    Runner(scan(scheduled, "k"), [a, found], {})
    np.testing.assert_array_equal(found, 1 + sum(a[i, 3 * i : 3 * i + 3] for i in range(4)))


def test_what_is_omitted_uses_no_array_of_an_iteration() -> None:
    """Tiles of one block of iterations: nothing comes back from an odd one, so the copy that would be is left out with its uses of the tile's array."""
    nest = chain(1)
    text = "overlap t0 2 3 i0 i1; contract T_t0 t0_tile; contract B_t0 t0_tile; parallel t0_tile"
    scheduled = apply(nest, parse_schedule(text))
    idle = [s for s in scheduled.nest.statement_table if can_omit(scheduled, s) is None]
    assert idle == []  # K may be any number
    fixed = parse_nest(print_nest(nest).replace("0..K", "0..2").replace("[K]", "[]"))
    scheduled = apply(fixed, parse_schedule(text))
    idle = [s for s in scheduled.nest.statement_table if can_omit(scheduled, s) is None]
    assert idle, "blocks of an odd number never run"
    for s in idle:
        scheduled = apply_step(scheduled, Step("omit", (s,)))
        prove(scheduled)
    kept = [a for a in fixed.arrays if a.scope != "problem"]
    found, expected = ([np.arange(1.0, 9.0) for _ in kept] for _ in range(2))
    Runner(scan(scheduled, "k"), found, {})
    Runner(scan(Scheduled.start(fixed), "k"), expected, {})
    np.testing.assert_allclose(found, expected, rtol=1e-14)
