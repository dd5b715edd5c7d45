"""Convolutions and Fourier transforms."""

from __future__ import annotations

from ...compiler.graph.graph import Value
from ..operand import Array, BuiltinError, TupleOperand, noun
from . import compose
from .call import NOT_KNOWN, NUMBERS, SHAPE, Call
from .elementwise import as_complex
from .table import Result, builtin

FAMILY = "signals"


def _setting(call: Call, name: str, dims: int, minimum: int) -> int | tuple[int, ...]:
    operand = call.bound.get(name)
    if not isinstance(operand, TupleOperand):
        return call.integer(name, minimum)
    numbers: list[int] = []
    for item in operand.items:
        try:
            number = call.ctx.constant_of(item)
        except BuiltinError:
            number = -1
        if isinstance(number, bool) or not isinstance(number, int) or number < minimum:
            raise call.error(
                f"{name} of {call.name} must be literal integers of at least {minimum}, not {noun(item)}",
                name,
                None,
                NOT_KNOWN,
            )
        numbers.append(number)
    if len(numbers) != dims:
        raise call.error(f"{name} of {call.name} is one number or {dims}, not {len(numbers)}", name, None, SHAPE)
    return tuple(numbers)


def _convolution(call: Call, dims: int, transpose: bool = False) -> Value:
    names = ["x", "weight"] + (["bias"] if call.given("bias") else [])
    x, weight, *bias = call.arrays(names, NUMBERS, real=True)
    if x.type.rank < dims + 1:
        axes = "[channels, length]" if dims == 1 else "[channels, height, width]"
        raise call.error(f"{call.name} takes an array {axes}, not {noun(Array(x))}", "x", None, SHAPE)
    if weight.type.rank != dims + 2:
        order = "[in, out" if transpose else "[out, in"
        raise call.error(
            f"{call.name} takes weights {order}, {'width' if dims == 1 else 'height, width'}], not {noun(Array(weight))}",
            "weight",
            None,
            SHAPE,
        )
    channels = weight.type.shape[0 if transpose else 1]
    fitted = call.fit(x, -dims - 1, channels)
    if fitted is None:
        raise call.error(f"x has {x.type.shape[-dims - 1]} channels, the weights are for {channels}", "weight", None, SHAPE)
    settings = {"stride": _setting(call, "stride", dims, 1), "padding": _setting(call, "padding", dims, 0),
                "dilation": _setting(call, "dilation", dims, 1)}  # fmt: skip
    if not transpose:
        _check_width(call, fitted, weight, dims, settings)
    y = compose.op(call.b, call.name, fitted, weight, **settings)
    if not bias:
        return y
    out = y.type.shape[-dims - 1]
    if bias[0].type.rank != 1 or not call.ctx.same_size(bias[0].type.shape[0], out):
        raise call.error(
            f"the bias of {call.name} has one number per channel, {out}, not {noun(Array(bias[0]))}", "bias", None, SHAPE
        )
    return compose.op(call.b, "add", y, compose.reshape(call.b, bias[0], [out, *[1] * dims]))


def _check_width(call: Call, x: Value, weight: Value, dims: int, settings: dict[str, int | tuple[int, ...]]) -> None:
    for n in range(dims):
        padding, dilation = (v[n] if isinstance(v, tuple) else v for v in (settings["padding"], settings["dilation"]))
        window = (weight.type.shape[n - dims] - 1) * dilation + 1
        room = x.type.shape[n - dims] + 2 * padding
        if room.constant is not None and window.constant is not None and window.constant > room.constant:
            raise call.error(f"a window of {window} does not fit an axis of {room} (padding included)", "weight", None, SHAPE)


@builtin(FAMILY, "conv1d(x, weight, bias=None, *, stride=1, padding=0, dilation=1)", example="conv1d(x, w, padding=1)")
def conv1d(call: Call) -> Result:
    """Correlation of x[c, l] with weights w[o, c, k] along the last axis, as in PyTorch (without its batch axis)."""
    return _convolution(call, 1)


@builtin(FAMILY, "conv2d(x, weight, bias=None, *, stride=1, padding=0, dilation=1)", example="conv2d(x, w, padding=1)")
def conv2d(call: Call) -> Result:
    """Correlation of x[c, h, w] with weights w[o, c, kh, kw] over the last two axes, as in PyTorch."""
    return _convolution(call, 2)


@builtin(
    FAMILY,
    "conv_transpose2d(x, weight, bias=None, *, stride=1, padding=0, dilation=1)",
    example="conv_transpose2d(x, w, stride=2)",
)
def conv_transpose2d(call: Call) -> Result:
    """The transpose of conv2d: x[c, h, w] with weights w[c, o, kh, kw], as in PyTorch."""
    return _convolution(call, 2, transpose=True)


def _along(call: Call) -> Value:
    x = as_complex(call, call.vector_or_more("x", NUMBERS, real=True))
    return compose.op(call.b, call.name, x, axis=call.axis(x))


@builtin(FAMILY, "fft(x, *, axis=-1)", example="fft(x, axis=0)")
def fft(call: Call) -> Result:
    """Discrete Fourier transform along an axis; the result is complex."""
    return _along(call)


@builtin(FAMILY, "ifft(x, *, axis=-1)", example="re(ifft(z))")
def ifft(call: Call) -> Result:
    """Inverse of fft (divides by n)."""
    return _along(call)


def _plane(call: Call) -> Value:
    x = as_complex(call, call.vector_or_more("x", NUMBERS, real=True, rank=2))
    return compose.op(call.b, call.name, x)


@builtin(FAMILY, "fft2(x)", example="fft2(image)")
def fft2(call: Call) -> Result:
    """Discrete Fourier transform over the last two axes."""
    return _plane(call)


@builtin(FAMILY, "ifft2(x)", example="re(ifft2(z))")
def ifft2(call: Call) -> Result:
    """Inverse of fft2."""
    return _plane(call)


@builtin(FAMILY, "fftshift(x, *, axis=None)", example="fftshift(z, axis=0)")
def fftshift(call: Call) -> Result:
    """The zero frequency moved to the middle of an axis, several, or all."""
    x = call.array("x")
    axes = call.axes(x)
    return compose.op(call.b, "fftshift", x, axes=tuple(sorted(axes))) if axes else x
