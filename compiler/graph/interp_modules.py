"""How the interpreter runs modules, their weights, and derivatives of library calls.

    vjp(f; x, y, 1); vjp(vjp(f); x, y, 1, z)      -->      f(x, y) with torch's graph; its gradient; that of <gradient, z>

Where torch records nothing, derivatives of one call share what they have in common: the call, and the lower derivatives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

from ..diagnostics import DataError
from .graph import Node
from .interp_control import STEPS, Frame, NodeAttrs, Planner, Step, store
from .ops.common import torch_dtype
from .ops.library import apply_vjp, floating, owned, plain, pulled_back
from .ops.table import Attrs, lookup
from .weights import applied, each, flattened


def _module_function(frame: Frame, attrs: Attrs) -> Callable[..., tuple[Any, ...]]:
    """The module of a node as a function of tensors with the leading axes of the graph."""
    found = _instance(frame, attrs)
    lead, own, shapes = attrs.get("batched", 0), attrs.get("own"), [shape for _, shape in attrs["types"]]
    first = shapes[0][:lead]
    flat = [(prod(first), *shape[lead:]) for shape in shapes]

    def function(*tensors: Any) -> tuple[Any, ...]:
        xs = list(tensors if own is None else tensors[:-1])
        if own:  # each problem has weights of its own
            groups = (prod(first[:own]), prod(first[own:]))
            vectors = tensors[-1].reshape(groups[0], tensors[-1].shape[-1])
            out = each(attrs["name"], found, vectors, [x.reshape(*groups, *x.shape[lead:]) for x in xs], flat)
        else:
            xs = [x.reshape(flat[0][0], *x.shape[lead:]) for x in xs]
            out = found(*xs) if own is None else applied(found, tensors[-1], xs)
        out = tuple(out) if isinstance(out, (tuple, list)) else (out,)
        if [tuple(y.shape) for y in out] != flat:
            got, needed = (", ".join(map(str, s)) for s in ([tuple(y.shape) for y in out], flat))
            raise DataError(f"module {attrs['name']} returned shape {got}, but {needed} is needed")
        return tuple(y.reshape(shape) for y, shape in zip(out, shapes, strict=True))

    return function


def _instance(frame: Frame, attrs: Attrs) -> Any:
    found: Any = frame.modules[attrs["name"]]
    return found if attrs.get("index") is None else found[attrs["index"]]


def _module_step(plan: Planner, node: Node) -> Step:
    ins = [plan.slot(n) for n in node.inputs]
    outs = [plan.slot(v.name) for v in node.outputs]
    attrs = NodeAttrs(node)

    def call(frame: Frame) -> None:
        slots = frame.slots
        store(slots, outs, _module_function(frame, attrs.get(frame.sizes))(*[slots[i] for i in ins]))

    return _shared(plan, node, call)


def _weights_step(plan: Planner, node: Node) -> Step:
    import torch

    (out,) = [plan.slot(v.name) for v in node.outputs]
    attrs = NodeAttrs(node)

    def read(frame: Frame) -> None:
        known = attrs.get(frame.sizes)
        ((dtype, _),) = known["types"]
        frame.slots[out] = flattened(_instance(frame, known)).to(torch_dtype(torch, dtype))

    return read


def _vjp_step(plan: Planner, node: Node) -> Step:
    """``vjp`` of any op; that of a module (at any depth) needs the module of this run."""
    ins = [plan.slot(n) for n in node.inputs]
    outs = [plan.slot(v.name) for v in node.outputs]
    attrs = NodeAttrs(node)

    def call(frame: Frame) -> None:
        tensors = [frame.slots[i] for i in ins]
        store(frame.slots, outs, _vjp_function(frame, attrs.get(frame.sizes))(*tensors))

    return _shared(plan, node, call)


def _vjp_function(frame: Frame, attrs: Attrs) -> Callable[..., Any]:
    import torch

    op, inner, count, wrt, given = attrs["op"], dict(attrs["op_attrs"]), attrs["inputs"], attrs["wrt"], attrs["given"]
    if op == "module":
        function: Callable[..., Any] = _module_function(frame, inner)
    elif op == "vjp":
        function = _vjp_function(frame, inner)
    else:
        numerics = lookup(op).numerics
        if numerics is None:
            raise TypeError(f"{op} has no numerics of its own")
        function = lambda *xs: numerics(torch, inner, *xs)  # noqa: E731
    return lambda *tensors: apply_vjp(torch, function, tensors[:count], tensors[count:], wrt, given)


# -- derivatives of one call -----------------------------------------------------------------------------------------


@dataclass(eq=False)
class Derivative:
    """A derivative of a call of a module: from cotangents ``names`` of results ``given`` of the one ``before`` it (None: of the call) those of
    ``wrt``, which counts the operands of the call and the cotangents of those before."""

    before: Derivative | None
    names: tuple[str, ...]
    wrt: tuple[int, ...]
    given: tuple[int, ...]
    further: set[int] = field(default_factory=set)  # what is differentiated in those behind it
    last: bool = True  # whether nobody needs torch's graph afterwards


class Call:
    """A call of a module on operands ``names``, and the derivatives of it that stand in one region."""

    def __init__(self, attrs: tuple[tuple[str, Any], ...], names: tuple[str, ...]) -> None:
        self.attrs, self.names = attrs, names
        self.wrt: set[int] = set()  # operands that are differentiated
        self.derivatives: dict[Any, Derivative] = {}  # in the order in which they are made
        self.slot = ""

    @property
    def shares(self) -> bool:
        """Whether the graph is worth keeping: there is one derivative, or a second one. Code that torch has compiled has no second
        derivatives, and frees its graph with the first."""
        return len(self.derivatives) == 1 or any(d.further for d in self.derivatives.values())

    def add(self, levels: Sequence[tuple[tuple[str, ...], tuple[int, ...], tuple[int, ...]]]) -> Derivative | None:
        """The derivative of these levels, the lowest first; None for the call itself."""
        found: Derivative | None = None
        for depth, level in enumerate(levels):
            self.wrt |= {n for n in level[1] if n < len(self.names)}
            before, around = found, found
            while around is not None:
                around.further |= set(level[1])
                around = around.before
            found = self.derivatives.get(tuple(levels[: depth + 1]))
            if found is None:
                for other in self.derivatives.values():
                    other.last = False
                found = self.derivatives[tuple(levels[: depth + 1])] = Derivative(before, *level)
        return found


Calls = Mapping[int, tuple[Call, Derivative | None]]


def calls(nodes: Sequence[Node]) -> Calls:
    """The calls of modules and their derivatives by the identity of their nodes, which stand in one region."""
    known: dict[Any, Call] = {}
    found: dict[int, tuple[Call, Derivative | None]] = {}
    for node in nodes:
        op, attrs, names = node.op, node.attrs, node.inputs
        levels: list[tuple[tuple[str, ...], tuple[int, ...], tuple[int, ...]]] = []
        while op == "vjp":
            outer = dict(attrs)
            levels.append((names[outer["inputs"] :], outer["wrt"], outer["given"]))
            op, attrs, names = outer["op"], outer["op_attrs"], names[: outer["inputs"]]
        if op == "module":
            call = known.setdefault((attrs, names), Call(attrs, names))
            call.slot = call.slot or f"call for {node.outputs[0].name}"
            found[id(node)] = call, call.add(levels[::-1])
    return {place: one for place, one in found.items() if one[0].shares}


class _Record:
    """What torch has recorded of a call, as far as derivatives have asked for it."""

    def __init__(self, call: Call, function: Callable[..., tuple[Any, ...]], tensors: Sequence[Any]) -> None:
        operands = [owned(x, False) if n in call.wrt else plain(x, False) for n, x in enumerate(tensors)]
        self.made: dict[Derivative | None, tuple[list[Any], Sequence[Any]]] = {None: (operands, function(*operands))}

    def results(self, torch: Any, which: Derivative | None, operand: Callable[[str], Any]) -> Sequence[Any]:
        """The results of a derivative, or of the call, with torch's graph."""
        return self._made(torch, which, operand)[1]

    def _made(self, torch: Any, which: Derivative | None, operand: Callable[[str], Any]) -> tuple[list[Any], Sequence[Any]]:
        found = self.made.get(which)
        if found is None:
            assert which is not None
            before, results = self._made(torch, which.before, operand)
            given = [operand(n) for n in which.names]
            cotangents = [owned(g, False) if n in which.further else plain(g, False) for n, g in enumerate(given, len(before))]
            more = bool(which.further)
            grads = pulled_back(
                torch, [y for y in results if floating(y)], [before[n] for n in which.wrt], cotangents, which.given,
                create_graph=more, retain_graph=more or not which.last,
            )  # fmt: skip
            found = self.made[which] = ([*before, *cotangents], grads)
        return found


def _shared(plan: Planner, node: Node, alone: Step) -> Step:
    """The step of a call or derivative that shares torch's graph with others where torch records nothing around it; ``alone``: elsewhere."""
    import torch

    if id(node) not in plan.calls:
        return alone
    call, which = plan.calls[id(node)]
    place, attrs = plan.slot(call.slot), NodeAttrs(node, dict(call.attrs))
    ins = [plan.slot(n) for n in call.names]
    outs = [plan.slot(v.name) for v in node.outputs]

    def derive(frame: Frame) -> None:
        slots = frame.slots
        if torch.is_grad_enabled() or torch._C._functorch.maybe_current_level() is not None:
            alone(frame)
            return
        with torch.inference_mode(False), torch.enable_grad():
            if slots[place] is None:
                slots[place] = _Record(call, _module_function(frame, attrs.get(frame.sizes)), [slots[i] for i in ins])
            found = slots[place].results(torch, which, lambda name: slots[plan.slot(name)])
        store(slots, outs, [y.detach() for y in found])

    return derive


STEPS.update({"module": _module_step, "weights": _weights_step, "vjp": _vjp_step})
