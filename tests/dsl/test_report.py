"""The report: its sections, that nothing of a program gets out of its place, what is linked, and the page in a real browser."""

from __future__ import annotations

import html
import json
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import unspool as us
from tests.browser import Browser
from unspool.backends.origins import lines_of
from unspool.backends.text import MARK
from unspool.compiler.loops.scheduled import Scheduled
from unspool.dsl import session
from unspool.dsl.api import AlgorithmHandle
from unspool.dsl.cli import main
from unspool.dsl.compile_options import CompileOptions
from unspool.dsl.report import candidates, layout
from unspool.dsl.report.report import report, write_report
from unspool.dsl.report.slices import plane
from unspool.dsl.report.subject import Subject

ISTA = """\
fn soft(v, t) = sign(v) * max(abs(v) - t, 0)

algorithm ista(given A: real[m, n], y: real[m]) -> real[n]:
    iterations K = 6
    param step[K]: positive = 1 / norm2(A)**2
    param lam[K]: nonneg = 0.1
    objective value(x) = 0.5 * sum((A @ x - y)**2) + 0.1 * sum(abs(x))

    x = zeros(n)
    for k in 0..K:
        r = A @ x - y
        x = soft(x - step[k] * (A.T @ r), lam[k] * step[k])
    return x
"""
SMOOTH = """\
algorithm smooth(A: real[n, n]) -> real[n, n]:
    iterations T = 10
    for t in 0..T:
        for i in 1..n-1, j in 1..n-1:
            A[i, j] = (A[i-1, j] + A[i, j-1] + A[i, j] + A[i, j+1] + A[i+1, j]) / 5
    return A
"""
#: See tests/conftest.py.
NUMBA_LATER: dict[str, tuple[str, ...]] = {"test_marked_lines_are_the_source": ()}
EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;$x$"


@pytest.fixture(scope="module")
def ista() -> AlgorithmHandle:
    return us.loads(ISTA, "ista.us").ista


@pytest.fixture(scope="module")
def page(ista: AlgorithmHandle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with everything in it that needs no measuring."""
    folder = tmp_path_factory.mktemp("report")
    random = np.random.default_rng(0)
    np.savez(folder / "data.npz", A=random.standard_normal((20, 40)), y=random.standard_normal((3, 20)))
    path = folder / "ista.html"
    data, chosen = [str(folder / "data.npz")], CompileOptions(dtype="f64")
    said = list(write_report(path, "ista.us:ista", ista, data, {}, (), {}, chosen, params=["lam=0.2"], measure=False))
    assert said == []
    return path


class _Page(HTMLParser):
    """Tags and attributes of a page, and whether what is opened is closed."""

    VOID = {"meta", "link", "br", "img", "hr", "input"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def lines_with(text: str, pane: str) -> list[tuple[str, frozenset[str]]]:
    """The lines of a pane: text, and what they are linked by."""
    found = re.search(rf'<section class="pane p-{pane}".*?</section>', text, re.DOTALL)
    assert found is not None
    spans = re.findall(r'<span class="l[^"]*"([^>]*)>(.*?)\n</span>', found[0], re.DOTALL)
    links = [re.search(r'data-s="([^"]*)"', attributes) for attributes, _ in spans]
    return [
        (html.unescape(re.sub(r"<[^>]*>", "", s)), frozenset(d[1].split()) if d else frozenset())
        for (_, s), d in zip(spans, links)
    ]


def of(lines: list[tuple[str, frozenset[str]]], part: str) -> frozenset[str]:
    """The links of the first line with a text in it."""
    return next(links for text, links in lines if part in text)


def test_one_file_that_loads_nothing(page: Path) -> None:
    text = page.read_text()
    assert len(text.encode()) < 1.5e6
    found = _Page(text)
    assert [a["id"] for t, a in found.tags if t == "section" and a.get("class") == "part"] == [
        "stages", "graph", "domains", "buffers", "candidates", "parameters"
    ]  # fmt: skip
    for tag, attributes in found.tags:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base")
        assert "src" not in attributes
        assert not any(name.startswith("on") for name in attributes)
        for name in ("href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith("#")
    assert not re.search(r"url\((?!#)", text)
    ids = [a["id"] for _, a in found.tags if "id" in a]
    assert len(ids) == len(set(ids))


def test_lines_are_linked_through_every_stage(page: Path) -> None:
    text = page.read_text()
    program, graph, loops, schedule, source = (lines_with(text, p) for p in ("program", "graph", "loops", "schedule", "source"))
    residual, product, threshold = of(program, "r = A @ x - y"), of(program, "A.T @ r"), of(program, "fn soft")
    assert residual
    assert not residual & product
    assert threshold
    assert of(graph, "sub(%2, %y)") <= residual
    assert of(graph, "sign(") & threshold
    statement = next(line for line, links in loops if line.startswith("S") and links & of(graph, "sub(%2, %y)"))
    assert " - y[" in statement
    assert any(" - y[" in line and links & residual for line, links in source)
    assert any("sign" in line and links & threshold for line, links in source)
    assert any(links & product for _, links in schedule)
    head = of(program, "for k in")
    assert head >= residual | product
    assert of(source, "for (int64_t c0 = 0; c0 < K") & of(graph, "sub(%2, %y)")


@pytest.mark.parametrize("target", ["c", "numba", "cuda"])
def test_marked_lines_are_the_source(ista: AlgorithmHandle, target: str) -> None:
    for handle, sizes in ((ista, {"m": 20, "n": 40, "batch": 40}), (us.loads(SMOOTH).smooth, {"n": 50})):
        for _, compiled in handle.compile(sizes, target=target).compiled:
            lines = lines_of(compiled)
            assert [line.text for line in lines] == compiled.source.splitlines()
            assert MARK not in compiled.source
            named = {pair for line in lines for pair in line.statements}
            known = {(compiled.tree.name, s.name) for s in compiled.nest.statements}
            if compiled.tile is not None and compiled.tree.tile is not None:
                known |= {(compiled.tree.tile.function.name, s.name) for s in compiled.tile.statements}
            assert named == known


def test_what_a_program_says_stays_text(tmp_path: Path) -> None:
    path = tmp_path / (EVIL.replace("/", "") + ".us")
    path.write_text(f"# {EVIL}\n" + ISTA, encoding="utf-8")
    handle = us.load(path)["ista"]
    text = report(Subject(handle, handle.compile({"m": 4, "n": 6})), f"{path}:ista")
    shown = handle._repr_html_()
    inside = re.search(r'srcdoc="([^"]*)"', shown)
    assert inside is not None
    for found in (text, html.unescape(inside[1])):
        assert "<script>alert" not in found
        assert "<img" not in found
        assert "alert(1)" in found
        tags = _Page(found).tags
        assert sum(t == "script" for t, _ in tags) == 1
        assert not any(name.startswith("on") for _, a in tags for name in a)


def test_what_runs_outside_of_kernels_is_told() -> None:
    """A learned operator cuts the kernel; the interpreter has none at all."""
    handle = us.loads(
        "algorithm step(y: real[n]) -> real[n]:\n    module f: (real[n]) -> real[n]\n    x = 2 * y + 1\n    return f(x) - y * y\n",
        "m.us",
    ).step
    subject = Subject(handle, session.compile_kernel(handle, {}, {"n": 8}, (), {}, CompileOptions())[0])
    text = report(subject, "m.us:step")
    assert re.findall(r'class="part" id="(\w+)"', text)[:3] == ["host", "stages", "graph"]
    assert "a learned operator is a torch module" in text
    numbers = [set(re.findall(r'data-s="([^"]*)"', part)) for part in text.split('class="part"')[1:3]]
    numbers = [{n for many in found for n in many.split()} for found in numbers]
    assert numbers[0]
    assert numbers[0].isdisjoint(numbers[1])
    kernel = us.loads(SMOOTH).smooth.compile({"n": 9}, target="interpreter")
    text = report(Subject(us.loads(SMOOTH).smooth, kernel), "smooth")
    assert re.findall(r'class="part" id="(\w+)"', text) == ["host"]
    assert "no part of it is a kernel" in text


def test_arrows_are_dependences(ista: AlgorithmHandle) -> None:
    kernel = us.loads(SMOOTH).smooth.compile({"n": 9})
    ((_, compiled),) = kernel.compiled
    start = compiled.lowered
    assert start is not None
    s = next(s for s in start.statements if len(s.dims) == 3)
    made = plane(s, s.dims[0].name, s.dims[1].name, {"T": 10, "n": 9})
    arrows = made.arrows(range(3), range(4))
    assert {(a.sink[0] - a.source[0], a.sink[1] - a.source[1]) for a in arrows} == {(0, 1), (1, 0), (1, -1)}
    assert {a.kind for a in arrows} == {"flow", "anti"}
    relations = [d for d in Scheduled.start(start).found if d.source == d.sink == s.name]
    for a in arrows:
        ends = [made.env(p) for p in (a.source, a.sink)]
        condition = " and ".join(f"{d.name} = {ends[0][d.name]} and {d.name}_ = {ends[1][d.name]}" for d in s.dims)
        assert any(
            d.part(s, s, condition, start.params) is not None for d in relations if (d.array, d.kind) == (a.array, a.kind)
        ), a


def test_edges_of_a_drawing_go_down_and_boxes_do_not_overlap() -> None:
    boxes = [layout.Box(str(n), 30.0 + 7 * n, 20.0) for n in range(9)]
    edges = [
        ("0", "1"),
        ("0", "2"),
        ("1", "3"),
        ("2", "3"),
        ("0", "4"),
        ("3", "5"),
        ("0", "5"),
        ("6", "5"),
        ("7", "8"),
        ("4", "8"),
    ]
    made = layout.layout(boxes, edges)
    assert made.edges.keys() == set(edges)
    for points in made.edges.values():
        assert all(b[1] >= a[1] for a, b in pairwise(points))
        assert points[-1][1] > points[0][1]
    placed = list(made.boxes.values())
    assert len(placed) == len(boxes)
    for n, a in enumerate(placed):
        assert a.x >= 0
        assert a.x + a.width <= made.width + 1e-9
        for b in placed[n + 1 :]:
            apart = a.x + a.width <= b.x or b.x + b.width <= a.x or a.y + a.height <= b.y or b.y + b.height <= a.y
            assert apart, (a, b)


def test_candidates_have_the_one_that_was_taken(ista: AlgorithmHandle) -> None:
    subject = Subject(ista, ista.compile({"m": 20, "n": 40}, schedule="# program order"))
    rows, note = candidates.candidates(subject.parts[0], subject.kernel.sizes, strict=False, measure=False)
    assert note == ""
    assert [c.steps for c in rows if c.taken] == [""]
    assert len(rows) > 1
    assert all(c.measured is None and c.estimate > 0 for c in rows)
    odd = ista.compile({"m": 20, "n": 40}, schedule="parallel i0")
    rows, _ = candidates.candidates(Subject(ista, odd).parts[0], odd.sizes, strict=False, measure=False)
    assert [c.steps for c in rows if c.taken] == ["parallel i0"]


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int | str | None, str, str]:
        with pytest.raises(SystemExit) as end:
            main(["report", *words])
        return end.value.code, *capsys.readouterr()

    Path("smooth.us").write_text(SMOOTH)
    assert run("smooth.us", "--size", "n=40", "--no-measure", "-o", "deep/smooth.html") == (0, "wrote deep/smooth.html\n", "")
    assert "Dependences and tiles" in Path("deep/smooth.html").read_text()
    Path("deep/file").write_text("")
    code, _, said = run("smooth.us", "--size", "n=40", "--no-measure", "-o", "deep/file/x.html")
    assert code == 1
    assert said.startswith("error: cannot write deep/file/x.html: ")
    Path("smooth.us").write_text(SMOOTH.replace("A[i-1, j]", "B[i-1, j]"))
    assert run("smooth.us", "--no-measure")[0] == 1
    assert not Path("report.html").exists()


def test_parameters_and_convergence_of_data(page: Path) -> None:
    text = page.read_text()
    section = text[text.index('id="parameters"') :]
    for part in (
        "starts at 1 / norm2(A)**2",
        "before training",
        "objective",
        "change of x",
        'id="parameters-',
        'id="convergence-',
    ):
        assert part in section
    assert "<dt>problems</dt><dd>3</dd>" in text
    assert "#0707" not in text  # every colour of a plot is the page's


def test_kernels_of_the_backward_pass() -> None:
    handle = us.loads("algorithm twice(x: real[n]) -> real[n]:\n    param s: positive\n    return 2 * s * x\n", "t.us").twice
    text = report(Subject(handle, handle.compile({"n": 4}), gradients=True), "twice")
    assert re.findall(r"<h3>(?:Kernel )?(\w+)</h3>", text) == ["twice", "twice_backward"] * (text.count("<h3>") // 2)
    program = lines_with(text.partition("Kernel twice_backward")[2], "program")
    assert of(program, "2 * s * x")


def test_what_cannot_be_called_is_told(ista: AlgorithmHandle, tmp_path: Path) -> None:
    path = tmp_path / "x.html"
    handle = us.loads("algorithm a(y: real[n]) -> real[n]:\n    module f: (real[n]) -> real[n]\n    return f(y)\n", "m.us").a
    said = list(write_report(path, "m", handle, [], {"n": 4}, (), {}, CompileOptions(), measure=True))
    assert said == ["nothing is called: the learned operators of a (f) come from Python"]
    assert "On the host" in path.read_text()
    with pytest.raises(us.DataError, match=r"--param q=3: there is no param 'q'; there are step, lam"):
        list(write_report(path, "ista", ista, [], {}, (), {}, CompileOptions(), params=["q=3"], measure=False))
    with pytest.raises(us.DataError, match="lam is nonneg"):
        list(write_report(path, "ista", ista, [], {"m": 4, "n": 6}, (), {}, CompileOptions(), params=["lam=-1"], measure=False))


@pytest.mark.slow
def test_a_measured_report(ista: AlgorithmHandle, tmp_path: Path) -> None:
    path = tmp_path / "ista.html"
    list(write_report(path, "ista", ista, [], {"m": 20, "n": 40}, (4,), {}, CompileOptions(), measure=True))
    text = path.read_text()
    assert len(text.encode()) < 1.5e6
    assert "of the roof" in text
    assert "a call of 4 problems" in text
    assert {a.get("id") for _, a in _Page(text).tags} >= {"roofline", "candidates"}
    assert 'id="candidates0-' in text


# -- in a browser ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as found:
        yield found


def lit(browser: Browser, pane: str, how: str = "on") -> list[str]:
    """The texts of a pane that are highlighted."""
    found: list[str] = browser.run(f"[...document.querySelectorAll('.{pane} .{how}')].map(e => e.textContent.trim())")
    return found


@pytest.mark.needs("chromium")
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_and_is_light_or_dark(browser: Browser, page: Path, width: int, dark: bool) -> None:
    browser.open(page, width=width, dark=dark)
    assert browser.errors == []
    assert browser.run("document.documentElement.scrollWidth") == width
    paper, ink = (
        sum(map(int, re.findall(r"\d+", browser.run(f"getComputedStyle(document.body).{name}"))[:3]))
        for name in ("backgroundColor", "color")
    )
    assert (paper < 100 and ink > 600) if dark else (paper > 700 and ink < 100)
    browser.point("#theme", click=True)
    turned = sum(map(int, re.findall(r"\d+", browser.run("getComputedStyle(document.body).backgroundColor"))[:3]))
    assert (turned > 700) if dark else (turned < 100)
    # No line of text in a drawing is cut off by its edge, and no heading runs out of its pane.
    cut = browser.run(
        "[...document.querySelectorAll('.graph text')].filter(t => { const a = t.getBoundingClientRect(),"
        " b = t.ownerSVGElement.getBoundingClientRect(); return a.left < b.left - 1 || a.right > b.right + 1; }).map(t => t.textContent)"
    )
    assert cut == []
    assert browser.run("[...document.querySelectorAll('.pane > header')].every(e => e.scrollWidth <= e.clientWidth)")


@pytest.mark.needs("chromium")
def test_pointing_at_a_line_shows_what_it_became(browser: Browser, page: Path) -> None:
    browser.open(page, width=1280, dark=False)
    line = "[...document.querySelectorAll('.p-program .l')].findIndex(e => e.textContent.includes('A @ x - y') && e.dataset.s)"
    browser.point(".p-program .l", browser.run(line))
    for pane in ("graph", "loops", "source"):
        assert lit(browser, f"p-{pane}"), pane
        assert not any("sign" in text for text in lit(browser, f"p-{pane}"))
    assert any(" - y[" in text for text in lit(browser, "p-source"))
    assert any(text.startswith("einsum") for text in lit(browser, "graph"))
    assert any("for (" in text for text in lit(browser, "p-source", "near"))
    # It is brought into view where it is not, also if the mouse does not move.
    seen = (
        "(() => { const e = document.querySelector('.p-source .on').getBoundingClientRect(),"
        " b = document.querySelector('.p-source .code').getBoundingClientRect(); return e.top >= b.top && e.bottom <= b.bottom; })()"
    )
    assert browser.run(f"new Promise(done => setTimeout(() => done({seen}), 400))")
    browser.point("h1")
    assert browser.run("document.querySelectorAll('.on, .near').length") == 0
    assert browser.errors == []


@pytest.mark.needs("chromium")
def test_a_held_line_stays_until_escape(browser: Browser, page: Path) -> None:
    browser.open(page, width=1280, dark=True)
    browser.point(".p-source .l[data-s]:not(.w)", click=True)
    held = lit(browser, "p-program")
    assert held
    browser.point(".p-graph .l[data-s]", 3)
    assert lit(browser, "p-program") == held
    browser.key("Escape")
    assert browser.run("document.querySelectorAll('.on').length") == 0
    browser.run("document.querySelector('.p-program .code').focus()")
    for _ in range(3):
        browser.key("ArrowDown")
    walked = lit(browser, "p-source")
    assert walked
    browser.key("Enter")
    browser.point(".p-graph .l[data-s]", 5)
    assert lit(browser, "p-source") == walked
    assert browser.run("document.querySelectorAll('.p-loops .tab.lit').length") > 1
    browser.key("Escape")
    assert browser.run("document.querySelectorAll('.lit').length") == 0
    browser.point(".p-loops .tab", 1, click=True)
    shown = browser.run("[...document.querySelectorAll('.p-loops .code')].map(e => getComputedStyle(e).display !== 'none')")
    assert shown == [False, True, *[False] * (len(shown) - 2)]
    browser.point(".graph .node[data-s]", click=True)
    assert lit(browser, "p-program")
    assert browser.errors == []


@pytest.mark.needs("chromium")
def test_a_notebook_shows_frames(browser: Browser, ista: AlgorithmHandle, tmp_path: Path) -> None:
    kernel = ista.compile({"m": 20, "n": 40})
    path = tmp_path / "notebook.html"
    path.write_text(
        f"<!doctype html><title>notebook</title><body>{ista._repr_html_()}{kernel._repr_html_()}</body>", encoding="utf-8"
    )
    browser.open(path, width=1280, dark=False)
    sizes = browser.run("[...document.querySelectorAll('iframe')].map(e => [e.clientWidth > 1000, e.clientHeight])")
    assert sizes == [[True, 350], [True, 540]]
    assert browser.errors == []


@pytest.mark.needs("chromium")
def test_the_browser_reports_what_goes_wrong(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "wrong.html"
    path.write_text(
        "<!doctype html><script>console.error('one'); fetch('http://127.0.0.1:9/two'); missing()</script>", encoding="utf-8"
    )
    browser.open(path, width=390, dark=False)
    assert browser.run("1 + 1") == 2
    found, browser.errors = browser.errors, []
    said = json.dumps(found)
    for part in ("one", "127.0.0.1:9", "missing is not defined"):
        assert part in said


def test_the_browser_is_the_one_that_the_skip_names() -> None:
    from tests.conftest import OPTIONAL

    there, how = OPTIONAL["chromium"]
    assert there() == (Path("/usr/bin/chromium").exists() or any(map(shutil.which, ("chromium", "google-chrome"))))
    assert "chromium" in how
