"""How the interpreter runs what is more than one op: loops, branches, checks and compiled kernels (modules and derivatives of library calls:
:mod:`.interp_calls`). One function per kind of node makes its step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ..diagnostics import DataError
from .calls import Calls
from .graph import Node, Region
from .ops.common import attr_names, evaluator, torch_dtype
from .ops.table import Attrs
from .types import Type

if TYPE_CHECKING:
    from torch import Tensor

Modules = Mapping[str, Callable[..., Any] | Sequence[Callable[..., Any]]]
Kernels = Callable[[Node, "list[Tensor]", Mapping[str, int]], "Sequence[Tensor]"]


class Frame:
    """What one run of a graph knows: values by slot, sizes and loop indices, the hooks, and what steps have found out of modules. ``closed``: the
    results of modules must follow from their operands alone; :class:`.interp_modules.Learned` is raised for one that reads something learned."""

    __slots__ = ("closed", "device", "found", "given", "kernels", "modules", "sizes", "slots")

    def __init__(
        self, slots: list[Any], sizes: dict[str, int], modules: Modules, kernels: Kernels | None, device: Any, given: Sequence[Any]
    ) -> None:
        self.slots, self.sizes, self.modules, self.kernels, self.device, self.given = slots, sizes, modules, kernels, device, given
        self.found: dict[Any, Any] = {}
        self.closed = False

    def again(self) -> Frame:
        """The same run, which may go on in more ways than one."""
        other = Frame(self.slots.copy(), dict(self.sizes), self.modules, self.kernels, self.device, self.given)
        other.found, other.closed = dict(self.found), self.closed
        return other


Step = Callable[[Frame], None]


class Planner(Protocol):
    """What a step is made with: types and slots of values, the indices of loops, and steps of the nodes of a region."""

    types: Mapping[str, Type]
    indices: frozenset[str]

    @property
    def calls(self) -> Calls:
        """Which calls of modules, and derivatives of them, are of one call."""

    def slot(self, name: str) -> int:
        """The slot of a value."""

    def steps(self, nodes: Sequence[Node], results: Sequence[str]) -> Step:
        """One step that runs the nodes and keeps the results."""


class NodeAttrs:
    """Attributes of a node with sizes evaluated; kept while the sizes they name stay the same."""

    __slots__ = ("_last", "_names", "_parts")

    def __init__(self, node: Node, attrs: Attrs | None = None) -> None:
        raw = dict(node.attrs) if attrs is None else dict(attrs)
        self._parts = [(key, evaluator(value)) for key, value in raw.items()]
        self._names = tuple(sorted(attr_names(tuple(raw.values()))))
        self._last: tuple[Any, Attrs] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of sizes and loop indices that occur."""
        return self._names

    def key(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """The values of the names that occur. Raises KeyError naming a size that is not bound."""
        return tuple([sizes[n] for n in self._names])

    def get(self, sizes: Mapping[str, int]) -> Attrs:
        """The attributes for these sizes."""
        last = self._last
        if last is not None and not self._names:
            return last[1]
        key = self.key(sizes)
        if last is None or last[0] != key:
            last = (key, {k: part(sizes) for k, part in self._parts})
            self._last = last
        return last[1]


def store(slots: list[Any], outs: list[int], found: Any) -> None:
    """Put what an op returned, one tensor or several, into slots."""
    if not isinstance(found, (tuple, list)):
        found = (found,)
    for slot, value in zip(outs, found, strict=True):
        slots[slot] = value


# -- loops and branches ----------------------------------------------------------------------------------------------


def _region(plan: Planner, region: Region) -> tuple[list[int], Step, list[int]]:
    args = [plan.slot(v.name) for v in region.args]
    run = plan.steps(region.nodes, region.results)
    return args, run, [plan.slot(r) for r in region.results]


def _loop_step(plan: Planner, node: Node) -> Step:
    import torch

    attrs = dict(node.attrs)
    index, step = attrs["index"], attrs["step"]
    bounds = NodeAttrs(node, {k: attrs[k] for k in ("lower", "upper")})
    ins = [plan.slot(n) for n in node.inputs]
    args, run, results = _region(plan, node.regions[0])
    carried = len(args)
    stacked = attrs.get("stacked", 0)
    test = results[carried + stacked] if attrs.get("until") else None
    inner = [*args, *(plan.slot(v.name) for n in node.regions[0].nodes for v in n.outputs)]
    outs = [plan.slot(v.name) for v in node.outputs]
    stack_types = [v.type for v in node.outputs[carried:]]

    def loop(frame: Frame) -> None:
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
            size = type.shape[0].evaluate(sizes)
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


def _if_step(plan: Planner, node: Node) -> Step:
    condition = plan.slot(node.inputs[0])
    sides = [_region(plan, r) for r in node.regions]
    outs = [plan.slot(v.name) for v in node.outputs]

    def branch(frame: Frame) -> None:
        slots = frame.slots
        _, run, results = sides[0 if bool(slots[condition]) else 1]
        run(frame)
        for out, result in zip(outs, [slots[r] for r in results], strict=True):
            slots[out] = result

    return branch


# -- calls out of the graph ------------------------------------------------------------------------------------------


def _assert_step(plan: Planner, node: Node) -> Step:
    condition = plan.slot(node.inputs[0])
    message = node.attr("message")

    def check(frame: Frame) -> None:
        if not bool(frame.slots[condition].all()):
            raise DataError(message)

    return check


def _kernel_step(plan: Planner, node: Node) -> Step:
    ins = [plan.slot(n) for n in node.inputs]
    outs = [plan.slot(v.name) for v in node.outputs]

    def call(frame: Frame) -> None:
        if frame.kernels is None:
            raise TypeError("the graph has compiled kernels, but nothing was given to run them")
        store(frame.slots, outs, frame.kernels(node, [frame.slots[i] for i in ins], frame.sizes))

    return call


#: How to make the step of each op that is not a plain function of its operands.
STEPS: dict[str, Callable[[Planner, Node], Step]] = {
    "for": _loop_step,
    "if": _if_step,
    "assert": _assert_step,
    "kernel": _kernel_step,
}
