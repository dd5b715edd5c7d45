"""Reductions over axes, positions of extrema, and cumulative sums."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..types import Size, Type
from .common import E, batch_same, check_axes, check_axis, is_differentiable, need, need_count, reshape_to, spread
from .shape import eye_mask, permute_to
from .table import Adjoint, Attrs, Infer, Numerics, Op, register

if TYPE_CHECKING:
    from ..graph import Builder, Node, Value


def _infer(name: str, kind: str) -> Infer:
    def infer(types: tuple[Type, ...], attrs: Attrs) -> tuple[Type, ...]:
        need_count(name, types, 1)
        need(name, kind, types[0])
        dropped = check_axes(name, types[0], attrs["axes"])
        return (Type(types[0].dtype, tuple(s for n, s in enumerate(types[0].shape) if n not in dropped)),)

    return infer


def _sum(torch: Any, attrs: Attrs, x: Any) -> Any:
    return torch.sum(x, attrs["axes"], dtype=x.dtype) if attrs["axes"] else x


def _prod(torch: Any, attrs: Attrs, x: Any) -> Any:
    for axis in sorted(a % x.dim() for a in attrs["axes"])[::-1]:
        x = torch.prod(x, axis, dtype=x.dtype)
    return x


def _extremum(name: str) -> Numerics:
    return lambda torch, attrs, x: getattr(torch, name)(x, attrs["axes"]) if attrs["axes"] else x


def _fold(name: str) -> Numerics:
    def numerics(torch: Any, attrs: Attrs, x: Any) -> Any:
        for axis in sorted(a % x.dim() for a in attrs["axes"])[::-1]:
            x = getattr(torch, name)(x, axis)
        return x

    return numerics


def _sum_adjoint(b: Builder, node: Node, cotangents: Any, operand: Any, result: Any) -> list[Value | None]:
    g = cotangents[0]
    if g is None or not is_differentiable(g.type.dtype):
        return [None]
    return [spread(b, g, operand(0).type.shape, node.attr("axes"))]


def _extremum_adjoint(b: Builder, node: Node, cotangents: Any, operand: Any, result: Any) -> list[Value | None]:
    if cotangents[0] is None or not is_differentiable(cotangents[0].type.dtype):
        return [None]
    x, axes, g = operand(0), node.attr("axes"), E(b, cotangents[0])
    shape = x.type.shape
    ties = E(b, x).op("eq", E(b, spread(b, result(0), shape, axes)))
    count = E(b, b.op("sum", ties.cast(g.dtype).value, axes=axes))
    return [ties.where(E(b, spread(b, (g / count).value, shape, axes)), 0.0).value]


def _prod_adjoint(b: Builder, node: Node, cotangents: Any, operand: Any, result: Any) -> list[Value | None]:
    """Each element gets the product of all others, formed as such, so zeros are right at every order."""
    if cotangents[0] is None or not is_differentiable(cotangents[0].type.dtype):
        return [None]
    x, axes = operand(0), node.attr("axes")
    rank = x.type.rank
    if not axes:
        return [cotangents[0]]
    last = tuple(sorted(a % rank - rank for a in axes))
    order = tuple(n for n in range(-rank, 0) if n not in last) + last
    moved = permute_to(b, x, order)
    lead = moved.type.shape[: rank - len(last)]
    count = Type("i64", moved.type.shape[rank - len(last) :]).numel
    row = reshape_to(b, moved, (*lead, Size.of(1), count))
    others = E(b, eye_mask(b, count)).where(1.0, E(b, row))
    rest = E(b, b.op("prod", others.value, axes=(-1,)))
    g = E(b, spread(b, cotangents[0], rest.value.type.shape, (-1,)))
    full = reshape_to(b, (g * rest.conj()).value, moved.type.shape)
    back = tuple(order.index(n - rank) - rank for n in range(rank))
    return [permute_to(b, full, back)]


def _reduction(name: str, kind: str, doc: str, numerics: Numerics, adjoint: Adjoint | None = None, linear: bool = False) -> None:
    register(Op(name, "reduction", _infer(name, kind), numerics, adjoint, batch_same, ((0,),) if linear else (), doc=doc))


_reduction("sum", "numeric", "Sum over axes.", _sum, _sum_adjoint, linear=True)
_reduction("prod", "numeric", "Product over axes.", _prod, _prod_adjoint)
_reduction("max", "real", "Largest element over axes, NaN if there is one; ties share the derivative evenly.",
           _extremum("amax"), _extremum_adjoint)  # fmt: skip
_reduction("min", "real", "Smallest element over axes, NaN if there is one; ties share the derivative evenly.",
           _extremum("amin"), _extremum_adjoint)  # fmt: skip
_reduction("any", "bool", "True if one element over the axes is.", _fold("any"))
_reduction("all", "bool", "True if all elements over the axes are.", _fold("all"))


def _position(name: str) -> Callable[[tuple[Type, ...], Attrs], tuple[Type, ...]]:
    def infer(types: tuple[Type, ...], attrs: Attrs) -> tuple[Type, ...]:
        need_count(name, types, 1)
        need(name, "real or bool", types[0])
        at = check_axis(name, types[0], attrs["axis"])
        return (Type("i64", types[0].shape[:at] + types[0].shape[at + 1 :]),)

    return infer


def _arg(largest: bool) -> Numerics:
    """The first position of the extremum (torch promises no particular one); NaN counts as extreme, as in NumPy."""

    def numerics(torch: Any, attrs: Attrs, x: Any) -> Any:
        axis = attrs["axis"]
        x = x.detach()
        if x.dtype == torch.bool:
            x = x.to(torch.int8)
        best = (torch.amax if largest else torch.amin)(x, axis, keepdim=True)
        hit = (x == best) | (x != x)
        return torch.argmax(hit.to(torch.int8) * torch.arange(x.shape[axis], 0, -1).view(-1, *[1] * (-axis - 1)), axis)

    return numerics


for _name, _largest in (("argmax", True), ("argmin", False)):
    register(Op(_name, "reduction", _position(_name), _arg(_largest), None, batch_same,
                doc=f"First position of the {'largest' if _largest else 'smallest'} element along an axis."))  # fmt: skip


def _infer_cumsum(types: tuple[Type, ...], attrs: Attrs) -> tuple[Type, ...]:
    need_count("cumsum", types, 1)
    need("cumsum", "numeric", types[0])
    check_axis("cumsum", types[0], attrs["axis"])
    return types


def _cumsum_adjoint(b: Builder, node: Node, cotangents: Any, operand: Any, result: Any) -> list[Value | None]:
    g = cotangents[0]
    if g is None or not is_differentiable(g.type.dtype):
        return [None]
    axis = node.attr("axis")
    total = b.op("cumsum", b.op("flip", g, axes=(axis,)), axis=axis)
    return [b.op("flip", total, axes=(axis,))]


register(Op("cumsum", "scan", _infer_cumsum, lambda torch, attrs, x: torch.cumsum(x, attrs["axis"], dtype=x.dtype),
            _cumsum_adjoint, batch_same, ((0,),), doc="Running sum along an axis: y[i] = x[0] + ... + x[i]."))  # fmt: skip
