"""Recover a sparse signal: 500 unknowns from 250 noisy measurements, by five algorithms of the standard library.

Run it with ``python -m examples.recover_sparse_signal``; the picture goes to ``recover_sparse_signal.svg``.
"""

from __future__ import annotations

import torch
from matplotlib.figure import Figure

import unspool as us

M, N, NONZERO, NOISE = 250, 500, 25, 0.01


def main() -> None:
    """Recover, tell the errors, draw how they fall."""
    random = torch.Generator().manual_seed(0)
    A = torch.randn(M, N, generator=random) / M**0.5
    x = torch.zeros(N)
    x[torch.randperm(N, generator=random)[:NONZERO]] = torch.randn(NONZERO, generator=random)
    y = A @ x + NOISE * torch.randn(M, generator=random)

    figure = Figure(figsize=(6, 4), layout="constrained")
    place = figure.subplots()
    curves = {}
    chosen = {"ista": {"lam": 0.02}, "fista": {"lam": 0.02}, "iht": {"lam": 0.01}, "admm_lasso": {"lam": 0.02, "rho": 0.1}, "amp": {}}
    for name, options in chosen.items():
        algorithm = getattr(us.stdlib.sparse, name)
        found, path = algorithm(A, y, K=100, trace=["z" if name == "admm_lasso" else "x"], **options)
        states = path.z if name == "admm_lasso" else path.x
        curves[name] = (states - x).norm(dim=-1) / x.norm()
        print(f"{name:>10}: {int((found != 0).sum()):3} entries, relative error {float(curves[name][-1]):.3f}")
    us.plot_curves(curves, axes=place)
    place.set_ylabel("relative error")
    figure.savefig("recover_sparse_signal.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
