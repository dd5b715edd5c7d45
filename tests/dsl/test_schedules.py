"""A user's schedule: the three doors, its text, its parts, and what is said of a bad one."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import unspool as us
from tests.helpers import TVM_SLOW
from unspool.compiler.loops.dependences import IllegalSchedule
from unspool.compiler.loops.schedule import Step, parse_schedule
from unspool.compiler.loops.schedule_parts import split_batch, split_kernels
from unspool.dsl.cli import main

LASSO = """fn soft(v, t) = sign(v) * max(abs(v) - t, 0)

algorithm ista(given A: real[m, n], y: real[m]) -> real[n]:
    iterations K = 16
    param step[K]: positive = 0.1
    param lam[K]: nonneg = 0.1

    x = zeros(n)
    for k in 0..K:
        r = A @ x - y
        x = soft(x - step[k] * (A.T @ r), lam[k] * step[k])
    return x
"""
SWEEP = """algorithm seidel(A: real[n, n]) -> real[n, n] where n >= 3:
    iterations T = 10
    for t in 0..T:
        for i in 1..n-1:
            for j in 1..n-1:
                A[i, j] = (A[i-1, j] + A[i, j-1] + A[i, j] + A[i, j+1] + A[i+1, j]) / 5
    return A
"""
#: A library call in the middle: two kernels around it.
TWO = """algorithm two(x: real[n, n]) -> real[n, n]:
    y = x * 2 + 1
    z = inv(y)
    return z * 3 + x
"""
BAD = {
    "an unknown step": "frobnicate i3",
    "a step mistyped": "paralel i3",
    "a comment before it": "# i3; i5 are rows\n\nparalel i3",
    "no such loop": "interchange t2 i55",
    "nothing like it": "parallel zebra",
    "an array for a loop": "vector A",
    "a loop for an array": "contract t2 t2",
    "no such array": "contract stepp t2",
    "an input": "contract A t2",
    "no such statement": "distribute t2 S99",
    "too few arguments": "skew i3",
    "too many": "fuse i3 i5 i8",
    "a word for a number": "shift i3 two",
    "a number for a word": "parallel 3",
    "a block of nothing": "tile i3 0",
    "a negative block": "tile i3 -4",
    "sizes missing": "tile t2",
    "a number beyond 32 bits": "shift i3 4294967296",
    "no factor": "skew i6 i5 0",
    "not nested": "interchange i3 i6",
    "gone": "fuse i3 i5\nparallel i3; vector i5",
    "twice": "tile i3 2\ntile i3 2",
    "a carried dependence": "fuse i3 i5\n# all problems at once\nparallel t2",
    "a sum in parallel": "parallel i6",
    "rows before they are there": "fuse i3 i12",
    "a tile of no problems": "batch 0",
    "a tile of too many": "batch 1000",
    "two tiles": "batch 16\nbatch 8",
    "in the tile": "parallel i0\nbatch 16\nparallel w99",
    "another kernel's": "kernel fista\nparallel i0",
}


def message(text: str, schedule: str, name: str = "f.us", **sizes: int) -> str:
    (handle,) = us.loads(text, name)
    with pytest.raises(us.UnspoolError) as caught:
        handle.compile(sizes or {"m": 4, "n": 6}, schedule=schedule)
    return str(caught.value)


def test_bad_schedules(golden: Callable[[str], None]) -> None:
    found = [f"-- {what}\n{text}\n\n{message(LASSO, text, 'lasso.us')}\n" for what, text in BAD.items()]
    swapped = "parallel i0\ninterchange t3 t4"
    text = "\n".join([*found, f"-- an order that is wrong\n{swapped}\n\n{message(SWEEP, swapped, 'sweep.us', n=8)}\n"])
    golden(re.sub("there are fuse, .*", "there are fuse, ...", text))


def test_it_is_the_step_that_breaks_the_order_that_is_named() -> None:
    said = message(SWEEP, "skew t5 t4 1\ninterchange t3 t4\nparallel i0", n=8)
    assert said.startswith("line 2 of the schedule: step `interchange t3 t4` does not apply: the flow dependence on A_0 is reversed")
    assert "for instance S6[t3=0, t4=" in said
    assert "S6 comes from f.us:6: A[i, j] = (A[i-1, j]" in said


@pytest.mark.parametrize("target", ["c", "numba", TVM_SLOW])
def test_a_schedule_by_hand_is_followed_and_right(target: str) -> None:
    (seidel,) = us.loads(SWEEP)
    text = "skew t4 t3 1  # then tiles of time and space are legal\nskew t5 t3 1; tile t3 t4 t5 2 4 4"
    kernel = seidel.compile({"n": 13}, schedule=text, dtype="f64", target=target)
    assert kernel.schedule == "skew t4 t3 1\nskew t5 t3 1\ntile t3 t4 t5 2 4 4"
    assert "t3_o" in kernel.loops
    A = np.random.default_rng(0).random((13, 13))
    for T in (1, 2, 5):
        np.testing.assert_allclose(kernel(A, T=T), seidel(A, T=T, target="interpreter"), rtol=1e-12)


def test_every_kernel_takes_its_own_schedule_back() -> None:
    for text, sizes in ((LASSO, {"m": 4, "n": 6}), (SWEEP, {"n": 8}), (TWO, {"n": 4})):
        (handle,) = us.loads(text)
        kernel = handle.compile(sizes)
        again = handle.compile(sizes, schedule=kernel.schedule)
        assert (again.schedule, again.source) == (kernel.schedule, kernel.source)


def test_the_kernels_of_a_host_program_have_a_part_each() -> None:
    (two,) = us.loads(TWO)
    A = np.eye(4) + 0.1
    expected = two(A, target="interpreter")
    ours, plain = two.compile({"n": 4}, dtype="f64"), two.compile({"n": 4}, dtype="f64", schedule="")
    assert "kernel two_0\n" in ours.schedule
    assert [c.schedule for _, c in plain.compiled] == ["", ""]
    mixed = two.compile({"n": 4}, dtype="f64", schedule="# by hand\nkernel two_1  # the second\ninterchange i0 i1\n")
    assert [c.schedule for _, c in mixed.compiled] == [dict(ours.compiled)["two_0"].schedule, "interchange i0 i1"]
    for kernel in (ours, plain, mixed):
        np.testing.assert_allclose(kernel(A), expected, rtol=1e-12)
    assert message(TWO, "parallel i0", n=4) == (
        "line 1 of the schedule: begin with a line `kernel NAME`; the kernels are two_0, two_1"
    )
    assert message(TWO, "\nkernel two_9", n=4) == "line 2 of the schedule: there is no kernel `two_9`; did you mean `two_1`?"
    assert message(TWO, "kernel two_1\nkernel two_1", n=4) == "line 2 of the schedule: a second part of kernel `two_1`"
    assert message(TWO, "kernel two_1\n\nparallel j", n=4).startswith("line 3 of the schedule: step `parallel j` does not")


def test_the_interpreter_takes_none() -> None:
    (ista,) = us.loads(LASSO)
    with pytest.raises(us.DataError, match="the interpreter runs the program as it is written: it takes no schedule"):
        ista.compile({"m": 4, "n": 6}, schedule="parallel i0", target="interpreter")
    ista.compile({"m": 4, "n": 6}, schedule="", target="interpreter")


def test_build_and_call_take_one_too() -> None:
    (ista,) = us.loads(LASSO)
    A, y = np.random.default_rng(0).random((4, 6)), np.ones((3, 4))
    expected = ista(A, y, target="interpreter")
    text = "batch 4\n"
    np.testing.assert_allclose(ista(A, y, schedule=text), expected, rtol=1e-10)
    layer = ista.build(A=A, schedule="fuse i3 i5", dtype="f64")
    np.testing.assert_allclose(layer(us_tensor(y)).detach().numpy(), expected, rtol=1e-10)
    with pytest.raises(IllegalSchedule, match="line 1 of the schedule: step `fuse i5 i3` does not apply: i3 is not a later sibling"):
        ista.build(A=A, schedule="fuse i5 i3")(us_tensor(y).float())


def us_tensor(values: np.ndarray) -> object:
    import torch

    return torch.as_tensor(values)


def command(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main([*map(str, words)])
    got = capsys.readouterr()
    return int(stop.value.code or 0), got.out, got.err


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    program, steps = tmp_path / "sweep.us", tmp_path / "sweep.schedule"
    program.write_text(SWEEP)
    steps.write_text("# by hand\nskew t4 t3 1; skew t5 t3 1\n\ntile t3 t4 t5 2 4 4  # time and space\n")
    show = ("compile", str(program), "--size", "n=8", "--emit", "schedule", "--schedule")
    text = "skew t4 t3 1\nskew t5 t3 1\ntile t3 t4 t5 2 4 4\n"
    assert command(capsys, *show, str(steps)) == (0, text, "")
    monkeypatch.setattr("sys.stdin", io.StringIO("reverse i0"))
    assert command(capsys, *show, "-") == (0, "reverse i0\n", "")
    assert command(capsys, *show, "none")[:2] == (0, "\n")
    steps.write_text("\ntile t3 4\nparallel t4")
    code, _, said = command(capsys, *show, str(steps))
    assert code == 1
    assert said.startswith("error: line 3 of the schedule: step `parallel t4` does not apply: the flow dependence on A_0 joins")
    code, _, said = command(capsys, *show, "nothing")
    assert (code, said) == (1, "error: cannot read the schedule nothing: No such file or directory (program order is --schedule none)\n")
    steps.write_bytes(b"\xff\xfe")
    assert "cannot read the schedule" in command(capsys, *show, str(steps))[2]


def test_the_parts_of_a_text_keep_their_lines() -> None:
    alone, size, together = split_batch("fuse a b  # one; batch 3\nshift a 1; batch 8; fuse c d\nvector w0")
    assert (alone, size, together) == ("fuse a b  # one; batch 3\nshift a 1", 8, "\n fuse c d\nvector w0")
    assert [(s.line, str(s)) for s in parse_schedule(together).steps] == [(2, "fuse c d"), (3, "vector w0")]
    assert split_kernels("# nothing\n", ["a", "b"]) == {"a": "", "b": ""}
    assert split_kernels("kernel b\nfuse x y", ["a", "b"]) == {"b": "\nfuse x y"}
    assert parse_schedule("shift i -3;;tile i 4").steps == (Step("shift", ("i", -3)), Step("tile", ("i", 4)))
