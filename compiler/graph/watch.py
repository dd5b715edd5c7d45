"""Debug runs of the interpreter: after each operation, whether its results are finite if its operands are, and in the backward pass of torch
whether the gradients are that leave it if those that come are. The first that is not is an error that names its place and the iteration."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from ..diagnostics import DataError, Span
from ..origin import LocatedError, computed, iterations
from .chosen import chosen_only
from .graph import Graph, Node, loop_indices
from .interp_control import Frame, Step
from .ops.table import lookup

#: Nodes of torch's graph that one operation becomes at most.
_NODES = 64


class Watch:
    """Puts checks around the steps of a graph of one problem."""

    def __init__(self, graph: Graph) -> None:
        self.indices = loop_indices(graph)
        self.chosen = chosen_only(graph)
        self.made: dict[str, tuple[str, Span | None]] = {}

    def around(self, node: Node, step: Step, slot: Callable[[str], int]) -> Step:
        """The step of a node with its checks. What is inside loops and branches is looked at there, kernels look for themselves."""
        if node.op == "kernel":
            return self._inside(step)
        if node.regions or node.op == "const":
            return step
        ins, outs = [slot(n) for n in node.inputs], [slot(v.name) for v in node.outputs]
        op = node.attr("name", "") if node.op == "module" else node.op
        what = f"the module {op}" if node.op == "module" else op
        pointwise = lookup(node.op).family == "elementwise"
        passed = [n in self.chosen for n in node.inputs]
        self.made.update({v.name: (what, node.span) for v in node.outputs})
        skipped = all(v.name in self.chosen for v in node.outputs)
        place = what, node.span
        if node.op == "where":  # names the branch that it chose
            place = next((self.made[n] for n, flag in zip(node.inputs, passed, strict=True) if flag and n in self.made), place)

        def watched(frame: Frame) -> None:
            operands = [frame.slots[i] for i in ins]
            around = self._indices(frame)
            try:
                step(frame)
            except DataError as error:
                raise LocatedError(str(error), node.span, iterations(around, ())) from error
            results = [frame.slots[o] for o in outs]
            if not skipped and all(ok or _finite(x) for x, ok in zip(operands, passed, strict=True)):
                for x in results:
                    if not _finite(x):
                        raise _fault(*place, around, x, operands if pointwise and not any(passed) else [])
            where = iterations(around, ())
            for x in results:
                _watch_gradient(x, operands, what, node.span, where)

        return watched

    def _inside(self, step: Step) -> Step:
        """The step of a kernel, which knows its own loops, not those around it."""

        def run(frame: Frame) -> None:
            try:
                step(frame)
            except LocatedError as error:
                raise LocatedError(error.what, error.span, [*iterations(self._indices(frame), ()), *error.where]) from None

        return run

    def _indices(self, frame: Frame) -> list[tuple[str, int]]:
        """The loops around, with the values of their indices."""
        return [(name, frame.sizes[name]) for name in self.indices if name in frame.sizes]


def _finite(x: Any) -> bool:
    """Whether a value has no NaN and no infinity; True for what has no numbers of that kind."""
    import torch

    if not isinstance(x, torch.Tensor) or not (x.is_floating_point() or x.is_complex()):
        return True
    return bool(torch.isfinite(x.detach()).all())


def blame_operands(what: str, names: Sequence[str], operands: Sequence[Any], results: Sequence[Any]) -> None:
    """Raises DataError where results are not finite, which nothing that was computed made so: it came with the operands."""
    import torch

    if all(map(_finite, results)):
        return
    for name, x in zip(names, operands, strict=True):
        if not _finite(x):
            at = (~torch.isfinite(x.detach())).nonzero()[0].tolist()
            kind = "NaN" if bool(torch.isnan(x.detach()[tuple(at)] if at else x.detach())) else "an infinity"
            name = re.sub(r"_\d+$", "", name)  # as the parts of a host program call it
            shown = "an intermediate value" if re.fullmatch(r"v\d+", name) else name
            place = f" at [{', '.join(map(str, at))}]" if at else ""
            raise DataError(f"a result of {what} is not finite, since {shown} came with {kind}{place}")


def _fault(what: str, span: Span | None, around: Sequence[tuple[str, int]], x: Any, operands: Sequence[Any]) -> LocatedError:
    """What an operation computed, at the first place that is not finite; ``operands`` are those of one element by element."""
    import torch

    found = x.detach()
    at = [int(i) for i in (~torch.isfinite(found)).nonzero()[0]] if found.dim() else []
    value = found[tuple(at)] if at else found
    scalars = [float(torch.broadcast_to(o.detach(), found.shape)[tuple(at)].real) for o in operands]
    shown = computed(what, float(value.real), scalars)
    return LocatedError(shown, span, iterations(around, at))


def _watch_gradient(x: Any, operands: Sequence[Any], what: str, span: Span | None, where: list[str]) -> None:
    """Look at the gradients that go through what an operation recorded for torch."""
    node = getattr(x, "grad_fn", None)
    if node is None:
        return
    ends = {id(f) for o in operands if (f := getattr(o, "grad_fn", None)) is not None}
    stack, seen = [node], set[int]()
    while stack and len(seen) < _NODES:
        top = stack.pop()
        if top is None or id(top) in ends or id(top) in seen or type(top).__name__ == "AccumulateGrad":
            continue
        seen.add(id(top))
        top.register_hook(_gradient_check(what, span, where))
        stack.extend(f for f, _ in top.next_functions)


def _gradient_check(what: str, span: Span | None, where: list[str]) -> Callable[[Any, Any], None]:
    def check(left: Sequence[Any], came: Sequence[Any]) -> None:
        if all(map(_finite, came)) and not all(map(_finite, left)):
            raise LocatedError(f"the derivative of {what} is not finite", span, [*where, "in the gradient"])

    return check
