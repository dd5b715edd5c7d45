"""The estimate: boxes against exact counts, what it prefers, and what the choice makes of it."""

from __future__ import annotations

import pytest

from unspool.compiler.graph.types import Size
from unspool.compiler.loops.dependences import IllegalSchedule
from unspool.compiler.loops.nest import Access, Apply, ArrayInfo, Dim, Leaf, LoopOrder, Nest, Order, Statement, sequence
from unspool.compiler.loops.schedule import apply, parse_schedule
from unspool.compiler.loops.scheduled import Scheduled
from unspool.compiler.loops.tree import Literal
from unspool.compiler.search import choose as choosing
from unspool.compiler.search.cost import estimate, operations
from unspool.compiler.search.draft import Draft, Task
from unspool.compiler.search.space import Space, lines, stride
from unspool.compiler.target import Machine

MACHINE = Machine(64, 32)
I, J, K = map(Size.of, "ijk")


def product(n: int, order: str = "ijk", upper: Size | None = None) -> Nest:
    """``C[i, j] += A[i, k] * B[k, j]`` with the loops in an order; ``upper`` bounds k."""
    bounds = {"i": Size.of(n), "j": Size.of(n), "k": upper or Size.of(n)}
    value = Apply("mul", (Access("A", (I, K), "f64"), Access("B", (K, J), "f64")), "f64")
    s = Statement("S", tuple(Dim(d, bounds[d]) for d in "ijk"), Access("C", (I, J), "f64"), value, "add")
    nest: Order = Leaf("S")
    for name in reversed(order):
        nest = LoopOrder(name, (("S", Size.of(name)),), nest)
    arrays = tuple(ArrayInfo(a, "f64", (Size.of(n), Size.of(n)), "output" if a == "C" else "input") for a in "ABC")
    return Nest("product", (), arrays, (s,), nest)


def seconds(nest: Nest, text: str = "") -> float:
    return estimate(apply(nest, parse_schedule(text)), MACHINE).seconds


@pytest.mark.parametrize(
    ("values", "trips"),
    [
        ([I // 8, J // 8, I, J], [12.5, 12.5, 8, 8]),
        ([I + J, I], [199, 50]),
        ([(I + J) // 10, I // 10, I, I + J], [20, 10, 10, 5]),
        ([J, I], [100, 100]),
    ],
)
def test_trips_multiply_to_the_number_of_instances(values: list[Size], trips: list[float]) -> None:
    s = Statement("S", (Dim("i", Size.of(100)), Dim("j", Size.of(100))), Access("C", (I, J), "f64"), Literal(0.0, "f64"))
    space, total = Space.of(s), 1.0
    for value, expected in zip(values, trips, strict=True):
        trip, space = space.enter(value)
        assert trip == pytest.approx(expected, rel=0.3)
        total *= trip
    assert total * space.points == pytest.approx(10_000)
    assert space.points == pytest.approx(1, abs=0.6)


def test_a_triangle_counts_half() -> None:
    s = Statement("S", (Dim("i", Size.of(100)), Dim("j", I + 1)), Access("C", (I, J), "f64"), Literal(0.0, "f64"))
    assert Space.of(s).points == pytest.approx(5050, rel=0.02)


def test_run_time_counts_are_nominal_and_equalities_take_a_dim_away() -> None:
    s = Statement("S", (Dim("t", Size.of("T")), Dim("j", Size.of(100))), Access("C", (J,), "f64"), Literal(0.0, "f64"))
    assert Space.of(s).points == 6400


def test_lines_and_strides() -> None:
    nest = product(64)
    s, info = nest.statements[0], nest.array("A")
    space = Space.of(s)
    row, column = Access("A", (I, K), "f64"), Access("A", (K, I), "f64")
    assert (stride(row, info, "k"), stride(column, info, "k")) == (1, 64)
    _, inner = space.enter(I)
    _, inner = inner.enter(J)
    assert lines(row, info, inner, 8).count == pytest.approx(8, abs=1)
    assert lines(column, info, inner, 8).count == 64


def test_a_multiplication_that_is_added_costs_nothing_of_its_own() -> None:
    assert operations(product(8).statements[0]) == 1


def test_unit_strides_vectors_threads_and_tiles_are_preferred() -> None:
    rows, columns = product(1000, "ikj"), product(1000, "jki")
    assert seconds(rows) < seconds(columns)
    assert seconds(rows, "vector j") < seconds(rows)
    assert seconds(rows, "parallel i; vector j") < 0.7 * seconds(rows, "vector j")
    assert seconds(rows, "parallel i; vector j") < seconds(columns, "parallel j; vector i")


def test_a_barrier_in_every_iteration_costs_and_a_small_problem_runs_alone() -> None:
    many = product(300, "kij")
    assert estimate(apply(many, parse_schedule("parallel i; vector j")), MACHINE).waiting > 0
    tiny = product(4, "kij")
    assert seconds(tiny, "parallel i") == seconds(tiny)


def test_a_loop_that_fits_a_cache_is_read_once() -> None:
    nest = product(400, "ikj")  # B has 1.28 MB: beyond l2, in l3
    found = estimate(apply(nest, parse_schedule("vector j")), MACHINE)
    assert found.bytes[1] > 20 * found.bytes[2]


def chosen(monkeypatch: pytest.MonkeyPatch, nest: Nest, *texts: str) -> str:
    task = Task(nest, MACHINE)

    def drafts(_: Task) -> list[Draft]:
        made = []
        for text in texts:
            draft = Draft(task, Scheduled.start(nest))
            for step in parse_schedule(text).steps:
                draft.take(step.name, *step.args)
            made.append(draft)
        return made

    monkeypatch.setattr(choosing, "candidates", drafts)
    return str(choosing.choose(task)[1])


def test_the_least_estimate_is_chosen_and_equals_are_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    nest = product(500, "ikj")
    assert chosen(monkeypatch, nest, "", "vector j", "parallel i; vector j", "interchange k j") == "parallel i\nvector j"
    assert chosen(monkeypatch, nest, "", "shift i 1") == ""


def test_what_cannot_be_proved_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    i = Size.of("i0")
    value = Access("A", (i + 1,), "f64")
    s = Statement("S0", (Dim("t0", Size.of(50)), Dim("i0", Size.of(999))), Access("A", (i,), "f64"), value)
    order = LoopOrder("t0", (("S0", Size.of("t0")),), LoopOrder("i0", (("S0", i),), Leaf("S0")))
    nest = Nest("sweep", (), (ArrayInfo("A", "f64", (Size.of(1000),), "output"),), (s,), sequence([order]))
    # the interchange applies, and is illegal
    assert chosen(monkeypatch, nest, "interchange t0 i0", "shift i0 1") == "shift i0 1"
    with pytest.raises(IllegalSchedule, match="no order"):
        chosen(monkeypatch, nest, "interchange t0 i0")
