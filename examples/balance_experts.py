"""Balance experts: each token of a mixture of experts goes to 2 of 16, and no expert is to get more tokens than another.

A bias on the scores of each expert, moved against its load, does that; the standard library has the rule by signs, as it was first used, and that of
the primal-dual method, whose steps may fall. The biases are then tried on tokens that they have not seen. Run it with ``python -m
examples.balance_experts``; the picture goes to ``balance_experts.svg``.
"""

from __future__ import annotations

import torch

import unspool as us

TOKENS, EXPERTS, TOP, K = 4096, 16, 2, 200


def excess(load: torch.Tensor) -> torch.Tensor:
    """How far the largest load is above the mean, relative to the mean."""
    return load.amax(-1) / load.mean(-1) - 1


def routed(scores: torch.Tensor) -> torch.Tensor:
    """How many tokens each expert gets."""
    return scores.topk(TOP).indices.flatten().bincount(minlength=EXPERTS).float()


def main() -> None:
    """Balance, tell the excess, draw how it fell."""
    random = torch.Generator().manual_seed(0)
    liked = 0.5 * torch.randn(EXPERTS, generator=random)
    scores, unseen = (torch.sigmoid(torch.randn(TOKENS, EXPERTS, generator=random) + liked) for _ in range(2))

    library = us.stdlib.primal_dual
    rules = {
        "by signs": (library.alf_lb_sign, 0.003),
        "constant step": (library.alf_lb, 0.05),
        "falling step": (library.alf_lb, 0.5 / torch.arange(1, K + 1)),
    }
    curves = {}
    print(f"{'no bias':>13}: fullest expert {float(excess(routed(scores))):6.1%} above the mean, {float(excess(routed(unseen))):6.1%} with new tokens")
    for name, (algorithm, step) in rules.items():
        (bias, load), path = algorithm(scores, TOP, K=K, step=step, trace=["load"])
        curves[name] = excess(path.load)
        print(f"{name:>13}: fullest expert {float(excess(load)):6.1%} above the mean, {float(excess(routed(unseen + bias))):6.1%} with new tokens")
    figure = us.plot_curves(curves)
    figure.axes[0].set_ylabel("fullest expert, above the mean")
    figure.savefig("balance_experts.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
