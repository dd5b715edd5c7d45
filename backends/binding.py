"""Fitting shapes to an algorithm's declared types: sizes by name, leading dimensions, ``where`` conditions.

Everything here is about shapes; no values are looked at, and nothing is computed by torch.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ..compiler.diagnostics import DataError
from ..compiler.graph.algorithm import Condition
from ..compiler.graph.types import Size, Type

Shape = tuple[int, ...]

_COMPARE: dict[str, Callable[[int, int], bool]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


def shown(shape: Sequence[int]) -> str:
    """A shape as Python prints it."""
    return str(tuple(shape))


@dataclass
class Binding:
    """Sizes by name, with where each came from (for messages)."""

    sizes: dict[str, int] = field(default_factory=dict)
    origin: dict[str, str] = field(default_factory=dict)

    def set(self, name: str, value: int, origin: str) -> None:
        """Bind a size that the caller names. Raises DataError if it is no size."""
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise DataError(f"size {name} must be an integer of at least 1, not {value!r}")
        self.sizes[name] = value
        self.origin[name] = origin

    def copy(self) -> Binding:
        """An independent copy."""
        return Binding(dict(self.sizes), dict(self.origin))

    def evaluate(self, size: Size) -> int:
        """The value of a size. Raises DataError naming what is unbound."""
        missing = sorted(size.names() - self.sizes.keys())
        if missing:
            raise DataError(f"the size {missing[0]} is not known from the inputs: pass {missing[0]}=...")
        return size.evaluate(self.sizes)

    def shape(self, type: Type) -> Shape:
        """The core shape of a type."""
        return tuple(self.evaluate(s) for s in type.shape)

    def because(self, names: Iterable[str]) -> str:
        """Where sizes came from: ``m = 6 (A)``."""
        return ", ".join(f"{n} = {self.sizes[n]} ({self.origin[n]})" for n in sorted(names) if n in self.sizes)


def core_of(name: str, type: Type, shape: Shape) -> Shape:
    """The trailing part of a shape that the declared type describes. Raises DataError if there are too few axes."""
    if len(shape) < type.rank:
        plural = "axis" if type.rank == 1 else "axes"
        raise DataError(f"{name} needs at least {type.rank} {plural}, {type}; got shape {shown(shape)}")
    return shape[len(shape) - type.rank :]


def bind(binding: Binding, arguments: Sequence[tuple[str, Type, Shape]]) -> None:
    """Bind the names that declared types spell bare, then check every axis. Raises DataError naming the argument."""
    for name, type, shape in arguments:
        for size, value in zip(type.shape, core_of(name, type, shape), strict=True):
            if size.is_name and str(size) not in binding.sizes:
                if value < 1:
                    raise DataError(f"{name} is {type}: the size {size} must be at least 1; got shape {shown(shape)}")
                binding.sizes[str(size)], binding.origin[str(size)] = value, name  # may be symbolic, inside torch.compile
    for name, type, shape in arguments:
        core = core_of(name, type, shape)
        needed = binding.shape(type)
        if core != needed:
            names = frozenset().union(*(s.names() for s, c, n in zip(type.shape, core, needed, strict=True) if c != n))
            reason = binding.because(names)
            trailing = "" if len(shape) == type.rank else " in its last axes" if type.rank > 1 else " in its last axis"
            raise DataError(
                f"{name} is {type} and needs shape {shown(needed)}{trailing}; got shape {shown(shape)}"
                + (f"; {reason}" if reason else "")
            )


def holds(condition: Condition, sizes: Mapping[str, int]) -> bool:
    """Whether a ``where`` condition is true for sizes. Raises KeyError naming an unbound one."""
    return _COMPARE[condition.op](condition.left.evaluate(sizes), condition.right.evaluate(sizes))


def check_where(algorithm: str, conditions: Sequence[Condition], binding: Binding, *, known_only: bool = False) -> None:
    """Raises DataError for a ``where`` condition that does not hold; ``known_only`` skips those with unbound names."""
    for condition in conditions:
        names = condition.left.names() | condition.right.names()
        if known_only and names - binding.sizes.keys():
            continue
        for side in (condition.left, condition.right):
            binding.evaluate(side)  # a name that is not bound is the caller's to give
        if not holds(condition, binding.sizes):
            raise DataError(f"{algorithm} needs {condition}; here {binding.because(names)}")


def leading(arguments: Sequence[tuple[str, Type, Shape]]) -> Shape:
    """The broadcast leading shape. Raises DataError naming two arguments whose leading dimensions do not fit."""
    result: Shape = ()
    for name, type, shape in arguments:
        lead = shape[: len(shape) - type.rank]
        if lead == result or not lead:
            continue
        merged = _broadcast(result, lead)
        if merged is None:
            other = next(n for n, t, s in arguments if _broadcast(s[: len(s) - t.rank], lead) is None)
            other_lead = next(s[: len(s) - t.rank] for n, t, s in arguments if n == other)
            raise DataError(
                f"the leading dimensions of {other} and {name} do not broadcast: {shown(other_lead)} against {shown(lead)}"
            )
        result = merged
    return result


def _broadcast(a: Shape, b: Shape) -> Shape | None:
    if len(a) < len(b):
        a, b = b, a
    out = list(a)
    for i, extent in enumerate(b, start=len(a) - len(b)):
        if out[i] == 1:
            out[i] = extent
        elif extent not in (1, out[i]):
            return None
    return tuple(out)
