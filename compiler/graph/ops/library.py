"""The generic adjoint of ops that are called, not generated: ``vjp`` runs torch's own derivative of their numerics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..types import Size, Type
from .common import batch_same, is_differentiable, zeros
from .table import Attrs, Infer, Numerics, Op, infer, lookup, register

if TYPE_CHECKING:
    from ..graph import Builder, Node, Value


def library_adjoint(b: Builder, node: Node, cotangents: Any, operand: Any, result: Any) -> list[Value | None]:
    """One ``vjp`` node for the op; operands that are not floating point get None."""
    count = len(node.inputs)
    if all(c is None for c in cotangents):
        return [None] * count
    operands = [operand(n) for n in range(count)]
    pairs = [(c, v.type) for c, v in zip(cotangents, node.outputs, strict=True) if is_differentiable(v.type.dtype)]
    given = [zeros(b, t) if c is None else c for c, t in pairs]
    out = b.op("vjp", *operands, *given, op=node.op, op_attrs=node.attrs, inputs=count)
    found = iter(out if isinstance(out, tuple) else (out,))
    return [next(found) if is_differentiable(v.type.dtype) else None for v in operands]


def library(
    name: str, infer: Infer, numerics: Numerics, doc: str, batch: Any = batch_same, adjoint: Any = library_adjoint, linear: Any = ()
) -> None:
    """Register a library op, with the generic adjoint if no other is given."""
    register(Op(name, "library", infer, numerics, adjoint, batch, linear, library=True, doc=doc))


def apply_vjp(torch: Any, function: Callable[..., Any], inputs: Sequence[Any], cotangents: Sequence[Any]) -> tuple[Any, ...]:
    """Cotangents of the floating-point ``inputs`` of a torch function, differentiable again where grad mode is on."""
    nested = torch.is_grad_enabled()
    with torch.inference_mode(False), torch.enable_grad():
        own = [_own(x, nested) for x in inputs]
        active = [x for x in own if x.requires_grad]
        outputs = function(*own)
        outputs = [y for y in (outputs if isinstance(outputs, (tuple, list)) else (outputs,)) if _floating(y)]
        reached = [(y, g) for y, g in zip(outputs, cotangents, strict=True) if y.requires_grad]
        if not reached:
            return tuple(torch.zeros_like(x) for x in active)
        ys, gs = zip(*reached, strict=True)
        found = torch.autograd.grad(ys, active, [_plain(g, nested) for g in gs], create_graph=nested, allow_unused=True)
    return tuple(torch.zeros_like(x) if g is None else g for g, x in zip(found, active, strict=True))


def _floating(x: Any) -> bool:
    return bool(x.is_floating_point() or x.is_complex())


def _plain(x: Any, nested: bool) -> Any:
    if x.is_inference():
        return x.clone()
    return x if nested else x.detach()


def _own(x: Any, nested: bool) -> Any:
    """A tensor with no history that the derivative could follow past it, unless it is part of an outer one."""
    x = _plain(x, nested)
    if not _floating(x):
        return x
    return x.view_as(x) if x.requires_grad else x.detach().requires_grad_()


def _infer_vjp(types: tuple[Type, ...], attrs: Attrs) -> tuple[Type, ...]:
    infer(attrs["op"], types[: attrs["inputs"]], dict(attrs["op_attrs"]))  # checks the operands
    return tuple(t for t in types[: attrs["inputs"]] if is_differentiable(t.dtype))


def _vjp(torch: Any, attrs: Attrs, *tensors: Any) -> Any:
    row, inner, count = lookup(attrs["op"]), dict(attrs["op_attrs"]), attrs["inputs"]
    numerics = row.numerics
    if numerics is None:
        raise TypeError(f"{attrs['op']} has no numerics of its own")
    found = apply_vjp(torch, lambda *xs: numerics(torch, inner, *xs), tensors[:count], tensors[count:])
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
            doc="Cotangents of an op's floating-point operands from its operands and its results' cotangents."))  # fmt: skip
