"""What tests of the standard library share: a layer in float64 on the compiled target, its gradients against finite differences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

import unspool as us
from tests.slopes import slope


def built(program: us.Program, name: str, **options: Any) -> us.Layer:
    """A layer of an algorithm in float64."""
    return getattr(program, name).build(dtype="f64", **options)


def gradients_agree(layer: us.Layer, inputs: Sequence[Tensor], *, tolerance: float = 1e-5) -> None:
    """Assert that the gradients of a random combination of the results, in every parameter and input, are those of central
    differences along random directions."""
    random = torch.Generator().manual_seed(1)
    inputs = [x.clone().requires_grad_() if x.is_floating_point() or x.is_complex() else x for x in inputs]
    leaves = [p for p in layer.parameters() if p.requires_grad] + [x for x in inputs if x.requires_grad]
    weights: list[Tensor] = []

    def value() -> Tensor:
        found = layer(*inputs)
        found = found if isinstance(found, tuple) else (found,)
        results = [torch.view_as_real(y) if y.is_complex() else y for y in found if y.is_floating_point() or y.is_complex()]
        if not weights:
            weights.extend(torch.randn(y.shape, generator=random, dtype=y.dtype) for y in results)
        return sum(((w * y).sum() for w, y in zip(weights, results, strict=True)), torch.zeros((), dtype=torch.float64))

    grads = torch.autograd.grad(value(), leaves, allow_unused=True, materialize_grads=True)
    for leaf, grad in zip(leaves, grads, strict=True):
        direction = torch.randn(leaf.shape, generator=random, dtype=leaf.dtype)
        expected = slope(value, leaf, direction)
        got = float((grad.conj() * direction).sum().real)
        assert abs(got - expected) <= tolerance * max(1.0, abs(expected)), (tuple(leaf.shape), got, expected)
