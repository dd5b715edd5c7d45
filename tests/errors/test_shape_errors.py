"""Errors of shapes: the shapes along the expression, and rewritings that fit."""

from __future__ import annotations

import pytest

import unspool as us
from unspool.compiler.diagnostics import Diagnostic, ProgramError
from unspool.compiler.snippet import Mark, snippet
from unspool.dsl.program import load_text

HEAD = "fn twice(v) = 2 * v\nfn apply(M, v) = M @ v\n"
HEAD += "algorithm f(A: real[m, n], B: real[m, n], W: real[K, n], x: real[n], y: real[m], z: real[m]) -> real[n]:\n"


def error(body: str, head: str = HEAD) -> Diagnostic:
    """The only error of an algorithm with this body."""
    with pytest.raises(ProgramError) as caught:
        load_text(head + "    iterations K = 3\n" + body, "p.us")
    (found,) = caught.value.diagnostics
    return found


@pytest.mark.parametrize(
    ("statement", "fits"),
    [
        ("return A @ y", "A.T @ y"),
        ("return x - 0.1 * (A @ (A @ x - y))", "A.T @ (A @ x - y)"),
        ("return A.T @ (A.T @ x)", "A @ x"),
        ("r = A @ A\n    return x", "A.T @ A` fits, and so does `A @ A.T"),
        ("r = A @ y @ z\n    return x", ""),  # any product of three that fits is a guess
        ("r = A * y\n    return x", "A * y[:, None]"),
        ("r: real[m] = A * x\n    return x", "A @ x"),
        ("r: real[m, n] = y * x\n    return x", "outer(y, x)"),
        ("r = y * x\n    return x", "outer(y, x)"),
        ("r = sum(A, axis=0) + y\n    return x", "sum(A, axis=1) + y"),
        ("for k in 0..K:\n        x = x + W\n    return x", "x + W[k]"),
        ("for k in 0..K:\n        x = twice(W)\n    return x", "twice(W[k])"),
        ("r = where(x > 0, A @ y, x)\n    return x", "A.T @ y"),
        ("return apply(A, y)", "M.T @ v"),
        ("r = dot(A, y)\n    return x", "dot(A.T, y)"),
        ("r = x + y\n    return x", ""),
        ("for k in 0..K until norm(A @ y) < 1:\n        x = x / 2\n    return x", "A.T @ y"),
        ("if all(A @ y > 0):\n        x = x / 2\n    return x", "A.T @ y"),
    ],
)
def test_what_fits_is_offered(statement: str, fits: str) -> None:
    found = error(f"    {statement}\n")
    if not fits:
        assert " fits" not in (found.suggestion or "")
        return
    shown = f"`{fits}`" if " fits," in fits else f"`{fits}` fits"
    assert found.suggestion in (shown, f"as a whole, {shown}")
    assert found.span is not None
    line = found.span.source.line(found.span.line)
    part = line[found.span.column - 1 : found.span.end_column - 1]
    if part in statement and " fits," not in fits:  # written in its place, it is right
        load_text(HEAD + "    iterations K = 3\n    " + statement.replace(part, f"({fits})") + "\n")


def test_the_shapes_stand_below_the_expression() -> None:
    found = error("    return x - 0.1 * (A @ (A @ x - y))\n")
    assert found.render().splitlines()[1:] == [
        " 5 |     return x - 0.1 * (A @ (A @ x - y))",
        "   |                      ^^^^^^^^^^^^^^^^^",
        "   |                       -   ----------- [m]",
        "   |                       A: [m, n]",
        "   |                            -----   - y: [m]",
        "   |                            [m]",
        "   |                                - x: [n]",
        "  try: `A.T @ (A @ x - y)` fits",
    ]


def test_the_python_spelling_has_them_too() -> None:
    with pytest.raises(ProgramError) as caught:

        @us.algorithm
        def step(A: us.real[m, n], y: us.real[m]) -> us.real[n]:  # type: ignore[name-defined]  # noqa: F821
            return A @ y

    (found,) = caught.value.diagnostics
    assert found.suggestion == "`A.T @ y` fits"
    assert [label.text for label in found.labels] == ["A: [m, n]", "y: [m]"]
    lines = found.render().splitlines()
    assert lines[3].rstrip().endswith("-   - y: [m]")
    assert lines[1].index("A @ y") == lines[3].index("-")
    assert "\x1b" not in found.render()
    with pytest.raises(ProgramError) as caught:

        @us.algorithm
        def product(x: us.real[n], y: us.real[m]) -> us.real[n, m]:  # type: ignore[name-defined]  # noqa: F821
            return x * y

    assert caught.value.diagnostics[0].suggestion == "`us.outer(x, y)` fits"


def test_a_wide_line_is_cut_to_80_columns() -> None:
    name = "a_matrix_with_a_name"
    head = f"algorithm f({name}: real[m, n], y: real[m], x: real[n]) -> real[n]:\n"
    product = f"{name}.T @ y + {name}.T @ y"
    found = error(f"    r = {product} + {name} @ (y + 1) + x\n    return r\n", head)
    lines = found.render().splitlines()
    assert found.span is not None
    assert found.span.column > 60
    assert all(len(line) <= 80 for line in lines[1:])
    assert lines[1].split("|")[1].startswith(" ...")
    at = lines[2].index("^")
    assert lines[1][at:].startswith(f"{name} @ (y + 1)")
    assert f"{name}: [m, n]" in found.render()
    assert found.suggestion == f"`{name}.T @ (y + 1)` fits"


def test_an_expression_over_several_lines() -> None:
    lines = error("    r = (x +\n         A @ x)\n    return r\n").render().splitlines()
    assert lines[1:5] == [" 5 |     r = (x +", "   |         ^^^^", "   |          - x: [n]", " 6 |          A @ x)"]


def test_marks_that_overlap_stand_in_rows() -> None:
    marks = [Mark(0, 9, "all"), Mark(0, 1, "a"), Mark(4, 9, "inner"), Mark(8, 9, "b")]
    assert snippet(7, "a + (c*b)", 0, 9, marks)[2:] == [
        "   | --------- all",
        "   | -   ----- inner",
        "   | a",
        "   |         - b",
    ]


def test_many_errors_take_no_time() -> None:
    body = "".join(f"    r{i} = A @ y + B @ z * {i}\n" for i in range(60))
    with pytest.raises(ProgramError) as caught:
        load_text(HEAD + "    iterations K = 3\n" + body + "    return x\n")
    assert len(caught.value.diagnostics) == 60
