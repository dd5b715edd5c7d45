"""What :mod:`.test_shards` runs in two processes: ``us.fit`` and ``us.evolve`` in two shards, and what came out as text.

The second process is ``python -m tests.learning.two_processes STORE FILE FLAGS...``: where processes meet, what it writes, and what the
C compiler is told.
"""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

import unspool as us
from unspool.backends import build

PROGRAM = us.loads("""
fn mse(x, t) = mean((x - t)**2)

algorithm shrink(y: real[n]) -> real[n]:
    iterations K = 3
    param w[K]: free = 0.1
    x = zeros(n)
    for k in 0..K:
        x = x + w[k] * (y - x)
    return x
""")
ES = us.stdlib.es
GENERATIONS, PAIRS = 3, 6


def problem() -> tuple[Tensor, ...]:
    """Minibatches, classes and weights."""
    random = torch.Generator().manual_seed(0)
    x, W, V = (torch.randn(shape, generator=random) for shape in ((GENERATIONS, 6, 5), (4, 5), (3, 4)))
    return x, torch.eye(3)[torch.randint(3, (GENERATIONS, 6), generator=random)], W, V


def evolved(shards: int) -> tuple[Tensor, ...]:
    """Weights of a perceptron after some generations."""
    x, y, *weights = problem()
    key, plain = us.key(2), {"target": "c", "schedule": ""}

    def scores(now: tuple[Tensor, ...], k: int, first: int, count: int) -> Tensor:
        return ES.eggroll_scores(x[k], y[k], *now, 0.1, key, k, first, pairs=count, **plain)  # type: ignore[no-any-return]

    def update(now: tuple[Tensor, ...], scores: Tensor, k: int) -> tuple[Tensor, ...]:
        return ES.eggroll_update(scores, *now, 0.1, 0.5, key, k, **plain)  # type: ignore[no-any-return]

    return us.evolve(weights, scores, update, generations=GENERATIONS, population=PAIRS, shards=shards)


def fitted(loss: object, shards: int) -> tuple[Tensor, list[float]]:
    """A parameter after two epochs, and the losses. 11 problems in batches of 7: shards are not of one size."""
    y = torch.randn(11, 4, generator=torch.Generator().manual_seed(0))
    layer = PROGRAM.shrink.build(target="c", schedule="")
    history = us.fit(layer, (y, 0.5 * y), loss, epochs=2, batch_size=7, shards=shards, progress=False)  # type: ignore[arg-type]
    return layer.w.detach(), history.loss


def told(shards: int) -> str:
    """All numbers, to the bit."""
    losses = {"a fn": PROGRAM.mse, "tensors": lambda x, t: (x - t) ** 2}
    found = [(name, w.tolist(), history) for name, loss in losses.items() for w, history in [fitted(loss, shards)]]
    return repr((found, [w.tolist() for w in evolved(shards)]))


if __name__ == "__main__":
    _, store, file, *flags = sys.argv
    build.FLAGS = tuple(flags)
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=1, world_size=2, timeout=timedelta(minutes=3))
    Path(file).write_text(told(2), encoding="utf-8")
    time.sleep(0.5)  # gloo's threads let go of the last sum before the interpreter ends, or torch aborts (2.13)
    dist.destroy_process_group()
