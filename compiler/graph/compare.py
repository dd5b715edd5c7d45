"""Compare what two graphs compute, on data drawn by a seed: the check of ``UNSPOOL_VERIFY=2`` after a pass.

Free sizes are small, so a loop over iterations runs a few times. Data that one of the graphs refuses (an assertion, an
index out of range) tells nothing and is passed over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import options
from ..diagnostics import DataError
from .graph import Graph, walk
from .interp import interpret
from .ops.common import torch_dtype
from .specialize import size_names
from .text import print_graph
from .types import Type, is_complex, is_floating
from .verify import GraphError

if TYPE_CHECKING:
    from torch import Tensor

#: What free sizes are taken to be.
SIZE = 3
_TOLERANCE = {"f64": 1e-10, "c128": 1e-10, "f32": 1e-4, "c64": 1e-4}


def compare(before: Graph, after: Graph) -> None:
    """Raise GraphError unless two graphs of the same inputs give the same results for the same data.

    Compared are graphs that the interpreter can run alone: without learned operators and kernels.
    """
    if any(n.op in ("module", "weights", "kernel") for g in (before, after) for n in walk(g.nodes)):
        return
    import torch

    sizes = dict.fromkeys(size_names(before) | size_names(after), SIZE)
    generator = torch.Generator().manual_seed(options.current.seed)
    inputs = [draw(v.type, sizes, generator) for v in before.inputs]
    try:
        wanted = interpret(before, inputs, sizes)
        found = interpret(after, inputs, sizes)
    except (DataError, NotImplementedError, RuntimeError):  # also what torch has not in half precision
        return
    for name, type, x, y in zip(before.results, before.result_types, wanted, found, strict=True):
        error = distance(x, y)
        if not error <= _TOLERANCE.get(type.dtype, 0.0 if not is_floating(type.dtype) else 0.05):
            raise GraphError(
                f"a pass changed what {before.name} computes: %{name} differs by {error:.2g} on data of seed "
                f"{options.current.seed}; the graph after it:\n{print_graph(after)}"
            )


def draw(type: Type, sizes: dict[str, int], generator: Any) -> Tensor:
    """Data of a type: normal numbers, ones for integers (an index), bits for keys."""
    import torch

    shape = [s.evaluate(sizes) for s in type.shape]
    dtype = torch_dtype(torch, type.dtype)
    if is_floating(type.dtype) or is_complex(type.dtype):
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
    if type.dtype == "bool":
        return torch.rand(shape, generator=generator) < 0.5
    if type.dtype == "key":
        return torch.randint(-(2**62), 2**62, shape, generator=generator)
    return torch.ones(shape, dtype=dtype)


def distance(x: Tensor, y: Tensor) -> float:
    """The largest difference, relative to the largest element; NaN and infinities must be in the same places."""
    import torch

    if x.shape != y.shape or x.dtype != y.dtype:
        return float("inf")
    if not (x.is_floating_point() or x.is_complex()):
        return 0.0 if torch.equal(x, y) else float("inf")
    same = (x == y) | (torch.isnan(x) & torch.isnan(y))
    if bool((~same & ~(torch.isfinite(x) & torch.isfinite(y))).any()):
        return float("inf")
    gap = (x - y).abs()[~same]
    scale = x.abs()[torch.isfinite(x)]
    return 0.0 if gap.numel() == 0 else float(gap.max() / scale.max().clamp_min(1e-30))
