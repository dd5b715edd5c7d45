"""What generated Python needs from LLVM and numba does not have: vectors of fixed width, pointers, storage on the stack, selection
without a branch, sums that may be re-ordered, and the atomics of a barrier.

Each function is an intrinsic: LLVM instructions put where it is called. Names end in a dtype, and in the number of lanes of vectors,
as those of generated C do (``us_load_f32x16``). All need numba; it is imported with this module.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.typing.templates import AbstractTemplate, infer_global
from numba.extending import intrinsic, lower_builtin, models, register_model
from numba.np.arrayobj import make_array, populate_array

#: The type of an element in memory. A truth value is a byte.
ELEMENTS = {
    "f32": types.float32, "f64": types.float64, "c64": types.complex64, "c128": types.complex128, "i8": types.int8, "i16": types.int16,
    "i32": types.int32, "i64": types.int64, "key": types.int64, "bool": types.uint8,
}  # fmt: skip
LANES = (2, 4, 8, 16)

#: Every function of this module by its name in generated code.
INTRINSICS: dict[str, Any] = {}

_I8, _I32, _I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)


def _enter(name: str, typer: Callable[..., Any]) -> None:
    """An intrinsic under a name. ``typer(types) -> (signature, code)`` with ``code(context, builder, signature, args)``."""
    INTRINSICS[name] = intrinsic(typer)


# -- pointers and storage --------------------------------------------------------------------------------------------------


def _pointer(element: Any) -> Callable[..., Any]:
    def us_pointer(_context: Any, address: Any) -> Any:
        """The pointer to an address."""

        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

        return types.CPointer(element)(types.int64), code

    return us_pointer


def _local(element: Any) -> Callable[..., Any]:
    def us_local(_context: Any, count: Any) -> Any:
        """``count`` elements on the stack, a literal."""
        number = count.literal_value

        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            kind = context.get_data_type(element)
            with builder.goto_entry_block():
                place = builder.alloca(ir.ArrayType(kind, number))
                place.align = 64
            return builder.bitcast(place, kind.as_pointer())

        return types.CPointer(element)(count), code

    return us_local


for _name, _element in ELEMENTS.items():
    _enter(f"us_pointer_{_name}", _pointer(_element))
    INTRINSICS[f"us_local_{_name}"] = intrinsic(prefer_literal=True)(_local(_element))


def us_offset(_context: Any, pointer: Any, index: Any) -> Any:
    """The pointer moved by a number of elements."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.gep(args[0], [args[1]])

    return pointer(pointer, types.int64), code


def us_publish(_context: Any, pointer: Any) -> Any:
    """Let the compiler know that other threads may change what a pointer points at whenever they are waited for."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [args[0].type])
        builder.call(ir.InlineAsm(kind, "", "r,~{memory}", side_effect=True), [args[0]])
        return context.get_dummy_value()

    return types.void(pointer), code


def us_view(_context: Any, pointer: Any, rows: Any, columns: Any) -> Any:
    """A contiguous array of ``rows`` times ``columns`` elements; of one dimension where ``columns`` is None."""
    extents = 1 if isinstance(columns, types.NoneType) else 2
    kind = types.Array(pointer.dtype, extents, "C")

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        size = context.get_constant(types.intp, context.get_abi_sizeof(context.get_data_type(kind.dtype)))
        shape = list(args[1 : 1 + extents])
        strides = [size] if extents == 1 else [builder.mul(size, shape[1]), size]
        made = make_array(kind)(context, builder)
        populate_array(made, data=args[0], shape=shape, strides=strides, itemsize=size, meminfo=None)
        return made._getvalue()

    return kind(pointer, types.intp, columns if extents == 1 else types.intp), code


_enter("us_view", us_view)
_enter("us_offset", us_offset)
_enter("us_publish", us_publish)


# -- scalars ---------------------------------------------------------------------------------------------------------------


def us_where(_context: Any, condition: Any, yes: Any, no: Any) -> Any:
    """``yes if condition else no``, both computed."""
    kind = types.unliteral(yes)

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(args[0], args[1], args[2])

    return kind(types.boolean, kind, kind), code


_enter("us_where", us_where)


def has_fma(context: Any) -> bool:
    """Whether the machine compiled for has a fused multiply-add; the C library's function would be a slow call."""
    triple, _, features = context.codegen().magic_tuple()
    return "+fma" in features.split(",") or triple.startswith(("aarch64", "arm64"))


def _fma(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    kind = args[0].type
    if not has_fma(context):
        return builder.fadd(builder.fmul(args[0], args[1]), args[2])
    return builder.call(_llvm(builder, "llvm.fma", kind, 3), args)


def _suffix(kind: Any) -> str:
    if isinstance(kind, ir.VectorType):
        return f"v{kind.count}{_suffix(kind.element)}"
    return "f32" if isinstance(kind, ir.FloatType) else "f64"


def _llvm(builder: Any, name: str, kind: Any, arity: int) -> Any:
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind] * arity), f"{name}.{_suffix(kind)}")


def _extreme(comparison: str) -> Callable[..., Any]:
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        a, b = args
        best = builder.select(builder.fcmp_ordered(comparison, a, b), a, b)
        return builder.select(builder.fcmp_unordered("uno", a, a), a, best)

    return code


def _relu(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    zero = ir.Constant(args[0].type, 0.0)
    return builder.select(builder.fcmp_ordered("<=", args[0], zero), zero, args[0])


def _sign(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    a, zero, one = args[0], ir.Constant(args[0].type, 0.0), ir.Constant(args[0].type, 1.0)
    negative = builder.select(builder.fcmp_ordered("<", a, zero), ir.Constant(a.type, -1.0), zero)
    return builder.select(
        builder.fcmp_unordered("uno", a, a), a, builder.select(builder.fcmp_ordered(">", a, zero), one, negative)
    )


def _unary(name: str) -> Callable[..., Any]:
    return lambda context, builder, signature, args: builder.call(_llvm(builder, name, args[0].type, 1), args)


def _square(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return builder.fmul(args[0], args[0])


def _typed(arity: int, element: Any, code: Callable[..., Any]) -> Callable[..., Any]:
    """A typer for ``arity`` operands of a type, and a result of it."""
    kind = element(*[element] * arity)
    if arity == 1:
        return lambda _context, a: (kind, code)
    if arity == 2:
        return lambda _context, a, b: (kind, code)
    return lambda _context, a, b, c: (kind, code)


for _name in ("f32", "f64"):
    for _op, _arity, _code in (
        ("fma", 3, _fma), ("maximum", 2, _extreme(">")), ("minimum", 2, _extreme("<")), ("relu", 1, _relu), ("sign", 1, _sign),
        ("square", 1, _square), ("sqrt", 1, _unary("llvm.sqrt")), ("abs", 1, _unary("llvm.fabs")), ("floor", 1, _unary("llvm.floor")),
        ("ceil", 1, _unary("llvm.ceil")), ("rint", 1, _unary("llvm.rint")),
    ):  # fmt: skip
        _enter(f"us_{_op}_{_name}", _typed(_arity, ELEMENTS[_name], _code))


def _wrapping(name: str) -> Callable[..., Any]:
    return lambda context, builder, signature, args: getattr(builder, name)(*args)


def _negate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return builder.sub(ir.Constant(args[0].type, 0), args[0])


def _choose(comparison: str) -> Callable[..., Any]:
    return lambda context, builder, signature, args: builder.select(builder.icmp_signed(comparison, *args), *args)


for _name in ("i8", "i16", "i32", "i64"):
    for _op, _arity, _code in (
        ("add", 2, _wrapping("add")), ("sub", 2, _wrapping("sub")), ("mul", 2, _wrapping("mul")), ("neg", 1, _negate),
        ("maximum", 2, _choose(">")), ("minimum", 2, _choose("<")),
    ):  # fmt: skip
        _enter(f"us_{_op}_{_name}", _typed(_arity, ELEMENTS[_name], _code))


def _reduction(code: Callable[..., Any]) -> Callable[..., Any]:
    def us_reduce(_context: Any, held: Any, value: Any) -> Any:
        return held(held, held), code

    return us_reduce


#: Sums and products of a vector loop may be taken in another order: the schedule says so, not LLVM.
_enter("us_reduce_add", _reduction(lambda context, builder, signature, args: builder.fadd(*args, flags=("reassoc",))))
_enter("us_reduce_mul", _reduction(lambda context, builder, signature, args: builder.fmul(*args, flags=("reassoc",))))
_enter(
    "us_reduce_max",
    _reduction(lambda context, builder, signature, args: builder.call(_llvm(builder, "llvm.maximum", args[0].type, 2), args)),
)
_enter(
    "us_reduce_min",
    _reduction(lambda context, builder, signature, args: builder.call(_llvm(builder, "llvm.minimum", args[0].type, 2), args)),
)


# -- vectors ---------------------------------------------------------------------------------------------------------------


class Vector(types.Type):  # type: ignore[misc]
    """``lanes`` numbers of a dtype in one register."""

    def __init__(self, dtype: str, lanes: int) -> None:
        self.dtype, self.lanes = dtype, lanes
        super().__init__(name=f"us_{dtype}x{lanes}")

    @property
    def llvm(self) -> Any:
        """LLVM's type."""
        return ir.VectorType(ir.FloatType() if self.dtype == "f32" else ir.DoubleType(), self.lanes)


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Vector) -> None:
        super().__init__(manager, kind, kind.llvm)


def _operator(symbols: Sequence[Any], code: Callable[..., Any]) -> None:
    """Arithmetic of two vectors."""
    for symbol in symbols:

        class _Typing(AbstractTemplate):  # type: ignore[misc]
            key = symbol

            def generic(self, args: Any, kws: Any) -> Any:
                if len(args) == 2 and isinstance(args[0], Vector) and args[0] == args[1]:
                    return args[0](*args)
                return None

        infer_global(symbol)(_Typing)
        lower_builtin(symbol, Vector, Vector)(code)


_operator([operator.add, operator.iadd], lambda context, builder, signature, args: builder.fadd(*args))
_operator([operator.sub, operator.isub], lambda context, builder, signature, args: builder.fsub(*args))
_operator([operator.mul, operator.imul], lambda context, builder, signature, args: builder.fmul(*args))
_operator([operator.truediv, operator.itruediv], lambda context, builder, signature, args: builder.fdiv(*args))


class _Negative(AbstractTemplate):  # type: ignore[misc]
    key = operator.neg

    def generic(self, args: Any, kws: Any) -> Any:
        return args[0](args[0]) if len(args) == 1 and isinstance(args[0], Vector) else None


infer_global(operator.neg)(_Negative)


def _negative(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return builder.fneg(args[0])


lower_builtin(operator.neg, Vector)(_negative)


def _vector_functions(dtype: str, lanes: int) -> None:
    vector, element = Vector(dtype, lanes), ELEMENTS[dtype]
    pointer, align = types.CPointer(element), 4 if dtype == "f32" else 8

    def at(builder: Any, args: Any) -> Any:
        return builder.bitcast(builder.gep(args[0], [args[1]]), vector.llvm.as_pointer())

    def us_load(_context: Any, array: Any, index: Any) -> Any:
        """``lanes`` elements from a position on."""

        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            value = builder.load(at(builder, args))
            value.align = align
            return value

        return vector(pointer, types.int64), code

    def us_store(_context: Any, array: Any, index: Any, value: Any) -> Any:
        """Put ``lanes`` elements from a position on."""

        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            builder.store(args[2], at(builder, args)).align = align
            return context.get_dummy_value()

        return types.void(pointer, types.int64, vector), code

    def us_splat(_context: Any, value: Any) -> Any:
        """One number in all lanes."""

        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            none = ir.Constant(vector.llvm, ir.Undefined)
            first = builder.insert_element(none, args[0], ir.Constant(_I32, 0))
            return builder.shuffle_vector(first, none, ir.Constant(ir.VectorType(_I32, lanes), [0] * lanes))

        return vector(element), code

    def us_sum(_context: Any, value: Any) -> Any:
        """The sum of all lanes, by halves: the order is fixed."""

        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            total, count = args[0], lanes
            while count > 1:
                count //= 2
                low, high = (
                    builder.shuffle_vector(
                        total, ir.Constant(total.type, ir.Undefined), ir.Constant(ir.VectorType(_I32, count), list(part))
                    )
                    for part in (range(count), range(count, 2 * count))
                )
                total = builder.fadd(low, high)
            return builder.extract_element(total, ir.Constant(_I32, 0))

        return element(vector), code

    _enter(f"us_load_{dtype}x{lanes}", us_load)
    _enter(f"us_store_{dtype}x{lanes}", us_store)
    _enter(f"us_splat_{dtype}x{lanes}", us_splat)
    _enter(f"us_sum_{dtype}x{lanes}", us_sum)
    _enter(f"us_fma_{dtype}x{lanes}", _typed(3, vector, _fma))


for _name in ("f32", "f64"):
    for _count in LANES:
        _vector_functions(_name, _count)


# -- threads ---------------------------------------------------------------------------------------------------------------


def _call_integer(_context: Any, address: Any) -> Any:
    """What the C function at an address, ``int f(void)``, returns."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        function = builder.inttoptr(args[0], ir.FunctionType(_I32, []).as_pointer())
        return builder.sext(builder.call(function, []), _I64)

    return types.int64(types.int64), code


def _atomic_add(_context: Any, pointer: Any, index: Any, value: Any) -> Any:
    """Add to an int32; its value before."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.atomic_rmw("add", builder.gep(args[0], [args[1]]), args[2], "acq_rel")

    return types.int32(types.CPointer(types.int32), types.int64, types.int32), code


def _atomic_load(_context: Any, pointer: Any, index: Any) -> Any:
    """An int32 that another thread may have stored, and all that it stored before."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load_atomic(builder.gep(args[0], [args[1]]), "acquire", 4)

    return types.int32(types.CPointer(types.int32), types.int64), code


def _atomic_store(_context: Any, pointer: Any, index: Any, value: Any) -> Any:
    """Store an int32 so that who loads it sees all that was stored before."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store_atomic(args[2], builder.gep(args[0], [args[1]]), "release", 4)
        return context.get_dummy_value()

    return types.void(types.CPointer(types.int32), types.int64, types.int32), code


def _pause(_context: Any) -> Any:
    """Tell the processor that a loop only waits."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        hint = {"x86_64": "pause", "aarch64": "yield", "arm64": "yield"}.get(builder.module.triple.split("-")[0])
        if hint:
            builder.call(ir.InlineAsm(ir.FunctionType(ir.VoidType(), []), hint, "~{memory}", side_effect=True), [])
        return context.get_dummy_value()

    return types.void(), code


def _give_way(_context: Any) -> Any:
    """Let another thread run."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.call(cgutils.get_or_insert_function(builder.module, ir.FunctionType(_I32, []), "sched_yield"), [])
        return context.get_dummy_value()

    return types.void(), code


call_integer: Any = intrinsic(_call_integer)
atomic_add: Any = intrinsic(_atomic_add)
atomic_load: Any = intrinsic(_atomic_load)
atomic_store: Any = intrinsic(_atomic_store)
pause: Any = intrinsic(_pause)
give_way: Any = intrinsic(_give_way)
