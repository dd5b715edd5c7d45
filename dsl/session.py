"""What ``dsl run`` and ``dsl compile`` do: complete the sizes and the data, call, sum up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..backends.binding import Binding, bind
from ..backends.convert import argument, precision
from ..backends.devices import current
from ..backends.kernel import Kernel
from ..backends.registry import check_usable, device_type
from ..compiler import options
from ..compiler.diagnostics import DataError
from ..compiler.nearest import did_you_mean
from .api import AlgorithmHandle
from .compile_options import CompileOptions
from .data import draw
from .sizes import choose_sizes


@dataclass
class Call:
    """A call with every input there; ``said`` tells what was made up."""

    handle: AlgorithmHandle
    values: dict[str, Any]
    counts: dict[str, int]
    sizes: dict[str, int]
    real: str
    chosen: CompileOptions
    said: str
    lead: tuple[int, ...] = ()

    @property
    def problems(self) -> int:
        """How many problems a call solves, if no input that was given has leading dimensions of its own."""
        return prod(self.lead)

    def run(self) -> list[Any]:
        """The results, as NumPy arrays. Where the target is one of a GPU, the data goes there, and the results come back."""
        routine = self.handle.routine(self.chosen)  # by hand, as an input may be called `target`
        target, values = routine.settings.target, self.values
        if device_type(target) == "cuda":
            check_usable(target)
            values = {name: torch.as_tensor(value, device=current("cuda")) for name, value in values.items()}
        elif any(isinstance(value, torch.Tensor) for value in values.values()):
            values = {name: torch.as_tensor(value) for name, value in values.items()}
        found = routine.call(values, params={}, iterations=self.counts, sizes=self.sizes, modules={}, dtype=self.real)
        results = found if isinstance(found, tuple) else (found,)
        return list(map(_array, results))


def _array(result: Any) -> Any:
    """A result as NumPy has it, bfloat16 as float32."""
    if not isinstance(result, torch.Tensor):
        return np.asarray(result)
    return (result.float() if result.dtype == torch.bfloat16 else result).detach().cpu().numpy()


def prepare(
    handle: AlgorithmHandle,
    inputs: Mapping[str, Any],
    sizes: Mapping[str, int],
    lead: tuple[int, ...],
    counts: Mapping[str, int],
    chosen: CompileOptions,
) -> Call:
    """A call with the inputs that are given and drawn ones for the others. Raises DataError."""
    algorithm = handle.algorithm
    if algorithm.modules:
        names = ", ".join(m.name for m in algorithm.modules)
        raise DataError(f"{algorithm.name} needs learned operators ({names}), which come from Python: us.load(...)")
    values = dict(inputs)
    binding = _bound(handle, values, sizes, counts)
    arguments = [argument(i.name, i.type, values[i.name]) for i in algorithm.inputs if i.name in values]
    real = precision(arguments, chosen.dtype, "--dtype")
    missing = [i for i in algorithm.inputs if i.name not in values]
    assumed = [n for n in algorithm.size_names if n not in binding.sizes]
    complete = choose_sizes(algorithm, binding.sizes)
    seed = options.current.seed
    for i in missing:
        values[i.name] = draw(i.name, i.type, complete, () if i.given else lead, seed, real)
    said = _said(algorithm.name, complete, assumed, lead, [i.name for i in missing], seed)
    only = {n: v for n, v in complete.items() if n not in dict(algorithm.iterations)}
    return Call(handle, values, dict(counts), only, real, chosen, said, lead)


def compile_kernel(
    handle: AlgorithmHandle,
    inputs: Mapping[str, Any],
    sizes: Mapping[str, int],
    lead: tuple[int, ...],
    counts: Mapping[str, int],
    chosen: CompileOptions,
) -> tuple[Kernel, str]:
    """The kernel for these sizes (those of the inputs, if there are), and what was made up. Raises DataError."""
    algorithm = handle.algorithm
    binding = _bound(handle, inputs, sizes, counts)
    arguments = [argument(i.name, i.type, inputs[i.name]) for i in algorithm.inputs if i.name in inputs]
    real = precision(arguments, chosen.dtype, "--dtype")
    assumed = [n for n in algorithm.size_names if n not in binding.sizes]
    found = choose_sizes(algorithm, binding.sizes)
    only: dict[str, Any] = {n: v for n, v in found.items() if n not in dict(algorithm.iterations)}
    modules = {m.name: [_absent] * found.get(str(m.count), 1) if m.count is not None else _absent for m in algorithm.modules}
    kernel = Kernel(handle.routine(chosen), sizes=only, lead=lead, iterations=counts, modules=modules, params={}, dtype=real)
    return kernel, _said(algorithm.name, found, assumed, lead, [], 0)


def _absent(*_: Any) -> Any:
    raise DataError("this kernel was compiled without its learned operators")


def _bound(handle: AlgorithmHandle, values: Mapping[str, Any], sizes: Mapping[str, int], counts: Mapping[str, int]) -> Binding:
    """The sizes known from options and from the inputs that are there."""
    algorithm = handle.algorithm
    binding = Binding()
    unknown = sorted(sizes.keys() - set(algorithm.size_names))
    if unknown:
        known = algorithm.size_names
        raise DataError(
            f"{algorithm.name} has no size {unknown[0]!r}; it has {', '.join(known) or 'none'}{did_you_mean(unknown[0], known)}"
        )
    for name, value in {**dict(algorithm.iterations), **counts, **sizes}.items():
        binding.set(name, value, "by option" if name in sizes or name in counts else "the iteration count")
    present = [argument(i.name, i.type, values[i.name]) for i in algorithm.inputs if i.name in values]
    simple = [(a.name, a.type, a.shape) for a in present if all(s.is_name or s.constant is not None for s in a.type.shape)]
    bind(binding, simple)
    return binding


def _said(
    name: str, sizes: Mapping[str, int], assumed: Sequence[str], lead: Sequence[int], drawn: Sequence[str], seed: int
) -> str:
    """One line on what the user did not say."""
    parts = []
    if assumed:
        parts.append("sizes " + ", ".join(f"{n}={sizes[n]}" for n in assumed))
    if drawn:
        parts.append(f"batch {'x'.join(map(str, lead)) or '1'}")
        parts.append(f"random {', '.join(drawn)} (seed {seed})")
    return f"{name}: {'; '.join(parts)}" if parts else ""


def summary(results: Sequence[Any], paths: Sequence[Path]) -> Iterator[str]:
    """A line for each result."""
    for i, value in enumerate(results):
        where = f" -> {paths[i if len(paths) > 1 else 0]}" if paths else ""
        numbers = ""
        if value.size and value.dtype.kind == "f":
            finite = value[np.isfinite(value)]
            numbers = (
                f", min {finite.min():.6g}, mean {finite.mean():.6g}, max {finite.max():.6g}"
                if finite.size
                else ", nothing finite"
            )
            if finite.size < value.size:
                numbers += f", {value.size - finite.size} not finite"
        yield f"result {i}: {value.dtype}{list(value.shape)}{numbers}{where}"
