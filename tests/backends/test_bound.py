"""Steps of host programs that are bound for a run give what the unbound ones give, and fail as they do."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import unspool as us
from tests.backends.descents import DESCENT, Scaled
from unspool.compiler.diagnostics import DataError

PROGRAM = us.loads(
    DESCENT
    + """
algorithm each_its_own(x: real[n]) -> real[n]:
    iterations K = 3
    module f[K]: (real[n]) -> real
    for k in 0..K:
        x = x - 0.1 * grad(value, x)(x, f[k])
    return x

algorithm mixed(x: real[n, n]) -> real[n, n]:
    iterations K = 3
    module f: (real[n, n]) -> real[n, n]
    for k in 0..K:
        x = 0.5 * f(x + k) + x
    return x

algorithm turned(At: real[n, m], x: real[n]) -> real[n]:
    iterations K = 5
    module f: (real[n]) -> real[n]
    for k in 0..K:
        x = f(x) - 0.1 * (At @ (At.T @ x))
    return x
"""
)


def unbound(run: object, *arguments: object, **named: object) -> Tensor:
    """The result where torch records, which binds nothing."""
    with torch.enable_grad():
        return run(*arguments, **named).detach()  # type: ignore[operator,no-any-return]


@pytest.mark.parametrize("shape", [(5,), (3, 5)])
@pytest.mark.parametrize("tracked", [False, True])
def test_a_loop_gives_what_torch_records(shape: tuple[int, ...], tracked: bool) -> None:
    f = Scaled(0.3)
    for seed in range(2):
        x = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).requires_grad_(tracked)
        step = torch.full((4,), 0.05, dtype=torch.float64, requires_grad=True)
        want = unbound(PROGRAM.descent, x, f=f, step=step)
        with torch.no_grad():
            got = PROGRAM.descent(x, f=f, step=step)
        torch.testing.assert_close(got, want)
        assert not got.requires_grad
        assert x.requires_grad == tracked
        with torch.inference_mode():
            torch.testing.assert_close(PROGRAM.descent(x, f=f, step=step), want)


def test_inference_tensors_go_in() -> None:
    with torch.inference_mode():
        x = torch.ones(3)
    with torch.no_grad():
        torch.testing.assert_close(PROGRAM.descent(x, f=Scaled(0.1)), PROGRAM.descent(torch.ones(3), f=Scaled(0.1)))


def test_every_iteration_has_its_module() -> None:
    f = [Scaled(0.1), Scaled(0.2), Scaled(0.0)]
    x = torch.arange(4.0)
    with torch.no_grad():
        got = PROGRAM.each_its_own(x, f=f)
        for module in f:
            x = x - 0.1 * 4 * module.scale * x.square().sum() * x
    torch.testing.assert_close(got, x)


def test_operands_that_are_not_contiguous() -> None:
    """From the second iteration on the kernel is bound, and gets what is transposed."""
    x = torch.arange(9.0).reshape(3, 3)
    with torch.no_grad():
        got = PROGRAM.mixed(x, f=lambda y: y.mT)
        for k in range(3):
            x = 0.5 * (x + k).mT + x
    torch.testing.assert_close(got, x)


def test_a_module_that_changes_its_mind() -> None:
    """A result of another shape in a later iteration, or none that depends on x."""
    calls: list[int] = []

    def wrong(x: Tensor) -> Tensor:
        calls.append(len(calls))
        return x.sum(-1) if len(calls) < 3 else x.sum(-1, keepdim=True)

    with torch.no_grad(), pytest.raises(DataError, match=r"module f returned shape \(1, 1\), but \(1,\) is needed"):
        PROGRAM.descent(torch.ones(3), f=wrong)
    assert len(calls) == 3
    with torch.no_grad():
        torch.testing.assert_close(PROGRAM.descent(torch.ones(3), f=lambda x: torch.ones(len(x))), torch.ones(3))


def test_grad_mode_is_what_it_was_when_a_module_raises() -> None:
    def fails(x: Tensor) -> Tensor:
        raise RuntimeError("not today")

    with torch.no_grad():
        with pytest.raises(RuntimeError, match="not today"):
            PROGRAM.descent(torch.ones(3), f=fails)
        assert not torch.is_grad_enabled()


def test_a_transposed_operand_that_stays_is_copied_once() -> None:
    """What is the same in every iteration, and does not lie as the kernel reads it."""
    A = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = torch.arange(4.0, dtype=torch.float64)
    with torch.no_grad():
        got = PROGRAM.turned(A.T, x, f=lambda y: 0.5 * y)
        for _ in range(5):
            x = 0.5 * x - 0.1 * A.T @ (A @ x)
    torch.testing.assert_close(got, x)
