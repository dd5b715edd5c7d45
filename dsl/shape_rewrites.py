"""Expressions that may have been meant where shapes do not fit: ``A.T @ y`` for ``A @ y``, ``W[k]`` for ``W``, ``axis=1`` for ``axis=0``.

Each comes with a tier: lower ones change less. Whether they fit is for :mod:`.shape_help` to try.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ..compiler.graph.types import Type
from . import syntax as s
from .walk import descend, exchanged

#: Builtins that reduce along ``axis=``.
_REDUCTIONS = (
    "sum",
    "prod",
    "mean",
    "var",
    "max",
    "min",
    "argmax",
    "argmin",
    "any",
    "all",
    "norm",
    "logsumexp",
    "softmax",
    "log_softmax",
    "cumsum",
)

Candidate = tuple[int, s.Expr]


@dataclass(frozen=True)
class Shapes:
    """The types of the nodes that are arrays, by id; the loop indices in scope."""

    types: Mapping[int, Type]
    indices: Sequence[str]

    def rank(self, node: s.Expr) -> int:
        """The rank of an expression; 0 for a number, and for what never was evaluated."""
        known = self.types.get(id(node))
        return known.rank if known is not None else 0


def of_expression(node: s.Expr, shapes: Shapes) -> Iterator[Candidate]:
    """For an expression whose operands do not go together."""
    if isinstance(node, s.Binary):
        yield from _operands(node, shapes)
        yield from _inside(node, shapes, 4)
    elif isinstance(node, s.Compare) and len(node.operands) == 2:
        a, b = node.operands
        yield from ((t, replace(node, operands=pair)) for t, pair in _pairs(a, b, shapes))
    elif isinstance(node, s.Call):
        yield from _arguments(node, shapes)
        yield from _inside(node, shapes, 4)


def of_value(node: s.Expr, shapes: Shapes) -> Iterator[Candidate]:
    """For an expression that is well, but not of the shape that is needed where it stands."""
    if shapes.rank(node) > 1:
        yield 0, transposed(node)
    if isinstance(node, s.Binary):
        yield from ((t + 1, made) for t, made in _operands(node, shapes))
    yield from _inside(node, shapes, 2)
    for axis in range(shapes.rank(node) if shapes.rank(node) > 1 else 0):
        yield 9, _with_axis(s.Call(node.span, s.Name(node.span, "sum"), (s.Argument(node.span, None, node),)), axis)


def transposed(node: s.Expr) -> s.Expr:
    """``x.T``, and ``x`` for ``x.T``."""
    if isinstance(node, s.Attribute) and node.name.text == "T":
        return node.value
    return s.Attribute(node.span, node, s.Name(node.span, "T"))


def _operands(node: s.Binary, shapes: Shapes) -> Iterator[Candidate]:
    """A product or an elementwise operation with other operands, or another product."""
    left, right = node.left, node.right
    a, b = shapes.rank(left), shapes.rank(right)
    product, elementwise = replace(node, op="@"), replace(node, op="*")
    outer = s.Call(node.span, s.Name(node.span, "outer"), (s.Argument(node.span, None, left), s.Argument(node.span, None, right)))
    if node.op == "@":
        yield from ((t, made) for t, made in _products(node, a, b))
        if a and b:
            yield 4, elementwise
        if a == b == 1:
            yield 5, outer
        return
    if node.op == "*" and a and b and (a > 1 or b > 1):
        yield 0, product
    yield from ((t, replace(node, left=x, right=y)) for t, (x, y) in _pairs(left, right, shapes))
    if node.op == "*":
        if a == b == 1:
            yield 2, outer
        yield from ((t + 3, made) for t, made in _products(product, a, b))


def _products(node: s.Binary, a: int, b: int) -> Iterator[Candidate]:
    """Matrix products of two operands of ranks ``a`` and ``b``, with transposes and in the other order."""
    left, right = node.left, node.right
    turned = transposed(left) if a > 1 else None, transposed(right) if b > 1 else None
    if turned[0] is not None:
        yield 0, replace(node, left=turned[0])
    if turned[1] is not None:
        yield 0, replace(node, right=turned[1])
    if a > 1 or b > 1:
        yield 1, replace(node, left=right, right=left)
    if turned[0] is not None and turned[1] is not None:
        yield 2, replace(node, left=turned[0], right=turned[1])
        yield 3, replace(node, left=right, right=turned[0])
        yield 3, replace(node, left=turned[1], right=left)


def _pairs(left: s.Expr, right: s.Expr, shapes: Shapes) -> Iterator[tuple[int, tuple[s.Expr, s.Expr]]]:
    """Two operands of an elementwise operation, one of them changed."""
    a, b = shapes.rank(left), shapes.rank(right)
    if a == 1 and b > 1:
        yield 1, (_column(left), right)
    if b == 1 and a > 1:
        yield 1, (left, _column(right))
    if a > 1:
        yield 2, (transposed(left), right)
    if b > 1:
        yield 2, (left, transposed(right))
    for index in shapes.indices:
        if isinstance(left, s.Name) and a:
            yield 3, (_element(left, index), right)
        if isinstance(right, s.Name) and b:
            yield 3, (left, _element(right, index))


def _arguments(node: s.Call, shapes: Shapes) -> Iterator[Candidate]:
    """A call with one argument transposed, two exchanged, or an index added."""
    arguments = node.arguments
    for n, argument in enumerate(arguments):
        rank = shapes.rank(argument.value)
        if rank > 1:
            yield 0, replace(node, arguments=_with(arguments, n, transposed(argument.value)))
        if rank and isinstance(argument.value, s.Name):
            for index in shapes.indices:
                yield 2, replace(node, arguments=_with(arguments, n, _element(argument.value, index)))
    if len(arguments) == 2 and all(a.name is None for a in arguments):
        yield 1, replace(node, arguments=(arguments[1], arguments[0]))


def _with(arguments: tuple[s.Argument, ...], n: int, value: s.Expr) -> tuple[s.Argument, ...]:
    return (*arguments[:n], replace(arguments[n], value=value), *arguments[n + 1 :])


def _inside(node: s.Expr, shapes: Shapes, tier: int) -> Iterator[Candidate]:
    """The expression with a change in one of its parts: a product, an axis, an index."""
    for part in descend(node):
        if isinstance(part, s.Binary) and part is not node and part.op in ("@", "*"):
            yield from ((tier + t, exchanged(node, part, made)) for t, made in _operands(part, shapes))
        if (
            isinstance(part, s.Call)
            and isinstance(part.function, s.Name)
            and part.function.text in _REDUCTIONS
            and part.arguments
        ):
            rank = shapes.rank(part.arguments[0].value)
            yield from ((tier + 1, exchanged(node, part, _with_axis(part, axis))) for axis in range(rank) if rank > 1)
        if isinstance(part, s.Name) and part is not node and shapes.rank(part):
            yield from ((tier + 2, exchanged(node, part, _element(part, index))) for index in shapes.indices)


def _with_axis(call: s.Call, axis: int) -> s.Call:
    rest = tuple(a for a in call.arguments if a.name is None or a.name.text != "axis")
    return replace(call, arguments=(*rest, s.Argument(call.span, s.Name(call.span, "axis"), s.Number(call.span, axis))))


def _column(node: s.Expr) -> s.Expr:
    return s.Index(node.span, node, (s.Slice(node.span, None, None, None), s.NoneLiteral(node.span)))


def _element(node: s.Expr, index: str) -> s.Expr:
    return s.Index(node.span, node, (s.Name(node.span, index),))
