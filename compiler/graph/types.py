"""Types of values: a dtype and a shape of symbolic sizes.

A :class:`Size` is an integer polynomial over names (sizes and loop indices) whose atoms may
also be ``floor(a / b)``, ``a % b``, ``min`` and ``max``. It is kept in one normal form, so
equal polynomials compare equal, and it prints to text that :func:`parse_size` reads back.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Union

REALS = ("f16", "bf16", "f32", "f64")
#: Those that are for storage; arithmetic is f32.
HALF = ("f16", "bf16")
COMPLEXES = ("c64", "c128")
INTEGERS = ("i8", "i16", "i32", "i64")
#: Every dtype. ``real`` and ``complex`` stand for the precision chosen when a program is used.
DTYPES = ("real", "complex", *REALS, *COMPLEXES, *INTEGERS, "bool", "key")
#: Bytes of an element; ``real`` and ``complex`` count as single precision.
BYTES = {
    **dict.fromkeys(("bool", "i8"), 1),
    **dict.fromkeys(("f16", "bf16", "i16"), 2),
    **dict.fromkeys(("real", "f32", "i32"), 4),
    **dict.fromkeys(("complex", "f64", "i64", "c64", "key"), 8),
    "c128": 16,
}


def is_floating(dtype: str) -> bool:
    """True of real floating-point dtypes (``real`` included), false of complex ones."""
    return dtype == "real" or dtype in REALS


def is_complex(dtype: str) -> bool:
    """True of ``complex``, ``c64`` and ``c128``."""
    return dtype == "complex" or dtype in COMPLEXES


def is_integer(dtype: str) -> bool:
    """True of the signed integer dtypes."""
    return dtype in INTEGERS


@dataclass(frozen=True, order=True)
class SizeFn:
    """An atom that is not a name: ``op`` is ``//``, ``%``, ``min`` or ``max``."""

    op: str
    args: tuple[Size, ...]

    def names(self) -> frozenset[str]:
        """All names that occur in the arguments."""
        return frozenset().union(*(a.names() for a in self.args))

    def __str__(self) -> str:
        if self.op in ("min", "max"):
            return f"{self.op}({', '.join(map(str, self.args))})"
        left, right = (f"({a})" if a.constant is None and not a.is_name else str(a) for a in self.args)
        return f"{left} {self.op} {right}"


Atom = str | SizeFn
Monomial = tuple[Atom, ...]  # a sorted product of atoms, with repetition
SizeLike = Union["Size", int, str]


def _atom_key(atom: Atom) -> tuple[int, str]:
    return (0, atom) if isinstance(atom, str) else (1, str(atom))


def _monomial_key(item: tuple[Monomial, int]) -> tuple[int, list[tuple[int, str]]]:
    return (-len(item[0]), [_atom_key(a) for a in item[0]])


@dataclass(frozen=True)
class Size:
    """An integer polynomial in normal form: ``terms`` are (monomial, coefficient), none zero."""

    terms: tuple[tuple[Monomial, int], ...]

    @staticmethod
    def of(value: SizeLike) -> Size:
        """A size from an int, a name, or a size."""
        if isinstance(value, Size):
            return value
        if isinstance(value, int):
            return Size((((), value),) if value else ())
        return Size((((value,), 1),))

    @staticmethod
    def _collect(terms: Mapping[Monomial, int]) -> Size:
        kept = [term for term in terms.items() if term[1]]
        return Size(tuple(sorted(kept, key=_monomial_key) if len(kept) > 1 else kept))

    @property
    def constant(self) -> int | None:
        """The value if it is a literal, else None."""
        if not self.terms:
            return 0
        return self.terms[0][1] if self.terms[0][0] == () else None

    @property
    def is_name(self) -> bool:
        """True of a bare name."""
        return (
            len(self.terms) == 1 and self.terms[0][1] == 1 and len(self.terms[0][0]) == 1 and isinstance(self.terms[0][0][0], str)
        )

    def names(self) -> frozenset[str]:
        """All names that occur, inside ``min``, ``//`` and the like too."""
        found: set[str] = set()
        for monomial, _ in self.terms:
            for atom in monomial:
                if isinstance(atom, str):
                    found.add(atom)
                else:
                    found.update(*(a.names() for a in atom.args))
        return frozenset(found)

    def __add__(self, other: SizeLike) -> Size:
        terms = dict(self.terms)
        for m, c in Size.of(other).terms:
            terms[m] = terms.get(m, 0) + c
        return Size._collect(terms)

    __radd__ = __add__

    def __neg__(self) -> Size:
        return Size(tuple((m, -c) for m, c in self.terms))

    def __sub__(self, other: SizeLike) -> Size:
        return self + (-Size.of(other))

    def __rsub__(self, other: SizeLike) -> Size:
        return Size.of(other) - self

    def __mul__(self, other: SizeLike) -> Size:
        terms: dict[Monomial, int] = {}
        for m, c in self.terms:
            for n, d in Size.of(other).terms:
                key = tuple(sorted(m + n, key=_atom_key))
                terms[key] = terms.get(key, 0) + c * d
        return Size._collect(terms)

    __rmul__ = __mul__

    def __floordiv__(self, other: SizeLike) -> Size:
        """Floor division. Raises ZeroDivisionError for a literal zero divisor."""
        divisor = Size.of(other)
        if divisor.constant == 0:
            raise ZeroDivisionError("size divided by zero")
        if divisor.constant is not None:
            d = divisor.constant
            if all(c % d == 0 for _, c in self.terms):
                return Size._collect({m: c // d for m, c in self.terms})
            if self.constant is not None:
                return Size.of(self.constant // d)
        if self == divisor:
            return Size.of(1)
        return Size((((SizeFn("//", (self, divisor)),), 1),))

    def __mod__(self, other: SizeLike) -> Size:
        """Remainder with the divisor's sign, as in Python."""
        divisor = Size.of(other)
        if divisor.constant == 0:
            raise ZeroDivisionError("size modulo zero")
        if divisor.constant is not None:
            if all(c % divisor.constant == 0 for _, c in self.terms):
                return Size.of(0)
            if self.constant is not None:
                return Size.of(self.constant % divisor.constant)
        if self == divisor:
            return Size.of(0)
        return Size((((SizeFn("%", (self, divisor)),), 1),))

    def substitute(self, env: Mapping[str, SizeLike]) -> Size:
        """Replace names by sizes; names not in ``env`` stay."""
        if not (self.names() & env.keys()):
            return self
        total = Size.of(0)
        for monomial, c in self.terms:
            product = Size.of(c)
            for atom in monomial:
                if isinstance(atom, str):
                    product = product * Size.of(env.get(atom, atom))
                else:
                    product = product * size_fn(atom.op, *(a.substitute(env) for a in atom.args))
            total = total + product
        return total

    def evaluate(self, env: Mapping[str, int]) -> int:
        """The integer value. Raises KeyError naming an unbound name."""
        total = 0
        for monomial, c in self.terms:
            product = c
            for atom in monomial:
                product *= env[atom] if isinstance(atom, str) else _FNS[atom.op](*(a.evaluate(env) for a in atom.args))
            total += product
        return total

    def affine(self) -> tuple[dict[Atom, int], int] | None:
        """(coefficient of each atom, constant) when no monomial has two atoms, else None."""
        coefficients: dict[Atom, int] = {}
        constant = 0
        for monomial, c in self.terms:
            if len(monomial) > 1:
                return None
            if monomial:
                coefficients[monomial[0]] = c
            else:
                constant = c
        return coefficients, constant

    def __lt__(self, other: Size) -> bool:
        return str(self) < str(other)

    def __str__(self) -> str:
        if not self.terms:
            return "0"
        out = ""
        for monomial, c in self.terms:
            atoms = " * ".join(a if isinstance(a, str) else (str(a) if a.op in ("min", "max") else f"({a})") for a in monomial)
            body = str(abs(c)) if not monomial else atoms if abs(c) == 1 else f"{abs(c)} * {atoms}"
            out += (f" - {body}" if c < 0 else f" + {body}") if out else (f"-{body}" if c < 0 else body)
        return out

    __repr__ = __str__


_FNS: dict[str, Callable[..., int]] = {"//": lambda a, b: a // b, "%": lambda a, b: a % b, "min": min, "max": max}


def size_fn(op: str, *args: SizeLike) -> Size:
    """``//``, ``%``, ``min`` or ``max`` of sizes, simplified where all is known."""
    sizes = tuple(Size.of(a) for a in args)
    if op == "//":
        return sizes[0] // sizes[1]
    if op == "%":
        return sizes[0] % sizes[1]
    inner = [a.terms[0][0][0] if len(a.terms) == 1 and a.terms[0][1] == 1 and len(a.terms[0][0]) == 1 else None for a in sizes]
    sizes = tuple(b for a, fn in zip(sizes, inner) for b in (fn.args if isinstance(fn, SizeFn) and fn.op == op else (a,)))
    flat = tuple(sorted(set(sizes)))
    if len(flat) == 1:
        return flat[0]
    differences = [(a - flat[0]).constant for a in flat]
    if all(d is not None for d in differences):  # all differ by literals: one is the extreme
        pick = _FNS[op](d for d in differences if d is not None)
        return flat[differences.index(pick)]
    return Size((((SizeFn(op, flat),), 1),))


@lru_cache(maxsize=4096)
def parse_size(text: str) -> Size:
    """Read a size as :class:`Size` prints it. Raises ValueError on anything else."""
    try:
        return _from_ast(ast.parse(text.strip(), mode="eval").body)
    except SyntaxError:
        raise ValueError(f"not a size: {text!r}") from None


def _from_ast(node: ast.expr) -> Size:
    match node:
        case ast.Constant(value=int() as value):
            return Size.of(value)
        case ast.Name(id=name):
            return Size.of(name)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_from_ast(operand)
        case ast.BinOp(left=left, op=op, right=right):
            a, b = _from_ast(left), _from_ast(right)
            if isinstance(op, ast.Add):
                return a + b
            if isinstance(op, ast.Sub):
                return a - b
            if isinstance(op, ast.Mult):
                return a * b
            if isinstance(op, ast.FloorDiv):
                return a // b
            if isinstance(op, ast.Mod):
                return a % b
        case ast.Call(func=ast.Name(id=("min" | "max") as op_name), args=args, keywords=[]):
            return size_fn(op_name, *(_from_ast(a) for a in args))
        case ast.Call(func=ast.Name(id="weights"), args=[ast.Name() | ast.Attribute() as module], keywords=[]):
            return Size.of(weights_size(ast.unparse(module)))
    raise ValueError(f"not a size: {ast.unparse(node)!r}")


def weights_size(module: str) -> str:
    """The size name that counts the weights of a module: ``weights(f)``. No user's size can be called so."""
    return f"weights({module})"


def weights_of(type: Type) -> str | None:
    """The module whose weights have this type, or None for every other type."""
    size = type.shape[0] if type.rank == 1 and type.dtype == "real" else None
    text = str(size) if size is not None and size.is_name else ""
    return text.removeprefix("weights(").removesuffix(")") if text.endswith(")") else None


def range_length(lower: Size, upper: Size, step: int) -> Size:
    """Number of values of ``lower..upper by step`` (a count that is negative means none)."""
    distance = upper - lower if step > 0 else lower - upper
    return (distance + (abs(step) - 1)) // abs(step)


@dataclass(frozen=True)
class Type:
    """A dtype and a shape. Rank 0 is a scalar."""

    dtype: str
    shape: tuple[Size, ...] = ()

    @staticmethod
    def of(dtype: str, *shape: SizeLike) -> Type:
        """A type from anything that makes sizes."""
        return Type(dtype, tuple(Size.of(s) for s in shape))

    @property
    def rank(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def numel(self) -> Size:
        """The number of elements, as a size."""
        total = Size.of(1)
        for s in self.shape:
            total = total * s
        return total

    def with_shape(self, *shape: SizeLike) -> Type:
        """The same dtype in another shape."""
        return Type.of(self.dtype, *shape)

    def with_dtype(self, dtype: str) -> Type:
        """The same shape in another dtype."""
        return Type(dtype, self.shape)

    def substitute(self, env: Mapping[str, SizeLike]) -> Type:
        """Sizes replaced in the shape."""
        return Type(self.dtype, tuple(s.substitute(env) for s in self.shape))

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class At:
    """Index one position of an axis; the axis goes away."""

    index: Size

    def __str__(self) -> str:
        return str(self.index)


@dataclass(frozen=True)
class Range:
    """``size`` positions ``start, start + step, ...`` of an axis (``step`` may be negative)."""

    start: Size
    size: Size
    step: int = 1

    def __str__(self) -> str:
        return f"{self.start}:{self.size}:{self.step}"  # start : count : step


@dataclass(frozen=True)
class Pick:
    """Positions given by extra operand ``operand`` (0 = the first after the array and, in an update, the value)."""

    operand: int

    def __str__(self) -> str:
        return f"@{self.operand}"


Item = At | Range | Pick
