"""Forward mode: a graph that computes derivatives along tangents, as the adjoint of the adjoint.

    y = f(x)      -->      t_x: cotangent of (u -> J(x).T @ u), which is linear in u:      J(x) @ t_x

What depends on u is dead in the result, so simplifying leaves the loops forward, over what the first one has recorded.
"""

from __future__ import annotations

from collections.abc import Sequence

from .activity import differentiable
from .adjoint import backward, gradient
from .graph import Builder, Graph, Value


def tangent(graph: Graph, wrt: Sequence[int]) -> Graph:
    """From inputs and one tangent ``t_INPUT`` for each of inputs ``wrt`` to the tangents of the differentiable results."""
    adjoint = backward(graph, wrt)
    count = len(graph.inputs)
    b = Builder(f"{graph.name}_tangent", graph.inputs)
    tangents = [b.input(f"t_{graph.inputs[i].name}", graph.inputs[i].type) for i in wrt]
    anywhere = [_zeros(b, v) for v in adjoint.inputs[count:]]
    assert len(anywhere) == sum(map(differentiable, graph.result_types))
    return b.finish(gradient(b, adjoint, [*graph.inputs, *anywhere], range(count, len(adjoint.inputs)), tangents))


def _zeros(b: Builder, like: Value) -> Value:
    zero: Value = b.op("const", value=0.0, dtype=like.type.dtype)
    out: Value = b.op("broadcast", zero, shape=like.type.shape) if like.type.shape else zero
    return out
