"""``us.evolve``: a population dealt out to processes, generation after generation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ...compiler.diagnostics import DataError
from .shards import Shards


def evolve(
    weights: Sequence[Tensor],
    scores: Callable[..., Tensor],
    update: Callable[..., Any],
    *,
    generations: int,
    population: int,
    shards: int = 1,
) -> tuple[Tensor, ...]:
    """Weights after some generations of an evolution strategy.

    ``scores(weights, k, first, count)`` tries members ``first`` to ``first + count - 1`` in generation ``k`` and gives their scores, a tensor with
    ``count`` rows; ``update(weights, scores, k)`` makes new weights of those of the whole population, in the order of members. Both make noise
    of a key and the number of a member (as ``us.stdlib.es.eggroll_scores`` and ``eggroll_update`` do), so members have no state.

    The population is cut into ``shards`` of equal size. Where ``torch.distributed`` is running they are dealt out to its processes, scores are
    gathered, and every process makes the same update: the weights are the same to the bit, however many processes there are, if each
    runs as many threads. Raises DataError if members or shards cannot be dealt out evenly, or the scores have other shapes.
    """
    work = Shards(shards)
    if population % shards:
        raise DataError(f"a population of {population} cannot be cut into {shards} shards of one size")
    now, count = tuple(weights), population // shards
    with torch.no_grad():
        for k in range(generations):
            found = [[torch.as_tensor(scores(now, k, n * count, count))] for n in work.own]
            for (one,) in found:
                if not one.dim() or len(one) != count:
                    raise DataError(f"scores of {count} members have {count} rows; these are of shape {tuple(one.shape)}")
            made = update(now, torch.cat([one for (one,) in work.gathered(found)]), k)
            now = tuple(made) if isinstance(made, (tuple, list)) else (made,)
    return now
