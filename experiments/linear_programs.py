"""Linear programs as they stand in textbooks, with and without tables, by restarted primal-dual iterations.

OptiBench has language models write solver code for problems told in words, linear or not, with and without tables; ReSocratic makes such problems to
train on. Neither is an iteration, and what language models answer is not tried here. What can be is the solver's side: that pdhg_lp finds what
scipy.optimize.linprog (HiGHS) does.

Setting: (1) in each seed 20 random programs of 10 rows and 20 variables: A normal, b = A u + 0.1 v with u and v uniform, costs normal, 0 <= x <= 1, in
one call; (2) ten problems of the textbook kind, ours, five of them with a table, padded to one size by rows and columns of zeros, in one call.
float64, to an error below 1e-8 (see [pdhg_lp](../stdlib/primal_dual.md#pdhg_lp)). Without restarts: the better of the last iterate and of the mean,
after as many steps as the slowest took.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.optimize import linprog

import unspool as us

from .report import Findings, Number, Scale

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    Array = np.ndarray[Any, Any]

PAPER = "yang2025"
PD = us.stdlib.primal_dual
TOLERANCE, BLOCKS, STEPS = 1e-8, 400, 50
#: Measured with NumPy, one draw of 20 programs.
BEFORE = {
    "random: gap of the objective to HiGHS, largest": "4.7e-08",
    "random: iterations, median": "3800",
    "random: seconds for 20 programs": "17",
}


@dataclass(frozen=True)
class Task:
    """Minimise c x where A x <= b (= in rows with equal), low <= x <= high. ``table``: whether the problem comes with one."""

    name: str
    table: bool
    c: Array
    A: Array
    b: Array
    equal: Array
    low: Array
    high: Array

    def solution(self) -> Any:
        """What HiGHS finds."""
        e = self.equal
        rows = {"A_ub": self.A[~e], "b_ub": self.b[~e], "A_eq": self.A[e], "b_eq": self.b[e]}
        return linprog(self.c, **{k: v for k, v in rows.items() if len(v)}, bounds=np.stack([self.low, self.high], axis=1))

    def padded(self, m: int, n: int) -> Task:
        """The same with rows and variables of zeros."""
        rows, columns = m - len(self.b), n - len(self.c)
        wide = {k: np.pad(getattr(self, k), (0, columns)) for k in ("c", "low", "high")}
        tall = {k: np.pad(getattr(self, k), (0, rows)) for k in ("b", "equal")}
        return replace(self, A=np.pad(self.A, ((0, rows), (0, columns))), **wide, **tall)


def task(name: str, c: Any, most: Any = (), least: Any = (), exact: Any = (), *, high: float = np.inf, table: bool = False) -> Task:
    """A problem from rows (coefficients, ..., right side) that say at most, at least or exactly."""
    n, c = len(c), np.asarray(c, float)
    rows = [np.asarray(r, float).reshape(-1, n + 1) for r in (most, least, exact)]
    rows[1] = -rows[1]
    every = np.concatenate(rows)
    equal = np.arange(len(every)) >= len(every) - len(rows[2])
    return Task(name, table, c, every[:, :n], every[:, n], equal, np.zeros(n), np.full(n, high))


def random_task(random: np.random.Generator) -> Task:
    """A program that has a solution: a point within its rows is known, and variables are bounded."""
    A = random.standard_normal((10, 20))
    b = A @ random.random(20) + 0.1 * random.random(10)
    return Task("random", False, random.standard_normal(20), A, b, np.zeros(10, bool), np.zeros(20), np.ones(20))


def transport(supply: Any, demand: Any, cost: Any) -> Task:
    """Ship from sources, which have a supply, to places, which have a demand, at the cost of a table."""
    cost = np.asarray(cost, float)
    s, d = cost.shape
    sources, places = np.kron(np.eye(s), np.ones(d)), np.kron(np.ones(s), np.eye(d))
    return task("transport", cost.ravel(), np.column_stack([sources, supply]), (), np.column_stack([places, demand]), table=True)


def assignment(cost: Any) -> Task:
    """One job for each worker."""
    n = len(cost)
    sums = np.vstack([np.kron(np.eye(n), np.ones(n)), np.kron(np.ones(n), np.eye(n))])
    return task("assignment", np.ravel(cost), exact=np.column_stack([sums, np.ones(2 * n)]), table=True)


def stock(demand: Any, cost: Any, holding: float, capacity: float) -> Task:
    """How much to make and to keep month by month: x_t + s_{t-1} - s_t = demand_t."""
    months = len(demand)
    balance = np.hstack([np.eye(months), np.eye(months, k=-1) - np.eye(months)])
    limits = np.hstack([np.eye(months), np.zeros((months, months))])
    return task("stock", [*cost, *[holding] * months], np.column_stack([limits, [capacity] * months]), (),
                np.column_stack([balance, demand]), table=True)  # fmt: skip


def textbook() -> list[Task]:
    """Ten problems. Amounts of money are in thousands."""
    shifts = np.array([[float((day - start) % 7 < 5) for start in range(7)] for day in range(7)])
    flow = [[1, 1, 0, 0, 0, 0, 0, 1], [-1, 0, 1, 1, 0, 0, 0, 0], [0, -1, -1, 0, 1, 1, 0, 0], [0, 0, 0, -1, -1, 0, 1, 0]]
    foods = [[7, 4, 2, 30], [5, 2, 8, 45], [1, 9, 3, 25], [3, 0.5, 6, 20]]  # a nutrient in a unit of three foods, and the need
    return [
        task("furniture", [-45, -30], [[4, 2, 80], [2, 3, 70], [1, 0, 18]]),
        task("feed", [0.3, 0.9], (), [[0.09, 0.6, 30], [1, 1, 100]], [[0.02, -0.03, 0]], high=200),
        task("savings", [-0.04, -0.07, -0.02], [[0, 1, 0, 60], [-0.4, 0.6, -0.4, 0]], [[0, 0, 1, 10]], [[1, 1, 1, 100]]),
        task("alloy", [22, 16, 10], (), [[0.8, 0.5, 0.2, 55]], [[1, 1, 1, 100]]),
        task("shifts", np.ones(7), (), np.column_stack([shifts, [17, 13, 15, 19, 14, 16, 11]])),
        transport([120, 80, 100], [60, 70, 90, 50], [[4, 8, 8, 6], [6, 5, 9, 7], [3, 9, 4, 5]]),
        assignment([[9, 2, 7, 8], [6, 4, 3, 7], [5, 8, 1, 8], [7, 6, 9, 4]]),
        stock([60, 90, 120, 70, 150, 80], [11, 12, 14, 11, 15, 12], 1.5, 110),
        task("diet", [2.1, 1.7, 2.6], (), foods, high=20, table=True),
        task("cheapest path", [4, 2, 1, 5, 8, 10, 2, 12], (), (), np.column_stack([flow, [1, 0, 0, 0]]), table=True),
    ]


@dataclass
class Solved:
    """What was found for several programs: points, prices, errors by block of steps, and seconds."""

    x: Array
    y: Array
    errors: Array
    seconds: float

    @property
    def iterations(self) -> Array:
        """How many steps each took."""
        return STEPS * (1 + np.argmax(self.errors < TOLERANCE, axis=-1))


def solved(tasks: list[Task], *, blocks: int = BLOCKS, steps: int = STEPS) -> Solved:
    """Programs of one size, in one call."""
    c, A, b, equal, low, high = (torch.as_tensor(np.stack([getattr(t, k) for t in tasks])) for k in ("c", "A", "b", "equal", "low", "high"))
    layer = PD.pdhg_lp.build(dtype="f64", A=A, K=blocks, J=steps)
    layer(c, b, equal, low, high, TOLERANCE, trace=["error"])  # compiled
    start = time.perf_counter()
    (x, y, _), path = layer(c, b, equal, low, high, TOLERANCE, trace=["error"])
    return Solved(x.numpy(), y.numpy(), path.error.numpy(), time.perf_counter() - start)


def gaps(tasks: list[Task], found: Solved) -> Array:
    """The objective less that of HiGHS, relative."""
    best = np.array([t.solution().fun for t in tasks])
    return np.abs(np.sum([t.c for t in tasks] * found.x, axis=1) - best) / (1 + np.abs(best))


@torch.no_grad()
def run(scale: Scale) -> Findings:
    """Random programs by seeds, and the textbook's."""
    numbers: dict[str, list[float]] = {}
    curves, reached, prices = [], [], []
    for seed in range(scale.seeds):
        random = np.random.default_rng(seed)
        tasks = [random_task(random) for _ in range(scale.of(20))]
        found = solved(tasks)
        plain = solved(tasks, blocks=1, steps=int(found.iterations.max()))
        curves.append(found.errors)
        reached.append(found.errors[:, -1].max())
        prices.append(max(np.abs(y + t.solution().ineqlin.marginals).max() for t, y in zip(tasks, found.y, strict=True)))
        for name, value in {
            "random: gap of the objective to HiGHS, largest": gaps(tasks, found).max(),
            "random: iterations, median": np.median(found.iterations),
            "random: iterations, most": found.iterations.max(),
            "random: error without restarts, median": np.median(plain.errors[:, -1]),
            "random: seconds for 20 programs": found.seconds,
        }.items():
            numbers.setdefault(name, []).append(float(value))
    figures = [Number(name, tuple(values), BEFORE.get(name, "")) for name, values in numbers.items()]
    book = textbook()
    wide = [t.padded(max(len(t.b) for t in book), max(len(t.c) for t in book)) for t in book]
    told = solved(wide)
    reached.append(told.errors[:, -1].max())
    found_gaps = gaps(wide, told)
    for table in (False, True):
        chosen = [n for n, t in enumerate(book) if t.table == table]
        kind = f"textbook, {'with' if table else 'without'} tables"
        figures.append(Number(f"{kind}: gap, largest", (float(found_gaps[chosen].max()),)))
        figures.append(Number(f"{kind}: iterations, most", (float(told.iterations[chosen].max()),)))
    claims = {
        "every program is solved to an error below 1e-8": max(reached) < TOLERANCE,
        "objectives are those of HiGHS to 1e-7": max(max(numbers["random: gap of the objective to HiGHS, largest"]), found_gaps.max()) < 1e-7,
        "so are the prices of rows of random programs, to 1e-4": max(prices) < 1e-4,
        "without restarts the same number of steps leaves a hundred times the error (mean)":
            float(np.mean(numbers["random: error without restarts, median"])) > 100 * TOLERANCE,
    }  # fmt: skip
    return Findings(figures, claims, picture(curves[0], dict(zip([t.name for t in book], told.errors, strict=True))), NOTES)


NOTES = """
Before: NumPy, other draws of such programs, one by one on a loaded machine, a restart from the mean every 400
steps and a fixed weight, which takes more iterations. Not tried: nonlinear problems, and everything about language models (few-shot answers of
GPT-4: 65.5 %; Llama-3-8B-Instruct 13.6 to 51.7 % and Llama-2-7B-Chat 0 to 30.6 % by training on ReSocratic's 29,000 problems, as others quote the
paper).
"""


def picture(random: Array, book: dict[str, Array]) -> Figure:
    """Errors against steps."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3), layout="constrained", sharey=True)
    for errors in random:
        _curve(axes[0], errors, color="tab:blue", alpha=0.4)
    for name, errors in book.items():
        _curve(axes[1], errors, label=name)
    axes[1].legend(fontsize="x-small", ncols=2)
    for axis, title in zip(axes, ("random, 10 x 20", "textbook"), strict=True):
        axis.set(title=title, xlabel="step", ylabel="error")
    return figure


def _curve(axis: Any, errors: Array, **style: Any) -> None:
    """One program, until it is solved."""
    count = 1 + int(np.argmax(errors < TOLERANCE)) if errors.min() < TOLERANCE else len(errors)
    axis.loglog(STEPS * np.arange(1, count + 1), errors[:count], **style)
