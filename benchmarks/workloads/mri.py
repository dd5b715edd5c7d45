"""Reconstruction of magnetic resonance images: programs of the standard library with transforms and convolutions inside. JAX has no part in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

import unspool as us

from ..contest import FORWARD, GRADIENT, Contest
from ..peers import mri_torch, torch_compiled
from ..plan import Plan
from ..problem import Problem


def _scans(batch: int, coils: int, side: int) -> tuple[Tensor, ...]:
    """Samples of images of noise, their masks, the sensitivities, and the magnitudes."""
    random = torch.Generator().manual_seed(0)
    S, x = (torch.randn(*shape, side, side, generator=random, dtype=torch.complex64) for shape in ((coils,), (batch,)))
    S = S / S.abs().square().sum(0).sqrt()
    mask = (torch.rand(batch, 1, side, generator=random) < 0.25).float().expand(-1, side, -1).contiguous()
    return mask[:, None] * torch.fft.fft2(S * x[:, None]), mask, S.expand(batch, -1, -1, -1).contiguous(), x.abs()


def cirim(plan: Plan) -> Iterator[Contest]:
    """Two cascades of four steps."""
    yield from _cascades(plan, "cirim")


def cirim_explicit(plan: Plan) -> Iterator[Contest]:
    """The same with explicit data consistency."""
    yield from _cascades(plan, "cirim_explicit")


def _cascades(plan: Plan, name: str) -> Iterator[Contest]:
    handle = getattr(us.stdlib.mri, name)
    batch, coils, side, f = plan.pick((2, 2, 6, 3), (8, 8, 64, 32), (8, 8, 64, 32))
    y, mask, S, x = _scans(batch, coils, side)
    K, T = 2, 4
    values = handle.build(K=K, T=T, f=f, rng=us.key(0)).values()
    problem = Problem(
        handle, (y, mask, S, torch.tensor(1.0)), given={"rng": us.key(0)}, values=values, counts={"K": K, "T": T, "f": f},
        loss=lambda found, x: (found.abs() - x[:, None, None]).square().mean(), extra=(x,),
        order=lambda given, inputs, params: (*inputs[:3], *params, T),
    )  # fmt: skip
    yield from _held(plan, name, f"{batch} images of {side}x{side}, {coils} coils, {f} channels, K={K}, T={T}", problem)


def recurrent_varnet(plan: Plan) -> Iterator[Contest]:
    """Four iterations with a network for each."""
    batch, coils, side, f = plan.pick((2, 2, 6, 3), (8, 8, 64, 32), (8, 8, 64, 32))
    y, mask, S, x = _scans(batch, coils, side)
    counts = {"K": 4, "cells": 4, "deeper": 1, "f": f}

    def start(u: Tensor) -> Tensor:
        return u.new_zeros(len(u), 2, f, *u.shape[-2:])

    given: dict[str, Any] = {"rng": us.key(0), "start": start}
    values = us.stdlib.mri.recurrent_varnet.build(**counts, **given).values()
    problem = Problem(
        us.stdlib.mri.recurrent_varnet, (y, mask, S), given=given, values=values, counts=counts,
        loss=lambda found, x: (found - x).square().mean(), extra=(x,), order=lambda given, inputs, params: (*inputs, *params, 4),
    )  # fmt: skip
    yield from _held(plan, "recurrent_varnet", f"{batch} images of {side}x{side}, {coils} coils, {f} channels, 2 layers, K=4", problem)


def _held(plan: Plan, name: str, size: str, problem: Problem) -> Iterator[Contest]:
    """The contests of a program, forward and gradient."""
    function = getattr(mri_torch, name)
    for mode, ours, by_torch, reference in (
        (FORWARD, problem.forward, problem.torch, problem.reference),
        (GRADIENT, problem.gradient, problem.torch_gradient, problem.reference_gradient),
    ):
        contestants = [
            *ours(),
            by_torch("torch", "eager", lambda: function),
            by_torch("torch.compile, whole loop", "compile", lambda: torch_compiled.whole(function)),
        ]
        yield Contest(f"library {name}", size, mode, reference, plan.having(contestants), tolerance=1e-3)
