"""Runs a loop tree element by element in Python: the meaning of a tree, for tests on small sizes."""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from unspool.compiler.loops.tree import (
    Barrier,
    Block,
    Call,
    Declare,
    Expr,
    FromInt,
    Function,
    If,
    Int,
    Literal,
    Load,
    Loop,
    Single,
    Store,
    Tree,
)

NUMPY = {"f32": np.float32, "f64": np.float64, "i64": np.int64, "i32": np.int32, "bool": np.bool_, "key": np.int64}


def key(x: float) -> int:
    """An integer in the order of the values: NaN is the largest, -0 equals 0."""
    width = "q" if isinstance(x, np.float64) else "i"
    (word,) = struct.unpack(width, struct.pack("d" if width == "q" else "f", x + 0))
    most = (1 << (8 * struct.calcsize(width) - 1)) - 1
    return most if x != x else word if word >= 0 else word ^ most


OPS: dict[str, Callable[..., float]] = {
    "key": key,
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b if b else math.copysign(math.inf, a) if a else math.nan,
    "neg": lambda a: -a,
    "abs": abs,
    "sign": lambda a: float(a > 0) - float(a < 0),
    "sqrt": math.sqrt,
    "root": math.sqrt,
    "exp": math.exp,
    "log": math.log,
    "tanh": math.tanh,
    "sin": math.sin,
    "cos": math.cos,
    "sigmoid": lambda a: 1 / (1 + math.exp(-a)),
    "relu": lambda a: max(a, 0.0),
    "softplus": lambda a: a if a > 20 else math.log1p(math.exp(a)),
    "maximum": max,
    "minimum": min,
    "where": lambda c, a, b: a if c else b,
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "and": lambda a, b: a and b,
    "or": lambda a, b: a or b,
    "not": lambda a: not a,
    "pow": lambda a, b: a**b,
    "cast": lambda a: a,
}
REDUCE: dict[str, Callable[..., float]] = {
    "add": lambda a, b: a + b,
    "mul": lambda a, b: a * b,
    "max": max,
    "min": min,
    "or": lambda a, b: a or b,
    "and": lambda a, b: a and b,
}


def source(e: Int) -> str:
    """An integer expression as Python, its names looked up in ``env``."""
    a = [source(x) for x in e.args]
    if e.op == "const":
        return f"({e.value})"
    if e.op == "name":
        return f"env[{e.name!r}]"
    if e.op in ("min", "max"):
        return f"{e.op}({', '.join(a)})"
    if e.op == "not":
        return f"(not {a[0]})"
    if e.op == "select":
        return f"({a[1]} if {a[0]} else {a[2]})"
    return f"({a[0]} {e.op} {a[1]})"


def once(node: object, make: Callable[[], Any]) -> Any:
    """What is made of a node of a tree, made once: it stays with the node."""
    kept = vars(node)
    if "_code" not in kept:
        kept["_code"] = make()
    return kept["_code"]


def evaluate(e: Int, env: Mapping[str, int]) -> int:
    """The value of an integer expression."""
    return once(e, lambda: eval(f"lambda env: int({source(e)})"))(env)  # type: ignore[no-any-return]


def code(e: Expr) -> Callable[[Runner], float]:
    """What computes an expression."""
    return once(e, lambda: _code(e))  # type: ignore[no-any-return]


def _code(e: Expr) -> Callable[[Runner], float]:
    if isinstance(e, Load):
        at = indices(e.index)
        return lambda run: run.load(e.array, at(run.env))
    if isinstance(e, Literal):
        return lambda run: e.value  # type: ignore[return-value]
    if isinstance(e, FromInt):
        return lambda run: evaluate(e.value, run.env)
    assert isinstance(e, Call)
    op, args = OPS[e.op], [code(a) for a in e.args]
    if len(args) == 1:
        (one,) = args
        return lambda run: op(one(run))
    if len(args) == 2:
        one, two = args
        return lambda run: op(one(run), two(run))
    return lambda run: op(*(a(run) for a in args))


def indices(index: Sequence[Int]) -> Callable[[Mapping[str, int]], tuple[int, ...]]:
    """What computes the index of an element."""
    return eval(f"lambda env: ({''.join(f'{source(i)}, ' for i in index)})")  # type: ignore[no-any-return]


class Runner:
    """Runs a function once. Iterations of parallel loops run in a shuffled order, so a wrong mark shows; none is in another."""

    def __init__(self, function: Function, arrays: Sequence[np.ndarray], integers: Mapping[str, int], seed: int = 0) -> None:
        self.env: dict[str, int] = dict(integers)
        self.random = random.Random(seed)
        self.arrays: dict[str, np.ndarray] = {}
        self.split = False
        given = iter(arrays)
        for a in function.arrays:
            shape = tuple(evaluate(s, self.env) for s in a.shape)
            if a.scope in ("input", "output"):
                self.arrays[a.name] = next(given)
                assert self.arrays[a.name].shape == shape, a.name
            else:
                self.arrays[a.name] = self.fresh(shape, a.dtype)
        self.block(function.body)

    @staticmethod
    def fresh(shape: tuple[int, ...], dtype: str) -> np.ndarray:
        """Storage filled with values that spoil a result that reads them."""
        return np.full(shape, np.nan if dtype.startswith("f") else 113, NUMPY[dtype])

    def block(self, block: Block) -> None:
        """Run a sequence."""
        for child in block.children:
            self.tree(child)

    def tree(self, t: Tree) -> None:
        """Run one node."""
        if isinstance(t, Loop):
            values = list(range(evaluate(t.lower, self.env), evaluate(t.upper, self.env), t.step))
            around = self.split
            if t.dealt:
                assert not around or t.kind.split()[0] == "thread", f"the team is split again at {t.name}"
                self.random.shuffle(values)
                self.split = t.kind != "block"  # those of a block meet inside of it
            for v in values:
                self.env[t.name] = v
                if t.until is not None and self.value(t.until):
                    break
                if t.unless is None or not self.value(t.unless):
                    self.block(t.body)
            self.split = around
        elif isinstance(t, If):
            if evaluate(t.condition, self.env):
                self.block(t.then)
            elif t.orelse:
                self.block(t.orelse)
        elif isinstance(t, Declare):
            shape = tuple(evaluate(s, self.env) for s in t.array.shape)
            self.arrays[t.array.name] = self.fresh(shape, t.array.dtype)
        elif isinstance(t, Store):
            self.assign(t)
        else:
            assert isinstance(t, (Single, Barrier)), t
            assert not self.split, "threads meet, or one works alone, in a loop that is split over them"
            if isinstance(t, Single):
                self.block(t.body)

    def inside(self, array: str, at: tuple[int, ...]) -> np.ndarray:
        """An array that has such an element."""
        storage = self.arrays[array]
        assert len(at) == storage.ndim, array
        for i, n in zip(at, storage.shape):
            assert 0 <= i < n, f"{array}{at} is outside {storage.shape}"
        return storage

    def load(self, array: str, at: tuple[int, ...]) -> float:
        """An element."""
        return self.inside(array, at)[at].item()  # type: ignore[no-any-return]

    def store(self, array: str, at: tuple[int, ...], value: float, reduce: str) -> None:
        """Run one assignment."""
        storage = self.inside(array, at)
        storage[at] = REDUCE[reduce](storage[at], value) if reduce else value

    def assign(self, s: Store) -> None:
        """Run a node that assigns."""
        at, value = once(s, lambda: (indices(s.index), code(s.value)))
        self.store(s.array, at(self.env), value(self), s.reduce)

    def value(self, e: Expr) -> float:
        """The value of an expression."""
        return code(e)(self)
