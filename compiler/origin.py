"""Where in a program, and in which iteration, a number stopped being one: the message of debug builds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .diagnostics import DataError, Diagnostic, Span

_SIGNS = {"add": "+", "sub": "-", "mul": "*", "div": "/", "pow": "**"}


def number(value: float) -> str:
    """A number of a message."""
    return str(int(value)) if math.isfinite(value) and value == int(value) and abs(value) < 1e6 else f"{value:.6g}"


def computed(op: str, result: float, operands: Sequence[float]) -> str:
    """``log(-0.5) is nan``, ``1 / 0 is inf``."""
    shown = [number(v) for v in operands]
    if op in _SIGNS and len(shown) == 2:
        left = f"({shown[0]})" if op == "pow" and shown[0].startswith("-") else shown[0]
        text = f"{left} {_SIGNS[op]} {shown[1]}"
    elif op in ("sum", "prod") and len(shown) == 2:
        text = f"the {'sum' if op == 'sum' else 'product'}, at {shown[0]} and then {shown[1]},"
    else:
        text = f"{op}({', '.join(shown)})" if shown else op
    return f"{text} is {number(result)}"


class LocatedError(DataError):
    """A fault of a run with its place in the program: ``FILE:LINE:COLUMN: what``, where that was (``k = 3``), and the line."""

    def __init__(self, what: str, span: Span | None, where: Sequence[str]) -> None:
        self.what, self.span, self.where = what, span, tuple(where)
        behind = f" ({', '.join(where)})" if where else ""
        lines = [] if span is None else Diagnostic("", "", span).render().splitlines()[1:]
        super().__init__("\n".join([f"{f'{span}: ' if span is not None else ''}{what}{behind}", *lines]))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.what, self.span, self.where)


def iterations(around: Sequence[tuple[str, int]], element: Sequence[int], problem: int = 0, batch: int = 1) -> list[str]:
    """``k = 3``, ``element [2, 5]``, ``problem 4 of 8`` (numbers from 0)."""
    told = [f"{name} = {value}" for name, value in around]
    if element:
        told.append(f"element [{', '.join(map(str, element))}]")
    if batch > 1:
        told.append(f"problem {problem} of {batch}")
    return told
