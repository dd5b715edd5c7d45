"""Products taken before loops: where they save operations, found by data flow, checked, and right with their gradients."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unspool.compiler.graph.adjoint import backward
from unspool.compiler.graph.compare import draw
from unspool.compiler.graph.gram.check import why_wrong
from unspool.compiler.graph.gram.rewrite import gram, may_rewrite
from unspool.compiler.graph.gram.sharing import Setting, common
from unspool.compiler.graph.graph import Graph, Node, walk
from unspool.compiler.graph.interp import interpret
from unspool.compiler.graph.specialize import specialize
from unspool.compiler.graph.text import parse_graph, print_graph
from unspool.compiler.graph.types import is_floating
from unspool.compiler.graph.verify import verify
from unspool.dsl.program import load_text

from .gram_programs import KEPT, REWRITTEN

SIZES = {"m": 40, "n": 6, "p": 2, "K": 50, "s": 5, "q": 12, "d": 60, "c": 3}


def graph_of(text: str) -> Graph:
    return load_text(text).algorithms["f"].graph


def values(graph: Graph, sizes: dict[str, int], seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    found = [draw(v.type, sizes, generator) for v in graph.inputs]
    return [x.abs() / 4 if is_floating(v.type.dtype) else x for x, v in zip(found, graph.inputs, strict=True)]


def products_inside(graph: Graph) -> int:
    return sum(n.op == "einsum" for loop in graph.nodes if loop.op == "for" for n in walk(loop.regions[0].nodes))


@pytest.mark.parametrize("text", REWRITTEN.values(), ids=REWRITTEN)
def test_rewritten(text: str) -> None:
    graph = graph_of(text)
    made, done = gram(graph, Setting(SIZES))
    assert done
    assert not any(r.refused for r in done)
    assert may_rewrite(graph)
    assert done[0].before >= 1.5 * done[0].after
    assert done[0].products
    assert done[0].span is not None
    verify(made)
    assert parse_graph(print_graph(made)) == made
    few = {**SIZES, "K": 4}
    old, new = (specialize(g, "f64", few) for g in (graph, made))
    given = values(old, few)
    for x, y in zip(interpret(old, given, few), interpret(new, given, few), strict=True):
        torch.testing.assert_close(y, x, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("text", REWRITTEN.values(), ids=REWRITTEN)
def test_gradients(text: str) -> None:
    graph = graph_of(text)
    made, _ = gram(graph, Setting(SIZES))
    few = {**SIZES, "m": 7, "n": 4, "d": 6, "K": 3}
    old, new = (specialize(g, "f64", few) for g in (graph, made))
    wrt = tuple(range(len(old.inputs)))
    given = values(old, few, seed=1)
    seeds = [torch.randn_like(x) for x in interpret(old, given, few)]
    for x, y in zip(*[interpret(backward(g, wrt), [*given, *seeds], few) for g in (old, new)], strict=True):
        torch.testing.assert_close(y, x, rtol=1e-9, atol=1e-11)
    assert torch.autograd.gradcheck(lambda *v: interpret(new, v, few), [v.requires_grad_() for v in given])


@pytest.mark.parametrize("text", KEPT.values(), ids=KEPT)
def test_kept(text: str) -> None:
    graph = graph_of(text)
    made, done = gram(graph, Setting(SIZES))
    assert made is graph
    assert not done


@pytest.mark.parametrize("name", ["least squares", "weighted, regularized", "means"])
def test_few_iterations_do_not_pay(name: str) -> None:
    graph = graph_of(REWRITTEN[name])
    for count in (0, 1, 2):
        made, done = gram(graph, Setting({**SIZES, "K": count}))
        assert made is graph, count
        assert not done, count


def test_products_of_an_inner_loop_leave_both() -> None:
    made, _ = gram(graph_of(REWRITTEN["in an inner loop"]), Setting(SIZES))
    assert [n.op for n in made.nodes].count("einsum") == 2
    assert products_inside(made) == 1


def test_means_are_gone() -> None:
    """No value of the length of a sample is left in the loop."""
    for name in ("means", "means, another way"):
        made, _ = gram(graph_of(REWRITTEN[name]), Setting(SIZES))
        (loop,) = (n for n in made.nodes if n.op == "for")
        types = [v.type for n in walk(loop.regions[0].nodes) for v in n.outputs] + [v.type for v in loop.regions[0].args]
        assert not any("d" in s.names() for t in types for s in t.shape)


def test_a_mean_that_is_a_result_stays() -> None:
    text = REWRITTEN["means"].replace("-> real[q, c]", "-> (real[q, c], real[c, d])").replace("return u", "return u, mu")
    made, done = gram(graph_of(text), Setting(SIZES))
    few = {**SIZES, "K": 4}
    old, new = (specialize(g, "f64", few) for g in (graph_of(text), made))
    for x, y in zip(*[interpret(g, values(old, few), few) for g in (old, new)], strict=True):
        torch.testing.assert_close(y, x)
    assert all(not r.refused for r in done)


def test_an_intermediate_that_is_used_stays() -> None:
    """What still saves is done: here only the second product."""
    graph = graph_of(REWRITTEN["residual used elsewhere, too"])
    made, (done,) = gram(graph, Setting(SIZES))
    assert products_inside(made) == products_inside(graph) == 2
    assert done.products == ("A.T @ A", "A.T @ y")
    assert gram(graph, Setting({**SIZES, "n": 30}))[0] is graph


# -- batches -------------------------------------------------------------------------------------------------------------


def test_shared_products_count_once() -> None:
    """At K = 10 a product of its own does not pay for one problem, and does for many with one matrix."""
    graph = graph_of(REWRITTEN["least squares"])
    sizes = {**SIZES, "m": 100, "n": 50, "K": 40}
    assert gram(graph, Setting(sizes))[0] is graph
    many = Setting(sizes, 64, frozenset({"A"}))
    made, _ = gram(graph, many)
    assert made is not graph
    assert len(common(made, many)) == 1
    assert gram(graph, Setting(sizes, 64))[0] is graph, "each problem has a matrix of its own"


def test_shared_matrix_is_not_traded_for_own_ones() -> None:
    graph = graph_of(REWRITTEN["weighted, regularized"])
    assert gram(graph, Setting(SIZES))[0] is not graph
    assert gram(graph, Setting(SIZES, 64, frozenset({"A"})))[0] is graph
    assert gram(graph, Setting(SIZES, 64, frozenset({"A", "w"})))[0] is not graph


# -- the check -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["least squares", "means"])
def test_wrong_graphs_are_found(name: str) -> None:
    """Every product, sum and difference that is changed to another one is noticed."""
    graph = graph_of(REWRITTEN[name])
    made, _ = gram(graph, Setting(SIZES))
    fresh = {v.name for n in walk(made.nodes) for v in n.outputs} - graph.types.keys()

    def changed(node: Node) -> Node:
        return replace(node, op={"add": "sub", "sub": "add", "mul": "add", "div": "mul"}[node.op])

    count = 0
    for node in [n for n in walk(made.nodes) if n.op in ("add", "sub", "div") and n.outputs[0].name in fresh]:
        wrong = replace(made, nodes=tuple(_with(n, node, changed(node)) for n in made.nodes))
        assert "differ" in why_wrong(graph, wrong, [], True), print_graph(wrong)
        count += 1
    assert count
    assert why_wrong(graph, made, [], True) == ""


def _with(node: Node, old: Node, new: Node) -> Node:
    if node is old:
        return new
    return replace(node, regions=tuple(replace(r, nodes=tuple(_with(n, old, new) for n in r.nodes)) for r in node.regions))


def test_a_wrong_product_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The original stays, with a note."""
    from unspool.compiler.graph.gram import reassociate

    value = reassociate.Emitter.value

    def doubled(self: reassociate.Emitter, form: object, type: object) -> str:
        name = value(self, form, type)  # type: ignore[arg-type]
        return self.op("add", name, name)

    monkeypatch.setattr(reassociate.Emitter, "value", doubled)
    graph = graph_of(REWRITTEN["least squares"])
    made, (done,) = gram(graph, Setting(SIZES))
    assert made is graph
    assert done.refused == "the products do not agree with those of the program"


# -- random programs -----------------------------------------------------------------------------------------------------


@st.composite
def chains(draw: st.DrawFn) -> str:
    """A loop that applies a random chain of matrices, scalings and sums to its state."""
    shapes = {"A": ("m", "n"), "B": ("m", "n"), "S": ("n", "n"), "T": ("m", "m")}
    text, size, lines = "x", "n", []
    for step in range(draw(st.integers(2, 5))):
        options = [f"{m} @ {{}}" for m, (_, b) in shapes.items() if b == size]
        options += [f"{m}.T @ {{}}" for m, (a, _) in shapes.items() if a == size]
        options += ["0.5 * {}", "-{}", "theta[k] * {}", f"{{}} + v{size}", f"w{size} * {{}}", f"({{}} - v{size}) / 3", "{} + {}"]
        form = draw(st.sampled_from(options))
        made = form.format(text, text)
        change = {"A": ("n", "m"), "B": ("n", "m")}.get(form[0])
        if change is not None:
            size = change[0] if form[1:3] == ".T" else change[1]
        if draw(st.booleans()):
            lines.append(f"        t{step} = {made}")
            text = f"t{step}"
        else:
            text = f"({made})"
    if size == "m":
        text = f"A.T @ {text}"
    body = "\n".join(lines)
    end = draw(st.sampled_from(["x - 0.01 * g", "tanh(x + g / 50)", "0.5 * x + 0.02 * abs(g)"]))
    return f"""
algorithm f(A: real[m, n], B: real[m, n], S: real[n, n], T: real[m, m], vn: real[n], vm: real[m], wn: real[n], wm: real[m]) -> real[n]:
    iterations K = 3
    param theta[K] = 0.5
    x = vn
    for k in 0..K:
{body}
        g = {text}
        x = {end}
    return x
"""


@settings(max_examples=60, deadline=None)
@given(chains(), st.sampled_from([(40, 4), (4, 40), (12, 12)]))
def test_random_chains(text: str, shape: tuple[int, int]) -> None:
    graph = graph_of(text)
    made, done = gram(graph, Setting({"m": shape[0], "n": shape[1], "K": 100}))
    assert not any(r.refused for r in done)
    verify(made)
    few = {"m": 5, "n": 3, "K": 3}
    old, new = (specialize(g, "f64", few) for g in (graph, made))
    inputs = values(old, few)
    for x, y in zip(*[interpret(g, inputs, few) for g in (old, new)], strict=True):
        torch.testing.assert_close(y, x, rtol=1e-9, atol=1e-9)
