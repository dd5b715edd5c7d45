"""A C compiler that fails, hangs, says nonsense or makes nonsense: one clear message, and the program runs all the same."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import unspool as us
from unspool.backends import build, registry
from unspool.compiler import options
from unspool.compiler.diagnostics import CompileError

VERSION = 'case "$1" in --version) echo odd 1.0; exit 0;; esac\n'
SCRIPTS = {
    "fails": (VERSION + "echo 'kernel.c:1: something is wrong' >&2; exit 1", "something is wrong"),
    "fails in silence": (VERSION + "exit 7", "exit code 7"),
    "is killed": (VERSION + "kill -9 $$", "exit code -9"),
    "has no room": (
        VERSION + "echo 'fatal error: error writing to kernel.s: No space left on device' >&2; exit 1",
        "No space left",
    ),
    "makes nothing": (VERSION + "exit 0", "made no file"),
    "makes garbage": (VERSION + "echo garbage > kernel.so", "does not load"),
    "makes an empty file": (VERSION + ": > kernel.so", "does not load"),
    "hangs": (VERSION + "sleep 1000", "did not end within 1 s"),
    "hangs at --version": ("sleep 1000", "did not end within 1 s"),
    "has no version": ("echo no >&2; exit 3", "does not run: exit code 3 no"),
    "is no program": ("\x7fELF nonsense", "does not run"),
}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(build, "VERSION_SECONDS", 1.0)
    monkeypatch.setattr(build, "COMPILE_SECONDS", 1.0)
    build.forget()
    with options.scope(cache=tmp_path / "cache"):
        yield tmp_path / "cache"
    build.forget()
    build.identity.cache_clear()
    registry._compiler.cache_clear()


def script(folder: Path, text: str) -> str:
    path = folder / "odd-cc"
    path.write_text(text if text.startswith("\x7f") else "#!/bin/sh\n" + text + "\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("what", SCRIPTS)
def test_one_message_and_the_interpreter_takes_over(tmp_path: Path, cache: Path, what: str) -> None:
    text, said = SCRIPTS[what]
    x = torch.arange(6.0)
    with options.scope(compiler=script(tmp_path, text)):
        start = time.monotonic()
        with pytest.raises(CompileError, match=said) as caught:
            build.build("int f(void) { return 0; }", "f")
        assert time.monotonic() - start < 20
        assert "Traceback" not in str(caught.value)
        layer = us.loads(f"algorithm odd(x: real[n]) -> real[n]:\n    return 2 * x  # {what}\n").odd.build(target="c")
        with pytest.warns(UserWarning, match=said):
            assert torch.equal(layer(x), 2 * x)
    assert list(cache.rglob("*.so")) == []


def test_a_compiler_that_speaks_no_utf8(tmp_path: Path, cache: Path) -> None:
    noise = "printf '\\377\\376 odd\\n'\n"
    text = f'case "$1" in --version) {noise} exit 0;; esac\n{noise} >&2; exit 1'
    with options.scope(compiler=script(tmp_path, text)), pytest.raises(CompileError, match="odd"):
        build.build("int f(void) { return 0; }", "f")


def test_what_a_hanging_compiler_started_is_ended_with_it(tmp_path: Path, cache: Path) -> None:
    number = tmp_path / "number"
    text = VERSION + f"sleep 1000 & echo $! > {number}; wait"
    with options.scope(compiler=script(tmp_path, text)), pytest.raises(CompileError, match="did not end"):
        build.build("int f(void) { return 0; }", "f")
    child = Path(f"/proc/{number.read_text().strip()}/stat")
    end = time.monotonic() + 10
    while child.exists() and child.read_text().split()[2] != "Z":
        assert time.monotonic() < end
        time.sleep(0.05)
