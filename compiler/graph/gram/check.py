"""The check of a rewritten graph before it is taken (:mod:`.rewrite`): products are compared exactly, then the whole graph runs.

A part that is only sums and products of its operands is a polynomial. Small integers, and powers of two where something is divided,
make every intermediate value exact in float64, so two such parts that agree on drawn data, with sizes that are all different, are the same
polynomial but for a chance that is negligible.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ... import options
from ...diagnostics import DataError
from ..compare import distance
from ..graph import Graph, Node, Value, walk
from ..interp import interpret
from ..ops.common import torch_dtype
from ..specialize import size_names, specialize
from ..types import Size, Type, is_complex, is_floating

if TYPE_CHECKING:
    from torch import Tensor

#: Exact but for numbers in the program that are no binary fractions.
EXACT = 1e-12
#: What a few iterations make of rounding in float64.
NEAR = 1e-8
#: Draws of data for each part; sizes from here on.
DRAWS, FIRST = 2, 2
#: Literal sizes above this one are made small, too.
SMALL = 8


def part(producers: Mapping[str, Node], types: Mapping[str, Type], result: str, atoms: Sequence[str]) -> Graph:
    """The graph that makes a value from ``atoms``, its inputs."""
    nodes: list[Node] = []
    seen = set(atoms)

    def visit(name: str) -> None:
        if name not in seen:
            seen.add(name)
            for source in producers[name].inputs:
                visit(source)
            nodes.append(producers[name])

    visit(result)
    return Graph("part", tuple(Value(a, types[a]) for a in atoms), tuple(nodes), (result,))


def why_wrong(before: Graph, after: Graph, parts: Sequence[tuple[Graph, Graph]], whole: bool) -> str:
    """Why a rewritten graph cannot be taken, or nothing. ``parts``: its products before and after. ``whole``: not only products have changed, so
    that the graph has to run, too."""
    import numpy as np

    generator = np.random.default_rng(options.current.seed)  # torch's may not be asked inside vmap
    for old, new in parts:
        if not _same_part(old, new, generator):
            return "the products do not agree with those of the program"
    gap = _gap(before, after, generator)
    if gap is None:
        return "it cannot be checked on drawn data" if whole else ""
    return "" if gap <= NEAR else f"results on drawn data differ by {gap:.2g}"


def _same_part(old: Graph, new: Graph, generator: Any) -> bool:
    old, new = _small(old), _small(new)
    names = sorted(size_names(old) | size_names(new))
    sizes = {name: FIRST + n for n, name in enumerate(names)}
    old, new = (specialize(g, "f64", sizes) for g in (old, new))
    divisors = {n.inputs[1] for g in (old, new) for n in g.nodes if n.op == "div"}
    divisors |= {i for g in (old, new) for n in reversed(g.nodes) if n.output.name in divisors for i in n.inputs}
    for _ in range(DRAWS):
        inputs = [_exact(v, v.name in divisors, generator) for v in old.inputs]
        (wanted,), (found,) = interpret(old, inputs, {}), interpret(new, inputs, {})
        if not distance(wanted, found) <= EXACT:
            return False
    return True


def _exact(value: Value, divides: bool, generator: Any) -> Tensor:
    """Small integers, or powers of two."""
    import torch

    shape = tuple(s.evaluate({}) for s in value.type.shape)
    drawn = generator.choice([0.5, 1.0, 2.0, -1.0, 4.0], shape) if divides else generator.integers(-3, 4, shape)
    return torch.tensor(drawn, dtype=torch.float64, device="cpu")


def _small(graph: Graph) -> Graph:
    """A graph of sums and products with names for its large literal sizes."""

    def size(s: Size) -> Size:
        return Size.of(f"literal_{s.constant}") if s.constant is not None and s.constant > SMALL else s

    def type(t: Type) -> Type:
        return Type(t.dtype, tuple(map(size, t.shape)))

    def value(v: Value) -> Value:
        return Value(v.name, type(v.type))

    def node(n: Node) -> Node:
        attrs = tuple((k, tuple(map(size, v)) if k == "shape" else v) for k, v in n.attrs)
        return replace(n, outputs=tuple(map(value, n.outputs)), attrs=attrs)

    return replace(graph, inputs=tuple(map(value, graph.inputs)), nodes=tuple(map(node, graph.nodes)))


def _gap(before: Graph, after: Graph, generator: Any) -> float | None:
    """The largest difference of results in float64, of sizes that are small; None where the graphs do not run alone or give no finite number."""
    if any(n.op in ("module", "weights", "kernel") for n in walk(before.nodes)):
        return None
    import torch

    names = sorted(size_names(before) | size_names(after))
    for sizes in ({name: FIRST + 1 + n for n, name in enumerate(names)}, dict.fromkeys(names, FIRST + 1)):
        old, new = (specialize(g, "f64", sizes) for g in (before, after))
        inputs = [_positive(v.type, generator) for v in old.inputs]
        try:
            wanted, found = interpret(old, inputs, sizes), interpret(new, inputs, sizes)
        except (DataError, NotImplementedError, RuntimeError, IndexError):
            continue
        numbers = [(x, y) for x, y in zip(wanted, found, strict=True)]
        if any(x.is_floating_point() and not bool(torch.isfinite(x).all()) for x, _ in numbers):
            continue
        return max(distance(x, y) for x, y in numbers)
    return None


def _positive(type: Type, generator: Any) -> Tensor:
    """Numbers around 1, which square roots, logarithms and divisions take; ones for integers (an index), bits for keys."""
    import torch

    shape = tuple(s.evaluate({}) for s in type.shape)
    if is_floating(type.dtype) or is_complex(type.dtype):
        drawn = 0.25 + abs(generator.standard_normal(shape)) / 2
    elif type.dtype == "key":
        drawn = generator.integers(-(2**62), 2**62, shape)
    else:
        drawn = generator.integers(0, 2, shape) if type.dtype == "bool" else 1 + 0 * generator.integers(0, 2, shape)
    return torch.tensor(drawn, dtype=torch_dtype(torch, type.dtype), device="cpu")
