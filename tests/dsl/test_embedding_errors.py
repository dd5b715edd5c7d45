"""What an embedded program gets wrong: the code, and the place in the Python file."""

# ruff: noqa: E501, PT017  (a table, and errors looked at where they are caught)

from __future__ import annotations

import functools
import linecache
import math
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import unspool as us
from tests.dsl.python_text import execute

HEAD = (
    "@us.fn\n"
    "def twice(v):\n"
    "    return 2 * v\n"
    "@us.algorithm\n"
    'def f(A: us.real["m", "n"], x: us.real["n"], y: us.real["m"], t: us.real, i: us.i32) -> us.real:\n'
    "    K = us.iterations(3)\n"
)


class Config:
    tol = 0.5


NAMES: dict[str, Any] = {
    "np": np, "torch": torch, "math": math, "tensor": torch.zeros(3), "array": np.zeros(3), "model": torch.nn.Linear(2, 2),
    "config": Config(), "Config": Config, "plain": lambda v: v, "text": "n", "nan": math.nan, "huge": 2**70, "z": 1 + 2j,
    "prox": us.load("prox"), "package": types.ModuleType("package"),
}  # fmt: skip


def found(text: str, name: str = "") -> list[tuple[str, int, int]]:
    """Code, line and column of every diagnostic that a Python text gives."""
    with pytest.raises(us.ProgramError) as caught:
        execute(text, name, **NAMES)
    places = []
    for d in caught.value.diagnostics:
        assert d.span is not None
        places.append((d.code, d.span.line, d.span.column))
        source, carets = d.render().splitlines()[1:3]
        assert source.partition("| ")[2] == text.splitlines()[d.span.line - 1]
        assert carets.index("^") == source.index("|") + 1 + d.span.column
    return places


@pytest.mark.parametrize(
    ("statement", "code", "column"),
    [
        # constructs of Python
        ("while t > 0:\n        t = t / 2", "US0109", 5), ("try:\n        t = 1.0\n    finally:\n        t = 2.0", "US0109", 5),
        ("with open(x):\n        t = 1.0", "US0109", 5), ("raise ValueError(x)", "US0109", 5), ("import numpy", "US0109", 5),
        ("from numpy import dot", "US0109", 5), ("global t2", "US0109", 5), ("del x", "US0109", 5), ("pass", "US0109", 5),
        ("class C:\n        pass", "US0109", 5), ("match t:\n        case 1:\n            t = 2.0", "US0109", 5),
        ("def g(v):\n        return v", "US0109", 9), ("for k in range(K):\n        break\n        t = 1.0", "US0109", 9),
        ("for k in range(K):\n        continue", "US0109", 9), ("for k in range(K):\n        t = t\n    else:\n        t = 1.0", "US0109", 9),
        ("for k in range(K):\n        if t > 0:\n            break", "US0101", 9), ("for j in x:\n        t = t + j", "US0109", 14),
        ("for j, e in enumerate(x):\n        t = t + e", "US0109", 9), ("for j in range():\n        t = t", "US0101", 14),
        ("a = b = x", "US0109", 9), ("t **= 2", "US0109", 5), ("t @= 2", "US0109", 5), ("t |= 2", "US0109", 5), ("u: us.real['n']", "US0101", 8),
        ("u = lambda v: v", "US0109", 9), ("u = {1: x}", "US0109", 9), ("u = {x}", "US0109", 9), ("u = f'{x}'", "US0109", 9),
        ("u = x if t > 0 else y", "US0109", 9), ("u = (v := x)", "US0109", 10), ("u = [*x]", "US0109", 10), ("u = twice(*x)", "US0109", 15),
        ("u = twice(**x)", "US0109", 15), ("u = x & x", "US0109", 9), ("u = ~x", "US0109", 9), ("u = x is None", "US0109", 9),
        ("u = x in y", "US0109", 9), ("u = b'a'", "US0109", 9), ("u = ...", "US0109", 9), ("u = [x[j] for j in range(n) if j > 0]", "US0109", 36),
        ("u = (x[j] for j in range(n))", "US0416", 9), ("u = x[()]", "US0101", 9), ("u = 2**70 + 99999999999999999999", "US0107", 17),
        ("yield x", "US0109", 5), ("u = not-a-name", "US0201", 13),
        # names of Python
        ("u = np.dot(x, x)", "US0701", 9), ("u = np.linalg.norm(x)", "US0701", 9), ("print(x)", "US0701", 5), ("u = len(x)", "US0701", 9),
        ("u = plain(x)", "US0701", 9), ("u = torch.exp(x)", "US0701", 9), ("u = x + tensor", "US0701", 13), ("u = x @ array", "US0701", 13),
        ("u = tensor.T", "US0701", 9), ("u = model(x)", "US0701", 9), ("u = config.tol", "US0701", 9), ("u = np", "US0701", 9),
        ("u = prox(x)", "US0701", 9), ("u = us.load('prox')", "US0701", 9), ("u = text", "US0701", 9), ("u = nan", "US0701", 9),
        ("u = huge", "US0701", 9), ("u = z", "US0701", 9), ("u = range(3)", "US0701", 9), ("u = float(t)", "US0701", 9),
        ("u = prox.sofft(x, 1)", "US0602", 14), ("u = us.sofmax(x)", "US0201", 12), ("u = np.no_such(x)", "US0201", 12),
        ("u = package.thing", "US0201", 17), ("u = sofft(x)", "US0201", 9), ("u = Config.missing", "US0201", 16), ("tensor[0] = 1", "US0701", 5),
        # declarations
        ("L = us.iterations()", "US0402", 9), ("L = us.iterations(1, 2)", "US0402", 9), ("L = us.iterations(n)", "US0502", 23),
        ("L = us.iterations(count=3)", "US0403", 23), ("p = us.param(K, shape=3)", "US0403", 21), ("p = us.param(constraint=positive)", "US0404", 29),
        ("p = us.param(constraint='positiv')", "US0503", 30), ("p = us.param(constraint='interval(2, 1)')", "US0503", 30),
        ("p = us.param(constraint='n + 1')", "US0503", 30), ("p = us.param(init=y)", "US0505", 23), ("p = 2 * us.param(K)", "US0501", 13),
        ("g = us.module('real[n]')", "US0101", 19), ("g = us.module(us.real)", "US0404", 19), ("g = us.module('(real[n]) -> rea[n]')", "US0509", 33),
        ("g = us.module('(real[n]) ->')", "US0101", 19), ("g = us.module('() -> real[n]')", "US0511", 5), ("us.given(x)", "US0501", 5),
        ("@us.objective\n    def J(a, b):\n        return a", "US0510", 5), ("@us.objective\n    def J(a=1):\n        return a", "US0703", 13),
        ("@us.objective\n    def J(a):\n        '''nothing'''", "US0506", 9), ("t = 1.0\n    L = us.iterations(3)", "US0501", 5),
        ("for k in range(K):\n        L = us.iterations(2)", "US0501", 9),
        # strings
        ("u = us.zeros('n +')", "US0101", 18), ("u = us.zeros('q')", "US0201", 19), ("u = us.zeros(' n - q')", "US0201", 24),
        ("u = us.zeros('n' 'q')", "US0201", 18), ("u = x + 'n'", "US0404", 9), ("assert t > 0, t", "US0101", 19),
        # what the checker finds, as in any program
        ("u = A @ y", "US0302", 9), ("u = us.sum(x, 1)", "US0402", 19), ("u = twice(x, x)", "US0411", 18),
        ("x[n] = 1", "US0203", 7), ("u = [x[j + 1] for j in range(n)]", "US0203", 12), ("λ = A @ y", "US0302", 9), ("u: us.real['m'] = x", "US0301", 23),
        ("by = 1", "US0110", 5), ("u = f(A, x, y, t, i)", "US0412", 9), ("return x", "US0506", 5), ("t + 1", "US0512", 5), ("u = x[i:]", "US0205", 11),
    ],
)  # fmt: skip
def test_a_wrong_statement(statement: str, code: str, column: int) -> None:
    places = found(f"{HEAD}    {statement}\n    return t\n")
    assert [(c, k) for c, _, k in places][:1] == [(code, column)], places
    assert len(places) == 1


@pytest.mark.parametrize(
    ("head", "code", "column"),
    [
        ("def f(x) -> us.real:", "US0703", 7), ("def f(self, x: us.real) -> us.real:", "US0703", 7), ("def f(x: us.real):", "US0703", 5),
        ("def f(x: us.real, *y: us.real) -> us.real:", "US0703", 20), ("def f(x: us.real = 1) -> us.real:", "US0703", 20),
        ("def f(x: us.real, *, y: us.real) -> us.real:", "US0703", 22), ("def f(x: us.real, **y: us.real) -> us.real:", "US0703", 21),
        ("def f(x: us.real, /) -> us.real:", "US0703", 7), ("def f(x: float) -> us.real:", "US0509", 10), ("def f(x: np.ndarray) -> us.real:", "US0509", 10),
        ("def f(x: 'reel[n]') -> us.real:", "US0509", 11), ("def f(x: us.real['n'], y: us.real['n-q']) -> us.real:", "US0504", 38),
        ("def f(x: us.real[0]) -> us.real:", "US0504", 18), ("def f(x: us.real['2 n']) -> us.real:", "US0101", 18), ("def f(x: us.real) -> ():", "US0703", 22),
        ("def f(x: us.given(us.real, 2)) -> us.real:", "US0402", 10), ("def f(x: us.given(us.given(us.real))) -> us.real:", "US0509", 19),
        ("def f(given: us.real) -> us.real:", "US0110", 7), ("def f(x: us.real, m: us.real['m']) -> us.real:", "US0208", 19),
        ("def real(x: us.real) -> us.real:", "US0209", 5), ("def f(x: us.key['n']) -> us.real:", "US0509", 10), ("def f(x: 3) -> us.real:", "US0509", 10),
    ],
)  # fmt: skip
def test_a_wrong_signature(head: str, code: str, column: int) -> None:
    text = f"from __future__ import annotations\n@us.algorithm\n{head}\n    return x\n"
    assert (code, 3, column) in found(text)


@pytest.mark.parametrize(
    ("where", "code", "column"),
    [("n >", "US0101", 21), ("n >= 3, q > 2", "US0504", 30), ("n", "US0507", 22), ("x > 0", "US0507", 22), ("n >= 3 or n < 2", "US0507", 22)],
)  # fmt: skip
def test_a_wrong_where(where: str, code: str, column: int) -> None:
    text = f"@us.algorithm(where='{where}')\ndef f(x: us.real['n']) -> us.real:\n    return x[0]\n"
    assert found(text) == [(code, 1, column)]


def test_a_where_from_a_variable_is_reported_at_the_decorator() -> None:
    text = "text = 'q > 2'\n@us.algorithm(where=text)\ndef f(x: us.real['n']) -> us.real:\n    return x[0]\n"
    assert found(text) == [("US0504", 2, 21)]
    with pytest.raises(us.DataError, match="where is a string of conditions"):
        us.algorithm(where=3)  # type: ignore[call-overload]


def test_several_errors_come_together_in_order() -> None:
    text = (
        HEAD
        + "    u = np.dot(x, x)\n    while t > 0:\n        t = 1.0\n    for k in range(K):\n        u = lambda: 1\n    return t\n"
    )
    assert found(text) == [("US0701", 7, 9), ("US0109", 8, 5), ("US0109", 11, 13)]
    text = HEAD + "    u = A @ y\n    v = x + y\n    return t\n"
    assert found(text) == [("US0302", 7, 9), ("US0301", 8, 9)]


def test_a_fn_has_no_types_and_no_defaults() -> None:
    assert found("@us.fn\ndef f(v: us.real, w=1) -> us.real:\n    return v\n") == [
        ("US0703", 2, 10), ("US0703", 2, 21), ("US0703", 2, 27)
    ]  # fmt: skip
    execute("from typing import Any\n@us.fn\ndef f(v: Any) -> Any:\n    return v\n")
    assert found("@us.fn\ndef f(v):\n    '''Only words.'''\n") == [("US0506", 2, 5)]
    assert found("@us.fn\ndef f(v):\n    return v + w\n") == [("US0201", 3, 16)]
    assert found("@us.fn\ndef f(v):\n    return f(v)\n") == [("US0412", 3, 12)]
    assert found("@us.fn\nasync def f(v):\n    return v\n") == [("US0109", 2, 1)]


def test_an_error_inside_a_function_names_the_call() -> None:
    text = "@us.fn\ndef g(v, w):\n    return v @ w\n@us.algorithm\ndef f(x: us.real['n'], y: us.real['m']) -> us.real:\n    return g(x, y)\n"
    with pytest.raises(us.ProgramError, match=r"(?s):3:12: error US0302.*in g, called at .*:6:12"):
        execute(text)


def test_places_in_a_file_with_letters_of_all_kinds(tmp_path: Path) -> None:
    text = (
        "import unspool as us\n\n\nclass Ops:\n    if True:\n        @us.algorithm\n"
        "        def f(naïve: us.real['n'], größe: us.real['m']) -> us.real['n']:\n"
        '            """Text with\nno indentation."""\n            # λ\n'
        "            ε = 'λμ' and naïve + größe; ζ = größe @ naïve\n            return ζ\n\n    x = 1\n"
    )
    path = tmp_path / "letters.py"
    path.write_text(text, encoding="utf-8")
    assert found(text, str(path)) == [("US0301", 11, 26), ("US0302", 11, 45)]


def test_a_file_that_is_not_python_as_a_whole() -> None:
    text = "%matplotlib inline\n\n@us.fn\ndef f(v):\n    return v + w\n```\nend of the page (\n"
    linecache.cache["<cell>"] = (len(text), None, text.splitlines(keepends=True), "<cell>")
    code = "\n\n@us.fn\ndef f(v):\n    return v + w\n"
    with pytest.raises(us.ProgramError, match="<cell>:5:16: error US0201"):
        exec(compile(code, "<cell>", "exec"), {"us": us})


def test_no_source(tmp_path: Path) -> None:
    with pytest.raises(us.ProgramError, match="<string>:1:1: error US0702: f cannot be read: there is no source"):
        exec("@us.fn\ndef f(v):\n    return v\n", {"us": us})
    path = tmp_path / "changed.py"
    path.write_text("@us.fn\ndef g(v):\n    return v\n")
    with pytest.raises(us.ProgramError, match=r"changed\.py:1:1: error US0702: f cannot be read: the source at line 1 is not"):
        exec(compile("@us.fn\ndef f(v):\n    return v\n", str(path), "exec"), {"us": us})
    with pytest.raises(us.ProgramError, match="US0702"):
        exec(compile("\n" * 50 + "@us.fn\ndef f(v):\n    return v\n", str(path), "exec"), {"us": us})


def test_what_is_no_function() -> None:
    for wrong in (3, len, lambda v: v, torch.nn.Linear(1, 1), functools.partial(max, 1)):
        with pytest.raises(us.DataError, match="decorates a function made with `def`"):
            us.fn(wrong)

    @functools.wraps(test_no_source)
    def wrapped(v: Any) -> Any:
        return v

    with pytest.raises(us.DataError, match="no other decorator stands between"):
        us.algorithm(wrapped)


def test_suggestions() -> None:
    def said(statement: str) -> str:
        with pytest.raises(us.ProgramError) as caught:
            execute(f"def helper(v):\n    return v\n{HEAD}    u = {statement}\n    return t\n", **NAMES)
        return str(caught.value.diagnostics[0].suggestion)

    assert said("np.sqrt(x)") == "the language has us.sqrt"
    assert said("helper(x)") == "decorate it with @us.fn"
    assert said("x + tensor").startswith("make it an input")
    assert said("model(x)").startswith("declare it with us.module")
    assert said("below_it(x)") == "what a function uses stands above it, a fn with @us.fn"
    assert said("v + x\n    v = x") == "None"  # bound too late
    assert said("us.sofmax(x)") == "softmax"
    assert said("pow(x, 2)") == "a power is x ** y"
    assert "us.cast" in said("float(t)")


@pytest.mark.parametrize(
    "body",
    [
        "return " + "(" * 90 + "x" + ")" * 90, "return " + "-" * 900 + "x", "return " + "x + " * 900 + "x", "return " + "us.sum(" * 80 + "x" + ")" * 80,
        "return x" + "[0]" * 900, "return x" + ".T" * 900,
        "\n".join(["if x[0] > 0:\n        x = -x"] + [f"    elif x[0] > {k}:\n        x = x + {k}" for k in range(300)] + ["    return x"]),
        "\n    ".join(["x = x + 1"] * 1500 + ["return x"]), "return " + "[us.sum(" * 15 + "x[0]" + " for i in range(n)) for j in range(n)][0]" * 15,
        "\n".join(" " * (4 * d) * (d > 0) + f"for i{d} in range(n):" for d in range(1, 19))[4:] + "\n" + " " * 80 + "x = -x\n    return x",
        "return x ** 9**9**9**9", "return us.zeros('" + "(" * 300 + "n')", "return us.zeros('" + "-" * 3000 + "n')",
    ],
    ids=range(13),
)  # fmt: skip
def test_extreme_functions_give_a_diagnostic_or_a_graph(body: str) -> None:
    text = f"@us.algorithm\ndef f(x: us.real['n']) -> us.real['n']:\n    {body}\n"
    try:
        execute(text)
    except us.ProgramError as error:
        assert error.diagnostics
