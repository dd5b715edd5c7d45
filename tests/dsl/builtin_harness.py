"""Calls one builtin, as the front end would, and runs the graph that it makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from unspool.compiler.graph.adjoint import backward
from unspool.compiler.graph.batch import batch
from unspool.compiler.graph.graph import Builder, Graph
from unspool.compiler.graph.interp import interpret
from unspool.compiler.graph.specialize import specialize
from unspool.compiler.graph.types import Size, Type
from unspool.compiler.graph.verify import verify
from unspool.dsl.builtins.all import BUILTINS
from unspool.dsl.context import Context, Unit
from unspool.dsl.facts import Facts
from unspool.dsl.operand import (
    Array,
    DTypeOperand,
    NoneOperand,
    Operand,
    SizeOperand,
    StringOperand,
    StructOperand,
    TupleOperand,
    Weak,
)

Tensor = torch.Tensor
_DTYPES = {
    torch.float64: "real", torch.complex128: "complex", torch.float32: "f32",
    torch.int64: "i64", torch.int32: "i32", torch.int8: "i8", torch.bool: "bool",
}  # fmt: skip


@dataclass(frozen=True)
class Text:
    """A string literal."""

    text: str


@dataclass(frozen=True)
class Kind:
    """A type name."""

    dtype: str


@dataclass(frozen=True)
class Key:
    """A random key."""

    seed: int


@dataclass
class Made:
    """The graph of a call, and what to run it on."""

    graph: Graph
    inputs: list[Tensor]
    sizes: dict[str, int]
    result: Any

    def run(self, inputs: Sequence[Tensor] | None = None) -> list[Tensor]:
        """The results in float64."""
        verify(self.graph)
        return list(interpret(specialize(self.graph, "f64"), self.inputs if inputs is None else inputs, self.sizes))


def tensor(x: Any) -> Tensor:
    """A tensor from an array; NumPy keeps its dtype."""
    return x if isinstance(x, Tensor) else torch.from_numpy(np.array(x))


def make_context() -> Context:
    """An empty program: the context of its one statement."""
    return Context(Builder("call"), None, Unit(), {}, Facts())  # type: ignore[arg-type]


class Caller:
    """Turns Python arguments into operands: arrays become inputs whose sizes are names (``s3`` is 3; 1 stays 1)."""

    def __init__(self, symbolic: bool = True) -> None:
        self.ctx = make_context()
        self.symbolic = symbolic
        self.inputs: list[Tensor] = []
        self.sizes: dict[str, int] = {}

    def size(self, n: int) -> Size:
        if n == 1:
            return Size.of(n)
        self.sizes[f"s{n}"] = n
        if not self.symbolic:
            return Size.of(n)
        if n > 2:  # as `where s4 >= 3` would say
            self.ctx.facts = self.ctx.facts.with_condition(Size.of(f"s{n}"), ">=", Size.of(3))
        return Size.of(f"s{n}")

    def operand(self, x: Any) -> Operand:
        match x:
            case Text(text=text):
                return StringOperand(text)
            case Kind(dtype=dtype):
                return DTypeOperand(dtype)
            case Key(seed=seed):
                return self._input(torch.tensor(seed), Type("key"))
            case Size():
                for name in x.names():
                    self.size(int(name[1:]))
                return SizeOperand(x)
            case None:
                return NoneOperand()
            case tuple():
                return TupleOperand(tuple(self.operand(item) for item in x))
            case np.ndarray() | Tensor():
                t = tensor(x)
                return self._input(t, Type(_DTYPES[t.dtype], tuple(self.size(n) for n in t.shape)))
            case bool() | int() | float() | complex():
                return Weak(x)
        return x  # an operand already

    def _input(self, t: Tensor, type: Type) -> Array:
        self.inputs.append(t)
        return Array(self.ctx.builder.input(f"x{len(self.inputs)}", type))

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        operands = tuple(self.operand(a) for a in args)
        return BUILTINS[name].lower(self.ctx, operands, {k: self.operand(v) for k, v in kwargs.items()})

    def finish(self, result: Any) -> Made:
        operands = _flat(result)
        values = [self.ctx.as_value(o) for o in operands]
        return Made(self.ctx.builder.finish(values), self.inputs, self.sizes, result)


def _flat(result: Any) -> list[Operand]:
    if isinstance(result, StructOperand):
        return [o for o in result.fields.values() if isinstance(o, Array)]
    if isinstance(result, TupleOperand):
        result = result.items
    return [o for r in result for o in _flat(r)] if isinstance(result, tuple) else [result]


def make(name: str, *args: Any, symbolic: bool = True, **kwargs: Any) -> Made:
    """The graph of one call."""
    caller = Caller(symbolic)
    return caller.finish(caller.call(name, *args, **kwargs))


def run(name: str, *args: Any, symbolic: bool = True, **kwargs: Any) -> Any:
    """The result of one call (a list if there are several), as NumPy arrays."""
    out = [t.numpy() for t in make(name, *args, symbolic=symbolic, **kwargs).run()]
    return out[0] if len(out) == 1 else out


def close(a: Any, b: Any, tolerance: float = 1e-12) -> None:
    """Equal shape, kind and, nearly, value (NaN equals NaN)."""
    a, b = np.asarray(a), np.asarray(b)
    assert a.shape == b.shape, (a.shape, b.shape)
    assert a.dtype.kind == b.dtype.kind, (a.dtype, b.dtype)
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def check_gradient(name: str, args: Sequence[Any], kwargs: Mapping[str, Any], reference: Any, tolerance: float = 1e-9) -> None:
    """The adjoint of the call, torch's derivative through the interpreter, and torch's of ``reference`` agree."""
    made = make(name, *args, **kwargs)
    wrt = [i for i, v in enumerate(made.graph.inputs) if v.type.dtype in ("real", "complex")]
    leaves = [x.clone().requires_grad_() if i in wrt else x for i, x in enumerate(made.inputs)]
    outputs = [y for y in made.run(leaves) if y.dtype in (torch.float64, torch.complex128)]
    torch.manual_seed(1)
    weights = [torch.randn_like(y) for y in outputs]
    through = _torch_gradient(outputs, [leaves[i] for i in wrt], weights)
    expected_outputs = reference(*leaves)
    expected_outputs = list(expected_outputs) if isinstance(expected_outputs, tuple) else [expected_outputs]
    expected = _torch_gradient(expected_outputs, [leaves[i] for i in wrt], weights)
    graph = specialize(backward(made.graph, wrt), "f64")
    verify(graph)
    adjoint = interpret(graph, [*made.inputs, *weights], made.sizes)
    for own, torchs, wanted in zip(adjoint, through, expected, strict=True):
        torch.testing.assert_close(own, wanted, rtol=tolerance, atol=tolerance, equal_nan=True)
        torch.testing.assert_close(torchs, wanted, rtol=tolerance, atol=tolerance, equal_nan=True)


def _torch_gradient(outputs: Sequence[Tensor], leaves: Sequence[Tensor], weights: Sequence[Tensor]) -> list[Tensor]:
    pairs = [(y, w) for y, w in zip(outputs, weights, strict=True) if y.requires_grad]
    if not pairs:
        return [torch.zeros_like(x) for x in leaves]
    found = torch.autograd.grad([y for y, _ in pairs], leaves, [w for _, w in pairs], allow_unused=True)
    return [torch.zeros_like(x) if g is None else g for x, g in zip(leaves, found, strict=True)]


def check_batched(name: str, args: Sequence[Any], kwargs: Mapping[str, Any], count: int = 3) -> None:
    """The batched graph on several problems equals the graph on each."""
    made = make(name, *args, **kwargs)
    torch.manual_seed(2)
    stacks = []
    for x, value in zip(made.inputs, made.graph.inputs, strict=True):
        if value.type.dtype in ("real", "complex"):
            stacks.append(torch.stack([x, *(x * (1 + 0.1 * n) + 0 * torch.randn_like(x) for n in range(1, count))]))
        else:
            stacks.append(x)
    flags = [s is not x for s, x in zip(stacks, made.inputs, strict=True)]
    graph = specialize(batch(made.graph, flags), "f64")
    verify(graph)
    together = interpret(graph, stacks, {**made.sizes, "batch": count})
    for n in range(count):
        alone = made.run([s[n] if f else s for s, f in zip(stacks, flags, strict=True)])
        for one, many in zip(alone, together, strict=True):
            torch.testing.assert_close(many[n], one, rtol=1e-12, atol=1e-12, equal_nan=True)
