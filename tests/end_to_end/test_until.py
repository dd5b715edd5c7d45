"""Loops with ``until``: in kernels every problem stops by itself, as in the interpreter; gradients are those of the iterations that ran."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import unspool as us
from tests.helpers import TVM_SLOW
from tests.loops.run_team import run_team
from tests.loops.run_tree import Runner
from unspool.compiler import driver
from unspool.compiler.graph.adjoint import backward
from unspool.compiler.graph.graph import Graph
from unspool.compiler.graph.interp import interpret
from unspool.compiler.graph.simplify import simplify
from unspool.compiler.graph.specialize import specialize
from unspool.compiler.loops.check import check_nest
from unspool.compiler.loops.dependences import IllegalSchedule
from unspool.compiler.loops.lower import lower
from unspool.compiler.loops.nest import exits
from unspool.compiler.loops.scan import scan
from unspool.compiler.loops.schedule import apply, parse_schedule
from unspool.compiler.loops.scheduled import Scheduled
from unspool.compiler.loops.text import parse_nest, print_nest
from unspool.compiler.loops.tree import Loop
from unspool.compiler.loops.tree_text import parse_tree, print_tree
from unspool.compiler.loops.tree_walk import walk
from unspool.compiler.search.choose import choose
from unspool.compiler.search.draft import Task
from unspool.compiler.target import Machine

TEXT = """
fn soft(v, t) = sign(v) * max(abs(v) - t, 0)

algorithm newton(a: real[n], tol: real) -> (real[n], real):
    iterations K = 40
    x = a + 1.0
    count = 0.0
    for k in 0..K until norm(x * x - a) < tol:
        x = 0.5 * (x + a / x)
        count = count + 1
    return x, count

algorithm ista(A: real[m, n], y: real[m], tol: real) -> (real[n], real):
    iterations K = 60
    param step[K]: positive = 0.1
    param lam: nonneg = 0.1
    x = zeros(n)
    z = x
    count = 0.0
    for k in 0..K until norm(x - z) < tol:
        z = x
        x = soft(z - step[k] * (A.T @ (A @ z - y)), lam * step[k])
        count = count + 1
    return x, count

algorithm nested(A: real[m, n], y: real[m], tol: real) -> (real[n], real):
    iterations K = 4
    x = zeros(n)
    count = 0.0
    for k in 0..K:
        b = A.T @ y + x
        z = zeros(n)
        for j in 0..9 until norm(b - z - 0.1 * (A.T @ (A @ z))) < tol:
            z = z + 0.3 * (b - z - 0.1 * (A.T @ (A @ z)))
            count = count + 1
        x = 0.5 * z
    return x, count

algorithm twice(A: real[m, n], y: real[m], tol: real) -> (real[n], real):
    iterations K = 7
    iterations L = 5
    x = A.T @ y
    count = 0.0
    for k in 0..K until norm(x) < tol:
        for l in 0..L until norm(x) < 3 * tol:
            x = 0.8 * x + 0.01 * (A.T @ (A @ x))
            if l > 1:
                x = 0.9 * x
            count = count + 1
    for k in 1..L until max(x) < 0.1 * tol:
        x = 0.7 * x + 0.001 * tanh(x)
        count = count + 1
    return x, count

algorithm down(A: real[m, n], y: real[m], tol: real) -> (real[n], real):
    iterations K = 12
    x = A.T @ y
    count = 0.0
    for k in K-1..-1 by -1 until sum(x * x) < tol:
        x = x * (0.5 + 0.03 * k)
        if count > 2:
            x = x * 0.9
        count = count + 1
    return x, count
"""
TEXTS = us.loads(TEXT, "until.us")
NAMES = ["ista", "nested", "twice", "down"]
TARGETS = ["c", "numba", TVM_SLOW]
NUMBA_LATER = {
    "test_kernels_stop_where_the_interpreter_does": ("ista", "twice", "down", None),
    "test_gradients_are_differences": ("ista", "twice", "down", "nested"),
    "test_second_derivatives_and_tangents": (),
    "test_problems_side_by_side_stop_by_themselves": (),
}
F64 = torch.float64


def problem(name: str, batch: int | None, m: int = 6, n: int = 5) -> list[Tensor]:
    """Operands with which every problem of a batch stops at an iteration of its own."""
    dice = torch.Generator().manual_seed(len(name))
    a = torch.randn(m, n, generator=dice, dtype=F64) / 2
    lead = () if batch is None else (batch,)
    tol = torch.logspace(0.5, -3, batch, dtype=F64) if batch else torch.tensor(0.05, dtype=F64)
    return [a, torch.randn(*lead, m, generator=dice, dtype=F64), tol]


def run(name: str, operands: Sequence[Tensor], target: str, **options: object) -> tuple[Tensor, Tensor]:
    found: tuple[Tensor, Tensor] = TEXTS[name](*operands, target=target, dtype="f64", **options)
    return found


def graph(name: str) -> Graph:
    return simplify(specialize(TEXTS[name].algorithm.graph, "f64", {"m": 6, "n": 5}))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("batch", [None, 9])
@pytest.mark.parametrize("name", NAMES)
def test_kernels_stop_where_the_interpreter_does(name: str, batch: int | None, target: str) -> None:
    operands = problem(name, batch)
    found, path = TEXTS[name](*operands, target=target, dtype="f64", trace=["x"])
    want, wanted = TEXTS[name](*operands, target="interpreter", dtype="f64", trace=["x"])
    for a, b in zip((*found, path.x, *run(name, operands, target)), (*want, wanted.x, *want), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
    if batch == 9:
        assert len(want[1].unique()) >= 4  # no proof of anything if all stopped together


@pytest.mark.parametrize("target", TARGETS)
def test_conditions_that_hold_at_once_and_never(target: str) -> None:
    a = torch.rand(5, 3, dtype=F64) + 0.5
    for tol, count in ((1e9, 1), (float("inf"), 1), (-1.0, 40), (float("nan"), 40)):
        x, ran = TEXTS.newton(a, torch.tensor(tol, dtype=F64), target=target, dtype="f64")
        assert ran.tolist() == [count] * 5
        torch.testing.assert_close(x, TEXTS.newton(a, torch.tensor(tol, dtype=F64), target="interpreter", dtype="f64")[0])
    spoilt = a.clone()
    spoilt[2, 1] = float("nan")  # that problem's condition never holds; the others stop
    x, ran = TEXTS.newton(spoilt, torch.tensor(1e-3, dtype=F64), target=target, dtype="f64")
    assert ran[2] == 40
    assert bool((ran[[0, 1, 3, 4]] < 10).all())
    _, once = TEXTS.newton(a, torch.tensor(1e-9, dtype=F64), target=target, dtype="f64", K=1)
    assert once.tolist() == [1] * 5


@pytest.mark.parametrize("target", TARGETS)
def test_threads_leave_a_loop_together(target: str) -> None:
    operands = problem("ista", None, 300, 400)
    operands[0] = operands[0] / 10
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for name in ("ista", "nested"):
            found, want = (run(name, operands, t) for t in (target, "interpreter"))
            assert found[1] == want[1]
            torch.testing.assert_close(found[0], want[0], rtol=1e-8, atol=1e-10)
    finally:
        torch.set_num_threads(before)


def gradients(name: str, operands: Sequence[Tensor], target: str) -> tuple[Tensor, ...]:
    inputs = [x.clone().requires_grad_() for x in operands[:2]]
    x, _ = run(name, [*inputs, operands[2]], target)
    return torch.autograd.grad((x * torch.linspace(-1, 2, x.shape[-1], dtype=F64)).sum(), inputs)


@pytest.mark.parametrize("target", [*TARGETS, "interpreter"])
@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_differences(name: str, target: str) -> None:
    operands = problem(name, 4)
    weights, h = torch.linspace(-1, 2, 5, dtype=F64), 1e-6
    for place, slope in enumerate(gradients(name, operands, target)):
        along = torch.randn(operands[place].shape, generator=torch.Generator().manual_seed(place), dtype=F64)
        ends = []
        for sign in (1, -1):
            moved = [x + sign * h * along if n == place else x for n, x in enumerate(operands)]
            ends.append((run(name, moved, "interpreter")[0] * weights).sum())
        assert float((slope * along).sum()) == pytest.approx(float(ends[0] - ends[1]) / (2 * h), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("target", TARGETS)
def test_second_derivatives_and_tangents(target: str) -> None:
    a, tol = torch.rand(3, 4, dtype=F64) + 0.5, torch.tensor(1e-2, dtype=F64)

    def root(a: Tensor) -> Tensor:
        x: Tensor = TEXTS.newton(a, tol, target=target, dtype="f64")[0]
        return x

    assert torch.autograd.gradgradcheck(root, (a.requires_grad_(),))
    along = torch.randn(3, 4, dtype=F64)
    slope = torch.func.jvp(root, (a.detach(),), (along,))[1]
    ends = [root(a.detach() + h * along) for h in (1e-6, -1e-6)]
    torch.testing.assert_close(slope, (ends[0] - ends[1]) / 2e-6, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["ista", "nested"])
def test_a_trace_has_a_gradient(name: str) -> None:
    """Rows after the last iteration are copies of that one, so its gradient is the sum of theirs."""
    operands, found = problem(name, 3), []
    for target in ("c", "numba", "interpreter"):
        y = operands[1].clone().requires_grad_()
        _, path = TEXTS[name](operands[0], y, operands[2], target=target, dtype="f64", trace=["x"])
        found.append(torch.autograd.grad((path.x * torch.linspace(0, 1, path.x.shape[-1], dtype=F64)).sum(), y)[0])
    torch.testing.assert_close(found[0], found[2])
    torch.testing.assert_close(found[1], found[2])


# -- the loops -------------------------------------------------------------------------------------------------------


def nests() -> list[tuple[str, Graph]]:
    made = [(name, graph(name)) for name in NAMES]
    return made + [(f"{name} backward", simplify(backward(g, [1], [True, False]))) for name, g in made]


@pytest.mark.parametrize(("name", "graph"), nests(), ids=[name for name, _ in nests()])
def test_trees_mean_the_graph_and_threads_do_not_race(name: str, graph: Graph) -> None:
    nest = lower(graph)
    check_nest(nest)
    assert exits(nest.order)
    assert parse_nest(print_nest(nest)) == nest
    counts = {n: c for n, c in {"K": 7, "L": 4}.items() if n in nest.params}
    operands = problem(name.split()[0], None)[: len(graph.inputs)]
    dice = torch.Generator().manual_seed(1)
    for v in graph.inputs[len(operands) :]:
        shape = tuple(s.evaluate(counts) for s in v.type.shape)
        operands.append(torch.rand(shape, generator=dice, dtype=F64) / 5)
    want = interpret(graph, operands, counts)
    for scheduled in (Scheduled.start(nest), choose(Task(nest, Machine(64, 32, cores=2)))[0]):
        function = scan(scheduled, "k")
        assert parse_tree(print_tree(function)) == function
        tested = [t for t in walk(function.body) if isinstance(t, Loop) and t.tests]
        assert len(tested) == len(exits(nest.order))
        for go in (Runner, run_team):
            outputs = [np.full(tuple(x.shape), np.nan) for x in want]
            go(function, [*(x.numpy() for x in operands), *outputs], counts)
            for got, expected in zip(outputs, want, strict=True):
                torch.testing.assert_close(torch.from_numpy(got), expected, rtol=1e-9, atol=1e-11)


def test_no_step_takes_statements_out_of_such_a_loop() -> None:
    nest = lower(graph("twice"))
    (outer, inner, last), *_ = (list(exits(nest.order)),)
    inside = next(s for s, _ in exits(nest.order)[inner].values)
    for step in (
        f"fuse {outer} {last}",
        f"parallel {outer}",
        f"vector {inner}",
        f"tile {outer} 4",
        f"unroll {inner}",
        f"interchange {outer} {inner}",
        f"shift {outer} {inside} 1",
        f"reverse {inner}",
        f"distribute {outer} {inside}",
        f"fission {outer} {inside}",
        "isl",
    ):
        with pytest.raises(IllegalSchedule, match=r"does not apply"):
            apply(nest, parse_schedule(step))


def test_a_kernel_is_one_kernel(tmp_path: Path) -> None:
    kernel = TEXTS.ista.compile({"m": 6, "n": 5}, target="c")
    assert not kernel.report().get("host", {}).get("operations")
    assert "until" in kernel.loops
    kernel.save(tmp_path / "ista.usk", backward=True)
    loaded = us.load_kernel(tmp_path / "ista.usk")
    operands = [x.float() for x in problem("ista", 3)]
    for a, b in zip(loaded(*operands), TEXTS.ista(*operands, target="c"), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", ["ista", "nested", *(pytest.param(n, marks=pytest.mark.slow) for n in ("twice", "down"))])
def test_problems_side_by_side_stop_by_themselves(name: str, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a batch tile a loop ends with its last problem; the others, one that is NaN among them, keep what they have, and so do their traces
    and gradients."""
    monkeypatch.setattr(driver, "pays", lambda *args: True)
    program = us.loads(TEXT.replace("(A: real[m, n]", "(given A: real[m, n]"), "until.us")[name]
    a, y, tol = problem(name, 21)
    tol[5], tol[7], y[9, 0] = -1.0, 1e6, torch.nan
    kernel = program.compile(shapes={"m": 6, "n": 5, "batch": 21}, dtype="f64", target=target)
    assert "\nbatch 16\n" in kernel.schedule
    layers = [program.build(A=a, dtype="f64", target=t) for t in (target, "interpreter")]
    (got, path), (want, track) = (layer(y, tol, trace=["x"]) for layer in layers)
    torch.testing.assert_close([*got, path.x], [*want, track.x], rtol=1e-9, atol=1e-12, equal_nan=True)
    if name == "nested":  # its gradient is one of problems one by one
        return
    y[9, 0] = 0.5
    found = []
    for layer in layers:
        z = y.clone().requires_grad_()
        found.append(torch.autograd.grad(layer(z, tol)[0].square().sum(), [z, *layer.parameters()]))
    torch.testing.assert_close(found[0], found[1], rtol=1e-8, atol=1e-11)
