"""Strided, overlapping, empty and one-element tensors, NaN and infinity: as in the interpreter, and nothing of the caller's is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import unspool as us
from tests.helpers import TVM

PROGRAMS = Path(__file__).resolve().parents[1] / "programs"
LASSO = us.load(PROGRAMS / "lasso.us")
TV = us.load(PROGRAMS / "tv.us")
STENCILS = us.load(PROGRAMS / "stencils.us")
TARGETS = ["c", "numba", TVM, "interpreter"]
#: See tests/conftest.py.
NUMBA_LATER: dict[str, tuple[object, ...]] = {
    "test_leading_dimensions_broadcast": (),
    "test_gradient_of_an_expanded_operand_is_summed": (),
    "test_empty_batch": (),
}
TVM_LATER = {**NUMBA_LATER, "test_sizes_of_one": (), "test_callers_tensors_are_never_written": (), "test_numpy_layouts": ()}


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


A, Y = normal(6, 9) / 3, normal(4, 6, seed=1)


def equal(a: Any, b: Any) -> bool:
    return bool(torch.allclose(torch.as_tensor(a), torch.as_tensor(b), rtol=1e-11, atol=1e-13, equal_nan=True))


LAYOUTS = {
    "transposed": Y.T.contiguous().T,
    "sliced": torch.cat([Y, Y], 1)[:, :6],
    "stepped": torch.stack([Y, Y], -1).flatten(1)[:, ::2],
    "row stride": torch.cat([Y, Y], 1)[:, 6:],
    "flipped storage": Y.flip(0).flip(0),
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_strides(layout: str, target: str) -> None:
    x = LAYOUTS[layout]
    assert equal(x, Y)
    want = LASSO.ista(A, Y, K=4, target="interpreter")
    assert equal(LASSO.ista(A.T.contiguous().T, x, K=4, target=target), want)


@pytest.mark.parametrize("target", TARGETS)
def test_overlapping(target: str) -> None:
    one = Y[0]
    want = LASSO.ista(A, one, K=4, target="interpreter")
    for x in (one.expand(5, 6), one.expand(2, 5, 6), one[None].expand(3, 6)):
        got = LASSO.ista(A, x, K=4, target=target)
        assert got.shape == (*x.shape[:-1], 9)
        assert equal(got, want.expand_as(got))
    row = normal(11)
    windows = row.as_strided((6, 6), (1, 1))  # every row overlaps the next
    assert equal(LASSO.ista(A, windows, K=4, target=target), LASSO.ista(A, windows.clone(), K=4, target="interpreter"))


@pytest.mark.parametrize("target", TARGETS)
def test_gradient_of_an_expanded_operand_is_summed(target: str) -> None:
    one = Y[0].clone().requires_grad_()
    LASSO.ista(A, one.expand(5, 6), K=4, target=target).sum().backward()
    two = Y[0].clone().requires_grad_()
    (5 * LASSO.ista(A, two, K=4, target="interpreter").sum()).backward()
    assert equal(one.grad, two.grad)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("a_lead", "y_lead"), [((), (4, 3)), ((3,), (4, 1)), ((4, 1), (3,)), ((2, 1, 3), (4, 1)), ((1,), (1, 1))]
)
def test_leading_dimensions_broadcast(a_lead: tuple[int, ...], y_lead: tuple[int, ...], target: str) -> None:
    a, y = normal(*a_lead, 6, 9).div(3).requires_grad_(), normal(*y_lead, 6, seed=2).requires_grad_()
    got = LASSO.ista(a, y, K=3, step=0.2, target=target)
    lead = torch.broadcast_shapes(a_lead, y_lead)
    assert got.shape == (*lead, 9)
    wide_a, wide_y = a.expand(*lead, 6, 9).reshape(-1, 6, 9), y.expand(*lead, 6).reshape(-1, 6)
    each = [LASSO.ista(p, q, K=3, step=0.2, target="interpreter") for p, q in zip(wide_a, wide_y)]
    want = torch.stack(each).reshape(got.shape)
    assert equal(got.detach(), want.detach())
    weights = normal(*got.shape, seed=3)
    for g, w in zip(torch.autograd.grad((got * weights).sum(), (a, y)), torch.autograd.grad((want * weights).sum(), (a, y))):
        assert equal(g, w)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("lead", [(0,), (2, 0), (0, 3)])
def test_empty_batch(lead: tuple[int, ...], target: str) -> None:
    layer = LASSO.ista.build(A=A, K=3, dtype="f64", target=target)
    y = torch.zeros(*lead, 6, dtype=torch.float64, requires_grad=True)
    x, path = layer(y, trace=["x"])
    assert x.shape == (*lead, 9)
    assert path.x.shape == (*lead, 3, 9)
    x.sum().backward()
    assert y.grad is not None
    assert y.grad.shape == y.shape
    for p in layer.parameters():
        assert p.grad is not None
        assert not p.grad.any()


@pytest.mark.parametrize("target", TARGETS)
def test_sizes_of_one(target: str) -> None:
    a, y = torch.full((1, 1), 2.0), torch.tensor([3.0])
    assert equal(LASSO.ista(a, y, K=1, lam=0.0, target=target), torch.tensor([1.5]))
    assert LASSO.lista(a, y[None, None], K=1, target=target).shape == (1, 1, 1)
    for n in (1, 2, 3):
        x = normal(n, n)
        assert equal(STENCILS.jacobi2d(x, T=2, target=target), STENCILS.jacobi2d(x, T=2, target="interpreter"))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e-310])
def test_special_values(value: float, target: str) -> None:
    image = normal(5, 7)
    image[2, 3] = value
    want = TV.tv(image, 0.3, K=3, target="interpreter")
    assert equal(TV.tv(image, 0.3, K=3, target=target), want)
    assert torch.isnan(want).any() == (value != 1e-310)


@pytest.mark.parametrize("target", TARGETS)
def test_callers_tensors_are_never_written(target: str) -> None:
    x = normal(6, 6)
    before = x.clone()
    got = STENCILS.seidel2d(x, T=2, target=target)
    got += 1
    assert torch.equal(x, before)
    identity = us.loads("algorithm same(x: real[n]) -> real[n]:\n    return x\n").same
    got = identity(x[0], target=target)
    got += 1
    assert torch.equal(x, before)
    frozen = np.arange(4.0)
    frozen.flags.writeable = False
    assert identity(frozen, target=target).flags.writeable


@pytest.mark.parametrize("target", TARGETS)
def test_numpy_layouts(target: str) -> None:
    y = Y.numpy()
    want = LASSO.ista(A.numpy(), y, K=4, target="interpreter")
    assert isinstance(want, np.ndarray)
    frozen = y.copy()
    frozen.flags.writeable = False
    for other in (y[::-1][::-1], np.asfortranarray(y), y.astype(">f8"), frozen, y[::-1].copy()[::-1]):
        got = LASSO.ista(A.numpy(), other, K=4, target=target)
        assert isinstance(got, np.ndarray)
        assert equal(got, want)


def test_kinds_and_precisions() -> None:
    whole = np.arange(6)
    assert LASSO.ista(A.float(), whole).dtype == torch.float32  # integers do not count
    assert LASSO.ista(np.ones((2, 3), int), np.ones(2, int)).dtype == np.float32  # nothing floating: f32
    assert LASSO.ista(A.numpy(), list(range(6))).dtype == np.float64
    assert LASSO.ista(A.numpy(), Y[0]).dtype == torch.float64  # one torch tensor: torch comes back
    assert isinstance(LASSO.soft(2.0, 0.5), np.floating)
    assert LASSO.ista(A.half(), Y.half(), K=2, target="c").dtype == torch.float16  # stored as f16, f32 inside
    assert LASSO.ista(A.bfloat16(), Y.bfloat16(), K=2).dtype == torch.bfloat16


def test_same_bits_every_time() -> None:
    y = normal(64, 6, seed=5)
    layer = LASSO.ista.build(A=A, K=20, dtype="f64", target="c")
    outputs, gradients = [], []
    for _ in range(3):
        layer.zero_grad()
        x = layer(y)
        x.square().sum().backward()
        outputs.append(x.detach())
        gradients.append(torch.cat([p.grad for p in layer.parameters()]))  # type: ignore[misc]
    assert all(torch.equal(o, outputs[0]) for o in outputs)
    assert all(torch.equal(g, gradients[0]) for g in gradients)


def test_number_of_threads_changes_little() -> None:
    y = normal(64, 6, seed=5)
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            v = y.clone().requires_grad_()
            a = A.clone().requires_grad_()
            LASSO.ista(a, v, K=200, target="c").square().sum().backward()
            assert v.grad is not None
            assert a.grad is not None
            found.append((v.grad, a.grad))
        for other in found[1:]:
            assert all(torch.allclose(p, q, rtol=1e-10) for p, q in zip(other, found[0]))
    finally:
        torch.set_num_threads(before)
