"""Learn step sizes: ten iterations of ISTA that do as well as a hundred.

Run it with ``python -m examples.learn_step_sizes``; the picture goes to ``learn_step_sizes.svg``.
"""

from __future__ import annotations

import torch
from matplotlib.figure import Figure

import unspool as us

M, N, K = 60, 100, 10


def main() -> None:
    """Learn with the truth as teacher, compare on new signals, draw what was learned."""
    random = torch.Generator().manual_seed(0)
    A = torch.randn(M, N, generator=random)
    A /= A.norm(dim=0)

    def draw(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.randn(count, N, generator=random) * (torch.rand(count, N, generator=random) < 0.1)
        return x @ A.T + 0.02 * torch.randn(count, M, generator=random), x

    layer = us.stdlib.sparse.ista.build(A=A, K=K)
    us.fit(layer, draw(4000), lambda found, x: ((found - x) ** 2).sum(-1), validation=draw(500), epochs=30, batch_size=200, lr=0.02)

    y, x = draw(1000)
    with torch.no_grad():
        for name, one in {
            "10 iterations, step 1/L": us.stdlib.sparse.ista.build(A=A, K=K),
            "100 iterations, step 1/L": us.stdlib.sparse.ista.build(A=A, K=100),
            "10 iterations, learned": layer,
        }.items():
            print(f"{name:>24}: squared error {float(((one(y) - x) ** 2).sum(-1).mean()):.2f} of {float((x**2).sum(-1).mean()):.2f}")
    figure = Figure(figsize=(8, 3), layout="constrained")
    us.plot_parameters(layer, axes=list(figure.subplots(1, 2)))
    figure.savefig("learn_step_sizes.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
