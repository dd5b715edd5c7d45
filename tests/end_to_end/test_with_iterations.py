"""``layer.with_iterations``: parameters along one or several counts, tied and constrained ones, learned operators, inner algorithms."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import unspool as us

TEXTS = us.loads(
    """
algorithm mixed(y: real[n]) -> real[n]:
    iterations K = 3
    param tied: positive = 0.5
    param step[K]: positive = 0.25
    param share[K, n]: simplex
    param keep[n]: unit = 0.75
    x = y
    for k in 0..K:
        x = sin(tied * x + step[k] * share[k] - keep * y)
    return x

algorithm grid(y: real[n]) -> real[n]:
    iterations J = 2
    iterations K = 3
    param gain[J, K]: positive = 0.5
    param bias[K]: nonneg = 0.1
    for j in 0..J:
        for k in 0..K:
            y = sin(gain[j, k] * y) + bias[k]
    return y

algorithm outer(y: real[n]) -> real[n]:
    iterations J = 2
    param scale[J]: positive = 1.5
    for j in 0..J:
        y = scale[j] * inner(y)
    return y

algorithm inner(y: real[n]) -> real[n]:
    iterations I = 2
    param step: unit = 0.5
    for i in 0..I:
        y = sin(step * y)
    return y

algorithm stages(x: real[n]) -> real[n]:
    iterations K = 2
    param step[K]: positive = 0.5
    module f[K]: (real[n]) -> real[n]
    module g: (real[n]) -> real[n]
    for k in 0..K:
        x = g(x - step[k] * f[k](x))
    return x
"""
)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def moved(layer: us.Layer) -> us.Layer:
    """The layer with other parameters than its initial ones."""
    with torch.no_grad():
        for n, p in enumerate(layer.parameters()):
            p.add_(0.1 * randn(*p.shape, seed=n).abs())
    return layer


def close(got: Any, want: Any) -> None:
    torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("extend", ["repeat", "init"])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_tied_and_constrained_parameters(count: int, extend: str) -> None:
    layer = moved(TEXTS.mixed.build(n=4, target="c", dtype="f64"))
    other, kept = layer.with_iterations(count, extend=extend), min(count, 3)
    close(other.tied, layer.tied)
    close(other.keep, layer.keep)
    close(other.step[:kept], layer.step[:kept])
    close(other.share[:kept], layer.share[:kept])
    assert other.share.shape == (count, 4)
    close(other.share.sum(-1), torch.ones(count, dtype=torch.float64))
    if count > 3:
        close(other.step[3:], (layer.step[-1:] if extend == "repeat" else torch.full((1,), 0.25).double()).expand(2))
        close(other.share[3:], layer.share[-1:].expand(2, 4) if extend == "repeat" else torch.full((2, 4), 0.25).double())
    y = randn(2, 4)
    close(other(y), TEXTS.mixed(y, K=count, target="interpreter", **other.values()))
    assert all(p is not q for p in other.parameters() for q in layer.parameters())
    close(layer.with_iterations(count, extend=extend).with_iterations(2)(y), layer.with_iterations(2)(y))
    other(y).sum().backward()
    assert all(p.grad is not None for p in other.parameters())


def test_two_counts() -> None:
    layer = moved(TEXTS.grid.build(target="c", dtype="f64"))
    with pytest.raises(us.DataError, match="grid has 2 iteration counts: set one by name"):
        layer.with_iterations(4)
    wider = layer.with_iterations(J=3, K=5)
    close(wider.gain, layer.gain[[0, 1, 1]][:, [0, 1, 2, 2, 2]])
    close(wider.bias, layer.bias[[0, 1, 2, 2, 2]])
    taller = layer.with_iterations(J=3, K=2, extend="init")
    close(taller.gain, torch.cat([layer.gain[:, :2], torch.full((1, 2), 0.5).double()]))
    y = randn(2, 4)
    close(wider(y), TEXTS.grid(y, J=3, K=5, target="interpreter", **wider.values()))
    assert "J=3, K=5" in repr(wider)


def test_parameters_of_an_inner_algorithm() -> None:
    layer = moved(TEXTS.outer.build(target="c", dtype="f64"))
    longer, y = layer.with_iterations(J=4), randn(2, 4)
    values = longer.values()
    close(values["inner.step"], layer.values()["inner.step"])
    close(values["scale"], layer.scale[[0, 1, 1, 1]])
    want = y
    for j in range(4):
        want = values["scale"][j] * TEXTS.inner(want, step=values["inner.step"], target="interpreter")
    close(longer(y), want)


def test_learned_operators() -> None:
    torch.manual_seed(0)
    operators = [nn.Linear(3, 3).double() for _ in range(2)]
    layer = TEXTS.stages.build(n=3, f=operators, g=nn.Tanh(), target="c", dtype="f64")
    longer, x = layer.with_iterations(4), randn(2, 3)
    assert [f is operators[min(n, 1)] for n, f in enumerate(longer.f)] == [True, True, False, False]
    assert longer.f[2] is not longer.f[3]
    assert all(torch.equal(f.weight, operators[1].weight) for f in longer.f[2:])
    want = x
    for k in range(4):
        want = torch.tanh(want - longer.step[k] * operators[min(k, 1)](want))
    close(longer(x), want)
    shorter = layer.with_iterations(1)
    assert len(shorter.f) == 1
    assert not layer.eval().with_iterations(3).training
