"""Random-number keys from Python: ``us.key(seed)`` and batches of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from ..compiler.diagnostics import DataError
from ..compiler.graph.ops.random_bits import fold_word

_MASK = (1 << 64) - 1


def key(seed: int, shape: int | Sequence[int] = ()) -> torch.Tensor:
    """A random-number key, or an array of different ones: int64 tensors of the 64 bits of each.

    The key of a seed is splitmix64(seed); entry ``e`` (in row-major order) of a batch is ``fold(key(seed), e)``.
    Raises DataError for a seed that is not a 64-bit integer.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not -(1 << 63) <= seed <= _MASK:
        raise DataError(f"a seed is an integer of 64 bits, not {seed!r}")
    one = torch.tensor(_signed(_splitmix64(seed & _MASK)))
    dims = (shape,) if isinstance(shape, int) else tuple(shape)
    if not dims:
        return one
    return torch.as_tensor(fold_word(one, torch.arange(math.prod(dims)))).reshape(dims)


def _splitmix64(seed: int) -> int:
    z = (seed + 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def _signed(bits: int) -> int:
    return bits - (1 << 64) if bits >> 63 else bits
