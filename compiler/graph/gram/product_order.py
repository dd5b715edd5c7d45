"""The order of the products of several factors that takes the fewest operations.

    A[j, i] A[j, k] x[k], A fixed, K iterations:      (A.T A) x  if n n m + K n n < K 2 m n,  else A.T (A x)

By dynamic programming over sets of factors: the best order of a set is the best way to cut it in two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from math import prod

from .multilinear import Factor, NoForm

#: A factor by its place, or a product of two trees.
Tree = int | tuple["Tree", "Tree"]


@dataclass(frozen=True)
class Order:
    """A tree of products and its operations in all iterations of a problem."""

    tree: Tree
    cost: float


def best_order(
    factors: Sequence[Factor],
    out: Set[int],
    extents: Mapping[int, int],
    fixed: Callable[[str], bool],
    weight: Callable[[Set[str]], float],
    made: Callable[[Factor, Factor, frozenset[int]], bool] = lambda a, b, needed: False,
) -> Order:
    """The cheapest order, of equals one that scales last; ``weight`` says how often a product of some values is taken, ``made`` which
    products of two are there already. Raises NoForm where a divisor's index would be summed over."""
    count = len(factors)
    whole = (1 << count) - 1
    inside = [frozenset[int]().union(*(f.letters for n, f in enumerate(factors) if mask >> n & 1)) for mask in range(whole + 1)]
    left = [inside[mask] & (out | inside[whole & ~mask]) for mask in range(whole + 1)]
    often = [weight({f.name for n, f in enumerate(factors) if mask >> n & 1}) for mask in range(whole + 1)]
    found: dict[int, tuple[tuple[float, int], Tree]] = {1 << n: ((0.0, 0), n) for n in range(count)}
    for mask in range(1, whole + 1):
        if mask in found:
            continue
        best: tuple[tuple[float, int], Tree] | None = None
        for a, b in _splits(mask):
            if a not in found or b not in found or not (_divides(factors, a, b, left, mask) and _divides(factors, b, a, left, mask)):
                continue
            letters = left[a] | left[b]
            summed = letters - left[mask]
            each = (2 if summed else 1) * prod(extents[i] for i in letters) * often[mask]
            if mask.bit_count() == 2 and summed and made(factors[_place(a)], factors[_place(b)], left[mask]):
                each = 0.0
            scales = not summed and any(one & (one - 1) == 0 and left[one] <= out and not fixed(factors[_place(one)].name) for one in (a, b))
            rank = (found[a][0][0] + found[b][0][0] + each, 0 if scales else 1)
            if best is None or rank < best[0]:
                best = rank, (found[a][1], found[b][1])
        if best is not None:
            found[mask] = best
    if whole not in found:
        raise NoForm
    (cost, _), tree = found[whole]
    return Order(tree, cost)


def _place(mask: int) -> int:
    """The only member of a set."""
    return mask.bit_length() - 1


def _splits(mask: int) -> Iterator[tuple[int, int]]:
    """The ways to cut a set in two; the part with its lowest member first."""
    low = mask & -mask
    part = (mask - 1) & mask
    while part:
        if part & low:
            yield part, mask & ~part
        part = (part - 1) & mask


def _divides(factors: Sequence[Factor], a: int, b: int, left: Sequence[frozenset[int]], mask: int) -> bool:
    """Whether part ``a`` may be multiplied with ``b``: a divisor only divides what has all its indices, and keeps them."""
    if a & (a - 1) or not factors[_place(a)].inverse:
        return True
    divisor = factors[_place(a)]
    other = b & (b - 1) == 0 and factors[_place(b)].inverse
    return not other and divisor.letters <= left[b] and divisor.letters <= left[mask]


def members(tree: Tree) -> set[int]:
    return {tree} if isinstance(tree, int) else members(tree[0]) | members(tree[1])
