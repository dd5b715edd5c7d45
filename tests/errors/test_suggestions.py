"""What a newcomer types, and what the message tells to try."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

import unspool as us
from unspool.compiler.diagnostics import ProgramError
from unspool.compiler.nearest import did_you_mean, nearest
from unspool.dsl.builtins.all import BUILTINS
from unspool.dsl.other_words import _WORDS, TYPES
from unspool.dsl.paint import print_error
from unspool.dsl.program import load_text

HEAD = "fn twice(v) = 2 * v\nalgorithm f(A: real[m, n], x: real[n], y: real[m]) -> real[n]:\n"


@pytest.mark.parametrize(
    ("statement", "code", "suggestion"),
    [
        # punctuation
        ("for k in 0..3\n        x = x / 2", "US0101", "end the line with `:`"),
        ("for i in range(n):\n        x = x / 2", "US0101", "a range is written 0..n"),
        ("for i in 0:n:\n        x = x / 2", "US0101", "a range is written 0..n"),
        ("z = x[1..n]", "US0101", "a slice is written a:b"),
        ("z = x^2", "US0102", "a power is `**`"), ("z = A' @ y", "US0102", "a transpose is A.T"), ("z = x \u2212 1", "US0102", "a minus is `-`"),
        ("if n = 1:\n        x = x / 2", "US0101", "a comparison is `==`"), ("x == y", "US0512", "an assignment is written with one `=`"),
        ("z = 2 x", "US0101", "a product needs `*`, of matrices `@`"), ("x++", "US0101", "x += 1"),
        ("// half", "US0101", "a comment begins with `#`"), ('"""Half."""', "US0101", "a comment begins with `#`"),
        ("if n > 1:\n        x = x / 2\n    else if n > 0:\n        x = 2 * x", "US0101", "`elif`"),
        ("z = sum(i in 0..n, x[i])", "US0101", "an index stands behind: sum(e for i in 0..n)"),
        ("z = sum(x[i], i)", "US0201", "sum(x[i] for i in 0..n)"),
        ("for k = 0..3:\n        x = x / 2", "US0101", "write `in`"), ("for k in 0..3 do:\n        x = x / 2", "US0101", "end the line with `:`"),
        ("for (k in 0..3):\n        x = x / 2", "US0101", "no brackets: for k in 0..K:"), ("z = argmin x", "US0101", "argmin(x)"),
        ("z := x", "US0101", "an assignment is `=`"), ("z = where(x > 0, x)", "US0402", "where(condition, x, y)"),
        ("z = t * x", "US0201", "`t = ...` above binds it, `t: real` in the signature makes it an input"),
        # keywords
        ("parm s = 1", "US0101", "`param step[K]: positive = 0.1`"), ("let z = x", "US0101", "`name = expression`"),
        ("retrun x", "US0101", "`return x`"), ("for k in 0..3 unitl norm(x) < 1:\n        x = x / 2", "US0101", "`until`"),
        ("iteration K = 3", "US0101", "`iterations K = 16`"),
        # names
        ("z = np.dot(x, x)", "US0201", "dot(...), without np."), ("z = math.sqr(x)", "US0201", "sqrt(...), without math."),
        ("z = torch.softmx(x)", "US0201", "softmax(...), without torch."), ("z = matmul(A, x)", "US0201", "A @ b"), ("z = true", "US0201", "True"),
        ("z = twise(x)", "US0201", "twice"), ("z = Twice(x)", "US0201", "twice"),
        ("z = soft(x, 1)", "US0201", "`use prox: soft` at the top takes it from the standard library"),
        ("z = prox.soft(x, 1)", "US0201", "`use prox` at the top makes it known"), ("z = nrom(x)", "US0201", "norm"),
        ("for k in 0..J:\n        x = x / 2", "US0201", "`iterations J = 16` declares a count; a size stands in the type of an input"),
        ("z = A.T() @ y", "US0417", "A.T, without parentheses"), ("z = x.sum()", "US0210", "sum(x)"), ("z = A.t", "US0210", "A.T"),
        ("z = topk(x, 2).valus", "US0210", ".values"), ("z = twice(w=x)", "US0411", None), ("z = twice(V=x)", "US0411", "v="),
        ("z = sum(A, dim=0)", "US0403", "axis="), ("z = sum(A, axes=0)", "US0403", "axis="),
        # types and sizes
        ("z: float = 1", "US0509", "real"), ("z: int32 = 1", "US0509", "i32"), ("z: rael = 1", "US0509", "real"),
        ("z = zeros(2.0)", "US0406", "write 2, without a point"), ("z = zeros(n / 2)", "US0406", "a division of sizes is `//`, and rounds down"),
    ],
)  # fmt: skip
def test_what_to_try(statement: str, code: str, suggestion: str | None) -> None:
    with pytest.raises(ProgramError) as caught:
        load_text(f"{HEAD}    {statement}\n    return x\n")
    found = caught.value.diagnostics[0]
    assert (found.code, found.suggestion) == (code, suggestion)


@pytest.mark.parametrize(
    ("text", "code", "suggestion"),
    [
        ("algoritm f(x: real[n]) -> real[n]:\n    return x\n", "US0101", "`algorithm f(x: real[n]) -> real[n]:`"),
        ("algorithm f(x: real[n]) -> real[n]\n    return x\n", "US0101", "end the line with `:`"),
        ("algorithm f(x: real[n]):\n    return x\n", "US0101", "say what it returns: `-> real[n]:`"),
        ("algorithm f(x) -> real:\n    return x\n", "US0101", "an input has a type: x: real[n]"),
        ("algorithm f(x: real[n]) -> real[n] {\n", "US0102", "a block is a line that ends with `:` and indented lines"),
        ("fn g(x: real[n]) = x\n", "US0101", "the parameters of a fn have no types: fn f(x, y)"),
        ("fn g(x)\n    return x\n", "US0101", "`= expression` on the line, or `:` and a block"),
        ("fn g(x) = np.sqrt(x)\n", "US0201", "builtins stand alone, without np."), ("fn g(x) = sqrtt(x)\n", "US0201", "sqrt"),
        ("import numpy as np\n", "US0109", 'use `use prox` for a stdlib file or `use "file.us"` for one beside this'),
        ("use proxx: soft\n", "US0601", "prox"), ("use prox: sofft\n", "US0602", "soft"),
        ("algorithm f(x: real[4.0]) -> real:\n    return x[0]\n", "US0406", "write 4, without a point"),
    ],
)  # fmt: skip
def test_what_to_try_at_the_top(text: str, code: str, suggestion: str) -> None:
    with pytest.raises(ProgramError) as caught:
        load_text(text)
    found = caught.value.diagnostics[0]
    assert (found.code, found.suggestion) == (code, suggestion)


def test_words_of_others_mean_nothing_here() -> None:
    """A word that the language has needs no translation."""
    assert not set(_WORDS) & set(BUILTINS)
    assert all(name not in us.dsl.syntax.TYPE_NAMES for name in TYPES)  # type: ignore[attr-defined]


def test_a_switch_that_there_is_not() -> None:
    with pytest.warns(UserWarning, match="UNSPOOL_DEBGU is no switch of unspool, and ignored; did you mean 'UNSPOOL_DEBUG'"):
        us.options.from_environment({"UNSPOOL_DEBGU": "1"})


def test_colours_at_a_terminal_only(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ProgramError) as caught:
        load_text(f"{HEAD}    return A @ y + x @ 2\n", "p.us")
    text = str(caught.value)

    def shown() -> str:
        out = io.StringIO()
        print_error(text, Console(file=out, force_terminal=True, color_system="standard", soft_wrap=True))
        return out.getvalue()

    colour = re.compile(r"\x1b\[[\d;]*m")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert re.search(r"\x1b\[1;31m +\^+", shown())
    assert re.search(r"\x1b\[34m +- +- y: \[m\]", shown())
    assert colour.sub("", shown()) == text + "\n"
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[[\d;]*[39]\d[\d;]*m", shown())
    print_error(text)
    assert capsys.readouterr().err == text + "\n"


def test_nearest() -> None:
    assert nearest("Tile", ["tile", "split"]) == "tile"
    assert nearest("ISTA", ["ista", "fista"]) == "ista"
    assert nearest("xyz", ["tile"]) is None
    assert did_you_mean("numbaa", ["numba", "c"]) == "; did you mean 'numba'?"
    assert did_you_mean("q", ["numba"]) == ""


def test_calls_from_python_name_what_was_meant(tmp_path: Path) -> None:
    path = tmp_path / "half.us"
    path.write_text("algorithm half(x: real[n]) -> real[n]:\n    iterations K = 2\n    param step: positive = 0.5\n    return x * step\n")
    program = us.load(path)
    wrong = [
        ("half", lambda: program.halff),
        ("half.us", lambda: us.load(str(tmp_path / "halff.us"))),
        ("prox", lambda: us.load("proxx")),
        ("numba", lambda: program.half.compile(shapes={"n": 3}, target="numbaa")),
        ("numerics", lambda: program.half.compile(shapes={"n": 3}, numeric="strict")),
        ("step", lambda: program.half.build(stepp=1.0)),
        ("f32", lambda: program.half.compile(shapes={"n": 3}, dtype="float32")),
        ("debug", lambda: us.options.scope(debgu=1).__enter__()),
        ("step", lambda: program.half.build().stepp),
    ]
    for meant, call in wrong:
        with pytest.raises((us.UnspoolError, AttributeError, TypeError), match=f"; did you mean '{meant}'\\?$"):
            call()
