"""The reference interpreter: runs a graph on torch, op by op. It is the oracle of every test and the host program
around compiled kernels.

A graph is prepared once (names become slots, constants are made, values are dropped after their last use) and then
run for any sizes. What it computes is differentiable by torch's autograd. Torch is imported on first use.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..diagnostics import DataError
from .graph import Graph, Node, Region, free_names
from .ops.common import attr_names, evaluate_attrs, torch_dtype
from .ops.library import apply_vjp
from .ops.table import Attrs, Numerics, lookup
from .types import Size

if TYPE_CHECKING:
    from torch import Tensor

Modules = Mapping[str, Callable[..., Any] | Sequence[Callable[..., Any]]]
Kernels = Callable[[Node, "list[Tensor]", Mapping[str, int]], "list[Tensor]"]


class _Frame:
    """What one run of a graph knows: values by slot, sizes and loop indices, and the hooks."""

    __slots__ = ("device", "kernels", "modules", "sizes", "slots")

    def __init__(self, slots: list[Any], sizes: dict[str, int], modules: Modules, kernels: Kernels | None, device: Any) -> None:
        self.slots, self.sizes, self.modules, self.kernels, self.device = slots, sizes, modules, kernels, device


Step = Callable[[_Frame], None]


def interpret(
    graph: Graph,
    inputs: Sequence[Tensor],
    sizes: Mapping[str, int],
    *,
    modules: Modules | None = None,
    kernels: Kernels | None = None,
) -> tuple[Tensor, ...]:
    """Results of ``graph`` for input tensors; ``sizes`` binds every free size name.

    ``modules`` has the callables of ``module`` nodes by name; ``kernels`` runs ``kernel`` nodes. Results share no
    memory with the inputs. Raises DataError for a failed assertion, an index out of range, a matrix that cannot be
    factorised, and KeyError for a size or module that is missing.
    """
    import torch

    if len(inputs) != len(graph.inputs):
        raise DataError(f"{graph.name} takes {len(graph.inputs)} inputs, not {len(inputs)}")
    plan = _prepared(graph)
    frame = _Frame([None] * plan.width, dict(sizes), modules or {}, kernels, inputs[0].device if inputs else torch.device("cpu"))
    frame.slots[: len(inputs)] = inputs
    try:
        if frame.device.type == "cpu":
            plan.run(frame)
        else:
            with frame.device:
                plan.run(frame)
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
        raise DataError(str(error)) from error
    taken = {_storage(x) for x in inputs} | plan.shared_storage()
    results = []
    for slot in plan.results:
        value = frame.slots[slot].contiguous()
        place = _storage(value)
        if place is None or place in taken:
            value = value.clone()
            place = _storage(value)
        taken.add(place)
        results.append(value)
    return tuple(results)


def _storage(x: Any) -> int | None:
    """Where a tensor's memory starts; None if that is not known (a tensor inside a torch.func transform)."""
    try:
        return int(x.untyped_storage().data_ptr()) or None
    except (RuntimeError, NotImplementedError):
        return None


# -- preparing -------------------------------------------------------------------------------------------------------

_PLANS: dict[int, tuple[weakref.ref[Graph], _Plan]] = {}
_LOCK = threading.Lock()


def _prepared(graph: Graph) -> _Plan:
    key = id(graph)
    found = _PLANS.get(key)
    if found is not None and found[0]() is graph:
        return found[1]
    plan = _Plan(graph)
    with _LOCK:
        _PLANS[key] = (weakref.ref(graph, lambda _: _PLANS.pop(key, None)), plan)
    return plan


class _Plan:
    """A graph as a list of steps over numbered slots."""

    def __init__(self, graph: Graph) -> None:
        self._slot: dict[str, int] = {}
        self._constants: list[_Constant] = []
        for value in graph.inputs:
            self.slot(value.name)
        self.run = self._steps(graph.nodes, graph.results)
        self.results = [self._slot[r] for r in graph.results]
        self.width = len(self._slot)

    def slot(self, name: str) -> int:
        """The slot of a value, given out on first sight."""
        return self._slot.setdefault(name, len(self._slot))

    def shared_storage(self) -> set[int | None]:
        """Memory of constants, which outlive the run."""
        return {_storage(c.value) for c in self._constants if c.value is not None}

    def _steps(self, nodes: Sequence[Node], results: Sequence[str]) -> Step:
        """One function that runs the nodes in order; a value made here is dropped after its last use."""
        made = {v.name for n in nodes for v in n.outputs}
        last: dict[str, int] = {}
        for position, node in enumerate(nodes):
            last.update(dict.fromkeys((free_names(node) | {v.name for v in node.outputs}) & made, position))
        kept = set(results)
        dead: dict[int, list[int]] = {}
        steps = [self._step(n) for n in nodes]
        for name, position in last.items():
            if name not in kept:
                dead.setdefault(position, []).append(self._slot[name])
        work = [(step, tuple(dead.get(position, ()))) for position, step in enumerate(steps)]

        def run(frame: _Frame) -> None:
            slots = frame.slots
            for step, drop in work:
                step(frame)
                for slot in drop:
                    slots[slot] = None

        return run

    def _step(self, node: Node) -> Step:
        special = _SPECIAL.get(node.op)
        if special is not None:
            return special(self, node)
        ins = [self.slot(n) for n in node.inputs]
        outs = [self.slot(v.name) for v in node.outputs]
        attrs = _Attrs(node)
        numerics = lookup(node.op).numerics
        if numerics is None:
            raise TypeError(f"{node.op} cannot be run")
        if not ins:
            constant = _Constant(numerics, attrs)
            self._constants.append(constant)
            return lambda frame: frame.slots.__setitem__(outs[0], constant.get(frame))
        return _call(numerics, attrs, ins, outs)


class _Attrs:
    """Attributes of a node with sizes evaluated; kept while the sizes they name stay the same."""

    __slots__ = ("_last", "_names", "_raw")

    def __init__(self, node: Node, attrs: Attrs | None = None) -> None:
        self._raw = dict(node.attrs) if attrs is None else dict(attrs)
        self._names = tuple(sorted(attr_names(tuple(self._raw.values()))))
        self._last: tuple[Any, Attrs] | None = None if self._names else ((), evaluate_attrs(self._raw, {}))

    def key(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """The values of the names that occur. Raises KeyError naming a size that is not bound."""
        return tuple([sizes[n] for n in self._names])

    def get(self, sizes: Mapping[str, int]) -> Attrs:
        """The attributes for these sizes."""
        last = self._last
        key = self.key(sizes)
        if last is None or last[0] != key:
            last = (key, evaluate_attrs(self._raw, sizes))
            self._last = last
        return last[1]


class _Constant:
    """A value that depends on sizes only, kept between runs."""

    __slots__ = ("_attrs", "_numerics", "_state")

    def __init__(self, numerics: Numerics, attrs: _Attrs) -> None:
        self._numerics, self._attrs = numerics, attrs
        self._state: tuple[Any, Any] = (None, None)

    @property
    def value(self) -> Any:
        """The tensor made last, or None."""
        return self._state[1]

    def get(self, frame: _Frame) -> Any:
        """The value for the frame's sizes and device."""
        import torch

        key = (self._attrs.key(frame.sizes), frame.device)
        state = self._state
        if state[0] != key:
            with torch.inference_mode(False):
                state = (key, self._numerics(torch, self._attrs.get(frame.sizes)))
            self._state = state
        return state[1]


def _call(numerics: Numerics, attrs: _Attrs, ins: list[int], outs: list[int]) -> Step:
    """The step of an ordinary op; one and two operands are the common case."""
    import torch

    if len(outs) == 1 and len(ins) == 1:
        (i,), (out,) = ins, outs

        def one(frame: _Frame) -> None:
            slots = frame.slots
            slots[out] = numerics(torch, attrs.get(frame.sizes), slots[i])

        return one
    if len(outs) == 1 and len(ins) == 2:
        (i, j), (out,) = ins, outs

        def two(frame: _Frame) -> None:
            slots = frame.slots
            slots[out] = numerics(torch, attrs.get(frame.sizes), slots[i], slots[j])

        return two

    def several(frame: _Frame) -> None:
        slots = frame.slots
        _store(slots, outs, numerics(torch, attrs.get(frame.sizes), *[slots[i] for i in ins]))

    return several


def _store(slots: list[Any], outs: list[int], found: Any) -> None:
    if not isinstance(found, (tuple, list)):
        found = (found,)
    for slot, value in zip(outs, found, strict=True):
        slots[slot] = value


# -- loops and branches ----------------------------------------------------------------------------------------------


def _region(plan: _Plan, region: Region) -> tuple[list[int], Step, list[int]]:
    args = [plan.slot(v.name) for v in region.args]
    run = plan._steps(region.nodes, region.results)
    return args, run, [plan.slot(r) for r in region.results]


def _loop_step(plan: _Plan, node: Node) -> Step:
    import torch

    attrs = dict(node.attrs)
    index, step = attrs["index"], attrs["step"]
    bounds = _Attrs(node, {k: attrs[k] for k in ("lower", "upper")})
    length = Size.of(attrs.get("stack_size") or 0)
    ins = [plan.slot(n) for n in node.inputs]
    args, run, results = _region(plan, node.regions[0])
    carried = len(args)
    stacked = attrs.get("stacked", 0)
    test = results[carried + stacked] if attrs.get("until") else None
    inner = [*args, *(plan.slot(v.name) for n in node.regions[0].nodes for v in n.outputs)]
    outs = [plan.slot(v.name) for v in node.outputs]
    stack_types = [v.type for v in node.outputs[carried:]]

    def loop(frame: _Frame) -> None:
        slots, sizes = frame.slots, frame.sizes
        outer = sizes.get(index)
        bound = bounds.get(sizes)
        places = range(bound["lower"], bound["upper"], step)
        state = [slots[i] for i in ins]
        rows: list[list[Any]] = [[] for _ in range(stacked)]
        active: Any = None  # bool[batch] once problems may have stopped
        for place in places:
            sizes[index] = place
            for slot, value in zip(args, state, strict=True):
                slots[slot] = value
            run(frame)
            new = [slots[r] for r in results]
            if active is not None:
                new[:carried] = [_select(torch, active, n, o) for n, o in zip(new[:carried], state, strict=True)]
                new[carried : carried + stacked] = [
                    _select(torch, active, n, r[-1]) for n, r in zip(new[carried : carried + stacked], rows, strict=True)
                ]
            state = new[:carried]
            for row, value in zip(rows, new[carried : carried + stacked], strict=True):
                row.append(value)
            if test is not None:
                stop = slots[test]
                if stop.dim():
                    active = ~stop if active is None else active & ~stop
                    if not bool(active.any()):
                        break
                elif bool(stop):
                    break
        for slot in inner:
            slots[slot] = None
        if outer is None:
            sizes.pop(index, None)
        else:
            sizes[index] = outer
        for slot, value in zip(outs, state, strict=False):
            slots[slot] = value
        for slot, row, type in zip(outs[carried:], rows, stack_types, strict=True):
            size = length.evaluate(sizes)
            row += [row[-1]] * (min(len(places), size) - len(row)) if row else []  # stopped early: the last state stays
            if len(row) == size and row:
                slots[slot] = torch.stack(row)
                continue
            shape = tuple(s.evaluate(sizes) for s in type.shape)
            rest = torch.zeros((size - len(row), *shape[1:]), dtype=torch_dtype(torch, type.dtype), device=frame.device)
            slots[slot] = torch.cat([torch.stack(row), rest]) if row else rest

    return loop


def _select(torch: Any, active: Any, new: Any, old: Any) -> Any:
    """Per problem: the new value where it is still running."""
    return torch.where(active.view(-1, *[1] * (new.dim() - 1)), new, old)


def _if_step(plan: _Plan, node: Node) -> Step:
    condition = plan.slot(node.inputs[0])
    sides = [_region(plan, r) for r in node.regions]
    outs = [plan.slot(v.name) for v in node.outputs]

    def branch(frame: _Frame) -> None:
        slots = frame.slots
        _, run, results = sides[0 if bool(slots[condition]) else 1]
        run(frame)
        for out, result in zip(outs, [slots[r] for r in results], strict=True):
            slots[out] = result

    return branch


# -- calls out of the graph ------------------------------------------------------------------------------------------


def _module_function(frame: _Frame, attrs: Attrs) -> Callable[..., tuple[Any, ...]]:
    """The module of a node as a function of tensors with the leading axes of the graph."""
    found: Any = frame.modules[attrs["name"]]
    if attrs.get("index") is not None:
        found = found[attrs["index"]]
    batched = bool(attrs.get("batched"))
    shapes = [shape if batched else (1, *shape) for _, shape in attrs["types"]]

    def function(*tensors: Any) -> tuple[Any, ...]:
        out = found(*(tensors if batched else [t.unsqueeze(0) for t in tensors]))
        out = tuple(out) if isinstance(out, (tuple, list)) else (out,)
        if [tuple(y.shape) for y in out] != shapes:
            got, needed = (", ".join(map(str, s)) for s in ([tuple(y.shape) for y in out], shapes))
            raise DataError(f"module {attrs['name']} returned shape {got}, but {needed} is needed")
        return out if batched else tuple(y.squeeze(0) for y in out)

    return function


def _module_step(plan: _Plan, node: Node) -> Step:
    ins = [plan.slot(n) for n in node.inputs]
    outs = [plan.slot(v.name) for v in node.outputs]
    attrs = _Attrs(node)

    def call(frame: _Frame) -> None:
        slots = frame.slots
        _store(slots, outs, _module_function(frame, attrs.get(frame.sizes))(*[slots[i] for i in ins]))

    return call


def _vjp_step(plan: _Plan, node: Node) -> Step:
    """``vjp`` of any op; that of a module (at any depth) needs the module of this run."""
    ins = [plan.slot(n) for n in node.inputs]
    outs = [plan.slot(v.name) for v in node.outputs]
    attrs = _Attrs(node)

    def call(frame: _Frame) -> None:
        tensors = [frame.slots[i] for i in ins]
        _store(frame.slots, outs, _vjp_function(frame, attrs.get(frame.sizes))(*tensors))

    return call


def _vjp_function(frame: _Frame, attrs: Attrs) -> Callable[..., Any]:
    import torch

    op, inner, count = attrs["op"], dict(attrs["op_attrs"]), attrs["inputs"]
    if op == "module":
        function: Callable[..., Any] = _module_function(frame, inner)
    elif op == "vjp":
        function = _vjp_function(frame, inner)
    else:
        numerics = lookup(op).numerics
        if numerics is None:
            raise TypeError(f"{op} has no numerics of its own")
        function = lambda *xs: numerics(torch, inner, *xs)  # noqa: E731
    return lambda *tensors: apply_vjp(torch, function, tensors[:count], tensors[count:])


def _assert_step(plan: _Plan, node: Node) -> Step:
    condition = plan.slot(node.inputs[0])
    message = node.attr("message")

    def check(frame: _Frame) -> None:
        if not bool(frame.slots[condition].all()):
            raise DataError(message)

    return check


def _kernel_step(plan: _Plan, node: Node) -> Step:
    ins = [plan.slot(n) for n in node.inputs]
    outs = [plan.slot(v.name) for v in node.outputs]

    def call(frame: _Frame) -> None:
        if frame.kernels is None:
            raise TypeError("the graph has compiled kernels, but nothing was given to run them")
        _store(frame.slots, outs, frame.kernels(node, [frame.slots[i] for i in ins], frame.sizes))

    return call


_SPECIAL: dict[str, Callable[[_Plan, Node], Step]] = {
    "for": _loop_step,
    "if": _if_step,
    "module": _module_step,
    "vjp": _vjp_step,
    "assert": _assert_step,
    "kernel": _kernel_step,
}
