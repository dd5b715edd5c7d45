"""The measured limits of the machine: kept, read back, measured anew when damaged, and never measured by a compilation."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

import unspool as us
from unspool.backends import caches, roofline
from unspool.backends.build import find_compiler, machine
from unspool.backends.roofline import DTYPES, LEVELS, Roofline
from unspool.compiler import options
from unspool.compiler.diagnostics import CompileError
from unspool.compiler.target import Machine

KNOWN = Roofline(
    2, {"f64": 100.0, "f32": 200.0}, {"f64": 50.0, "f32": 100.0}, {"l1": 80.0, "dram": 10.0}, {"l1": 40.0, "dram": 8.0}, "c"
)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[Machine]:
    calls: list[Machine] = []

    def measure(m: Machine) -> Roofline:
        calls.append(m)
        return KNOWN

    monkeypatch.setattr(roofline, "measure", measure)
    monkeypatch.setattr(roofline, "_memory", {})
    return calls


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofline, "_memory", {})


def test_measured_once_and_kept(counted: list[Machine], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with options.scope(cache=tmp_path / "new"):
        assert roofline.roofline() is KNOWN
        assert roofline.roofline() is KNOWN
        forget(monkeypatch)
        assert roofline.roofline() == KNOWN
        assert counted == [machine()]
        assert [p.suffix for p in (tmp_path / "new").iterdir()] == [".json"]
        roofline.roofline(fresh=True)
        assert len(counted) == 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "\x00",
        '{"format": 0}',
        '{"format": 1}',
        json.dumps({"format": 1, **vars(KNOWN), "flops": {}}),
        json.dumps({"format": 1, **vars(KNOWN), "flops": {"f64": 1.0}}),
        json.dumps({"format": 1, **vars(KNOWN), "bandwidth": {"l1": 1.0}}),
        json.dumps({"format": 1, **vars(KNOWN), "bandwidth": {"dram": -1}}),
        json.dumps({"format": 1, **vars(KNOWN), "bandwidth": {"dram": "fast"}}),
        json.dumps({"format": 1, **vars(KNOWN), "bandwidth": [1]}),
        json.dumps({"format": 1, **vars(KNOWN), "more": 1}),
        json.dumps({"format": 1, **vars(KNOWN), "flops": {"f64": math.nan, "f32": 1.0}}),
    ],
)
def test_a_damaged_file_is_measured_anew(
    text: str, counted: list[Machine], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with options.scope(cache=tmp_path):
        roofline.roofline()
        (path,) = tmp_path.iterdir()
        path.write_text(text)
        forget(monkeypatch)
        assert roofline.roofline() == KNOWN
        assert len(counted) == 2
        forget(monkeypatch)
        assert roofline.roofline() == KNOWN  # and the file is whole again
        assert len(counted) == 2


def test_where_nothing_can_be_kept(counted: list[Machine], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with options.scope(cache=tmp_path / "file"), pytest.warns(UserWarning, match="cannot be kept"):
        assert roofline.roofline() is KNOWN
    forget(monkeypatch)
    with options.scope(cache=None):
        assert roofline.roofline() is KNOWN
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_no_compilation_measures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(m: Machine) -> Roofline:
        raise AssertionError("measured by a compilation")

    monkeypatch.setattr(roofline, "measure", refuse)
    forget(monkeypatch)
    with options.scope(cache=tmp_path):
        program = us.loads("algorithm f(A: real[n, n], x: real[n]) -> real[n]:\n    return A @ x\n")
        assert program.f.compile({"n": 40}).source
    assert not list(tmp_path.glob("*.json"))


def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofline, "SAMPLE", 1e-4)
    monkeypatch.setattr(roofline, "SAMPLES", 1)
    monkeypatch.setattr(roofline, "LEAST_DRAM", 1 << 20)
    monkeypatch.setattr(roofline, "MOST_DRAM", 1 << 20)


def plausible(found: Roofline, levels: set[str]) -> None:
    assert set(found.flops) == set(found.flops_core) == set(DTYPES)
    assert set(found.bandwidth) == set(found.bandwidth_core) == levels
    for table in (found.flops, found.flops_core, found.bandwidth, found.bandwidth_core):
        assert all(1e6 < value < 1e16 for value in table.values()), table


def has_compiler() -> bool:
    try:
        find_compiler()
    except CompileError:
        return False
    return True


@pytest.mark.skipif(not has_compiler(), reason="no C compiler")
@pytest.mark.parametrize(
    "m", [machine(), Machine(16, 16, cores=1, l3=0), Machine(16, 32, cores=3)], ids=["this", "small", "wide"]
)
def test_by_c(m: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    quick(monkeypatch)
    found = roofline.measure(m)
    assert (found.source, found.cores) == ("c", m.cores)
    plausible(found, set(LEVELS) - ({"l3"} if m.l3 == 0 else set()))


def test_by_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    quick(monkeypatch)
    with options.scope(compiler="no-such-compiler"):
        found = roofline.measure(Machine(16, 16))
    assert found.source == "torch"
    plausible(found, set(LEVELS))


def test_least_times() -> None:
    assert KNOWN.seconds(300, {}) == 3
    assert KNOWN.seconds(300, {}, "f32", one_core=True) == 3
    assert KNOWN.seconds(100, {"l1": 400, "dram": 20}) == 5
    assert KNOWN.seconds(0, {"l2": 20}) == 2  # there is no such level: out of memory, then
    assert KNOWN.seconds(0, {"dram": 16}, one_core=True) == 2
    assert KNOWN.ridge() == 10
    assert KNOWN.ridge("f32", "l1") == 2.5
    with pytest.raises(KeyError, match="'l4' is none of l1, l2, l3, dram"):
        KNOWN.seconds(1, {"l4": 1})


def test_caches_as_the_system_lists_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed: list[tuple[Any, ...]] = [
        ("Instruction", "1", "64K"),
        ("Data", "1", "48K\n"),
        ("Unified", "2", "2048K"),
        ("Unified", "3", "1M"),
        ("Unified", "4", "much"),
        ("Data",),
    ]
    for number, parts in enumerate(listed):
        folder = tmp_path / "cpu0" / "cache" / f"index{number}"
        folder.mkdir(parents=True)
        for name, text in zip(("type", "level", "size"), parts):
            (folder / name).write_text(text)
    monkeypatch.setattr(caches, "_SYSTEM", tmp_path)
    assert caches.cache_sizes() == {1: 48 << 10, 2: 2 << 20, 3: 1 << 20}
    monkeypatch.setattr(caches, "_SYSTEM", tmp_path / "nowhere")
    monkeypatch.setattr(caches.os, "sysconf_names", {}, raising=False)
    assert caches.cache_sizes() == {}
    assert caches.usable_cores() >= 1


def test_the_machine_has_cores_and_caches() -> None:
    m = machine()
    assert m.cores == caches.usable_cores()
    assert 0 < m.l1 <= m.l2
    assert m.lanes("f64") == max(1, m.vector_bytes // 8)
