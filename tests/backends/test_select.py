"""Routines of the run-time library: selection and sorting with ties, NaN and signed zeros."""

from __future__ import annotations

from math import inf, nan

import pytest
import torch

from unspool.compiler.diagnostics import CompileError, DataError
from unspool.compiler.graph.ops.table import lookup
from unspool.compiler.loops.tree import LibraryCall, Load

from .trees import TORCH, array, function, index, random, run, target_of

pytestmark = pytest.mark.usefixtures("backend")

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


@pytest.mark.parametrize("dtype", DTYPES)
def test_topk_mask(dtype: str) -> None:
    """Every count from none to all, against the interpreter."""
    x, n = rows(dtype, 4, 13), 13
    call = LibraryCall("topk_mask", (whole("mask", "bool"),), (whole("x", dtype), whole("count", "i32")), (index(4), index(n)))
    arrays = [array("x", dtype, 4, n), array("count", "i32"), array("mask", "bool", 4, n, scope="output")]
    f = function("mask_of_rows", arrays, call)
    numerics = lookup("topk_mask").numerics
    assert numerics is not None
    for count in range(n + 1):
        number, found = torch.tensor(count, dtype=torch.int32), torch.empty(4, n, dtype=torch.bool)
        run(f, [x, number], [found])
        assert torch.equal(found, numerics(torch, {"axis": -1}, x, number.expand(4))), count
    for count in (-1, n + 1):
        with pytest.raises(DataError, match="topk"):
            run(f, [x, torch.tensor(count, dtype=torch.int32)], [found])


@pytest.mark.parametrize("dtype", DTYPES)
def test_topk_mask_of_many_rows_and_long_rows(dtype: str) -> None:
    """Lists for many rows at once with a rest of rows, and one row bit by bit."""
    numerics = lookup("topk_mask").numerics
    assert numerics is not None
    for count_of_rows, n, counts in [(37, 70, (1, 6, 64, 65, 70)), (2, 301, (3, 64, 200))]:
        x = rows(dtype, count_of_rows, n)
        call = LibraryCall("topk_mask", (whole("mask", "bool"),), (whole("x", dtype), whole("count", "i32")),
                           (index(count_of_rows), index(n)))  # fmt: skip
        arrays = [
            array("x", dtype, count_of_rows, n),
            array("count", "i32"),
            array("mask", "bool", count_of_rows, n, scope="output"),
        ]
        f = function("mask_of_rows", arrays, call)
        for count in counts:
            number, found = torch.tensor(count, dtype=torch.int32), torch.empty(count_of_rows, n, dtype=torch.bool)
            run(f, [x, number], [found])
            assert torch.equal(found, numerics(torch, {"axis": -1}, x, number.expand(count_of_rows))), (n, count)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [0, 1, 5, 40])
def test_topk(dtype: str, count: int) -> None:
    """Values, positions and mask."""
    x = rows(dtype, 3, 40)
    call = LibraryCall(
        "topk",
        (whole("best", dtype), whole("at", "i64"), whole("mask", "bool")),
        (whole("x", dtype),),
        (index(3), index(40), index(count)),
    )
    arrays = [array("x", dtype, 3, 40), array("best", dtype, 3, count, scope="output"), array("at", "i64", 3, count, scope="output"),
              array("mask", "bool", 3, 40, scope="output")]  # fmt: skip
    found = [
        torch.empty(3, count, dtype=TORCH[dtype]),
        torch.empty(3, count, dtype=torch.int64),
        torch.empty(3, 40, dtype=torch.bool),
    ]
    run(function("best", arrays, call), [x], found)
    numerics = lookup("topk").numerics
    assert numerics is not None
    values, at, mask = numerics(torch, {"axis": -1, "count": count}, x)
    assert torch.equal(found[0].nan_to_num(9), values.nan_to_num(9))
    assert torch.equal(found[1], at)
    assert torch.equal(found[2], mask)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("descending", [0, 1])
def test_argsort(dtype: str, descending: int) -> None:
    """Stable in both directions."""
    for n in (1, 2, 57):
        x = rows(dtype, 3, n) if n > 2 else random(dtype, 3, n)
        call = LibraryCall("argsort", (whole("at", "i64"),), (whole("x", dtype),), (index(3), index(n), index(descending)))
        f = function("sorted_rows", [array("x", dtype, 3, n), array("at", "i64", 3, n, scope="output")], call)
        found = torch.empty(3, n, dtype=torch.int64)
        run(f, [x], [found])
        assert torch.equal(found, torch.sort(x, dim=-1, descending=bool(descending), stable=True).indices)


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
