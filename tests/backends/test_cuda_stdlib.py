"""The standard library on target ``cuda``: its text, run on the processor under the race detector, against the interpreter; compiled for two GPUs
without spills."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import unspool as us
from tests.backends.test_cuda_text import ORDERS, Launched, fits, recorded
from unspool.compiler import options

_random = np.random.default_rng(0)
BATCH = 9  # more than a tile


def _normal(*shape: int) -> Tensor:
    return torch.as_tensor(_random.standard_normal(shape))


def _positive(*shape: int) -> Tensor:
    return torch.as_tensor(_random.random(shape) + 0.1)


_A, _LABELS = _normal(6, 10), torch.eye(3, dtype=torch.float64)[torch.tensor([0, 1, 2, 0, 1, 2])]
_SIMPLEX = _positive(BATCH, 6, 4) / 5
_CLEANING = (_normal(BATCH, 6, 4), _LABELS, _normal(6, 4), _LABELS, _normal(BATCH, 6))
#: What each program is built with, and its inputs.
PROGRAMS: dict[str, tuple[dict[str, object], tuple[Tensor, ...]]] = {
    **{f"sparse.{name}": ({"A": _A, "K": 4}, (_normal(BATCH, 6),)) for name in ("ista", "fista", "iht", "lista", "alista", "admm_lasso", "amp")},
    **{f"em.{name}": ({"K": 3}, (_normal(BATCH, 20, 3), _normal(BATCH, 3, 3))) for name in ("gmm", "gmm_full")},
    "em.factor_analysis": ({"K": 3}, (_normal(BATCH, 30, 5), _normal(BATCH, 5, 2))),
    "em.factors": ({}, (_normal(BATCH, 30, 5), _normal(BATCH, 5, 2), _positive(BATCH, 5))),
    "em.unem_gaussian": ({"K": 3}, (_normal(BATCH, 6, 4), _LABELS, _normal(BATCH, 12, 4))),
    "em.unem_dirichlet": ({"K": 2, "J": 8}, (_SIMPLEX, _LABELS, _SIMPLEX)),
    **{f"primal_dual.{name}": ({"K": 5}, (_positive(BATCH, 12, 4), torch.tensor(2, dtype=torch.int32))) for name in ("alf_lb", "alf_lb_sign")},
    "primal_dual.alf_lb_online": ({"K": 5}, (_positive(BATCH, 5, 12, 4), torch.tensor(2, dtype=torch.int32))),
    "primal_dual.sinkhorn": ({"K": 5}, (_positive(BATCH, 6, 5), torch.full((6,), 1 / 6).double(), torch.full((5,), 0.2).double())),
    "primal_dual.tv": ({"K": 4}, (_positive(BATCH, 9, 11), torch.tensor(0.1).double())),
    "optim.mfac_static": ({}, (_normal(BATCH, 5, 7), torch.tensor(0.5).double())),
    "optim.gns_smooth_max": ({"K": 3}, (_normal(BATCH, 9, 4), _normal(BATCH, 9), *torch.tensor([0.7, 1.0]).double(), _normal(BATCH, 4))),
    "bilevel.hyperclean": ({"K": 2, "J": 3}, _CLEANING),
    "primal_dual.capped_simplex": ({}, (_normal(BATCH, 7), torch.tensor(2.0).double(), torch.tensor(1.0).double())),
}
DEFAULT = {"sparse.amp", "primal_dual.sinkhorn"}
CASES = [pytest.param(name, id=name, marks=[pytest.mark.slow] * (name not in DEFAULT)) for name in PROGRAMS]


def results(name: str, target: str, launched: list[Launched]) -> list[Tensor]:
    """Results, and gradients of their sum in every input and parameter."""
    file, _, algorithm = name.partition(".")
    chosen, inputs = PROGRAMS[name]
    layer = getattr(getattr(us.stdlib, file), algorithm).build(dtype="f64", target=target, **chosen)
    inputs = tuple(x.clone().requires_grad_() if x.is_floating_point() else x for x in inputs)
    with recorded() as made:
        found = layer(*inputs)
        values = [y for y in (found if isinstance(found, tuple) else (found,)) if y.requires_grad]
        leaves = [*layer.parameters(), *(x for x in inputs if x.requires_grad)]
        grads = torch.autograd.grad([y.sum() for y in values], leaves, materialize_grads=True, allow_unused=True)
    launched.append(made)
    return [y.detach() for y in (found if isinstance(found, tuple) else (found,))] + list(grads)


@pytest.mark.needs("c++", "nvcc")
@pytest.mark.parametrize("name", CASES)
def test_a_program_of_the_library(name: str) -> None:
    expected = results(name, "interpreter", [])
    launched: list[Launched] = []
    for order in ORDERS:
        with options.scope(emulate=order):
            for got, want in zip(results(name, "emulated", launched), expected, strict=True):
                torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-9)
    fits(Launched({text: source for made in launched for text, source in made.sources.items()}))
