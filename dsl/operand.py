"""What an expression evaluates to while a program is lowered, and what a builtin is given.

The front end evaluates expressions to an :data:`Operand`. A builtin (``dsl/builtins``) receives
operands and the :class:`Lowering` it happens in, and returns operands. Builtins never see spans:
they raise :class:`BuiltinError` and the front end turns it into a diagnostic at the argument.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from ..compiler.diagnostics import Span
from ..compiler.graph.graph import Builder, Graph, Value
from ..compiler.graph.types import Size, Type, weights_of, weights_size

if TYPE_CHECKING:
    from .syntax import Fn


class BuiltinError(Exception):
    """A call of a builtin does not fit.

    ``argument`` says which one: a position (from 0), a keyword, or None for the whole call. ``message`` is a
    sentence; ``suggestion`` one thing to try.
    """

    def __init__(
        self, message: str, argument: int | str | None = None, suggestion: str | None = None, code: str = "US0404"
    ) -> None:
        super().__init__(message)
        self.message = message
        self.argument = argument
        self.suggestion = suggestion
        self.code = code


@dataclass(frozen=True)
class Array:
    """A typed value of the graph (rank 0 included)."""

    value: Value

    @property
    def type(self) -> Type:
        """The value's type."""
        return self.value.type


@dataclass(frozen=True)
class Weak:
    """A Python-like literal, or arithmetic on them; it takes the other operand's type."""

    number: int | float | complex | bool


@dataclass(frozen=True)
class SizeOperand:
    """An integer expression of sizes, loop indices and literals: a weak integer, usable as a size."""

    size: Size


@dataclass(frozen=True)
class WeakExpression:
    """A scalar of weak operands that is neither literal nor size (``1 / n``): ``op`` is an elementwise graph op.

    Computed at the dtype it is needed at; builtins meet it only through ``as_value`` and ``promote``. ``span`` is where it is written.
    """

    op: str
    args: tuple[Operand, ...]
    span: Span | None = field(default=None, compare=False)


@dataclass(frozen=True)
class FunctionOperand:
    """A user's ``fn``, by name."""

    fn: Fn

    @property
    def name(self) -> str:
        """The name it was declared by."""
        return self.fn.name.text

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of its parameters, in order."""
        return tuple(p.text for p in self.fn.parameters)


@dataclass(frozen=True)
class ModuleOperand:
    """A learned operator; ``count`` is its number of instances (None: one), ``index`` the instance chosen."""

    name: str
    arguments: tuple[Type, ...]
    results: tuple[Type, ...]
    count: Size | None = None
    index: Size | None = None

    @property
    def weights(self) -> Type:
        """The type of its weights."""
        return Type.of("real", weights_size(self.name))


@dataclass(frozen=True)
class StructOperand:
    """A result with named fields (``topk``). A field that may not be used holds the error to raise."""

    name: str
    fields: Mapping[str, Operand | BuiltinError]


@dataclass(frozen=True)
class StringOperand:
    """A string literal (the spec of ``einsum``)."""

    text: str


@dataclass(frozen=True)
class DTypeOperand:
    """A type name used as an argument: ``cast(x, real)``."""

    dtype: str


@dataclass(frozen=True)
class NameOperand:
    """A bare name at a position listed in :attr:`Builtin.names` (the ``x`` of ``grad(f, x)``); not looked up."""

    text: str


@dataclass(frozen=True)
class TupleOperand:
    """Several values: a tuple written by the user, or a call with several results."""

    items: tuple[Operand, ...]


@dataclass(frozen=True)
class CallableOperand:
    """Something that a builtin returned to be called: ``grad(f, x)``. ``call`` has the signature of :attr:`Builtin.lower`."""

    description: str
    call: Callable[[Lowering, tuple[Operand, ...], dict[str, Operand]], Any] = field(compare=False)


@dataclass(frozen=True)
class NoneOperand:
    """``None``: a new axis in an index, or an argument left out."""


Operand = (
    Array
    | Weak
    | SizeOperand
    | WeakExpression
    | FunctionOperand
    | ModuleOperand
    | StructOperand
    | StringOperand
    | DTypeOperand
    | NameOperand
    | TupleOperand
    | CallableOperand
    | NoneOperand
)


def noun(operand: Operand) -> str:
    """What an operand is, for messages: ``real[m, n]``, ``an i32``, ``the size n``."""
    match operand:
        case Array(type=type):
            if module := weights_of(type):
                return f"weights({module})"
            return str(type) if type.rank else f"{'an' if type.dtype[0] in 'if' else 'a'} {type.dtype}"
        case Weak(number=number):
            return f"the number {number}"
        case SizeOperand(size=size):
            return f"the size {size}"
        case WeakExpression():
            return "a number"
        case FunctionOperand(name=name):
            return f"the function {name}"
        case ModuleOperand(name=name):
            return f"the module {name}"
        case StructOperand(name=name, fields=fields):
            return f"the result of {name} (take one of its fields: {', '.join('.' + f for f in fields)})"
        case StringOperand(text=text):
            return f'the text "{text}"'
        case DTypeOperand(dtype=dtype):
            return f"the type {dtype}"
        case NameOperand(text=text):
            return f"the name {text}"
        case TupleOperand(items=items):
            return f"{len(items)} values"
        case CallableOperand(description=description):
            return f"the function {description}"
        case NoneOperand():
            return "None"


class Lowering(Protocol):
    """What a builtin may ask of the front end."""

    @property
    def builder(self) -> Builder:
        """The graph under construction; its span is already that of the call."""

    def error(self, code: str, message: str, span: Span | None = None) -> NoReturn:
        """Give up on the statement with a diagnostic (default span: the call). Prefer :class:`BuiltinError`."""

    def as_value(self, operand: Operand, dtype: str | None = None) -> Value:
        """The operand as a graph value; weak ones are made at ``dtype`` (default: ``i64`` or ``real``), arrays are
        cast to it if it is given and differs. Raises BuiltinError for what is no array."""

    def promote(self, *operands: Operand, real: bool = False) -> tuple[list[Value], str]:
        """All operands at their common dtype (no broadcasting of shapes), and that dtype. ``real=True`` makes
        integers ``real`` (for ``/``, ``exp`` and the like). Raises BuiltinError for what is no array."""

    def common_dtype(self, *operands: Operand, real: bool = False) -> str:
        """The dtype that :meth:`promote` would choose; builds nothing."""

    def broadcast_shapes(self, *shapes: tuple[Size, ...]) -> tuple[Size, ...]:
        """NumPy's rule with symbolic sizes. Raises BuiltinError naming the sizes."""

    def same_size(self, left: Size, right: Size) -> bool:
        """Are two sizes equal for every admissible value: by form, or because ``where`` says so?"""

    def at_most(self, left: Size, right: Size) -> bool:
        """Is ``left <= right`` provable for every admissible value of the sizes?"""

    def size_of(self, operand: Operand) -> Size:
        """The operand as a size. Raises BuiltinError if it is no integer expression of sizes and literals."""

    def constant_of(self, operand: Operand) -> int | float | bool:
        """The operand as a number known now. Raises BuiltinError otherwise."""

    def call_fn(self, fn: Operand, args: Sequence[Operand]) -> Operand:
        """Apply a :class:`FunctionOperand`, a :class:`ModuleOperand` or a :class:`CallableOperand` (a fn is inlined)."""

    def fn_graph(self, fn: FunctionOperand, args: Sequence[Operand]) -> Graph:
        """A fn applied to operands as a graph of its own: its inputs are the :class:`Array` arguments in order (same
        types, named by the parameters); other arguments are built in. Results flattened, weak ones made ``real``."""


BuiltinLower = Callable[[Lowering, "tuple[Operand, ...]", "dict[str, Operand]"], "Operand | tuple[Operand, ...]"]


@dataclass(frozen=True)
class Builtin:
    """One builtin function.

    ``signature`` is shown to the user: ``softmax(x, axis=)``. ``doc`` is one sentence. ``lower`` returns an
    operand, or a tuple of them for several results. ``names`` are the positions of arguments that are bare
    parameter names (``grad``'s second): they arrive as :class:`NameOperand`.
    """

    name: str
    lower: BuiltinLower
    doc: str = ""
    signature: str = ""
    names: tuple[int, ...] = ()
    family: str = ""
