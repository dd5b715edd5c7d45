"""The formatter: what it makes of each construct, and that it never changes a program or loses a comment."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from random import Random
from textwrap import dedent

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.dsl.mangle import mangle, random_program
from tests.dsl.test_fuzz import CORPUS
from unspool.compiler.diagnostics import ProgramError, Source, UnspoolError
from unspool.compiler.graph.text import print_graph
from unspool.dsl import format as formatter
from unspool.dsl.format import format_text
from unspool.dsl.parse import parse
from unspool.dsl.program import load_text

ROOT = Path(__file__).resolve().parents[2]
OURS = sorted(p for folder in ("tests/programs", "stdlib", "examples") for p in (ROOT / folder).glob("*.us"))


def source(text: str) -> Source:
    return Source("t.us", text)


def formatted(text: str) -> str:
    """The formatted text, which formatting does not change."""
    made = format_text(source(text))
    assert format_text(source(made)) == made
    return made


def block(text: str) -> str:
    """Formatted statements of a ``fn``, given without their indentation."""
    body = "".join(f"    {line}\n" if line else "\n" for line in dedent(text).strip("\n").split("\n"))
    made = formatted("fn f(a):\n" + body)
    return dedent(made.removeprefix("fn f(a):\n"))


def comments(text: str) -> list[str]:
    return [c.rstrip() for c in re.findall(r"\"[^\"\n]*\"|'[^'\n]*'|(#[^\n]*)", text) if c]


@pytest.mark.parametrize("path", OURS, ids=lambda p: p.stem)
def test_our_own_programs_are_formatted(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert format_text(Source(str(path), text)) == text


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("a+b*c", "a + b * c"), ("a **-2", "a**-2"), ("- a", "-a"), ("not( a )", "not a"), ("a<b", "a < b"), ("A@B .T", "A @ B.T"),
        ("f ( a,b , axis = 0, )", "f(a, b, axis=0)"), ("a [ i+1 , : , None,:: 2, i - 1 : ]", "a[i+1, :, None, ::2, i-1:]"),
        ("a[min(i+1,n - 1), 2 * j]", "a[min(i + 1, n - 1), 2*j]"), ("a[...,-1]", "a[..., -1]"), ("a[ : - 1 ,]", "a[:-1]"),
        ("sum( a[i]*b[i+1]for i in 0 .. n-1 by  2)", "sum(a[i] * b[i+1] for i in 0..n-1 by 2)"),
        ("[ a for i in n - 1 .. -1 by - 1,j in 0..m ]", "[a for i in n-1..-1 by -1, j in 0..m]"),
        ("1e-8 + 1_000 + 2.50E2 + 2J", "1e-8 + 1_000 + 2.50E2 + 2J"), ("einsum('ij->i', a)", 'einsum("ij->i", a)'), ("'a\"b'", "'a\"b'"),
        ("((a))", "a"), ("(a) + (f(b))", "a + f(b)"), ("(a * b) + c", "(a * b) + c"), ("((a + b)) * c", "(a + b) * c"),
        ("f((a + b), x=(c))", "f(a + b, x=c)"), ("(a)[(i)].T", "a[i].T"), ("(1).T", "(1).T"), ("(a + b).T", "(a + b).T"),
        ("(a, b)", "a, b"), ("((a, b))", "a, b"), ("(a,)", "(a,)"), ("a[(i, j)]", "a[(i, j)]"), ("f((a, b,))", "f((a, b))"),
        ("( )", "()"), ("f( )", "f()"), ("(a < b) == c", "(a < b) == c"), ("-(-a)", "-(-a)"), ("(grad)(f, x)(x)", "grad(f, x)(x)"),
        ("a, b ,", "a, b"), ("x[(a+b)*c]", "x[(a+b)*c]"), ("λ*τ", "λ * τ"),
    ],
)  # fmt: skip
def test_expressions(written: str, wanted: str) -> None:
    assert formatted(f"fn f(a) = {written}\n") == f"fn f(a) = {wanted}\n"


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("x=1", "x = 1"), ("(a,b)=(b,a)", "a, b = b, a"), ("a , = f(b)", "a, = f(b)"), ("x : real [n-1,2 * m]=0", "x: real[n-1, 2*m] = 0"),
        ("x[i+1,:]+=  2", "x[i+1, :] += 2"), ("return(a,b)", "return a, b"), ("return ( a )", "return a"), ("assert(a>0) , 'no'", 'assert a > 0, "no"'),
        ("param  p [K,n+1]:interval( 0,1 )=(1/n)", "param p[K, n+1]: interval(0, 1) = 1 / n"), ("param g", "param g"),
        ("iterations K=2*n", "iterations K = 2 * n"), ("module f [ 2*K ]:( real[n],weights (g) )->( real )",
         "module f[2*K]: (real[n], weights(g)) -> real"),
        ("objective J( u,v, )=sum( u**2 )", "objective J(u, v) = sum(u**2)"),
        ("for i in 0 ..n,j in (i)..n : x=i", "for i in 0..n, j in i..n:\n    x = i"),
        ("for k in 0..K until(norm(x)<tol) : x = 2 * x", "for k in 0..K until norm(x) < tol:\n    x = 2 * x"),
        ("if(a<b): x=1\nelif a:\n  x=2\nelse :\n        x=3", "if a < b:\n    x = 1\nelif a:\n    x = 2\nelse:\n    x = 3"),
    ],
)  # fmt: skip
def test_statements(written: str, wanted: str) -> None:
    assert block(written) == wanted + "\n"


def test_definitions() -> None:
    made = formatted(
        "use  prox :soft ,hard\nuse 'a.us'\nfn g(a)=a\nfn h(a) = a\nfn f( a,b, ): return a\n"
        "algorithm  g( given A:real[m,n],y :real[ m ] , )->( real[n] ) where(m<=n),n>=2 :\n  return A .T@y\n"
    )
    assert made == (
        'use prox: soft, hard\nuse "a.us"\n\nfn g(a) = a\nfn h(a) = a\n\nfn f(a, b):\n    return a\n\n'
        "algorithm g(given A: real[m, n], y: real[m]) -> real[n] where m <= n, n >= 2:\n    return A.T @ y\n"
    )


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("x = f(a,\nb)", "x = f(a,\n      b)"),
        ("x = f(\na,b)", "x = f(\n    a, b,\n)"),
        ("x = f(a, b\n )", "x = f(a, b)"),
        ("x = (a +\nb)", "x = (a\n     + b)"),
        ("x = (a\n+ b)", "x = (a\n     + b)"),
        ("x = (a + b\n)", "x = a + b"),
        ("x = ((a +\nb))", "x = (a\n     + b)"),
        ("x = [a[i]\nfor i in\n0..n]", "x = [a[i]\n     for i in 0..n]"),
        ("x = f(a\n, b)", "x = f(a,\n      b)"),
        ("x = f(axis\n=\n0)[\n1\n:]", "x = f(axis=0)[\n    1:,\n]"),
        ("x = f(a,\n\n\n\n  b)", "x = f(a,\n\n      b)"),
        ("x = f(\n\n\n  b)", "x = f(\n    b,\n)"),
        ("x = sum(\na for i in 0..n)", "x = sum(\n    a for i in 0..n\n)"),
        ("x = f(g(\na), b)", "x = f(g(\n    a,\n), b)"),
        ("x = a[\n[b for i in 0..n], ::2]", "x = a[\n    [b for i in 0..n], ::2,\n]"),
        ("x = (\n a,\n)", "x = (\n    a,\n)"),
    ],
)  # fmt: skip
def test_breaks_of_the_author_in_brackets_stay(written: str, wanted: str) -> None:
    assert block(written) == wanted + "\n"


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("x = f(a, # one\nb  #two\n)", "x = f(\n    a,  # one\n    b,  #two\n)"),
        ("x = f( # why\na)", "x = f(  # why\n    a,\n)"),
        ("x = f(a,\n # own\n b)", "x = f(a,\n      # own\n      b)"),
        ("x = (a + # first\n # own\n b)", "x = (a  # first\n     # own\n     + b)"),
        ("x = (a # c\n)", "x = (\n    a  # c\n)"),
        ("x = f( # nothing\n)", "x = f(  # nothing\n)"),
        ("x = a. T[ # c\n 1]", "x = a.T[  # c\n    1,\n]"),
        ("x = f(a. # c\n T)", "x = f(a.  # c\n      T)"),
        ("x = f(a # c\n , b)", "x = f(a,  # c\n      b)"),
        ("x = 1 # '(\ny = '#' # \"", "x = 1  # '(\ny = \"#\"  # \""),
        ("x = 1 # a\nyy = 1 # b", "x = 1  # a\nyy = 1  # b"),
        ("x = 1   # a\nyy = 1  # b\nz = 1\nx = 2  # c", "x = 1   # a\nyy = 1  # b\nz = 1\nx = 2  # c"),
    ],
)  # fmt: skip
def test_comments_in_brackets_and_after_statements(written: str, wanted: str) -> None:
    assert block(written) == wanted + "\n"


def test_comments_stay_with_their_block() -> None:
    text = dedent("""\


        # file

        #about f
        fn f(a):# f
              # first

              if a > 0:
                    x = 1
                    # inner, last
               # between is inner, too
              # before else
              else:
                    # before x
                    x = 2


                 # after the if


              return x

              # end of f
        # after f



        # before g
        fn g(a) = a
        # last""")
    assert formatted(text) == dedent("""\
        # file

        #about f
        fn f(a):  # f
            # first

            if a > 0:
                x = 1
                # inner, last
            # between is inner, too
            # before else
            else:
                # before x
                x = 2

            # after the if

            return x

            # end of f
        # after f


        # before g
        fn g(a) = a
        # last
        """)


def test_empty_lines() -> None:
    assert formatted("\n\n\nfn f(a) = a\n\n\n\n\nfn g(a) = a\nfn h(a):\n\n\n  x = a\n\n\n\n  return x\nfn i(a) = a\n\n\n") == (
        "fn f(a) = a\n\n\nfn g(a) = a\n\nfn h(a):\n    x = a\n\n    return x\n\nfn i(a) = a\n"
    )
    assert formatted("use prox\n# about f\nfn f(a) = a") == "use prox\n\n# about f\nfn f(a) = a\n"


@pytest.mark.parametrize("text", ["", "\n", "  \n\n", "\f\n"])
def test_nothing_stays_nothing(text: str) -> None:
    assert formatted(text) == ""


def test_only_comments() -> None:
    assert formatted("\n  # a\n\n\n\n# b  ") == "# a\n\n\n# b\n"


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        (  # operators: in parentheses, before the loosest of them
            "dist = sum(query**2, axis=1, keepdims=True) - 2 * query @ mu.T + sum(mu**2, axis=1) + something_else * (a - b) + cc * dd",
            "dist = (sum(query**2, axis=1, keepdims=True) - 2 * query @ mu.T + sum(mu**2, axis=1)\n"
            "        + something_else * (a - b) + cc * dd)",
        ),
        (  # one call: between its arguments
            "x = an_operator(first_argument + second_argument, another_argument * 2, third_argument, keyword=some_long_value, other=1)",
            "x = an_operator(first_argument + second_argument, another_argument * 2, third_argument,\n"
            "                keyword=some_long_value, other=1)",
        ),
        (  # too little room beside the name: below it
            "t = a_function_with_a_long_name_that_goes_on_and_on_and_on_forever_here_too(one_long_argument_name_for_this_test, two_argument)",
            "t = a_function_with_a_long_name_that_goes_on_and_on_and_on_forever_here_too(\n"
            "    one_long_argument_name_for_this_test, two_argument,\n)",
        ),
        (
            "return first_long_result_name_number_one, second_long_result_name_number_two, third_long_result_name_number_three, and_x",
            "return (first_long_result_name_number_one, second_long_result_name_number_two,\n"
            "        third_long_result_name_number_three, and_x)",
        ),
        (
            "assert all(some_condition_array > 0) and all(another_condition_array < 1) and norm(third_array_name) < 100000, 'message'",
            "assert (all(some_condition_array > 0) and all(another_condition_array < 1)\n"
            "        and norm(third_array_name) < 100000), \"message\"",
        ),
        (
            "x = sum(weights[i, j] * (observed_values[i, j] - model[i, j])**2 / scales[i, j] + logs(v[i]) for i in 0..n, j in 0..m)",
            "x = sum(weights[i, j] * (observed_values[i, j] - model[i, j])**2 / scales[i, j] + logs(v[i])\n"
            "        for i in 0..n, j in 0..m)",
        ),
        ("x = " + "a" * 130, "x = " + "a" * 130),
    ],
)  # fmt: skip
def test_long_lines(written: str, wanted: str) -> None:
    assert block(written) == wanted + "\n"
    assert block(wanted) == wanted + "\n"


def test_lines_up_to_120_columns_and_comments_are_not_long() -> None:
    line = f"x = f({'a' * 50}, {'b' * 50})"
    assert len(line) < 116
    assert block(line) == line + "\n"
    assert block("x = f(a, b)  # " + "long " * 40) == "x = f(a, b)  # " + ("long " * 40).rstrip() + "\n"


def test_a_long_header_is_broken_between_its_inputs() -> None:
    inputs = ", ".join(f"input_number_{n}: real[n, d]" for n in range(6))
    made = formatted(f"algorithm f({inputs}) -> real:\n    return 1.0\n")
    assert made.count("\n            input_number_") == 1 or made.count("\n            input_number_") == 2
    assert max(map(len, made.splitlines())) <= 100


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("fn f(a) = a +\n", "US0101"),
        ("fn f(a):\n\treturn a\n", "US0103"),
        ("fn f(a) = (a\n", "US0105"),
        ("fn f(a) = 'x\n", "US0102"),
    ],
)
def test_syntax_errors_are_diagnostics(text: str, code: str) -> None:
    with pytest.raises(ProgramError) as caught:
        format_text(source(text))
    assert [d.code for d in caught.value.diagnostics] == [code]


def test_deep_and_long_programs() -> None:
    assert formatted("fn f(a) = " + "(" * 3000 + "a" + ")" * 3000) == "fn f(a) = a\n"
    made = formatted("fn f(a) = g(" + ", ".join(f"argument{n}" for n in range(500)) + ")")
    assert max(map(len, made.splitlines())) <= 100
    deep = "fn f(a) = " + "-(" * 140 + "a" + ")" * 140 + "\n"
    assert formatted(deep).startswith("fn f(a) = -(-(")


def test_a_fault_of_the_formatter_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = formatter._rows

    def wrong(change: Callable[[str], str]) -> None:
        def rows(lines: object, text: str) -> object:
            return [type(row)(change(row.text), row.comment) for row in right(lines, text)]  # type: ignore[arg-type]

        monkeypatch.setattr(formatter, "_rows", rows)
        with pytest.raises(UnspoolError, match=r"t\.us: formatting would change the program"):
            format_text(source("# c\nfn f(a) = a + 1\n"))

    wrong(lambda text: text.replace("1", "2"))
    wrong(lambda text: text.replace("+", "+ +("))
    wrong(lambda text: text.replace("# c", ""))


def check(text: str) -> str:
    made = formatted(text)
    assert parse(source(made)) == parse(source(text))
    assert comments(made) == comments(text)
    assert "\n\n\n\n" not in made
    assert not re.search(r"[ \t]\n", made)
    assert formatted(text.replace("\n", "\r\n")) == made
    return made


@given(seed=st.integers(0, 2**32), comments=st.sampled_from([0, 0.01, 0.1]), breaks=st.sampled_from([0, 0.01, 0.2]))
@settings(max_examples=10)
def test_random_programs(seed: int, comments: float, breaks: float) -> None:
    rng = Random(seed)
    check(mangle(random_program(rng), rng, comments, breaks))


@given(seed=st.integers(0, 2**32), text=st.sampled_from(CORPUS), comments=st.sampled_from([0.01, 0.1]))
@settings(max_examples=10)
def test_the_programs_of_the_language_mangled(seed: int, text: str, comments: float) -> None:
    assert parse(source(check(mangle(text, Random(seed), comments)))) == parse(source(text))


@pytest.mark.parametrize("path", OURS, ids=lambda p: p.stem)
def test_the_graph_stays_the_same(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    made = format_text(source(mangle(text, Random(path.stem))))

    def graphs(text: str) -> list[str]:
        return [print_graph(algorithm.graph) for algorithm in load_text(text).algorithms.values()]

    assert graphs(made) == graphs(text)


@pytest.mark.slow
@given(seed=st.integers(0, 2**32))
@settings(max_examples=3000)
def test_many_random_programs(seed: int) -> None:
    rng = Random(seed)
    check(mangle(random_program(rng), rng, rng.choice([0, 0.01, 0.1]), rng.choice([0, 0.01, 0.2])))
