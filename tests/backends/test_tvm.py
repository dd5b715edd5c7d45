"""Target tvm: its source, edited source, threads, and what TVM does otherwise than one would think."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from math import inf, nan

import pytest
import torch

from unspool.backends.tvm.target import TvmTarget
from unspool.compiler.diagnostics import CompileError, DataError
from unspool.compiler.loops.tree import Call, Expr, Function, Literal, Load

from .trees import array, function, load, loop, op, run, store

pytestmark = pytest.mark.needs("tvm")


def call(name: str, *args: Expr, dtype: str = "f32") -> Call:
    return Call(name, args, dtype)


def each(value: Expr, dtype: str = "f32", count: int = 6) -> Function:
    """A kernel of one value for every element of x."""
    arrays = [array("x", value_dtype(value), count), array("y", dtype, count, scope="output")]
    return function("each", arrays, loop("i", 0, count, store("y", ["i"], value)))


def value_dtype(value: Expr) -> str:
    """The dtype of what an expression reads."""
    return value.dtype if isinstance(value, Load) else next(value_dtype(a) for a in value.args if not isinstance(a, Literal))  # type: ignore[union-attr]


def test_importing_unspool_leaves_tvm_alone() -> None:
    code = "import sys, unspool, unspool.backends.tvm.target; print('tvm' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_the_source_is_a_script_that_may_be_edited() -> None:
    f = each(call("mul", load("x", "i"), Literal(2.0, "f32")))
    target = TvmTarget()
    source = target.emit(f)
    assert "@T.prim_func" in source
    assert "y[i] = x[i] * T.float32(2.0)" in source
    x, y = torch.arange(6.0), torch.empty(6)
    kernel = target.build(f, source.replace("T.float32(2.0)", "T.float32(5.0)"))
    kernel([x], [y], 1, [0, 0], [0, 0], [], 1, 1)
    assert torch.equal(y, 5 * x)
    assert "__tvm_ffi_each" in target.assembly(f, source)
    for wrong in (
        source.replace("us_range", "us_rang"),
        source.replace("us_range", "range(("),
        source.replace("x[i]", "x[i, i]"),
    ):
        with pytest.raises(CompileError, match=r"us_rang|TVM does not take"):
            target.build(f, wrong)


def test_numbers_that_are_none_are_not_simplified_away() -> None:
    """TVM's simplifier takes ``x != x`` for false and ``0 * x`` for 0, its ``!=`` is false for NaN."""
    x = torch.tensor([nan, inf, -inf, 0.0, -0.0, 1.0])
    a, none = load("x", "i"), Literal(0.0, "f32")
    for value, dtype, expected in (
        (call("ne", a, a, dtype="bool"), "bool", x != x),
        (call("ne", a, none, dtype="bool"), "bool", x != 0),
        (call("cast", a, dtype="bool"), "bool", x.bool()),
        (call("mul", none, a), "f32", 0 * x),
        (call("div", none, a), "f32", 0 / x),
        (call("add", a, none), "f32", x + 0),
        (call("sub", a, a), "f32", x - x),
    ):
        found = torch.empty_like(expected)
        run(each(value, dtype), [x], [found], target="tvm")
        assert torch.equal(found, expected) or torch.equal(found.nan_to_num(7), expected.nan_to_num(7)), value.op
        assert torch.equal(torch.signbit(found), torch.signbit(expected)) or expected.isnan().any() or dtype == "bool", value.op


@pytest.mark.parametrize("dtype", ["i32", "i64"])
def test_integers_wrap(dtype: str) -> None:
    """TVM tells LLVM that neither signed nor unsigned ones overflow."""
    kind = {"i32": torch.int32, "i64": torch.int64}[dtype]
    info = torch.iinfo(kind)
    values = torch.tensor([info.max, info.min, -1, 12345678, -(2**31) + 5, 3], dtype=kind)
    for name in ("add", "sub", "mul"):
        found = torch.empty_like(values)
        a = load("x", "i", dtype=dtype)
        b = call("add", a, Literal(7, dtype), dtype=dtype)
        run(each(call(name, a, b, dtype=dtype), dtype), [values], [found], target="tvm")
        assert torch.equal(found, getattr(torch, name)(values, values + 7)), name


@pytest.mark.skipif(platform.machine() != "x86_64", reason="looks for instructions of x86")
def test_strict_fuses_nothing() -> None:
    """Products and sums apart: no fused multiply-add in the code, and the last bit as PyTorch's."""
    x = load("x", "i", dtype="f64")
    square, cube = call("mul", x, x, dtype="f64"), call("pow", x, Literal(3.0, "f64"), dtype="f64")
    f = each(call("sub", call("add", square, x, dtype="f64"), cube, dtype="f64"), "f64", 64)
    fused, apart = (TvmTarget(strict=strict) for strict in (False, True))
    assert "vfm" in fused.assembly(f, fused.emit(f)) or "vfn" in fused.assembly(f, fused.emit(f))
    assert not any(word in apart.assembly(f, apart.emit(f)) for word in ("vfm", "vfn"))
    values = torch.randn(64, dtype=torch.float64)
    found = torch.empty_like(values)
    run(f, [values], [found], strict=True, target="tvm")
    assert torch.equal(found, values * values + values - values * values * values)


@pytest.mark.parametrize("batch", [1, 2, 7, 20])
def test_problems_are_split_over_threads(batch: int) -> None:
    """Also where there are fewer problems than teams. Every team adds up what it computed in an output of its own."""
    arrays = [array("x", "f64", 6), array("y", "f64", 6, scope="output"), array("sums", "f64", scope="output")]
    x = load("x", "i", dtype="f64")
    body = loop("i", 0, 6, store("y", ["i"], call("mul", x, x, dtype="f64")), store("sums", [], x, "add"))
    f, target = function("shares", arrays, body), TvmTarget()
    kernel = target.build(f, target.emit(f))
    values = torch.randn(batch, 6, dtype=torch.float64)
    for teams in (1, 2, 3, 5):
        y, sums = torch.zeros_like(values), torch.zeros(teams, dtype=torch.float64)
        kernel([values], [y, sums], batch, [6, 6, 0], [0, 0, 1], [], teams, 1)
        assert torch.equal(y, values * values)
        assert torch.allclose(sums.sum(), values.sum())
        assert bool((sums != 0).sum() == min(teams, batch))


def test_loops_that_start_where_others_are() -> None:
    """TVM's CanonicalizeLoop would read and write other elements."""
    inner = loop(
        "k", op("*", 2, "j"), op("+", op("*", 2, "j"), 2), store("y", [op("-", "k", op("*", 2, "j")), "j"], load("x", "k"))
    )
    nest = loop("i", 0, 3, loop("j", op("*", 4, "i"), op("+", op("*", 4, "i"), 4), inner))
    x, y = torch.arange(24.0), torch.zeros(2, 12)
    run(function("follow", [array("x", "f32", 24), array("y", "f32", 2, 12, scope="output")], nest), [x], [y], target="tvm")
    assert torch.equal(y, x.reshape(12, 2).T)


@pytest.mark.parametrize(("lower", "upper", "step"), [(3, 20, 4), (0, 20, 4), (5, 6, 4), (5, 5, 4), (7, 3, 2), (1, 17, 16)])
def test_steps(lower: int, upper: int, step: int) -> None:
    body = loop("i", lower, upper, store("y", ["i"], Literal(1.0, "f32")), step=step)
    y, expected = torch.zeros(32), torch.zeros(32)
    expected[list(range(lower, upper, step))] = 1
    run(function("steps", [array("y", "f32", 32, scope="output")], body), [], [y], target="tvm")
    assert torch.equal(y, expected)


def test_a_failed_check_is_told() -> None:
    index = call("check_index", load("x", "i", dtype="i64"), Literal(4, "i64"), dtype="i64")
    f, out = each(index, "i64"), torch.empty(6, dtype=torch.int64)
    run(f, [torch.tensor([0, 1, 2, 3, 3, 0])], [out], target="tvm")
    assert out.tolist() == [0, 1, 2, 3, 3, 0]
    with pytest.raises(DataError, match="an index is out of range"):
        run(f, [torch.tensor([0, 1, 4, 3, 3, 0])], [out], target="tvm")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_forked_child_runs_alone() -> None:
    """TVM's threads are not there in a child, which does not wait for them."""
    f = each(call("add", load("x", "i"), Literal(1.0, "f32")), count=6)
    target = TvmTarget()
    kernel = target.build(f, target.emit(f))
    x, y = torch.zeros(4, 6), torch.zeros(4, 6)
    kernel([x], [y], 4, [6, 6], [0, 0], [], 4, 1)
    assert torch.equal(y, x + 1)
    child = os.fork()
    if not child:
        kernel([y], [x], 4, [6, 6], [0, 0], [], 4, 1)
        os._exit(0 if torch.equal(x, y + 1) else 1)
    assert os.waitpid(child, 0)[1] == 0
