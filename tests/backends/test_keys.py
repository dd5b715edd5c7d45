"""Random-number keys: splitmix64 of the seed, folded for a batch; independent of everything else."""

from __future__ import annotations

import torch

import unspool as us
from unspool.compiler.graph.ops.random_bits import fold_word

DRAW = us.loads("algorithm draw(rng: key, x: real[n]) -> real[n]:\n    return normal(fold(rng, 3), n) + 0 * x\n").draw


def test_known_words() -> None:
    assert us.key(0).item() & (2**64 - 1) == 0xE220A8397B1DCDAF  # the first output of splitmix64 from state 0
    assert us.key(0).dtype == torch.int64
    assert us.key(-1).item() == us.key(2**64 - 1).item() != us.key(1).item()


def test_a_batch_of_keys_is_the_key_folded() -> None:
    many = us.key(5, (2, 3))
    assert many.shape == (2, 3)
    assert len(set(many.flatten().tolist())) == 6
    assert all(fold_word(us.key(5), torch.tensor(e)).item() == k for e, k in enumerate(many.flatten().tolist()))
    assert torch.equal(us.key(5, 6), many.flatten())
    assert us.key(5, (0, 2)).shape == (0, 2)


def test_same_numbers_on_both_targets_for_every_split_of_a_batch() -> None:
    keys, x = us.key(1, 8), torch.zeros(8, 5)
    whole = DRAW(keys, x, target="c")
    assert torch.equal(whole, DRAW(keys, x, target="interpreter"))
    assert torch.equal(whole, torch.cat([DRAW(keys[:3], x[:3], target="c"), DRAW(keys[3:], x[3:], target="c")]))
    assert torch.equal(whole[4], DRAW(keys[4], x[4]))
    one = DRAW(us.key(1), x, target="c")
    assert torch.equal(one, one[:1].expand(8, 5))  # one key: the same numbers for every problem
