"""Statements as a person writes them: ``A[i, j] += x * B[i]``. For reading only; what parses back is :mod:`.text`."""

from __future__ import annotations

from .nest import Access, Expr, SizeValue, Statement, Whole
from .tree import Literal

_INFIX = {
    "add": ("+", 1), "sub": ("-", 1), "mul": ("*", 2), "div": ("/", 2), "floordiv": ("//", 2), "mod": ("%", 2),
    "eq": ("==", 0), "ne": ("!=", 0), "lt": ("<", 0), "le": ("<=", 0), "gt": (">", 0), "ge": (">=", 0),
}  # fmt: skip
_REDUCE = {"": "=", "add": "+=", "mul": "*=", "max": "max=", "min": "min=", "and": "and=", "or": "or="}


def infix(statement: Statement) -> str:
    """What a statement does, dtypes left out."""
    if statement.routine:
        outputs, inputs = (", ".join(map(_place, part)) for part in (statement.outputs, statement.inputs))
        return f"{outputs} = {statement.routine}({inputs})"
    return f"{_place(statement.write)} {_REDUCE[statement.reduce]} {_value(statement.value, 0)}"


def domain_text(statement: Statement) -> str:
    """The instances of a statement: ``t0 in 0..T, i1 in 0..n, i1 - t0 >= 0``."""
    parts = [f"{d.name} in {d.lower}..{d.upper}" for d in statement.dims]
    return ", ".join([*parts, *(f"{g.size} {g.op} 0" for g in statement.guards)]) or "once"


def _place(access: Access | Whole) -> str:
    return f"{access.array}[{', '.join(map(str, access.index))}]" if access.index else access.array


def _value(value: Expr, around: int) -> str:
    if isinstance(value, Access):
        return _place(value)
    if isinstance(value, SizeValue):
        return f"({value.size})" if len(value.size.terms) > 1 else str(value.size)
    if isinstance(value, Literal):
        return f"{value.value:g}" if isinstance(value.value, float) else str(value.value)
    if value.op == "cast":
        return f"{value.dtype}({_value(value.args[0], 0)})"
    if value.op == "neg":
        return f"-{_value(value.args[0], 3)}"
    if value.op not in _INFIX or len(value.args) != 2:
        return f"{value.op}({', '.join(_value(a, 0) for a in value.args)})"
    sign, rank = _INFIX[value.op]
    text = f"{_value(value.args[0], rank)} {sign} {_value(value.args[1], rank + 1)}"
    return f"({text})" if rank < around else text
