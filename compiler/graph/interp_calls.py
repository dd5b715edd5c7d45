"""How the interpreter calls modules, reads their weights, and makes derivatives of library calls.

    vjp(f; x, y, 1); vjp(vjp(f); x, y, 1, z)      -->      f(x, y) with torch's graph; its gradient; that of <gradient, z>

Where torch records nothing around the program, nodes of one call (:mod:`.calls`) share what torch records of it: the call, and lower
derivatives; from one loop to another as far as :data:`KEPT` bytes go, and what is not kept is made again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .calls import Derivative, Member
from .graph import Node
from .interp_bound import bound_gradient, bound_second, engine
from .interp_control import STEPS, Frame, NodeAttrs, Planner, Step, store
from .interp_modules import Called, Form, called, instance
from .ops.common import is_differentiable, torch_dtype
from .ops.library import apply_vjp, plain
from .ops.table import Attrs, lookup
from .weights import flattened

#: Bytes that calls kept for a later loop may take.
KEPT = 256 << 20


def _module_function(frame: Frame, attrs: Attrs) -> Callable[..., tuple[Any, ...]]:
    """The module of a node as a function of tensors with the leading axes of the graph."""

    def function(*tensors: Any) -> tuple[Any, ...]:
        module = called(frame, attrs, [tuple(x.shape) for x in tensors])
        found = module([form.apart(x) for form, x in zip(module.operands, tensors, strict=True)])
        return tuple(form.together([y]) for form, y in zip(module.results, found, strict=True))

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
        frame.slots[out] = flattened(instance(frame, known)).to(torch_dtype(torch, dtype))

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
    forms: list[Form]
    results: list[list[Any]]
    result_forms: list[Form]


_Record = dict[Derivative | None, _Made]


def _leaf(xs: Sequence[Any], differentiated: bool) -> list[Any]:
    """Values without history."""
    own = [plain(x, nested=False) for x in xs]
    return [x.requires_grad_() for x in own] if differentiated else own


def _pulled_back(outputs: Sequence[Any], leaves: Sequence[Any], cotangents: Sequence[Any], again: bool, keep: bool) -> Sequence[Any]:
    """The cotangents of ``leaves`` from those of ``outputs``, with a graph if they are differentiated ``again``."""
    import torch

    reached = [n for n, y in enumerate(outputs) if y.requires_grad]
    if not reached:
        return [torch.zeros_like(x) for x in leaves]
    run = engine(leaves[0].device)
    ys, gs = tuple([outputs[n] for n in reached]), tuple([cotangents[n] for n in reached])
    found: Sequence[Any] = run(ys, gs, keep, again, tuple(leaves), allow_unreachable=True, accumulate_grad=False)
    return [torch.zeros_like(x) if g is None else g for g, x in zip(found, leaves)]


def _shared(plan: Planner, node: Node, alone: Step) -> Step:
    """The step of a node that shares what torch records with others, where torch records nothing around it; ``alone``: elsewhere."""
    import torch

    member = plan.calls.members.get(id(node))
    if member is None:
        return alone
    shared, key = _Shared(plan, node, member), object()

    def derive(frame: Frame) -> None:
        bound = frame.found.get(key)
        if bound is not None:
            bound(frame)
        elif torch.is_grad_enabled() or torch._C._functorch.maybe_current_level() is not None:
            alone(frame)
        else:
            bound = frame.found[key] = shared.bound(frame)
            (bound or shared)(frame)

    return derive


class _Shared:
    """What a node does that shares what torch records of a call. Torch knows operands as the module takes them, so that it need not differentiate
    changes of shape."""

    def __init__(self, plan: Planner, node: Node, member: Member) -> None:
        self.member = member
        self._attrs = NodeAttrs(node, {**dict(member.attrs), "operands": tuple(plan.types[n] for n in member.names)})
        self._record, self._tape = plan.slot(member.record), plan.slot(member.tape) if member.tape else None
        self._ins = [plan.slot(n) for n in member.names]
        self._outs = [plan.slot(v.name) for v in node.outputs]
        types = dict(member.attrs)["types"]
        able = [n for n, t in enumerate(types) if is_differentiable(t.dtype)]  # results that have cotangents
        self._path = []
        for which, names in member.path:
            self._path.append((which, [(plan.slot(n), able[way], (which, way)) for n, way in zip(names, which.given, strict=True)]))
            able = list(range(len(which.wrt)))
        self._graph = not self._path or bool(self._path[-1][0].further)  # whether the results have a graph
        self._is_bindable = len(types) == 1 and plan.indices.isdisjoint(self._attrs.names) and self._is_simple(plan)

    def __call__(self, frame: Frame) -> None:
        import torch

        if torch.is_inference_mode_enabled():
            with torch.inference_mode(False), torch.enable_grad():
                found = self._recorded(frame)
        else:
            with torch.enable_grad():
                found = self._recorded(frame)
        for out, form, ys in zip(self._outs, found.result_forms, found.results, strict=True):
            frame.slots[out] = form.together([y.detach() for y in ys] if self._graph else ys)

    def _recorded(self, frame: Frame) -> _Made:
        slots, record, tape, member = frame.slots, self._record, self._tape, self.member
        if slots[record] is None:
            slots[record] = _taken(slots[tape], frame.sizes[member.index]) if member.takes and tape is not None else {}
        if tape is None or member.takes:
            return self._filled(frame, slots[record])
        if slots[tape] is not None or member.call in frame.found:
            found = self._filled(frame, slots[record])
        else:
            found, size = _measured(lambda: self._filled(frame, slots[record]))
            frame.found[member.call] = KEPT // max(size, 1)
        self._keep(frame, tape, slots[record])
        return found

    def _keep(self, frame: Frame, tape: int, record: _Record) -> None:
        """Put what an iteration has recorded on the tape, if there is room."""
        slots = frame.slots
        if slots[tape] is None:
            slots[tape] = {}
        if len(slots[tape]) < frame.found[self.member.call]:
            slots[tape][frame.sizes[self.member.index]] = record

    def _filled(self, frame: Frame, made: _Record) -> _Made:
        """What the node asks for, of a record that has it now."""
        if None not in made:
            made[None] = self._called(frame)
        found = made[None]
        for which, names in self._path:
            if which not in made:
                made[which] = self._derived(frame, found, which, names)
            found = made[which]
        return found

    def _function(self, frame: Frame) -> Called:
        known = self._attrs.get(frame.sizes)
        return called(frame, known, [shape for _, shape in known["operands"]])

    def _called(self, frame: Frame) -> _Made:
        function, wrt = self._function(frame), self.member.call.wrt
        places = enumerate(zip(self._ins, function.operands, strict=True))
        operands = [self._operand(frame, (self._record, n), i, form, n in wrt) for n, (i, form) in places]
        return _Made(operands, function.operands, [[y] for y in function(operands)], function.results)

    def _derived(self, frame: Frame, before: _Made, which: Derivative, names: list[tuple[int, int, Any]]) -> _Made:
        leaves, forms = before.leaves.copy(), before.forms.copy()
        ys: list[Any] = []
        gs: list[Any] = []
        for slot, way, key in names:
            form = before.result_forms[way]
            cotangent = self._operand(frame, key, slot, form, len(leaves) in which.further)
            ys += before.results[way]
            gs += cotangent
            leaves.append(cotangent)
            forms.append(form)
        again, wrt = bool(which.further), [leaves[n] for n in which.wrt]
        found = iter(_pulled_back(ys, [x for xs in wrt for x in xs], gs, again, again or not which.last))
        return _Made(leaves, forms, [[next(found) for _ in xs] for xs in wrt], [forms[n] for n in which.wrt])

    def _operand(self, frame: Frame, key: Any, slot: int, form: Form, differentiated: bool) -> list[Any]:
        """What the module takes in place of a value; the same as the last time where it is the same value."""
        x = frame.slots[slot]
        before = frame.found.get(key)
        if before is None or before[0] is not x:
            before = frame.found[key] = x, _leaf(form.apart(x), differentiated)
        return before[1]

    # -- bound for a run

    def _is_simple(self, plan: Planner) -> bool:
        """Whether no other node of its region is of the call, and the node is a gradient in one operand or one of such a gradient."""
        if not self._path:
            return False
        member, (first, _), (last, _) = self.member, self._path[0], self._path[-1]
        peers = [m for m in plan.calls.members.values() if m.call is member.call]
        if last.given != (0,) or sum(m.record == member.record for m in peers) > 1:
            return False
        if member.takes:
            following = len(self._path) == 2 and last.last and not last.further
        else:
            following = len(self._path) == 1 and len(first.wrt) == 1
        operands = range(len(self._ins))
        recorded = self._tape is not None and first.given == (0,) and all(n in operands for d, _ in self._path for n in (*d.wrt, *d.further))
        return following and (recorded or len(peers) == 1)

    def bound(self, frame: Frame) -> Step | None:
        """The step of this run, where it can be bound: of what does the same in each iteration, after the first one."""
        import torch

        if not self._is_bindable or torch.is_inference_mode_enabled():
            return None
        function = self._function(frame)
        if function.has_weights:
            return None
        if self.member.takes:
            return self._bound_second(frame, function)
        (which, ((cotangent, _, _),)) = self._path[0]
        at, forms, tape = which.wrt[0], function.operands, self._tape
        if tape is None:
            alone = bound_gradient(function, self._ins, (at,), at, cotangent, self._outs[0], False, frame.device)

            def derive(frame: Frame) -> None:
                alone(frame.slots)

            return derive
        if self.member.call not in frame.found:
            return None
        record = bound_gradient(function, self._ins, self.member.call.wrt, at, cotangent, self._outs[0], True, frame.device)

        def recording(frame: Frame) -> None:
            leaves, cotangent, y, found = record(frame.slots)
            operands = [[x] for x in leaves]
            first = _Made(operands, forms, [[y]], function.results)
            self._keep(frame, tape, {None: first, which: _Made([*operands, [cotangent]], [*forms, *function.results], [[found]], [forms[at]])})

        return recording

    def _bound_second(self, frame: Frame, function: Called) -> Step:
        """The step that goes on with what the tape has, and is the node itself where it has nothing."""
        (first, _), (last, ((cotangent, _, _),)) = self._path
        second = bound_second(function, first.wrt[0], last.wrt, cotangent, self._outs, frame.device)
        tape, index = self._tape, self.member.index

        def go_on(frame: Frame) -> None:
            slots = frame.slots
            before = (slots[tape] or {}).get(frame.sizes[index])  # type: ignore[index]
            if before is None or first not in before:
                self(frame)
                return
            del slots[tape][frame.sizes[index]]  # type: ignore[index]
            second(slots, before[first].leaves, before[first].results[0][0])

        return go_on


def _taken(tape: dict[int, _Record] | None, place: int) -> _Record:
    """What an iteration has recorded, which is kept no longer; nothing where there was no room for it."""
    return {} if tape is None else tape.pop(place, {})


def _measured(make: Callable[[], _Made]) -> tuple[_Made, int]:
    """What is made, and how many bytes torch keeps for its derivatives, beside the operands."""
    import torch

    places: dict[int, int] = {}

    def pack(x: Any) -> Any:
        places[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        found = make()
    operands = {x.untyped_storage().data_ptr() for xs in found.leaves for x in xs}
    return found, sum(size for place, size in places.items() if place not in operands)


STEPS.update({"module": _module_step, "weights": _weights_step, "vjp": _vjp_step})
