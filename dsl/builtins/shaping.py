"""Builtins that move, select or pad elements without computing."""

from __future__ import annotations

from ...compiler.graph.graph import Value
from ...compiler.graph.types import Size, is_integer
from ..operand import Array, BuiltinError, Operand, TupleOperand, noun
from . import compose
from .call import BOOL, NOT_KNOWN, NUMBERS, SHAPE, Call
from .table import Result, builtin

FAMILY = "shape"
ANY = (*NUMBERS, BOOL)


def _rest(call: Call) -> tuple[Operand, ...]:
    if len(call.rest) == 1 and isinstance(call.rest[0], TupleOperand):
        return call.rest[0].items
    return call.rest


@builtin(FAMILY, "reshape(x, *sizes)", example="reshape(x, n * m)")
def reshape(call: Call) -> Result:
    """x in another shape of as many elements, the last axis running fastest; one size may be -1: what is left."""
    x = call.array("x", ANY)
    if not call.rest:
        raise call.error("reshape needs the new sizes", None, "reshape(x, n)", SHAPE)
    sizes = [_shape_entry(call, i, operand) for i, operand in enumerate(_rest(call))]
    unknown = [i for i, s in enumerate(sizes) if s.constant == -1]
    if len(unknown) > 1:
        raise call.error("only one size of reshape may be -1", unknown[1], None, SHAPE)
    known = Size.of(1)
    for s in sizes:
        known = known if s.constant == -1 else known * s
    total = x.type.numel
    if unknown:
        quotient = divide(total, known)
        if quotient is None:
            raise call.error(f"{x.type} has {total} elements, which {known} does not divide for every size", None, None, SHAPE)
        sizes[unknown[0]] = quotient
    elif known != total and not call.ctx.same_size(known, total):
        raise call.error(f"{x.type} has {total} elements, the new shape {known}", None, None, SHAPE)
    return compose.reshape(call.b, x, sizes)


def _shape_entry(call: Call, position: int, operand: Operand) -> Size:
    try:
        size = call.ctx.size_of(operand)
    except BuiltinError:
        raise call.error(
            f"{call.name} takes sizes (integer expressions of sizes and literals), not {noun(operand)}",
            min(position, len(call.rest) - 1),
            None,
            NOT_KNOWN,
        ) from None
    if size.constant is not None and size.constant < 1 and size.constant != -1:
        raise call.error(f"a size is at least 1, not {size}", min(position, len(call.rest) - 1), None, SHAPE)
    return size


def divide(total: Size, divisor: Size) -> Size | None:
    """``total / divisor`` if that is a polynomial again, else None (long division by the leading term)."""
    if not divisor.terms:
        return None
    (lead, factor), quotient = divisor.terms[0], Size.of(0)
    for _ in range(64):
        if not total.terms:
            return quotient
        monomial, c = total.terms[0]
        left = list(monomial)
        for atom in lead:
            if atom not in left:
                return None
            left.remove(atom)
        if c % factor:
            return None
        part = Size(((tuple(left), c // factor),))
        quotient, total = quotient + part, total - part * divisor
    return None


@builtin(FAMILY, "permute(x, *axes)", example="permute(x, 2, 0, 1)")
def permute(call: Call) -> Result:
    """The axes of x in a new order: the result's axis i is axis axes[i] of x."""
    x = call.array("x", ANY)
    order = []
    for i, operand in enumerate(_rest(call)):
        place = min(i, len(call.rest) - 1)
        try:
            axis = call.ctx.constant_of(operand)
        except BuiltinError:
            axis = 0.5
        if isinstance(axis, bool) or not isinstance(axis, int):
            raise call.error(f"an axis of permute must be a literal integer, not {noun(operand)}", place, None, NOT_KNOWN)
        if not -x.type.rank <= axis < x.type.rank:
            raise call.error(f"permute has no axis {axis} in an array of rank {x.type.rank}", place, None, SHAPE)
        order.append(axis % x.type.rank - x.type.rank)
    if sorted(order) != list(range(-x.type.rank, 0)):
        raise call.error(
            f"permute needs each of the {x.type.rank} axes of x once, not {tuple(a + x.type.rank for a in order)}",
            None,
            None,
            SHAPE,
        )
    return compose.permute(call.b, x, order)


@builtin(FAMILY, "expand(x, *sizes)", example="expand(v[:, None], n, m)")
def expand(call: Call) -> Result:
    """x repeated to a larger shape by broadcasting; -1 keeps the size of an axis."""
    x = call.array("x", ANY)
    sizes = [_shape_entry(call, i, operand) for i, operand in enumerate(_rest(call))]
    lead = len(sizes) - x.type.rank
    if lead < 0:
        raise call.error(f"expand needs at least {x.type.rank} sizes for {x.type}, not {len(sizes)}", None, None, SHAPE)
    for i, size in enumerate(sizes):
        own = x.type.shape[i - lead] if i >= lead else None
        if size.constant == -1:
            if own is None:
                raise call.error(
                    "-1 keeps the size of an axis of x, and there is none here", min(i, len(call.rest) - 1), None, SHAPE
                )
            sizes[i] = own
        elif own is not None and own.constant != 1:
            fitted = call.fit(x, i - len(sizes), size)
            if fitted is None:
                raise call.error(
                    f"expand cannot make {own} into {size}: only a size of literally 1 is repeated",
                    min(i, len(call.rest) - 1),
                    None,
                    SHAPE,
                )
            x = fitted
    return compose.broadcast(call.b, x, sizes)


@builtin(FAMILY, "flip(x, *, axis=None)", example="flip(x, axis=0)")
def flip(call: Call) -> Result:
    """Elements in reverse order along an axis, several, or all."""
    x = call.array("x", ANY)
    axes = call.axes(x)
    return compose.op(call.b, "flip", x, axes=tuple(sorted(axes))) if axes else x


@builtin(FAMILY, "roll(x, shift, *, axis=None)", example="roll(x, 1, axis=0)")
def roll(call: Call) -> Result:
    """Elements moved up by shift positions, those beyond the end coming back at the start; without axis= the array
    is rolled as one row. shift and axis may be tuples of one length."""
    x = call.array("x", ANY)
    shift = call.operand("shift")
    if isinstance(shift, TupleOperand) or isinstance(call.bound.get("axis"), TupleOperand):
        return _roll_several(call, x)
    if call.given("axis"):
        return _rolled(call, x, call.axis(x))
    if x.type.rank == 0:
        return x
    row = _rolled(call, compose.reshape(call.b, x, [x.type.numel]), -1)
    return compose.reshape(call.b, row, x.type.shape)


def _roll_several(call: Call, x: Value) -> Value:
    shift = call.operand("shift")
    if not call.given("axis"):
        raise call.error("roll by several shifts needs as many axes", "shift", "axis=(0, 1)", SHAPE)
    axes = call.axes(x)
    shifts = shift.items if isinstance(shift, TupleOperand) else (shift,) * len(axes)
    if len(shifts) != len(axes):
        raise call.error(f"roll needs one shift per axis, not {len(shifts)} for {len(axes)}", "shift", None, SHAPE)
    for axis, item in zip(axes, shifts, strict=True):
        x = _roll_by(call, x, axis, item)
    return x


def _rolled(call: Call, x: Value, axis: int) -> Value:
    return _roll_by(call, x, axis, call.operand("shift"))


def _roll_by(call: Call, x: Value, axis: int, shift: Operand) -> Value:
    if isinstance(shift, Array):
        if not is_integer(shift.type.dtype) or shift.type.rank:
            raise call.error(f"roll shifts by an integer, not {noun(shift)}", "shift")
        return compose.roll_by_value(call.b, x, shift.value, axis)
    try:
        size = call.ctx.size_of(shift)
    except BuiltinError:
        raise call.error(f"roll shifts by an integer, not {noun(shift)}", "shift") from None
    if size.constant is None:  # a loop index or a size: positions computed at run time
        return compose.roll_by_value(call.b, x, compose.size_scalar(call.b, size, "i64"), axis)
    return compose.roll(call.b, x, size, axis)


@builtin(FAMILY, 'pad(x, width, mode="constant", *, value=0)', example="pad(x, (1, 1))")
def pad(call: Call) -> Result:
    """x with a border: width is one number for all sides, (before, after) for all axes, or one such pair per axis.
    mode is "constant" (value=), "edge", "reflect", "symmetric" or "wrap"."""
    x = call.array("x", ANY)
    widths = _widths(call, x)
    mode = call.text("mode")
    if mode == "constant":
        number = call.number("value")
        if isinstance(number, float) and not number.is_integer() and not _takes_fractions(x.type.dtype):
            raise call.error(f"the border {number} does not fit an array of {x.type.dtype}", "value")
        return compose.padded(call.b, x, widths, number)
    if call.given("value"):
        raise call.error(f'value= goes with mode "constant", not with "{mode}"', "value")
    if mode not in ("edge", "reflect", "symmetric", "wrap"):
        raise call.error(f'pad has no mode "{mode}": there are constant, edge, reflect, symmetric and wrap', "mode")
    for axis, (before, after) in zip(range(-x.type.rank, 0), widths, strict=True):
        x = _padded_axis(call, x, axis, before, after, mode)
    return x


def _takes_fractions(dtype: str) -> bool:
    return not is_integer(dtype) and dtype != "bool"


def _widths(call: Call, x: Value) -> list[tuple[Size, Size]]:
    operand, rank = call.operand("width"), x.type.rank
    if not isinstance(operand, TupleOperand):
        side = _width(call, operand)
        return [(side, side)] * rank
    if operand.items and all(isinstance(item, TupleOperand) for item in operand.items):
        pairs = [item.items for item in operand.items if isinstance(item, TupleOperand)]
        if len(pairs) not in (1, rank) or any(len(p) not in (1, 2) for p in pairs):
            raise call.error(f"pad needs one (before, after) per axis: {rank}, not {len(pairs)}", "width", None, SHAPE)
        found = [(_width(call, p[0]), _width(call, p[-1])) for p in pairs]
        return found * rank if len(pairs) == 1 else found
    if len(operand.items) not in (1, 2):
        raise call.error(
            f"pad needs (before, after), or one such pair per axis, not {len(operand.items)} numbers", "width", None, SHAPE
        )
    return [(_width(call, operand.items[0]), _width(call, operand.items[-1]))] * rank


def _width(call: Call, operand: Operand) -> Size:
    try:
        size = call.ctx.size_of(operand)
    except BuiltinError:
        raise call.error(f"a width of pad must be a size, not {noun(operand)}", "width", None, NOT_KNOWN) from None
    if size.constant is not None and size.constant < 0:
        raise call.error(f"a width of pad must not be negative: {size}", "width", None, SHAPE)
    return size


def _padded_axis(call: Call, x: Value, axis: int, before: Size, after: Size, mode: str) -> Value:
    n = x.type.shape[axis]
    limit = {"edge": None, "reflect": n - 1, "symmetric": n, "wrap": n}[mode]
    parts: list[Value] = []
    for width, is_before in ((before, True), (after, False)):
        if is_before is False:
            parts.append(x)
        if width.constant == 0:
            continue
        if limit is not None and not call.ctx.at_most(width, limit):
            raise call.error(
                f'pad by {width} with mode "{mode}" needs an axis of at least {width + (n - limit)}, and this one is {n}',
                "width",
                f"where {n} >= {width + (n - limit)}" if n.constant is None else None,
                SHAPE,
            )
        parts.append(_border(call, x, axis, width, mode, is_before))
    return compose.concat(call.b, parts, axis)


def _border(call: Call, x: Value, axis: int, width: Size, mode: str, before: bool) -> Value:
    b, n = call.b, x.type.shape[axis]
    if mode == "edge":
        edge = compose.take(b, x, axis, 0 if before else n - 1, 1)
        return compose.broadcast(b, edge, [width if i - x.type.rank == axis else s for i, s in enumerate(x.type.shape)])
    if mode == "wrap":
        return compose.take(b, x, axis, n - width if before else Size.of(0), width)
    off = Size.of(1 if mode == "reflect" else 0)
    return compose.take(b, x, axis, width - 1 + off if before else n - 1 - off, width, -1)


@builtin(FAMILY, "diag(x, k=0)", example="diag(v)")
def diag(call: Call) -> Result:
    """Of a vector the square matrix with it on diagonal k, of a matrix its diagonal k (positive above, negative below)."""
    x, k = call.array("x", ANY), call.integer("k")
    if x.type.rank == 1:
        return compose.diagonal_matrix(call.b, x, k)
    if x.type.rank != 2:
        raise call.error(f"diag takes a vector or a matrix, not {noun(Array(x))}", "x", None, SHAPE)
    rows, columns = x.type.shape
    left = columns - k if k > 0 else rows + k
    if not call.ctx.at_most(Size.of(1), left):
        raise call.error(f"a {rows} by {columns} matrix may have no diagonal {k}", "k", None, SHAPE)
    return compose.diagonal(call.b, x, k)


def _triangle(call: Call, lower: bool) -> Value:
    x = call.vector_or_more("x", ANY, rank=2)
    return compose.triangle(call.b, x, call.size("k"), lower)


@builtin(FAMILY, "tril(x, k=0)", example="tril(A)")
def tril(call: Call) -> Result:
    """The lower triangle of a matrix, zeros above diagonal k."""
    return _triangle(call, True)


@builtin(FAMILY, "triu(x, k=0)", example="triu(A)")
def triu(call: Call) -> Result:
    """The upper triangle of a matrix, zeros below diagonal k."""
    return _triangle(call, False)
