"""What the rows share: typing helpers, dtypes, expressions for adjoints, and batch rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..types import At, Range, Size, SizeLike, Type, is_complex, is_floating, is_integer
from .table import Adjoint, Attrs, Batch, OpTypeError

if TYPE_CHECKING:
    from ..graph import Builder, Node, Value

#: Names that torch and numpy have for dtypes.
LONG_NAMES = {
    "f16": "float16", "bf16": "bfloat16", "f32": "float32", "f64": "float64", "c64": "complex64", "c128": "complex128",
    "i8": "int8", "i16": "int16", "i32": "int32", "i64": "int64", "bool": "bool", "key": "int64",
}  # fmt: skip
_REAL_TWIN = {"complex": "real", "c64": "f32", "c128": "f64"}
_COMPLEX_TWIN = {twin: dtype for dtype, twin in _REAL_TWIN.items()}


def torch_dtype(torch: Any, dtype: str) -> Any:
    """The torch dtype of a dtype's name. Raises KeyError for ``real`` and ``complex``: specialize first."""
    return getattr(torch, LONG_NAMES[dtype])


def real_twin(dtype: str) -> str:
    """The dtype of the real part: ``c64`` gives ``f32``; a real dtype gives itself."""
    return _REAL_TWIN.get(dtype, dtype)


def complex_twin(dtype: str) -> str | None:
    """The complex dtype of a precision, or None if it has none (``f16``, ``bf16``)."""
    return dtype if is_complex(dtype) else _COMPLEX_TWIN.get(dtype)


def is_differentiable(dtype: str) -> bool:
    """True of dtypes that carry derivatives: floating point and complex."""
    return is_floating(dtype) or is_complex(dtype)


# -- kinds of dtypes, for typing rules -------------------------------------------------------------------------------

KINDS: dict[str, Callable[[str], bool]] = {
    "floating": is_floating,
    "complex": is_complex,
    "floating or complex": is_differentiable,
    "real": lambda d: is_floating(d) or is_integer(d),
    "integer": is_integer,
    "numeric": lambda d: is_differentiable(d) or is_integer(d),
    "bool": lambda d: d == "bool",
    "real or bool": lambda d: is_floating(d) or is_integer(d) or d == "bool",
    "comparable": lambda d: d != "key",
    "key": lambda d: d == "key",
}
_KIND_WORDS = {
    "floating": "floating-point values", "complex": "complex values", "floating or complex": "floating-point or complex values",
    "real": "real or integer values", "integer": "integers", "numeric": "numbers", "bool": "bool values",
    "real or bool": "real, integer or bool values", "comparable": "numbers or bool values", "key": "a random key",
}  # fmt: skip


def need(op: str, kind: str, *types: Type) -> None:
    """Raise OpTypeError unless every type's dtype is of the kind."""
    for type in types:
        if not KINDS[kind](type.dtype):
            hint = "; cast first" if type.dtype == "bool" else ""
            raise OpTypeError(f"{op} needs {_KIND_WORDS[kind]}, not {type}{hint}")


def need_count(op: str, types: Sequence[Type], count: int) -> None:
    """Raise OpTypeError unless there are ``count`` operands."""
    if len(types) != count:
        raise OpTypeError(f"{op} takes {count} operand{'s' if count != 1 else ''}, not {len(types)}")


def need_rank(op: str, type: Type, rank: int) -> None:
    """Raise OpTypeError unless the type has at least ``rank`` axes."""
    if type.rank < rank:
        raise OpTypeError(f"{op} needs an array of at least {rank} ax{'is' if rank == 1 else 'es'}, not {type}")


def same_dtype(op: str, types: Sequence[Type]) -> str:
    """The dtype that all operands have. Raises OpTypeError naming two that differ."""
    for type in types[1:]:
        if type.dtype != types[0].dtype:
            raise OpTypeError(f"the operands of {op} have different dtypes: {types[0]} and {type}")
    return types[0].dtype


def need_equal(op: str, what: str, left: Size, right: Size, types: Sequence[Type]) -> None:
    """Raise OpTypeError unless two sizes are the same expression."""
    if left != right:
        shown = " and ".join(map(str, types))
        raise OpTypeError(f"{op} of {shown}: {what} must be equal, but are {left} and {right}")


def check_axis(op: str, type: Type, axis: int) -> int:
    """The axis as a position from 0. Raises OpTypeError if it is not a negative axis of the type."""
    if not -type.rank <= axis < 0:
        raise OpTypeError(f"{op} has no axis {axis} in {type}")
    return axis + type.rank


def check_axes(op: str, type: Type, axes: Sequence[int]) -> tuple[int, ...]:
    """Several different axes as positions from 0. Raises OpTypeError."""
    found = tuple(check_axis(op, type, a) for a in axes)
    if len(set(found)) != len(found):
        raise OpTypeError(f"{op} names an axis of {type} twice: {tuple(axes)}")
    return found


def broadcast_shapes(op: str, types: Sequence[Type]) -> tuple[Size, ...]:
    """The shape operands broadcast to. Raises OpTypeError naming the two sizes that do not fit."""
    rank = max(t.rank for t in types)
    out: list[Size] = [Size.of(1)] * rank
    owner = [types[0]] * rank
    for type in types:
        for n, size in enumerate(type.shape, rank - type.rank):
            if out[n].constant == 1:
                out[n], owner[n] = size, type
            elif size.constant != 1 and size != out[n]:
                raise OpTypeError(
                    f"{op} cannot combine {owner[n]} and {type}: {out[n]} and {size} are different sizes"
                    " (an axis broadcasts only if its size is literally 1)"
                )
    return tuple(out)


# -- attributes ------------------------------------------------------------------------------------------------------


def evaluate_attrs(attrs: Attrs, sizes: Mapping[str, int]) -> dict[str, Any]:
    """Attributes as ``numerics`` takes them: every Size an int, ``At`` an int, ``Range`` a triple of ints, ``Type`` a
    pair of dtype and shape."""
    return {key: evaluator(value)(sizes) for key, value in attrs.items()}


def evaluator(value: Any) -> Callable[[Mapping[str, int]], Any]:
    """A function from sizes to an attribute's value; what depends on no size is computed once."""
    if isinstance(value, Size):
        compute: Callable[[Mapping[str, int]], Any] = _size_evaluator(value)
    elif isinstance(value, tuple):
        parts = [evaluator(v) for v in value]
        compute = lambda sizes: tuple([part(sizes) for part in parts])  # noqa: E731
    elif isinstance(value, At):
        compute = _size_evaluator(value.index)
    elif isinstance(value, Range):
        compute = evaluator((value.start, value.size, value.step))
    elif isinstance(value, Type):
        compute = evaluator((value.dtype, value.shape))
    else:
        return lambda sizes: value
    if attr_names(value):
        return compute
    known = compute({})
    return lambda sizes: known


def _size_evaluator(size: Size) -> Callable[[Mapping[str, int]], int]:
    names = size.names()
    if len(names) == 1:
        (name,) = names
        offset = (size - name).constant
        if offset is not None:
            return lambda sizes: sizes[name] + offset
    return size.evaluate


def attr_names(value: Any) -> frozenset[str]:
    """Size names and loop indices that occur in an attribute (or in all of a tuple)."""
    if isinstance(value, Size):
        return value.names()
    if isinstance(value, At):
        return value.index.names()
    if isinstance(value, Range):
        return value.start.names() | value.size.names()
    if isinstance(value, Type):
        return attr_names(value.shape)
    if isinstance(value, tuple):
        return frozenset().union(*(attr_names(v) for v in value))
    return frozenset()


def shape_of(shape: Sequence[SizeLike]) -> tuple[Size, ...]:
    """A ``shape`` attribute as sizes."""
    return tuple(Size.of(s) for s in shape)


# -- expressions for adjoint rules -----------------------------------------------------------------------------------

Scalar = int | float | complex


class E:
    """A value with arithmetic: ``g * (1 - y * y)`` appends nodes to the builder. Numbers are weak."""

    __slots__ = ("b", "value")

    def __init__(self, b: Builder, value: Value) -> None:
        self.b, self.value = b, value

    @property
    def dtype(self) -> str:
        """The value's dtype."""
        return self.value.type.dtype

    def _lift(self, other: E | Scalar) -> Value:
        return other.value if isinstance(other, E) else constant(self.b, other, self.dtype)

    def op(self, name: str, *others: E | Scalar, **attrs: Any) -> E:
        """``name(self, *others)``."""
        return E(self.b, self.b.op(name, self.value, *(self._lift(o) for o in others), **attrs))

    def conj(self) -> E:
        """The conjugate; the value itself if it is real."""
        return self.op("conj") if is_complex(self.dtype) else self

    def cast(self, dtype: str) -> E:
        """In another dtype; itself if it has it."""
        return self if dtype == self.dtype else self.op("cast", dtype=dtype)

    def where(self, then: E | Scalar, otherwise: E | Scalar) -> E:
        """``where(self, then, otherwise)``; one of the two must be a value."""
        like = then if isinstance(then, E) else otherwise
        if not isinstance(like, E):
            raise TypeError("where of two numbers")
        return E(self.b, self.b.op("where", self.value, like._lift(then), like._lift(otherwise)))

    def __neg__(self) -> E:
        return self.op("neg")

    def __add__(self, other: E | Scalar) -> E:
        return self.op("add", other)

    def __sub__(self, other: E | Scalar) -> E:
        return self.op("sub", other)

    def __rsub__(self, other: Scalar) -> E:
        return E(self.b, self.b.op("sub", self._lift(other), self.value))

    def __mul__(self, other: E | Scalar) -> E:
        return self.op("mul", other)

    def __truediv__(self, other: E | Scalar) -> E:
        return self.op("div", other)


def constant(b: Builder, value: Scalar, dtype: str) -> Value:
    """A scalar constant, its number in the dtype's own kind."""
    kept: Any = value if is_complex(dtype) else bool(value) if dtype == "bool" else float(value.real)
    return b.op("const", value=int(kept) if is_integer(dtype) else kept, dtype=dtype)  # type: ignore[no-any-return]


def zeros(b: Builder, type: Type) -> Value:
    """An array of zeros of a type."""
    zero = constant(b, 0, type.dtype)
    return broadcast_to(b, zero, type.shape)


def broadcast_to(b: Builder, value: Value, shape: Sequence[Size]) -> Value:
    """``value`` broadcast to ``shape``; itself if it has it."""
    if value.type.shape == tuple(shape):
        return value
    return b.op("broadcast", value, shape=tuple(shape))  # type: ignore[no-any-return]


def reshape_to(b: Builder, value: Value, shape: Sequence[Size]) -> Value:
    """``value`` in another shape; itself if it has it."""
    if value.type.shape == tuple(shape):
        return value
    return b.op("reshape", value, shape=tuple(shape))  # type: ignore[no-any-return]


def unbroadcast(b: Builder, value: Value, shape: Sequence[Size]) -> Value:
    """The transpose of broadcasting from ``shape``: sum what was repeated."""
    lead = value.type.rank - len(shape)
    rank = value.type.rank
    axes = [n - rank for n in range(lead)]
    axes += [n - rank for n, s in enumerate(shape, lead) if s.constant == 1 and value.type.shape[n].constant != 1]
    if axes:
        value = b.op("sum", value, axes=tuple(axes))
    return reshape_to(b, value, shape)


def spread(b: Builder, value: Value, shape: Sequence[Size], axes: Sequence[int]) -> Value:
    """The transpose of a sum over ``axes`` (negative): ``value`` repeated along them to ``shape``."""
    rank = len(shape)
    dropped = {a % rank for a in axes}
    kept = tuple(Size.of(1) if n in dropped else s for n, s in enumerate(shape))
    return broadcast_to(b, reshape_to(b, value, kept), shape)


def unary_adjoint(rule: Callable[[E, Callable[[], E], Callable[[], E]], E]) -> Adjoint:
    """An adjoint from ``rule(g, x, y)``; ``x()`` and ``y()`` fetch the operand and the result."""

    def adjoint(b: Builder, node: Node, cotangents: Any, operand: Any, result: Any) -> list[Value | None]:
        if cotangents[0] is None or not is_differentiable(node.outputs[0].type.dtype):
            return [None]
        return [rule(E(b, cotangents[0]), lambda: E(b, operand(0)), lambda: E(b, result(0))).value]

    return adjoint


# -- batch rules -----------------------------------------------------------------------------------------------------


def emit(b: Builder, node: Node, operands: Sequence[Value], **changes: Any) -> tuple[Value, ...]:
    """The node's op on other operands, attributes changed; outputs as a tuple."""
    out = b.op(node.op, *operands, **{**dict(node.attrs), **changes})
    return out if isinstance(out, tuple) else (out,)


def add_batch(b: Builder, value: Value, batched: bool, size: Size) -> Value:
    """``value`` with the leading axis, repeated along it if it had none."""
    return value if batched else broadcast_to(b, value, (size, *value.type.shape))


def align_batch(b: Builder, operands: Sequence[Value], batched: Sequence[bool]) -> list[Value]:
    """Operands whose core axes line up at the right and whose leading axes line up at the left."""
    rank = max(v.type.rank - f for v, f in zip(operands, batched, strict=True))
    out = []
    for value, flag in zip(operands, batched, strict=True):
        shape = value.type.shape
        gap = (Size.of(1),) * (rank - value.type.rank + 1)
        out.append(reshape_to(b, value, (shape[0], *gap, *shape[1:])) if flag else value)
    return out


def batch_elementwise(b: Builder, node: Node, operands: Any, batched: Any, size: Size) -> tuple[Value, ...]:
    """Broadcasting ops: line up, then the op itself."""
    return emit(b, node, align_batch(b, operands, batched))


def batch_same(b: Builder, node: Node, operands: Any, batched: Any, size: Size) -> tuple[Value, ...]:
    """Ops with negative axes that treat leading axes as a batch: the op itself, all operands batched."""
    return emit(b, node, [add_batch(b, v, f, size) for v, f in zip(operands, batched, strict=True)])


def prefixed(*keys: str) -> Batch:
    """A batch rule that also puts the batch size before the shapes (or types) in the attributes ``keys``."""

    def rule(b: Builder, node: Node, operands: Any, batched: Any, size: Size) -> tuple[Value, ...]:
        changes: dict[str, Any] = {}
        for key in keys:
            old = node.attr(key)
            if key == "types":
                changes[key] = tuple(t.with_shape(size, *t.shape) for t in old)
            else:
                changes[key] = (size, *old)
        return emit(b, node, [add_batch(b, v, f, size) for v, f in zip(operands, batched, strict=True)], **changes)

    return rule
