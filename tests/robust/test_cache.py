"""A kernel cache that is damaged, full, locked away or taken away: every call still computes, and says what it could not do."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import unspool as us
from unspool.backends import build, scratch
from unspool.compiler import options

from .scripts import says

PROGRAM = "algorithm twice(x: real[n]) -> real[n]:\n    return {factor} * x\n"


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Path]:
    """A cache of its own, forgotten by the process."""
    folder = tmp_path / "cache"
    build.forget()
    build._warned.clear()
    with options.scope(cache=folder):
        yield folder
    build.forget()


def run(factor: float = 2.0, *, fresh: bool = True) -> None:
    """Compile and run a program; every factor is another kernel."""
    if fresh:
        build.forget()
    x = torch.arange(4.0)
    got = us.loads(PROGRAM.format(factor=factor)).twice.build(target="c")(x)
    assert torch.equal(got, factor * x)


def entries(cache: Path) -> list[Path]:
    return sorted(cache.rglob("*.so"))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "flipped": lambda p: p.write_bytes(p.read_bytes()[:-1] + bytes([p.read_bytes()[-1] ^ 1])),
    "truncated": lambda p: p.write_bytes(p.read_bytes()[:1000]),
    "empty": lambda p: p.write_bytes(b""),
    "text": lambda p: p.write_text("not a kernel"),
}


def replace(path: Path, damage: Callable[[Path], object]) -> None:
    """Damage a file that this process may have loaded: another file in its place, as loaded ones must not change."""
    other = path.with_name("other")
    shutil.copy(path, other)
    damage(other)
    os.replace(other, path)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_built_again(cache: Path, damage: str) -> None:
    run()
    (entry,) = entries(cache)
    sound = entry.read_bytes()
    replace(entry, DAMAGES[damage])
    before = build.statistics.corrupted
    run()
    assert build.statistics.corrupted == before + 1
    assert [p.read_bytes() for p in entries(cache)] == [sound]


def test_two_entries_swapped(cache: Path) -> None:
    run(2.0)
    run(3.0)
    first, second = entries(cache)
    shutil.copy(first, cache / "kept")
    os.replace(second, first)
    os.replace(cache / "kept", second)
    before = build.statistics.corrupted
    run(2.0)
    run(3.0)
    assert build.statistics.corrupted == before + 2
    assert len(entries(cache)) == 2
    before = build.statistics.hits
    run(2.0)
    run(3.0)
    assert build.statistics.hits == before + 2


def test_an_entry_that_cannot_be_read(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run()
    plain = Path.read_bytes

    def refused(self: Path) -> bytes:
        if self.suffix == ".so" and cache in self.parents:
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return plain(self)

    with monkeypatch.context() as patch:  # permissions do not bind the root user
        patch.setattr(Path, "read_bytes", refused)
        run()
    assert len(entries(cache)) == 1


def test_a_damaged_entry_in_a_folder_that_cannot_be_written(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run()
    (entry,) = entries(cache)
    replace(entry, DAMAGES["truncated"])
    plain_unlink, plain_write = Path.unlink, build._write

    def unlink(self: Path, missing_ok: bool = False) -> None:
        if cache in self.parents:
            raise OSError(errno.EROFS, "Read-only file system", str(self))
        plain_unlink(self, missing_ok=missing_ok)

    def write(binary: bytes, folder: Path, key: str, suffix: str) -> Path:
        if cache in folder.parents:
            raise OSError(errno.EROFS, "Read-only file system", str(folder))
        return plain_write(binary, folder, key, suffix)

    monkeypatch.setattr(Path, "unlink", unlink)
    monkeypatch.setattr(build, "_write", write)
    with pytest.warns(UserWarning, match="cannot be written .Read-only file system"):
        run()
    assert entries(cache) == [entry]


def test_a_read_only_entry_is_replaced(cache: Path) -> None:
    run()
    (entry,) = entries(cache)
    replace(entry, DAMAGES["empty"])
    entry.chmod(0o444)
    run()
    assert entries(cache)[0].stat().st_size > 0


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="permissions do not bind the root user")
@pytest.mark.parametrize("mode", [0o555, 0o000])
def test_a_folder_without_permissions(cache: Path, mode: int) -> None:
    cache.mkdir()
    cache.chmod(mode)
    try:
        with pytest.warns(UserWarning, match="cannot be written"):
            run()
    finally:
        cache.chmod(0o755)
    assert entries(cache) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
def test_no_room_for_an_entry(cache: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    plain = os.replace

    def full(source: str, target: str | Path) -> None:
        if cache in Path(target).parents:
            raise OSError(number, os.strerror(number), str(target))
        plain(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.warns(UserWarning, match="kernels of this process are kept in a temporary folder"):
        run()
    assert [p for p in cache.rglob("*") if p.is_file()] == []  # not even the beginning of a file
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(3.0)  # said once


def test_no_room_anywhere(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(build, "_write", full)
    with pytest.warns(UserWarning, match="No space left"):  # what cannot be compiled runs in the interpreter, and says why
        run(5.0)


@pytest.mark.slow
def test_a_disk_that_is_full(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(disk)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"mount: {mounted.stderr.strip()}")
    try:
        script = """
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    make()(data()[1])
print([str(w.message) for w in seen if "kernel cache" in str(w.message)])
"""
        said = says(script, UNSPOOL_CACHE=str(disk / "cache"))
        assert "No space left on device" in said
        assert entries(disk) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_folder_deleted_while_the_process_runs(cache: Path) -> None:
    layer = us.loads(PROGRAM.format(factor=2.0)).twice.build(target="c")
    x = torch.arange(4.0)
    assert torch.equal(layer(x), 2 * x)
    shutil.rmtree(cache)
    assert torch.equal(layer(x), 2 * x)
    run(3.0)
    assert len(entries(cache)) == 1


def test_a_file_where_the_cache_should_be(tmp_path: Path, cache: Path) -> None:
    cache.write_text("a file")
    with pytest.warns(UserWarning, match="cannot be written"):
        run()
    assert cache.read_text() == "a file"


def test_what_killed_processes_left_is_removed(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run()
    (entry,) = entries(cache)
    old, new = entry.parent / ".new-old", entry.parent / ".new-new"
    for path in (old, new):
        path.write_bytes(b"half a kernel")
    os.utime(old, (time.time() - 7200,) * 2)
    entry.unlink()
    run()
    assert not old.exists()
    assert new.exists()  # a process may be writing it at this moment


def test_temporary_folders_of_dead_processes_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with scratch.Scratch("kernels") as mine:
        dead = tmp_path / "unspool-build-dead"
        dead.mkdir()
        (dead / "lock").touch()
        foreign = tmp_path / "unspool-build-foreign"  # not ours: it has no lock
        foreign.mkdir()
        for path in (mine, dead, foreign):
            os.utime(path, (time.time() - 100,) * 2)
        scratch.sweep.cache_clear()
        scratch.sweep(str(tmp_path))
        assert mine.is_dir()
        assert not dead.exists()
        assert foreign.is_dir()
    assert not mine.exists()
    scratch.sweep.cache_clear()


def test_an_unwritable_tmpdir(tmp_path: Path) -> None:
    script = "with torch.no_grad(): print(bool(torch.isfinite(make()(data()[1])).all()))"
    assert says(script, TMPDIR=str(tmp_path / "nothing" / "there"), UNSPOOL_CACHE=str(tmp_path / "cache")) == "True"


def test_no_place_for_temporary_files(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(*_: object, **__: object) -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr("tempfile.gettempdir", nowhere)
    with pytest.warns(UserWarning, match="no place for temporary files.*set TMPDIR"):
        run(7.0)


@pytest.mark.parametrize("home", [None, "/nonexistent/home", pytest.param("", marks=pytest.mark.slow)])
def test_no_home(tmp_path: Path, home: str | None) -> None:
    script = "with torch.no_grad(): print(bool(torch.isfinite(make()(data()[1])).all()))"
    changes = {"HOME": home, "XDG_CACHE_HOME": str(tmp_path / "xdg"), "UNSPOOL_CACHE": None}
    assert says(script, **changes) == "True"


def test_a_user_without_a_home_has_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda *_, **__: "~/.cache/unspool")
    assert options._user_cache() is None
