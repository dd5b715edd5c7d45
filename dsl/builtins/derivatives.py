"""Derivatives of user functions: ``grad(f, x)`` is a function of f's arguments.

    grad(f, x)(args)      gradient          of a scalar f
    vjp(f, x)(g, args)    J^T g             one reverse sweep
    jvp(f, x)(v, args)    f, J v            the transpose of u -> J^T u, by a second reverse sweep
    hvp(f, x)(v, args)    (d/dx) <grad, v>  a reverse sweep over the gradient

Each is a graph of its own, so they nest: what grad returns may be handed to grad again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...compiler.graph.activity import differentiable
from ...compiler.graph.adjoint import gradient, value_and_gradient
from ...compiler.graph.graph import Builder, Graph, Value
from ...compiler.graph.ops.common import constant, zeros
from ...compiler.graph.simplify import simplify
from ...compiler.graph.types import is_floating
from ...compiler.nearest import nearest
from ..operand import (
    Array,
    BuiltinError,
    CallableOperand,
    FunctionOperand,
    Lowering,
    NameOperand,
    Operand,
    SizeOperand,
    TupleOperand,
    Weak,
    WeakExpression,
    noun,
)
from . import compose
from .call import COUNT, KEYWORD, KIND, SHAPE, Call
from .table import Result, builtin

FAMILY = "differentiation"
#: The argument that comes before those of the function.
_EXTRA = {"jvp": "v", "vjp": "g", "hvp": "v"}


@dataclass(frozen=True)
class Derivative(CallableOperand):
    """``kind(fn, parameter)``, waiting for its arguments."""

    kind: str = ""
    fn: FunctionOperand | Derivative | None = None
    parameter: str = ""

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the arguments it is called with."""
        assert self.fn is not None
        extra = (_EXTRA[self.kind],) if self.kind in _EXTRA else ()
        return extra + self.fn.parameters

    @property
    def position(self) -> int:
        """Where, among the function's own arguments, the variable stands."""
        assert self.fn is not None
        return self.fn.parameters.index(self.parameter)


def derivative(kind: str, fn: FunctionOperand | Derivative, parameter: str) -> Derivative:
    """The derivative as something to call."""
    description = f"{kind}({shown(fn)}, {parameter})"

    def call(ctx: Lowering, args: tuple[Operand, ...], kwargs: dict[str, Operand]) -> Operand | tuple[Operand, ...]:
        made = derivative(kind, fn, parameter)
        bound = bind_arguments(description, made.parameters, args, kwargs, extra=int(kind in _EXTRA))
        graph, arrays = function_graph(ctx, made, bound)
        b = ctx.builder
        results = tuple(Array(v) for v in b.inline(graph, arrays))
        return results[0] if len(results) == 1 else results

    return Derivative(description, call, kind, fn, parameter)


def shown(fn: FunctionOperand | Derivative) -> str:
    """A function as messages name it."""
    return fn.name if isinstance(fn, FunctionOperand) else fn.description


def bind_arguments(
    what: str, names: Sequence[str], args: Sequence[Operand], kwargs: Mapping[str, Operand], extra: int = 0
) -> list[Operand]:
    """Arguments in the order of the parameters ``names``, of which the first ``extra`` go by position only."""
    if len(args) > len(names):
        raise BuiltinError(f"{what} takes {len(names)} arguments ({', '.join(names)}), not {len(args)}", len(names), None, COUNT)
    bound: dict[int, Operand] = dict(enumerate(args))
    for key, operand in kwargs.items():
        if key not in names[extra:]:
            close = nearest(key, names[extra:])
            raise BuiltinError(f"{what} has no argument {key}", key, f"{close}=" if close else None, KEYWORD)
        place = names.index(key, extra)
        if place in bound:
            raise BuiltinError(f"{what} got {key} twice, by position and by keyword", key, None, KEYWORD)
        bound[place] = operand
    missing = [n for i, n in enumerate(names) if i not in bound]
    if missing:
        raise BuiltinError(f"{what} takes the arguments ({', '.join(names)}); missing: {', '.join(missing)}", None, None, COUNT)
    return [bound[i] for i in range(len(names))]


def function_graph(ctx: Lowering, made: FunctionOperand | Derivative, operands: Sequence[Operand]) -> tuple[Graph, list[Value]]:
    """The function on operands as a graph of its array operands, and these. Its own variable becomes an array."""
    if isinstance(made, FunctionOperand):
        return ctx.fn_graph(made, operands), [o.value for o in operands if isinstance(o, Array)]
    assert made.fn is not None
    extra, own = (operands[0], list(operands[1:])) if made.kind in _EXTRA else (None, list(operands))
    own[made.position] = _variable(ctx, made, own[made.position])
    graph, arrays = function_graph(ctx, made.fn, own)
    graph = simplify(graph)  # what a loop makes again in each iteration goes before it, and needs no adjoint inside
    wrt = sum(isinstance(o, Array) for o in own[: made.position])
    if made.kind in ("grad", "value_and_grad", "hvp"):
        _need_scalar(made, graph)
    if made.kind == "grad":
        return _gradient_graph(ctx, made, graph, wrt, with_value=False), arrays
    if made.kind == "value_and_grad":
        return _gradient_graph(ctx, made, graph, wrt, with_value=True), arrays
    assert extra is not None
    if made.kind == "vjp":
        cotangents = _cotangents(ctx, made, extra, graph)
        return _vjp_graph(made, graph, wrt, ctx), [*cotangents, *arrays]
    direction = _like(ctx, made, extra, arrays[wrt])
    if made.kind == "hvp":
        slope = _gradient_graph(ctx, made, graph, wrt, with_value=False)
        return _vjp_graph(made, slope, wrt, ctx), [direction, *arrays]
    return _jvp_graph(ctx, made, graph, wrt), [direction, *arrays]


def _variable(ctx: Lowering, made: Derivative, operand: Operand) -> Array:
    place = made.position + (1 if made.kind in _EXTRA else 0)
    if isinstance(operand, (Weak, SizeOperand, WeakExpression)):
        return Array(ctx.as_value(operand, "real"))
    if not isinstance(operand, Array) or not differentiable(operand.type):
        raise BuiltinError(f"{made.description} needs {made.parameter} as real numbers, not {noun(operand)}", place, None, KIND)
    return operand


def _need_scalar(made: Derivative, graph: Graph) -> None:
    assert made.fn is not None
    if len(graph.results) != 1 or graph.result_types[0].rank or not is_floating(graph.result_types[0].dtype):
        what = f"{len(graph.results)} values" if len(graph.results) != 1 else noun(Array(Value("", graph.result_types[0])))
        raise BuiltinError(
            f"{made.description} needs a function whose value is one real number, and this one gives {what}",
            None,
            "reduce it: sum(...), or take vjp with a weight for each element",
            SHAPE,
        )


def _builder(ctx: Lowering, made: Derivative, graph: Graph, first: Sequence[Value] = ()) -> Builder:
    b = Builder(f"{made.kind}_{graph.name}")
    b.span = ctx.builder.span
    for value in (*first, *graph.inputs):
        b.input(value.name, value.type)
    return b


def _gradient_graph(ctx: Lowering, made: Derivative, graph: Graph, wrt: int, with_value: bool) -> Graph:
    b = _builder(ctx, made, graph)
    one = constant(b, 1, graph.result_types[0].dtype)
    values, slopes = value_and_gradient(b, graph, b.inputs, [wrt], [one])
    return b.finish([*values, *slopes] if with_value else slopes)


def _vjp_graph(made: Derivative, graph: Graph, wrt: int, ctx: Lowering) -> Graph:
    """Inputs: one cotangent per differentiable result, then those of ``graph``."""
    given = [Value("g", t) for t in graph.result_types if differentiable(t)]
    b = _builder(ctx, made, graph, given)
    free = iter(b.inputs[: len(given)])
    cotangents = [next(free) if differentiable(t) else None for t in graph.result_types]
    return b.finish(gradient(b, graph, b.inputs[len(given) :], [wrt], cotangents))


def _jvp_graph(ctx: Lowering, made: Derivative, graph: Graph, wrt: int) -> Graph:
    """Inputs: the direction, then those of ``graph``; results: values, then directional derivatives."""
    back = _vjp_graph(made, graph, wrt, ctx)
    count = len(back.inputs) - len(graph.inputs)
    b = _builder(ctx, made, graph, [Value("v", graph.inputs[wrt].type)])
    args = b.inputs[1:]
    values = b.inline(graph, args)
    seeds = [zeros(b, v.type) for v in back.inputs[:count]]
    found = iter(gradient(b, back, [*seeds, *args], list(range(count)), [b.inputs[0]]))
    slopes = [next(found) if differentiable(t) else zeros(b, t) for t in graph.result_types]
    return b.finish([*values, *slopes])


def _like(ctx: Lowering, made: Derivative, operand: Operand, model: Value) -> Value:
    """A direction or cotangent in the type of ``model``; it may broadcast."""
    if isinstance(operand, Array) and not differentiable(operand.type):
        raise BuiltinError(f"{made.description} needs {made.parameters[0]} as real numbers, not {noun(operand)}", 0, None, KIND)
    value = ctx.as_value(operand, model.type.dtype)
    shape = value.type.shape
    lead = model.type.rank - len(shape)
    wanted = [s if s.constant == 1 else w for s, w in zip(shape, model.type.shape[max(lead, 0) :], strict=False)]
    if lead < 0 or not all(ctx.same_size(s, w) for s, w in zip(shape, wanted, strict=True)):
        raise BuiltinError(
            f"{made.description} needs {made.parameters[0]} of the type {model.type}, not {noun(operand)}", 0, None, SHAPE
        )
    return compose.broadcast(ctx.builder, compose.reshape(ctx.builder, value, wanted), model.type.shape)


def _cotangents(ctx: Lowering, made: Derivative, operand: Operand, graph: Graph) -> list[Value]:
    types = [t for t in graph.result_types if differentiable(t)]
    items = operand.items if isinstance(operand, TupleOperand) else (operand,)
    if len(items) != len(types):
        raise BuiltinError(
            f"{made.description} needs one weight per real result of the function, {len(types)}, not {len(items)}", 0, None, COUNT
        )
    return [_like(ctx, made, item, Value("", t)) for item, t in zip(items, types, strict=True)]


def curried(call: Call) -> tuple[FunctionOperand | Derivative, str]:
    """The function that a call takes first, and the name of one of its parameters, which it takes second."""
    fn, name = (call.operand(p) for p in call.signature.positional)
    if not isinstance(fn, (FunctionOperand, Derivative)):
        raise call.error(f"{call.name} takes a fn first, not {noun(fn)}", call.signature.positional[0], "put the expression into a fn")
    if not isinstance(name, NameOperand):
        raise call.error(f"{call.name} takes the name of one of f's parameters second, not {noun(name)}", call.signature.positional[1])
    if name.text not in fn.parameters:
        close = nearest(name.text, fn.parameters)
        raise call.error(
            f"{shown(fn)} has no parameter {name.text}; its parameters are {', '.join(fn.parameters)}",
            call.signature.positional[1],
            close,
        )
    return fn, name.text


def _derivative(call: Call) -> Result:
    return derivative(call.name, *curried(call))


@builtin(FAMILY, "grad(f, x)", example="grad(loss, w)(w, A, y)", names=(1,))
def grad(call: Call) -> Result:
    """The gradient of the scalar-valued fn f in its parameter named x, as a function of f's arguments."""
    return _derivative(call)


@builtin(FAMILY, "value_and_grad(f, x)", example="value, slope = value_and_grad(loss, w)(w, A, y)", names=(1,))
def value_and_grad(call: Call) -> Result:
    """As grad; called, it gives the value and the gradient."""
    return _derivative(call)


@builtin(FAMILY, "jvp(f, x)", example="value, slope = jvp(residual, w)(v, w, A, y)", names=(1,))
def jvp(call: Call) -> Result:
    """Called with a direction v and then f's arguments: the value of f and its derivative in x along v (of an f with
    several results: all values, then all derivatives)."""
    return _derivative(call)


@builtin(FAMILY, "vjp(f, x)", example="vjp(residual, w)(g, w, A, y)", names=(1,))
def vjp(call: Call) -> Result:
    """Called with a weight g for each element of f's value (a tuple if f has several) and then f's arguments: the
    gradient in x of the weighted sum."""
    return _derivative(call)


@builtin(FAMILY, "hvp(f, x)", example="hvp(loss, w)(v, w, A, y)", names=(1,))
def hvp(call: Call) -> Result:
    """Called with a direction v and then f's arguments: the Hessian of the scalar-valued f in x, times v."""
    return _derivative(call)
