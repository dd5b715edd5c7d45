"""Every row of the op table: typing against numerics, adjoint against torch's, batch rule against a loop over problems."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.graph.op_cases import CASES, CONTROL, Case, floating, plain
from unspool.compiler.graph.batch import batch
from unspool.compiler.graph.graph import Builder, Graph, Value, make_attrs
from unspool.compiler.graph.interp import interpret
from unspool.compiler.graph.ops.common import evaluate_attrs, torch_dtype
from unspool.compiler.graph.ops.table import OPS, lookup
from unspool.compiler.graph.types import Size

lookup("add")  # loads the table
EXAMPLES = settings(max_examples=12, deadline=None)
seeds = st.integers(0, 2**31)


def shape_of(type: Any) -> tuple[int, ...]:
    return tuple(s.evaluate({}) for s in type.shape)


def one_node(case: Case) -> tuple[Graph, Any]:
    b = Builder(case.op)
    operands = [b.input(f"x{n}", t) for n, t in enumerate(case.types)]
    out = b.op(case.op, *operands, **case.attrs)
    outs = out if isinstance(out, tuple) else (out,)
    return b.finish(outs), b._nodes[-1]


def numerics(case: Case, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    function = lookup(case.op).numerics
    assert function is not None
    out = function(torch, evaluate_attrs(dict(make_attrs(case.attrs)), {}), *tensors)
    return out if isinstance(out, tuple) else (out,)


def inputs_of(case: Case, seed: int) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return [case.tensor(n, shape_of(t), g) for n, t in enumerate(case.types)]


def test_every_op_has_a_case_and_a_doc() -> None:
    assert set(OPS) == set(CASES) | CONTROL
    assert all(op.doc.endswith((".", "%.")) and len(op.doc) > 5 for op in OPS.values())


@pytest.mark.parametrize("op", sorted(CASES))
def test_types_agree_with_numerics(op: str) -> None:
    @EXAMPLES
    @given(st.data(), seeds)
    def check(data: st.DataObject, seed: int) -> None:
        case = CASES[op](data.draw)
        graph, _ = one_node(case)
        outs = numerics(case, *inputs_of(case, seed))
        for type, y in zip(graph.result_types, outs, strict=True):
            assert tuple(y.shape) == shape_of(type)
            assert y.dtype == torch_dtype(torch, type.dtype)
        for y, z in zip(outs, interpret(graph, inputs_of(case, seed), {}), strict=True):
            torch.testing.assert_close(z, y, equal_nan=True)

    check()


def adjoint_graph(case: Case) -> tuple[Graph, list[int], list[int]]:
    """Operands and cotangents to cotangents, by the row's adjoint; and the outputs and operands with derivatives."""
    b = Builder(case.op)
    operands = [b.input(f"x{n}", t) for n, t in enumerate(case.types)]
    out = b.op(case.op, *operands, **case.attrs)
    outs = out if isinstance(out, tuple) else (out,)
    node = b._nodes[-1]
    outputs = [n for n, v in enumerate(outs) if floating(v.type)]
    cotangents: list[Value | None] = [b.input(f"g{n}", v.type) if n in outputs else None for n, v in enumerate(outs)]
    rule = lookup(case.op).adjoint
    none: list[Value | None] = [None] * len(operands)
    found = rule(b, node, tuple(cotangents), lambda n: operands[n], lambda n: outs[n]) if rule else none
    active = [n for n, t in enumerate(case.types) if floating(t)]
    results = []
    for n in active:
        zero = b.op("broadcast", b.op("const", value=0.0, dtype=case.types[n].dtype), shape=case.types[n].shape)
        value = found[n]
        results.append(zero if value is None else value)
    for n, value in enumerate(found):
        assert value is None or (n in active and value.type == case.types[n])
    return b.finish(results), outputs, active


def reference_gradient(
    case: Case, tensors: list[torch.Tensor], gs: list[torch.Tensor], outputs: list[int], active: list[int]
) -> Any:
    outs = numerics(case, *tensors)
    ys = [(outs[n], g) for n, g in zip(outputs, gs, strict=True) if outs[n].requires_grad]
    xs = [tensors[n] for n in active]
    if not ys:
        return [torch.zeros_like(x) for x in xs]
    found = torch.autograd.grad([y for y, _ in ys], xs, [g for _, g in ys], create_graph=True, allow_unused=True)
    return [torch.zeros_like(x) if g is None else g for g, x in zip(found, xs, strict=True)]


@pytest.mark.parametrize("op", sorted(CASES))
def test_adjoint_agrees_with_torch_twice(op: str) -> None:
    @EXAMPLES
    @given(st.data(), seeds)
    def check(data: st.DataObject, seed: int) -> None:
        case = CASES[op](data.draw)
        graph, outputs, active = adjoint_graph(case)
        if not outputs or not active:
            return
        tensors = [x.requires_grad_(n in active) for n, x in enumerate(inputs_of(case, seed))]
        g = torch.Generator().manual_seed(seed + 1)
        gs = [torch.randn(y.shape, generator=g, dtype=torch.float64).to(y.dtype).requires_grad_() for y in
              (numerics(case, *tensors)[n] for n in outputs)]  # fmt: skip
        want = reference_gradient(case, tensors, gs, outputs, active)
        got = interpret(graph, [*tensors, *gs], {})
        for a, b in zip(got, want, strict=True):
            torch.testing.assert_close(a, b, equal_nan=True)
        check_second(got, want, [tensors[n] for n in active] + gs, g)

    check()


def check_second(got: Any, want: Any, xs: list[torch.Tensor], g: torch.Generator) -> None:
    """The derivative of the adjoint graph is the derivative of torch's derivative."""
    weights = [torch.randn(y.shape, generator=g, dtype=torch.float64).to(y.dtype) for y in got]
    second = []
    for found in (got, want):
        pairs = [(y, w) for y, w in zip(found, weights, strict=True) if y.requires_grad]
        if pairs:
            grads: Any = torch.autograd.grad([y for y, _ in pairs], xs, [w for _, w in pairs], allow_unused=True)
        else:
            grads = (None,) * len(xs)
        second.append([torch.zeros_like(x) if d is None else d for d, x in zip(list(grads), xs, strict=True)])
    for a, b in zip(*second, strict=True):
        torch.testing.assert_close(a, b, equal_nan=True)


@pytest.mark.parametrize("op", sorted(op for op in CASES if op not in ("const", "size_value", "iota")))
def test_batch_rule_agrees_with_a_loop(op: str) -> None:
    @EXAMPLES
    @given(st.data(), seeds, st.sampled_from([1, 2, 3, 3, 0]))
    def check(data: st.DataObject, seed: int, size: int) -> None:
        case = CASES[op](data.draw)
        flags = data.draw(st.lists(st.booleans(), min_size=len(case.types), max_size=len(case.types)).filter(any))
        _, node = one_node(case)
        b = Builder("batched")
        batch = Size.of("batch")
        numbered = list(enumerate(zip(case.types, flags, strict=True)))
        operands = [b.input(f"x{n}", t.with_shape(batch, *t.shape) if f else t) for n, (t, f) in numbered]
        rule = lookup(op).batch
        assert rule is not None
        results = rule(b, node, tuple(operands), tuple(flags), batch)
        for out, value in zip(node.outputs, results, strict=True):
            assert value.type == out.type.with_shape(batch, *out.type.shape)
        g = torch.Generator().manual_seed(seed)
        tensors = [case.tensor(n, ((size,) if f else ()) + shape_of(t), g) for n, (t, f) in numbered]
        got = interpret(b.finish(results), tensors, {"batch": size})
        problems = [numerics(case, *(x[p] if f else x for x, f in zip(tensors, flags, strict=True))) for p in range(size)]
        for n, y in enumerate(got):
            assert tuple(y.shape) == (size, *shape_of(node.outputs[n].type))
            if size:
                torch.testing.assert_close(y, torch.stack([p[n] for p in problems]), equal_nan=True)

    check()


@pytest.mark.parametrize("op", sorted(CASES))
def test_adjoints_batch(op: str) -> None:
    """The graph that a row's adjoint makes, batched, agrees with a loop over problems."""

    @settings(max_examples=6, deadline=None)
    @given(st.data(), seeds, st.integers(1, 3))
    def check(data: st.DataObject, seed: int, size: int) -> None:
        case = CASES[op](data.draw)
        graph, outputs, active = adjoint_graph(case)
        if not outputs or not active:
            return
        count = len(graph.inputs)
        flags = data.draw(st.lists(st.booleans(), min_size=count, max_size=count).filter(any))
        g = torch.Generator().manual_seed(seed)
        tensors = []
        for n, (value, flag) in enumerate(zip(graph.inputs, flags, strict=True)):
            shape = ((size,) if flag else ()) + shape_of(value.type)
            tensors.append(case.tensor(n, shape, g) if n < len(case.types) else plain(value.type.dtype, shape, g))
        found = interpret(batch(graph, flags), tensors, {"batch": size})
        problems = [interpret(graph, [x[p] if f else x for x, f in zip(tensors, flags, strict=True)], {}) for p in range(size)]
        for n, y in enumerate(found):
            torch.testing.assert_close(y, torch.stack([p[n] for p in problems]), equal_nan=True)

    check()
