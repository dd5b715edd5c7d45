"""``dsl fmt`` on files: what it writes, what it leaves alone, how it ends."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from unspool.dsl.cli import main

ROOT = Path(__file__).resolve().parents[2]
UGLY, NEAT = b"fn f( a )=a # x\n", b"fn f(a) = a  # x\n"


@dataclass
class Done:
    code: int
    out: str
    err: str


Fmt = Callable[..., Done]


@pytest.fixture
def fmt(capfd: pytest.CaptureFixture[str]) -> Fmt:
    def run(*arguments: object) -> Done:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(["fmt", *map(str, arguments)])
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return Done(int(stop.value.code or 0), out, err)

    return run


def write(path: Path, data: bytes = UGLY) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_in_place(fmt: Fmt, tmp_path: Path) -> None:
    ugly, neat = write(tmp_path / "a.us"), write(tmp_path / "b.us", NEAT)
    ugly.chmod(0o640)
    stamp = neat.stat().st_mtime_ns
    done = fmt(ugly, neat)
    assert (done.code, done.out, done.err) == (0, f"formatted {ugly}\n", "")
    assert (ugly.read_bytes(), ugly.stat().st_mode & 0o777) == (NEAT, 0o640)
    assert neat.stat().st_mtime_ns == stamp
    assert fmt(ugly, neat).out == ""
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.us", "b.us"]


def test_check_and_diff_write_nothing(fmt: Fmt, tmp_path: Path) -> None:
    ugly, neat = write(tmp_path / "a.us"), write(tmp_path / "b.us", NEAT)
    done = fmt("--check", ugly, neat)
    assert (done.code, done.out) == (1, f"would format {ugly}\n")
    assert fmt("--check", neat).code == 0
    shown = f"--- {ugly}\n+++ {ugly} (formatted)\n@@ -1 +1 @@\n-fn f( a )=a # x\n+fn f(a) = a  # x\n"
    assert (fmt("--diff", ugly, neat).out, fmt("--diff", ugly).code) == (shown, 0)
    done = fmt("--diff", "--check", ugly)
    assert (done.code, done.out) == (1, f"{shown}would format {ugly}\n")
    write(ugly, b"fn f( a ) = a")
    assert "\n-fn f( a ) = a\n\\ No newline at end of file\n+fn f(a) = a\n" in fmt("--diff", ugly).out
    assert ugly.read_bytes() == b"fn f( a ) = a"


def test_folders(fmt: Fmt, tmp_path: Path) -> None:
    inside = [write(tmp_path / name) for name in ("b.us", "deep/er/a.us")]
    outside = [write(tmp_path / name) for name in (".hidden/a.us", "a.txt", "deep/a.us.orig")]
    done = fmt(tmp_path, tmp_path / "b.us", tmp_path / "deep")
    assert done.out == "".join(f"formatted {path}\n" for path in inside)
    assert all(path.read_bytes() == NEAT for path in inside)
    assert all(path.read_bytes() == UGLY for path in outside)
    (tmp_path / "empty").mkdir()
    done = fmt(tmp_path / "empty")
    assert (done.code, done.out, done.err) == (0, "", "no .us files there\n")


def test_a_link_stays_a_link(fmt: Fmt, tmp_path: Path) -> None:
    target = write(tmp_path / "there" / "a.us")
    link = tmp_path / "link.us"
    link.symlink_to(target)
    assert fmt(link).code == 0
    assert link.is_symlink()
    assert target.read_bytes() == NEAT


def standard_input(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


@pytest.mark.parametrize(
    ("options", "data", "code", "out"),
    [
        ([], UGLY, 0, NEAT.decode()),
        ([], NEAT, 0, NEAT.decode()),
        ([], b"fn f(a) = (", 1, ""),
        (["--check"], UGLY, 1, "would format <stdin>\n"),
        (["--check"], NEAT, 0, ""),
        (["--diff"], UGLY, 0, "--- <stdin>\n+++ <stdin> (formatted)\n@@ -1 +1 @@\n-fn f( a )=a # x\n+fn f(a) = a  # x\n"),
    ],
)
def test_standard_input(monkeypatch: pytest.MonkeyPatch, fmt: Fmt, options: list[str], data: bytes, code: int, out: str) -> None:
    standard_input(monkeypatch, data)
    done = fmt(*options, "-")
    assert (done.code, done.out) == (code, out)
    assert ("<stdin>:1:11: error US0105" in done.err) == (data == b"fn f(a) = (")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (UGLY.replace(b"\n", b"\r\n") * 2, NEAT.replace(b"\n", b"\r\n") * 2),  # lines end as the first one does
        (UGLY.replace(b"\n", b"\r\n") + UGLY, NEAT.replace(b"\n", b"\r\n") * 2),
        (UGLY + UGLY.replace(b"\n", b"\r\n"), NEAT * 2),
        (NEAT.rstrip(b"\n"), NEAT),
        (b"\xef\xbb\xbf" + NEAT, NEAT),
        (b"fn\tf(a)\t=\ta\t# \tx\t\n", b"fn f(a) = a  # \tx\n"),
        ("# λ\nfn λ(τ)=τ\n".encode(), "# λ\nfn λ(τ) = τ\n".encode()),
        (b"\r\n\r\n", b""),
    ],
)
def test_line_ends_marks_and_tabs(fmt: Fmt, tmp_path: Path, before: bytes, after: bytes) -> None:
    path = write(tmp_path / "a.us", before)
    assert fmt("--check", path).code == 1
    assert fmt(path).code == 0
    assert path.read_bytes() == after
    assert fmt("--check", path).code == 0


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"fn f(a) =\n", "error US0101"),
        (b"fn f(a):\n\treturn a\n", "error US0103"),
        (b"\xff\xfe", "error US0605"),
        (b"\0", "error US0102"),
    ],
)
def test_a_file_with_errors_is_left_alone(fmt: Fmt, tmp_path: Path, data: bytes, words: str) -> None:
    wrong, ugly = write(tmp_path / "a.us", data), write(tmp_path / "b.us")
    done = fmt(wrong, ugly)
    assert (done.code, done.out) == (1, f"formatted {ugly}\n")
    assert f"{wrong}:" in done.err
    assert words in done.err
    assert wrong.read_bytes() == data


def test_what_cannot_be_read(fmt: Fmt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = fmt(tmp_path / "nowhere.us")
    assert done.code == 2
    assert "there is no file or folder" in " ".join(done.err.split())
    path = write(tmp_path / "a.us")

    def refuse(self: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    done = fmt(path)
    assert done.code == 1
    assert f"error US0601: cannot read {path}: Permission denied" in done.err


def test_a_folder_that_cannot_be_read(fmt: Fmt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").mkdir()
    ugly = write(tmp_path / "a.us")
    scan = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    done = fmt(tmp_path)
    assert (done.code, done.out) == (1, f"formatted {ugly}\n")
    assert done.err == f"error: cannot read {tmp_path / 'closed'}: Permission denied\n"


@pytest.mark.parametrize("fails", ["access", "mkstemp", "fsync", "replace"])
def test_what_cannot_be_written_stays_whole(fmt: Fmt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    path = write(tmp_path / "a.us")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if fails == "access":
        monkeypatch.setattr(os, "access", lambda _, mode: mode != os.W_OK)
    else:
        monkeypatch.setattr("tempfile.mkstemp" if fails == "mkstemp" else f"os.{fails}", full)
    done = fmt(path)
    reason = os.strerror(errno.EACCES) if fails == "access" else "No space left on device"
    assert (done.code, done.out, done.err) == (1, "", f"error: cannot write {path}: {reason}\n")
    assert path.read_bytes() == UGLY
    assert [p.name for p in tmp_path.iterdir()] == ["a.us"]


def test_it_loads_no_torch() -> None:
    script = (
        "import sys\nfrom unspool.dsl.cli import main\n"
        "try:\n    main(['fmt', '--check', 'tests/programs', 'stdlib', 'examples'])\n"
        "except SystemExit as stop:\n    assert not stop.code\n"
        "assert not {'torch', 'islpy', 'numpy'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
