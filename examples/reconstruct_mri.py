"""Reconstruct magnetic resonance images from a quarter of the samples, seen by four coils.

Cascades of recurrent networks (``cirim_explicit``) learn it on phantoms of random ellipses. Run it with ``python -m examples.reconstruct_mri``; the
picture goes to ``reconstruct_mri.svg``.
"""

from __future__ import annotations

import argparse

import torch
from matplotlib.figure import Figure
from torch import Tensor

import unspool as us

SIDE, COILS, SAMPLED, NOISE = 32, 4, 8, 0.005
PLACE = torch.linspace(-1, 1, SIDE)


def phantoms(count: int, random: torch.Generator) -> Tensor:
    """Images [count, h, w] of six ellipses each, with a smooth phase."""
    x = torch.zeros(count, SIDE, SIDE)
    for n in range(6):
        up, right, tall, wide, value = torch.rand(5, count, 1, 1, generator=random)
        size = 0.9 if n == 0 else 0.35  # the first one holds the others
        inside = ((PLACE[:, None] - (up - 0.5) * (1.2 - size)) / (size * (0.4 + 0.6 * tall))) ** 2
        inside = inside + ((PLACE - (right - 0.5) * (1.2 - size)) / (size * (0.4 + 0.6 * wide))) ** 2
        x = torch.where(inside < 1, x * (n > 0) * 0.5 + 0.2 + 0.6 * value, x)
    bend = torch.randn(3, count, 1, 1, generator=random)
    return torch.polar(x, bend[0] + bend[1] * PLACE[:, None] + bend[2] * PLACE)


def scanned(x: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Samples, masks and sensitivities for images: a quarter of the columns of what each coil sees, low frequencies more often."""
    corners = torch.tensor([(-1.0, 0.0), (1.0, 0.0), (0.0, -1.0), (0.0, 1.0)])[:, :, None, None]
    S = torch.exp(-2 * ((PLACE[:, None] - corners[:, 0]) ** 2 + (PLACE - corners[:, 1]) ** 2)).to(torch.complex64)
    S = (S / S.abs().square().sum(0).sqrt()).expand(len(x), -1, -1, -1)
    weight = torch.exp(-((torch.fft.fftfreq(SIDE) * 8) ** 2)) + 0.02
    weight[[0, 1, -1]] = 100.0
    columns = torch.multinomial(weight.expand(len(x), -1), SAMPLED, generator=random)
    mask = torch.zeros(len(x), SIDE).scatter(1, columns, 1.0)[:, None].expand(-1, SIDE, -1).contiguous()
    noise = NOISE * SIDE * torch.randn(len(x), COILS, SIDE, SIDE, generator=random, dtype=torch.complex64)
    return mask[:, None] * (torch.fft.fft2(S * x[:, None]) + noise), mask, S


def decibels(found: Tensor, x: Tensor) -> float:
    """Peak signal-to-noise ratio of magnitudes."""
    error = (found.abs() - x.abs()).square().mean((-2, -1))
    return float((10 * torch.log10(x.abs().amax((-2, -1)).square() / error)).mean())


def main() -> None:
    """Learn, reconstruct phantoms that were not seen, tell how well, draw one."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--phantoms", type=int, default=1000, help="to learn from (1000)")
    count = options.parse_args().phantoms
    random = torch.Generator().manual_seed(0)
    layer = us.stdlib.mri.cirim_explicit.build(K=2, T=4, f=12, rng=us.key(0))

    def loss(estimates: Tensor, x: Tensor) -> Tensor:
        return (estimates.abs() - x.abs()[:, None, None]).abs().mean()

    x = phantoms(count, random)
    y, mask, S = scanned(x, random)
    us.fit(layer, (y, mask, S, torch.ones(count), x), loss, epochs=2, batch_size=8, lr=0.005)

    x = phantoms(50, random)
    y, mask, S = scanned(x, random)
    with torch.no_grad():
        found = layer(y, mask, S, torch.ones(len(x)))[:, -1, -1]
    zero_filled = (S.conj() * torch.fft.ifft2(y)).sum(1)
    print(f"{SAMPLED / SIDE:.0%} of the samples")
    print(f"  zero-filled: {decibels(zero_filled, x):.1f} dB")
    print(f"reconstructed: {decibels(found, x):.1f} dB")

    figure = Figure(figsize=(8, 2.4), layout="constrained")
    pictures = {"image": x[0], "sampled": torch.fft.fftshift(mask[0]), "zero-filled": zero_filled[0], "reconstructed": found[0]}
    for axes, (name, picture) in zip(figure.subplots(1, 4), pictures.items()):
        axes.imshow(picture.abs().numpy(), cmap="gray", vmin=0, vmax=1)
        axes.set_title(name, fontsize=10)
        axes.axis("off")
    figure.savefig("reconstruct_mri.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
