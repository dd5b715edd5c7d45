"""The reference interpreter: runs a graph on torch, op by op. It is the oracle of every test and the host program
around compiled kernels.

A graph is prepared once (names become slots, constants are made, values are dropped after their last use) and then
run for any sizes. What it computes is differentiable by torch's autograd. Torch is imported on first use.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..diagnostics import DataError
from . import interp_calls  # noqa: F401  it has steps
from .calls import Calls
from .graph import Graph, Node, free_names, loop_indices
from .interp_control import STEPS, Frame, Kernels, Modules, NodeAttrs, Step, store
from .ops.table import Numerics, lookup
from .partition import apart
from .types import Type
from .watch import Watch

if TYPE_CHECKING:
    from torch import Tensor


def interpret(
    graph: Graph,
    inputs: Sequence[Tensor],
    sizes: Mapping[str, int],
    *,
    modules: Modules | None = None,
    kernels: Kernels | None = None,
    debug: bool = False,
) -> tuple[Tensor, ...]:
    """Results of ``graph`` for input tensors; ``sizes`` binds every free size name.

    ``modules`` has the callables of ``module`` nodes by name; ``kernels`` runs ``kernel`` nodes. Results share no
    memory with the inputs. With ``debug`` every operation is looked at (see :mod:`.watch`). Raises DataError for a failed
    assertion, an index out of range, a matrix that cannot be factorised, and KeyError for a size or module that is missing.
    """
    if len(inputs) != len(graph.inputs):
        raise DataError(f"{graph.name} takes {len(graph.inputs)} inputs, not {len(inputs)}")
    plan = _prepared(graph, debug)
    frame = plan.frame(inputs, sizes, modules, kernels)
    _run(plan.run, frame)
    return _delivered(frame, plan.results, inputs, plan.shared_storage())


def _run(step: Step, frame: Frame) -> None:
    import torch

    try:
        if frame.device.type == "cpu":
            step(frame)
        else:
            with frame.device:
                step(frame)
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
        raise DataError(str(error)) from error


def _delivered(frame: Frame, slots: Sequence[int], inputs: Sequence[Tensor], taken: set[int | None]) -> tuple[Tensor, ...]:
    """The values of slots, in memory that neither inputs nor others have, nor what is ``taken``."""
    taken = {_storage(x) for x in inputs} | taken
    results = []
    for slot in slots:
        value = frame.slots[slot].contiguous()
        place = _storage(value)
        if place is None or place in taken:
            value = value.clone()
            place = _storage(value)
        taken.add(place)
        results.append(value)
    return tuple(results)


class Begun:
    """A run of a graph whose last inputs come later, such as the cotangents of the results that it has first: :meth:`begin` does what does not
    follow from them. ``late`` is how many they are, ``early`` how many results are there before them; nodes stand in the order of
    :func:`.partition.partition`.

    Modules read their operands alone: ``closed``, see :class:`.interp_control.Frame`.
    """

    def __init__(
        self, graph: Graph, inputs: Sequence[Tensor], sizes: Mapping[str, int], late: int, early: int, modules: Modules, kernels: Kernels
    ) -> None:
        self._plan, self._early = _prepared(graph, False), early
        self._first, self._rest, self._kept = self._plan.halves(graph, late, early)
        self._frame = self._plan.frame(inputs, sizes, modules, kernels)
        self._frame.closed = True

    def begin(self) -> tuple[Tensor, ...]:
        """The first results, which the run keeps only where the rest reads them, as what nobody else can change."""
        frame, plan, early = self._frame, self._plan, self._plan.results[: self._early]
        _run(self._first, frame)
        kept = {_storage(frame.slots[slot]) for slot in early if slot in self._kept}
        found = _delivered(frame, early, frame.given, plan.shared_storage() | kept)
        for slot in early:
            if slot not in self._kept:
                frame.slots[slot] = None
        return found

    def finish(self, inputs: Sequence[Tensor], *, last: bool) -> tuple[Tensor, ...]:
        """The results behind the first ones, from the inputs that were missing; as often as one likes, but for the ``last`` time, which drops what
        it has used."""
        frame, given = self._frame if last else self._frame.again(), len(self._frame.given)
        frame.slots[given : given + len(inputs)] = inputs
        _run(self._rest, frame)
        return _delivered(frame, self._plan.results[self._early :], [*frame.given, *inputs], self._plan.shared_storage())


def _storage(x: Any) -> int | None:
    """Where a tensor's memory starts; None if that is not known (a tensor inside a torch.func transform)."""
    try:
        return int(x.untyped_storage().data_ptr()) or None
    except (RuntimeError, NotImplementedError):
        return None


# -- preparing -------------------------------------------------------------------------------------------------------

_PLANS: dict[tuple[int, bool], tuple[weakref.ref[Graph], _Plan]] = {}
_LOCK = threading.Lock()
#: Values that a scalar which depends on sizes is kept for.
_KEPT = 256


def _prepared(graph: Graph, debug: bool) -> _Plan:
    key = (id(graph), debug)
    found = _PLANS.get(key)
    if found is not None and found[0]() is graph:
        return found[1]
    plan = _Plan(graph, debug)
    plans = _PLANS  # at the end of a process the module may go before its graphs do
    with _LOCK:
        plans[key] = (weakref.ref(graph, lambda _: plans.pop(key, None)), plan)
    return plan


def _host_types(graph: Graph) -> dict[str, Type]:
    """The types of all values but those inside kernels, which a batch leaves as they are, with names of their own."""
    found = {v.name: v.type for v in graph.inputs}

    def enter(nodes: Sequence[Node]) -> None:
        for node in nodes:
            found.update((v.name, v.type) for v in node.outputs)
            for region in node.regions if node.op != "kernel" else ():
                found.update((v.name, v.type) for v in region.args)
                enter(region.nodes)

    enter(graph.nodes)
    return found


class _Plan:
    """A graph as a list of steps over numbered slots."""

    def __init__(self, graph: Graph, debug: bool = False) -> None:
        self.types: Mapping[str, Type] = _host_types(graph)
        self._watch = Watch(graph) if debug else None
        self._slot: dict[str, int] = {}
        self._constants: list[_Constant] = []
        self.indices = frozenset(loop_indices(graph))
        self.calls = Calls(() if debug else graph.nodes)
        for value in graph.inputs:
            self.slot(value.name)
        self._work = self._steps(graph.nodes, graph.results)
        self.run = _in_turn(self._work)
        self._halves: dict[tuple[int, int], tuple[Step, Step, frozenset[int]]] = {}  # by how many inputs come late, and results early
        self.results = [self._slot[r] for r in graph.results]
        self.width = len(self._slot)

    def frame(self, inputs: Sequence[Tensor], sizes: Mapping[str, int], modules: Modules | None, kernels: Kernels | None) -> Frame:
        """What a run starts with."""
        import torch

        slots: list[Any] = [*inputs, *[None] * (self.width - len(inputs))]
        return Frame(slots, dict(sizes), modules or {}, kernels, inputs[0].device if inputs else torch.device("cpu"), inputs)

    def halves(self, graph: Graph, late: int, early: int) -> tuple[Step, Step, frozenset[int]]:
        """What runs before the last ``late`` inputs are there, what runs then, and the slots that this reads, or has behind ``early`` results."""
        key = late, early
        if key not in self._halves:
            first, rest = apart(graph, {v.name for v in graph.inputs[len(graph.inputs) - late :]})
            read = {n for node in rest for n in free_names(node)} | set(graph.results[early:])
            halves = _in_turn(self._work[: len(first)]), _in_turn(self._work[len(first) :])
            self._halves[key] = *halves, frozenset(self._slot[n] for n in read)
        return self._halves[key]

    def slot(self, name: str) -> int:
        """The slot of a value, given out on first sight."""
        return self._slot.setdefault(name, len(self._slot))

    def shared_storage(self) -> set[int | None]:
        """Memory of constants, which outlive the run."""
        return {place for c in self._constants for place in c.storages}

    def steps(self, nodes: Sequence[Node], results: Sequence[str]) -> Step:
        """One function that runs the nodes in order; a value made here is dropped after its last use."""
        return _in_turn(self._steps(nodes, results))

    def _steps(self, nodes: Sequence[Node], results: Sequence[str]) -> list[tuple[Step, tuple[int, ...]]]:
        """The steps of nodes, with the slots of what is dropped behind each."""
        made = {v.name for n in nodes for v in n.outputs}
        last: dict[str, int] = {}
        for position, node in enumerate(nodes):
            last.update(dict.fromkeys((free_names(node) | {v.name for v in node.outputs}) & made, position))
        kept = set(results)
        dead: dict[int, list[int]] = {}
        for position, node in enumerate(nodes):
            if (member := self.calls.members.get(id(node))) is not None:
                last[member.record] = position
            last.update(dict.fromkeys(self.calls.done.get(id(node), ()), position))
        steps = [self._step(n) for n in nodes]
        if self._watch is not None:
            steps = [self._watch.around(n, step, self.slot) for n, step in zip(nodes, steps, strict=True)]
        for name, position in last.items():
            if name not in kept:
                dead.setdefault(position, []).append(self.slot(name))
        return [(step, tuple(dead.get(position, ()))) for position, step in enumerate(steps)]

    def _step(self, node: Node) -> Step:
        if node.op == "solve_cg":
            from . import interp_solve  # noqa: F401  it has the step, and needs this module
        special = STEPS.get(node.op)
        if special is not None:
            return special(self, node)
        ins = [self.slot(n) for n in node.inputs]
        outs = [self.slot(v.name) for v in node.outputs]
        attrs = NodeAttrs(node)
        numerics = lookup(node.op).numerics
        if numerics is None:
            raise TypeError(f"{node.op} cannot be run")
        if not ins:
            constant = _Constant(numerics, attrs)
            self._constants.append(constant)
            return lambda frame: frame.slots.__setitem__(outs[0], constant.get(frame))
        return _call(numerics, attrs, ins, outs)


def _in_turn(work: Sequence[tuple[Step, tuple[int, ...]]]) -> Step:
    """One function that does the work, dropping what is not needed any more."""

    def run(frame: Frame) -> None:
        slots = frame.slots
        for step, drop in work:
            step(frame)
            for slot in drop:
                slots[slot] = None

    return run


class _Constant:
    """A value that depends on sizes only, kept between runs; of scalars, such as the index of a loop, those for :data:`_KEPT` sizes."""

    __slots__ = ("_attrs", "_known", "_numerics", "storages")

    def __init__(self, numerics: Numerics, attrs: NodeAttrs) -> None:
        self._numerics, self._attrs = numerics, attrs
        self._known: dict[Any, Any] = {}
        self.storages: frozenset[int | None] = frozenset()  # where the values are

    def get(self, frame: Frame) -> Any:
        """The value for the frame's sizes and device."""
        key = (self._attrs.key(frame.sizes), frame.device)
        found = self._known.get(key)
        return self._make(key, frame) if found is None else found

    def _make(self, key: Any, frame: Frame) -> Any:
        import torch

        with torch.inference_mode(False), torch._functorch.pyfunctorch.temporarily_clear_interpreter_stack():  # it serves later runs
            found = self._numerics(torch, self._attrs.get(frame.sizes))
        if found.dim() or len(self._known) >= _KEPT:
            self._known, self.storages = {}, frozenset()
        self._known[key] = found
        self.storages |= {_storage(found)}
        return found


def _call(numerics: Numerics, attrs: NodeAttrs, ins: list[int], outs: list[int]) -> Step:
    """The step of an ordinary op; one and two operands are the common case."""
    import torch

    if len(outs) == 1 and len(ins) == 1:
        (i,), (out,) = ins, outs

        def one(frame: Frame) -> None:
            slots = frame.slots
            slots[out] = numerics(torch, attrs.get(frame.sizes), slots[i])

        return one
    if len(outs) == 1 and len(ins) == 2:
        (i, j), (out,) = ins, outs

        def two(frame: Frame) -> None:
            slots = frame.slots
            slots[out] = numerics(torch, attrs.get(frame.sizes), slots[i], slots[j])

        return two

    def several(frame: Frame) -> None:
        slots = frame.slots
        store(slots, outs, numerics(torch, attrs.get(frame.sizes), *[slots[i] for i in ins]))

    return several
