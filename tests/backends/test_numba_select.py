"""Selection and sorting of the run-time library for numba, with ties, NaN and signed zeros, against the interpreter's."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest
import torch

from unspool.backends.numba.runtime import lookup
from unspool.compiler.graph.ops.table import lookup as op

from .test_select import DTYPES, rows
from .trees import TORCH


def wanted(name: str, attrs: dict[str, object], *args: torch.Tensor) -> Any:
    numerics = op(name).numerics
    assert numerics is not None
    return numerics(torch, attrs, *args)


def flat(x: torch.Tensor) -> Any:
    return x.numpy().reshape(-1)


#: Of these a floating and an integer one in the default run.
EACH = [pytest.param(dtype, marks=() if dtype in ("f32", "i64") else pytest.mark.slow) for dtype in DTYPES]


@pytest.mark.parametrize("kind", [torch.bool, pytest.param(torch.uint8, marks=pytest.mark.slow)])
@pytest.mark.parametrize("dtype", EACH)
def test_topk_mask(dtype: str, kind: torch.dtype) -> None:
    """Short rows, many rows with a rest, long rows; wrong counts leave their number."""
    f = lookup(f"us_topk_mask_{dtype}")
    for count_of_rows, n, counts in [(4, 13, range(14)), (37, 70, (1, 6, 64, 65, 70)), (2, 301, (3, 64, 200))]:
        x = rows(dtype, count_of_rows, n)
        for count in counts:
            found, failed = torch.empty(count_of_rows, n, dtype=kind), np.zeros(1, np.int32)
            f(flat(found), flat(x), np.int64(count), count_of_rows, n, failed, 5)
            mask = wanted("topk_mask", {"axis": -1}, x, torch.tensor(count, dtype=torch.int32).expand(count_of_rows))
            assert torch.equal(found.bool(), mask), (n, count)
            assert failed[0] == 0
    for count in (-1, 14):
        failed = np.zeros(1, np.int32)
        f(np.empty(13, np.bool_), flat(rows(dtype, 1, 13)), np.int64(count), 1, 13, failed, 5)
        assert failed[0] == 5


@pytest.mark.parametrize("dtype", EACH)
@pytest.mark.parametrize("count", [0, 1, 5, 40])
def test_topk(dtype: str, count: int) -> None:
    """Values, positions and mask."""
    x = rows(dtype, 3, 40)
    best, at = torch.empty(3, count, dtype=TORCH[dtype]), torch.empty(3, count, dtype=torch.int64)
    mask = torch.empty(3, 40, dtype=torch.bool)
    lookup(f"us_topk_{dtype}")(flat(best), flat(at), flat(mask), flat(x), 3, 40, count)
    values, places, marks = wanted("topk", {"axis": -1, "count": count}, x)
    assert torch.equal(best.nan_to_num(9), values.nan_to_num(9))
    assert torch.equal(at, places)
    assert torch.equal(mask, marks)


@pytest.mark.parametrize("dtype", EACH)
@pytest.mark.parametrize("descending", [0, 1])
def test_argsort(dtype: str, descending: int) -> None:
    """Stable in both directions."""
    for n in (1, 2, 57):
        x = rows(dtype, 3, n)[:, :n] if n > 2 else rows(dtype, 3, 2)[:, :n].contiguous()
        found = torch.empty(3, n, dtype=torch.int64)
        lookup(f"us_argsort_{dtype}")(flat(found), flat(x), 3, n, descending)
        assert torch.equal(found, torch.sort(x, dim=-1, descending=bool(descending), stable=True).indices)


def test_blocks_from_pointers() -> None:
    """Generated code hands over arrays made from addresses."""
    f = lookup("us_topk_mask_f32")

    @numba.njit  # type: ignore[untyped-decorator, unused-ignore]
    def kernel(mask: Any, x: Any, failed: Any) -> None:
        f(mask[8:16], x[8:16], 3, 1, 8, failed, 1)

    x, mask, failed = np.arange(24, dtype=np.float32), np.zeros(24, np.bool_), np.zeros(1, np.int32)
    kernel(mask, x, failed)
    assert mask.nonzero()[0].tolist() == [13, 14, 15]
