"""Which target a name means here, and what is said where one cannot be used."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import shutil
from collections.abc import Iterator

import pytest

from unspool.backends import registry
from unspool.compiler import options
from unspool.compiler.diagnostics import CompileError, DataError


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Nothing found out before, nothing left behind."""

    def clear() -> None:
        for found in (registry._best, registry._compiler, registry._numba, registry._tvm):
            found.cache_clear()

    clear()
    with options.scope(target="", compiler=""):
        yield
    clear()


def test_cpu_is_numba_without_a_compiler(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Said once, with the reason."""
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with caplog.at_level(logging.WARNING, "unspool"):
        assert [registry.canonical(n) for n in ("cpu", None, "cpu", "c")] == ["numba", "numba", "numba", "c"]
    assert [r.getMessage()[:40] for r in caplog.records] == ["target cpu is numba here: no C compiler "]
    with pytest.raises(CompileError, match=r"target c cannot be used here: no C compiler found.*target='numba'"):
        registry.target("c")


def test_cpu_is_c_with_a_compiler(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is said."""
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assert [registry.canonical(n) for n in ("cpu", None)] == ["c", "c"]
    assert not caplog.records


def test_without_numba(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """The reason names the fix; without a compiler the interpreter is what is left, said once."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert registry.availability("numba").reason == "numba is not installed: pip install numba"
    with pytest.raises(CompileError, match="pip install numba"):
        registry.target("numba")
    with caplog.at_level(logging.WARNING, "unspool"):
        assert [registry.canonical(None), registry.canonical(None)] == ["interpreter", "interpreter"]
    (said,) = (r.getMessage() for r in caplog.records)
    assert said.startswith("nothing is compiled here, the interpreter runs programs op by op: no C compiler found")
    assert said.endswith("; numba is not installed: pip install numba")
    with pytest.raises(CompileError, match="no C compiler found"):
        registry.target(registry.canonical("cpu"))


def test_without_tvm_and_with_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason names the fix."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CompileError, match=r"target tvm cannot be used here: TVM is not installed: pip install 'unspool\[tvm\]'"):
        registry.target("tvm")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    for version in ("0.26.0", "0.28.1", "0.270.1"):
        registry._tvm.cache_clear()
        monkeypatch.setattr(importlib.metadata, "version", lambda name, version=version: version)
        with pytest.raises(CompileError, match=rf"apache-tvm {version} is installed, it takes 0.27: pip install 'unspool\[tvm\]'"):
            registry.target("tvm")


def test_names() -> None:
    """Every target by its name; others are refused."""
    for name in ("c", "numba"):
        made = registry.target(registry.canonical(name))
        assert made is not None
        assert made.name == name
    assert registry.target(registry.canonical("interp")) is None
    names = "c, numba, cuda, emulated, triton, triton_interpreted, tvm, tvm_cuda, tvm_emulated, interpreter"
    with pytest.raises(DataError, match=f"no target is called 'gpu'; there are cpu, {names}"):
        registry.canonical("gpu")
