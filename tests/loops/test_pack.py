"""Steps that rewrite a contraction: expand, pack, pad, permute, blocks of storage. Transformed against untransformed."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.loops.contractions import contractions, values
from tests.loops.drawing import siblings
from tests.loops.run_tree import Runner
from unspool.compiler.graph.types import Size
from unspool.compiler.loops.check import check_nest
from unspool.compiler.loops.dependences import IllegalSchedule
from unspool.compiler.loops.nest import Access, Apply, ArrayInfo, Dim, Guard, Leaf, LoopOrder, Nest, Order, Statement, sequence
from unspool.compiler.loops.scan import scan
from unspool.compiler.loops.schedule import Schedule, Step, apply, apply_step, parse_schedule, prove, why_not
from unspool.compiler.loops.scheduled import Scheduled
from unspool.compiler.loops.text import parse_nest, print_nest
from unspool.compiler.loops.tree import Literal
from unspool.compiler.loops.tree_text import parse_tree, print_tree


def run(scheduled: Scheduled, seed: int) -> np.ndarray:
    check_nest(scheduled.nest)
    arrays = values(scheduled.nest, seed)
    tree = scan(scheduled, "k")
    assert parse_tree(print_tree(tree)) == tree
    Runner(tree, arrays, {"K": 3}, seed)
    return arrays[-1]


def _step(scheduled: Scheduled, dice: random.Random) -> Step:
    loops = list(scheduled.loops)
    statement = dice.choice([s for s in scheduled.nest.statements if s.reduce] or list(scheduled.nest.statements))
    dims = [d.name for d in statement.dims]
    size = dice.choice([2, 3, 4, 5])
    kind = dice.choice(
        ["pack", "pack", "pad", "pad", "tile", "tile", "permute", "fuse", "fuse", "contract", "expand", "parallel", "vector"]
    )
    args: tuple[str | int, ...] = (dice.choice(loops),)
    if kind == "pack":
        args = (dice.choice([r.array for r in statement.reads()]), statement.name, dice.choice(dims), size)
        args = (*args, "t0") if "t0" in loops and dice.random() < 0.5 else args
    elif kind == "pad":
        chosen = dice.sample(dims, dice.randint(1, len(dims)))
        args = (statement.name, *(x for d in chosen for x in (d, dice.choice([2, 3, 4]))))
    elif kind == "tile":
        args = (*args, size)
    elif kind == "permute":
        band = [scheduled.loop(dice.choice(loops))]
        while isinstance(band[-1].body, LoopOrder):
            band.append(band[-1].body)
        names = [loop.name for loop in band]
        args = tuple(dice.sample(names, len(names)))
    elif kind == "fuse":
        args = siblings(scheduled, dice) or args
    elif kind == "contract":
        args = ("T", *args)
    elif kind == "expand":
        args = ("T", "t0")
    return Step(kind, args)


def test_random_steps_keep_the_result() -> None:
    applied: Counter[str] = Counter()

    @settings(max_examples=40, deadline=None)
    @given(nest=contractions(7), seed=st.integers(0, 10**6))
    def check(nest: Nest, seed: int) -> None:
        _walk(nest, seed, applied)

    check()
    assert not {"pack", "pad", "tile", "permute", "fuse", "contract", "expand", "parallel", "vector"} - applied.keys()


def _walk(nest: Nest, seed: int, applied: Counter[str]) -> None:
    start, dice = Scheduled.start(nest), random.Random(seed)
    expected, scheduled, steps = run(start, seed), start, []
    for _ in range(20):
        step = _step(scheduled, dice)
        if len(scheduled.loops) > 18 or why_not(scheduled, step) is not None:
            continue
        tried = apply_step(scheduled, step)
        try:
            prove(tried)
        except IllegalSchedule:
            continue
        scheduled = tried
        steps.append(step)
        applied[step.name] += 1
    text = str(Schedule(tuple(steps)))
    np.testing.assert_allclose(run(scheduled, seed), expected, rtol=1e-12, atol=1e-12, err_msg=f"{print_nest(nest)}\n{text}")
    assert apply(nest, parse_schedule(text)).nest == scheduled.nest
    assert parse_nest(print_nest(scheduled.nest)) == scheduled.nest


def product(*, hole: bool = False) -> Nest:
    """``R = A B`` for 5 x 7 and 7 x 6, through a temporary T; with ``hole`` T is read in one place more than the product fills."""
    i, j, k = (Size.of(x) for x in ("i1", "j1", "k1"))
    bounds = {"i": Size.of(5), "j": Size.of(6), "k": Size.of(7)}

    def dims(number: int, letters: str) -> tuple[Dim, ...]:
        return tuple(Dim(f"{x}{number}", bounds[x]) for x in letters)

    value = Apply("mul", (Access("A", (i, k), "f64"), Access("B", (k, j), "f64")), "f64")
    made = (
        Statement("S0", dims(0, "ij"), Access("T", (Size.of("i0"), Size.of("j0")), "f64"), Literal(0.0, "f64")),
        Statement("S1", dims(1, "ikj"), Access("T", (i, j), "f64"), value, "add"),
        Statement("S2", dims(2, "ij"), Access("R", (Size.of("i2"), Size.of("j2")), "f64"),
                  Access("T", (Size.of("i2") + hole, Size.of("j2")), "f64")),
    )  # fmt: skip
    parts: list[Order] = []
    for s in made:
        order: Order = Leaf(s.name)
        for d in reversed(s.dims):
            order = LoopOrder(d.name, ((s.name, Size.of(d.name)),), order)
        parts.append(order)
    shapes = {"A": (5, 7, "input"), "B": (7, 6, "input"), "R": (5, 6, "output"), "T": (5 + hole, 6, "problem")}
    arrays = tuple(ArrayInfo(a, "f64", (Size.of(x), Size.of(y)), scope) for a, (x, y, scope) in shapes.items())
    return Nest("product", (), arrays, made, sequence(parts))


PANELS = """
pack A S1 i1 4
pack B S1 j1 4
pad S1 i1 4 j1 4
tile i1 4
tile j1 4
tile k1 3
permute k1_o i1_o j1_o i1_i k1_i j1_i
parallel i1_o
vector j1_i
"""


def test_panels_make_every_tile_full() -> None:
    with pytest.raises(IllegalSchedule, match="joins different iterations"):
        apply(product(), parse_schedule(PANELS.replace("parallel i1_o", "parallel k1_o")))
    scheduled = apply(product(), parse_schedule(PANELS), strict=True)
    a, b, r = arrays = values(product(), 1)
    tree = scan(scheduled, "k")
    text = print_tree(tree)
    assert "//" not in text, "places in panels are differences of loop variables"
    assert "min(" not in text.split("A_i1.f64")[1].split("for")[0]
    Runner(tree, arrays, {})
    np.testing.assert_allclose(r, a @ b, rtol=1e-14)
    assert scheduled.nest.array("T").shape == (Size.of(8), Size.of(8))


def test_a_block_of_a_temporary_is_local_to_its_tile() -> None:
    steps = "tile i0 2; tile i1 2; tile i2 2; fuse i0_o i1_o; fuse i0_o i2_o; contract T i0_o"
    scheduled = apply(product(), parse_schedule(steps))
    assert scheduled.nest.array("T") == ArrayInfo("T", "f64", (Size.of(2), Size.of(6)), "local i0_o")
    a, b, r = arrays = values(product(), 2)
    Runner(scan(scheduled, "k"), arrays, {})
    np.testing.assert_allclose(r, a @ b, rtol=1e-14)


def test_a_block_keeps_room_for_neighbours() -> None:
    """``B[i] = T[i] + T[i + 1]``, T made again for every block: one element more than the block."""
    i, j = Size.of("i0"), Size.of("i1")
    dims = (Dim("t0", Size.of(4)),)
    first = Statement(
        "S0", (*dims, Dim("i0", Size.of("t0") * 3 + 4, Size.of("t0") * 3)), Access("T", (i,), "f64"), Access("A", (i,), "f64")
    )
    value = Apply("add", (Access("T", (j,), "f64"), Access("T", (j + 1,), "f64")), "f64")
    second = Statement("S1", (*dims, Dim("i1", Size.of("t0") * 3 + 3, Size.of("t0") * 3)), Access("B", (j,), "f64"), value)
    body = sequence([LoopOrder("i0", (("S0", i),), Leaf("S0")), LoopOrder("i1", (("S1", j),), Leaf("S1"))])
    order = LoopOrder("t0", (("S0", Size.of("t0")), ("S1", j // 3)), body)
    arrays = tuple(
        ArrayInfo(n, "f64", (Size.of(size),), s) for n, size, s in (("A", 13, "input"), ("B", 12, "output"), ("T", 13, "problem"))
    )
    nest = Nest("blocks", (), arrays, (first, second), order)
    scheduled = apply(nest, parse_schedule("contract T t0"))
    assert scheduled.nest.array("T").shape == (Size.of(13),), "S0 does not follow blocks by division: nothing is known"


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        ("pack A S1 j1 4", "in no places"),
        ("pack A S1 i1 0", "at least 1 element"),
        ("pack A S0 i0 4", "in no places"),
        ("pack A S9 i1 4", "no statement `S9`"),
        ("pack A S1 q 4", "no dim `q`"),
        ("pack A S1 i1 4 j0", "no loop j0 around S1"),
        ("pack A S1 i1 4 i1", "fixed in i1"),
        ("pack A S1 i1 4; pack A S1 i1 4", "in no places"),
        ("pack T S2 i2 4; pack T S2 i2 4", "in no places"),
        ("permute i1 j1", "not directly inside"),
        ("permute i1 i1", "in their new order"),
        ("pad S1 i1 4", "reach outside A"),
        ("pad S2 i2 4", "not a temporary"),
        ("pad S1 k1 4", "reach outside"),
        ("pad S1 i1 0", "at least 2"),
        ("pad S1 q 4", "no dim `q`"),
        ("pack A S1 k1 4; pack B S1 k1 4; pad S1 k1 4", "uses elements of T that it would change"),
        ("expand A i1", "not a temporary"),
        ("expand T i1", "used outside"),
        ("expand T q", "no loop `q`"),
    ],
)  # fmt: skip
def test_what_a_step_refuses(steps: str, reason: str) -> None:
    with pytest.raises(IllegalSchedule, match=reason):
        apply(product(), parse_schedule(steps))


def test_padding_must_not_reach_what_is_read() -> None:
    steps = "pack A S1 i1 2; pad S1 i1 2"
    apply(product(), parse_schedule(steps))
    with pytest.raises(IllegalSchedule, match="S2 uses elements of T"):
        apply(product(hole=True), parse_schedule(steps))


def test_padding_to_the_size_that_there_is_changes_nothing() -> None:
    scheduled = apply(product(), parse_schedule("pack A S1 i1 5; pad S1 i1 5"))
    assert scheduled.padded == ()
    assert apply(product(), parse_schedule("pack A S1 i1 2; pad S1 i1 2")).padded != ()


def test_packing_what_is_written_meanwhile_is_refused() -> None:
    """``A[i] = A[i] + A[i + 1]`` K times: a copy from before all iterations is stale in the second."""
    i = Size.of("i0")
    value = Apply("add", (Access("A", (i,), "f64"), Access("A", (i + 1,), "f64")), "f64")
    s = Statement("S0", (Dim("t0", Size.of("K")), Dim("i0", Size.of(11))), Access("B", (i,), "f64"), value)
    back = Statement("S1", (Dim("t0", Size.of("K")), Dim("i1", Size.of(11))), Access("A", (Size.of("i1"),), "f64"),
                     Access("B", (Size.of("i1"),), "f64"))  # fmt: skip
    body = sequence([LoopOrder("i0", (("S0", i),), Leaf("S0")), LoopOrder("i1", (("S1", Size.of("i1")),), Leaf("S1"))])
    order = LoopOrder("t0", (("S0", Size.of("t0")), ("S1", Size.of("t0"))), body)
    arrays = (ArrayInfo("A", "f64", (Size.of(12),), "output"), ArrayInfo("B", "f64", (Size.of(12),), "problem"))
    nest = Nest("sweep", ("K",), arrays, (s, back), order)
    with pytest.raises(IllegalSchedule, match="S0 reads A along i0 in 2 places"):
        apply(nest, parse_schedule("pack A S0 i0 4"))
    with pytest.raises(IllegalSchedule, match="S0 writes B between the copy and S1"):
        apply(nest, parse_schedule("pack B S1 i1 4"))
    scheduled = apply(nest, parse_schedule("pack B S1 i1 4 t0"))
    found, expected = (np.arange(12.0) for _ in range(2))
    Runner(scan(scheduled, "k"), [found], {"K": 3})
    Runner(scan(Scheduled.start(nest), "k"), [expected], {"K": 3})
    np.testing.assert_allclose(found, expected, rtol=1e-14)


def shifted(*guards: Guard) -> Nest:
    """``B[t, i, j] = A[t - 1, i, j - 3 t]`` where that is an element of ``A`` of 4 x 2 x 6."""
    t, i, j = (Size.of(x) for x in ("t0", "i0", "j0"))
    dims = (Dim("t0", Size.of(4)), Dim("i0", Size.of(2)), Dim("j0", t * 3 + 6, t * 3))
    read = Access("A", (t - 1, i, j - t * 3), "f64")
    s = Statement("S0", dims, Access("B", (t, i, j), "f64"), read, guards=guards)
    shapes = {"A": (4, 2, 6, "input"), "B": (4, 2, 15, "output")}
    arrays = tuple(ArrayInfo(a, "f64", tuple(map(Size.of, shape)), scope) for a, (*shape, scope) in shapes.items())
    order: Order = Leaf("S0")
    for d in reversed(dims):
        order = LoopOrder(d.name, (("S0", Size.of(d.name)),), order)
    return Nest("shifted", (), arrays, (s,), order)


@pytest.mark.parametrize("loop", ["", " t0"])
def test_a_copy_stays_inside_of_the_array(loop: str) -> None:
    """The ranges of dims alone say less: that places go from -9, and with ``t0`` rows from -1."""
    scheduled = apply(shifted(Guard(Size.of("t0") - 1)), parse_schedule("pack A S0 i0 2" + loop))
    assert scheduled.nest.array("A_i0").shape[1:] == (*([] if loop else [Size.of(3)]), Size.of(6), Size.of(2))
    a, found, expected = np.arange(48.0).reshape(4, 2, 6), np.zeros((4, 2, 15)), np.zeros((4, 2, 15))
    for n in range(1, 4):
        expected[n, :, 3 * n : 3 * n + 6] = a[n - 1]
    Runner(scan(scheduled, "k"), [a, found], {})
    np.testing.assert_array_equal(found, expected)


def test_a_copy_that_reaches_outside_of_the_array_is_refused() -> None:
    """Iteration 0 is left out by what is known only inside of the loops over ``i0`` and ``j0``."""
    nest = shifted(Guard(Size.of("t0") * 2 - 2 + (Size.of("i0") // 2)))
    with pytest.raises(IllegalSchedule, match="the copy would reach outside A"):
        apply(nest, parse_schedule("pack A S0 i0 2 t0"))
    apply(nest, parse_schedule("pack A S0 i0 2"))


def test_loops_around_a_copy_may_be_in_another_order_than_their_ranges() -> None:
    """``C[i, j] = A[i, j, k]`` for ``j <= i``, with the loop over ``j`` outside."""
    nest = parse_nest(
        """nest triangle []
array A: f64[4, 4, 3] input
array C: f64[4, 4, 3] output
S0 { i0: 0..4, j0: 0..i0 + 1, k0: 0..3 } C[i0, j0, k0]:f64 = A[i0, j0, k0]:f64
order
  for i0 serial (S0: i0)
    for j0 serial (S0: j0)
      for k0 serial (S0: k0)
        S0
"""
    )
    scheduled = apply(nest, parse_schedule("permute j0 i0; pack A S0 k0 2 i0"))
    check_nest(scheduled.nest)
    a, found = np.arange(48.0).reshape(4, 4, 3), np.zeros((4, 4, 3))
    Runner(scan(scheduled, "k"), [a, found], {})
    np.testing.assert_array_equal(found, np.where(np.tri(4, dtype=bool)[..., None], a, 0))
