"""Slopes by central differences, for tests of gradients."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def slope(value: Callable[[], Tensor], leaf: Tensor, direction: Tensor, step: float = 1e-6) -> float:
    """How fast a number changes as a leaf moves along a direction: (value(leaf + h d) - value(leaf - h d)) / 2h. In float64 truncation is about
    h^2, rounding about 1e-16 / h."""
    with torch.no_grad():
        leaf += step * direction
        above = value()
        leaf -= 2 * step * direction
        below = value()
        leaf += step * direction
    return float(above - below) / (2 * step)
