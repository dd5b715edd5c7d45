"""Symmetric positive definite systems by conjugate gradients: ``solve_cg(A, b)`` for a matrix, ``cg(f, v)(b, ...)`` for an operator.

    cg(f, v)(b, args)    the v with f(v, args) = b: called with the arguments of f, b in the place of v

Both become one op of the graph, whose derivative is a solve again (``compiler/graph/adjoint_solve.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_lowercase

from ...compiler.graph.activity import differentiable
from ...compiler.graph.graph import Node, Value
from ...compiler.graph.linear import not_linear
from ...compiler.graph.ops.common import real_twin
from ...compiler.graph.types import Size
from ..operand import Array, BuiltinError, CallableOperand, FunctionOperand, Lowering, Operand, noun
from . import compose
from .call import INTEGER, KIND, REAL, SHAPE, Call
from .derivatives import Derivative, bind_arguments, curried, function_graph, shown
from .linalg import FAMILY, system
from .table import Result, builtin

_OPTIONS = "x0=None, maxiter=None, tol=1e-5"
_NOT_LINEAR = "US0407"


def _iterations(call: Call, unknowns: Size) -> Size:
    """``maxiter=``, as in SciPy ten times as many as there are unknowns if nothing is said."""
    if not call.given("maxiter"):
        return unknowns * 10
    found = call.size("maxiter")
    if found.constant is not None and found.constant < 1:
        raise call.error(f"maxiter of {call.name} must be at least 1, not {found}", "maxiter")
    return found


def _tolerance(call: Call, dtype: str, lanes: Sequence[Size]) -> Value:
    """``tol=`` for every system."""
    if "tol" not in call.bound:
        return compose.filled(call.b, call.signature.defaults["tol"], lanes, real_twin(dtype))
    call.check_kind("tol", (INTEGER, REAL))
    value = call.ctx.as_value(call.operand("tol"), real_twin(dtype))
    if value.type.rank:
        raise call.error(f"tol of {call.name} is one number, not {noun(Array(value))}", "tol", None, SHAPE)
    return compose.broadcast(call.b, value, lanes)


def _start(call: Call, like: Value) -> list[Value]:
    """``x0=`` in the type of what is solved for; nothing if it is left out: zeros."""
    if not call.given("x0"):
        return []
    value = call.ctx.as_value(call.operand("x0"), like.type.dtype)
    shape = like.type.shape
    if value.type.rank != len(shape) or not all(map(call.ctx.same_size, value.type.shape, shape)):
        raise call.error(f"x0 of {call.name} has the shape of the right side, {noun(Array(like))}, not {noun(Array(value))}", "x0",
                         None, SHAPE)  # fmt: skip
    return [compose.reshape(call.b, value, shape)]


@builtin(FAMILY, f"solve_cg(A, b, *, {_OPTIONS})", example="solve_cg(A.T @ A + eye(n), A.T @ y, maxiter=K, tol=1e-8)")
def solve_cg(call: Call) -> Result:
    """As solve, for a symmetric (Hermitian) positive definite A, by conjugate gradients from x0 (zeros): at most maxiter iterations (ten
    times the number of unknowns), until norm(b - A @ x) < tol * norm(b) for each column of b. That A is so is not checked. The derivative is
    that of the solution, by another such solve; it keeps nothing of the iterations."""
    matrix, right = system(call)
    start = _start(call, right)
    columns = right.type.rank == matrix.type.rank
    if columns:
        right, *start = (compose.swap_last(call.b, v) for v in (right, *start))
    lanes = right.type.shape[:-1]
    lead, k = ascii_lowercase[: matrix.type.rank - 2], "k" if columns else ""
    spec = f"{lead}ij,{lead}{k}j->{lead}{k}i"

    def operator(x: Value) -> list[Value]:
        return [compose.op(call.b, "einsum", matrix, x, spec=spec)]

    region = call.b.region([("v", right.type)], operator)
    count, tolerance = _iterations(call, right.type.shape[-1]), _tolerance(call, right.type.dtype, lanes)
    found = compose.op(call.b, "solve_cg", right, tolerance, *start, regions=(region,), iterations=count, core=1)
    return compose.swap_last(call.b, found) if columns else found


@builtin(FAMILY, f"cg(f, v, *, {_OPTIONS})", example="cg(hvp(loss, w), v, maxiter=K)(g, w, A, y)", names=(1,))
def cg(call: Call) -> Result:
    """As solve_cg, without a matrix: for a fn f that is linear in its parameter named v, a function of f's arguments that takes b in the
    place of v and gives the v with f(v, ...) = b. f may be a derivative. v may have any shape; for all v and u,
    sum(u * f(v)) = sum(v * f(u)), and sum(v * f(v)) > 0, which is not checked; that f is linear is."""
    fn, name = curried(call)
    description = f"cg({shown(fn)}, {name})"

    def apply(ctx: Lowering, args: tuple[Operand, ...], kwargs: dict[str, Operand]) -> Operand:
        here = Call(ctx, call.signature, call.bound, call.rest, call.places)
        return _inverse(here, fn, name, description, bind_arguments(description, fn.parameters, args, kwargs))

    return CallableOperand(description, apply)


def _inverse(call: Call, fn: FunctionOperand | Derivative, name: str, description: str, operands: list[Operand]) -> Operand:
    """The solution for the arguments of ``fn``, of which one is the right side."""
    ctx, b = call.ctx, call.ctx.builder
    place = fn.parameters.index(name)
    given = operands[place]
    if not isinstance(given, Array):
        raise BuiltinError(f"{description} needs the right side as an array in the place of {name}, not {noun(given)}", place, None, KIND)
    ((value,), _) = ctx.promote(given, real=True)
    right = Value(value.name, value.type)  # an object of its own, to be found among the inputs of the graph
    if not differentiable(right.type):
        raise BuiltinError(f"{description} needs real numbers in the place of {name}, not {noun(given)}", place, None, KIND)
    operands[place] = Array(right)
    graph, arrays = function_graph(ctx, fn, operands)
    at = next((n for n, v in enumerate(arrays) if v is right), None)
    types = graph.result_types
    fits = at is not None and len(types) == 1 and types[0].dtype == right.type.dtype and types[0].rank == right.type.rank
    if not fits or not all(map(ctx.same_size, types[0].shape, right.type.shape)):
        came = " and ".join(noun(Array(Value("", t))) for t in types)
        raise BuiltinError(
            f"{description} needs a function that gives what {name} is, {noun(given)}, and {shown(fn)} gives {came}", None, None, SHAPE
        )
    assert at is not None
    found = not_linear(graph, graph.inputs[at].name)
    if found is not None:
        raise _complaint(description, shown(fn), name, *found)

    def operator(x: Value) -> list[Value]:
        (out,) = b.inline(graph, [x if n == at else v for n, v in enumerate(arrays)])
        return [compose.reshape(b, out, right.type.shape)]

    region = b.region([(name, right.type)], operator)
    count, tolerance = _iterations(call, right.type.numel), _tolerance(call, right.type.dtype, ())
    start = _start(call, right)
    out = b.op("solve_cg", right, tolerance, *start, regions=(region,), iterations=count, core=right.type.rank)
    return Array(out)


def _complaint(description: str, fn: str, name: str, node: Node, added: bool) -> BuiltinError:
    """That a function is not linear, and where."""
    why = f"it has a term without {name}" if added else f"it takes `{node.op}` of what depends on {name}"
    hint = f"move what does not depend on {name} to the right side" if added else "solve_cg and cg are for linear systems only"
    return BuiltinError(f"{description} needs {fn} to be linear in {name}, and {why}{_at(node)}", None, hint, _NOT_LINEAR)


def _at(node: Node) -> str:
    return "" if node.span is None else f" (line {node.span.line})"
