"""Loops, branches, modules, checks and kernels: the interpreter runs them, this file types them."""

from __future__ import annotations

from typing import Any

from ..types import Type
from .common import add_batch, batch_same, emit, need, need_count, real_twin
from .library import library_adjoint
from .table import Attrs, Op, OpTypeError, register


def _infer_types(types: tuple[Type, ...], attrs: Attrs) -> tuple[Type, ...]:
    return tuple(attrs["types"])


def _infer_if(types: tuple[Type, ...], attrs: Attrs) -> tuple[Type, ...]:
    need_count("if", types, 1)
    need("if", "bool", types[0])
    if types[0].rank:
        raise OpTypeError(f"if needs one bool, not {types[0]}")
    return tuple(attrs["types"])


def _infer_assert(types: tuple[Type, ...], attrs: Attrs) -> tuple[Type, ...]:
    need_count("assert", types, 1)
    need("assert", "bool", types[0])
    return ()


def _infer_for(types: tuple[Type, ...], attrs: Attrs) -> tuple[Type, ...]:
    raise OpTypeError("a loop is made by Builder.loop")


def _infer_solve(types: tuple[Type, ...], attrs: Attrs) -> tuple[Type, ...]:
    if len(types) not in (2, 3):
        raise OpTypeError(f"solve_cg takes a right side, a tolerance and perhaps a start, not {len(types)} operands")
    right, tolerance, *start = types
    need("solve_cg", "floating or complex", right)
    wanted = Type(real_twin(right.dtype), right.shape[: right.rank - attrs["core"]])
    if tolerance != wanted:
        raise OpTypeError(f"solve_cg of {right} needs a tolerance {wanted}, not {tolerance}")
    if start and start[0] != right:
        raise OpTypeError(f"solve_cg of {right} starts from a {right}, not {start[0]}")
    return (right,)


def _batch_module(b: Any, node: Any, operands: Any, batched: Any, size: Any) -> Any:
    """One more leading axis, the outermost; weights that all problems share stay as they are."""
    changes: dict[str, Any] = {"batched": node.attr("batched", 0) + 1, "types": tuple(t.with_shape(size, *t.shape) for t in node.attr("types"))}
    flags = list(zip(operands, batched, strict=True))
    values = [add_batch(b, v, f, size) for v, f in flags]
    own = node.attr("own", None)
    if own is not None:
        shared, has = flags[-1]
        changes["own"] = own + 1 if own or has else 0
        values[-1] = values[-1] if own or has else shared
    return emit(b, node, values, **changes)


def _batch_kernel(b: Any, node: Any, operands: Any, batched: Any, size: Any) -> Any:
    types = tuple(t.with_shape(size, *t.shape) for t in node.attr("types"))
    out = b.op("kernel", *operands, regions=node.regions, **{**dict(node.attrs), "types": types, "batched": tuple(batched)})
    return out if isinstance(out, tuple) else (out,)


register(Op("for", "control", _infer_for, None, doc="A loop over an index that carries values; with until it may stop early."))
register(Op("if", "control", _infer_if, None,
            doc="One of two regions, chosen by a bool scalar; attribute types gives the results."))  # fmt: skip
register(Op("solve_cg", "control", _infer_solve, None,
            doc="The x with A x = b by conjugate gradients, A being the region, from b, a tolerance and perhaps a start; the last core axes"
            " are one unknown, those before them systems side by side. It becomes a loop."))  # fmt: skip
register(Op("module", "control", _infer_types, None, library_adjoint, _batch_module, library=True,
            doc="A learned operator, called with all leading axes flattened into one. With attribute own the last operand has its weights,"
            " as a vector behind so many of the outermost leading axes."))  # fmt: skip
register(Op("weights", "control", _infer_types, None, None, None, library=True,
            doc="The weights of a learned operator as a vector, leaf behind leaf."))  # fmt: skip
register(Op("assert", "effect", _infer_assert, None, None, batch_same, doc="Stops with a message unless all elements are true."))
register(Op("kernel", "control", _infer_types, None, None, _batch_kernel, doc="A compiled region: its arguments are the inputs."))
