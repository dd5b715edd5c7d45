"""Comprehensions and index sums: ``[e for i in 0..n]`` and ``sum(e for i in 0..n)``.

The body is lowered with the indices as names. If it can be written with whole arrays, each index becomes an axis
(``vectorize.py``), and a sum of a product becomes one ``einsum``. If not, inner sums are written as loops that carry
whole arrays; and if that fails too, everything is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from keyword import kwlist
from typing import Any, Protocol

from ..compiler.graph.graph import Builder, LoopBody, Node, Value
from ..compiler.graph.ops.common import constant, zeros
from ..compiler.graph.types import At, Item, Range, Size, Type, is_floating, is_integer
from . import other_words
from . import syntax as s
from .builtins.all import BUILTINS
from .builtins.compose import broadcast, cast, reshape, size_scalar
from .context import Binding, Context, lowers, noun, renamed
from .dtypes import kind_of
from .facts import Facts
from .lower_index import literal_step
from .operand import Array, Operand, SizeOperand, TupleOperand, Weak
from .vectorize import Axis, NotVectorizable, vectorize

REDUCTIONS = ("sum", "prod", "max", "min", "any", "all")
_STEPS = {"sum": "add", "prod": "mul", "max": "maximum", "min": "minimum", "any": "or", "all": "and"}
_MAX_ATTEMPTS = 2000


@dataclass(frozen=True)
class Span1D:
    """One index and the range it runs over: ``lower..upper by step``."""

    name: str
    lower: Size
    upper: Size
    step: int

    @property
    def axis(self) -> Axis:
        """The axis it becomes."""
        width = self.upper - self.lower if self.step > 0 else self.lower - self.upper
        by = abs(self.step)
        return Axis(self.name, self.lower, width if by == 1 else (width + (by - 1)) // by, self.step)


def enter_range(ctx: Context, generator: s.Generator) -> Span1D:
    """Bring an index into scope (in place) under a name no size has, with what its range tells."""
    bounds = generator.range
    lower, upper = _bound(ctx, bounds.start), _bound(ctx, bounds.stop)
    step = literal_step(ctx, bounds.step, "US0211", "range") if bounds.step is not None else 1
    text = generator.index.text
    name = renamed(dict.fromkeys([*ctx.unit.sizes, *ctx.facts.indices, *kwlist]), text)  # sizes print as Python reads them
    ctx.facts = inside_range(ctx.facts, name, lower, upper, step)
    ctx.names[text] = Binding(SizeOperand(Size.of(name)), generator.index.span, "index")
    return Span1D(name, ctx.facts.canonical(lower), ctx.facts.canonical(upper), step)


def check_distinct(ctx: Context, generators: Sequence[s.Generator]) -> None:
    """Refuse one index for two generators."""
    seen: set[str] = set()
    for generator in generators:
        if generator.index.text in seen:
            raise ctx.fault("US0208", f"the index {generator.index.text} is used twice", generator.index.span)
        seen.add(generator.index.text)


def inside_range(facts: Facts, name: str, lower: Size, upper: Size, step: int) -> Facts:
    """What is known inside a loop."""
    return facts.with_index(name, lower, upper - 1) if step > 0 else facts.with_index(name, upper + 1, lower)


def _bound(ctx: Context, node: s.Expr) -> Size:
    if (
        isinstance(node, s.Name)
        and not ctx.function
        and node.text not in ctx.names
        and other_words.hint(node.text, list(ctx.names)) is None
    ):
        known = f"`iterations {node.text} = 16` declares a count; a size stands in the type of an input"
        raise ctx.fault("US0201", f"unknown name {node.text}", node.span, known)
    operand = ctx.expr(node)
    if isinstance(operand, SizeOperand) or (isinstance(operand, Weak) and type(operand.number) is int):
        return ctx.size_of(operand)
    hint = "cast it before, or test it inside the loop with `if`" if isinstance(operand, Array) else None
    raise ctx.fault("US0211", f"a bound of a range is made of sizes, indices and literals, not {noun(operand)}", node.span, hint)


# -- the two forms -------------------------------------------------------------------------------------------------


class _Form(Protocol):
    """A comprehension or an index sum: how it is made of its body."""

    def check(self, body: _Body) -> None:
        """Raise the user's errors."""

    def whole(self, body: _Body) -> Operand:
        """With whole arrays. Raises NotVectorizable."""

    def rolled(self, body: _Body) -> Operand:
        """With loops."""


def _lower(ctx: Context, node: s.Comprehension, form: _Form, product: bool = False) -> Operand:
    unit = ctx.unit
    unit.attempts += 1
    if unit.attempts > _MAX_ATTEMPTS:
        raise ctx.fault("US0415", "the comprehensions here expand to too much", node.span, "name a part of it first")
    if unit.lifted:  # inside another one, which decides
        as_loop = unit.roll and isinstance(form, _Sum)
        body = _Body(ctx, node, product, lift=not as_loop)
        form.check(body)
        if as_loop and any((span.lower.names() | span.upper.names()) & unit.lifted for span in body.spans):
            raise NotVectorizable("bounds that depend on the index of the enclosing one")
        return form.rolled(body) if as_loop else form.whole(body)
    made: list[Operand] = []

    def attempt() -> Sequence[Value]:
        body = _Body(ctx, node, product, lift=True)
        form.check(body)
        made.append(form.whole(body))
        return []

    for roll in (False, True):
        unit.roll = roll
        try:
            nodes = ctx.builder.region([], attempt).nodes
        except NotVectorizable:
            continue
        for inner in nodes:
            ctx.builder.append(inner)
        return made[0]
    return form.rolled(_Body(ctx, node, product, lift=False))


@lowers(s.Comprehension)
def _array(ctx: Context, node: s.Comprehension) -> Operand:
    return _lower(ctx, node, _ArrayOf(ctx))


def index_sum(ctx: Context, name: str, node: s.Comprehension) -> Operand:
    """``sum(e for ...)`` and its relatives."""
    if name not in REDUCTIONS:
        raise ctx.fault(
            "US0416", f"{name} takes no generator", node.span, f"in brackets it is an array: {name}([... for i in 0..n])"
        )
    return _lower(ctx, node, _Sum(ctx, name), product=name == "sum")


@dataclass(frozen=True)
class _ArrayOf:
    ctx: Context

    def check(self, body: _Body) -> None:
        for span in body.spans:
            inner = (span.lower.names() | span.upper.names()) & {other.name for other in body.spans}
            if inner:
                raise self.ctx.fault(
                    "US0416", f"the range of {span.name} depends on {', '.join(sorted(inner))}: the rows have different lengths",
                    body.node.span, "take the whole range and choose with where(...)",
                )  # fmt: skip
            if not self.ctx.facts.is_nonneg(span.axis.count):
                raise self.ctx.fault("US0416", f"the range of {span.name} can have a negative length, {span.axis.count}",
                                     body.node.span, "add a `where` on the sizes")  # fmt: skip
            if span.axis.count.names() & self.ctx.unit.lifted:
                raise NotVectorizable("rows of different lengths")

    def whole(self, body: _Body) -> Operand:
        (value,), (axes,) = body.lift([body.element])
        return Array(_spread(self.ctx.builder, value, axes, body.counts))

    def rolled(self, body: _Body) -> Operand:
        self.check(body)
        element = body.element.type
        start = zeros(self.ctx.builder, Type(element.dtype, (*body.counts, *element.shape)))
        items = (*map(_position, body.spans), *(Range(Size.of(0), n) for n in element.shape))

        def step(b: Builder, state: Value, element: Value) -> Value:
            out: Value = b.op("update", state, element, items=items, mode="set")
            return out

        return Array(body.loops(start, step))


@dataclass(frozen=True)
class _Sum:
    ctx: Context
    name: str

    def check(self, body: _Body) -> None:
        dtype, where = body.dtype, body.node.body.span
        if self.name in ("any", "all") and dtype != "bool":
            raise self.ctx.fault("US0306", f"{self.name} takes bool values, not {dtype}", where, "compare: x[i] > 0")
        if self.name not in ("any", "all") and dtype in ("bool", "key"):
            raise self.ctx.fault("US0303", f"{self.name} of {dtype} values", where, "cast them first: cast(x, real)")
        if self.name in ("max", "min"):
            if kind_of(dtype) == "complex":
                raise self.ctx.fault("US0303", "complex numbers have no order", where)
            if not all(self.ctx.facts.less(Size.of(0), body.inner.facts.canonical(span.axis.count)) for span in body.spans):
                raise self.ctx.fault("US0416", f"{self.name} over a range that can be empty", body.node.span,
                                     "add a `where`, or put a value beside it in a loop")  # fmt: skip

    def whole(self, body: _Body) -> Operand:
        ctx, indices = self.ctx, self.ctx.facts.indices | {span.name for span in body.spans}
        for span in body.spans:
            if span.axis.count.names() & indices or span.lower.names() & {o.name for o in body.spans}:
                raise NotVectorizable("a length that depends on an index")
            if not ctx.facts.is_nonneg(span.axis.count):
                raise NotVectorizable("a range that may run backwards")
        if len(body.factors) > 1:
            return body.contracted()
        (value,), (axes,) = body.lift([body.element])
        full = _spread(ctx.builder, value, axes, body.counts)
        axis = TupleOperand(tuple(Weak(n) for n in range(len(body.spans))))
        out = BUILTINS[self.name].lower(ctx, (Array(full),), {"axis": axis})
        assert not isinstance(out, tuple)
        return out

    def rolled(self, body: _Body) -> Operand:
        self.check(body)
        b = self.ctx.builder
        dtype = "i64" if self.name in ("sum", "prod") and is_integer(body.dtype) else body.dtype
        start = broadcast(b, constant(b, _identity(self.name, dtype), dtype), body.element.type.shape)

        def step(b: Builder, state: Value, value: Value) -> Value:
            out: Value = b.op(_STEPS[self.name], state, cast(b, value, dtype))
            return out

        return Array(body.loops(start, step))


def _identity(name: str, dtype: str) -> float:
    if name in ("sum", "any", "prod", "all"):
        return 1 if name in ("prod", "all") else 0
    if is_floating(dtype):
        return -math.inf if name == "max" else math.inf
    top: int = 2 ** (int(dtype[1:]) - 1)
    return -top if name == "max" else top - 1


# -- the body ------------------------------------------------------------------------------------------------------


class _Body:
    """The body lowered once. ``nodes`` are not in the graph yet. ``element`` is its value for one choice of the
    indices; if it is a product of scalars (and ``product`` was asked for) ``factors`` are its factors, and
    ``element`` the first of them. ``lift``: the indices will become axes."""

    def __init__(self, ctx: Context, node: s.Comprehension, product: bool, lift: bool) -> None:
        self.ctx, self.node = ctx, node
        self.inner = ctx.inside()
        self.spans: list[Span1D] = []
        check_distinct(ctx, node.generators)
        for generator in node.generators:
            with ctx.at(generator.span):
                self.spans.append(enter_range(self.inner, generator))
        self.factors: list[Value] = []
        before = ctx.unit.lifted
        if lift:
            ctx.unit.lifted = before | {span.name for span in self.spans}
        try:
            self.nodes = ctx.builder.region([], lambda: self._evaluate(product)).nodes
        finally:
            ctx.unit.lifted = before
        self.element = self.factors[0]
        self.dtype = self.element.type.dtype
        self.counts = [span.axis.count for span in self.spans]

    def _evaluate(self, product: bool) -> Sequence[Value]:
        parts = _factors(self.node.body) if product else [self.node.body]
        if len(parts) > 1:
            operands = [self.inner.expr(part) for part in parts]
            if all(not isinstance(o, Array) or (o.type.rank == 0 and o.type.dtype not in ("bool", "key")) for o in operands):
                self.factors = self.inner.promote(*operands)[0]
                return self.factors
        self.factors = [self.inner.array(self.node.body)]
        return self.factors

    def lift(self, values: Sequence[Value]) -> tuple[list[Value], list[list[int]]]:
        """Values with one leading axis per index they depend on, and which indices these are (by position)."""
        b = self.ctx.builder
        nodes: Sequence[Node] = self.nodes
        axes: list[list[int]] = [[] for _ in values]
        current = list(values)
        for place in range(len(self.spans) - 1, -1, -1):
            turned: list[tuple[Value, bool]] = []

            def turn(nodes: Sequence[Node] = nodes, place: int = place, turned: list[Any] = turned) -> Sequence[Value]:
                turned += vectorize(b, nodes, current, self.spans[place].axis, b.types)
                return []

            nodes = b.region([], turn).nodes
            for n, (value, has_axis) in enumerate(turned):
                current[n] = value
                if has_axis:
                    axes[n].insert(0, place)
        for node in nodes:
            b.append(node)
        return current, axes

    def contracted(self) -> Operand:
        """The sum of the product of the factors as one ``einsum``."""
        b = self.ctx.builder
        values, axes = self.lift(self.factors)
        dtype = "i64" if is_integer(self.dtype) else self.dtype
        values = [cast(b, v, dtype) for v in values]
        moving = [n for n, a in enumerate(axes) if a]
        if len(moving) < 2:
            spread = [_spread(b, v, a, self.counts) if a else v for v, a in zip(values, axes, strict=True)]
            total = _product(b, spread)
            total = broadcast(b, total, self.counts)
            return Array(b.op("sum", total, axes=tuple(range(-len(self.spans), 0))))
        left = ",".join("".join(chr(ord("a") + a) for a in axes[n]) for n in moving)
        out: Value = b.op("einsum", *(values[n] for n in moving), spec=f"{left}->")
        used = {a for n in moving for a in axes[n]}
        rest = [v for n, v in enumerate(values) if n not in moving]
        rest += [size_scalar(b, count, dtype) for n, count in enumerate(self.counts) if n not in used]
        return Array(_product(b, [out, *rest]))

    def loops(self, start: Value, step: Callable[[Builder, Value, Value], Value]) -> Value:
        """Loops over the indices that carry one value."""
        b = self.ctx.builder

        def level(depth: int, state: Value) -> Value:
            if depth == len(self.spans):
                for node in self.nodes:
                    b.append(node)
                return step(b, state, _product(b, self.factors))
            span = self.spans[depth]
            (out,) = b.loop(
                span.name, span.lower, span.upper, [state], lambda s: LoopBody((level(depth + 1, s),)), step=span.step
            )
            return out

        return level(0, start)


def _product(b: Builder, values: Sequence[Value]) -> Value:
    product = values[0]
    for other in values[1:]:
        product = b.op("mul", product, other)
    return product


def _factors(node: s.Expr) -> list[s.Expr]:
    """The factors of a product."""
    parts: list[s.Expr] = []
    while isinstance(node, s.Binary) and node.op == "*":
        parts.insert(0, node.right)
        node = node.left
    return [node, *parts]


def _spread(b: Builder, value: Value, axes: Sequence[int], counts: Sequence[Size]) -> Value:
    """A value with leading axes for some indices as one with axes for all."""
    core = value.type.shape[len(axes) :]
    spaced = [counts[n] if n in axes else Size.of(1) for n in range(len(counts))]
    return broadcast(b, reshape(b, value, (*spaced, *core)), (*counts, *core))


def _position(span: Span1D) -> Item:
    offset = Size.of(span.name) - span.lower
    return At(offset if span.step == 1 else offset // span.step)
