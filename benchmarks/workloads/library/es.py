"""Evolution strategies and zeroth-order descent: a network 64-32-10.

Peers draw noise of their own as they are timed; the first call, which is checked, is given that of the program. JAX and torch.compile, whose
noise cannot be told from outside, are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

import unspool as us

from ...contest import Contest
from ...peers.library import es as peers
from ...plan import Plan
from ...problem import Problem
from .. import PROGRAMS
from .held import Contests, f32, held

KEY = us.key(11)
Sizes = tuple[int, int, int, int]


def data(K: int, sizes: Sizes) -> tuple[Tensor, ...]:
    """Minibatches x[K, b, d] and their classes y[K, b, c], weights W[h, d] and V[c, h]."""
    b, d, h, c = sizes
    random = np.random.default_rng(0)
    x = random.standard_normal((K, b, d))
    y = np.eye(c)[(x @ random.standard_normal((d, c))).argmax(-1)]
    return f32(x), f32(y), f32(random.standard_normal((h, d)) / d**0.5), f32(random.standard_normal((c, h)) / h**0.5)


def drawn(name: str, shapes: Sequence[tuple[int, ...]], parts: Sequence[int], K: int, **counts: int) -> list[Tensor]:
    """What a program draws, in the order that peers ask for it: for each iteration its parts, of these shapes for a pair."""
    draw = getattr(us.load(PROGRAMS / "noise.us"), name)
    lead = tuple(counts.values())
    found = [
        draw(KEY, part, K=K, n=int(np.prod(shape)), **counts, target="interpreter").reshape(K, *lead, *shape)
        for part, shape in zip(parts, shapes, strict=True)
    ]
    return [f32(part[k]) for k in range(K) for part in found]


def peer(function: Callable[..., Any], noise: list[Tensor], **more: int) -> Callable[[], Callable[..., Any]]:
    """Makes the function with noise for its first call."""
    return lambda: partial(function, **more, noise=peers.Noise(noise))


def _sizes(plan: Plan) -> tuple[Sizes, int, int, str]:
    """Of the network, pairs and generations, and what is said of them."""
    sizes, pairs, K = plan.pick(((6, 5, 4, 3), 4, 2), ((128, 64, 32, 10), 128, 20), ((128, 64, 32, 10), 128, 300))
    b, d, h, c = sizes
    return sizes, pairs, K, f"network {d}-{h}-{c}, {b} samples, {pairs} pairs, K={K}"


def _thin(sizes: Sizes, rank: int) -> list[tuple[int, int]]:
    """Shapes of the factors of a perturbation."""
    _, d, h, c = sizes
    return [(h, rank), (d, rank), (c, rank), (h, rank)]


def full_rank(plan: Plan) -> Iterator[Contest]:
    """Perturbations of full rank."""
    sizes, pairs, K, size = _sizes(plan)
    _, d, h, c = sizes
    noise = drawn("of_pairs", [(h, d), (c, h)], (0, 1), K, pairs=pairs)
    values = {"sigma": torch.full((K,), 0.1), "lr": f32(1 - np.arange(K) / K)}
    problem = Problem(
        us.stdlib.es.open_es, (*data(K, sizes), KEY), values=values, counts={"K": K, "pairs": pairs},
        order=lambda given, inputs, params: (*inputs[:-1], *params),
    )  # fmt: skip
    yield from held(plan, "open_es", size, problem, peer(peers.open_es, noise, pairs=pairs), compiled=False, jax="", tolerance=1e-2)


def low_rank(rank: int) -> Contests:
    """Perturbations of a rank."""

    def contests(plan: Plan) -> Iterator[Contest]:
        sizes, pairs, K, size = _sizes(plan)
        noise = drawn("of_pairs", _thin(sizes, rank), range(4), K, pairs=pairs)
        values = {"sigma": torch.full((K,), 0.1), "lr": f32(1 - np.arange(K) / K)}
        problem = Problem(
            us.stdlib.es.eggroll, (*data(K, sizes), KEY), values=values, counts={"K": K, "pairs": pairs, "rank": rank},
            order=lambda given, inputs, params: (*inputs[:-1], *params),
        )  # fmt: skip
        made = peer(peers.eggroll, noise, pairs=pairs, rank=rank)
        yield from held(plan, "eggroll", f"{size}, rank {rank}", problem, made, compiled=False, jax="", tolerance=1e-2)

    return contests


class Generation:
    """``eggroll_scores``, then ``eggroll_update``."""

    @staticmethod
    def build(**options: Any) -> torch.nn.Module:
        """Both, one after the other; ``options`` are those of the first."""

        class Both(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.scores = us.stdlib.es.eggroll_scores.build(**options)
                self.update = us.stdlib.es.eggroll_update.build(**{n: v for n, v in options.items() if n != "pairs"})

            def forward(self, x: Tensor, y: Tensor, W: Tensor, V: Tensor, sigma: float, lr: float) -> tuple[Tensor, ...]:
                scores = self.scores(x, y, W, V, sigma, KEY, 0, 0)
                return scores, *self.update(scores, W, V, sigma, lr, KEY, 0)

        return Both()


def generation(plan: Plan) -> Iterator[Contest]:
    """One generation as processes that share the population compute it."""
    sizes, pairs, _, size = _sizes(plan)
    x, y, W, V = data(1, sizes)
    noise = drawn("of_pairs", _thin(sizes, 1), range(4), 1, pairs=pairs)
    problem = Problem(Generation(), (x[0], y[0], W, V, 0.1, 1.0), counts={"pairs": pairs, "rank": 1})
    made = peer(peers.generation, noise, pairs=pairs, rank=1)
    name = "eggroll_scores, eggroll_update"
    yield from held(plan, name, size.rpartition(",")[0], problem, made, compiled=False, jax="", tolerance=1e-2)


def integers(plan: Plan) -> Iterator[Contest]:
    """The same in int8. Noise that is rounded and samples that tie make single weights differ by one step, of 127 at most."""
    sizes, pairs, K, size = _sizes(plan)
    _, d, h, c = sizes
    x, y, W, V = data(K, sizes)
    x8 = (16 * x).round().clamp(-127, 127).to(torch.int8)
    W8, V8 = ((16 * d**0.5 * W).round().clamp(-127, 127).to(torch.int8), (16 * h**0.5 * V).round().clamp(-127, 127).to(torch.int8))
    threshold = torch.linspace(12, 40, K).to(torch.int32)
    noise = drawn("of_pairs", [(h,), (d,), (c,), (h,)], range(4), K, pairs=pairs)
    problem = Problem(
        us.stdlib.es.eggroll_int8, (x8, y.to(torch.int8), W8, V8, threshold, KEY), counts={"K": K, "pairs": pairs},
        order=lambda given, inputs, params: inputs[:-1],
    )  # fmt: skip
    made = peer(peers.eggroll_int8, noise, pairs=pairs, shift=6, margin=32)
    yield from held(plan, "eggroll_int8", size, problem, made, compiled=False, jax="", tolerance=2e-2)


def forward_passes(name: str) -> Contests:
    """Descent with forward passes alone, each update at once or late."""

    def contests(plan: Plan) -> Iterator[Contest]:
        sizes, K = plan.pick(((6, 5, 4, 3), 5), ((64, 64, 32, 10), 300), ((64, 64, 32, 10), 3000))
        b, d, h, c = sizes
        noise = drawn("of_steps", [(h, d), (c, h)], (0, 1), K)
        values = {"lr": torch.full((K,), 0.01), "eps": torch.full((K,), 0.01)}
        problem = Problem(
            getattr(us.stdlib.es, name), (*data(K, sizes), KEY), values=values, counts={"K": K},
            order=lambda given, inputs, params: (*inputs[:-1], *params),
        )  # fmt: skip
        made = peer(getattr(peers, name), noise)
        yield from held(plan, name, f"network {d}-{h}-{c}, {b} samples, K={K}", problem, made, compiled=False, jax="", tolerance=1e-2)

    return contests
