"""The syntax tree: immutable nodes, each with the span of the text it was read from.

Spans take no part in equality, so two spellings of one program have equal trees.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..compiler.diagnostics import Source, Span

#: Words with a meaning of their own. ``where`` is also the name of a builtin.
KEYWORDS = frozenset(
    "use fn algorithm given iterations param module objective for in by until if elif else return assert where and or not True False None".split()
)
TYPE_NAMES = frozenset("real complex f16 bf16 f32 f64 c64 c128 i8 i16 i32 i64 bool key weights".split())


@dataclass(frozen=True)
class Node:
    """Anything with a place in the text."""

    span: Span = field(compare=False, repr=False)


# -- expressions -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Name(Node):
    """An identifier."""

    text: str


@dataclass(frozen=True)
class Number(Node):
    """``1``, ``0.5``, ``2j``, ``True``: the value as Python has it."""

    value: int | float | complex | bool


@dataclass(frozen=True)
class String(Node):
    """A string literal."""

    text: str


@dataclass(frozen=True)
class NoneLiteral(Node):
    """``None``."""


@dataclass(frozen=True)
class Unary(Node):
    """``-x``, ``+x``, ``not x``."""

    op: str
    operand: Expr


@dataclass(frozen=True)
class Binary(Node):
    """``+ - * / // % ** @ and or``."""

    op: str
    left: Expr
    right: Expr


@dataclass(frozen=True)
class Compare(Node):
    """``a < b <= c``: one more operand than operators."""

    ops: tuple[str, ...]
    operands: tuple[Expr, ...]


@dataclass(frozen=True)
class Argument(Node):
    """One argument of a call; ``name`` for ``axis=0``."""

    name: Name | None
    value: Expr


@dataclass(frozen=True)
class Call(Node):
    """A call. A generator, ``sum(e for i in 0..n)``, is the only argument of its call."""

    function: Expr
    arguments: tuple[Argument, ...]


@dataclass(frozen=True)
class Slice(Node):
    """``start:stop:step`` inside an index."""

    start: Expr | None
    stop: Expr | None
    step: Expr | None


@dataclass(frozen=True)
class EllipsisItem(Node):
    """``...`` inside an index."""


@dataclass(frozen=True)
class Index(Node):
    """``a[i, 1:]``."""

    value: Expr
    items: tuple[Expr | Slice | EllipsisItem, ...]


@dataclass(frozen=True)
class Attribute(Node):
    """``x.T``, ``topk(x, 3).mask``, ``prox.soft``."""

    value: Expr
    name: Name


@dataclass(frozen=True)
class TupleExpr(Node):
    """``a, b`` or ``(a, b)``."""

    items: tuple[Expr, ...]


@dataclass(frozen=True)
class ListExpr(Node):
    """``[a, b]``: parsed for the sake of its error message."""

    items: tuple[Expr, ...]


@dataclass(frozen=True)
class RangeExpr(Node):
    """``start..stop by step``."""

    start: Expr
    stop: Expr
    step: Expr | None


@dataclass(frozen=True)
class Generator(Node):
    """``i in 0..n``."""

    index: Name
    range: RangeExpr


@dataclass(frozen=True)
class Comprehension(Node):
    """``e for i in 0..n, j in 0..m``: an array if in ``brackets``, else an index sum as the argument of a call."""

    body: Expr
    generators: tuple[Generator, ...]
    brackets: bool = False


Expr = (
    Name
    | Number
    | String
    | NoneLiteral
    | Unary
    | Binary
    | Compare
    | Call
    | Index
    | Attribute
    | TupleExpr
    | ListExpr
    | Comprehension
)

# -- types -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TypeExpr(Node):
    """``real[m, n]``; ``of`` is the module of ``weights(f)``."""

    name: Name
    sizes: tuple[Expr, ...]
    of: Name | None = None


# -- statements ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Assign(Node):
    """``x = e``, ``a, b = e``, ``A[i] = e``; ``type`` for ``x: real[n] = e``."""

    targets: tuple[Expr, ...]
    value: Expr
    type: TypeExpr | None = None


@dataclass(frozen=True)
class Augment(Node):
    """``x += e``; ``op`` is ``+ - * /``."""

    target: Expr
    op: str
    value: Expr


@dataclass(frozen=True)
class For(Node):
    """``for i in 0..n, j in 0..i until c:``."""

    generators: tuple[Generator, ...]
    until: Expr | None
    body: tuple[Statement, ...]


@dataclass(frozen=True)
class Branch(Node):
    """One condition of an ``if`` and its block."""

    condition: Expr
    body: tuple[Statement, ...]


@dataclass(frozen=True)
class If(Node):
    """``if``/``elif`` branches and the ``else`` block (empty if there is none)."""

    branches: tuple[Branch, ...]
    orelse: tuple[Statement, ...]


@dataclass(frozen=True)
class Return(Node):
    """``return x, z``."""

    values: tuple[Expr, ...]


@dataclass(frozen=True)
class Assert(Node):
    """``assert condition, "message"``."""

    condition: Expr
    message: String | None


@dataclass(frozen=True)
class ExprStatement(Node):
    """An expression alone on its line: an error, kept for its message."""

    value: Expr


# -- declarations ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Iterations(Node):
    """``iterations K = 16``."""

    name: Name
    value: Expr


@dataclass(frozen=True)
class ConstraintExpr(Node):
    """``positive`` or ``interval(0.1, 2)``."""

    name: Name
    arguments: tuple[Expr, ...]


@dataclass(frozen=True)
class ParamDecl(Node):
    """``param step[K]: positive = init``."""

    name: Name
    sizes: tuple[Expr, ...]
    constraint: ConstraintExpr | None
    init: Expr | None


@dataclass(frozen=True)
class ModuleDecl(Node):
    """``module f[K]: (real[n]) -> real[n]``."""

    name: Name
    count: Expr | None
    arguments: tuple[TypeExpr, ...]
    results: tuple[TypeExpr, ...]


@dataclass(frozen=True)
class Objective(Node):
    """``objective J(x) = e``."""

    name: Name
    parameters: tuple[Name, ...]
    body: tuple[Statement, ...]


Declaration = Iterations | ParamDecl | ModuleDecl | Objective
DECLARATIONS = (Iterations, ParamDecl, ModuleDecl, Objective)
Statement = Assign | Augment | For | If | Return | Assert | ExprStatement | Iterations | ParamDecl | ModuleDecl | Objective

# -- top level -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Use(Node):
    """``use prox: soft`` or ``use "file.us"``; ``names`` empty for the whole file."""

    path: str
    is_file: bool
    names: tuple[Name, ...]


@dataclass(frozen=True)
class Fn(Node):
    """``fn f(a, b) = e`` or with a block; the expression form has one ``return``."""

    name: Name
    parameters: tuple[Name, ...]
    body: tuple[Statement, ...]

    @property
    def returns(self) -> Return | None:
        """The last statement, if it is a ``return``."""
        last = self.body[-1]
        return last if isinstance(last, Return) else None


@dataclass(frozen=True)
class InputDecl(Node):
    """``given A: real[m, n]``."""

    name: Name
    type: TypeExpr
    given: bool


@dataclass(frozen=True)
class AlgorithmDecl(Node):
    """An algorithm as written. ``where`` are its conditions; declarations stand first in ``body``."""

    name: Name
    inputs: tuple[InputDecl, ...]
    results: tuple[TypeExpr, ...]
    where: tuple[Expr, ...]
    body: tuple[Statement, ...]


@dataclass(frozen=True)
class Program(Node):
    """A file."""

    items: tuple[Use | Fn | AlgorithmDecl, ...]

    @property
    def source(self) -> Source:
        """The text it was read from."""
        return self.span.source
