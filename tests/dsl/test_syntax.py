"""Parsing: trees with spans, precedence, layout, and text that parses back."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.dsl.test_fuzz import CORPUS, retype
from unspool.compiler.diagnostics import ProgramError, Source
from unspool.dsl import syntax as s
from unspool.dsl.parse import parse
from unspool.dsl.syntax_text import expression_text, program_text


def tree(text: str) -> s.Program:
    return parse(Source("t.us", text))


def expression(text: str) -> s.Expr:
    fn = tree(f"fn f() = {text}\n").items[0]
    assert isinstance(fn, s.Fn)
    returned = fn.body[0]
    assert isinstance(returned, s.Return)
    return returned.values[0]


@pytest.mark.parametrize("text", CORPUS, ids=lambda t: t.splitlines()[0][:30])
def test_canonical_text_parses_back(text: str) -> None:
    parsed = tree(text)
    printed = program_text(parsed)
    assert tree(printed) == parsed
    assert program_text(tree(printed)) == printed


def test_canonical_text_of_mutated_programs_parses_back() -> None:
    rng = random.Random(3)
    kept = 0
    for _ in range(300):
        try:
            parsed = tree(retype(rng.choice(CORPUS), rng))
        except ProgramError:
            continue
        kept += 1
        assert tree(program_text(parsed)) == parsed
    assert kept > 100


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("a + b * c", "a + (b * c)"), ("-a**2", "-(a**2)"), ("a**-b**c", "a**(-(b**c))"), ("2 * q @ m.T", "(2 * q) @ m.T"),
        ("not a == b and c or d", "((not (a == b)) and c) or d"), ("a - b - c", "(a - b) - c"), ("a < b + 1 <= c", "a < (b + 1) <= c"),
        ("-x[0].T(1)", "-(x[0].T(1))"), ("a // b % c", "(a // b) % c"), ("(a, b)", "(a, b)"), ("(a)", "a"), ("+a", "+(a)"),
    ],
)  # fmt: skip
def test_precedence(text: str, meaning: str) -> None:
    assert expression(text) == expression(meaning)


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1), ("1_000", 1000), ("0.5", 0.5), ("1e-3", 1e-3), ("2.5E2", 250.0), ("2j", 2j), ("1.5j", 1.5j), ("True", True)],
)
def test_numbers(text: str, value: object) -> None:
    number = expression(text)
    assert isinstance(number, s.Number)
    assert (number.value, type(number.value)) == (value, type(value))


def test_ranges_and_floats_are_told_apart() -> None:
    node = expression("sum(x for i in 1..n, j in 0..10 by 2, k in n-1..-1 by -1)")
    assert expression_text(node) == "sum(x for i in 1..n, j in 0..10 by 2, k in n - 1..-1 by -1)"


def test_spans() -> None:
    program = tree("# a comment\nfn f(a) = (a +\n    a) * 2\n\nalgorithm g(x: real[n]) -> real:\n    return λ(x[1:, 0])\n")
    fn, algorithm = program.items
    assert isinstance(fn, s.Fn)
    assert isinstance(algorithm, s.AlgorithmDecl)
    product = fn.returns.values[0] if fn.returns else None
    assert isinstance(product, s.Binary)
    span = product.span
    assert (span.line, span.column, span.end_line, span.end_column) == (2, 11, 3, 11)
    assert (product.left.span.line, product.left.span.column) == (2, 11)
    assert isinstance(algorithm.body[0], s.Return)
    call = algorithm.body[0].values[0]
    assert isinstance(call, s.Call)
    index = call.arguments[0].value
    assert isinstance(index, s.Index)
    assert [(i.span.column, i.span.end_column) for i in index.items] == [(16, 18), (20, 21)]


@pytest.mark.parametrize(
    "text",
    [
        "fn f(a) = a",  # no newline at the end
        "\n\n  # only a comment\n\nfn f(a) = a\n# the end",
        "fn f(a):\n    # first\n    b = a\n\n        # deeper comment\n    return b\n# c\n",
        "fn f(a):\n  b = (a +\na\n      + a)\n  return b\n",
        "fn f(a): return a\n",
        "fn f(a):\n    if a > 0: b = 1\n    elif a < 0: b = 2\n    else: b = 3\n    return b\n",
        "fn f(\n    a,\n    b,\n) = a + b\n",
        "algorithm f(\n    given A: real[m, n],  # the matrix\n    y: real[m],\n) -> (real[n], real) where m <= n, n >= 2:\n    return A.T @ y, 1.0\n",
        "fn f(a):\n    x = a   \n    \n    return x  # done\n",
        "fn f(a) = a[..., None, ::2, 1:, :-1:1, 0]\n",
        "",
        "\n",
        "# nothing",
    ],
)
def test_layout(text: str) -> None:
    assert tree(program_text(tree(text))) == tree(text)


@pytest.mark.parametrize(
    ("text", "code", "place"),
    [
        ("fn f(a) = a +\n", "US0101", "1:14"), ("fn f(a) = a b\n", "US0101", "1:13"), ("x = 1\n", "US0101", "1:1"),
        ("fn f(a):\n    return a\n   return a\n", "US0104", "3:1"), ("  fn f(a) = a\n", "US0104", "1:1"),
        ("fn f(a) = a)\n", "US0105", "1:12"), ("fn f(a) = (a]\n", "US0105", "1:11"), ("fn f(a) = g(a\nfn h(b) = b\n", "US0105", "1:12"),
        ("fn f(a) = .5\n", "US0106", "1:11"), ("fn f(a) = 'x\n", "US0102", "1:11"), ("fn f(a) = a if a else a\n", "US0109", "1:13"),
        ("def f(a):\n    return a\n", "US0109", "1:1"), ("import x\n", "US0109", "1:1"), ("fn return(a) = a\n", "US0110", "1:4"),
        ("fn f(a) = lambda x: x\n", "US0109", "1:11"), ("fn f(a) = a = 2\n", "US0101", "1:13"), ("algorithm f():\n    return 1\n", "US0101", "1:14"),
        ("fn f(a):\n    for i in 0,3:\n        a = a\n    return a\n", "US0101", "2:15"), ("fn f(a) = a ! b\n", "US0102", "1:13"),
        ("fn f(a):\n\treturn a\n", "US0103", "2:1"), ("fn f(a) = [a for i in b]\n", "US0101", "1:24"), ("fn f(²) = 1\n", "US0102", "1:6"),
    ],
)  # fmt: skip
def test_syntax_errors(text: str, code: str, place: str) -> None:
    with pytest.raises(ProgramError) as caught:
        tree(text)
    (found,) = caught.value.diagnostics
    assert (found.code, f"{found.span.line}:{found.span.column}" if found.span else "") == (code, place)


def test_no_program_of_the_language_is_left_out() -> None:
    assert len(CORPUS) == 1 + len(list((Path(__file__).parents[1] / "programs").glob("*.us")))
