"""The rules of ``simplify`` on single nodes, as a table.

A rule takes a node and the producers of its inputs; it names the value that replaces the node's output, or gives a simpler
node, or None if it does not apply. Every rule keeps results bit for bit, NaN, infinity and the sign of zero included (so
``x * 0`` and ``x + 0`` stay).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

from .graph import Node
from .ops.contract import split_spec
from .types import At, Pick, Range, Size, Type, is_complex, is_integer

Producers = Mapping[str, Node]
Types = Mapping[str, Type]


def literal(producers: Producers, name: str) -> object:
    """The number that a value is (everywhere, if it is an array), or None."""
    node = producers.get(name)
    while node is not None and node.op in ("broadcast", "reshape", "permute"):
        node = producers.get(node.inputs[0])
    return node.attr("value") if node is not None and node.op == "const" else None


def _neutral(node: Node, producers: Producers, types: Types) -> str | None:
    """``x * 1``, ``1 * x``, ``x / 1``, ``x - 0``, ``x ** 1``; a complex product with 1 is not exact at infinity."""
    neutral = {"mul": 1, "div": 1, "sub": 0, "pow": 1}.get(node.op)
    if neutral is None or is_complex(node.output.type.dtype):
        return None
    for kept, other in ((0, 1), (1, 0)) if node.op == "mul" else ((0, 1),):
        value = literal(producers, node.inputs[other])
        exact = isinstance(value, (int, float)) and value == neutral and math.copysign(1, value) > 0
        if exact and types[node.inputs[kept]] == node.output.type:
            return node.inputs[kept]
    return None


def _product_with_one(node: Node, producers: Producers, types: Types) -> str | None:
    """``1 * x`` as an einsum."""
    if node.op != "einsum" or len(node.inputs) != 2 or is_complex(node.output.type.dtype):
        return None
    operands, result = split_spec(node.attr("spec"))
    for kept, other in ((0, 1), (1, 0)):
        if not operands[other] and operands[kept] == result and literal(producers, node.inputs[other]) == 1:
            return node.inputs[kept]
    return None


def _logical(node: Node, producers: Producers, types: Types) -> str | None:
    """``x and true``, ``x or false``."""
    if node.op not in ("and", "or"):
        return None
    for kept, other in ((0, 1), (1, 0)):
        if literal(producers, node.inputs[other]) is (node.op == "and") and types[node.inputs[kept]] == node.output.type:
            return node.inputs[kept]
    return None


def _same(node: Node, producers: Producers, types: Types) -> str | None:
    """Casts, reshapes and broadcasts to the type a value has, reductions over no axes, conjugates of real values."""
    if node.op == "conj" and is_complex(node.output.type.dtype):
        return None
    idle = node.op in ("cast", "reshape", "broadcast", "sum", "prod", "max", "min", "re", "conj")
    return node.inputs[0] if idle and types[node.inputs[0]] == node.output.type else None


def _whole_slice(node: Node, producers: Producers, types: Types) -> str | None:
    """``x[:, :]``."""
    if node.op != "slice":
        return None
    whole = tuple(Range(Size.of(0), s) for s in types[node.inputs[0]].shape)
    return node.inputs[0] if node.attr("items") == whole else None


def _slice_of_slice(node: Node, producers: Producers, types: Types) -> Node | None:
    """``x[a:b][c:d]``, as one slice."""
    inner = producers.get(node.inputs[0]) if node.op == "slice" else None
    if inner is None or inner.op != "slice" or any(isinstance(i, Pick) for i in (*inner.attr("items"), *node.attr("items"))):
        return None
    outer = iter(node.attr("items"))
    return replace(node.with_attrs(items=tuple(i if isinstance(i, At) else _within(i, next(outer)) for i in inner.attr("items"))),
                   inputs=inner.inputs)  # fmt: skip


def _within(range: Range, item: At | Range) -> At | Range:
    if isinstance(item, At):
        return At(range.start + item.index * range.step)
    return Range(range.start + item.start * range.step, item.size, item.step * range.step)


def _permute(node: Node, producers: Producers, types: Types) -> str | Node | None:
    """A permutation that changes nothing, or of a permutation."""
    if node.op != "permute":
        return None
    axes, rank = node.attr("axes"), node.output.type.rank
    inner = producers.get(node.inputs[0])
    if axes == tuple(range(-rank, 0)):
        return node.inputs[0]
    if inner is not None and inner.op == "permute":
        return replace(node.with_attrs(axes=tuple(inner.attr("axes")[a] for a in axes)), inputs=inner.inputs)
    return None


def _twice(node: Node, producers: Producers, types: Types) -> str | Node | None:
    """``--x``, a reshape of a reshape, a broadcast of a broadcast."""
    inner = producers.get(node.inputs[0]) if node.inputs else None
    if inner is None or inner.op != node.op:
        return None
    if node.op in ("neg", "not"):
        return inner.inputs[0]
    return replace(node, inputs=inner.inputs) if node.op in ("reshape", "broadcast") else None


def _cast_back(node: Node, producers: Producers, types: Types) -> str | None:
    """A cast to a wider type and back."""
    inner = producers.get(node.inputs[0]) if node.op == "cast" else None
    if inner is None or inner.op != "cast" or types[inner.inputs[0]] != node.output.type:
        return None
    exact = (node.output.type.dtype, inner.output.type.dtype) in _WIDENING
    return inner.inputs[0] if exact else None


def _where(node: Node, producers: Producers, types: Types) -> str | None:
    """A choice that is known, or between a value and itself."""
    if node.op != "where":
        return None
    value = True if node.inputs[1] == node.inputs[2] else literal(producers, node.inputs[0])
    kept = None if not isinstance(value, bool) else node.inputs[1 if value else 2]
    return kept if kept is not None and types[kept] == node.output.type else None


def _constant(node: Node, producers: Producers, types: Types) -> Node | None:
    """Arithmetic on integer and bool literals, casts of literals, sizes that are literals."""
    if node.op == "size_value" and node.attr("value").constant is not None:
        known, dtype = node.attr("value").constant, node.output.type.dtype
        return _const(node, known if is_integer(dtype) else float(known))
    if node.op not in ("cast", "add", "sub", "mul"):
        return None
    values = [literal(producers, n) for n in node.inputs]
    if (
        not node.inputs
        or node.outputs[0].type.shape
        or any(v is None for v in values)
        or any(types[n].shape for n in node.inputs)
    ):
        return None
    dtype = node.output.type.dtype
    if node.op == "cast" and isinstance(values[0], (bool, int)) and dtype in ("real", "f32", "f64", "i32", "i64"):
        value: float = int(values[0]) if dtype.startswith("i") else float(values[0])
    elif node.op in ("add", "sub", "mul") and dtype == "i64" and all(isinstance(v, int) for v in values):
        a, b = (int(v) for v in values)  # type: ignore[call-overload]
        value = a + b if node.op == "add" else a - b if node.op == "sub" else a * b
    else:
        return None
    return _const(node, value)


def _const(node: Node, value: float) -> Node:
    return Node("const", (), node.outputs, (("dtype", node.output.type.dtype), ("value", value)), (), node.span)


#: Casts that lose nothing: (from, to).
_WIDENING = {("f16", "f32"), ("bf16", "f32"), ("f32", "f64"), ("c64", "c128"), ("i8", "i16"), ("i16", "i32"), ("i32", "i64"),
             ("i8", "i32"), ("i8", "i64"), ("i16", "i64"), ("i32", "f64"), ("bool", "f32"), ("bool", "f64"), ("bool", "real"),
             ("bool", "i32"), ("bool", "i64")}  # fmt: skip

RULES: tuple[Callable[[Node, Producers, Types], str | Node | None], ...] = (
    _neutral,
    _product_with_one,
    _logical,
    _same,
    _whole_slice,
    _slice_of_slice,
    _permute,
    _twice,
    _cast_back,
    _where,
    _constant,
)
