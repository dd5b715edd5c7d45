"""The generic adjoint of ops that are called, not generated: ``vjp`` runs torch's own derivative of their numerics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..types import Size, Type
from .common import batch_same, is_differentiable
from .table import Attrs, Infer, Numerics, Op, OpTypeError, infer, lookup, register

if TYPE_CHECKING:
    from ..graph import Builder, Node, Value


def library_adjoint(b: Builder, node: Node, cotangents: Any, operand: Any, result: Any) -> list[Value | None]:
    """One ``vjp`` node for the op, of the results that have a cotangent; operands that are not floating point get None."""
    count = len(node.inputs)
    operands = [operand(n) for n in range(count)]
    wrt = tuple(n for n, v in enumerate(operands) if is_differentiable(v.type.dtype))
    ways = [c for c, v in zip(cotangents, node.outputs, strict=True) if is_differentiable(v.type.dtype)]
    given = tuple(n for n, c in enumerate(ways) if c is not None)
    if not given or not wrt:
        return [None] * count
    if node.op == "vjp":
        node, given = narrowed(node, given), tuple(range(len(given)))
    out = b.op("vjp", *operands, *(c for c in ways if c is not None), op=node.op, op_attrs=node.attrs, inputs=count, wrt=wrt, given=given)
    found = dict(zip(wrt, out if isinstance(out, tuple) else (out,), strict=True))
    return [found.get(n) for n in range(count)]


def narrowed(node: Node, outputs: Sequence[int]) -> Node:
    """A ``vjp`` node with these of its outputs alone."""
    wrt = node.attr("wrt")
    return replace(node.with_attrs(wrt=tuple(wrt[n] for n in outputs)), outputs=tuple(node.outputs[n] for n in outputs))


def library(
    name: str, infer: Infer, numerics: Numerics, doc: str, batch: Any = batch_same, adjoint: Any = library_adjoint, linear: Any = ()
) -> None:
    """Register a library op, with the generic adjoint if no other is given."""
    register(Op(name, "library", infer, numerics, adjoint, batch, linear, library=True, doc=doc))


def apply_vjp(
    torch: Any, function: Callable[..., Any], inputs: Sequence[Any], cotangents: Sequence[Any], wrt: Sequence[int], given: Sequence[int]
) -> tuple[Any, ...]:
    """Cotangents of ``inputs`` at places ``wrt`` of a torch function, differentiable again where grad mode is on; ``cotangents`` are those of
    its floating-point results at places ``given``, others are 0."""
    nested = torch.is_grad_enabled()
    with torch.inference_mode(False), torch.enable_grad():
        own = [_own(x, nested) if n in wrt else plain(x, nested) for n, x in enumerate(inputs)]
        outputs = function(*own)
        outputs = [y for y in (outputs if isinstance(outputs, (tuple, list)) else (outputs,)) if _floating(y)]
        reached = [(outputs[n], g) for n, g in zip(given, cotangents, strict=True) if outputs[n].requires_grad]
        active = [own[n] for n in wrt]
        if not reached:
            return tuple(torch.zeros_like(x) for x in active)
        ys, gs = zip(*reached, strict=True)
        found = torch.autograd.grad(ys, active, [plain(g, nested) for g in gs], create_graph=nested, allow_unused=True)
    return tuple(torch.zeros_like(x) if g is None else g for g, x in zip(found, active, strict=True))


def _floating(x: Any) -> bool:
    return bool(x.is_floating_point() or x.is_complex())


def plain(x: Any, nested: bool) -> Any:
    """A tensor without history, unless derivatives are ``nested``; what inference mode has made is copied, as torch does not record with it."""
    if x.is_inference():
        return x.clone()
    return x if nested else x.detach()


def _own(x: Any, nested: bool) -> Any:
    """A tensor with no history that the derivative could follow past it, unless it is part of an outer one."""
    x = plain(x, nested)
    if not _floating(x):
        return x
    return x.view_as(x) if x.requires_grad else x.detach().requires_grad_()


def _infer_vjp(types: tuple[Type, ...], attrs: Attrs) -> tuple[Type, ...]:
    operands = types[: attrs["inputs"]]
    results = [t for t in infer(attrs["op"], operands, dict(attrs["op_attrs"])) if is_differentiable(t.dtype)]
    expected = tuple(results[n] for n in attrs["given"])
    if types[attrs["inputs"] :] != expected:
        raise OpTypeError(f"vjp of {attrs['op']} takes cotangents {', '.join(map(str, expected))}")
    return tuple(operands[n] for n in attrs["wrt"])


def _vjp(torch: Any, attrs: Attrs, *tensors: Any) -> Any:
    row, inner, count = lookup(attrs["op"]), dict(attrs["op_attrs"]), attrs["inputs"]
    numerics = row.numerics
    if numerics is None:
        raise TypeError(f"{attrs['op']} has no numerics of its own")
    function = lambda *xs: numerics(torch, inner, *xs)  # noqa: E731
    found = apply_vjp(torch, function, tensors[:count], tensors[count:], attrs["wrt"], attrs["given"])
    return found if len(found) != 1 else found[0]


def _batched_attrs(attrs: tuple[tuple[str, Any], ...], size: Size) -> tuple[tuple[str, Any], ...]:
    """Attributes of a library op whose operands all have the leading axis; those with ``types`` say so in them."""
    found = dict(attrs)
    if "op_attrs" in found:
        found["op_attrs"] = _batched_attrs(found["op_attrs"], size)
    if "types" in found:
        found |= {"types": tuple(t.with_shape(size, *t.shape) for t in found["types"]), "batched": found.get("batched", 0) + 1}
        if "own" in found:
            found["own"] += 1
    return tuple(sorted(found.items()))


def _batch_vjp(b: Builder, node: Node, operands: Any, batched: Any, size: Size) -> tuple[Value, ...]:
    return batch_same(b, node.with_attrs(op_attrs=_batched_attrs(node.attr("op_attrs"), size)), operands, batched, size)


register(Op("vjp", "library", _infer_vjp, _vjp, library_adjoint, _batch_vjp,
            lambda node: (tuple(range(node.attr("inputs"), len(node.inputs))),), library=True,
            doc="Cotangents of an op's operands at places wrt, from its operands and those of its floating-point results at places given."))  # fmt: skip
