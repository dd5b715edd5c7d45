"""The options are declared once: Python functions, flags and help come from the one list."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import unspool as us
from unspool.dsl.cli import main
from unspool.dsl.compile_options import NAMES, CompileOptions

LASSO = Path(__file__).resolve().parents[1] / "programs" / "lasso.us"
ISTA = us.load(LASSO).ista
A, y = np.ones((3, 4)), np.ones(3)

DOORS = {
    "call": lambda **options: ISTA(A, y, **options),
    "build": lambda **options: ISTA.build(A=A, **options),
    "compile": lambda **options: ISTA.compile({"m": 3, "n": 4}, **options),
}
REFUSED = [
    ({"memory": "lots"}, 'memory is a number of bytes, or a text like "64MiB" or "1.5GB", not \'lots\''),
    ({"backward": "truncated:0"}, 'backward is "unrolled", "implicit" or "truncated:N" with N from 1 on, not \'truncated:0\''),
    ({"tune": "soon"}, 'tune is a time, a number of seconds or a text like "30s" or "2min", not \'soon\''),
    ({"tune": 0}, 'tune is a time, a number of seconds or a text like "30s" or "2min", not 0'),
    ({"scheduler": "best"}, 'scheduler is "default", "analytic" or "learned", not \'best\''),
    ({"numerics": "fast"}, 'numerics is "default", "strict" or "tf32", not \'fast\''),
    ({"dtype": "i32"}, "dtype is one of f16, bf16, f32, f64 or a floating torch.dtype, not 'i32'"),
    ({"target": 3}, "target is the name of a target, not 3"),
    ({"schedule": Path("x")}, f"schedule is the text of a schedule's steps, not a {type(Path('x')).__name__}"),
]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(("options", "message"), REFUSED, ids=[str(o) for o, _ in REFUSED])
def test_every_door_refuses_with_one_message(door: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(us.DataError, match=f"^{re.escape(message)}$"):
        DOORS[door](**options)


@pytest.mark.parametrize("door", DOORS)
def test_every_door_takes_every_option(door: str) -> None:
    chosen = {option.name: option.default for option in fields(CompileOptions)}
    made = DOORS[door](**chosen, K=2)
    assert tuple(chosen) == NAMES
    if door == "build":
        assert (made.values()["step"].shape, made.values()["step"].dtype) == ((2,), torch.float32)


@pytest.mark.parametrize("command", ["run", "compile"])
def test_the_command_line_has_all_of_them(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    told = capsys.readouterr().out
    assert [n for n in NAMES if f"--{n}" not in told] == []
    wrong = {"--memory=lots": "memory is a number", "--backward=implicit": 'backward="implicit" is', "--tune=soon": "tune is a time"}
    for flag, told in wrong.items():
        with pytest.raises(SystemExit) as stop:
            main([command, f"{LASSO}:ista", "--size", "m=3,n=4", flag])
        assert stop.value.code == 1
        assert f"error: {told}" in capsys.readouterr().err


def test_options_reach_the_kernel() -> None:
    strict = ISTA.compile({"m": 40, "n": 50}, numerics="strict", dtype=torch.float64, backward="unrolled", tune=False)
    assert strict.source != ISTA.compile({"m": 40, "n": 50}, dtype="f64").source
    again = ISTA.compile({"m": 40, "n": 50}, schedule=strict.schedule, numerics="strict", dtype="f64")
    assert again.source == strict.source
    with pytest.raises(us.DataError, match="trace goes to a call"):
        ISTA.compile({"m": 3, "n": 4}, trace=["x"])


def test_names_that_the_program_uses_too() -> None:
    program = us.loads(
        "algorithm f(target: real[n], memory: real[n]) -> real[n]:\n"
        "    param tune: free = 2.0\n"
        "    return tune * target + memory\n"
    )
    one = np.ones(2)
    assert program.f(one, one, target="interpreter").tolist() == [3, 3]  # a text is meant for the option
    assert program.f(target=one, memory=one).tolist() == [3, 3]  # and anything else for the input
    assert program.f(one, one, tune=3.0, target="interpreter").tolist() == [4, 4]  # what is declared goes before
    with pytest.raises(us.DataError, match=r"f\(target, memory\): memory is missing"):
        program.f(one)
