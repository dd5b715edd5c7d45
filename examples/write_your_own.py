"""Write your own iteration: Richardson-Lucy deblurring, with a learned exponent for every iteration.

The iteration is a Python function; it becomes one kernel with its gradient. Run it with ``python -m examples.write_your_own``; the picture goes to
``write_your_own.svg``.
"""

import numpy as np
import torch
from matplotlib.figure import Figure

import unspool as us


@us.algorithm
def richardson_lucy(given_blur: us.given(us.real["n", "n"]), y: us.real["n"]) -> us.real["n"]:  # noqa: F821
    """x <- x (B^T (y / B x))^p: every factor is positive, so x stays positive; the plain method has p = 1."""
    K = us.iterations(10)
    power = us.param(K, constraint="positive", init=1.0)
    x = us.zeros("n") + us.mean(y)
    for k in range(K):
        x = x * (given_blur.T @ (y / (given_blur @ x))) ** power[k]
    return x


def main() -> None:
    """Learn the exponents, tell what they bring, draw one signal."""
    random = np.random.default_rng(0)
    n = 128
    distance = np.abs(np.arange(n)[:, None] - np.arange(n))
    blur = np.exp(-(distance**2) / (2 * 3.0**2))
    blur = torch.as_tensor(blur / blur.sum(0), dtype=torch.float32)

    def draw(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        x = 0.05 + (random.random((count, n)) < 0.04) * random.exponential(1.0, (count, n))
        x = torch.as_tensor(x, dtype=torch.float32)
        return (x @ blur.T) * torch.as_tensor(random.normal(1, 0.01, (count, n)), dtype=torch.float32), x

    plain, layer = (richardson_lucy.build(given_blur=blur) for _ in range(2))
    us.fit(layer, draw(2000), lambda found, x: ((found - x) ** 2).mean(-1), epochs=10, batch_size=100, lr=0.05)
    y, x = draw(200)
    with torch.no_grad():
        found = {"plain": plain(y), "learned": layer(y)}
    for name, one in {"blurred": y, **found}.items():
        print(f"{name:>8}: mean squared error {float(((one - x) ** 2).mean()):.4f}")
    print("exponents:", " ".join(f"{p:.1f}" for p in layer.power.tolist()))
    figure = Figure(figsize=(8, 3), layout="constrained")
    place = figure.subplots()
    for name, one in {"truth": x, "blurred": y, **found}.items():
        place.plot(one[0], label=name, color="0.6" if name == "truth" else None)
    place.legend()
    figure.savefig("write_your_own.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
