"""Lowering of algorithms: their sizes, inputs and declarations; then the body; then the objective."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from keyword import iskeyword

from ..compiler.diagnostics import Diagnostic, Span
from ..compiler.graph.algorithm import Algorithm, Condition, Constraint, Input, ModuleInput, Param
from ..compiler.graph.graph import Builder, Graph, Value
from ..compiler.graph.types import Size, Type
from . import syntax as s
from .builtins.compose import reshape
from .context import Binding, Context, LowerError, Poisoned, Unit, describe, noun
from .dtypes import can_store, kind_of
from .facts import Facts
from .lower_assign import converted
from .lower_block import block, body_of
from .operand import Array, ModuleOperand, Operand, SizeOperand, TupleOperand, Weak
from .types import resolve_size, resolve_type
from .uses import FileScope

_COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
_CONSTRAINTS = {"free": 0, "positive": 0, "nonneg": 0, "unit": 0, "interval": 2, "simplex": 0}
DECLARATIONS = (s.Iterations, s.ParamDecl, s.ModuleDecl, s.Objective)


@dataclass
class Interface:
    """What surrounds a graph, as far as it is known: algorithms that are called add to it."""

    decl: s.AlgorithmDecl
    inputs: list[Input] = field(default_factory=list)
    params: list[Param] = field(default_factory=list)
    param_values: dict[str, Value] = field(default_factory=dict)
    iterations: dict[str, int] = field(default_factory=dict)
    modules: dict[str, ModuleInput] = field(default_factory=dict)
    where: list[Condition] = field(default_factory=list)
    given: dict[str, Binding] = field(default_factory=dict)  # names a param's init may use


def lower_algorithm(scope: FileScope, decl: s.AlgorithmDecl) -> tuple[Algorithm | None, list[Diagnostic]]:
    """The algorithm, or None with what is wrong with it."""
    unit = Unit()
    builder = Builder(decl.name.text)
    builder.span = decl.span
    ctx = Context(builder, scope, unit, {}, Facts())
    interface = unit.interface = Interface(decl)
    try:
        algorithm = _lower(ctx, interface)
    except LowerError as error:
        unit.report(error.diagnostic)
    except Poisoned:
        pass
    except RecursionError:
        unit.report(Diagnostic("US0108", "this algorithm is nested too deep", decl.span, (), "name parts of it first"))
    if unit.diagnostics:
        return None, unit.diagnostics
    return algorithm, []


def _lower(ctx: Context, interface: Interface) -> Algorithm:
    decl, unit = interface.decl, ctx.unit
    with ctx.at(decl.span):
        declare_sizes(ctx, decl)
        _declare_inputs(ctx, interface)
        for written in decl.where:
            with ctx.reporting(), ctx.at(written.span):
                for condition in conditions(ctx, written):
                    interface.where.append(condition)
                    ctx.facts = ctx.facts.with_condition(condition.left, condition.op, condition.right)
                    if condition.op == "==":
                        ctx.facts = ctx.facts.with_equal(condition.left, condition.right)
        for item in interface.inputs:
            if ctx.names[item.name].operand is not None:
                ctx.names[item.name] = _input(ctx, item, canonical(ctx, item.type))
        interface.given = {n: b for n, b in ctx.names.items() if b.kind in ("size", "iterations")}
        for node in decl.body:
            if isinstance(node, DECLARATIONS) and not isinstance(node, s.Objective):
                with ctx.reporting(), ctx.at(node.span):
                    _declare(ctx, interface, node)
        start = dict(ctx.names)
        body: list[s.Statement] = [n for n in decl.body if not isinstance(n, DECLARATIONS)]
        results = _results(ctx, decl, body)
        objective = _objective(ctx, interface, start, results)
    graph = ctx.builder.finish(results) if not unit.diagnostics else Graph(decl.name.text, (), (), ())
    goal = next((n for n in decl.body if isinstance(n, s.Objective)), None)
    return Algorithm(
        decl.name.text, tuple(interface.inputs), tuple(interface.params), tuple(interface.iterations.items()),
        tuple(interface.modules.values()), tuple(interface.where), graph, tuple(v.type for v in results), objective,
        goal.name.text if goal else "", tuple(p.text for p in goal.parameters) if goal else (), decl.name.span,
    )  # fmt: skip


def canonical(ctx: Context, type: Type) -> Type:
    """A type with sizes as ``where`` lets them be written."""
    return Type(type.dtype, tuple(map(ctx.facts.canonical, type.shape)))


# -- sizes ---------------------------------------------------------------------------------------------------------


def _names_in(node: s.Node) -> Iterator[s.Name]:
    """Names used in a size expression, ``min`` and ``max`` called in it aside."""
    called = {id(n.function) for n in s.descend(node) if isinstance(n, s.Call)}
    return (n for n in s.descend(node) if isinstance(n, s.Name) and id(n) not in called)


def declare_sizes(ctx: Context, decl: s.AlgorithmDecl) -> None:
    """Bring the size names of an algorithm into scope: iteration counts, names that inputs bind, names that params
    and modules need. Other names in sizes are errors."""
    for node in decl.body:
        if isinstance(node, s.Iterations):
            _declare_size(ctx, node.name, "iterations")
    for item in decl.inputs:
        for size in item.type.sizes:
            if isinstance(size, s.Name):
                _declare_size(ctx, size, "size")
    for node in decl.body:
        needed: list[s.Expr] = []
        if isinstance(node, s.ParamDecl):
            needed = list(node.sizes)
        elif isinstance(node, s.ModuleDecl):
            needed = [size for t in (*node.arguments, *node.results) for size in t.sizes] + ([node.count] if node.count else [])
        for size in needed:
            for name in _names_in(size):
                _declare_size(ctx, name, "size")
    values = {item.name.text for item in decl.inputs}  # not in a condition of where: it says so itself
    bound = "an input's type binds it where it stands alone: real[n]"
    for where in (*(x.type for x in decl.inputs), *decl.results, *decl.where):
        for size in where.sizes if isinstance(where, s.TypeExpr) else (where,):
            for name in _names_in(size):
                if name.text not in ctx.names and not (where in decl.where and name.text in values):
                    ctx.names[name.text] = Binding(None, name.span, "size")
                    ctx.unit.report(ctx.fault("US0504", f"the size {name.text} is never bound", name.span, bound).diagnostic)


def _declare_size(ctx: Context, name: s.Name, kind: str) -> None:
    if name.text in ctx.names or name.text in s.TYPE_NAMES:
        return
    if iskeyword(name.text):
        fault = ctx.fault(
            "US0209", f"the size {name.text} could not be set from Python, where it is a keyword", name.span, f"{name.text}_"
        )
        ctx.unit.report(fault.diagnostic)
    ctx.unit.sizes.add(name.text)
    ctx.names[name.text] = Binding(SizeOperand(Size.of(name.text)), name.span, kind)


def conditions(ctx: Context, node: s.Expr) -> list[Condition]:
    """The comparisons of one ``where`` condition."""
    if isinstance(node, s.Binary) and node.op == "and":
        return conditions(ctx, node.left) + conditions(ctx, node.right)
    if not isinstance(node, s.Compare):
        raise ctx.fault("US0507", "a condition of `where` compares sizes", node.span, "for example n >= 3")
    sizes = []
    for operand in node.operands:
        for name in _names_in(operand):
            if name.text in ctx.names and ctx.names[name.text].kind not in ("size", "iterations"):
                raise ctx.fault(
                    "US0507",
                    f"a condition of `where` compares sizes, and {name.text} is a value",
                    name.span,
                    "assert it in the body",
                )
        found = ctx.expr(operand)
        if not isinstance(found, SizeOperand) and not (isinstance(found, Weak) and type(found.number) is int):
            raise ctx.fault("US0507", f"a condition of `where` compares sizes, not {noun(found)}", operand.span)
        sizes.append(ctx.size_of(found))
    return [Condition(a, op, b) for a, op, b in zip(sizes, node.ops, sizes[1:], strict=False)]


# -- inputs and declarations ---------------------------------------------------------------------------------------


def _declare_inputs(ctx: Context, interface: Interface) -> None:
    for node in interface.decl.inputs:
        ctx.names.setdefault(node.name.text, Binding(None, node.name.span, "input"))
        with ctx.reporting():
            type = resolve_type(ctx, node.type)
            interface.inputs.append(Input(node.name.text, type, node.given, node.span))
            ctx.names[node.name.text] = Binding(Weak(0), node.name.span, "input")  # a value once `where` is known
            for size in type.shape:
                if not size.is_name:
                    ctx.facts = ctx.facts.with_nonneg(size - 1)


def _input(ctx: Context, item: Input, type: Type) -> Binding:
    return Binding(Array(ctx.builder.input(item.name, type)), item.span or ctx.span, "input")


def _declare(ctx: Context, interface: Interface, node: s.Statement) -> None:
    if isinstance(node, s.Iterations):
        interface.iterations[node.name.text] = iteration_default(ctx, node)
    elif isinstance(node, s.ParamDecl):
        ctx.names.setdefault(node.name.text, Binding(None, node.name.span, "param"))
        type = Type("real", tuple(resolve_size(ctx, size) for size in node.sizes))
        constraint = resolve_constraint(ctx, node)
        init = _init(ctx, interface, node, type, constraint)
        ctx.names[node.name.text] = add_param(ctx, interface, Param(node.name.text, type, constraint, init, node.span))
    elif isinstance(node, s.ModuleDecl):
        arguments = tuple(resolve_type(ctx, t) for t in node.arguments)
        results = tuple(resolve_type(ctx, t) for t in node.results)
        count = resolve_size(ctx, node.count) if node.count is not None else None
        ctx.names[node.name.text] = add_module(ctx, interface, ModuleInput(node.name.text, arguments, results, count, node.span))


def iteration_default(ctx: Context, node: s.Iterations) -> int:
    """The default of an iteration count: a literal integer, at least 1."""
    operand = ctx.expr(node.value)
    number = operand.number if isinstance(operand, Weak) else None
    if type(number) is not int or not 1 <= number < 2**31:
        raise ctx.fault(
            "US0502", f"the default of an iteration count is a literal integer, at least 1, not {noun(operand)}", node.value.span
        )
    return number


def add_param(ctx: Context, interface: Interface, param: Param) -> Binding:
    """Register a parameter and make it an input of the graph."""
    from_interface = interface.param_values
    from_interface[param.name] = ctx.builder.input(param.name, canonical(ctx, param.type))
    interface.params.append(param)
    return Binding(Array(from_interface[param.name]), param.span or ctx.span, "param")


def add_module(ctx: Context, interface: Interface, module: ModuleInput) -> Binding:
    """Register a learned operator."""
    if not module.results or not module.arguments:
        raise ctx.fault("US0511", f"the module {module.name} needs at least one argument and one result", module.span)
    for type in (*module.arguments, *module.results):
        if type.dtype in ("key", "bool"):
            raise ctx.fault("US0511", f"a module takes and gives numbers, not {type.dtype}", module.span)
    interface.modules[module.name] = module
    arguments, results = (tuple(canonical(ctx, t) for t in ts) for ts in (module.arguments, module.results))
    count = ctx.facts.canonical(module.count) if module.count is not None else None
    return Binding(ModuleOperand(module.name, arguments, results, count), module.span or ctx.span, "module")


def resolve_constraint(ctx: Context, node: s.ParamDecl) -> Constraint:
    """The constraint of a parameter, checked."""
    written = node.constraint
    if written is None:
        return Constraint()
    kind = written.name.text
    if kind not in _CONSTRAINTS:
        close = get_close_matches(kind, _CONSTRAINTS, 1)
        raise ctx.fault(
            "US0503",
            f"{kind} is no constraint",
            written.name.span,
            close[0] if close else f"the constraints are {', '.join(_CONSTRAINTS)}",
        )
    if len(written.arguments) != _CONSTRAINTS[kind]:
        takes = "two bounds: interval(a, b)" if kind == "interval" else "no arguments"
        raise ctx.fault("US0503", f"{kind} takes {takes}", written.span)
    if kind == "simplex" and not node.sizes:
        raise ctx.fault(
            "US0503",
            f"{node.name.text} is one number; simplex needs an axis that sums to 1",
            written.span,
            f"param {node.name.text}[n]: simplex",
        )
    if kind != "interval":
        return Constraint(kind)
    bounds = []
    for argument in written.arguments:
        operand = ctx.expr(argument)
        if not isinstance(operand, Weak) or isinstance(operand.number, (bool, complex)):
            raise ctx.fault("US0503", f"a bound of interval is a literal number, not {noun(operand)}", argument.span)
        bounds.append(float(operand.number))
    if not bounds[0] < bounds[1]:
        raise ctx.fault("US0503", f"interval({bounds[0]}, {bounds[1]}) is empty", written.span, "the lower bound comes first")
    return Constraint("interval", bounds[0], bounds[1])


def _init(ctx: Context, interface: Interface, node: s.ParamDecl, type: Type, constraint: Constraint) -> Graph | None:
    if node.init is None:
        return None
    inputs = {item.name: item for item in interface.inputs}
    params = {p.name for p in interface.params} | {node.name.text}
    for name in _names_in(node.init):
        what = "an input that is not `given`" if name.text in inputs and not inputs[name.text].given else ""
        what = what or ("a parameter" if name.text in params else "")
        if what:
            hint = f"declare it `given {name.text}: ...`" if name.text in inputs else None
            raise ctx.fault("US0505", f"the initial value of {node.name.text} depends on {name.text}, {what}", name.span, hint)
    inner = given_context(ctx, interface, f"{interface.decl.name.text}_{node.name.text}_init")
    return finish_init(inner, inner.expr(node.init), node, type, constraint)


def given_context(ctx: Context, interface: Interface, name: str) -> Context:
    """A context for a graph whose inputs are the given inputs of the algorithm being lowered."""
    builder = Builder(name)
    builder.span = ctx.span
    names = dict(interface.given)
    inner = Context(builder, ctx.scope, ctx.unit, names, ctx.facts, ctx.function, ctx.trail, ctx.active)
    for item in interface.inputs:
        if item.given:
            names[item.name] = _input(inner, item, canonical(ctx, item.type))
    return inner


def finish_init(inner: Context, operand: Operand, node: s.ParamDecl, type: Type, constraint: Constraint) -> Graph:
    """The graph of an initial value; it must broadcast to the parameter and satisfy its constraint."""
    assert node.init is not None
    span = node.init.span
    if isinstance(operand, Weak) and isinstance(operand.number, (int, float)) and not _satisfies(operand.number, constraint):
        raise inner.fault("US0503", f"the initial value {operand.number} of {node.name.text} is not {_words(constraint)}", span)
    value = converted(inner, operand, "real", span)
    shape = value.type.shape
    tail = type.shape[type.rank - len(shape) :] if len(shape) <= type.rank else ()
    if len(shape) > type.rank or not all(a.constant == 1 or inner.same_size(a, b) for a, b in zip(shape, tail, strict=True)):
        raise inner.fault(
            "US0505",
            f"the initial value of {node.name.text} is {describe(value.type)}, which does not broadcast to {describe(type)}",
            span,
        )
    return inner.builder.finish([value])


def _satisfies(number: float, constraint: Constraint) -> bool:
    match constraint.kind:
        case "positive":
            return number > 0
        case "nonneg":
            return number >= 0
        case "unit" | "interval":
            return constraint.lower <= number <= constraint.upper
    return True


def _words(constraint: Constraint) -> str:
    if constraint.kind in ("unit", "interval"):
        return f"between {constraint.lower} and {constraint.upper}"
    return {"positive": "positive", "nonneg": "at least 0"}[constraint.kind]


# -- results and objective -----------------------------------------------------------------------------------------


def _results(ctx: Context, decl: s.AlgorithmDecl, body: list[s.Statement]) -> list[Value]:
    """The returned values in their declared types."""
    types = [canonical(ctx, resolve_type(ctx, t)) for t in decl.results]
    if not body or not isinstance(body[-1], s.Return):
        block(ctx, body)
        raise ctx.fault(
            "US0506",
            f"the body of {decl.name.text} does not end in `return`",
            body[-1].span if body else decl.name.span,
            "return the result",
        )
    block(ctx, body[:-1])
    last = body[-1]
    assert isinstance(last, s.Return)
    with ctx.at(last.span):
        operands: list[tuple[Operand, Span]] = []
        for expr in last.values:
            operand = ctx.expr(expr)
            items = operand.items if isinstance(operand, TupleOperand) else (operand,)
            operands += [(item, expr.span) for item in items]
        if len(operands) != len(types):
            raise ctx.fault(
                "US0308",
                f"{decl.name.text} returns {len(operands)} value{'s' if len(operands) != 1 else ''}, and declares {len(types)}",
                last.span,
            )
        return [_result(ctx, operand, type, span) for (operand, span), type in zip(operands, types, strict=True)]


def _result(ctx: Context, operand: Operand, type: Type, span: Span) -> Value:
    with ctx.at(span):
        value = ctx.as_value(operand, None if isinstance(operand, Array) else type.dtype)
    came = value.type
    same = came.rank == type.rank and all(map(ctx.same_size, came.shape, type.shape))
    if not same or not can_store(came.dtype, type.dtype):
        hint = f"cast(..., {type.dtype})" if same and kind_of(came.dtype) != "complex" else None
        raise ctx.fault("US0308", f"the result is {describe(came)}, and {describe(type)} is declared", span, hint)
    return reshape(ctx.builder, ctx.as_value(Array(value), type.dtype), type.shape)


def _objective(ctx: Context, interface: Interface, start: dict[str, Binding], results: list[Value]) -> Graph | None:
    """The objective as a graph of its arguments (typed by the results, in order), the inputs and the params."""
    goal = next((n for n in interface.decl.body if isinstance(n, s.Objective)), None)
    if goal is None:
        return None
    if len(goal.parameters) > len(results):
        raise ctx.fault(
            "US0510",
            f"the objective takes {len(goal.parameters)} arguments, and the algorithm has {len(results)} results",
            goal.span,
            "its arguments are results, in order",
        )
    builder = Builder(f"{interface.decl.name.text}_{goal.name.text}")
    builder.span = goal.span
    inner = ctx.inside(builder=builder, names=dict(start), function=goal.name.text, active=(*ctx.active, goal))
    values = [builder.input(p.text, v.type) for p, v in zip(goal.parameters, results, strict=False)]
    for item in interface.inputs:
        old = start[item.name]
        assert isinstance(old.operand, Array)
        inner.names[item.name] = Binding(Array(builder.input(item.name, old.operand.type)), old.span, "input")
    for param in interface.params:
        value = builder.input(param.name, interface.param_values[param.name].type)
        if param.name in start:
            inner.names[param.name] = Binding(Array(value), start[param.name].span, "param")
    for name, value in zip(goal.parameters, values, strict=False):
        inner.names[name.text] = Binding(Array(value), name.span)
    with inner.at(goal.span):
        operand = body_of(inner, goal.body)
        last = goal.body[-1].span
        value = converted(inner, operand, "real", last) if not isinstance(operand, Array) else operand.value
        if value.type.rank or kind_of(value.type.dtype) != "real":
            raise inner.fault(
                "US0510", f"an objective is one real number, not {describe(value.type)}", last, "sum(...) or mean(...)"
            )
        return builder.finish([value])
