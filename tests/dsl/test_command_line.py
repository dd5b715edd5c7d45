"""The parts of the command that are not about one program: versions, completion, watching, passes from a dump, colours, exit codes."""

from __future__ import annotations

import io
import itertools
import os
import re
import signal
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console

from unspool.backends.registry import NAMES
from unspool.compiler import options
from unspool.compiler.diagnostics import UnspoolError
from unspool.compiler.resume import FORMS, PASSES
from unspool.dsl import watch
from unspool.dsl.cli import app, main
from unspool.dsl.repl.command import Reply
from unspool.dsl.repl.loop import show

ROOT = Path(__file__).resolve().parents[2]
LASSO = ROOT / "tests" / "programs" / "lasso.us"
TWICE = "algorithm twice(x: real[n]) -> real[n]:\n    return 2 * x\n"


def dsl(capfd: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Exit code and what was written."""
    capfd.readouterr()
    with pytest.raises(SystemExit) as stop:
        main([str(w) for w in words])
    out, err = capfd.readouterr()
    return int(stop.value.code or 0), out, err


# -- the version ---------------------------------------------------------------------------------------------------------


def test_the_version_and_what_is_installed(capfd: pytest.CaptureFixture[str]) -> None:
    code, out, err = dsl(capfd, "--version")
    assert (code, err) == (0, "")
    assert re.fullmatch(r"unspool \d+\.\d+\.\d+\n", out)
    code, long, err = dsl(capfd, "--version", "--verbose")
    assert (code, err) == (0, "")
    assert long.startswith(out)
    rows = {line.split()[0]: line.split() for line in long.splitlines() if line.startswith("  ")}
    assert rows["torch"][1][0].isdigit()
    assert set(NAMES) <= rows.keys()
    for name in NAMES:
        said = [word for word in rows[name][1:] if word != "(default)"]
        assert said[0] in ("yes", "no")
        assert len(said) > 1, f"{name} gives no reason"
    assert "UNSPOOL_CACHE" in rows
    assert dsl(capfd, "--verbose")[0] == 2


def test_targets_are_not_wrapped_where_there_is_no_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    code, out, _ = dsl(capfd, "targets")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["target", *NAMES]


# -- completion ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "at", "found"),
    [
        ("dsl compile smooth.us:", 2, {"smooth.us:twice"}),
        ("dsl compile smooth.us:tw", 2, {"smooth.us:twice"}),
        ("dsl compile sm", 2, {"smooth.us"}),
        ("dsl run broken.us:", 2, set()),
        ("dsl compile smooth.us:twice --target em", 4, {"emulated"}),
        ("dsl compile smooth.us:twice --emit graph,lo", 4, {"graph,loops"}),
        ("dsl wat", 1, {"watch"}),
    ],
)
def test_the_shell_completes(
    words: str, at: int, found: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "smooth.us").write_text(TWICE)
    (tmp_path / "broken.us").write_bytes(b"\xff algorithm")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("_DSL_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(at))
    code, out, err = dsl(capfd)
    assert (code, err) == (0, "")
    assert set(out.split()) == found


# -- watch ---------------------------------------------------------------------------------------------------------------


def test_what_was_saved_is_compiled_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(watch, "LOOK", 0.01)
    file, other = tmp_path / "a.us", tmp_path / "b.us"
    other.write_text("fn half(v) = v / 2\n")
    file.write_text('use "b.us": half\n\nalgorithm f(x: real[n]) -> real[n]:\n    return half(x)\n')
    contents = iter([(other, "fn half(v) = v / 4\n"), (other, "fn half(v) = v / w\n"), (file, TWICE), (None, "")])

    def save() -> None:
        """Save the next file a moment after each answer; Ctrl-C in the end."""
        seen = 0
        for path, text in contents:
            end = time.monotonic() + 60
            while len(said) == seen and time.monotonic() < end:
                time.sleep(0.01)
            seen = len(said)
            time.sleep(0.05)
            if path is None:
                os.kill(os.getpid(), signal.SIGINT)
            else:
                path.write_text(text)

    said: list[str] = []
    monkeypatch.setattr("builtins.print", lambda text, **_: said.append(text))
    thread = threading.Thread(target=save)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # who started the tests may have it ignored
    try:
        thread.start()
        code, _, _ = dsl(capfd, "watch", file, "--size", "n=4", "--emit", "graph")
        thread.join()
    finally:
        signal.signal(signal.SIGINT, before)
    assert code == 0
    assert len(said) == 4, said
    assert "compiled in" in said[0]
    assert "graph f(" in said[0]
    assert "value=2.0" in said[0]
    assert re.search(r"^-.*value=2\.0.*\n\+.*value=4\.0", said[1], re.MULTILINE)
    assert "error US" in said[2]
    assert "b.us" in said[2]
    assert "twice" in said[3]


def test_a_file_that_an_editor_takes_away_for_a_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "LOOK", 0.01)
    file = tmp_path / "a.us"
    file.write_text("1")
    seen = watch.saves(lambda: [file])
    next(seen)
    file.unlink()
    next(seen)  # it is gone
    threading.Timer(0.05, lambda: file.write_text("2")).start()
    next(seen)
    assert file.read_text() == "2"
    assert watch.stamp(tmp_path / "nowhere") is None


def test_watching_goes_on_after_an_error(tmp_path: Path) -> None:
    file = tmp_path / "a.us"
    file.write_text(TWICE)
    said: list[str] = []

    def fails() -> str:
        file.write_text(TWICE + "#" * (len(said) + 1))
        raise UnspoolError("no compiler")

    watch.watch(file, fails, said.append, rounds=2)
    assert [text.split("\n")[-1] for text in said] == ["no compiler"] * 2


# -- passes from a dump --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dumps of one kernel."""
    import unspool as us

    folder = tmp_path_factory.mktemp("dump")
    with options.scope(dump=folder, target="c"):
        us.load(LASSO).ista.compile(m=4, n=6)
    return folder


@pytest.mark.parametrize(
    ("start", "first", "last", "want"),
    [
        ("01-graph.graph", None, "simplify", "02-simplify.graph"),
        ("02-simplify.graph", "lower", "lower", "03-lower.nest"),
        ("03-lower.nest", "schedule", "schedule", "04-schedule.nest"),
        ("03-lower.nest", None, "scan", "05-scan.tree"),
    ],
)
def test_a_pass_makes_of_a_dump_what_it_made(
    start: str, first: str | None, last: str, want: str, dump: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    begin = [] if first is None else ["--from", first]
    code, out, err = dsl(capfd, "opt", dump / f"ista-{start}", *begin, "--to", last, "--target", "c", "-o", tmp_path / "x")
    assert (code, err) == (0, "")
    assert out == f"wrote {tmp_path / 'x'}\n"
    assert (tmp_path / "x").read_text() == (dump / f"ista-{want}").read_text().rstrip("\n") + "\n"


def test_an_edited_dump_and_a_schedule_of_ones_own(dump: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "s").write_text("parallel i3\n")
    code, out, _ = dsl(capfd, "opt", dump / "ista-03-lower.nest", "--to", "schedule", "--schedule", tmp_path / "s", "-t", "c")
    assert code == 0
    assert "for i3 parallel" in out
    assert out.count("parallel") == 1
    (tmp_path / "x.tree").write_text((dump / "ista-05-scan.tree").read_text().replace("literal.f32(0.0)", "literal.f32(7.0)"))
    code, out, _ = dsl(capfd, "opt", tmp_path / "x.tree", "-t", "c")
    assert code == 0
    assert "7.0f" in out or "7.f" in out
    code, out, _ = dsl(capfd, "opt", dump / "ista-04-schedule.nest", "--from", "scan", "--to", "scan", "-t", "numba")
    assert code == 0
    assert out.startswith("function us_ista [K]\n")


def test_dumps_that_do_not_fit(dump: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    nest, graph = dump / "ista-03-lower.nest", dump / "ista-01-graph.graph"
    for form in FORMS:
        (tmp_path / f"bad.{form}").write_text("function f [\nfor c0 in\nnest x [\norder\n")
    (tmp_path / "bytes.graph").write_bytes(b"\xff\xfe")
    (tmp_path / "x.txt").write_text("")
    for words, message in {
        (nest, "--from", "lower"): "a .nest goes to schedule or scan, not to lower",
        (nest, "--from", "link"): "there is no pass 'link'",
        (graph, "--from", "lower", "--to", "simplify"): "simplify comes before lower",
        (graph, "-t", "interpreter"): "name a target that compiles",
        (graph, "-t", "abacus"): "no target is called 'abacus'",
        (tmp_path / "bad.graph",): "the dump cannot be read",
        (tmp_path / "bad.nest",): "the dump cannot be read",
        (tmp_path / "bad.tree",): "the dump cannot be read",
        (tmp_path / "bytes.graph",): "cannot read",
        (tmp_path / "x.txt",): "its name ends in .graph, .nest, .tree",
    }.items():
        code, out, err = dsl(capfd, "opt", *words)
        assert (code, out) == (1, ""), words
        assert err.startswith("error: ")
        assert message in err
        assert "Traceback" not in err
    assert set(itertools.chain.from_iterable(takers for _, takers in FORMS.values())) == set(PASSES)


# -- colours, and the page -----------------------------------------------------------------------------------------------


def test_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    def shown() -> str:
        out = io.StringIO()
        show(Console(file=out, force_terminal=True, color_system="standard", soft_wrap=True), Reply("for i0 parallel (S2: i0)", "loops"))
        return out.getvalue()

    colour = re.compile(r"\x1b\[[\d;]*[39]\d[\d;]*m")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert colour.search(shown())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not colour.search(shown())


def test_every_command_is_on_the_page() -> None:
    page = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    names = [c.name or c.callback.__name__ for c in app.registered_commands if c.callback is not None]
    assert re.findall(r"^\| `dsl ([\w-]+)[^|]*\|", page, re.MULTILINE) == names
