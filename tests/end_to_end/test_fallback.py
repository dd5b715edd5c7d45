"""What a target refuses runs in the interpreter, with a warning that says so; targets by name, by switch and by default."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import unspool as us
from unspool.backends.cpu import CTarget
from unspool.backends.execute import FallbackWarning
from unspool.compiler import options
from unspool.compiler.loops.tree import Function

PROGRAMS = Path(__file__).resolve().parents[1] / "programs"


def fresh() -> Any:
    """A handle without compiled kernels."""
    return us.load(PROGRAMS / "lasso.us").ista


def refusing(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    emit = CTarget.emit

    def refuse(self: CTarget, function: Function) -> str:
        if word in function.name:
            raise us.CompileError("no such loops, please")
        return emit(self, function)

    monkeypatch.setattr(CTarget, "emit", refuse)


def loss_and_gradient(handle: Any, target: str) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    a = torch.randn(4, 5, generator=g, dtype=torch.float64, requires_grad=True)
    y = torch.randn(3, 4, generator=g, dtype=torch.float64)
    x = handle(a, y, K=3, target=target)
    (grad,) = torch.autograd.grad(x.square().sum(), a)
    return x.detach(), grad


def test_a_refused_program_is_interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    want = loss_and_gradient(fresh(), "interpreter")
    refusing(monkeypatch, "ista")
    with pytest.warns(FallbackWarning, match="ista runs in the interpreter: no such loops, please"):
        got = loss_and_gradient(fresh(), "c")
    assert all(torch.allclose(g, w) for g, w in zip(got, want))


def test_a_refused_backward_is_interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    want = loss_and_gradient(fresh(), "interpreter")
    refusing(monkeypatch, "backward")
    with pytest.warns(FallbackWarning, match="the backward of ista runs in the interpreter: no such loops"):
        got = loss_and_gradient(fresh(), "c")
    assert all(torch.allclose(g, w) for g, w in zip(got, want))


def test_a_schedule_of_the_user_is_never_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    refusing(monkeypatch, "ista")
    with pytest.raises(us.CompileError, match="no such loops"):
        fresh().compile(shapes={"m": 4, "n": 5}, target="c", schedule="")


def test_default_target_and_switch() -> None:
    a, y = torch.eye(3), torch.ones(3)
    assert "target=c" in repr(fresh().build(A=a))
    with options.scope(target="interpreter"):
        assert "target=interpreter" in repr(fresh().build(A=a))
    assert torch.allclose(fresh()(a, y, numerics="strict"), fresh()(a, y))


def test_compiled_kernel_is_called_like_the_algorithm() -> None:
    kernel = fresh().compile(target="cpu", shapes={"m": 4, "n": 5, "batch": (7,)}, K=3, dtype=torch.float64)
    a, y = torch.randn(4, 5, dtype=torch.float64), torch.randn(7, 4, dtype=torch.float64)
    assert torch.equal(kernel(a, y), fresh()(a, y, K=3, target="c"))
    assert kernel(a, y[0], K=9).shape == (5,)
    assert kernel.graph.startswith("graph ista(")
    assert kernel.loops.startswith("nest ista [K]")
    assert "int " in kernel.source
    assert ".text" in kernel.asm
    assert "run-time integers K" in kernel.explain()
    assert kernel.schedule
    with pytest.raises(us.DataError, match=r"y is real\[m\] and needs shape \(4,\) in its last axis; got shape \(7, 3\)"):
        kernel(a, y[:, :3])
    with pytest.raises(us.DataError, match="mixed precisions: dtype= is f64 and A is f32"):
        kernel(a.float(), y)
    again = fresh().compile(target="c", shapes={"m": 4, "n": 5}, K=3, dtype="f64", schedule=kernel.schedule)
    assert again.source == kernel.source
