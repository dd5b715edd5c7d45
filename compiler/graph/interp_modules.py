"""How the interpreter runs modules, their weights, and derivatives of library calls.

    vjp(f; x, y, 1); vjp(vjp(f); x, y, 1, z)      -->      f(x, y) with torch's graph; its gradient; that of <gradient, z>

Where torch records nothing around the program, nodes of one call (:mod:`.calls`) share what torch records of it: the call, and lower
derivatives; from one loop to another as far as :data:`KEPT` bytes go, and what is not kept is made again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from ..diagnostics import DataError
from .calls import Derivative
from .graph import Node
from .interp_bound import bound_gradient, bound_record, bound_second, engine
from .interp_control import STEPS, Frame, NodeAttrs, Planner, Step, store
from .ops.common import is_differentiable, torch_dtype
from .ops.library import apply_vjp, plain
from .ops.table import Attrs, lookup
from .weights import Parameters, each, flattened, parameters

#: Bytes that calls kept for a later loop may take.
KEPT = 256 << 20


class Learned(Exception):
    """A module reads something that requires a gradient, beside its operands."""

    def __init__(self, module: Any) -> None:
        self.module = module


def reads_others(results: Sequence[Any], operands: Sequence[Any]) -> bool:
    """Whether torch's graph of results has leaves that are none of the operands."""
    if any(y.is_leaf and y.requires_grad and not any(y is x for x in operands) for y in results):
        return True
    seen, stack = set(), [y.grad_fn for y in results]
    while stack:
        function = stack.pop()
        if function is None or function in seen:
            continue
        seen.add(function)
        if hasattr(function, "variable") and not any(function.variable is x for x in operands):
            return True
        stack += [before for before, _ in function.next_functions]
    return False


@dataclass
class _Form:
    """How a module knows a value of the program, of ``shape``: as one tensor or, weights, as one for each of several parameters, which have
    ``sizes`` elements."""

    shape: tuple[int, ...]
    parts: list[tuple[int, ...]]
    sizes: list[int] | None = None

    def apart(self, x: Any) -> list[Any]:
        """The tensors that the module knows."""
        if self.sizes is None:
            return [_shaped(x, self.parts[0])]
        return [_shaped(p, shape) for p, shape in zip(x.split_with_sizes(self.sizes, -1), self.parts, strict=True)]

    def together(self, xs: Sequence[Any]) -> Any:
        """The value of the program."""
        if self.sizes is None:
            return _shaped(xs[0], self.shape)
        import torch

        return torch.cat([x.reshape(*self.shape[:-1], -1) for x in xs], -1)


def _shaped(x: Any, shape: tuple[int, ...]) -> Any:
    """A value in this shape."""
    return x if x.shape == shape else x.view(shape) if x.is_contiguous() else x.reshape(shape)


class _Called:
    """A module as a node calls it: with one leading axis in place of all, two where problems have weights of their own, which have the first."""

    def __init__(self, frame: Frame, attrs: Attrs, shapes: Sequence[tuple[int, ...]]) -> None:
        self.name, self.module = attrs["name"], _instance(frame, attrs)
        self.doubtful = frame.closed  # whether it may read something learned
        lead, self._own = attrs.get("batched", 0), attrs.get("own")
        results = [shape for _, shape in attrs["types"]]
        first = results[0][:lead]
        axes = (prod(first[: self._own]), prod(first[self._own :])) if self._own else (prod(first),)
        self._flat = [(*axes, *shape[lead:]) for shape in results]
        self.results = [_Form(shape, [flat]) for shape, flat in zip(results, self._flat, strict=True)]
        self.operands = [_Form(shape, [(*axes, *shape[lead:])]) for shape in (shapes if self._own is None else shapes[:-1])]
        self._parameters: Parameters | None = None
        if self._own is not None:
            self._parameters = parameters(self.module)
            parts = [(axes[0], *shape) if self._own else shape for shape in self._parameters.shapes]
            self.operands.append(_Form(shapes[-1], parts, self._parameters.sizes if len(parts) > 1 else None))

    @property
    def has_weights(self) -> bool:
        """Whether weights are an operand."""
        return self._parameters is not None

    def __call__(self, operands: Sequence[Sequence[Any]]) -> tuple[Any, ...]:
        """The results, as the module gives them, for operands as it takes them. Raises Learned."""
        if self.doubtful:
            import torch

            self.doubtful = False
            with torch.enable_grad():
                found = self(operands)
            if reads_others(found, [x for xs in operands for x in xs]):
                raise Learned(self.module)
            return found if torch.is_grad_enabled() else tuple(y.detach() for y in found)
        if self._parameters is None:
            out = self.module(*(xs[0] for xs in operands))
        else:
            inputs, values = [xs[0] for xs in operands[:-1]], operands[-1]
            if not self._own:
                out = self._parameters.call(self.module, values, inputs)
            elif values[0].shape[0]:
                out = each(self.name, self.module, self._parameters, values, inputs)
            else:
                out = [values[0].new_zeros(shape) for shape in self._flat]
        return self.checked(out)

    def checked(self, out: Any) -> tuple[Any, ...]:
        """What the module has returned, as a tuple. Raises DataError for other shapes than a program says."""
        found: tuple[Any, ...] = tuple(out) if isinstance(out, (tuple, list)) else (out,)
        if [y.shape for y in found] != self._flat:
            skipped = 1 if self._own else 0
            got, needed = (", ".join(str(tuple(s[skipped:])) for s in shapes) for shapes in ([y.shape for y in found], self._flat))
            raise DataError(f"module {self.name} returned shape {got}, but {needed} is needed")
        return found


def _called(frame: Frame, attrs: Attrs, shapes: Sequence[tuple[int, ...]]) -> _Called:
    """The module of a node for operands of these shapes, made once for a run."""
    key = attrs["name"], attrs.get("index"), attrs["types"], attrs.get("own"), tuple(shapes)
    if key not in frame.found:
        frame.found[key] = _Called(frame, attrs, shapes)
    return frame.found[key]  # type: ignore[no-any-return]


def _instance(frame: Frame, attrs: Attrs) -> Any:
    found: Any = frame.modules[attrs["name"]]
    return found if attrs.get("index") is None else found[attrs["index"]]


def _module_function(frame: Frame, attrs: Attrs) -> Callable[..., tuple[Any, ...]]:
    """The module of a node as a function of tensors with the leading axes of the graph."""

    def function(*tensors: Any) -> tuple[Any, ...]:
        called = _called(frame, attrs, [tuple(x.shape) for x in tensors])
        found = called([form.apart(x) for form, x in zip(called.operands, tensors, strict=True)])
        return tuple(form.together([y]) for form, y in zip(called.results, found, strict=True))

    return function


def _module_step(plan: Planner, node: Node) -> Step:
    return _shared(plan, node, _step_alone(plan, node, _module_function))


def _step_alone(plan: Planner, node: Node, function: Callable[[Frame, Attrs], Callable[..., Any]]) -> Step:
    """The step of a node that shares nothing; ``function`` makes what it calls, of this run and its attributes."""
    ins = [plan.slot(n) for n in node.inputs]
    outs = [plan.slot(v.name) for v in node.outputs]
    attrs = NodeAttrs(node)

    def call(frame: Frame) -> None:
        slots = frame.slots
        store(slots, outs, function(frame, attrs.get(frame.sizes))(*[slots[i] for i in ins]))

    return call


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
    return _shared(plan, node, _step_alone(plan, node, _vjp_function))


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


# -- nodes of one call -----------------------------------------------------------------------------------------------


@dataclass
class _Made:
    """Results with torch's graph, and what they are differentiated in, as the module knows them, with their forms."""

    leaves: list[list[Any]]
    forms: list[_Form]
    results: list[list[Any]]
    result_forms: list[_Form]


_Record = dict[Derivative | None, _Made]


def _leaf(xs: Sequence[Any], differentiated: bool) -> list[Any]:
    """Values without history."""
    own = [plain(x, nested=False) for x in xs]
    return [x.requires_grad_() for x in own] if differentiated else own


def _pulled_back(
    torch: Any, outputs: Sequence[Any], leaves: Sequence[Any], cotangents: Sequence[Any], again: bool, keep: bool
) -> Sequence[Any]:
    """The cotangents of ``leaves`` from those of ``outputs``, with a graph if they are differentiated ``again``."""
    reached = [n for n, y in enumerate(outputs) if y.requires_grad]
    if not reached:
        return [torch.zeros_like(x) for x in leaves]
    run = engine(leaves[0].device)
    ys, gs = tuple([outputs[n] for n in reached]), tuple([cotangents[n] for n in reached])
    found: Sequence[Any] = run(ys, gs, keep, again, tuple(leaves), allow_unreachable=True, accumulate_grad=False)
    return [torch.zeros_like(x) if g is None else g for g, x in zip(found, leaves)]


def _shared(plan: Planner, node: Node, alone: Step) -> Step:
    """The step of a node that shares what torch records with others, where torch records nothing around it; ``alone``: elsewhere. Torch knows
    operands as the module takes them, so that it need not differentiate changes of shape."""
    import torch

    member = plan.calls.members.get(id(node))
    if member is None:
        return alone
    attrs = NodeAttrs(node, {**dict(member.attrs), "operands": tuple(plan.types[n] for n in member.names)})
    record, tape = plan.slot(member.record), plan.slot(member.tape) if member.tape else None
    ins = [plan.slot(n) for n in member.names]
    outs = [plan.slot(v.name) for v in node.outputs]
    able = [n for n, t in enumerate(dict(member.attrs)["types"]) if is_differentiable(t.dtype)]  # results that have cotangents
    path = []
    for which, names in member.path:
        path.append((which, [(plan.slot(n), able[way], (which, way)) for n, way in zip(names, which.given, strict=True)]))
        able = list(range(len(which.wrt)))
    graph = not path or bool(path[-1][0].further)  # whether the results have a graph

    def operand(frame: Frame, key: Any, slot: int, form: _Form, differentiated: bool) -> list[Any]:
        """What the module takes in place of a value; the same as the last time where it is the same value."""
        x = frame.slots[slot]
        before = frame.found.get(key)
        if before is None or before[0] is not x:
            before = frame.found[key] = x, _leaf(form.apart(x), differentiated)
        return before[1]

    def function_of(frame: Frame) -> _Called:
        known = attrs.get(frame.sizes)
        return _called(frame, known, [shape for _, shape in known["operands"]])

    def called(frame: Frame) -> _Made:
        function, wrt = function_of(frame), member.call.wrt
        operands = [operand(frame, (record, n), i, form, n in wrt) for n, (i, form) in enumerate(zip(ins, function.operands, strict=True))]
        return _Made(operands, function.operands, [[y] for y in function(operands)], function.results)

    def derived(frame: Frame, before: _Made, which: Derivative, names: list[tuple[int, int, Any]]) -> _Made:
        leaves, forms = before.leaves.copy(), before.forms.copy()
        ys: list[Any] = []
        gs: list[Any] = []
        for slot, way, key in names:
            form = before.result_forms[way]
            cotangent = operand(frame, key, slot, form, len(leaves) in which.further)
            ys += before.results[way]
            gs += cotangent
            leaves.append(cotangent)
            forms.append(form)
        again, wrt = bool(which.further), [leaves[n] for n in which.wrt]
        found = iter(_pulled_back(torch, ys, [x for xs in wrt for x in xs], gs, again, again or not which.last))
        return _Made(leaves, forms, [[next(found) for _ in xs] for xs in wrt], [forms[n] for n in which.wrt])

    def fill(frame: Frame, made: _Record) -> _Made:
        if None not in made:
            made[None] = called(frame)
        found = made[None]
        for which, names in path:
            if which not in made:
                made[which] = derived(frame, found, which, names)
            found = made[which]
        return found

    def recorded(frame: Frame) -> _Made:
        slots = frame.slots
        if slots[record] is None:
            slots[record] = _taken(slots[tape], frame.sizes[member.index]) if member.takes and tape is not None else {}
        if tape is None or member.takes:
            return fill(frame, slots[record])
        if slots[tape] is not None or member.call in frame.found:
            found = fill(frame, slots[record])
        else:
            found, size = _measured(torch, lambda: fill(frame, slots[record]))
            frame.found[member.call] = KEPT // max(size, 1)
        if slots[tape] is None:
            slots[tape] = {}
        if len(slots[tape]) < frame.found[member.call]:
            slots[tape][frame.sizes[member.index]] = slots[record]
        return found

    last, count, peers = path[-1][0] if path else None, len(ins), [m for m in plan.calls.members.values() if m.call is member.call]
    one_result = last is not None and last.given == (0,) and len(dict(member.attrs)["types"]) == 1
    first = one_result and len(path) == 1 and len(path[0][0].wrt) == 1
    of_operands = bool(path) and path[0][0].given == (0,) and all(n < count for which, _ in path for n in (*which.wrt, *which.further))
    by_itself = plan.indices.isdisjoint(attrs.names) and sum(m.record == member.record for m in peers) == 1
    bindable, key = by_itself and one_result and (first if len(peers) == 1 else of_operands and tape is not None), object()
    taking = bindable and member.takes and len(path) == 2 and last is not None and last.last and not last.further

    def bind(frame: Frame) -> Step | None:
        """The step of this run, where it can be bound."""
        function = function_of(frame)
        if last is None or function.has_weights or function.doubtful or torch.is_inference_mode_enabled():
            return None
        forms, given = function.operands, function.results[0]
        taken, at = [f.parts[0] for f in forms], path[0][0].wrt[0]
        if taking:
            second = bound_second(path[1][1][0][0], outs, last.wrt, taken[at], [forms[n].shape for n in last.wrt], frame.device)

            def go_on(frame: Frame) -> None:
                slots = frame.slots
                before = (slots[tape] or {}).get(frame.sizes[member.index])  # type: ignore[index]
                if before is None or path[0][0] not in before:
                    unbound(frame)
                    return
                del slots[tape][frame.sizes[member.index]]  # type: ignore[index]
                made = before[path[0][0]]
                second(slots, made.leaves, made.results[0][0])

            return go_on
        if member.takes or not first or (member.tape and member.call not in frame.found):
            return None
        shapes = function.module, function.checked, ins
        rest = at, path[0][1][0][0], outs[0], taken, given.parts[0], forms[at].shape, frame.device
        if not member.tape:
            alone_here = bound_gradient(*shapes, *rest)
            return lambda frame: alone_here(frame.slots)
        recording, derivative = bound_record(*shapes, sorted(member.call.wrt), *rest), path[0][0]

        def record_it(frame: Frame) -> None:
            slots = frame.slots
            leaves, cotangent, y, found = recording(slots)
            if slots[tape] is None:  # type: ignore[index]
                slots[tape] = {}  # type: ignore[index]
            if len(slots[tape]) < frame.found[member.call]:  # type: ignore[index]
                operands = [[x] for x in leaves]
                slots[tape][frame.sizes[member.index]] = {  # type: ignore[index]
                    None: _Made(operands, forms, [[y]], function.results),
                    derivative: _Made([*operands, [cotangent]], [*forms, given], [[found]], [forms[at]]),
                }

        return record_it

    def derive(frame: Frame) -> None:
        bound = frame.found.get(key)
        if bound is not None:
            bound(frame)
            return
        if torch.is_grad_enabled() or torch._C._functorch.maybe_current_level() is not None:
            alone(frame)
            return
        bound = frame.found[key] = bind(frame) if bindable else None
        if bound is not None:
            bound(frame)
            return
        unbound(frame)

    def unbound(frame: Frame) -> None:
        if torch.is_inference_mode_enabled():
            with torch.inference_mode(False), torch.enable_grad():
                found = recorded(frame)
        else:
            with torch.enable_grad():
                found = recorded(frame)
        for out, form, ys in zip(outs, found.result_forms, found.results, strict=True):
            frame.slots[out] = form.together([y.detach() for y in ys] if graph else ys)

    return derive


def _taken(tape: dict[int, _Record] | None, place: int) -> _Record:
    """What an iteration has recorded, which is kept no longer; nothing where there was no room for it."""
    return {} if tape is None else tape.pop(place, {})


def _measured(torch: Any, make: Callable[[], _Made]) -> tuple[_Made, int]:
    """What is made, and how many bytes torch keeps for its derivatives, beside the operands."""
    places: dict[int, int] = {}

    def pack(x: Any) -> Any:
        places[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        found = make()
    operands = {x.untyped_storage().data_ptr() for xs in found.leaves for x in xs}
    return found, sum(size for place, size in places.items() if place not in operands)


STEPS.update({"module": _module_step, "weights": _weights_step, "vjp": _vjp_step})
