"""One call of a builtin: its arguments bound to parameter names, and read with checks.

Every reader raises :class:`BuiltinError` at the argument it concerns, in a sentence that says what
came and what is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...compiler.graph.graph import Builder, Value
from ...compiler.graph.types import Size
from ...compiler.nearest import nearest
from ..dtypes import kind_of
from ..operand import (
    Array,
    BuiltinError,
    DTypeOperand,
    Lowering,
    NoneOperand,
    Operand,
    SizeOperand,
    StringOperand,
    TupleOperand,
    Weak,
    WeakExpression,
    noun,
)
from . import compose

COUNT, KEYWORD, KIND, SHAPE, NOT_KNOWN = "US0402", "US0403", "US0404", "US0405", "US0406"
INTEGER, REAL, COMPLEX, BOOL = "integer", "real", "complex", "bool"
NUMBERS = (INTEGER, REAL, COMPLEX)
ORDERED = (INTEGER, REAL)

#: Keywords of PyTorch, and of ours.
_ELSEWHERE = {"dim": "axis", "dims": "axis", "axes": "axis", "keepdim": "keepdims"}


@dataclass(frozen=True)
class Signature:
    """Parameters of a builtin; those after the positional ones and ``rest`` go by keyword."""

    name: str
    positional: tuple[str, ...]
    rest: str | None
    keywords: tuple[str, ...]
    defaults: Mapping[str, Any]


@dataclass(frozen=True)
class Call:
    """Bound arguments. ``places`` says where each came from: a position, or a keyword."""

    ctx: Lowering
    signature: Signature
    bound: Mapping[str, Operand]
    rest: tuple[Operand, ...]
    places: Mapping[str, int | str]

    @staticmethod
    def bind(ctx: Lowering, signature: Signature, args: Sequence[Operand], kwargs: Mapping[str, Operand]) -> Call:
        """Match arguments with parameters as Python does. Raises BuiltinError for what does not fit."""
        s = signature
        if len(args) > len(s.positional) and s.rest is None:
            raise BuiltinError(f"{s.name} takes {_at_most(s)}, not {len(args)}", len(s.positional), _keyword_hint(s), COUNT)
        bound = dict(zip(s.positional, args))
        places: dict[str, int | str] = {name: i for i, name in enumerate(bound)}
        for key, operand in kwargs.items():
            if key not in s.positional + s.keywords:
                known = [*s.positional, *s.keywords]
                meant = _ELSEWHERE.get(key)
                close = meant if meant in known else nearest(key, known)
                raise BuiltinError(
                    f"{s.name} has no argument {key}; its arguments are {_listed(known)}"
                    if known
                    else f"{s.name} has no argument {key}",
                    key,
                    f"{close}=" if close else None,
                    KEYWORD,
                )
            if key in bound:
                raise BuiltinError(f"{s.name} got {key} twice, by position and by keyword", key, None, KEYWORD)
            bound[key], places[key] = operand, key
        for name in s.positional + s.keywords:
            if name not in bound and name not in s.defaults:
                if name in s.keywords:
                    raise BuiltinError(f"{s.name} needs {name}=", None, f"{name}=0" if name == "axis" else None, KEYWORD)
                raise BuiltinError(f"{s.name} needs {_at_least(s)}; {name} is missing", None, None, COUNT)
        return Call(ctx, s, bound, tuple(args[len(s.positional) :]), places)

    @property
    def b(self) -> Builder:
        """The graph under construction."""
        return self.ctx.builder

    @property
    def name(self) -> str:
        """The builtin's name."""
        return self.signature.name

    def given(self, name: str) -> bool:
        """Was the argument passed (and not as None)?"""
        return name in self.bound and not isinstance(self.bound[name], NoneOperand)

    def place(self, name: str | int) -> int | str | None:
        """Where an argument stands in the call; an int counts the rest arguments."""
        return len(self.signature.positional) + name if isinstance(name, int) else self.places.get(name)

    def error(self, message: str, name: str | int | None = None, suggestion: str | None = None, code: str = KIND) -> BuiltinError:
        """An error at an argument (None: the call)."""
        return BuiltinError(message, None if name is None else self.place(name), suggestion, code)

    def operand(self, name: str | int) -> Operand:
        """The argument as it came."""
        return self.rest[name] if isinstance(name, int) else self.bound[name]

    def check_kind(self, name: str | int, kinds: Sequence[str]) -> None:
        """Raise if an argument is no number or array, or one of another kind."""
        operand = self.operand(name)
        match operand:
            case Array(value=value):
                kind = kind_of(value.type.dtype)
            case Weak(number=bool()):
                kind = BOOL
            case Weak(number=complex()):
                kind = COMPLEX
            case Weak(number=float()) if REAL not in kinds:
                kind = REAL
            case Weak() | SizeOperand() | WeakExpression():
                return
            case _:
                raise self.error(f"{self.name} takes an array or a number, not {noun(operand)}", name)
        if kind not in kinds:
            hint = "cast it first: cast(x, real)" if kind == BOOL else "take re(x), im(x) or abs(x)" if kind == COMPLEX else None
            raise self.error(f"{self.name} takes {_listed(kinds, 'or')} values, not {noun(operand)}", name, hint)

    def array(self, name: str | int, kinds: Sequence[str] = NUMBERS, *, real: bool = False, dtype: str | None = None) -> Value:
        """An argument as a value; ``real`` makes integers real, ``dtype`` casts."""
        self.check_kind(name, kinds)
        operand = self.operand(name)
        if dtype is not None or not real:
            return self.ctx.as_value(operand, dtype)
        return self.ctx.promote(operand, real=True)[0][0]

    def arrays(self, names: Sequence[str | int], kinds: Sequence[str] = NUMBERS, *, real: bool = False) -> list[Value]:
        """Arguments as values of their common dtype."""
        for name in names:
            self.check_kind(name, kinds)
        return self.ctx.promote(*(self.operand(n) for n in names), real=real)[0]

    def matrix(self, name: str, *, square: bool = False) -> Value:
        """A real or complex array of rank 2 or more whose last two axes are the matrix."""
        x = self.array(name, NUMBERS, real=True)
        rows, columns = x.type.shape[-2:] if x.type.rank >= 2 else (Size.of(1), Size.of(1))
        if x.type.rank < 2:
            raise self.error(f"{self.name} takes a matrix, not {noun(Array(x))}", name, None, SHAPE)
        if square and rows != columns:
            if not self.ctx.same_size(rows, columns):
                raise self.error(f"{self.name} takes a square matrix, not {rows} by {columns}", name, None, SHAPE)
            x = compose.reshape(self.b, x, [*x.type.shape[:-1], rows])
        return x

    def vector_or_more(self, name: str, kinds: Sequence[str] = NUMBERS, *, real: bool = False, rank: int = 1) -> Value:
        """An array of at least ``rank`` axes."""
        x = self.array(name, kinds, real=real)
        if x.type.rank < rank:
            raise self.error(f"{self.name} takes an array of rank {rank} or more, not {noun(Array(x))}", name, None, SHAPE)
        return x

    def number(self, name: str) -> int | float | bool:
        """A number known now (the default if the argument is left out)."""
        if name not in self.bound:
            value: int | float | bool = self.signature.defaults[name]
            return value
        try:
            return self.ctx.constant_of(self.bound[name])
        except BuiltinError:
            raise self.error(
                f"{name} of {self.name} must be a literal, not {noun(self.bound[name])}", name, None, NOT_KNOWN
            ) from None

    def integer(self, name: str, minimum: int | None = None) -> int:
        """An integer known now."""
        value = self.number(name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.error(f"{name} of {self.name} must be an integer, not {value}", name)
        if minimum is not None and value < minimum:
            raise self.error(f"{name} of {self.name} must be at least {minimum}, not {value}", name)
        return value

    def flag(self, name: str) -> bool:
        """A literal ``True`` or ``False``."""
        value = self.number(name)
        if not isinstance(value, bool):
            raise self.error(f"{name} of {self.name} must be True or False, not {value}", name)
        return value

    def size(self, name: str | int) -> Size:
        """An integer expression of sizes and literals."""
        if isinstance(name, str) and name not in self.bound:
            return Size.of(self.signature.defaults[name])
        return self._as_size(self.operand(name), name)

    def _as_size(self, operand: Operand, name: str | int) -> Size:
        try:
            return self.ctx.size_of(operand)
        except BuiltinError as error:
            raise self.error(
                f"{self.name} takes a size here (an integer expression of sizes and literals), not {noun(operand)}",
                name,
                error.suggestion,
                NOT_KNOWN,
            ) from None

    def sizes(self) -> list[Size]:
        """The rest arguments as sizes of a new array; one tuple of them is accepted too."""
        if len(self.rest) == 1 and isinstance(self.rest[0], TupleOperand):
            found = [self._as_size(item, 0) for item in self.rest[0].items]
        else:
            found = [self.size(i) for i in range(len(self.rest))]
        for i, size in enumerate(found):
            if size.constant is not None and size.constant < 1:
                raise self.error(f"a size is at least 1, not {size}", min(i, len(self.rest) - 1), None, SHAPE)
        return found

    def dtype(self, name: str = "dtype") -> str:
        """A type name."""
        if name not in self.bound:
            default: str = self.signature.defaults[name]
            return default
        operand = self.bound[name]
        if not isinstance(operand, DTypeOperand):
            raise self.error(f"{name} of {self.name} must be a type name such as real or i32, not {noun(operand)}", name)
        return operand.dtype

    def text(self, name: str) -> str:
        """A string literal."""
        if name not in self.bound:
            default: str = self.signature.defaults[name]
            return default
        operand = self.bound[name]
        if not isinstance(operand, StringOperand):
            raise self.error(f"{name} of {self.name} must be a string literal, not {noun(operand)}", name)
        return operand.text

    def axis(self, x: Value, name: str = "axis", *, extra: int = 0) -> int:
        """One axis of ``x`` as a negative integer; ``extra`` axes are about to be added."""
        return self._one_axis(self.integer(name), x.type.rank + extra, name)

    def axes(self, x: Value, name: str = "axis") -> tuple[int, ...]:
        """Axes as negative integers; all of them if the argument is left out."""
        rank = x.type.rank
        if not self.given(name):
            return tuple(range(-rank, 0))
        operand = self.bound[name]
        if not isinstance(operand, TupleOperand):
            return (self.axis(x, name),)
        found = []
        for item in operand.items:
            try:
                number = self.ctx.constant_of(item)
            except BuiltinError:
                number = 0.5
            if isinstance(number, bool) or not isinstance(number, int):
                raise self.error(f"{name} of {self.name} must be literal integers, not {noun(item)}", name, None, NOT_KNOWN)
            found.append(self._one_axis(number, rank, name))
        if len(set(found)) != len(found):
            raise self.error(f"{name} of {self.name} names one axis twice", name, None, SHAPE)
        return tuple(found)

    def _one_axis(self, axis: int, rank: int, name: str) -> int:
        if not -rank <= axis < rank:
            legal = f"{name} goes from {-rank} to {rank - 1}" if rank else "it has none"
            raise self.error(f"{self.name} has no axis {axis} in an array of rank {rank}: {legal}", name, None, SHAPE)
        return axis - rank if axis >= 0 else axis

    def fit(self, x: Value, axis: int, size: Size) -> Value | None:
        """``x`` with one axis written as ``size``, if the two sizes are provably equal; else None."""
        if x.type.shape[axis] == size:
            return x
        if not self.ctx.same_size(x.type.shape[axis], size):
            return None
        shape = list(x.type.shape)
        shape[axis] = size
        return compose.reshape(self.b, x, shape)

    def aligned(self, values: Sequence[Value]) -> list[Value]:
        """Values whose shapes broadcast in the graph's sense: sizes that are equal by ``where`` are written alike."""
        target = self.ctx.broadcast_shapes(*(v.type.shape for v in values))
        out = []
        for v in values:
            wanted = target[len(target) - v.type.rank :]
            shape = [s if s.constant == 1 else w for s, w in zip(v.type.shape, wanted, strict=True)]
            out.append(compose.reshape(self.b, v, shape))
        return out


def _listed(names: Sequence[str], last: str = "and") -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {last} {names[-1]}"


def _plural(n: int) -> str:
    return f"{n} argument{'' if n == 1 else 's'}"


def _at_most(s: Signature) -> str:
    required = sum(p not in s.defaults for p in s.positional)
    upto = "" if required == len(s.positional) else "at most "
    return f"{upto}{_plural(len(s.positional))} by position" if s.positional else "no arguments by position"


def _at_least(s: Signature) -> str:
    required = sum(p not in s.defaults for p in s.positional)
    return ("at least " if s.rest or required < len(s.positional) else "") + _plural(required)


def _keyword_hint(s: Signature) -> str | None:
    return f"{s.keywords[0]}= goes by keyword" if s.keywords else None
