"""The text of graphs: what prints reads back equal, whatever the attributes; a person can read it."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.graph import programs
from unspool.compiler.diagnostics import Source, Span
from unspool.compiler.graph.graph import Builder, Graph, Node, Value, make_attrs
from unspool.compiler.graph.text import parse_graph, print_graph
from unspool.compiler.graph.types import At, Pick, Range, Size, Type, parse_size, size_fn

NAMES = st.sampled_from(["n", "m", "K", "λ", "batch"])


@st.composite
def sizes(draw: st.DrawFn) -> Size:
    size = Size.of(draw(st.integers(-3, 3)))
    for _ in range(draw(st.integers(0, 3))):
        other = Size.of(draw(st.one_of(NAMES, st.integers(-5, 5))))
        op = draw(st.sampled_from("+-*/%<>"))
        if op in "<>":
            size = size_fn("min" if op == "<" else "max", size, other)
        elif op in "/%":
            size = size_fn("//" if op == "/" else "%", size, abs(draw(st.integers(1, 5))))
        else:
            size = size + other if op == "+" else size - other if op == "-" else size * other
    return size


LEAVES = st.one_of(
    st.integers(),
    st.floats(),
    st.booleans(),
    st.none(),
    st.text(),
    st.complex_numbers(allow_nan=False),
    sizes(),
    sizes().map(At),
    st.builds(Range, sizes(), sizes(), st.sampled_from([-2, -1, 1, 3])),
    st.builds(Pick, st.integers(0, 3)),
    st.builds(lambda d, s: Type(d, tuple(s)), st.sampled_from(["f32", "real", "key", "bool"]), st.lists(sizes(), max_size=3)),
)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=6)


def same(a: object, b: object) -> bool:
    """Equality that tells 1 from 1.0 and True, 0.0 from -0.0, and finds NaN equal to itself."""
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and repr(a) == repr(b)


@given(size=sizes())
def test_sizes_read_back(size: Size) -> None:
    assert parse_size(str(size)) == size


@given(attrs=st.dictionaries(st.sampled_from(["value", "items", "message", "types", "op_attrs"]), VALUES))
def test_attributes_read_back_with_their_kinds(attrs: dict[str, object]) -> None:
    node = Node("const", (), (Value("out", Type.of("f32", "n")),), make_attrs(attrs))
    graph = Graph("odd", (), (node,), ("out",))
    found = parse_graph(print_graph(graph)).nodes[0].attrs
    assert [k for k, _ in found] == [k for k, _ in node.attrs]
    assert all(same(a, b) for (_, a), (_, b) in zip(found, node.attrs, strict=True))


def test_nan_compares_equal_after_a_round_trip() -> None:
    b = Builder("not_a_number")
    graph = b.finish([b.op("const", value=float("nan"), dtype="f64"), b.op("const", value=-math.inf, dtype="f64")])
    assert parse_graph(print_graph(graph)) == graph


@pytest.mark.parametrize(
    "make",
    [programs.ista, programs.cholesky, programs.substitution, programs.branching, programs.nested],
    ids=lambda f: f.__name__,
)
def test_programs_read_back(make: Callable[[], Graph]) -> None:
    assert parse_graph(print_graph(make())) == make()


def located() -> Graph:
    b = Builder("inner.check")
    x = b.input("théta.x", Type.of("f64", "n"))
    text = "\n\n\nassert all(x > 0), 'x # must be } : positive = always(1) {2}'\ny = exp(x)"
    b.span = Span(Source("my folder/a.us", text), 4, 1, 4, 20)
    zero = b.op("const", value=0.0, dtype="f64")
    b.op("assert", b.op("all", b.op("gt", x, zero), axes=(-1,)), message="x # must be } : positive = always(1) {2}")
    b.span = Span(Source("my folder/a.us", text), 5, 5, 5, 11)
    return b.finish([b.op("exp", x, hint="y")])


def test_spans_are_comments(golden: Callable[[str], None]) -> None:
    graph = located()
    shown = print_graph(graph, spans=True)
    assert parse_graph(shown) == graph == parse_graph(print_graph(graph))
    assert parse_graph("# a remark\n\n" + shown) == graph
    golden(shown)


def test_the_text_of_a_program(golden: Callable[[str], None]) -> None:
    golden(print_graph(programs.ista()))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "graph",
        "graph f() {\n  return %x",
        "graph f() {\n  %x = nonsense\n  return %x\n}",
        "graph f() {\n  %x = const() {value=open('x')} : f32[]\n  return %x\n}",
        "graph f() {\n  %x = const() {value=} : f32[]\n  return %x\n}",
        "graph f() {\n  %x, %y = const() {value=1} : f32[]\n  return %x\n}",
        "graph f() {\n  %x = const() {value=Size('a b')} : f32[]\n  return %x\n}",
        "graph f() {\n  %x = for() {} : f32[] {\n    ()\n    yield %x",
    ],
)
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        parse_graph(text)
