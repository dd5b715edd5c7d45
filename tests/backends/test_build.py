"""Compilers and the cache of what they made: hits, corruption, folders that cannot be written, several processes at once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from unspool.backends import build as builder
from unspool.backends.cpu import CTarget
from unspool.backends.numba import build as numba_build
from unspool.compiler import options
from unspool.compiler.diagnostics import CompileError
from unspool.compiler.loops.tree import Call, Function, Literal

from .trees import CURRENT, array, function, load, loop, run, store

#: The targets whose kernels are kept on disk.
CACHED = pytest.mark.parametrize("backend", ["c", "numba"], indirect=True)
NUMBA_LATER = {"test_two_processes_at_once": ()}


def kernel(factor: float, name: str = "cached") -> Function:
    value = Call("mul", (load("x", "i"), Literal(factor, "f32")), "f32")
    return function(
        name,
        [array("x", "f32", 5), array("o", "f32", 5, scope="output")],
        loop("i", 0, 5, store("o", ["i"], value), kind="vector"),
    )


def check(factor: float) -> None:
    """Build and run."""
    x, o = torch.arange(5.0), torch.empty(5)
    run(kernel(factor), [x], [o])
    assert torch.equal(o, x * factor)


def forget() -> None:
    """Nothing stays in memory."""
    builder.forget()
    numba_build.forget()


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Path]:
    """A fresh cache, nothing in memory, counters at zero."""
    forget()
    before = builder.statistics
    builder.statistics = builder.Statistics()
    with options.scope(cache=tmp_path):
        yield tmp_path
    builder.statistics = before
    forget()


def files(cache: Path) -> list[Path]:
    return sorted(p for p in cache.rglob("*") if p.is_file())


@CACHED
@pytest.mark.usefixtures("backend")
def test_second_build_compiles_nothing(cache: Path) -> None:
    """In memory, and from disk."""
    check(2.0)
    check(2.0)
    assert (builder.statistics.compiled, builder.statistics.hits, builder.statistics.loaded) == (1, 0, 1)
    forget()
    check(2.0)
    assert (builder.statistics.compiled, builder.statistics.hits) == (1, 1)
    check(3.0)
    assert builder.statistics.compiled == 2
    assert len(files(cache)) == 2


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("backend", ["c"], indirect=True)
def test_another_compiler_or_processor_is_another_kernel(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cached files are not shared between machines that differ."""
    check(2.0)
    for what in ("processor", "identity"):
        forget()
        monkeypatch.setattr(builder, what, lambda *a: "another one")
        check(2.0)
    assert builder.statistics.compiled == 3


@CACHED
@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "garbage"])
def test_damaged_files_are_rebuilt(cache: Path, damage: str) -> None:
    """A file that is not what its name says is never loaded."""
    check(2.0)
    (path,) = files(cache)
    data = path.read_bytes()
    path.unlink()  # the loaded library keeps the old file
    middle = len(data) // 2
    path.write_bytes(
        {
            "truncate": data[:middle],
            "flip": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
            "empty": b"",
            "garbage": b"x",
        }[damage]
    )
    forget()
    check(2.0)
    assert (builder.statistics.compiled, builder.statistics.corrupted) == (2, 1)
    assert files(cache) == [path]
    assert path.read_bytes() == data


@CACHED
@pytest.mark.usefixtures("backend")
def test_a_file_with_a_right_name_that_is_no_kernel(cache: Path) -> None:
    """The digest is sound but the file does not load."""
    check(2.0)
    (path,) = files(cache)
    path.unlink()
    bad = path.with_name(f"{path.name.split('-')[0]}-{builder._digest(b'no library')}{path.suffix}")
    bad.write_bytes(b"no library")
    forget()
    check(2.0)
    assert builder.statistics.corrupted == 1
    assert not bad.exists()


@CACHED
@pytest.mark.usefixtures("backend")
def test_leftovers_of_interrupted_builds_do_no_harm(cache: Path) -> None:
    """Temporary files are not taken for kernels."""
    check(2.0)
    (path,) = files(cache)
    (path.parent / ".new-abc").write_bytes(b"half")
    forget()
    check(2.0)
    assert builder.statistics.compiled == 1


@CACHED
@pytest.mark.usefixtures("backend")
def test_a_cache_that_cannot_be_written(cache: Path) -> None:
    """One warning, then kernels live in a temporary folder."""
    builder._warned.clear()
    blocked = cache / "file"
    blocked.write_text("in the way")
    with options.scope(cache=blocked), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check(5.0)
        check(6.0)
    assert ["cannot be written" in str(w.message) for w in caught] == [True]


@CACHED
@pytest.mark.usefixtures("backend")
def test_a_full_disk(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The half-written file goes away and the kernel still runs."""
    builder._warned.clear()
    replace = os.replace

    def full(source: str, target: Path) -> None:
        if str(target).startswith(str(cache)):
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.warns(UserWarning, match="No space left"):
        check(7.0)
    assert files(cache) == []


@CACHED
@pytest.mark.usefixtures("backend")
def test_no_cache(cache: Path) -> None:
    """UNSPOOL_CACHE=off leaves the cache folder alone."""
    with options.scope(cache=None):
        check(8.0)
    assert files(cache) == []


def test_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what was tried and what to do."""
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(CompileError, match="no C compiler found"):
        builder.find_compiler()
    with options.scope(compiler="mycc -x"), pytest.raises(CompileError, match="'mycc -x' that CC names"):
        builder.find_compiler()


def test_a_compiler_that_fails(cache: Path) -> None:
    """Its words are in the message, and nothing is cached."""
    with pytest.raises(CompileError, match=r"kernel.c"):
        builder.build("this is no C;", "broken")
    assert files(cache) == []
    with options.scope(compiler="false"), pytest.raises(CompileError, match="'false' does not run"):
        builder.build("int x;", "broken")


PROGRAM = """
import sys, torch
from tests.backends import trees
from tests.backends.test_build import check
from unspool.backends import build as builder
trees.CURRENT[0] = sys.argv[1]
from unspool.backends.numba import build as numba_build
for factor in (2.0, 3.0, 4.0):
    check(factor)
print(builder.statistics.compiled + builder.statistics.hits)
"""


@CACHED
@pytest.mark.usefixtures("backend")
def test_two_processes_at_once(cache: Path) -> None:
    """Both build into an empty cache at the same time; a third finds everything."""
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "UNSPOOL_CACHE": str(cache), "PYTHONPATH": str(root)}

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, CURRENT[0]],
            cwd=root,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    for process in [start(), start()]:
        out, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        assert out.strip() == "3"
    check(2.0), check(3.0), check(4.0)
    assert builder.statistics.compiled == 0
    assert {p.suffix for p in files(cache)} == {".so" if CURRENT[0] == "c" else ".o"}


@CACHED
@pytest.mark.usefixtures("backend")
def test_subnormal_numbers_survive(cache: Path) -> None:
    """No kernel may switch the process to flushing small numbers to zero."""
    check(2.0)
    assert (torch.tensor(1e-40) * 0.5).item() > 0
    x, o = torch.full((5,), 1e-40), torch.empty(5)
    run(kernel(0.5), [x], [o])
    assert (o > 0).all()


def test_the_source_holds_no_machine(cache: Path) -> None:
    """Nothing of the build is in the text: it depends on the tree and the vector width alone."""
    text = CTarget().emit(kernel(2.0))
    assert str(Path(__file__).resolve().parents[2]) not in text
    assert "native" not in text
