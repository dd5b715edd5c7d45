"""The programs of the suite under torch.compile: as a whole, or one iteration with the loop in Python.

Shapes are constants to it (``dynamic=False``), as they are to our kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from . import torch_eager as eager


def whole(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """The function compiled as one graph, which unrolls its loop."""
    return torch.compile(function, dynamic=False, fullgraph=True, **options)


def by_step(name: str, **options: Any) -> Callable[..., Any]:
    """The function of that name in ``torch_eager`` with its iteration compiled and its loop in Python."""
    return partial(getattr(eager, name), one=whole(getattr(eager, f"{name}_step"), **options))
