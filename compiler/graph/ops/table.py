"""The shape of a row of the op table, and the table itself.

An op states its mathematics once: how it types, what it computes (on torch), its adjoint, how it
takes a leading axis. The rows stand in the files beside this one, by family; nothing else in the
compiler special-cases an op by what it computes. Importing the table does not import torch: numerics receive it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..types import Size, Type

if TYPE_CHECKING:
    from ..graph import Builder, Node, Value

Attrs = Mapping[str, Any]
Infer = Callable[[tuple[Type, ...], Attrs], tuple[Type, ...]]
#: ``numerics(torch, attrs, *tensors)``: attrs with every Size evaluated to an int; a tensor, or a tuple of them.
Numerics = Callable[..., Any]
#: ``adjoint(b, node, cotangents, operand, result)``: cotangents per output (None is zero); ``operand(i)``
#: and ``result(i)`` give the primal values (what the appended nodes read goes on the tape; looking at a
#: value's ``type`` only costs nothing); one cotangent or None per input.
Adjoint = Callable[
    ["Builder", "Node", "tuple[Value | None, ...]", "Callable[[int], Value]", "Callable[[int], Value]"],
    "list[Value | None]",
]
#: ``batch(b, node, operands, batched, size)``: the op on operands some of which have a leading axis of
#: ``size``; one value per output, each with the leading axis.
Batch = Callable[["Builder", "Node", "tuple[Value, ...]", "tuple[bool, ...]", Size], "tuple[Value, ...]"]


#: Groups of operand positions: the result is linear in the operands of each group together, the others being fixed.
Linear = tuple[tuple[int, ...], ...]


class OpTypeError(Exception):
    """Operand types do not fit an op. The text is a sentence a user can read."""


@dataclass(frozen=True)
class Op:
    """A row. ``family``: elementwise, view, constructor, reduction, contraction, scan, random, selection,
    library, control or effect. ``linear``: what the result is linear in (over the real numbers), for all
    nodes or as a function of the node. An op without ``adjoint`` has derivative zero (its inputs get no cotangent). ``library`` ops have no loop
    expansion: they are called, not generated."""

    name: str
    family: str
    infer: Infer
    numerics: Numerics | None
    adjoint: Adjoint | None = None
    batch: Batch | None = None
    linear: Linear | Callable[[Node], Linear] = ()
    library: bool = False
    doc: str = ""


OPS: dict[str, Op] = {}


def register(op: Op) -> Op:
    """Add a row. Raises ValueError for a name already taken."""
    if op.name in OPS:
        raise ValueError(f"op {op.name} is registered twice")
    OPS[op.name] = op
    return op


def lookup(name: str) -> Op:
    """The row of an op; loads the families on first use. Raises KeyError for an unknown name."""
    if name not in OPS:
        from .families import load_all

        load_all()
    return OPS[name]


def infer(name: str, types: tuple[Type, ...], attrs: Attrs) -> tuple[Type, ...]:
    """Output types of an op. Raises OpTypeError if the operands do not fit."""
    return lookup(name).infer(types, attrs)
