"""Convolutions and discrete Fourier transforms: library calls."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from ..types import Size, Type
from .common import (
    E,
    add_batch,
    batch_same,
    check_axes,
    check_axis,
    emit,
    need,
    need_count,
    need_equal,
    need_rank,
    real_twin,
    same_dtype,
)
from .library import library
from .table import Adjoint, Attrs, Infer, Linear, Numerics, Op, OpTypeError, register

if TYPE_CHECKING:
    from ..graph import Builder, Node, Value


def _each(attrs: Attrs, key: str, dims: int, default: int) -> tuple[int, ...]:
    """An attribute that is one number or one per spatial axis."""
    value = attrs.get(key, default)
    return tuple(value) if isinstance(value, tuple) else (value,) * dims


def _infer_conv(name: str, dims: int, transpose: bool) -> Infer:
    def infer(types: tuple[Type, ...], attrs: Attrs) -> tuple[Type, ...]:
        need_count(name, types, 2)
        dtype = same_dtype(name, types)
        need(name, "floating or complex", *types)
        x, w = types
        need_rank(name, x, dims + 1)
        need_rank(name, w, dims + 2)
        lead, weight_lead = x.shape[: -dims - 1], w.shape[: -dims - 2]
        if weight_lead and weight_lead != lead:
            raise OpTypeError(f"{name} of {x} with weights {w}: the leading sizes differ")
        channels_in, channels_out = (-dims - 2, -dims - 1) if transpose else (-dims - 1, -dims - 2)
        need_equal(name, "the channels of the input and of the weights", x.shape[-dims - 1], w.shape[channels_in], types)
        settings = [_each(attrs, k, dims, d) for k, d in (("stride", 1), ("padding", 0), ("dilation", 1))]
        spatial = []
        for n in range(dims):
            size, width = x.shape[n - dims], w.shape[n - dims]
            stride, padding, dilation = (s[n] for s in settings)
            if transpose:
                spatial.append((size - 1) * stride - 2 * padding + dilation * (width - 1) + 1)
            else:
                spatial.append((size + 2 * padding - dilation * (width - 1) - 1) // stride + 1)
        return (Type(dtype, (*lead, w.shape[channels_out], *spatial)),)

    return infer


def _conv(name: str, dims: int, transpose: bool) -> Numerics:
    def numerics(torch: Any, attrs: Attrs, x: Any, w: Any) -> Any:
        function = getattr(torch.nn.functional, name)
        settings = {k: _each(attrs, k, dims, d) for k, d in (("stride", 1), ("padding", 0), ("dilation", 1))}
        lead = x.shape[: -dims - 1]
        if w.dim() == dims + 2:
            y = function(x.reshape(-1, *x.shape[-dims - 1 :]) if lead else x, w, **settings)
            return y.reshape(*lead, *y.shape[-dims - 1 :])
        problems = prod(lead)
        if problems == 0:
            y = function(x.new_zeros(0, *x.shape[-dims - 1 :]), w.new_zeros(w.shape[-dims - 2 :]), **settings)
            return y.reshape(*lead, *y.shape[1:])
        rows = x.reshape(1, problems * x.shape[-dims - 1], *x.shape[-dims:])
        y = function(rows, w.reshape(problems * w.shape[-dims - 2], *w.shape[-dims - 1 :]), groups=problems, **settings)
        return y.reshape(*lead, y.shape[1] // problems, *y.shape[2:])

    return numerics


def _batch_conv(b: Builder, node: Node, operands: Any, batched: Any, size: Size) -> tuple[Value, ...]:
    """Shared weights stay shared."""
    x, w = operands
    return emit(b, node, [add_batch(b, x, batched[0], size), w])


def _conv_linear(node: Node) -> Linear:
    return ((0, 2), (1, 2)) if len(node.inputs) > 2 else ((0,), (1,))


library("conv1d", _infer_conv("conv1d", 1, False), _conv("conv1d", 1, False),
        "Correlation along the last axis: y[o, i] = sum over c, k of w[o, c, k] * x[c, i*stride + k*dilation - padding].",
        _batch_conv, linear=_conv_linear)  # fmt: skip
library("conv2d", _infer_conv("conv2d", 2, False), _conv("conv2d", 2, False),
        "Correlation over the last two axes, weights w[o, c, kh, kw], as in PyTorch.", _batch_conv, linear=_conv_linear)  # fmt: skip
library("conv_transpose2d", _infer_conv("conv_transpose2d", 2, True), _conv("conv_transpose2d", 2, True),
        "Transpose of conv2d, weights w[c, o, kh, kw], as in PyTorch.", _batch_conv, linear=_conv_linear)  # fmt: skip


# -- Fourier ---------------------------------------------------------------------------------------------------------


def _fourier_axes(attrs: Attrs) -> tuple[int, ...]:
    return (attrs["axis"],) if "axis" in attrs else (-2, -1)


def _infer_fft(name: str) -> Infer:
    def infer(types: tuple[Type, ...], attrs: Attrs) -> tuple[Type, ...]:
        need_count(name, types, 1)
        need(name, "complex", types[0])
        check_axes(name, types[0], _fourier_axes(attrs))
        return types

    return infer


def _fft(name: str) -> Numerics:
    def numerics(torch: Any, attrs: Attrs, x: Any) -> Any:
        if x.numel() == 0:  # an empty batch, which not every library takes
            return x.clone()
        return getattr(torch.fft, name)(x, dim=attrs["axis"]) if "axis" in attrs else getattr(torch.fft, name)(x)

    return numerics


def _fft_adjoint(inverse: str, forward: bool) -> Adjoint:
    """The conjugate transpose: n times the inverse transform, or the forward one over n."""

    def adjoint(b: Builder, node: Node, cotangents: Any, operand: Any, result: Any) -> list[Value | None]:
        g = cotangents[0]
        if g is None:
            return [None]
        attrs = dict(node.attrs)
        count = Size.of(1)
        for axis in _fourier_axes(attrs):
            count = count * g.type.shape[axis]
        scale = E(b, b.op("size_value", value=count, dtype=real_twin(g.type.dtype))).cast(g.type.dtype)
        out = E(b, b.op(inverse, g, **attrs))
        return [(out * scale if forward else out / scale).value]

    return adjoint


for _name, _inverse, _doc in (
    ("fft", "ifft", "Discrete Fourier transform along an axis: y[k] = sum over j of x[j] e^(-2 pi i j k / n)."),
    ("ifft", "fft", "Inverse of fft: x[j] = 1/n sum over k of y[k] e^(2 pi i j k / n)."),
    ("fft2", "ifft2", "fft along the last two axes."),
    ("ifft2", "fft2", "Inverse of fft2."),
):
    register(Op(_name, "library", _infer_fft(_name), _fft(_name), _fft_adjoint(_inverse, not _name.startswith("i")),
                batch_same, ((0,),), library=True, doc=_doc))  # fmt: skip


def _infer_shift(types: tuple[Type, ...], attrs: Attrs) -> tuple[Type, ...]:
    need_count("fftshift", types, 1)
    for axis in attrs["axes"]:
        check_axis("fftshift", types[0], axis)
    return types


def _shift(torch: Any, attrs: Attrs, x: Any) -> Any:
    return (torch.fft.ifftshift if attrs.get("inverse") else torch.fft.fftshift)(x, dim=attrs["axes"])


def _shift_adjoint(b: Builder, node: Node, cotangents: Any, operand: Any, result: Any) -> list[Value | None]:
    g = cotangents[0]
    undo = None if node.attr("inverse") else True
    return [None if g is None else b.op("fftshift", g, axes=node.attr("axes"), inverse=undo)]


register(Op("fftshift", "library", _infer_shift, _shift, _shift_adjoint, batch_same, ((0,),), library=True,
            doc="Zero frequency to the middle of the axes; with attribute inverse, back."))  # fmt: skip
