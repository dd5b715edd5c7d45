"""Small helpers to write loop trees by hand and run them through a target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from unspool.backends.cpu import CTarget
from unspool.backends.cuda.target import EmulatedTarget
from unspool.backends.numba.target import NumbaTarget
from unspool.backends.tvm.gpu_target import TvmEmulatedTarget
from unspool.backends.tvm.target import TvmTarget
from unspool.compiler.loops.tree import Array, Block, Expr, Function, Int, Literal, Load, Loop, Store, Tree
from unspool.compiler.target import Machine

TORCH = {
    "f32": torch.float32, "f64": torch.float64, "c64": torch.complex64, "c128": torch.complex128, "i8": torch.int8, "i16": torch.int16,
    "i32": torch.int32, "i64": torch.int64, "bool": torch.bool, "key": torch.int64,
}  # fmt: skip
Index = Int | str | int
TARGETS: dict[str, Any] = {"c": CTarget, "numba": NumbaTarget, "emulated": EmulatedTarget, "tvm": TvmTarget, "tvm_emulated": TvmEmulatedTarget}
#: The name of the target that ``build`` and ``run`` use where none is given; set by the fixture ``backend``.
CURRENT = ["c"]


def index(value: Index) -> Int:
    """An integer expression from an expression, a variable's name or a literal."""
    if isinstance(value, Int):
        return value
    return Int("name", name=value) if isinstance(value, str) else Int("const", value=value)


def op(symbol: str, *args: Index) -> Int:
    """An integer expression."""
    return Int(symbol, tuple(index(a) for a in args))


def array(name: str, dtype: str, *shape: Index, scope: str = "input") -> Array:
    """Storage."""
    return Array(name, dtype, tuple(index(s) for s in shape), scope)


def load(name: str, *at: Index, dtype: str = "f32") -> Load:
    """An element."""
    return Load(name, tuple(index(i) for i in at), dtype)


def store(name: str, at: Sequence[Index], value: Expr, reduce: str = "") -> Store:
    """An assignment."""
    return Store(name, tuple(index(i) for i in at), value, reduce)


def loop(variable: str, lower: Index, upper: Index, *body: Tree, kind: str = "serial", step: int = 1) -> Loop:
    """A loop."""
    return Loop(variable, index(lower), index(upper), step, Block(body), kind)


def zero(dtype: str = "f32") -> Literal:
    """Nothing."""
    return Literal(0, dtype)


def function(name: str, arrays: Sequence[Array], *body: Tree, integers: Sequence[str] = ()) -> Function:
    """A kernel."""
    return Function(name, tuple(integers), tuple(arrays), Block(body))


def target_of(name: str = "", *, strict: bool = False, machine: Machine | None = None) -> Any:
    """A target by name."""
    made = TARGETS[name or CURRENT[0]]
    return made(strict, machine) if machine else made(strict)


def build(f: Function, *, strict: bool = False, machine: Machine | None = None, target: str = "") -> Any:
    """A kernel ready to run."""
    made = target_of(target, strict=strict, machine=machine)
    return made.build(f, made.emit(f))


def run(f: Function, inputs: Sequence[torch.Tensor], outputs: Sequence[torch.Tensor], *, team_size: int = 1, integers: Sequence[int] = (),
        strict: bool = False, machine: Machine | None = None, target: str = "") -> None:  # fmt: skip
    """Run a kernel on one problem."""
    none = [0] * (len(inputs) + len(outputs))
    build(f, strict=strict, machine=machine, target=target)(inputs, outputs, 1, none, none, integers, 1, team_size)


def random(dtype: str, *shape: int, seed: int = 0) -> torch.Tensor:
    """Numbers of a dtype from a seed."""
    generator = torch.Generator().manual_seed(seed)
    if dtype == "bool":
        return torch.rand(shape, generator=generator) < 0.5
    if dtype.startswith("i"):
        return torch.randint(-9, 10, shape, generator=generator).to(TORCH[dtype])
    return torch.randn(shape, generator=generator, dtype=TORCH[dtype])
