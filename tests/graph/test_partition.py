"""The host program of a graph computes what the graph does, whatever goes into kernels, and moves no more than it must."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import replace
from zlib import crc32

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import SIZES, random_graphs, random_inputs
from unspool.compiler.graph.batch import batch
from unspool.compiler.graph.dense import is_large_product
from unspool.compiler.graph.graph import Graph, Node
from unspool.compiler.graph.interp import Begun, interpret
from unspool.compiler.graph.partition import CHEAP, apart, kernel_graph, kernels, own_names, partition
from unspool.compiler.graph.text import parse_graph
from unspool.compiler.graph.verify import verify


def no_fft(node: Node) -> bool:
    return node.op not in ("fft", "for")


def cut(text: str, expands: Callable[[Node], bool] = no_fft, shared: Set[str] = frozenset()) -> tuple[Graph, list[list[str]]]:
    """The host program of a graph, and the operations in each of its kernels."""
    made = partition(parse_graph(text), expands, shared)
    verify(made)
    return made, [[n.op for n in node.regions[0].nodes] for node in kernels(made)]


@settings(max_examples=60)
@given(graph=random_graphs(), seed=st.integers(0, 10**6), salt=st.integers(0, 1000))
def test_it_computes_the_same(graph: Graph, seed: int, salt: int) -> None:
    shared = {v.name for v in graph.inputs if crc32(f"{v.name}{salt}".encode()) % 2}
    made = partition(graph, lambda n: not n.regions and crc32(f"{n.op}{salt}".encode()) % 3 > 0, shared)
    verify(made)
    inputs = random_inputs(graph, seed)

    def run(node: Node, values: list[torch.Tensor], sizes: dict[str, int]) -> tuple[torch.Tensor, ...]:
        return tuple(interpret(kernel_graph(node, "k"), values, sizes))

    found, want = interpret(made, inputs, SIZES, kernels=run), interpret(graph, inputs, SIZES)
    torch.testing.assert_close(found, want, rtol=1e-9, atol=1e-9, equal_nan=True)  # products of transposed matrices round otherwise
    for node in kernels(made):
        assert any(n.op not in CHEAP for n in node.regions[0].nodes)


@settings(max_examples=40)
@given(graph=random_graphs(results=4), seed=st.integers(0, 10**6), salt=st.integers(0, 1000), count=st.integers(1, 3))
def test_a_run_begins_without_its_late_inputs(graph: Graph, seed: int, salt: int, count: int) -> None:
    """What follows from them stands behind the rest, which a run does first; then it goes on, as often as one likes."""
    late = {v.name for v in graph.inputs[-count:]}
    following = own_names(graph, {v.name for v in graph.inputs} - late)
    results = sorted(graph.results, key=lambda r: r in following)
    early = sum(r not in following for r in results)
    made = partition(replace(graph, results=tuple(results)), lambda n: not n.regions and crc32(f"{n.op}{salt}".encode()) % 3 > 0, late=late)
    verify(made)
    first, last = apart(made, late)
    assert made.nodes == (*first, *last)
    inputs, others = random_inputs(graph, seed), random_inputs(graph, seed + 1)

    def run(node: Node, values: list[torch.Tensor], sizes: Mapping[str, int]) -> tuple[torch.Tensor, ...]:
        return tuple(interpret(kernel_graph(node, "k"), values, sizes))

    begun = Begun(made, inputs[:-count], SIZES, count, early, {}, run)
    found = begun.begin()
    for cotangents in (inputs, others, inputs):
        want = interpret(made, [*inputs[:-count], *cotangents[-count:]], SIZES, kernels=run)
        for a, b in zip((*found, *begun.finish(cotangents[-count:], last=False)), want, strict=True):
            assert torch.equal(a, b)
    for x in found:
        x.zero_()  # it belongs to who has asked for it
    for a, b in zip(begun.finish(inputs[-count:], last=True), want[early:], strict=True):
        assert torch.equal(a, b)


def test_what_the_host_does_not_wait_for_goes_with_its_reader() -> None:
    made, ops = cut("""
graph g(%x: c64[n], %y: c64[n], %z: c64[n]) {
  %a = sub(%x, %y) {} : c64[n]
  %b = mul(%a, %a) {} : c64[n]
  %f = fft(%z) {axis=-1} : c64[n]
  %c = add(%b, %f) {} : c64[n]
  return %c
}
""")
    assert [n.op for n in made.nodes] == ["fft", "kernel"]
    assert ops == [["sub", "mul", "add"]]


def test_a_sum_of_what_the_host_waits_for_stays() -> None:
    """Later, all of what is summed would be read once more."""
    _, ops = cut("""
graph g(%x: c64[n], %y: c64[n]) {
  %a = sub(%x, %y) {} : c64[n]
  %s = sum(%a) {axes=(-1,)} : c64[]
  %f = fft(%a) {axis=-1} : c64[n]
  %c = mul(%s, %f) {} : c64[n]
  return %c
}
""")
    assert ops == [["sub", "sum"], ["mul"]]


def test_views_that_the_host_asks_for_are_no_copies_made_by_a_kernel() -> None:
    made, ops = cut("""
graph g(%x: c64[2, n], %y: c64[n]) {
  %a = slice(%x) {items=(At('1'), Range('0', 'n', 1))} : c64[n]
  %b = mul(%y, %y) {} : c64[n]
  %f = fft(%a) {axis=-1} : c64[n]
  %g = fft(%b) {axis=-1} : c64[n]
  return %f, %g
}
""")
    assert [n.op for n in made.nodes] == ["slice", "kernel", "fft", "fft"]
    assert ops == [["mul"]]


ADMM = """
graph g(%A: f64[m, n], %y: f64[m], %rho: f64[]) {
  %AA = einsum(%A, %A) {spec='xa,xb->ab'} : f64[n, n]
  %M = add(%AA, %rho) {} : f64[n, n]
  %b = einsum(%A, %y) {spec='xa,x->a'} : f64[n]
  %C = cholesky(%M) {} : f64[n, n]
  %x = solve_triangular(%C, %b) {lower=True} : f64[n]
  return %x
}
"""


def test_what_problems_share_is_made_once_where_a_library_call_reads_it() -> None:
    """Else the factorisation would be one for each problem."""

    def loops(node: Node) -> bool:
        return node.op not in ("cholesky", "solve_triangular")

    assert cut(ADMM, loops)[1] == [["einsum", "add", "einsum"]]
    made, ops = cut(ADMM, loops, {"A", "rho"})
    assert ops == [["einsum", "add"], ["einsum"]]
    side = batch(made, [False, True, False])
    types = {node.op: node.output.type for node in side.nodes}
    assert types["cholesky"].rank == 2
    assert cut(ADMM, loops, {"A", "rho", "y"})[1] == [["einsum", "add", "einsum"]]


def test_a_matrix_that_problems_share_is_made_once() -> None:
    _, ops = cut(
        """
graph g(%W: c64[n, n], %s: c64[n], %x: c64[n]) {
  %f = fft(%x) {axis=-1} : c64[n]
  %V = mul(%W, %s) {} : c64[n, n]
  %t = mul(%s, %s) {} : c64[n]
  %u = mul(%t, %f) {} : c64[n]
  %y = einsum(%V, %u) {spec='ab,b->a'} : c64[n]
  return %y
}
""",
        shared={"W", "s"},
    )
    assert ops == [["mul"], ["mul", "mul", "einsum"]]


def test_a_large_product_is_the_hosts() -> None:
    def made(columns: int, rows: int = 32) -> list[list[str]]:
        graph = parse_graph(f"""
graph g(%w: f32[{rows}, 32], %x: f32[32, {columns}, 8]) {{
  %u = relu(%x) {{}} : f32[32, {columns}, 8]
  %v = einsum(%w, %u) {{spec="ij,jhw->ihw"}} : f32[{rows}, {columns}, 8]
  %s = relu(%v) {{}} : f32[{rows}, {columns}, 8]
  return %s
}}
""")
        whole = partition(graph, lambda n: not is_large_product(n, graph.types))
        verify(whole)
        return [[n.op for n in node.regions[0].nodes] if node.op == "kernel" else [node.op] for node in whole.nodes]

    assert made(1024) == [["relu"], ["einsum"], ["relu"]]
    assert made(128) == [["relu", "einsum", "relu"]]  # few operations
    assert made(4096, rows=8) == [["relu", "einsum", "relu"]]  # few rows


def test_rows_that_the_host_asks_for_are_no_copies() -> None:
    """A row of a stack lies in memory as the host reads it, whoever else reads it; a column does not."""
    text = """
graph g(%x: c64[m, n], %y: c64[n]) {
  %a = slice(%x) {items=ITEMS} : c64[n]
  %b = mul(%y, %a) {} : c64[n]
  %f = fft(%a) {axis=-1} : c64[n]
  %g = fft(%b) {axis=-1} : c64[n]
  return %f, %g
}
"""
    made, ops = cut(text.replace("ITEMS", "(At('1'), Range('0', 'n', 1))"))
    assert [n.op for n in made.nodes] == ["slice", "kernel", "fft", "fft"]
    assert [len(n.outputs) for n in kernels(made)] == [1]
    made, same = cut(text.replace("c64[m, n]", "c64[n, m]").replace("ITEMS", "(Range('0', 'n', 1), At('1'))"))
    assert [n.op for n in made.nodes] == ["kernel", "fft", "fft"]
    assert [len(n.outputs) for n in kernels(made)] == [2]
    assert ops == same == [["slice", "mul"]]
