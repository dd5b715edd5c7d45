"""Calling a ``fn`` from Python: it is checked and lowered for the types of the arguments that come, once for each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..compiler.diagnostics import DataError, ProgramError
from ..compiler.graph.algorithm import Algorithm, Input
from ..compiler.graph.graph import Builder
from ..compiler.graph.types import Type, is_complex, is_floating
from . import syntax as s
from .context import Context, LowerError, Unit
from .facts import Facts
from .lower_call import inline
from .operand import Array, TupleOperand
from .shape_help import explained
from .uses import FileScope

if TYPE_CHECKING:
    from .api import AlgorithmHandle


class FunctionHandle:
    """A ``fn`` of a program: call it on numbers, NumPy arrays or torch tensors. All axes are its own: it takes no batch."""

    def __init__(self, fn: s.Fn, scope: FileScope) -> None:
        self.fn, self.scope = fn, scope
        self.__name__ = fn.name.text
        self.__doc__ = f"fn {self.__name__}({', '.join(p.text for p in fn.parameters)})"
        self.parameters = tuple(p.text for p in fn.parameters)
        self._handles: dict[tuple[Type, ...], AlgorithmHandle] = {}

    def __repr__(self) -> str:
        return f"<fn {self.__name__}({', '.join(self.parameters)})>"

    def __reduce__(self) -> Any:
        return FunctionHandle, (self.fn, self.scope), described_as(self)

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        """The result, differentiable for torch tensors. Raises ProgramError if the body does not fit the types that came."""
        from ..backends.call import match
        from .api import AlgorithmHandle

        values = match(self.__name__, self.parameters, inputs, named)
        types = tuple(_type(n, values[n]) for n in self.parameters)
        if types not in self._handles:
            self._handles[types] = AlgorithmHandle(self.lower(types))
        return self._handles[types](*[values[n] for n in self.parameters])

    def lower(self, types: tuple[Type, ...]) -> Algorithm:
        """The function as an algorithm for arguments of these types. Raises ProgramError, DataError for a wrong number of types."""
        if len(types) != len(self.parameters):
            raise DataError(
                f"{self.__name__}({', '.join(self.parameters)}) takes {len(self.parameters)} arguments, not {len(types)}"
            )
        return lower_fn(self.fn, self.scope, types)


def described_as(handle: Any) -> dict[str, Any]:
    """What pickling a handle keeps of how it presents itself; the Python function it was read from stays behind."""
    return {n: handle.__dict__[n] for n in ("__doc__", "__module__", "__qualname__") if n in handle.__dict__}


def lower_fn(fn: s.Fn, scope: FileScope, types: tuple[Type, ...]) -> Algorithm:
    """A function as an algorithm for arguments of these types. Raises ProgramError."""
    builder = Builder(fn.name.text)
    builder.span = fn.span
    ctx = Context(builder, scope, Unit(), {}, Facts())
    arguments = [builder.input(p.text, t) for p, t in zip(fn.parameters, types, strict=True)]
    try:
        with ctx.at(fn.span):
            result = inline(ctx, fn, [Array(a) for a in arguments], fn.span)
            items = result.items if isinstance(result, TupleOperand) else (result,)
            values = [ctx.as_value(i, None if isinstance(i, Array) else ctx.common_dtype(i, real=True)) for i in items]
    except LowerError as error:
        raise ProgramError([explained(ctx, error)]) from None
    if ctx.unit.diagnostics:
        raise ProgramError(ctx.unit.diagnostics)
    inputs = tuple(Input(p.text, t, False, p.span) for p, t in zip(fn.parameters, types, strict=True))
    graph = builder.finish(values)
    return Algorithm(fn.name.text, inputs, (), (), (), (), graph, graph.result_types, span=fn.span)


def _type(name: str, value: Any) -> Type:
    """The type that a value has for a function: floating arrays and numbers are ``real``."""
    from ..backends.convert import DTYPE_NAMES, argument

    a = argument(name, Type("real"), value)
    if not all(a.shape):
        raise DataError(f"{name} has shape {a.shape}; sizes are at least 1")
    dtype = DTYPE_NAMES.get(a.value.dtype, "real")
    if is_floating(dtype) or (a.weak and dtype not in ("bool", "c128")):
        dtype = "real"
    elif is_complex(dtype):
        dtype = "complex"
    return Type.of(dtype, *a.shape)
