"""One case per algorithm of ``tests/programs``: sizes, iteration counts and data that suit it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

PROGRAMS = Path(__file__).resolve().parents[1] / "programs"


@dataclass(frozen=True, eq=False)
class Case:
    """How to call one algorithm.

    ``make(g, shape)`` draws float64 inputs by name; ``shared`` ones never get batch dimensions. ``given`` of them are
    fixed by ``build``. ``smooth`` names inputs whose gradient finite differences can see.
    """

    program: str
    algorithm: str
    make: Callable[[Callable[..., torch.Tensor]], dict[str, torch.Tensor]]
    iterations: dict[str, int] = field(default_factory=dict)
    shared: tuple[str, ...] = ()
    given: tuple[str, ...] = ()
    smooth: tuple[str, ...] = ()
    tolerance32: float = 1e-4
    modules: bool = False
    library_calls: int = 0

    def __str__(self) -> str:
        return f"{self.program}.{self.algorithm}"


def _lasso(r: Callable[..., torch.Tensor]) -> dict[str, torch.Tensor]:
    return {"A": r(6, 9) / 3, "y": r(6)}


def _spd(r: Callable[..., torch.Tensor], n: int) -> torch.Tensor:
    m = r(n, n)
    return m @ m.mT / n + torch.eye(n, dtype=m.dtype)


def _positive(x: torch.Tensor) -> torch.Tensor:
    return x.abs() + 0.1


def _simplex(x: torch.Tensor) -> torch.Tensor:
    return torch.softmax(x, -1)


def _em(r: Callable[..., torch.Tensor]) -> dict[str, torch.Tensor]:
    labels = torch.eye(3, dtype=torch.float64).repeat(2, 1).expand(*r(6, 3).shape).clone()
    return {"support": r(6, 4), "labels": labels, "query": r(7, 4)}


def _signs(x: torch.Tensor) -> torch.Tensor:
    return torch.where(x > 0, 1.0, -1.0).to(x.dtype)


CASES = [
    Case("lasso", "ista", _lasso, {"K": 5}, given=("A",), smooth=("y",)),
    Case("lasso", "fista", _lasso, {"K": 5}, given=("A",), smooth=("y",)),
    Case("lasso", "lista", _lasso, {"K": 4}, given=("A",), smooth=("y",)),
    Case("lasso", "iht", _lasso, {"K": 5}, given=("A",), smooth=("y",)),
    Case("tv", "tv", lambda r: {"image": r(8, 11), "strength": _positive(r())}, {"K": 6}, smooth=("image", "strength")),
    Case(
        "balance",
        "alf_lb",
        lambda r: {"scores": r(40, 8), "top": torch.tensor(2, dtype=torch.int32)},
        {"K": 8},
        shared=("top",),
        tolerance32=1e-3,
        library_calls=1,
    ),
    Case(
        "balance",
        "sinkhorn",
        lambda r: {"C": r(6, 7).abs(), "a": _simplex(r(6)), "b": _simplex(r(7))},
        {"K": 6},
        smooth=("C", "a", "b"),
    ),
    Case("em", "unrolled_em", _em, {"K": 4}, smooth=("support", "query")),
    Case("em", "gmm", lambda r: {"x": r(12, 3), "mu0": r(2, 3)}, {"K": 4}, smooth=("x", "mu0")),
    Case(
        "bilevel",
        "hyperclean",
        lambda r: {"X": r(10, 4), "t": _signs(r(10)), "Xv": r(6, 4), "tv": _signs(r(6)), "logits": r(10)},
        {"K": 5},
        smooth=("logits", "X"),
    ),
    Case(
        "es",
        "eggroll",
        lambda r: {"W0": r(5, 4), "X": r(6, 4), "target": r(6, 5)},
        {"K": 3, "population": 8, "rank": 2},
        smooth=("X",),
    ),
    Case(
        "proxgrad",
        "plug_and_play",
        lambda r: {"A": r(6, 9) / 3, "y": r(6), "tol": torch.tensor(0.05, dtype=torch.float64)},
        {"K": 30},
        shared=("tol",),
        given=("A",),
        smooth=("y",),
        modules=True,
    ),
    Case("proxgrad", "lion", lambda r: {"X": r(10, 4), "t": r(10), "w0": r(4)}, {"K": 6}, smooth=("w0",)),
    Case("stencils", "jacobi2d", lambda r: {"A": r(8, 8)}, {"T": 3}, smooth=("A",)),
    Case("stencils", "seidel2d", lambda r: {"A": r(8, 8)}, {"T": 3}, smooth=("A",)),
    Case("triangular", "cholesky_lower", lambda r: {"A": _spd(r, 6)}, smooth=("A",)),
    Case(
        "triangular",
        "syrk",
        lambda r: {"C": r(6, 6), "A": r(6, 5), "alpha": r(), "beta": r()},
        smooth=("C", "A", "alpha", "beta"),
    ),
]

#: Inside the loop over k of these there is no library call; `alf_lb` has one (topk) until its count is known.
ONE_KERNEL = ["ista", "fista", "lista", "iht", "tv", "sinkhorn", "unrolled_em", "gmm", "hyperclean", "lion", "eggroll"]


def draw(case: Case, seed: int = 0, batch: tuple[int, ...] = ()) -> dict[str, torch.Tensor]:
    """Inputs in float64 (integers as they are); those neither shared nor given have ``batch`` dimensions in front."""
    g = torch.Generator().manual_seed(seed)
    single = case.make(lambda *shape: torch.randn(shape, generator=g, dtype=torch.float64))
    if not batch:
        return single
    many = case.make(lambda *shape: torch.randn((*batch, *shape), generator=g, dtype=torch.float64))
    fixed = (*case.shared, *case.given)
    return {n: single[n] if n in fixed else many[n] for n in single}
