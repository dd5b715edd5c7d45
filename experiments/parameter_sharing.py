"""One network for all iterations, or one for each, in a recurrent variational network.

The iterate of a recurrent variational network is the transform of all coil images; in every iteration the samples are mixed in with a learned weight,
and a recurrent network makes a correction ([recurrent_varnet](../stdlib/mri.md)). The paper gives every iteration a network of its own, and reports
that this is better than one network for all.

Setting: the images, coils and samples of [data consistency by cascades](data_consistency.md), 4 iterations, 12 channels, two layers of gated units,
which begin with states of 0 or with those that a module of three convolutions makes; Adam, rate 0.005, 150 steps with 8 images each; loss |difference
of magnitudes|. Figures are the mean peak signal-to-noise ratio of 64 other images.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

import unspool as us

from .data_consistency import OTHERS, ZERO_FILLED, quality, scans, trained, zero_filled
from .report import FULL, Findings, Number, Scale

PAPER = "yiasemis2022"
K, CHANNELS, DEEPER = 4, 12, 1
#: name: the number of networks, and whether first states are learned
MODELS = {"one for each": (K, False), "one for all": (1, False), "one for each, first states learned": (K, True)}
#: Measured with plain torch, one seed, one layer of gated units, on images drawn otherwise.
BEFORE = {"one for each": "29.25", "one for all": "27.79", "one for each, first states learned": ""}
NOTES = """
A network for each iteration is better with every seed, by as much as was measured before. It has four times the weights, too; at equal steps of
training that is all that is compared. First states that a module makes add nothing at this size: the paper's are for hidden states of 128 channels.
Images, masks and coils are other ones than before, so that only differences compare.
"""
UNSHARED = "a network for each iteration is better than one for all"
GAIN = "by more than 3 dB"
#: Claims that so few steps of one model do not bear out.
ONLY_FULL = (UNSHARED, GAIN)


class FirstStates(nn.Module):
    """States of all layers from the transform of an image: [n, 2, h, w] to [n, layers, f, h, w]."""

    def __init__(self, layers: int, f: int) -> None:
        super().__init__()
        self.layers, self.f = layers, f
        convolutions = [
            nn.Conv2d(2 if n == 0 else f, f, 3, padding=n + 1, dilation=n + 1, padding_mode="replicate") for n in range(2)
        ]
        self.net = nn.Sequential(convolutions[0], nn.ReLU(), convolutions[1], nn.ReLU(), nn.Conv2d(f, layers * f, 1), nn.ReLU())

    def forward(self, u: Tensor) -> Tensor:
        states: Tensor = self.net(u)
        return states.unflatten(1, (self.layers, self.f))


def zeros(u: Tensor) -> Tensor:
    """States of 0."""
    return u.new_zeros(len(u), DEEPER + 1, CHANNELS, *u.shape[-2:])


def of_magnitude(x: Tensor, truth: Tensor) -> Tensor:
    """The loss of results [n, h, w]."""
    return (x - truth.abs()).abs().mean()


def network(name: str, seed: int, scale: Scale, **options: Any) -> us.Layer:
    """A trained model of :data:`MODELS`."""
    cells, learned = MODELS[name]
    torch.manual_seed(seed)
    start = FirstStates(DEEPER + 1, CHANNELS) if learned else zeros
    layer = us.stdlib.mri.recurrent_varnet.build(
        K=K, cells=cells, deeper=DEEPER, f=CHANNELS, rng=us.key(seed), start=start, **options
    )
    return trained(layer, seed, scale, of_magnitude)


def run(scale: Scale) -> Findings:
    """All models, by seeds."""
    plain: dict[str, Any] = {} if scale is FULL else {"target": "interpreter"}
    inputs, truth = scans()[1].batch(torch.arange(OTHERS))
    found = {}
    for name in MODELS if scale is FULL else list(MODELS)[-1:]:
        values = []
        for seed in range(scale.seeds):
            layer = network(name, seed, scale, **plain)
            with torch.no_grad():
                values.append(quality(layer(*inputs), truth))
        found[name] = tuple(values)
    base = zero_filled(scans()[1])
    figures = [Number("zero-filled: dB", (base,), ZERO_FILLED, digits=4)]
    figures += [Number(f"{name}: dB", values, BEFORE[name], digits=4) for name, values in found.items()]
    least = min(min(values) for values in found.values())
    claims = {"every model, with every seed, is better than zero-filled images": least > base, GAIN: least > base + 3, UNSHARED: False}
    if scale is FULL:
        each, one, _ = (torch.tensor(found[name]) for name in MODELS)
        figures.append(Number("one for each less one for all, same seed: dB", tuple((each - one).tolist()), "1.46", digits=2))
        claims[UNSHARED] = bool(each.mean() > one.mean())
    return Findings(figures, claims, notes=NOTES)
