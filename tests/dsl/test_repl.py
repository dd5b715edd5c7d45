"""The REPL: what lines yield, completion, Ctrl-C, and that no line ends it. Its transcript is docs/repl.md, which tests/test_docs.py runs."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import unspool as us
from unspool.backends.roofline import Roofline
from unspool.compiler import options
from unspool.compiler.loops.schedule import STEPS
from unspool.dsl.compile_options import CompileOptions
from unspool.dsl.repl import interrupt, loop
from unspool.dsl.repl.answer import answer
from unspool.dsl.repl.command import Reply
from unspool.dsl.repl.commands import COMMANDS, markdown
from unspool.dsl.repl.loop import prompter, read, said, talk
from unspool.dsl.repl.session import Session

from .test_schedules import TWO

ROOT = Path(__file__).resolve().parents[2]
POLYBENCH = ROOT / "benchmarks" / "polybench"
PROGRAM = """\
algorithm smooth(A: real[n, n]) -> real[n, n]:
    iterations T = 10
    for t in 0..T:
        for i in 1..n-1, j in 1..n-1:
            A[i, j] = (A[i-1, j] + A[i, j-1] + A[i, j] + A[i, j+1] + A[i+1, j]) / 5
    return A

algorithm twice(x: real[n]) -> real[n]:
    param scale: positive
    return 2 * scale * x
"""
WRONG = PROGRAM + "\nalgorithm bad(A: real[m, n], x: real[n]) -> real[n]:\n    return A @ x\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "smooth.us").write_text(PROGRAM)
    return tmp_path


def told(session: Session, *lines: str) -> str:
    """The answer to the last of some lines, none of which is refused."""
    reply = Reply()
    for line in lines:
        reply = answer(session, line)
        assert not reply.failed, f"{line}: {reply.text}"
    return reply.text


def refused(session: Session, line: str) -> str:
    """The message about a line that changes nothing."""
    before = session.state
    reply = answer(session, line)
    assert reply.failed, f"{line}: {reply.text}"
    assert session.state == before
    assert "Traceback" not in reply.text
    return reply.text


# -- steps ---------------------------------------------------------------------------------------------------------------


def test_a_step_is_proved_and_undone(folder: Path) -> None:
    session = Session()
    told(session, "load smooth.us", "size n=40,T=3", "schedule none")
    order = told(session, "loops")
    message = refused(session, "parallel t4")
    assert "the flow dependence on A_0 joins different iterations" in message
    assert "S6[t3=0, t4=0, t5=0] -> S6[t3=0, t4=1, t5=0]" in message
    assert "smooth.us:5" in message
    text = told(session, "wavefront t4 t5")
    assert text.startswith("wavefront t4 t5: legal\n  for t3 serial (S6: t3)\n")
    assert re.search(r"^predicted \S+ \w+, before \S+ \w+: \S+ times as fast$", text, re.MULTILINE)
    told(session, "parallel t4")
    assert told(session, "schedule") == "wavefront t4 t5\nparallel t4"
    assert told(session, "undo") == "undone: parallel t4"
    told(session, "undo")
    assert told(session, "loops") == order
    told(session, *["undo"] * 3)
    assert "nothing to undo" in refused(session, "undo")


def test_steps_of_one_line_are_proved_together(folder: Path) -> None:
    session = Session()
    told(session, "load smooth.us:smooth", "size n=40,T=3", "schedule none")
    assert "does not apply" in refused(session, "reverse t4")
    assert "legal" in told(session, "reverse i0; reverse i0")
    assert refused(session, "parallel i0; reverse t3").startswith("error: step `reverse t3`")  # neither of them is taken
    assert told(session, "schedule") == "reverse i0\nreverse i0"


def test_commas_and_a_statement_before_its_loops(folder: Path) -> None:
    session = Session()
    told(session, "load smooth.us:smooth", "size n=40,T=3", "schedule none", "tile S6 t4,t5 8,16")
    assert told(session, "schedule") == "tile t4 t5 8 16"
    assert "S6 is not in a loop `i0`; it is in t3, t4_o, t5_o, t4_i, t5_i" in refused(session, "tile S6 i0 8")
    assert "there is no statement `S7`" in refused(session, "tile S7 i0 8")


def test_the_answer_is_what_compiling_with_the_saved_schedule_gives(folder: Path) -> None:
    session = Session()
    told(session, "load smooth.us:smooth", "size n=40,T=3", "schedule none", "wavefront t4 t5; parallel t4", "save s.schedule")
    kernel = us.load("smooth.us").smooth.compile(n=40, T=3, schedule=Path("s.schedule").read_text())
    assert kernel.loops.partition("order\n")[2].replace("\n  ", "\n").strip() in told(session, "loops")
    assert told(session, "tree") == kernel.tree.rstrip("\n")
    assert told(session, "schedule none", "schedule s.schedule") == kernel.schedule
    told(session, "export stages")
    assert Path("stages/smooth.tree").read_text() == kernel.tree.rstrip("\n") + "\n"
    assert sorted(p.name for p in Path("stages").iterdir()) == sorted(
        f"smooth.{s}" for s in ("c", "dependences", "graph", "loops", "schedule", "steps", "tree", "txt")
    )


def test_the_choice_of_the_compiler_spelt_out_is_the_choice(folder: Path) -> None:
    session = Session()
    text = told(session, "load smooth.us:smooth", "size n=40,T=3", "schedule")
    chosen = us.load("smooth.us").smooth.compile(n=40, T=3)
    assert text.partition("\n")[2] == chosen.schedule
    source = told(session, "source")
    told(session, "save s.schedule", "schedule s.schedule")
    assert session.state.plan is not None
    assert told(session, "source") == source
    assert "`schedule none` begins at program order" in refused(replaced(session), "parallel t3")


def replaced(session: Session) -> Session:
    """The session under the compiler's choice."""
    told(session, "schedule auto")
    return session


def test_a_tile_of_problems_has_steps_of_its_own(folder: Path) -> None:
    session = Session()
    told(session, "load smooth.us:twice", "size n=8,batch=64", "schedule none")
    text = told(session, "batch 16")
    assert "w0" in text
    assert "for 16 problems" in text
    assert session.prompt == "twice batch> "
    loops = sorted(session.bench.part(session.state).scheduled.loops)
    told(session, f"vector {loops[-1]}", "kernel twice", "parallel i0")
    assert session.prompt == "twice> "
    assert told(session, "schedule").split("\n") == ["parallel i0", "batch 16", f"vector {loops[-1]}"]
    assert "as in `batch 16`" in refused(session, "batch 1")
    assert told(session, "source") == us.load("smooth.us").twice.compile(n=8, shapes={"batch": 64}, schedule=told(session, "schedule")).source.rstrip("\n")


def test_several_kernels_each_have_a_schedule(folder: Path) -> None:
    Path("two.us").write_text(TWO)
    session = Session()
    assert told(session, "load two.us", "size n=4", "schedule none", "kernel") == "* two_0\n  two_1"
    told(session, "parallel i0", "kernel two_1", "interchange i0 i1")
    assert session.prompt == "two_1> "
    saved = told(session, "schedule")
    assert saved == "kernel two_0\nparallel i0\nkernel two_1\ninterchange i0 i1"
    assert [c.schedule for _, c in us.load("two.us").two.compile(n=4, schedule=saved).compiled] == ["parallel i0", "interchange i0 i1"]


def test_what_a_batch_shares_is_a_kernel_with_a_schedule_of_its_own(folder: Path) -> None:
    session = Session()
    lasso = ROOT / "tests" / "programs" / "lasso.us"
    kernels = told(session, f"load {lasso}:ista", "size m=64,n=16,K=50,batch=32", "schedule none", "kernel")
    assert kernels == "* ista_once\n  ista"
    assert told(session, "schedule") == "kernel ista_once\nkernel ista"
    told(session, "kernel ista", "parallel i5")
    loop_of_once = next(iter(session.bench.part(replace(session.state, kernel="ista_once")).scheduled.loops))
    saved = told(session, "kernel ista_once", f"parallel {loop_of_once}", "schedule")
    assert saved == f"kernel ista_once\nparallel {loop_of_once}\nkernel ista\nparallel i5"
    assert "--size m=64,n=16 --batch 32 -K K=50 --schedule s" in told(session, "save s")
    ista = us.load(lasso).ista
    kernel = ista.compile(m=64, n=16, K=50, shapes={"batch": 32}, schedule=Path("s").read_text())
    assert [(name, c.schedule) for name, c in kernel.compiled] == [("ista_once", f"parallel {loop_of_once}"), ("ista", "parallel i5")]
    ours = ista.compile(m=64, n=16, K=50, shapes={"batch": 32})
    again = ista.compile(m=64, n=16, K=50, shapes={"batch": 32}, schedule=ours.schedule)
    assert again.schedule == ours.schedule
    plain = ista.compile(m=64, n=16, K=50, shapes={"batch": 32}, schedule="parallel i5")  # of the kernel for each problem
    assert [c.schedule for _, c in plain.compiled] == [dict(ours.compiled)["ista_once"].schedule, "parallel i5"]
    A, y = np.random.default_rng(0).random((64, 16)), np.random.default_rng(1).random((32, 64))
    want = ista(A, y, K=50, target="interpreter")
    for schedule in (saved, ours.schedule, "parallel i5"):
        np.testing.assert_allclose(ista(A, y, K=50, schedule=schedule), want, rtol=1e-9, atol=1e-12)


# -- what else there is --------------------------------------------------------------------------------------------------


def test_a_program_with_errors_can_be_looked_at(folder: Path) -> None:
    Path("wrong.us").write_text(WRONG)
    session = Session()
    text = told(session, "load wrong.us")
    assert text.startswith("wrong.us: smooth, twice, bad (has errors)\n")
    assert "error US0308" in text
    assert told(session, "load :twice", "size n=4", "graph").startswith("graph twice(")
    assert "check" in refused(replace_algorithm(session, "bad"), "graph")
    assert told(session, "program") == WRONG.rstrip("\n")
    assert "US0308" in told(session, "check")
    Path("wrong.us").write_text("algorithm f(\n")
    assert told(session, "load wrong.us").startswith("wrong.us: no algorithm\nwrong.us:")
    assert told(session, "program") == "algorithm f("
    assert "has errors" in refused(session, "loops")
    Path("wrong.us").write_text(PROGRAM)
    assert told(session, "load", "check") == "wrong.us: ok"


def replace_algorithm(session: Session, name: str) -> Session:
    """The session at another algorithm of its program."""
    told(session, f"load :{name}")
    return session


def test_bad_lines(folder: Path) -> None:
    session = Session()
    assert "no program is loaded" in refused(session, "loops")
    assert "no program is loaded" in refused(session, "tile i0 8")
    assert "there is no file 'nowhere.us'" in refused(session, "load nowhere.us")
    told(session, "load smooth.us:smooth", "size n=20,T=2", "schedule none")
    for line, words in {
        "load smooth.us:smoth": "has no algorithm 'smoth'; it has smooth, twice",
        "fuze i0 i1": "did you mean `fuse`?",
        "size n=0": "an integer from 1 on",
        "size q=3": "has no size 'q'",
        "size n": "is not NAME=VALUE",
        "option dtype=f31": "dtype is one of",
        "option target=abacus": "no target is called 'abacus'",
        "option tune=3": "there is no option 'tune'",
        "deps S99": "there is no array or statement `S99`",
        "schedule nowhere": "cannot read the schedule nowhere",
        "kernel x": "there is no kernel `x`; there are smooth",
        "source basic": "no target is called 'basic'",
        "compare now": "name two schedules",
        "save": "name a file",
        "load ~nobody-at-all/x.us": "is no path",
        "schedule /dev/zero": "it is no file",
        'export "a\0b"': "is no path",
        "save /dev/null/x": "cannot write",
        "report": "name a file",
        "report x.html fast": "report is written `report FILE.html [time]`",
        "list everything": "list is written `list`",
        'load "smooth.us': "no closing quotation",
        "help flie": "there is no command or step `flie`",
        "tile i0": "does not apply",
    }.items():
        assert words in refused(session, line), line
    assert told(session, "# nothing", "   ") == ""


def test_options_targets_and_parameters(folder: Path) -> None:
    session = Session()
    told(session, "load smooth.us:twice", "size n=8")
    assert told(session, "params").split() == "scale real[] positive starts at 1".split()
    assert "f64[8]" in told(session, "option dtype=f64", "graph")
    assert 'extern "C" __global__' in told(session, "source cuda")
    assert told(session, "source c").startswith("#define")
    assert "dtype      default" in told(session, "option dtype=default")
    assert "twice: one kernel" in told(session, "explain")
    assert told(session, "help undo") == "undo\n  Back to before the last line that changed something.\n  example: undo"
    assert told(session, "schedule none", "parallel i0", "report twice.html") == "wrote twice.html"
    assert "parallel</span> i0" in re.sub(r'<span class="n">(\w+)</span>', r"\1", Path("twice.html").read_text())
    assert "-->" in told(session, "help tile")
    assert len(told(session, "help steps").splitlines()) == len(STEPS)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_example_is_a_line_of_its_command(name: str) -> None:
    assert COMMANDS[name].example.split()[0] == name
    assert COMMANDS[name].usage.split()[0] == name
    assert len(COMMANDS[name].example.split()) <= COMMANDS[name].most + 1


def test_the_page_has_the_commands() -> None:
    assert markdown() in (ROOT / "docs" / "repl.md").read_text(encoding="utf-8")


# -- the conversation ----------------------------------------------------------------------------------------------------


def test_a_pipe_is_read_to_its_end(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    session = Session()
    read(session, [], io.StringIO("load smooth.us:twice\n\nfrobnicate\nlist\nquit\nlist\n"))
    out = capsys.readouterr().out
    assert out.startswith("dsl> load smooth.us:twice\n")
    assert out.count("twice> list") == 1
    assert out.endswith("twice> quit\n")
    assert session.failed


def test_ctrl_c_while_something_is_compiled(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pressed(*_: object) -> Reply:
        raise KeyboardInterrupt

    session = Session()
    told(session, "load smooth.us:twice")
    before = session.state
    monkeypatch.setitem(COMMANDS, "tree", replace(COMMANDS["tree"], run=pressed))
    assert said(session, "tree").text == "error: stopped"
    assert session.state == before
    with pytest.raises(KeyboardInterrupt):  # a pipe ends
        read(session, [], io.StringIO("tree\nlist\n"))


def test_a_fault_of_ours_is_a_message(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Reply:
        raise ZeroDivisionError("on purpose")

    session = Session()
    monkeypatch.setitem(COMMANDS, "list", replace(COMMANDS["list"], run=broken))
    reply = said(session, "list")
    assert reply.failed
    assert reply.text.startswith("internal error: ZeroDivisionError: on purpose")
    with options.scope(debug=1), pytest.raises(ZeroDivisionError):
        said(session, "list")


def conversation(*typed: tuple[str, str], program: str | None = None) -> Session:
    """A session at a terminal into which something is typed: each part once the line holds what the one before waits for."""
    from prompt_toolkit.input import create_pipe_input
    from prompt_toolkit.output import DummyOutput

    session, prompts = Session(), []
    with pytest.MonkeyPatch.context() as patch, options.scope(history=None), create_pipe_input() as pipe:
        patch.setattr(loop, "prompter", lambda *args: prompts.append(prompter(*args)) or prompts[0])

        def go_on() -> None:
            for part, expected in typed:
                pipe.send_text(part)
                end = time.monotonic() + 120
                while expected and time.monotonic() < end and not (prompts and prompts[0].default_buffer.text == expected):
                    time.sleep(0.01)

        thread = threading.Thread(target=go_on)
        thread.start()
        talk(session, program, input=pipe, output=DummyOutput())
        thread.join()
    return session


@pytest.mark.needs("prompt_toolkit")
def test_a_conversation_at_a_terminal(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    typed = [("sched\t", "schedule"), (" none\rsize n=20,T=2\rloops\rwavef\t", "wavefront"), (" t4 t5\rquit\r", "")]
    session = conversation(*typed, program="smooth.us:smooth")
    out = capsys.readouterr().out
    assert session.state.plan is not None
    assert str(session.state.plan[0][1]) == "wavefront t4 t5"
    assert "wavefront t4 t5: legal" in out


@pytest.mark.needs("prompt_toolkit")
def test_completion(folder: Path) -> None:
    from prompt_toolkit.completion import CompleteEvent
    from prompt_toolkit.document import Document

    from unspool.dsl.repl.complete import LineCompleter

    session = Session()

    def offered(text: str) -> list[str]:
        return [c.text for c in LineCompleter(session).get_completions(Document(text), CompleteEvent())]

    assert offered("lo") == ["load", "loops"]
    assert "smooth.us" in offered("load s")
    assert offered("load smooth.us:") == ["smooth.us:smooth", "smooth.us:twice"]
    assert offered("tile t") == []  # nothing is loaded
    told(session, "load smooth.us:smooth", "size n=20,T=2", "schedule none", "loops")
    assert offered("tile t") == ["t3", "t4", "t5"]
    assert offered("tile i0 8; paral") == ["parallel"]
    assert offered("tile i0,i") == ["i0", "i1", "i7", "i8"]
    assert "A_0" in offered("contract ")
    assert {"A_0", "S6"} <= set(offered("deps "))
    assert offered("size ") == ["T=", "batch=", "n="]
    assert offered("option dt") == ["dtype="]
    assert offered("source t") == ["triton", "tvm"]
    assert offered("help un") == ["undo", "unroll", "unroll_jam"]
    assert offered("schedule a") == ["auto"]


@pytest.fixture
def interrupted() -> Iterator[None]:
    """Ctrl-C a moment after a measurement has begun."""

    def press() -> None:
        end = time.monotonic() + 60
        while not interrupt._alone.locked() and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # who started the tests may have it ignored
    try:
        thread.start()
        yield
        thread.join()
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.needs("prompt_toolkit")
@pytest.mark.usefixtures("interrupted")
def test_ctrl_c_ends_a_measurement(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    session = conversation(("option target=interpreter\rsize n=30,T=4\rtime\rlist\rquit\r", ""), program="smooth.us:smooth")  # a call takes a second
    out = capsys.readouterr().out
    assert "error: the measurement was stopped" in out
    assert "measured" not in out
    assert out.rstrip().endswith("twice(x: real[n]) -> real[n]")
    assert session.state.algorithm == "smooth"


def test_measuring(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = Roofline(2, {"f64": 5e10, "f32": 1e11}, {"f64": 3e10, "f32": 6e10}, {"dram": 1e10}, {"dram": 8e9}, "c")
    monkeypatch.setattr("unspool.backends.kernel.roofline", lambda: known)
    session = Session()
    text = told(session, "load smooth.us:smooth", "size n=60,T=3", "schedule none", "time")
    assert "measured: a call takes" in text
    assert re.search(r"^predicted \S+ \w+ of one problem$", text, re.MULTILINE)
    intensity = 3 * 58 * 58 * 5 / (2 * 60 * 60 * 4)  # 3 sweeps of 58 x 58 points, 5 operations each; 60 x 60 numbers of 4 bytes in and out
    bound = re.search(r"^roofline: (\S+) flop/B, where the bandwidth of memory allows (\S+) Gflop/s: \S+% of it$", text, re.MULTILINE)
    assert bound is not None, text
    assert float(bound[1]) == pytest.approx(intensity, rel=0.01)
    assert float(bound[2]) == pytest.approx(intensity * (8 if torch.get_num_threads() == 1 else 10), rel=0.01)  # of one core, or of both
    assert re.search(r"none +0 +\S+ \w+ +\S+ \w+$", told(session, "compare none now time"), re.MULTILINE)


# -- any line ------------------------------------------------------------------------------------------------------------

#: Commands that compile machine code, or write.
DEAR = frozenset({"time", "report", "asm", "ptx", "source", "save", "export", "explain"})
WORDS = st.sampled_from(
    "S2 S6 S9 i0 i1 t3 t4 t5 i7 A A_0 out_A_17 t4_o i0_i smooth twice bad none auto now n=4 n=5,T=2 batch=3 dtype=f64 K= 0 1 2 4 16 -1 8,4 99999999999 "
    "t4,t5 t3<4 smooth.us :twice prox ; # \" ' min max".split()
)
LINES = st.one_of(
    st.text(max_size=30),
    st.builds(lambda head, tail: " ".join([head, *tail]), st.sampled_from(sorted(COMMANDS.keys() - DEAR - {"quit"})), st.lists(WORDS, max_size=3)),
    st.builds(lambda head, tail: " ".join([head, *tail]), st.sampled_from(sorted([*STEPS, "batch"])), st.lists(WORDS, max_size=5)),
)
_SHARED: dict[Path, Session] = {}


def any_line(folder: Path, line: str) -> None:
    session = _SHARED.setdefault(folder, Session())
    if session.state.algorithm != "smooth" or dict(session.state.sizes) != {"n": 5} or session.state.plan is None:
        session.state, session.past = Session().state, []
        told(session, "load smooth.us:smooth", "size n=5,T=2", "schedule none")
    before = session.state
    reply = answer(session, line)
    if line.split("#")[0].replace(";", " ").strip():
        assert reply.text, line
    if reply.failed:
        assert session.state == before
        assert "Traceback" not in reply.text
        assert reply.text.count("error") >= 1


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(LINES)
def test_any_line_yields_a_result_or_a_message(folder: Path, line: str) -> None:
    any_line(folder, line)


@pytest.mark.slow
@settings(max_examples=3000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(LINES)
def test_any_of_many_lines_yields_a_result_or_a_message(folder: Path, line: str) -> None:
    any_line(folder, line)


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(POLYBENCH.glob("*.us")), ids=lambda p: p.stem)
def test_a_step_is_answered_at_once(path: Path) -> None:
    """The processor's time of an answer, not that of the clock: the machine may be busy. A line that takes too long is said again, anew."""
    begin = [f"load {path}", "schedule none", "loops"]
    session = Session()
    told(session, *begin)
    for name in session.bench.part(session.state).scheduled.loops:
        for line in (f"tile {name} 32", f"parallel {name}", f"reverse {name}"):
            for _ in range(3):
                start = time.process_time()
                reply = answer(session, line)
                spent = time.process_time() - start
                if spent < 0.2:
                    break
                session = Session()
                told(session, *begin)
            assert spent < 0.2, line
            if not reply.failed:
                told(session, "undo")


@pytest.mark.needs("prompt_toolkit")
def test_the_first_prompt_waits_for_no_torch() -> None:
    script = "import sys, unspool.dsl.cli, unspool.dsl.repl.loop, unspool.dsl.repl.complete; print({'torch', 'islpy', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "set()", done.stderr
    assert CompileOptions() == Session().state.options
