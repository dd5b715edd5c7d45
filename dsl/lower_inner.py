"""An algorithm that calls an algorithm: its sizes are matched, its declarations become the caller's under dotted
names (``inner.step``; counts and sizes ``inner_K``), and its body is inlined."""

from __future__ import annotations

from ..compiler.graph.algorithm import ModuleInput, Param
from ..compiler.graph.graph import Graph
from ..compiler.graph.types import Size, Type
from . import syntax as s
from .context import HOOKS, Binding, Context, LowerError, describe, noun
from .dtypes import can_store
from .lower_block import body_of
from .lower_call import count_call
from .lower_declarations import (
    Interface,
    add_module,
    add_param,
    finish_init,
    given_context,
    iteration_default,
    resolve_constraint,
)
from .lower_sizes import canonical, conditions
from .operand import Array, Operand, SizeOperand
from .syntax_text import expression_text
from .types import resolve_size, resolve_type
from .walk import descend


def call_algorithm(ctx: Context, node: s.Call, decl: s.AlgorithmDecl) -> Operand:
    """The results of an algorithm applied inside another."""
    if ctx.function and not isinstance(ctx.active[-1] if ctx.active else None, s.AlgorithmDecl):
        raise ctx.fault(
            "US0417",
            f"a function cannot call the algorithm {decl.name.text}",
            node.span,
            "call it in an algorithm, and pass the result",
        )
    if decl is ctx.unit.interface.decl or any(decl is d for d in ctx.active):
        raise ctx.fault("US0412", f"{decl.name.text} calls itself", node.span, "write a loop")
    count_call(ctx, node.span)
    return _Call(ctx, node, decl).lower()


HOOKS["algorithm"] = call_algorithm


class _Call:
    def __init__(self, ctx: Context, node: s.Call, decl: s.AlgorithmDecl) -> None:
        self.ctx, self.node, self.decl = ctx, node, decl
        self.name = decl.name.text
        self.interface: Interface = ctx.unit.interface
        name = (self.name, node.span)
        self.inner = Context(
            ctx.builder, ctx.scope.home(decl), ctx.unit, {}, ctx.facts, self.name, (*ctx.trail, name), (*ctx.active, decl)
        )
        self.written: dict[str, s.Argument] = {}
        self.values: dict[str, Operand] = {}

    def lower(self) -> Operand:
        """Match the arguments, declare what the algorithm declares, and inline its body."""
        self._bind()
        self._sizes()
        self._declare_all(s.ModuleDecl)  # the types of inputs may name them
        for node in self.decl.inputs:
            self._input(node)
        with self.inner.at(self.node.span):
            for where in self.decl.where:
                for c in conditions(self.inner, where):
                    if not self.ctx.facts.holds(c.left, c.op, c.right):
                        raise self.ctx.fault(
                            "US0414", f"{self.name} needs {c}, which is not known here", self.node.span, f"add `where {c}`"
                        )
        self._declare_all(s.ParamDecl)
        body = [n for n in self.decl.body if not isinstance(n, s.DECLARATIONS)]
        if not body:
            raise self.ctx.fault("US0506", f"the body of {self.name} does not end in `return`", self.decl.name.span)
        return body_of(self.inner, body)

    def _bind(self) -> None:
        names = [i.name.text for i in self.decl.inputs]
        settable = {n.name.text for n in self.decl.body if isinstance(n, s.Iterations)} | set(self._needed())
        for place, argument in enumerate(self.node.arguments):
            if argument.name is None and place >= len(names):
                raise self.ctx.fault("US0414", f"{self.name} takes {len(names)} inputs", argument.span)
            key = argument.name.text if argument.name is not None else names[place]
            if key not in names and key not in settable:
                raise self.ctx.fault("US0414", f"{self.name} has no input {key}", argument.span)
            if key in self.written:
                raise self.ctx.fault("US0414", f"{self.name} got {key} twice", argument.span)
            self.written[key] = argument
            self.values[key] = self.ctx.expr(argument.value)
        missing = [n for n in names if n not in self.written]
        if missing:
            raise self.ctx.fault("US0414", f"{self.name} is called without {', '.join(missing)}", self.node.span)

    def _needed(self) -> list[str]:
        """Size names that only params and modules use."""
        bound = {size.text for i in self.decl.inputs for size in i.type.sizes if isinstance(size, s.Name)}
        found: list[str] = []
        for node in self.decl.body:
            sizes: list[s.Expr] = []
            if isinstance(node, s.ParamDecl):
                sizes = list(node.sizes)
            elif isinstance(node, s.ModuleDecl):
                sizes = [x for t in (*node.arguments, *node.results) for x in t.sizes] + ([node.count] if node.count else [])
            for size in sizes:
                found += [n.text for n in descend(size) if isinstance(n, s.Name) and n.text not in (*bound, *found, "min", "max")]
        counts = {n.name.text for n in self.decl.body if isinstance(n, s.Iterations)}
        return [n for n in found if n not in counts]

    # -- sizes

    def _sizes(self) -> None:
        for node in self.decl.body:
            if isinstance(node, s.Iterations):
                self._size(node.name, "iterations", node)
        for declared in self.decl.inputs:
            operand = self.values[declared.name.text]
            shape = operand.type.shape if isinstance(operand, Array) else ()
            if declared.type.of is None and len(shape) != len(declared.type.sizes):
                raise self._misfit(declared, operand)
            for size, actual in zip(declared.type.sizes, shape, strict=False):
                if isinstance(size, s.Name) and size.text not in self.inner.names:
                    self.inner.names[size.text] = Binding(SizeOperand(actual), size.span, "size")
        for name in self._needed():
            if name not in self.inner.names:
                self._size(s.Name(self.node.span, name), "size", None)

    def _size(self, name: s.Name, kind: str, default: s.Iterations | None) -> None:
        """A count or size of the inner algorithm: what the call passes, else a new one of the caller."""
        if name.text in self.values:
            argument = self.written[name.text]
            with self.ctx.at(argument.span):
                size = self.ctx.size_of(self.values[name.text])
            if not self.ctx.facts.less(Size.of(0), size):
                raise self.ctx.fault("US0414", f"{name.text} must be at least 1, and {size} may be less", argument.span)
        else:
            own = f"{self.name}_{name.text}"
            if kind == "iterations" and own not in self.interface.iterations:
                if own in self.ctx.unit.sizes or own in self.ctx.names:
                    raise self.ctx.fault(
                        "US0414",
                        f"the count {name.text} of {self.name} would be called {own}, which is taken",
                        self.node.span,
                        f"pass it: {self.name}(..., {name.text}=...)",
                    )
                assert default is not None
                self.interface.iterations[own] = iteration_default(self.inner, default)
            self.ctx.unit.sizes.add(own)
            size = Size.of(own)
        self.inner.names[name.text] = Binding(SizeOperand(size), name.span, kind)

    def _input(self, declared: s.InputDecl) -> None:
        operand = self.values[declared.name.text]
        with self.inner.at(declared.span):
            type = canonical(self.ctx, resolve_type(self.inner, declared.type))
        value = self.ctx.as_value(operand, None if isinstance(operand, Array) else type.dtype)
        if not all(map(self.ctx.same_size, value.type.shape, type.shape)) or not can_store(value.type.dtype, type.dtype):
            raise self._misfit(declared, operand)
        self.inner.names[declared.name.text] = Binding(Array(self.ctx.as_value(Array(value), type.dtype)), declared.span, "input")

    def _misfit(self, declared: s.InputDecl, operand: Operand) -> LowerError:
        sizes = ", ".join(map(expression_text, declared.type.sizes))
        wanted = f"{declared.type.name.text}[{sizes}]" if sizes else declared.type.name.text
        came = describe(operand.type) if isinstance(operand, Array) else noun(operand)
        argument = self.written[declared.name.text]
        return self.ctx.fault(
            "US0414",
            f"the input {declared.name.text} of {self.name} is {wanted}, and {came} came",
            argument.span,
            "over several problems write [f(y[i]) for i in 0..n]" if isinstance(operand, Array) else None,
        )

    # -- declarations

    def _declare_all(self, kind: type[s.ParamDecl | s.ModuleDecl]) -> None:
        for declaration in self.decl.body:
            if isinstance(declaration, kind):
                with self.inner.at(declaration.span):
                    self._declare(declaration)

    def _declare(self, node: s.ParamDecl | s.ModuleDecl) -> None:
        own = f"{self.name}.{node.name.text}"
        if isinstance(node, s.ModuleDecl):
            arguments, results = (tuple(resolve_type(self.inner, t) for t in ts) for ts in (node.arguments, node.results))
            count = resolve_size(self.inner, node.count) if node.count is not None else None
            module = ModuleInput(own, arguments, results, count, node.span)
            self._same(own, self.interface.modules.get(own), (arguments, results, count))
            self.inner.names[node.name.text] = add_module(self.inner, self.interface, module)
            return
        type = Type("real", tuple(resolve_size(self.inner, size) for size in node.sizes))
        earlier = next((p for p in self.interface.params if p.name == own), None)
        if earlier is not None:
            self._same(own, earlier, type)
            value = self.interface.param_values[own]
            self.inner.names[node.name.text] = Binding(Array(value), node.span, "param")
            return
        constraint = resolve_constraint(self.inner, node)
        init = self._init(node, type) if node.init is not None else None
        self.inner.names[node.name.text] = add_param(self.inner, self.interface, Param(own, type, constraint, init, node.span))

    def _same(self, own: str, earlier: Param | ModuleInput | None, new: object) -> None:
        if earlier is None:
            return
        old = earlier.type if isinstance(earlier, Param) else (earlier.arguments, earlier.results, earlier.count)
        if old != new:
            raise self.ctx.fault(
                "US0414", f"{own} would have two types: {self.name} is called with different sizes", self.node.span
            )

    def _init(self, node: s.ParamDecl, type: Type) -> Graph:
        """The initial value, from what the caller has given."""
        outer = given_context(self.ctx, self.interface, f"{self.name}_{node.name.text}_init")
        assert node.init is not None
        used = {n.text for n in descend(node.init) if isinstance(n, s.Name)}
        names = {n: b for n, b in self.inner.names.items() if b.kind in ("size", "iterations")}
        for declared in self.decl.inputs:
            if declared.name.text not in used:
                continue
            argument = self.written[declared.name.text]
            try:
                operand = outer.expr(argument.value)
            except LowerError:
                raise self.ctx.fault(
                    "US0505",
                    f"the initial value of {self.name}.{node.name.text} depends on {declared.name.text}, "
                    "and what is passed for it is made of more than `given` inputs",
                    argument.span,
                ) from None
            with outer.at(argument.span):
                names[declared.name.text] = Binding(Array(outer.as_value(operand)), declared.span, "input")
        inner = self.inner.inside(builder=outer.builder, names=names)
        with inner.at(node.init.span):
            return finish_init(inner, inner.expr(node.init), node, type, resolve_constraint(self.inner, node))
