"""Work dealt out to the processes of ``torch.distributed``, and what they found brought together in one order.

Work is cut into shards, whose number does not depend on that of the processes: each shard is computed by itself, by whichever process it falls to, and
results are put in the order of shards. So the bits do not depend on how many processes there are. Nothing is sent but what was found.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.distributed as dist
from torch import Tensor

from ...compiler.diagnostics import DataError


class Shards:
    """``count`` shards over the processes of the default group; all in this one, if there is none. Raises DataError if they cannot be dealt out
    evenly."""

    def __init__(self, count: int) -> None:
        running = dist.is_available() and dist.is_initialized()
        self.count, self.processes, self.rank = count, dist.get_world_size() if running else 1, dist.get_rank() if running else 0
        if count < 1 or count % self.processes:
            raise DataError(f"shards={count} cannot be dealt out to {self.processes} processes: take a multiple of {self.processes}")

    @property
    def own(self) -> range:
        """The shards of this process."""
        each = self.count // self.processes
        return range(self.rank * each, (self.rank + 1) * each)

    def pieces(self, length: int) -> list[range]:
        """``length`` things cut into shards, whose sizes differ by one at most."""
        ends = [length * n // self.count for n in range(self.count + 1)]
        return [range(a, b) for a, b in pairwise(ends)]

    def gathered(self, found: Sequence[Sequence[Tensor]]) -> list[list[Tensor]]:
        """The tensors of every shard from those of the own ones; shapes and dtypes are those of the first shard."""
        if self.processes == 1:
            return [list(tensors) for tensors in found]
        like = found[0]
        mine = torch.stack([torch.cat([t.detach().contiguous().reshape(-1).view(torch.uint8) for t in tensors]) for tensors in found])
        parts = [torch.empty_like(mine) for _ in range(self.processes)]
        dist.all_gather(parts, mine)
        sizes = [t.numel() * t.element_size() for t in like]
        # a copy begins where its dtype may begin
        return [
            [part.clone().view(t.dtype).reshape(t.shape) for part, t in zip(row.split(sizes), like, strict=True)] for row in torch.cat(parts)
        ]
