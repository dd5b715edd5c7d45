"""Gradients that a kernel leaves as factors: products over all problems of a batch, by torch (see ``compiler/graph/factors.py``)."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from ..compiler.graph.factors import Factored, Product
from ..compiler.graph.types import BYTES

#: Gradients of fewer elements, or of fewer problems, are summed by the kernel.
ELEMENTS, PROBLEMS = 4096, 4
#: The factors of a problem have this many times fewer elements than the gradients, and those of all problems take no more than so many bytes.
SAVING, MOST = 8, 256 << 20


def pays(made: Factored, shapes: Sequence[tuple[int, ...]], sizes: Mapping[str, int], count: int, most: int | None) -> bool:
    """Whether ``count`` problems gain by factors in place of results of these ``shapes``, within so many bytes, if not None."""
    types = [t for place, t in enumerate(made.graph.result_types) if place not in made.results]
    factors = [t.numel.evaluate(sizes) for t in types]
    taken = count * sum(n * BYTES[t.dtype] for n, t in zip(factors, types, strict=True))
    gradients = sum(prod(shape) for shape, r in zip(shapes, made.results, strict=True) if not isinstance(r, int))
    return SAVING * sum(factors) <= gradients and taken <= (MOST if most is None else min(MOST, most))


@dataclass(frozen=True)
class Products:
    """What makes the results of a call of those of its kernel: ``results`` are places, or products whose sum is summed over the problems."""

    results: tuple[int | tuple[Product, ...], ...]
    flags: Sequence[bool]  # which operands differ between problems
    shapes: Sequence[tuple[int, ...]]

    def __call__(self, found: Sequence[Tensor], flat: Sequence[Tensor], count: int, lead: tuple[int, ...]) -> list[Tensor]:
        """The results, of the kernel's, and of its flat operands."""
        return [
            found[made] if isinstance(made, int) else self._sum(made, found, flat, count, lead).reshape(shape)
            for made, shape in zip(self.results, self.shapes, strict=True)
        ]

    def _sum(self, products: Sequence[Product], found: Sequence[Tensor], flat: Sequence[Tensor], count: int, lead: tuple[int, ...]) -> Tensor:
        total: Tensor | None = None
        for product in products:
            left, right = product.spec.split("->")
            problem = next(c for c in string.ascii_letters if c not in product.spec)
            factors, words = [], []
            for (is_input, place), word in zip(product.factors, left.split(","), strict=True):
                own = not is_input or self.flags[place]
                x = flat[place] if is_input else found[place].reshape(count, *found[place].shape[len(lead) :])
                factors.append(x)
                words.append(problem * own + word)
            made = torch.einsum(f"{','.join(words)}->{right}", *factors)
            total = made if total is None else total.add_(made)
        assert total is not None
        return total
