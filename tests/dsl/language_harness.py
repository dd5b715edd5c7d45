"""Runs a program text on the reference interpreter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from unspool.compiler.graph.algorithm import Algorithm
from unspool.compiler.graph.interp import interpret
from unspool.compiler.graph.specialize import specialize
from unspool.compiler.graph.verify import verify
from unspool.dsl.program import load_text

_NAMES = {"f": "real", "c": "complex", "i": "i64", "b": "bool"}


def only(text: str) -> Algorithm:
    """The last algorithm of a program."""
    algorithm = list(load_text(text).algorithms.values())[-1]
    verify(algorithm.graph)
    return algorithm


def evaluate(
    algorithm: Algorithm,
    inputs: Mapping[str, Any],
    sizes: Mapping[str, int] | None = None,
    modules: Mapping[str, Callable[..., Any]] | None = None,
) -> list[np.ndarray]:
    """Results of an algorithm without params, in float64; ``sizes`` adds to what the inputs' shapes and the defaults say."""
    found = dict(algorithm.iterations)
    tensors = []
    for declared in algorithm.inputs:
        x = torch.as_tensor(inputs[declared.name])
        tensors.append(x)
        found.update((str(s), n) for s, n in zip(declared.type.shape, x.shape, strict=True) if s.is_name)
    graph = specialize(algorithm.graph, "f64")
    return [y.numpy() for y in interpret(graph, tensors, {**found, **(sizes or {})}, modules=modules)]


def type_of(x: Any) -> str:
    """The declaration that fits an array: ``real[3, 4]``."""
    x = np.asarray(x)
    return _NAMES[x.dtype.kind] + (f"[{', '.join(map(str, x.shape))}]" if x.shape else "")


def expression(text: str, inputs: Mapping[str, Any], result: str, extra: str = "") -> np.ndarray:
    """An expression on arrays of literal sizes, as a program of one line."""
    declared = ", ".join(f"{name}: {type_of(x)}" for name, x in inputs.items())
    algorithm = only(f"{extra}\nalgorithm f({declared}) -> {result}:\n    return {text}\n")
    (found,) = evaluate(algorithm, inputs)
    return found
