"""What the language server knows of a text, without the server: errors, names, types, completions, edits."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from lsprotocol import types as lsp

from tests.dsl.fuzzing import fuzz
from tests.dsl.test_fuzz import CORPUS, mutate
from tests.errors.test_error_pages import PAGES, write_files
from unspool.compiler.diagnostics import ProgramError, Source
from unspool.dsl.context import Observer
from unspool.dsl.format import format_text
from unspool.dsl.lower_declarations import _CONSTRAINTS
from unspool.dsl.lsp import memory, vocabulary
from unspool.dsl.lsp.analysis import Analysis, analyse
from unspool.dsl.lsp.complete import completions, signature
from unspool.dsl.lsp.fixes import fixes
from unspool.dsl.lsp.hover import hover
from unspool.dsl.lsp.layout import edits
from unspool.dsl.lsp.memory import Memory
from unspool.dsl.lsp.outline import outline
from unspool.dsl.lsp.report import diagnostics
from unspool.dsl.lsp.text import Text
from unspool.dsl.lsp.types import Superseded
from unspool.dsl.program import load_text
from unspool.dsl.syntax import KEYWORDS, TYPE_NAMES, AlgorithmDecl
from unspool.dsl.uses import FileScope, read_source

ROOT = Path(__file__).resolve().parents[2]
LASSO = (ROOT / "tests" / "programs" / "lasso.us").read_text(encoding="utf-8")
HEAD = "use prox\nuse sparse: fista\n\nalgorithm f(given A: real[m, n], y: real[m], t: real) -> real[n] where m >= 2:\n    iterations K = 8\n"


def marked(text: str) -> tuple[str, int, int]:
    """A text without its mark ``|``, and where that was: line and column from 1."""
    before, _, after = text.partition("|")
    return before + after, before.count("\n") + 1, len(before) - before.rfind("\n")


def look(text: str, folder: Path | None = None) -> Analysis:
    return analyse(Source("f.us", text), folder)


def hovered(text: str) -> str:
    whole, line, column = marked(text)
    found = hover(look(whole), Text(whole), line, column)
    return "" if found is None else str(found.contents.value)


def offered(text: str, folder: Path | None = None) -> dict[str, lsp.CompletionItem]:
    whole, line, column = marked(text)
    return {item.label: item for item in completions(look(whole, folder), folder, line, column)}


def defined(text: str) -> str:
    """The line, or the file, where the name at the mark is defined."""
    whole, line, column = marked(text)
    found = look(whole)
    use = found.names.at(line, column, behind=True)
    assert use is not None
    span = use[1].span
    return span.source.line(span.line).strip() if span.source == found.source else f"{Path(span.source.name).name}: {use[1].name}"


# -- errors ---------------------------------------------------------------------------------------------------------


#: The pages about programs in files, without the one whose program takes long.
PROGRAMS = [p for p in PAGES if "```us" in p.read_text(encoding="utf-8") and p.stem != "US0415"]


@pytest.mark.parametrize("page", PROGRAMS, ids=lambda p: p.stem)
def test_the_failing_program_of_an_error_page_has_that_error(page: Path, tmp_path: Path) -> None:
    path, good = write_files(page, tmp_path)
    try:
        source = read_source(path)
    except ProgramError:  # of a file that is not UTF-8, which no editor sends
        return
    text = Text(source.text)
    found = analyse(source, tmp_path)
    (error,) = diagnostics(found, text, path.as_uri(), lambda name: Path(name).as_uri())
    assert error.code == page.stem
    assert error.code_description is not None
    assert error.code_description.href == page.as_uri()
    (line, column) = map(int, re.findall(r"^at (\d+):(\d+)$", page.read_text(encoding="utf-8"), re.MULTILINE)[0])
    assert text.place(error.range.start) == (line, column)
    assert analyse(Source(str(path), good), tmp_path).errors == ()


def test_errors_are_those_of_the_checker_and_further_ones_where_a_definition_does_not_parse() -> None:
    wrong = "fn g(x) = x + unknown\n\nalgorithm a(x: real[n]) -> real[n]:\n    y = x +\n    return y\n\n" + (
        "algorithm b(x: real[n]) -> real[n]:\n    return x[0]\n"
    )
    codes = [(d.code, d.span.line) for d in look(wrong).errors if d.span]
    assert codes == [("US0201", 1), ("US0101", 4), ("US0308", 8)]
    with pytest.raises(ProgramError) as caught:
        load_text(wrong)
    assert [d.code for d in caught.value.diagnostics] == ["US0101"]


def test_a_line_that_stands_for_another_may_be_wrong_itself() -> None:
    assert [d.code for d in look("algorithm f(x:\n    y z\n    0\n    return x\n").errors] == ["US0101"]


def test_errors_before_a_line_that_does_not_parse_stay() -> None:
    text = HEAD + "    r = unknown\n    s = A @ A\n    for k in 0..K:\n        r = r +\n        q = later\n"
    assert [(d.code, d.span.line - HEAD.count("\n")) for d in look(text).errors if d.span] == [("US0201", 1), ("US0302", 2), ("US0101", 4)]
    text = "fn g(x):\n    y = unknown\n    z = x +\n    return unseen\n\nalgorithm a(x: real[n]) -> real[n]:\n    return g(x)[0]\n"
    assert [(d.code, d.span.line) for d in look(text).errors if d.span] == [("US0201", 2), ("US0101", 3)]


def test_what_could_not_be_read_is_not_called_unknown(tmp_path: Path) -> None:
    (tmp_path / "ops.us").write_text("fn blur(x) = x +\n", encoding="utf-8")
    text = 'use "ops.us": blur\n\nfn twice(x = 2 * x\n\nalgorithm a(x: real[n]) -> real[n]:\n    return blur(twice(x))\n'
    found = analyse(Source(str(tmp_path / "a.us"), text), tmp_path)
    assert [d.code for d in found.errors] == ["US0101", "US0101"]
    shown = diagnostics(found, Text(text), "file:///a.us", lambda name: Path(name).as_uri())
    assert [(d.range.start.line, d.range.start.character) for d in shown] == [(2, 11), (0, 4)]
    assert "(in ops.us, line 1)" in shown[1].message
    assert shown[1].related_information is not None
    assert shown[1].related_information[0].location.uri == (tmp_path / "ops.us").as_uri()


def test_an_error_inside_a_library_function_stands_at_its_call_and_points_inside() -> None:
    text = "use prox: soft\n\nalgorithm a(x: real[n], y: real[m]) -> real[n]:\n    return soft(x, y)\n"
    (error,) = diagnostics(look(text), Text(text), "file:///a.us", lambda name: Path(name).as_uri())
    assert (error.code, error.range.start.line, error.range.start.character) == ("US0301", 3, 11)
    assert error.related_information is not None
    related = [(Path(r.location.uri).name, r.location.range.start.line, r.message) for r in error.related_information]
    assert related[0][:2] == ("prox.us", 5)
    assert ("a.us", 3, "in soft, called") in related
    assert ("prox.us", 5, "t: [m]") in related
    assert "note: in soft, called at line 4" in error.message


# -- hover ----------------------------------------------------------------------------------------------------------

HOVERS = [
    ("    r = A |@ y\n    return r\n", ""),
    ("    r = A.T |@ y\n    return r\n", "A.T @ y: real[n]"),
    ("    r = 2 * (A.T |@ y)\n    return r\n", "```us\nA.T @ y: real[n]"),
    ("    r = A.|T @ y\n    return r\n", "A.T: real[n, m]"),
    ("    |r = A.T @ y\n    return r\n", "r: real[n]"),
    ("    return |A.T @ y\n", "given A: real[m, n]"),
    ("    return A.T @ y * |t\n", "t: real"),
    ("    param step[K]: positive = 0.1\n    return A.T @ y * st|ep[0]\n", "positive = 0.1\n```\n\n`real[K]`, one for each of the K iterations"),
    ("    param step[K]: positive = 0.1\n    return A.T @ y * step|[0]\n", "step[0]: real"),
    ("    param step[K]: posi|tive = 0.1\n    return A.T @ y * step[0]\n", "`positive`: larger than 0"),
    ("    x = zeros(n)\n    for k in 0..|K:\n        x = x / 2\n    return x\n", "iterations K = 8"),
    ("    x = zeros(n)\n    for |k in 0..K:\n        x = x / 2\n    return x\n", "for k in 0..K"),
    ("    return zeros(|n)\n", "size n\n```\n\nbound by `given A: real[m, n]`"),
    ("    return A.T @ y * no|rm2(A)\n", "norm2(A)\n```\n\nThe largest singular value"),
    ("    return A.T @ y * no|rm2(A)\n", "here `(real[m, n]) -> real`"),
    ("    return prox.so|ft(A.T @ y, 0.1)\n", "fn soft(v, t)\n```\n\nprox of t |x|_1"),
    ("    return prox.so|ft(A.T @ y, t)\n", "here `(real[n], real) -> real[n]`"),
    ("    return pr|ox.soft(A.T @ y, t)\n", "Proximal maps and projections"),
    ("    return fis|ta(A, y)\n", "algorithm fista(given A: real[m, n], y: real[m]) -> real[n]"),
    ("    module net: (real[n]) -> real[n]\n    return n|et(A.T @ y)\n", "module net: (real[n]) -> real[n]"),
    ("    return whe|re(A.T @ y > 0, 1.0, 0)\n", "where(condition, x, y)"),
    ("    re|turn A.T @ y\n", "`return`: the results"),
    ("    x: re|al[n] = 0\n    return x\n", "`real`: floating point"),
    ("    s = topk(abs(y), |2)\n    return A.T @ (y * s.mask)\n", "the number 2, of the type it is used with"),
    ("    |s = topk(abs(y), 2)\n    return A.T @ (y * s.mask)\n", ".mask: bool[m]"),
    ("    return A.T @ y  # A| comment\n", ""),
]  # fmt: skip


@pytest.mark.parametrize(("body", "shown"), HOVERS, ids=range(len(HOVERS)))
def test_hover(body: str, shown: str) -> None:
    if shown:
        assert shown in hovered(HEAD + body)
    else:
        assert hovered(HEAD + body) == ""


def test_hover_inside_a_function_tells_the_types_of_all_its_uses() -> None:
    text = "fn twice(x) = 2 |* x\n\nalgorithm a(x: real[n], Z: real[n, n]) -> (real[n], real[n, n]):\n    return twice(x), twice(Z)\n"
    assert hovered(text) == "```us\n2 * x: real[n] | real[n, n]\n```"
    assert "nothing in this file uses it" in hovered("fn twice(x) = 2 * |x\n")


def test_hover_goes_on_around_errors() -> None:
    broken = HEAD + "    r = A.T @ y\n    z = A @ |r\n    w = A.T @ (\n    q = unknown(z)\n    return r\n"
    assert "r: real[n]" in hovered(broken)
    assert "A @ r: real[m]" in hovered(broken.replace("A @ |r", "A |@ r"))
    assert "A.T @ y: real[n]" in hovered(HEAD + "    r = unknown * (A.T |@ y)\n    return r\n")
    assert "A.T @ y: real[n]" in hovered(HEAD + "    return sum(unknown, axis=0) + abs(A.T |@ y)\n")
    loop = HEAD + "    x = zeros(n)\n    for k in 0..:\n        x = |x / 2\n    return x\n"
    assert "x: real[n]" in hovered(loop)


# -- definitions and uses ---------------------------------------------------------------------------------------------

DEFINITIONS = [
    ("    r = A.T @ y\n    return |r\n", "r = A.T @ y"),
    ("    r = A.T @ y\n    return r @ |A.T @ y\n", HEAD.split("\n")[3]),
    ("    return zeros(|n)\n", HEAD.split("\n")[3]),
    ("    x = zeros(n)\n    for k in 0..K:\n        x = x * |k\n    return x\n", "for k in 0..K:"),
    ("    return prox.so|ft(A.T @ y, 0.1)\n", "prox.us: soft"),
    ("    return pro|x.soft(A.T @ y, 0.1)\n", "prox.us: prox"),
    ("    return fista|(A, y)\n", "sparse.us: fista"),
    ("    return prox.soft(v=A.T @ y, |t=0.1)\n", "prox.us: t"),
    ("    g = sum(A[i, 0] * y[|i] for i in 0..m)\n    return A.T @ (g * y)\n", "g = sum(A[i, 0] * y[i] for i in 0..m)"),
    ("    if t > 0:\n        r = A.T @ y\n    else:\n        r = zeros(n)\n    return r|\n", "r = A.T @ y"),
]


@pytest.mark.parametrize(("body", "line"), DEFINITIONS, ids=range(len(DEFINITIONS)))
def test_definition(body: str, line: str) -> None:
    assert defined(HEAD + body) == line


def test_definition_of_what_use_names() -> None:
    assert defined(HEAD.replace("fista", "fis|ta")) == "sparse.us: fista"
    assert defined(HEAD.replace("sparse", "spar|se")) == "sparse.us: sparse"


def test_two_loops_may_bind_the_same_name() -> None:
    loop = "    for k in 0..K:\n        s = x / 2\n        x = s\n"
    text = HEAD + "    x = zeros(n)\n" + loop.replace("= s", "= |s") + loop + "    return x\n"
    whole, line, column = marked(text)
    found = look(whole).names
    use = found.at(line, column, behind=True)
    assert use is not None
    assert [span.line - HEAD.count("\n") for span in found.occurrences(use[1])] == [3, 4]


# -- completion -------------------------------------------------------------------------------------------------------


def test_completion_knows_what_is_in_scope() -> None:
    found = offered(HEAD + "    r = A.T @ y\n    x = r\n    for k in 0..K:\n        s = x\n        x = |\n    late = x\n    return x\n")
    assert {"A", "y", "t", "r", "x", "s", "k", "K", "m", "n", "prox", "fista", "soft", "norm2"} - set(found) == {"soft"}
    assert "late" not in found
    assert found["r"].detail == "real[n]"
    assert found["norm2"].detail == "norm2(A)"
    outside = offered(HEAD + "    x = A.T @ y\n    for k in 0..K:\n        s = x\n        x = s\n    x = |\n    return x\n")
    assert "x" in outside
    assert {"s", "k"} & set(outside) == set()


COMPLETIONS = [
    ("use |\n", {"prox", "sparse", "optim"}, {"soft", "zeros"}),
    ("use prox: |\n", {"soft", "hard", "box", "simplex"}, {"zeros", "fn"}),
    ("use prox: soft, |\n", {"hard"}, {"zeros"}),
    ("|\n", {"use", "fn", "algorithm"}, {"zeros", "return"}),
    (HEAD + "    |\n    return y\n", {"for", "param", "return", "objective", "A"}, {"fn"}),
    (HEAD + "    return prox.|\n", {"soft", "hard"}, {"zeros", "T"}),
    (HEAD + "    return A.|\n", {"T", "H"}, {"zeros"}),
    (HEAD + "    s = topk(y, 2)\n    return y * s.|\n", {"mask", "values", "indices"}, {"T"}),
    (HEAD + "    module h: (real[n]) -> real[n]\n    return h.|\n", {"weights"}, {"T"}),
    (HEAD + "    param a[K]: |\n    return y\n", {"positive", "interval", "simplex"}, {"real", "zeros"}),
    ("algorithm g(x: |\n", {"real", "f32", "key"}, {"zeros"}),
    ("algorithm g(x: real[n]) -> |\n", {"real", "complex"}, {"zeros"}),
    (HEAD + "    x: |\n    return y\n", {"real"}, {"zeros"}),
    (HEAD + "    return softmax(y, |)\n", {"axis=", "y"}, set()),
    (HEAD + "    return softmax(y, axis=0, |)\n", {"y"}, {"axis="}),
    (HEAD + "    return prox.soft(|)\n", {"v=", "t=", "y"}, set()),
    (HEAD + "    return y  # |\n", set(), {"zeros", "y"}),
]


@pytest.mark.parametrize(("text", "there", "absent"), COMPLETIONS, ids=range(len(COMPLETIONS)))
def test_completion(text: str, there: set[str], absent: set[str]) -> None:
    found = set(offered(text))
    assert there - found == set()
    assert absent & found == set()


def test_completion_of_files_beside(tmp_path: Path) -> None:
    (tmp_path / "ops.us").write_text("fn blur(x) = x / 2\n", encoding="utf-8")
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "more.us").write_text("fn more(x) = x\n", encoding="utf-8")
    assert set(offered('use "|"\n', tmp_path)) == {"ops.us", "local/more.us"}
    assert set(offered('use "ops.us": |\n', tmp_path)) == {"blur"}


def test_signature_help() -> None:
    whole, line, column = marked(HEAD + "    return softmax(A.T @ (y + 1), |\n")
    found = signature(look(whole), line, column)
    assert found is not None
    assert (found.signatures[0].label, found.active_parameter) == ("softmax(x, axis=, keepdims=False)", 1)
    whole, line, column = marked(HEAD + "    return prox.soft(\n        y,\n        t=|\n")
    found = signature(look(whole), line, column)
    assert found is not None
    assert (found.signatures[0].label, found.active_parameter) == ("fn soft(v, t)", 1)


def test_every_word_has_a_line() -> None:
    assert vocabulary.KEYWORDS.keys() == KEYWORDS
    assert vocabulary.TYPES.keys() == TYPE_NAMES
    assert vocabulary.CONSTRAINTS.keys() == _CONSTRAINTS.keys()


# -- edits ------------------------------------------------------------------------------------------------------------


def applied(text: str, changes: list[lsp.TextEdit]) -> str:
    """A text after edits, as editors make them: all ranges are of the text before."""
    places, made, done = Text(text), "", 0
    for change in sorted(changes, key=lambda e: (e.range.start.line, e.range.start.character)):
        start, end = (places.offset(*places.place(p)) for p in (change.range.start, change.range.end))
        assert start >= done
        made, done = made + text[done:start] + change.new_text, end
    return made + text[done:]


@pytest.mark.parametrize(
    "text",
    [
        "fn  f( x )=x\n\n\n\n\nfn g(x)  = f(x )",
        "# ä𝛼\r\nfn  f(𝛼)= 𝛼\r\n\r\nfn g(x) = x\r\n",
        LASSO.replace(" = ", "="),
        LASSO,
        "",
        "\n\n",
        "fn f(x) = x\n\n\n",
    ],
    ids=range(7),
)
def test_formatting_makes_what_dsl_fmt_makes(text: str) -> None:
    changes = edits(Source("f.us", text), Text(text))
    made = format_text(Source("f.us", text))
    assert applied(text, changes) == (made.replace("\n", "\r\n") if "\r" in text else made)
    assert text != made or changes == []


MATRIX = "algorithm f(A: real[m, n], x: real[n], y: real[m]) -> real[n]:\n"
SCALAR = "algorithm f(x: real) -> real:\n"
FIXES = [
    ("fn f(x) = sqr(x)\n", "fn f(x) = sqrt(x)\n"),
    ("use spare: ista\n", "use sparse: ista\n"),
    ("use prox: sofft\n\nfn f(x) = x\n", "use prox: soft\n\nfn f(x) = x\n"),
    ("algorithm f(x: rela[n]) -> real[n]:\n    return x\n", "algorithm f(x: real[n]) -> real[n]:\n    return x\n"),
    (f"{SCALAR}    param ä: positiv = 1\n    return x\n", f"{SCALAR}    param ä: positive = 1\n    return x\n"),
    ("fn f(ä, b) = ä & b\n", "fn f(ä, b) = ä and b\n"),
    ("fn f(a, b) = a ^ b\n", "fn f(a, b) = a ** b\n"),
    ("fn f(a, b) = a + 1.\n", "fn f(a, b) = a + 1.0\n"),
    ("fn f(a, b) = a + .5\n", "fn f(a, b) = a + 0.5\n"),
    (f"{MATRIX}    return A.T @ (A.T @ x)\n", f"{MATRIX}    return A.T @ (A @ x)\n"),
    (f"{MATRIX}    return A @ y\n", f"{MATRIX}    return A.T @ y\n"),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "right"), FIXES, ids=range(len(FIXES)))
def test_a_suggestion_that_says_what_to_write_is_a_quick_fix(wrong: str, right: str) -> None:
    errors = diagnostics(look(wrong), Text(wrong), "file:///f.us", str)
    (fix,) = fixes(Text(wrong), "file:///f.us", 1, errors)
    assert fix.edit is not None
    assert fix.edit.document_changes is not None
    assert applied(wrong, list(fix.edit.document_changes[0].edits)) == right  # type: ignore[union-attr]
    assert look(right).errors == ()


def test_the_outline_has_what_algorithms_declare() -> None:
    found = outline(look(LASSO), Text(LASSO))
    assert [symbol.name for symbol in found][:2] == ["soft", "ista"]
    assert [inner.name for inner in found[1].children or []] == ["A", "y", "K", "step", "lam"]
    for symbol in found:
        assert symbol.range.start.line <= symbol.selection_range.start.line <= symbol.range.end.line


# -- places -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("encoding", "units"), [("utf-8", 4), ("utf-16", 2), ("utf-32", 1)])
def test_columns_count_in_the_units_agreed(encoding: str, units: int) -> None:
    text = Text("\ufeffä = 1\r\n𝛼𝛼 = 2  # \u2028 \x0c\nx = 3\r# y\n", encoding)
    assert text.text[0] == "ä"
    assert text.position(2, 2) == lsp.Position(1, units)
    assert text.place(lsp.Position(1, units)) == (2, 2)
    assert text.place(lsp.Position(1, 10**6)) == (2, 14)
    assert text.place(lsp.Position(3, 2)) == (3, 9)  # we count a line from a newline only
    assert text.position(3, 9) == lsp.Position(3, 2)
    assert text.place(lsp.Position(10**6, 5)) == (4, 1)
    for line, column in ((1, 1), (1, 2), (2, 1), (2, 3), (3, 1), (4, 1)):
        assert text.place(text.position(line, column)) == (line, column)
    if units == 2:
        assert text.place(lsp.Position(1, 1)) == (2, 1)  # in the middle of a character


# -- whatever comes -----------------------------------------------------------------------------------------------------


MEMORY = Memory()


def whatever(text: str) -> str:
    """Everything that can be asked of a text, at a place made of it; the errors of the checker are all there. What is known of the text before
    makes no difference."""
    found, places = look(text), Text(text)
    again = analyse(Source("f.us", text), None, memory=MEMORY)
    assert again.errors == found.errors
    spans = [span for span, _ in found.names.uses]
    assert [again.types.text(span) for span in spans] == [found.types.text(span) for span in spans]
    lines = text.split("\n")
    line = len(text) % len(lines) + 1
    column = len(lines[line - 1]) * 2 // 3 + 1
    hover(found, places, line, column)
    completions(found, None, line, column)
    signature(found, line, column)
    outline(found, places)
    shown = diagnostics(found, places, "file:///f.us", str)
    fixes(places, "file:///f.us", 1, shown)
    try:
        load_text(text, "f.us")
        expected = set()
    except ProgramError as error:
        expected = {(d.code, d.span, d.message) for d in error.diagnostics}
    got = {(d.code, d.span, d.message) for d in found.errors}
    assert expected <= got
    assert bool(got) == bool(expected)
    return "wrong" if got else "right"


def typed(rng: random.Random) -> str:
    """A program as far as it was typed, or one with slips."""
    text = rng.choice(CORPUS)
    return text[: rng.randrange(len(text))] if rng.random() < 0.4 else mutate(text, rng)


def test_texts_as_they_are_typed() -> None:
    assert fuzz("texts asked about as an editor does", 15, 3, typed, whatever, seconds=10)["wrong"] > 5


@pytest.mark.slow
def test_many_texts_as_they_are_typed() -> None:
    fuzz("texts asked about as an editor does", 3000, 4, typed, whatever, seconds=10)


def test_an_edit_lowers_what_it_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    lowered: list[str] = []
    lower = memory.lower_algorithm

    def counted(scope: FileScope, decl: AlgorithmDecl, observer: Observer | None = None) -> object:
        lowered.append(decl.name.text)
        return lower(scope, decl, observer)

    monkeypatch.setattr(memory, "lower_algorithm", counted)
    kept, head = Memory(), "fn g(v) = 2 * v\n\nfn h(v) = v\n\n"
    one, two = ("algorithm one(x: real[n]) -> real[n]:\n    return g(x)\n\n", "algorithm two(x: real[n]) -> real[n]:\n    return x + 1\n")

    def lowers(text: str) -> list[str]:
        lowered.clear()
        analyse(Source("f.us", text), None, memory=kept)
        return list(lowered)

    assert lowers(head + one + two) == ["one", "two"]
    assert lowers(head + one + two) == []
    assert lowers(head + one + two.replace("1", "(1")) == ["two"]
    assert lowers(head.replace("2 *", "3 *") + one + two) == ["one", "two"]
    assert lowers(head.replace("= v", "= 2 * v") + one + two) == ["one"]
    assert lowers("\n" + head + one + two) == ["one", "two"]


def test_an_analysis_ends_once_nobody_waits() -> None:
    asked: list[int] = []

    def superseded() -> bool:
        asked.append(1)
        return len(asked) > 5

    with pytest.raises(Superseded):
        analyse(Source("f.us", LASSO), None, superseded=superseded)
    assert len(asked) == 6
