"""Lowering of what an algorithm declares: inputs, iteration counts, parameters with constraints and initial values, modules."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..compiler.graph.algorithm import Condition, Constraint, Input, ModuleInput, Param
from ..compiler.graph.graph import Builder, Graph, Value
from ..compiler.graph.types import Type
from ..compiler.nearest import nearest
from . import syntax as s
from .context import Binding, Context, describe, noun
from .lower_assign import converted
from .lower_sizes import canonical, names_in
from .operand import Array, ModuleOperand, Operand, Weak
from .types import resolve_size, resolve_type

_CONSTRAINTS = {"free": 0, "positive": 0, "nonneg": 0, "unit": 0, "interval": 2, "simplex": 0}


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


def declare_inputs(ctx: Context, interface: Interface) -> None:
    """Bring the inputs into scope, as names with types; they become values once ``where`` is known."""
    for node in interface.decl.inputs:
        ctx.names.setdefault(node.name.text, Binding(None, node.name.span, "input"))
        with ctx.reporting():
            type = resolve_type(ctx, node.type)
            interface.inputs.append(Input(node.name.text, type, node.given, node.span))
            ctx.names[node.name.text] = Binding(Weak(0), node.name.span, "input")  # a value once `where` is known
            for size in type.shape:
                if not size.is_name:
                    ctx.facts = ctx.facts.with_nonneg(size - 1)


def input_binding(ctx: Context, item: Input, type: Type) -> Binding:
    """An input of the algorithm as an input of the graph."""
    return Binding(Array(ctx.builder.input(item.name, type)), item.span or ctx.span, "input")


def declare(ctx: Context, interface: Interface, node: s.Statement) -> None:
    """An iteration count, a parameter or a module."""
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
        close = nearest(kind, _CONSTRAINTS)
        raise ctx.fault(
            "US0503",
            f"{kind} is no constraint",
            written.name.span,
            close or f"the constraints are {', '.join(_CONSTRAINTS)}",
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
    for name in names_in(node.init):
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
            names[item.name] = input_binding(inner, item, canonical(ctx, item.type))
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
