"""Solve until converged, and differentiate: choose the strength of a penalty by gradients through the solution.

Ridge regression with a strength for each feature is solved by gradient descent that stops by itself. The strengths are learned on held-out data;
the gradient is that of the fixed point (``backward="implicit"``), so nothing of the iterations is kept. Run it with ``python -m
examples.solve_until_converged``; the picture goes to ``solve_until_converged.svg``.
"""

from __future__ import annotations

import torch

import unspool as us

PROGRAM = us.loads("""
algorithm ridge(X: real[n, d], t: real[n], strength: real[d]) -> (real[d], real):
    iterations K = 20000
    H = X.T @ X / n + diag(strength)
    b = X.T @ t / n
    step = 1 / trace(H)
    w = zeros(d)
    count = 0.0
    for k in 0..K until norm(H @ w - b) < 0.00001:
        w = w - step * (H @ w - b)
        count = count + 1
    return w, count
""")


def main() -> None:
    """Learn the strengths, tell what they are."""
    random = torch.Generator().manual_seed(0)
    useful = torch.tensor([1.0, -2.0, 1.5, 0.5, 0, 0, 0, 0, 0, 0], dtype=torch.float64)

    def draw(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        X = torch.randn(count, 10, generator=random, dtype=torch.float64)
        return X, X @ useful + torch.randn(count, generator=random, dtype=torch.float64)

    X, t = draw(30)
    Xv, tv = draw(400)
    log_strength = torch.full((10,), -2.0, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([log_strength], lr=0.1)
    losses = []
    for _ in range(150):
        w, count = PROGRAM.ridge(X, t, log_strength.exp(), backward="implicit")
        loss = ((Xv @ w - tv) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    strength = log_strength.detach().exp()
    print(f"held-out loss {losses[0]:.3f}, then {losses[-1]:.3f}; the last solve took {int(count)} iterations")
    print(f"mean strength of the useful features {float(strength[:4].mean()):.2f}, of the others {float(strength[4:].mean()):.2f}")
    us.plot_curves({"held-out loss": losses}, log=False).savefig("solve_until_converged.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
