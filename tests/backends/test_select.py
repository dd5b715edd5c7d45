"""Routines of the run-time library: selection and sorting with ties, NaN and signed zeros."""

from __future__ import annotations

from itertools import product
from math import inf, nan

import pytest
import torch

from unspool.compiler.diagnostics import CompileError, DataError
from unspool.compiler.graph.ops.table import lookup
from unspool.compiler.loops.tree import Function, LibraryCall, Load

from .trees import TORCH, array, function, index, random, run, target_of

pytestmark = pytest.mark.usefixtures("backend")
TVM_LATER = {name: ["f64", "i8", "i16", "i32"] for name in ("test_topk_mask", "test_topk", "test_argsort")}

#: One kernel for each routine; test_numba_select.py calls those of every dtype.
NUMBA_LATER = dict.fromkeys(("test_topk_mask", "test_topk", "test_argsort"), ("f64", "i8", "i16", "i32", "i64"))

DTYPES = ["f32", "f64", "i8", "i16", "i32", "i64"]


def rows(dtype: str, count: int, n: int) -> torch.Tensor:
    """Rows with many ties, and special values."""
    x = random(dtype, count, n).round()
    if x.is_floating_point():
        x[0] = torch.tensor([nan, 0.0, -0.0, inf, -inf, 1e-40, -1e-40, nan] * n)[:n]
    else:
        info = torch.iinfo(TORCH[dtype])
        x[0, :2] = torch.tensor([info.min, info.max], dtype=x.dtype)
    return x


def whole(name: str, dtype: str) -> Load:
    return Load(name, (), dtype)


def topk_mask(dtype: str) -> Function:
    """``mask`` of the ``count`` largest of each of ``rows`` rows; one kernel for all sizes."""
    call = LibraryCall(
        "topk_mask", (whole("mask", "bool"),), (whole("x", dtype), whole("count", "i32")), (index("rows"), index("n"))
    )
    arrays = [array("x", dtype, "rows", "n"), array("count", "i32"), array("mask", "bool", "rows", "n", scope="output")]
    return function("mask_of_rows", arrays, call, integers=["rows", "n"])


@pytest.mark.parametrize("dtype", DTYPES)
def test_topk_mask(dtype: str) -> None:
    """Every count from none to all; lists for many rows at once with a rest of rows, and one row bit by bit."""
    f, numerics = topk_mask(dtype), lookup("topk_mask").numerics
    assert numerics is not None
    for count_of_rows, n, counts in [(4, 13, range(14)), (37, 70, (1, 6, 64, 65, 70)), (2, 301, (3, 64, 200))]:
        x = rows(dtype, count_of_rows, n)
        for count in counts:
            number, found = torch.tensor(count, dtype=torch.int32), torch.empty(count_of_rows, n, dtype=torch.bool)
            run(f, [x, number], [found], integers=[count_of_rows, n])
            assert torch.equal(found, numerics(torch, {"axis": -1}, x, number.expand(count_of_rows))), (n, count)
    for count in (-1, 302):
        with pytest.raises(DataError, match="topk"):
            run(f, [x, torch.tensor(count, dtype=torch.int32)], [found], integers=[2, 301])


@pytest.mark.parametrize("dtype", DTYPES)
def test_topk(dtype: str) -> None:
    """Values, positions and mask; no element, one, some, all."""
    call = LibraryCall(
        "topk",
        (whole("best", dtype), whole("at", "i64"), whole("mask", "bool")),
        (whole("x", dtype),),
        (index("rows"), index("n"), index("count")),
    )
    arrays = [array("x", dtype, "rows", "n"), array("best", dtype, "rows", "count", scope="output"),
              array("at", "i64", "rows", "count", scope="output"), array("mask", "bool", "rows", "n", scope="output")]  # fmt: skip
    f, numerics, x = function("best", arrays, call, integers=["rows", "n", "count"]), lookup("topk").numerics, rows(dtype, 3, 40)
    assert numerics is not None
    for count in (0, 1, 5, 40):
        found = [
            torch.empty(3, count, dtype=TORCH[dtype]),
            torch.empty(3, count, dtype=torch.int64),
            torch.empty(3, 40, dtype=torch.bool),
        ]
        run(f, [x], found, integers=[3, 40, count])
        values, at, mask = numerics(torch, {"axis": -1, "count": count}, x)
        assert torch.equal(found[0].nan_to_num(9), values.nan_to_num(9)), count
        assert torch.equal(found[1], at), count
        assert torch.equal(found[2], mask), count


@pytest.mark.parametrize("dtype", DTYPES)
def test_argsort(dtype: str) -> None:
    """Stable in both directions."""
    arrays = [array("x", dtype, "rows", "n"), array("at", "i64", "rows", "n", scope="output")]
    for descending, n in product((0, 1), (1, 2, 57)):
        call = LibraryCall("argsort", (whole("at", "i64"),), (whole("x", dtype),), (index("rows"), index("n"), index(descending)))
        f = function("sorted_rows", arrays, call, integers=["rows", "n"])
        x = rows(dtype, 3, n) if n > 2 else random(dtype, 3, n)
        found = torch.empty(3, n, dtype=torch.int64)
        run(f, [x], [found], integers=[3, n])
        assert torch.equal(found, torch.sort(x, dim=-1, descending=bool(descending), stable=True).indices), (n, descending)


def test_a_block_inside_an_array() -> None:
    """Leading indices choose the block."""
    x = random("f32", 3, 2, 10)
    call = LibraryCall(
        "argsort", (Load("at", (index(1),), "i64"),), (Load("x", (index(2),), "f32"),), (index(2), index(10), index(0))
    )
    f = function("block", [array("x", "f32", 3, 2, 10), array("at", "i64", 2, 2, 10, scope="output")], call)
    found = torch.zeros(2, 2, 10, dtype=torch.int64)
    run(f, [x], [found])
    assert torch.equal(found[1], torch.argsort(x[2], dim=-1))
    assert not found[0].any()


def test_unknown_routines_are_refused() -> None:
    """By name, and by the number of arguments."""
    arrays = [array("x", "f32", 3), array("y", "f32", 3, scope="output")]
    for name, message in (("cholesky", "no routine cholesky"), ("argsort", "routine argsort takes")):
        with pytest.raises(CompileError, match=message):
            target_of().emit(function("f", arrays, LibraryCall(name, (whole("y", "f32"),), (whole("x", "f32"),))))
