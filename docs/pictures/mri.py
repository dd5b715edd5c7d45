"""Pictures of ``stdlib/mri.us``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

import unspool as us
from experiments.data_consistency import OTHERS, cascades, scans
from experiments.parameter_sharing import network
from experiments.report import FULL

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def cirim() -> Figure:
    """64 digits of 20 x 20 pixels, 4 coils, 5 of 20 columns sampled; 2 cascades of 4 steps with 12 channels, trained for 150 steps of Adam on others. The
    error is that of magnitudes, relative to the image; mean over the digits."""
    return _estimates("2 cascades, 4 steps")


def cirim_explicit() -> Figure:
    """64 digits of 20 x 20 pixels, 4 coils, 5 of 20 columns sampled; 2 cascades of 4 steps with 12 channels, trained for 150 steps of Adam on others. The
    error is that of magnitudes, relative to the image; mean over the digits."""
    return _estimates("2 cascades, 4 steps, explicit")


def recurrent_varnet() -> Figure:
    """64 digits of 20 x 20 pixels, 4 coils, 5 of 20 columns sampled; one network for all of 4 iterations, with 2 layers of 12 channels, trained for 150
    steps of Adam on others. The error is that of magnitudes, relative to the image; mean over the digits."""
    layer, (inputs, truth) = network("one for all", 0, FULL), scans()[1].batch(torch.arange(OTHERS))
    with torch.no_grad():
        _, path = layer(*inputs, trace=["k"])
    return _drawn(torch.fft.ifft2(path.k).abs().square().sum(2).sqrt(), truth)


def _estimates(name: str) -> Figure:
    layer, (inputs, truth) = cascades(name, 0, FULL), scans()[1].batch(torch.arange(OTHERS))
    with torch.no_grad():
        return _drawn(layer(*inputs, torch.tensor(0.0)).flatten(1, 2).abs(), truth)


def _drawn(estimates: Tensor, truth: Tensor) -> Figure:
    """Errors of estimates [n, k, h, w]."""
    error = (estimates - truth.abs()[:, None]).square().sum((-2, -1)) / truth.abs().square().sum((-2, -1))[:, None]
    return us.plot_curves({"relative error": error.sqrt().mean(0)}, log=False)
