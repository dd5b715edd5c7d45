"""Derivatives of solves by conjugate gradients: solves with the same operator, nothing is kept of their iterations.

    x = A(theta)^-1 b      -->      w = A^-1 dx;    db += w;    dtheta += (derivative of A(theta) x in theta)^T (-w)

The operator is symmetric (Hermitian), so its transpose is itself. The derivative is that of the solution, which the iteration comes near to; it is
as exact as the two solves are, and it has no part in how many iterations there were. The start has none. Being made of solves, it can be
differentiated again, and the tangent (:mod:`.tangent`) becomes A^-1 (b' - A' x). Source: Christianson, Reverse accumulation and implicit
functions, Optim. Methods Softw. 9, 1998.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from .conjugate_gradients import SOLVE as SOLVE
from .graph import Node, free_names

if TYPE_CHECKING:
    from .adjoint import _Sweep


def mark_varied(node: Node, varied: set[str], visit: Callable[[Sequence[Node]], None]) -> None:
    """Add the solution to the values that depend on the start of a differentiation, if it does. The operator counts as applied to the
    solution, whose own derivative is what the solve is for."""
    visit(node.regions[0].nodes)
    if node.inputs[0] in varied or node.regions[0].results[0] in varied:
        varied.add(node.output.name)


def mark_useful(node: Node, useful: set[str], visit: Callable[[Sequence[Node]], None]) -> None:
    """Add what a useful solution depends on."""
    if node.output.name in useful:
        useful |= {node.inputs[0], node.regions[0].results[0]}
        visit(node.regions[0].nodes)


def reverse_solve(sweep: _Sweep, node: Node, operator: Sequence[Node]) -> None:
    """The adjoint of a solve in a sweep; ``operator`` are the nodes of its region with what their own adjoints need."""
    given = sweep.cotangents.pop(node.output.name)
    active, env, region = sweep.taper.active, sweep.env, node.regions[0]
    copied = sweep.b.copy(node, {n: env.value(n).name for n in free_names(node)})
    sweep.b.append(replace(copied, inputs=(given.name, copied.inputs[1])))  # the start is that of another solution
    found = copied.output
    if node.inputs[0] in active:
        sweep.add(node.inputs[0], found)
    if region.results[0] in active:
        env.own[region.args[0].name] = env.value(node.output.name)
        sweep.emit(operator)
        sweep.add(region.results[0], sweep.b.op("neg", found))
        sweep.reverse(operator)
