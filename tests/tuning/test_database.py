"""The file of what tuning found: lines of several processes, lines that were cut off, lines of strangers, a full disk."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from unspool.backends.tuning.database import Database, Tuned, fastest, read
from unspool.compiler.diagnostics import DataError

ONE = Tuned("k1", "ista", "c", "m", "tile i0 8\nparallel i0_o", 0.5, 1.0, 40)
TWO = Tuned("k2", "tv", "c", "m", "", 2.0, 2.0, 3)


def test_the_fastest_of_a_kernel_is_found_and_the_file_may_grow_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "tuned.jsonl"
    ours, theirs = Database(path), Database(path)
    assert ours.find("k1") is None
    ours.add([ONE, TWO])
    assert ours.find("k1") == ONE == theirs.find("k1")
    assert theirs.find("k2") == TWO
    theirs.add([replace(ONE, seconds=0.25), replace(TWO, seconds=3.0)])
    found = ours.entries()
    assert found == {"k1": replace(ONE, seconds=0.25), "k2": TWO}


WRITER = """
import sys
from dataclasses import replace
from pathlib import Path
from unspool.backends.tuning.database import Database, Tuned
for n in range(40):
    Database(Path(sys.argv[1])).add([Tuned(f"{sys.argv[2]}-{n}", "x" * 2000, "c", "m", "", 1.0, 1.0, n)])
"""


def test_processes_write_at_the_same_time(tmp_path: Path) -> None:
    path = tmp_path / "tuned.jsonl"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), name]) for name in ("a", "b")]
    assert [w.wait(timeout=120) for w in writers] == [0, 0]
    assert len(list(read(path))) == len(Database(path).entries()) == 80


def test_lines_that_make_no_sense_are_passed_over_and_nothing_else_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "tuned.jsonl"
    good = json.dumps(asdict(ONE))
    wrong = [
        "[1, 2]",
        "not json",
        json.dumps({**asdict(ONE), "seconds": "fast"}),
        json.dumps({**asdict(ONE), "seconds": -1}),
        json.dumps({**asdict(ONE), "measured": True}),
        json.dumps({"key": "k"}),
        good[: len(good) // 2],
    ]
    path.write_bytes("\n".join([good, *wrong[:-1], json.dumps(asdict(TWO)), wrong[-1]]).encode() + b"\xff\xfe")
    with pytest.warns(UserWarning, match=r"7 line\(s\) that make no sense are passed over \(line 2, 3, 4, 5, 6, \.\.\.\)"):
        assert Database(path).entries() == {"k1": ONE, "k2": TWO}
    third = replace(ONE, key="k3")
    Database(path).add([third])  # behind a line that was cut off
    with pytest.warns(UserWarning, match="7 line"):
        assert Database(path).find("k3") == third


def test_lines_of_a_later_format_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "tuned.jsonl"
    Database(path).add([ONE, replace(TWO, format=99)])
    assert Database(path).entries() == {"k1": ONE}


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tuned.jsonl"
    Database(path).add([ONE])
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("unspool.backends.tuning.database.os.fsync", full)
    with pytest.raises(DataError, match=r"cannot write .*tuned\.jsonl: No space left on device; what was tuned is not remembered"):
        Database(path).add([TWO])
    assert path.read_bytes() == before


def test_a_file_that_cannot_be_read_or_written(tmp_path: Path) -> None:
    path = tmp_path / "tuned.jsonl"
    path.mkdir()
    with pytest.warns(UserWarning, match="cannot read .*schedules are chosen without it"):
        assert Database(path).entries() == {}
    with pytest.raises(DataError, match="cannot write"):
        Database(path).add([ONE])


def test_fastest_is_by_kernel() -> None:
    assert fastest([replace(ONE, seconds=3.0), TWO, ONE]) == {"k1": ONE, "k2": TWO}
