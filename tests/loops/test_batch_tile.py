"""A tile of problems against the problems one by one: random nests, random sharing, tiles that are not full."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np
import pytest

from tests.loops.nests import CLASSES, random_arrays, random_nest
from tests.loops.run_tree import Runner
from unspool.compiler.graph.types import Size
from unspool.compiler.loops.batch_tile import can_tile_batch, tile_batch
from unspool.compiler.loops.nest import Access, ArrayInfo, Dim, Leaf, LoopOrder, Nest, Order, Statement, sequence
from unspool.compiler.loops.scan import scan
from unspool.compiler.loops.scheduled import Scheduled
from unspool.compiler.loops.text import parse_nest, print_nest
from unspool.compiler.search.choose import choose
from unspool.compiler.search.draft import Task
from unspool.compiler.target import Machine

N, SIZE = 6, 4


def framed(nest: Nest) -> Nest:
    """The nest on copies of its arrays: read from inputs at the start, added to outputs at the end."""
    statements: list[Statement] = []
    orders: list[Order] = []

    def copy(name: str, target: str, source: str, shape: tuple[Size, ...], reduce: str) -> None:
        dims = tuple(Dim(f"i{len(statements) + 100}{'abc'[n]}", s) for n, s in enumerate(shape))
        index = tuple(Size.of(d.name) for d in dims)
        statements.append(Statement(name, dims, Access(target, index, "f64"), Access(source, index, "f64"), reduce))
        order: Order = Leaf(name)
        for d in reversed(dims):
            order = LoopOrder(d.name, ((name, Size.of(d.name)),), order)
        orders.append(order)

    for a in nest.arrays:
        copy(f"in_{a.name}", a.name, f"{a.name}_in", a.shape, "")
    before = len(orders)
    for a in nest.arrays:
        copy(f"out_{a.name}", f"{a.name}_out", a.name, a.shape, "add")
    arrays = [ArrayInfo(f"{a.name}_in", a.dtype, a.shape, "input") for a in nest.arrays]
    arrays += [ArrayInfo(f"{a.name}_out", a.dtype, a.shape, "output") for a in nest.arrays]
    arrays += [replace(a, scope="problem") for a in nest.arrays]
    order = sequence([*orders[:before], nest.order, *orders[before:]])
    every = (*statements[:before], *nest.statements, *statements[before:])
    return Nest(nest.name, nest.params, tuple(arrays), every, order)


@pytest.mark.parametrize("kind", CLASSES)
def test_a_tile_does_what_its_problems_do(kind: str) -> None:
    for seed in range(6):
        a_tile_does_what_its_problems_do(kind, seed)


def a_tile_does_what_its_problems_do(kind: str, seed: int) -> None:
    dice = Random(seed)
    nest = framed(random_nest(dice, kind))
    count, lanes = len(nest.arrays) // 3, dice.randint(1, SIZE)
    per_problem = [dice.random() < 0.5 for _ in range(count)]
    shared_output = dice.randrange(2 * count)
    own = [n != shared_output for n in range(count)]
    assert can_tile_batch(nest, per_problem, own) is None
    made = tile_batch(nest, per_problem, own, SIZE)
    assert parse_nest(print_nest(made.nest)) == made.nest
    counts = dict.fromkeys(nest.params, 3)
    base = random_arrays(replace(nest, arrays=nest.arrays[:count]), seed, counts)
    inputs = [[x + p * flag / 4 for p in range(lanes)] for x, flag in zip(base, per_problem, strict=True)]
    expected = [np.zeros((lanes, *x.shape)) for x in base]
    one = scan(Scheduled.start(nest), "k")
    for p in range(lanes):
        Runner(one, [*(x[p].copy() for x in inputs), *(y[p, ...] for y in expected)], counts)
    pad = 3  # problems do not lie back to back
    stride = {n: made.strides[n] for n in range(2 * count)}
    widths = [x.size + pad for x in base]
    integers = {**counts, made.lanes: lanes, **{stride[n]: widths[n % count] for n in range(2 * count) if stride[n]}}
    passed: list[np.ndarray] = []
    for x, flag in zip(inputs, per_problem, strict=True):
        passed.append(np.stack([np.pad(v.ravel(), (0, pad)) for v in x]) if flag else x[0].copy())
    outputs = [np.zeros((lanes, w)) if mine else np.zeros(x.shape) for x, w, mine in zip(base, widths, own, strict=True)]
    scheduled, _ = choose(Task(made.nest, Machine(64, 32), tile=True))
    Runner(scan(scheduled, "k"), [*passed, *outputs], integers, seed)
    for x, got, want, mine in zip(base, outputs, expected, own, strict=True):
        assert np.isfinite(want).all()
        if mine:
            np.testing.assert_allclose(got[:, : x.size].reshape(want.shape), want, rtol=1e-10, atol=1e-10)
            assert not got[:, x.size :].any()
        else:
            np.testing.assert_allclose(got, want.sum(0), rtol=1e-10, atol=1e-10)


def test_what_problems_share_must_be_accumulated() -> None:
    dims = (Dim("i0", Size.of(N)),)
    at = (Size.of("i0"),)
    arrays = (ArrayInfo("x", "f64", (Size.of(N),), "input"), ArrayInfo("y", "f64", (Size.of(N),), "output"))
    order = LoopOrder("i0", (("S0", at[0]),), Leaf("S0"))

    def nest(reduce: str) -> Nest:
        return Nest("copy", (), arrays, (Statement("S0", dims, Access("y", at, "f64"), Access("x", at, "f64"), reduce),), order)

    assert can_tile_batch(nest("add"), [True], [False]) is None
    assert can_tile_batch(nest(""), [True], [False]) == "S0 writes y, which the problems share"
    with pytest.raises(ValueError, match="which the problems share"):
        tile_batch(nest(""), [True], [False], SIZE)
