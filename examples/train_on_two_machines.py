"""Train on two machines, or in two processes of one: step sizes by gradients, a network by its scores alone.

``python -m torch.distributed.run --nproc-per-node 2 -m examples.train_on_two_machines`` starts two processes here;
``python -m examples.train_on_two_machines`` is one, and finds the same to the bit. On two machines, run on each of them

    torchrun --nnodes 2 --nproc-per-node 1 --rdzv-backend c10d --rdzv-endpoint HOST:29500 --rdzv-id digits -m examples.train_on_two_machines

where HOST is one of them.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

import unspool as us

SHARDS, PAIRS, GENERATIONS = 2, 32, 20
ES = us.stdlib.es


def step_sizes() -> Tensor:
    """Step sizes of ISTA, learned: each process has a half of every batch, and gradients are added in order."""
    random = torch.Generator().manual_seed(0)
    A = torch.randn(30, 50, generator=random) / 30**0.5
    x = torch.randn(400, 50, generator=random) * (torch.rand(400, 50, generator=random) < 0.1)
    layer = us.stdlib.sparse.ista.build(A=A, K=8)
    us.fit(layer, (x @ A.T, x), lambda found, x: ((found - x) ** 2).sum(-1), epochs=10, lr=0.03, batch_size=100, shards=SHARDS)
    return layer.values()["step"]


def network() -> tuple[Tensor, ...]:
    """A perceptron that learns who is larger: each process tries a half of the population, and only scores are sent."""
    random = torch.Generator().manual_seed(1)
    x = torch.randn(64, 8, generator=random)
    y = torch.eye(2)[(x[:, 0] > x[:, 1]).long()]
    weights = torch.randn(16, 8, generator=random) / 8**0.5, torch.randn(2, 16, generator=random) / 4
    key = us.key(0)

    def scores(now: Sequence[Tensor], k: int, first: int, count: int) -> Tensor:
        return ES.eggroll_scores(x, y, *now, 0.1, key, k, first, pairs=count)  # type: ignore[no-any-return]

    def update(now: Sequence[Tensor], scores: Tensor, k: int) -> tuple[Tensor, ...]:
        return ES.eggroll_update(scores, *now, 0.1, 1.0, key, k)  # type: ignore[no-any-return]

    W, V = us.evolve(weights, scores, update, generations=GENERATIONS, population=PAIRS, shards=SHARDS)
    right = ((x @ W.T).relu() @ V.T).argmax(1) == y.argmax(1)
    return W, V, right.double().mean()


def main() -> None:
    """Both, in as many processes as there are; the first one tells what came out."""
    torch.set_num_threads(1)  # as many everywhere
    if "RANK" in os.environ:  # torchrun has started us
        dist.init_process_group("gloo")
    step, (W, V, right) = step_sizes(), network()
    digest = hashlib.sha256(b"".join(t.numpy().tobytes() for t in (step, W, V))).hexdigest()
    if not dist.is_initialized() or dist.get_rank() == 0:
        print(f"step sizes {step.min():.2f} to {step.max():.2f}; {100 * right:.0f}% right; all bits: {digest[:12]}")
    if dist.is_initialized():
        time.sleep(0.5)  # gloo's threads let go of the last sum before the interpreter ends, or torch aborts (2.13)
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
