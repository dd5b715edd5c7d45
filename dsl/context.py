"""Where lowering happens: the graph under construction, the names in scope, what is known, the errors so far.

Expressions and statements are lowered by functions registered by the type of their node, see
:func:`lowers`; a :class:`Context` is what they and the builtins are given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn, Protocol

from ..compiler.diagnostics import Diagnostic, Span
from ..compiler.graph.graph import Builder, Graph, Value
from ..compiler.graph.ops.common import constant
from ..compiler.graph.ops.table import OpTypeError
from ..compiler.graph.types import Size, Type, weights_of
from . import syntax as s
from .dtypes import DTypeError, common, kind_of
from .facts import Facts
from .operand import (
    Array,
    BuiltinError,
    FunctionOperand,
    Operand,
    SizeOperand,
    Weak,
    WeakExpression,
)
from .operand import noun as noun
from .uses import FileScope

MAX_CALLS = 2000
MAX_NESTING = 200


class LowerError(Exception):
    """A statement cannot be lowered; reported by the nearest block. ``origin``: the smallest expression it came from, and where that
    was lowered."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic.message)
        self.diagnostic = diagnostic
        self.origin: tuple[Context, s.Expr] | None = None


class Poisoned(Exception):
    """A statement uses a name whose own error was reported already."""


class Retype(Exception):
    """A loop must start again: literal-bound ``name`` that it carries is of ``dtype``."""

    def __init__(self, owner: int, name: str, dtype: str) -> None:
        super().__init__(name)
        self.owner, self.name, self.dtype = owner, name, dtype


@dataclass(frozen=True)
class Binding:
    """A name in scope. ``operand`` is None after an error. ``kind``: ``size``, ``iterations``, ``index``, ``input``,
    ``param``, ``module``, ``value``. A value that began as a literal may still change its dtype: ``weak`` is its kind of
    number, ``owner`` the loop that typed it, ``forced`` whether its dtype is more than a guess."""

    operand: Operand | None
    span: Span
    kind: str = "value"
    weak: str = ""
    owner: int = 0
    forced: bool = False


class Observer(Protocol):
    """Who wants to know what the parts of a program are while it is lowered: an editor. The same part is seen several times: at each use of
    its function, and again when a loop starts over."""

    def expression(self, ctx: Context, node: s.Expr, operand: Operand) -> None:
        """An expression was lowered."""

    def statement(self, ctx: Context, node: s.Statement) -> None:
        """A statement was lowered; its names are in ``ctx.names``."""

    def failed(self, ctx: Context, node: s.Statement) -> None:
        """A statement could not be lowered; parts of it may not have been looked at."""

    def names(self, ctx: Context) -> None:
        """What an algorithm declares, or the parameters of a function, came into scope."""


@dataclass
class Unit:
    """What all contexts of one algorithm share."""

    diagnostics: list[Diagnostic] = field(default_factory=list)
    calls: int = 0
    nesting: int = 0
    loops: int = 0
    #: Size names and iteration counts of the algorithm; no loop index takes one of them.
    sizes: set[str] = field(default_factory=set)
    #: Comprehensions: how many were tried, the indices that will become axes, and whether inner sums are loops.
    attempts: int = 0
    lifted: frozenset[str] = frozenset()
    roll: bool = False
    ended: dict[str, Span] = field(default_factory=dict)
    #: What expressions were last evaluated to, by the node's id, for messages; the node is held, so that its id stays its own.
    seen: dict[int, tuple[s.Expr, Operand]] = field(default_factory=dict)
    #: Rewritten statements that were tried for the sake of a suggestion; None inside such a trial.
    trials: int | None = 0
    #: What declarations and called algorithms add: see ``lower_declarations.py``.
    interface: Any = None
    observer: Observer | None = None

    def report(self, diagnostic: Diagnostic) -> None:
        """Keep a diagnostic once."""
        if all((d.code, d.span, d.message) != (diagnostic.code, diagnostic.span, diagnostic.message) for d in self.diagnostics):
            self.diagnostics.append(diagnostic)


Lower = Callable[["Context", Any], Any]
_LOWER: dict[type, Lower] = {}


def lowers(*nodes: type) -> Callable[[Lower], Lower]:
    """Register the function that lowers these kinds of syntax node."""

    def add(function: Lower) -> Lower:
        _LOWER.update(dict.fromkeys(nodes, function))
        return function

    return add


@dataclass
class Context:
    """Implements :class:`dsl.operand.Lowering`."""

    builder: Builder
    scope: FileScope
    unit: Unit
    names: dict[str, Binding]
    facts: Facts
    function: str = ""  # the fn or called algorithm whose body this is
    trail: tuple[tuple[str, Span], ...] = ()  # calls that led here, outermost first
    active: tuple[s.Node, ...] = ()  # functions and algorithms being applied

    def inside(self, **changes: Any) -> Context:
        """A context that differs in some fields, with its own copy of the names."""
        return replace(self, **{"names": dict(self.names), **changes})

    # -- errors

    @property
    def span(self) -> Span:
        """Where the node being lowered stands."""
        assert self.builder.span is not None
        return self.builder.span

    def fault(
        self, code: str, message: str, span: Span | None = None, suggestion: str | None = None, notes: Sequence[str] = ()
    ) -> LowerError:
        """An error to raise."""
        trail = [f"in {name}, called at {where}" for name, where in reversed(self.trail)]
        return LowerError(Diagnostic(code, message, span or self.span, (*notes, *trail), suggestion))

    def error(self, code: str, message: str, span: Span | None = None) -> NoReturn:
        """Give up on the statement with a diagnostic."""
        raise self.fault(code, message, span)

    @contextmanager
    def reporting(self) -> Iterator[None]:
        """Report an error of the enclosed part and go on after it."""
        try:
            yield
        except LowerError as error:
            self.unit.report(error.diagnostic)
        except Poisoned:
            return

    @contextmanager
    def at(self, span: Span) -> Iterator[None]:
        """Nodes built inside stand at ``span``, and so do errors that know no place."""
        before, self.builder.span = self.builder.span, span
        self.unit.nesting += 1
        try:
            if self.unit.nesting > MAX_NESTING:
                raise self.fault("US0108", "this is nested too deep, with the calls around it", span, "name a part of it first")
            yield
        except OpTypeError as error:
            raise self.fault("US0301", str(error), span) from None
        except DTypeError as error:
            raise self.fault("US0303", str(error), span) from None
        except BuiltinError as error:
            raise self.fault(error.code, error.message, span, error.suggestion) from None
        finally:
            self.unit.nesting -= 1
            self.builder.span = before

    # -- evaluation

    def expr(self, node: s.Expr) -> Operand:
        """The operand an expression evaluates to."""
        try:
            with self.at(node.span):
                operand: Operand = _LOWER[type(node)](self, node)
        except LowerError as error:
            if error.origin is None:
                error.origin = (self, node)
            raise
        if isinstance(operand, WeakExpression) and operand.span is None:
            operand = replace(operand, span=node.span)
        self.unit.seen[id(node)] = (node, operand)
        if self.unit.observer is not None:
            self.unit.observer.expression(self, node, operand)
        return operand

    def statement(self, node: s.Statement) -> None:
        """Lower one statement."""
        with self.at(node.span):
            _LOWER[type(node)](self, node)
            if self.unit.observer is not None:
                self.unit.observer.statement(self, node)

    def array(self, node: s.Expr, dtype: str | None = None) -> Value:
        """An expression that must be an array or number, as a value."""
        operand = self.expr(node)
        with self.at(node.span):
            return self.as_value(operand, dtype)

    # -- what builtins ask (see operand.Lowering)

    def as_value(self, operand: Operand, dtype: str | None = None) -> Value:
        """See :class:`dsl.operand.Lowering`."""
        if isinstance(operand, Array):
            value = operand.value
            if dtype is None or value.type.dtype == dtype:
                return value
            return self._op("cast", value, dtype=dtype)
        wanted = dtype or self.common_dtype(operand)
        match operand:
            case Weak(number=number):
                if kind_of(wanted) == "integer" and isinstance(number, (float, complex)):
                    raise DTypeError(f"{number} is no integer, and {wanted} is needed")
                if kind_of(wanted) != "complex" and isinstance(number, complex):
                    raise DTypeError(f"{number} is complex, and {wanted} is needed")
                return constant(self.builder, number, wanted)
            case SizeOperand(size=size):
                size = self.facts.canonical(size)
                if size.constant is not None:
                    return constant(self.builder, size.constant, wanted)
                return self._op("size_value", value=size, dtype=wanted)
            case WeakExpression(op=op, args=args, span=written):
                here, self.builder.span = self.builder.span, written or self.builder.span
                try:
                    return self._op(op, *(self.as_value(a, wanted) for a in args))
                finally:
                    self.builder.span = here
        raise BuiltinError(f"an array or a number is needed here, not {noun(operand)}", code="US0404")

    def _op(self, op: str, *inputs: Value, **attrs: Any) -> Value:
        value: Value = self.builder.op(op, *inputs, **attrs)
        return value

    def common_dtype(self, *operands: Operand, real: bool = False) -> str:
        """See :class:`dsl.operand.Lowering`."""
        arrays, weak = [], []
        for operand in operands:
            if isinstance(operand, Array):
                arrays.append(operand.type.dtype)
            else:
                weak.append(weak_kind(operand))
        return common(arrays, weak, real)

    def promote(self, *operands: Operand, real: bool = False) -> tuple[list[Value], str]:
        """See :class:`dsl.operand.Lowering`."""
        dtype = self.common_dtype(*operands, real=real)
        return [self.as_value(o, dtype) for o in operands], dtype

    def broadcast_shapes(self, *shapes: tuple[Size, ...]) -> tuple[Size, ...]:
        """See :class:`dsl.operand.Lowering`."""
        rank = max((len(shape) for shape in shapes), default=0)
        out = [Size.of(1)] * rank
        for shape in shapes:
            for axis, size in enumerate(shape, rank - len(shape)):
                if out[axis].constant == 1:
                    out[axis] = size
                elif size.constant != 1 and not self.same_size(size, out[axis]):
                    raise BuiltinError(
                        f"the sizes {out[axis]} and {size} differ, in shapes "
                        + " and ".join(f"[{', '.join(map(str, x))}]" for x in shapes),
                        code="US0301",
                        suggestion="only an axis of literal size 1 broadcasts; equal sizes need equal names or a `where`",
                    )
        return tuple(out)

    def same_size(self, left: Size, right: Size) -> bool:
        """See :class:`dsl.operand.Lowering`."""
        return self.facts.same(left, right)

    def at_most(self, left: Size, right: Size) -> bool:
        """See :class:`dsl.operand.Lowering`."""
        return self.facts.at_most(left, right)

    def size_of(self, operand: Operand) -> Size:
        """See :class:`dsl.operand.Lowering`."""
        if isinstance(operand, SizeOperand):
            return self.facts.canonical(operand.size)
        if isinstance(operand, Weak) and type(operand.number) is int:
            return Size.of(operand.number)
        raise BuiltinError(
            f"a size is needed here (an integer expression of sizes and literals), not {noun(operand)}",
            suggestion=_as_size(operand),
            code="US0406",
        )

    def constant_of(self, operand: Operand) -> int | float | bool:
        """See :class:`dsl.operand.Lowering`."""
        if isinstance(operand, Weak) and not isinstance(operand.number, complex):
            return operand.number
        if isinstance(operand, SizeOperand):
            known = self.facts.canonical(operand.size).constant
            if known is not None:
                return known
        raise BuiltinError(f"a literal number is needed here, not {noun(operand)}", code="US0406")

    def call_fn(self, fn: Operand, args: Sequence[Operand]) -> Operand:
        """See :class:`dsl.operand.Lowering`."""
        result: Operand = HOOKS["call"](self, fn, args)
        return result

    def fn_graph(self, fn: FunctionOperand, args: Sequence[Operand]) -> Graph:
        """See :class:`dsl.operand.Lowering`."""
        graph: Graph = HOOKS["graph"](self, fn, args)
        return graph


#: Operands that take the other operand's type.
WEAK = (Weak, SizeOperand, WeakExpression)
#: ``call`` and ``graph``: how functions are applied; filled by ``lower_call.py``.
HOOKS: dict[str, Callable[..., Any]] = {}


def weak_kind(operand: Operand) -> str:
    """``bool``, ``integer``, ``real`` or ``complex`` of a weak operand. Raises BuiltinError for others."""
    match operand:
        case Weak(number=bool()):
            return "bool"
        case Weak(number=int()) | SizeOperand():
            return "integer"
        case Weak(number=float()):
            return "real"
        case Weak():
            return "complex"
        case WeakExpression(op=op, args=args):
            kinds = [weak_kind(a) for a in args]
            if "complex" in kinds:
                return "complex"
            return "real" if op == "div" or "real" in kinds else "integer"
    raise BuiltinError(f"an array or a number is needed here, not {noun(operand)}", code="US0404")


def _as_size(operand: Operand) -> str | None:
    """What to try for a number that is no size."""
    match operand:
        case Weak(number=float(number)) if number.is_integer():
            return f"write {int(number)}, without a point"
        case WeakExpression(op="div"):
            return "a division of sizes is `//`, and rounds down"
    return None


def describe(type: Type) -> str:
    """A type as a user writes it: ``real[m, n]``, ``weights(f)``, and ``real`` for a scalar."""
    return str(type.shape[0]) if weights_of(type) else str(type) if type.rank else type.dtype


def renamed(names: Mapping[str, Any], wanted: str) -> str:
    """``wanted``, or ``wanted_1``, ... : a name that is not in ``names``."""
    if wanted not in names:
        return wanted
    number = 1
    while f"{wanted}_{number}" in names:
        number += 1
    return f"{wanted}_{number}"
