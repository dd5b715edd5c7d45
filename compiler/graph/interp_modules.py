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
from .ops.library import apply_vjp
from .ops.table import Attrs, lookup
from .weights import applied, each, flattened


def _module_function(frame: Frame, attrs: Attrs) -> Callable[..., tuple[Any, ...]]:
    """The module of a node as a function of tensors with the leading axes of the graph."""
    flat, shapes = _flat_function(frame, attrs), [shape for _, shape in attrs["types"]]
    return lambda *tensors: tuple(y.reshape(shape) for y, shape in zip(flat(*_flattened(attrs, tensors)), shapes, strict=True))


def _flattened(attrs: Attrs, tensors: Sequence[Any]) -> list[Any]:
    """The operands of a module with one leading axis in place of all (see :func:`_flat_shapes`)."""
    return [x.reshape(shape) for x, shape in zip(tensors, _flat_shapes(attrs, [tuple(x.shape) for x in tensors]), strict=True)]


def _flat_shapes(attrs: Attrs, shapes: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Shapes of operands with one leading axis in place of all. Where problems have weights of their own there are two, of which weights
    have the first; weights that all share have none."""
    lead, own = attrs.get("batched", 0), attrs.get("own")
    first = attrs["types"][0][1][:lead]
    axes = (prod(first[:own]), prod(first[own:])) if own else (prod(first),)
    found = [(*axes, *shape[lead:]) for shape in (shapes if own is None else shapes[:-1])]
    if own is not None:
        found.append((axes[0], shapes[-1][-1]) if own else shapes[-1])
    return found


def _flat_function(frame: Frame, attrs: Attrs) -> Callable[..., tuple[Any, ...]]:
    """The module of a node as a function of operands as :func:`_flattened` has them; results have one leading axis."""
    module = _instance(frame, attrs)
    lead, own, shapes = attrs.get("batched", 0), attrs.get("own"), [shape for _, shape in attrs["types"]]
    flat = [(prod(shape[:lead]), *shape[lead:]) for shape in shapes]

    def function(*xs: Any) -> tuple[Any, ...]:
        if own:
            out = each(attrs["name"], module, xs[-1], xs[:-1], flat)
        else:
            out = module(*xs) if own is None else applied(module, xs[-1], xs[:-1])
        found: tuple[Any, ...] = tuple(out) if isinstance(out, (tuple, list)) else (out,)
        if [tuple(y.shape) for y in found] != flat:
            got, needed = (", ".join(map(str, s)) for s in ([tuple(y.shape) for y in found], flat))
            raise DataError(f"module {attrs['name']} returned shape {got}, but {needed} is needed")
        return found

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


@dataclass
class _Made:
    """Results with torch's graph, and the leaves of it, as the module knows them; ``shapes`` are those that the program gives to leaves."""

    leaves: list[Any]
    shapes: Sequence[tuple[int, ...]]
    results: Sequence[Any]


def _leaf(x: Any, shape: tuple[int, ...], differentiated: bool) -> Any:
    """A value in this shape, without history."""
    x = _shaped((x.clone() if x.is_inference() else x).detach(), shape)
    return x.requires_grad_() if differentiated else x


def _shaped(x: Any, shape: tuple[int, ...]) -> Any:
    """A value in this shape."""
    return x if x.shape == shape else x.view(shape) if x.is_contiguous() else x.reshape(shape)


def _pulled_back(
    torch: Any, outputs: Sequence[Any], leaves: Sequence[Any], cotangents: Sequence[Any], given: Sequence[int], again: bool, keep: bool
) -> Sequence[Any]:
    """The cotangents of ``leaves`` from those of ``outputs`` at places ``given``, with a graph if they are differentiated ``again``. The engine is
    called as ``torch.autograd.grad`` calls it, whose checks of operands take as long as small modules."""
    reached = [(outputs[n], g) for n, g in zip(given, cotangents, strict=True) if outputs[n].requires_grad]
    if not reached:
        return [torch.zeros_like(x) for x in leaves]
    ys, gs = zip(*reached, strict=True)
    found = torch.autograd.graph._engine_run_backward(ys, gs, keep, again, tuple(leaves), allow_unreachable=True, accumulate_grad=False)
    return [torch.zeros_like(x) if g is None else g for g, x in zip(found, leaves, strict=True)]


def _shared(plan: Planner, node: Node, alone: Step) -> Step:
    """The step of a call or derivative that shares torch's graph with others where torch records nothing around it; ``alone``: elsewhere.
    Torch knows the operands as the module takes them, so that it need not differentiate changes of shape."""
    import torch

    if id(node) not in plan.calls:
        return alone
    call, which = plan.calls[id(node)]
    place, attrs = plan.slot(call.slot), NodeAttrs(node, {**dict(call.attrs), "operands": tuple(plan.types[n] for n in call.names)})
    ins = [plan.slot(n) for n in call.names]
    outs = [plan.slot(v.name) for v in node.outputs]
    wanted = [n in call.wrt for n in range(len(ins))]
    path: list[tuple[Derivative, list[int]]] = []  # the lowest first
    while which is not None:
        path.insert(0, (which, [plan.slot(n) for n in which.names]))
        which = which.before

    def called(frame: Frame) -> _Made:
        known = attrs.get(frame.sizes)
        shapes = [shape for _, shape in known["operands"]]
        flat = _flat_shapes(known, shapes)
        leaves = [_leaf(frame.slots[i], shape, flag) for i, shape, flag in zip(ins, flat, wanted, strict=True)]
        return _Made(leaves, shapes, _flat_function(frame, known)(*leaves))

    def derived(frame: Frame, before: _Made, which: Derivative, names: list[int]) -> _Made:
        ys = [y for y in before.results if y.is_floating_point() or y.is_complex()]
        leaves, shapes, cotangents = list(before.leaves), list(before.shapes), []
        for i, way in zip(names, which.given, strict=True):
            g = frame.slots[i]
            cotangents.append(_leaf(g, ys[way].shape, len(leaves) in which.further))
            leaves.append(cotangents[-1])
            shapes.append(g.shape)
        more = bool(which.further)
        wrt = [leaves[n] for n in which.wrt]
        return _Made(leaves, shapes, _pulled_back(torch, ys, wrt, cotangents, which.given, more, more or not which.last))

    def made(frame: Frame) -> _Made:
        record: dict[Derivative | None, _Made] | None = frame.slots[place]
        if record is None:
            record = frame.slots[place] = {None: called(frame)}
        found = record[None]
        for which, names in path:
            before, known = found, record.get(which)
            found = record[which] = derived(frame, before, which, names) if known is None else known
        return found

    def derive(frame: Frame) -> None:
        if torch.is_grad_enabled() or torch._C._functorch.maybe_current_level() is not None:
            alone(frame)
            return
        if torch.is_inference_mode_enabled():
            with torch.inference_mode(False), torch.enable_grad():
                found = made(frame)
        else:
            with torch.enable_grad():
                found = made(frame)
        flat = [y.detach() if y.requires_grad else y for y in found.results]
        shapes = [found.shapes[n] for n in path[-1][0].wrt] if path else [shape for _, shape in attrs.get(frame.sizes)["types"]]
        store(frame.slots, outs, [_shaped(y, shape) for y, shape in zip(flat, shapes, strict=True)])

    return derive


STEPS.update({"module": _module_step, "weights": _weights_step, "vjp": _vjp_step})
