"""A writer that prints something wrong is noticed by what the other tests compare, on each target."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import unspool as us
from unspool.backends import base_target
from unspool.backends.expressions import Printer as CPrinter
from unspool.backends.numba.expressions import NumbaPrinter
from unspool.backends.tvm.expressions import ScriptPrinter
from unspool.compiler.loops.tree import Call

PROGRAMS = Path(__file__).resolve().parents[1] / "programs"


@pytest.mark.parametrize("count", [(), (20,)], ids=["problem", "tile"])
def test_a_wrong_writer_is_noticed(target: str, count: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    a, y = torch.randn(6, 9, dtype=torch.float64), torch.randn(*count, 6, dtype=torch.float64)

    def error() -> float:
        ista = us.load(PROGRAMS / "lasso.us").ista  # compiled anew
        got, want = (ista(a, y, K=3, target=t) for t in (target, "interpreter"))
        return float((got - want).abs().max())

    assert error() <= 1e-10
    printers: dict[str, Any] = {"c": CPrinter, "numba": NumbaPrinter, "tvm": ScriptPrinter}
    printer = printers[target]
    call = printer.call

    def wrong(self: Any, e: Call, args: list[str]) -> str:
        return str(call(self, Call("add", e.args, e.dtype) if e.op == "sub" else e, args))

    base_target._printed.cache_clear()
    monkeypatch.setattr(printer, "call", wrong)
    assert error() > 1e-3
    base_target._printed.cache_clear()
