"""Loops, reductions, register tiles and teams: hand-built trees against torch, over sizes that leave every kind of remainder."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import unspool as us
from tests.helpers import TVM_SLOW
from tests.loops.run_tree import Runner
from unspool.backends.cpu import CTarget
from unspool.backends.expressions import Printer
from unspool.compiler.loops.tree import Barrier, Block, Call, Declare, Expr, FromInt, Function, If, Literal, Single, Tree
from unspool.compiler.target import Machine

from .trees import TORCH, Index, array, build, function, load, loop, op, random, run, store, zero

MACHINES = [Machine(64, 32), Machine(32, 16), Machine(16, 16)]


@pytest.fixture(autouse=True)
def one_thread(request: pytest.FixtureRequest) -> None:
    """These trees say what one thread does; on a GPU every thread would do it."""
    if "backend" in request.fixturenames and request.getfixturevalue("backend") == "emulated":
        pytest.skip("a tree for one thread")


def mul(a: Expr, b: Expr) -> Call:
    return Call("mul", (a, b), a.dtype)


def close(found: torch.Tensor, expected: torch.Tensor, tolerance: float | None = None) -> None:
    bound = tolerance or (1e-4 if found.dtype in (torch.float32, torch.complex64) else 1e-12)
    scale = max(1.0, expected.abs().max().item()) if expected.numel() else 1.0
    assert torch.isfinite(found).all()
    assert (found - expected).abs().max().item() <= bound * scale


def matvec(m: int, n: int, dtype: str = "f32") -> Function:
    """``o = A @ x``."""
    arrays = [array("A", dtype, m, n), array("x", dtype, n), array("o", dtype, m, scope="output")]
    product = mul(load("A", "i", "j", dtype=dtype), load("x", "j", dtype=dtype))
    dot = loop("j", 0, n, store("o", ["i"], product, "add"), kind="vector")
    return function("mv", arrays, loop("i", 0, m, store("o", ["i"], zero(dtype)), dot, kind="parallel"), Barrier())


def product(m: int, k: int, n: int, dtype: str, *, kind: str = "parallel") -> Function:
    """``C = A @ B``: rows, then the sum, then columns as vectors."""
    arrays = [array("A", dtype, m, k), array("B", dtype, k, n), array("C", dtype, m, n, scope="output")]
    term = mul(load("A", "i", "p", dtype=dtype), load("B", "p", "j", dtype=dtype))
    return function("mm", arrays, loop(
        "i", 0, m,
        loop("j", 0, n, store("C", ["i", "j"], zero(dtype)), kind="vector"),
        loop("p", 0, k, loop("j", 0, n, store("C", ["i", "j"], term, "add"), kind="vector")),
        kind=kind))  # fmt: skip


def products(m: Index, k: Index, n: Index, dtype: str, kind: str) -> Function:
    """``C = A @ B``, ``o = A @ x`` and ``q = A.T @ z`` in one kernel; sizes may be names of run-time integers."""
    arrays = [array("A", dtype, m, k), array("B", dtype, k, n), array("x", dtype, k), array("z", dtype, m),
              array("C", dtype, m, n, scope="output"), array("o", dtype, m, scope="output"), array("q", dtype, k, scope="output")]  # fmt: skip
    a = load("A", "i", "p", dtype=dtype)
    rows = loop("i", 0, m,
        loop("j", 0, n, store("C", ["i", "j"], zero(dtype)), kind="vector"),
        loop("p", 0, k, loop("j", 0, n, store("C", ["i", "j"], mul(a, load("B", "p", "j", dtype=dtype)), "add"), kind="vector")),
        store("o", ["i"], zero(dtype)),
        loop("p", 0, k, store("o", ["i"], mul(a, load("x", "p", dtype=dtype)), "add"), kind="vector"),
        kind=kind)  # fmt: skip
    sweep = loop("i", 0, m, loop("p", 0, k, store("q", ["p"], mul(a, load("z", "i", dtype=dtype)), "add"), kind=f"{kind} vector"))
    clear = loop("p", 0, k, store("q", ["p"], zero(dtype)), kind=f"{kind} vector")
    integers = [s for s in (m, k, n) if isinstance(s, str)]
    return function("products", arrays, rows, Barrier(), clear, Barrier(), sweep, Barrier(), integers=integers)


def check_products(m: int, k: int, n: int, dtype: str, kernel: Callable[[list[torch.Tensor], list[torch.Tensor]], None]) -> None:
    """What a kernel of ``products`` computes, against torch."""
    a, b, x, z = random(dtype, m, k), random(dtype, k, n, seed=1), random(dtype, k, seed=2), random(dtype, m, seed=3)
    outputs = [torch.full(shape, float("nan"), dtype=TORCH[dtype]) for shape in ((m, n), (m,), (k,))]
    kernel([a, b, x, z], outputs)
    for found, expected in zip(outputs, (a @ b, a @ x, a.T @ z), strict=True):
        close(found, expected)


SIZES = st.integers(1, 45)
CASES = {"m": SIZES, "k": SIZES, "n": SIZES, "dtype": st.sampled_from(["f32", "f64"]), "kind": st.sampled_from(["parallel", "serial"]),
         "machine": st.sampled_from(MACHINES), "team": st.integers(1, 3), "strict": st.booleans()}  # fmt: skip


def static_products(
    m: int, k: int, n: int, dtype: str, kind: str, machine: Machine, team: int, strict: bool, target: str = "c"
) -> None:
    def kernel(inputs: list[torch.Tensor], outputs: list[torch.Tensor]) -> None:
        size = team if kind == "parallel" else 1
        run(products(m, k, n, dtype, kind), inputs, outputs, team_size=size, machine=machine, strict=strict, target=target)

    check_products(m, k, n, dtype, kernel)


@settings(max_examples=15, deadline=None)
@given(**CASES)
def test_products(**case: Any) -> None:
    """Tiles of several rows and vectors, every remainder of rows and lanes; an unmarked row loop is found to be independent."""
    static_products(**case)


@settings(max_examples=3, deadline=None, phases=[Phase.generate])
@given(**CASES)
def test_products_of_target_numba(**case: Any) -> None:
    """A few of the sizes above, others in each run: numba takes a second for each."""
    static_products(**case, target="numba")


@pytest.mark.parametrize(
    ("dtype", "kind", "machine", "target"),
    [("f32", "parallel", MACHINES[0], "c"), ("f64", "serial", MACHINES[1], "c"), ("f32", "parallel", MACHINES[1], "numba")],
)
def test_products_of_sizes_at_run_time(dtype: str, kind: str, machine: Machine, target: str) -> None:
    """One kernel for all sizes: loops of unknown length around tiles, and their remainders."""
    built = build(products("M", "K", "N", dtype, kind), machine=machine, target=target)

    @settings(max_examples=60, deadline=None)
    @given(SIZES, SIZES, SIZES, st.integers(1, 3 if kind == "parallel" else 1))
    def sizes(m: int, k: int, n: int, team: int) -> None:
        none = [0] * 7
        check_products(m, k, n, dtype, lambda inputs, outputs: built(inputs, outputs, 1, none, none, [m, k, n], 1, team))

    sizes()


@pytest.mark.usefixtures("backend")
def test_strict_keeps_program_order() -> None:
    """Without fused operations a tile adds in the order of the loops: bit for bit."""
    a, b = random("f32", 7, 33), random("f32", 33, 37, seed=1)
    out = torch.empty(7, 37)
    run(product(7, 33, 37, "f32"), [a, b], [out], strict=True)
    expected = torch.zeros(7, 37)
    for p in range(33):
        expected = expected + a[:, p, None] * b[p]
    assert torch.equal(out, expected)


def test_products_become_register_tiles() -> None:
    """The text holds vector accumulators, not a store per step of the sum."""
    text = CTarget(machine=MACHINES[0]).emit(product(64, 64, 64, "f32"))
    inner = re.search(r"for \(int64_t p = 0; p < 64; p\+\+\) \{(.*?)\n *\}", text, re.S)
    assert inner is not None
    assert inner[1].count("us_fma_f32x16") == 24
    assert "us_store" not in inner[1]


def test_text_is_deterministic() -> None:
    """The same tree prints the same text, also after other kernels."""
    first = CTarget(machine=MACHINES[0]).emit(product(40, 30, 20, "f32"))
    CTarget(machine=MACHINES[0]).emit(matvec(5, 6))
    from unspool.backends.emit import emit

    assert emit(product(40, 30, 20, "f32"), MACHINES[0]).text == first


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("team", [1, 2])
def test_fused_rows_with_a_local_sum(machine: Machine, team: int) -> None:
    """A register per row survives jamming: ``q[i] = exp(sum_j A[i, j] x[j] - y[i])``, and a second sum of the row."""
    m, n = 23, 50
    row = loop("i", 0, m,
        Declare(array("s", "f32", scope="local")), Declare(array("pair", "f32", 2, scope="local")),
        store("s", [], zero()),
        store("pair", [0], load("y", "i")), store("pair", [1], zero()),
        loop("j", 0, n, store("s", [], mul(load("A", "i", "j"), load("x", "j")), "add"), kind="vector"),
        loop("j", 0, n, store("pair", [1], mul(load("A", "i", "j"), load("A", "i", "j")), "add"), kind="vector"),
        store("q", ["i"], Call("sub", (load("s"), load("pair", 0)), "f32")),
        store("norm", ["i"], load("pair", 1)),
        kind="parallel")  # fmt: skip
    arrays = [array("A", "f32", m, n), array("x", "f32", n), array("y", "f32", m), array("q", "f32", m, scope="output"),
              array("norm", "f32", m, scope="output")]  # fmt: skip
    a, x, y = random("f32", m, n), random("f32", n, seed=1), random("f32", m, seed=2)
    q, norm = torch.empty(m), torch.empty(m)
    f = function("rows", arrays, row)
    run(f, [a, x, y], [q, norm], team_size=team, machine=machine)
    close(q, a @ x - y)
    close(norm, (a * a).sum(1))
    assert "float s[" in CTarget(machine=machine).emit(f)


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("machine", MACHINES)
def test_sum_of_squared_differences(machine: Machine) -> None:
    """Subtractions, powers and literals run inside tiles; distances between rows of two matrices."""
    m, n, d = 6, 9, 37
    difference = Call("sub", (load("a", "i", "l"), load("b", "j", "l")), "f32")
    term = Call("div", (Call("pow", (difference, Literal(2.0, "f32")), "f32"), load("w", "l")), "f32")
    body = loop(
        "i",
        0,
        m,
        loop("j", 0, n, store("o", ["i", "j"], zero()), loop("l", 0, d, store("o", ["i", "j"], term, "add"), kind="vector")),
    )
    arrays = [array("a", "f32", m, d), array("b", "f32", n, d), array("w", "f32", d), array("o", "f32", m, n, scope="output")]
    a, b, w = random("f32", m, d), random("f32", n, d, seed=1), random("f32", d, seed=2).abs() + 0.5
    out = torch.empty(m, n)
    run(function("distances", arrays, body), [a, b, w], [out], machine=machine)
    close(out, (((a[:, None] - b) ** 2) / w).sum(-1))


@pytest.mark.usefixtures("backend")
def test_triangular_product() -> None:
    """Bounds that move with the row: no jamming, right result."""
    n = 29
    term = mul(load("A", "i", "p"), load("B", "p", "j"))
    body = loop("i", 0, n, loop("j", 0, n, store("C", ["i", "j"], zero()), kind="vector"),
                loop("p", 0, op("+", "i", 1), loop("j", 0, n, store("C", ["i", "j"], term, "add"), kind="vector")), kind="parallel")  # fmt: skip
    arrays = [array("A", "f32", n, n), array("B", "f32", n, n), array("C", "f32", n, n, scope="output")]
    a, b, out = random("f32", n, n), random("f32", n, n, seed=1), torch.empty(n, n)
    run(function("tri", arrays, body), [a, b], [out], team_size=2)
    close(out, a.tril() @ b)
    inner = loop("j", 0, op("+", "i", 1), store("o", ["i"], mul(load("A", "i", "j"), load("x", "j")), "add"), kind="vector")
    arrays = [array("A", "f32", n, n), array("x", "f32", n), array("o", "f32", n, scope="output")]
    x, o = random("f32", n, seed=3), torch.empty(n)
    run(function("lower", arrays, loop("i", 0, n, store("o", ["i"], zero()), inner)), [a, x], [o])
    close(o, a.tril() @ x)


@pytest.mark.usefixtures("backend")
def test_solve_by_substitution_is_not_jammed() -> None:
    """Rows that read earlier rows stay in order."""
    n = 31
    rest = loop("j", 0, "i", store("s", [], mul(load("L", "i", "j"), load("x", "j")), "add"), kind="vector")
    value = Call("div", (Call("sub", (load("b", "i"), load("s")), "f32"), load("L", "i", "i")), "f32")
    body = loop("i", 0, n, Declare(array("s", "f32", scope="local")), store("s", [], zero()), rest, store("x", ["i"], value))
    arrays = [array("L", "f32", n, n), array("b", "f32", n), array("x", "f32", n, scope="output")]
    lower = random("f32", n, n).tril() / 10 + torch.eye(n)
    b, x = random("f32", n, seed=1), torch.full((n,), float("nan"))
    run(function("solve", arrays, body), [lower, b], [x])
    close(lower @ x, b)


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("dtype", ["f32", "f64", "i32", "i64", "bool", "c64"])
@pytest.mark.parametrize("count", [1, 15, 100])
def test_reductions(dtype: str, count: int) -> None:
    """All accumulations into one element by a vector loop, on top of what the element holds."""
    x = random(dtype, count)
    kinds = {"bool": ["and", "or"], "c64": ["add", "mul"]}.get(dtype, ["add", "mul", "max", "min"])
    if "mul" in kinds and not dtype.startswith("i"):
        x = x / x.abs() * 1.01
    arrays, body, outputs = [array("x", dtype, count)], [], []
    for kind in kinds:
        arrays.append(array(f"r_{kind}", dtype, 2, scope="output"))
        body.append(loop("i", 0, count, store(f"r_{kind}", [1], load("x", "i", dtype=dtype), kind), kind="vector"))
        outputs.append(torch.ones(2, dtype=TORCH[dtype]))
    run(function("reduce", arrays, *body), [x], outputs)
    both = torch.cat([torch.ones(1, dtype=TORCH[dtype]), x])
    table = {"add": lambda v: v.sum(), "mul": lambda v: v.prod(), "max": lambda v: v.max(), "min": lambda v: v.min(), "and": lambda v: v.all(),
             "or": lambda v: v.any()}  # fmt: skip
    for kind, found in zip(kinds, outputs, strict=True):
        if found.is_floating_point() or found.is_complex():
            close(found[1], table[kind](both))
        else:
            assert found[1] == table[kind](both).to(found.dtype)
        assert found[0] == 1


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_maxima_and_sums_of_one_loop_over_a_part_known_at_run_time(dtype: str) -> None:
    """Lanes that are not full, no element at all, and a variable that every iteration has for itself."""
    square = Call("mul", (load("t", dtype=dtype), load("t", dtype=dtype)), dtype)
    stores = [store("high", [], square, "max"), store("low", [], load("t", dtype=dtype), "min"), store("total", [], square, "add")]
    body = loop("i", "a", "b", Declare(array("t", dtype, scope="local")), store("t", [], load("x", "i", dtype=dtype)), *stores, kind="vector")
    names = ("high", "low", "total")
    arrays = [array("x", dtype, 200), *(array(n, dtype, scope="output") for n in names)]
    f, x = function("both", arrays, body, integers=["a", "b"]), random(dtype, 200)
    for a, b in [(0, 200), (3, 3), (5, 6), (7, 70), (1, 33), (9, 4)]:
        found = [torch.full((), v, dtype=TORCH[dtype]) for v in (0.5, -0.5, 2.0)]
        run(f, [x], found, integers=[a, b])
        part = x[a:b]
        wanted = [torch.cat([part**2, found[0].new_full((1,), 0.5)]).max(), torch.cat([part, found[0].new_full((1,), -0.5)]).min()]
        for got, want in zip(found, [*wanted, 2 + (part**2).sum()], strict=True):
            close(got, want)


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_special_values_survive_reductions(value: float) -> None:
    """NaN wins maximum and minimum wherever it stands; infinities add up as IEEE says; tiles multiply them too."""
    for place in (0, 17, 39):
        x = random("f32", 40)
        x[place] = value
        arrays = [array("x", "f32", 40), *(array(f"r{k}", "f32", 1, scope="output") for k in ("max", "min", "add"))]
        body = [loop("i", 0, 40, store(f"r{k}", [0], load("x", "i"), k), kind="vector") for k in ("max", "min", "add")]
        out = [torch.full((1,), -float("inf")), torch.full((1,), float("inf")), torch.zeros(1)]
        run(function("specials", arrays, *body), [x], out)
        for found, wanted in zip(out, (x.max(), x.min(), x.sum()), strict=True):
            assert torch.allclose(found[0], wanted, equal_nan=True)
    a, x = random("f32", 9, 40), torch.zeros(40)
    a[3, 5], x[6] = value, 0.0
    o = torch.empty(9)
    run(matvec(9, 40), [a, x], [o])
    assert o[3].isnan()
    assert (o[[0, 1, 2, 4, 5, 6, 7, 8]] == 0).all()


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("team", [1, 2, 5])
def test_stencil_on_a_team(team: int) -> None:
    """Iterations over a shared state: parallel sweeps, barriers, work for one thread, scratch of the problem."""
    n = 37

    def sweep(target: str, source: str) -> Tree:
        total = Call("add", (load(source, op("-", "i", 1)), load(source, op("+", "i", 1))), "f32")
        return loop("i", 1, n - 1, store(target, ["i"], mul(Literal(0.5, "f32"), total)), kind="parallel vector")

    body = [
        loop("i", 0, n, store("u", ["i"], load("x", "i")), kind="parallel vector"), Barrier(),
        loop("i", 0, n, store("v", ["i"], load("x", "i")), kind="parallel vector"), Barrier(),
        loop("k", 0, "K", sweep("v", "u"), Barrier(), sweep("u", "v"), Barrier(),
             Single(Block((store("steps", [], Call("add", (load("w", "k"), load("steps")), "f32")),))), Barrier()),
        loop("i", 0, n, store("o", ["i"], load("u", "i")), kind="parallel vector"),
    ]  # fmt: skip
    arrays = [array("x", "f32", n), array("w", "f32", "K"), array("o", "f32", n, scope="output"), array("steps", "f32", scope="output"),
              array("u", "f32", n, scope="problem"), array("v", "f32", n, scope="problem")]  # fmt: skip
    x, w = random("f32", n), random("f32", 7, seed=1)
    o, steps = torch.empty(n), torch.zeros(())
    run(function("stencil", arrays, *body, integers=["K"]), [x, w], [o, steps], team_size=team, integers=[7])
    u = x.clone()
    for _ in range(14):
        u[1:-1] = 0.5 * (u[:-2] + u[2:])
    close(o, u)
    close(steps, w.sum())


@pytest.mark.usefixtures("backend")
def test_source_does_not_depend_on_counts() -> None:
    """Iteration counts are arguments: they stand in no text but by name."""
    f = function("count", [array("w", "f32", "K", 3), array("o", "f32", 3, scope="output")],
                 loop("k", 0, "K", loop("j", 0, 3, store("o", ["j"], load("w", "k", "j"), "add"), kind="vector")), integers=["K"])  # fmt: skip
    kernel = build(f)
    for count in (0, 1, 5):
        w, o = random("f32", count, 3), torch.zeros(3)
        kernel([w], [o], 1, [0, 0], [0, 0], [count], 1, 1)
        close(o, w.sum(0) if count else torch.zeros(3))


@pytest.mark.usefixtures("backend")
def test_large_locals_live_in_thread_scratch() -> None:
    """A local that is too large for the stack, or of run-time size, and one that is private to a parallel iteration."""
    n = 9000
    body = loop("p", 0, 3, Declare(array("big", "f64", n, scope="local")), Declare(array("rows", "f32", "K", scope="local")),
                loop("i", 0, n, store("big", ["i"], Call("add", (load("x", "i", dtype="f64"), FromInt(op("*", "p", 2), "f64")), "f64")), kind="vector"),
                loop("k", 0, "K", store("rows", ["k"], FromInt(op("+", "k", "p"), "f32"))),
                store("o", ["p"], zero("f64")),
                loop("i", 0, n, store("o", ["p"], load("big", "i", dtype="f64"), "add"), kind="vector"),
                loop("k", 0, "K", store("o", ["p"], Call("cast", (load("rows", "k"),), "f64"), "add")),
                kind="parallel")  # fmt: skip
    arrays = [array("x", "f64", n), array("o", "f64", 3, scope="output")]
    x, o = random("f64", n), torch.empty(3, dtype=torch.float64)
    run(function("big", arrays, body, integers=["K"]), [x], [o], team_size=2, integers=[4])
    close(o, torch.stack([(x + 2 * p).sum() + sum(k + p for k in range(4)) for p in range(3)]))


@pytest.mark.usefixtures("backend")
def test_integer_expressions_and_guards() -> None:
    """Floor division, remainder, min, max, select and comparisons of indices, against Python."""
    n = 11
    shifted = op("-", op("*", 3, "i"), 13)
    forms = [op("//", shifted, 4), op("%", shifted, 4), op("min", shifted, "i"), op("max", shifted, 5, op("-", 0, "i")),
             op("select", op("<", shifted, 0), op("-", 0, shifted), "i"), op("//", shifted, op("+", "i", 1)), op("%", shifted, -5)]  # fmt: skip
    arrays = [array(f"o{k}", "i64", n, scope="output") for k in range(len(forms) + 1)]
    body: list[Tree] = [loop("i", 0, n, store(f"o{k}", ["i"], FromInt(e, "i64"))) for k, e in enumerate(forms)]
    guard = op("and", op("!=", op("%", "i", 3), 0), op("or", op("<=", "i", 4), op("not", op(">", 9, "i"))))
    last = f"o{len(forms)}"
    body.append(
        loop(
            "i",
            0,
            n,
            If(guard, Block((store(last, ["i"], Literal(1, "i64")),)), Block((store(last, ["i"], Literal(-1, "i64")),))),
            kind="vector",
        )
    )
    f = function("ints", arrays, *body)
    found = [torch.empty(n, dtype=torch.int64) for _ in arrays]
    run(f, [], found)
    expected = [np.empty(n, np.int64) for _ in arrays]
    Runner(f, expected, {})
    for a, b in zip(found, expected, strict=True):
        assert a.tolist() == b.tolist()


@pytest.mark.usefixtures("backend")
def test_steps_and_lower_bounds() -> None:
    """Loops with steps, split over teams too."""
    f = function(
        "steps",
        [array("o", "f32", 50, scope="output")],
        loop("i", 3, 48, store("o", ["i"], FromInt(op("+", "i", 0), "f32")), kind="parallel", step=4),
    )
    for team in (1, 2, 3):
        o = torch.zeros(50)
        run(f, [], [o], team_size=team)
        expected = torch.zeros(50)
        expected[3:48:4] = torch.arange(3.0, 48.0, 4.0)
        assert torch.equal(o, expected)


@pytest.mark.usefixtures("backend")
def test_awkward_names() -> None:
    """Names that are C keywords, macros, functions of the library, Unicode or the same as a variable's."""
    names = [
        "double",
        "exp",
        "λ",
        "us_add_i64",
        "i",
        "I",
        "x'",
        "2",
        "M_PI",
        "NAN",
        "NULL",
        "INT64_MAX",
        "int64_t",
        "_T",
        "AB",
        "v_AB",
    ]
    arrays = [array(n, "f32", 4) for n in names] + [array("out", "f32", 4, scope="output")]
    value: Expr = load(names[0], "i")
    for n in names[1:]:
        value = Call("add", (value, load(n, "i")), "f32")
    f = function("names", arrays, loop("i", 0, 4, store("out", ["i"], Call("exp", (value,), "f32")), kind="vector"))
    operands, out = [random("f32", 4, seed=k) for k in range(len(names))], torch.empty(4)
    run(f, operands, [out])
    close(out, torch.exp(sum(operands)))


@pytest.mark.usefixtures("backend")
def test_shared_parts_are_computed_once() -> None:
    """An expression that doubles at every level prints in linear size."""
    value: Expr = load("x", "i")
    for _ in range(10):
        value = Call("add", (value, value), "f32")
    f = function(
        "doubling",
        [array("x", "f32", 8), array("o", "f32", 8, scope="output")],
        loop("i", 0, 8, store("o", ["i"], value), kind="vector"),
    )
    x, o = random("f32", 8), torch.empty(8)
    run(f, [x], [o])
    close(o, x * 2.0**10)


@pytest.mark.usefixtures("backend")
def test_a_wrong_writer_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted faults of the writer fail the comparison that the tests above make."""
    x, o = random("f32", 20), torch.empty(20)
    value = Call("sub", (load("x", "i"), Literal(1.0, "f32")), "f32")
    f = function(
        "planted",
        [array("x", "f32", 20), array("o", "f32", 20, scope="output")],
        loop("i", 0, 20, store("o", ["i"], value), kind="vector"),
    )
    run(f, [x], [o])
    close(o, x - 1)
    right = Printer.call
    monkeypatch.setattr(
        Printer, "call", lambda self, e, args: right(self, Call("add", e.args, e.dtype) if e.op == "sub" else e, args)
    )
    from unspool.backends import build as builder
    from unspool.backends.emit import emit

    source = emit(f, MACHINES[0])
    made = builder.build(source.text, f.name)
    from unspool.backends.cpu import BuiltKernel

    BuiltKernel(made, ())([x], [o], 1, [0, 0], [0, 0], [], 1, 1)
    with pytest.raises(AssertionError):
        close(o, x - 1)


LU = """algorithm lu(A: real[n, n]) -> real[n, n]:
    for i in 0..n:
        for j in 0..i:
            A[i, j] /= A[j, j]
        for j in i..n, k in 0..i:
            A[i, j] -= A[i, k] * A[k, j]
    return A
"""


@pytest.mark.parametrize("target", ["c", "numba", TVM_SLOW])
@pytest.mark.parametrize("n", [2, 5])
def test_iterations_that_isl_takes_apart_keep_their_locals(n: int, target: str) -> None:
    """The stacks of the adjoint are zero where inner loops do not come: their first and their later iterations are other statements."""
    program = next(iter(us.loads(LU)))
    A = torch.rand(n, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 3 * torch.eye(n)
    found = []
    for chosen in (target, "interpreter"):
        x = A.clone().requires_grad_()
        found.append(torch.autograd.grad(program(x, target=chosen).square().sum(), x)[0])
    torch.testing.assert_close(*found)
