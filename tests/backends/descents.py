"""A descent along the slope of a learned operator, and an operator to descend along, for tests of host programs."""

from __future__ import annotations

from torch import Tensor, nn

DESCENT = """
fn value(x, f) = f(x)

algorithm descent(x: real[n]) -> real[n]:
    iterations K = 4
    param step[K] = 0.1
    module f: (real[n]) -> real
    for k in 0..K:
        x = x - step[k] * grad(value, x)(x, f)
    return x
"""


class Scaled(nn.Module):
    """``scale * |x|^4``, and how often it was asked for."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale, self.calls = scale, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.scale * x.square().sum(-1).square()
