"""The file of a dataset: what is written is read, and no damage costs more than what it hits."""

from __future__ import annotations

import errno
import gzip
from pathlib import Path

import pytest

from unspool.compiler.search.dataset.records import (
    DatasetError,
    MachineFacts,
    Point,
    Program,
    Record,
    Writer,
    line,
    parse_line,
    program_key,
    read,
)

MACHINE = MachineFacts("m1", {"cores": 2, "machine": {"l1": 32768}})
PROGRAM = Program(program_key("nest p []\n", {"K": 3}), 7, "stencil", "nest p []\n", {"K": 3}, "f64")


def point(number: int) -> Point:
    return Point(PROGRAM.key, "m1", f"tile i0 {number}", "nest p []\n", (1e-3, 2e-3), origin="walk")


def test_lines_are_read_back() -> None:
    records: list[Record] = [MACHINE, PROGRAM, point(8)]
    assert [parse_line(line(r)) for r in records] == records
    assert parse_line('{"kind": "remark"}') is None
    for text in ("", "[]", '{"kind": 3}', '{"kind": "point"}'):
        with pytest.raises(ValueError, match=r".+"):
            parse_line(text)


def test_a_file_grows(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "points.jsonl.gz"
    with Writer(path, resume=False) as writer:
        writer.append([MACHINE, PROGRAM, point(1)])
    with pytest.raises(DatasetError, match="--resume"):
        Writer(path, resume=False)
    with Writer(path, resume=True) as writer:
        assert writer.found.points == [point(1)]
        writer.append([point(2), point(1)])
    found = read(path)
    assert found.machines == {"m1": MACHINE}
    assert found.programs == {PROGRAM.key: PROGRAM}
    assert found.by_program() == {PROGRAM.key: [point(1), point(2)]}
    assert found.faults == []
    assert gzip.decompress(path.read_bytes()).count(b"\n") == 5  # any gzip reads it


@pytest.mark.parametrize("cut", [1, 9, 40])
def test_a_file_that_breaks_off_loses_one_line_at_most(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "points.jsonl.gz"
    with Writer(path, resume=False) as writer:
        writer.append([MACHINE, PROGRAM])
        writer.append([point(n) for n in range(400)])
        end = writer.end
    data = path.read_bytes()
    path.write_bytes(data[: end - cut])
    found = read(path)
    kept = len(found.points)
    assert 380 <= kept <= 400
    assert len(found.faults) == 1
    with Writer(path, resume=True) as writer:  # mends it
        writer.append([point(1000)])
    found = read(path)
    assert found.points == [*(point(n) for n in range(kept)), point(1000)]
    assert found.faults == []


def test_damage_in_the_middle_costs_what_it_hits(tmp_path: Path) -> None:
    path = tmp_path / "points.jsonl.gz"
    with Writer(path, resume=False) as writer:
        writer.append([MACHINE, PROGRAM])
        start = writer.end
        writer.append([point(1)])
        end = writer.end
        writer.append([point(2)])
    data = bytearray(path.read_bytes())
    data[(start + end) // 2] ^= 0xFF
    path.write_bytes(data)
    found = read(path)
    assert point(2) in found.points
    assert found.programs
    assert found.faults


def test_a_line_that_is_no_record_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "points.jsonl.gz"
    path.write_bytes(gzip.compress(f"{line(PROGRAM)}\n{{\n{line(point(1))}\n".encode()))
    found = read(path)
    assert found.points == [point(1)]
    assert len(found.faults) == 1


def test_what_is_no_dataset_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "points.jsonl.gz"
    with pytest.raises(DatasetError, match="cannot read"):
        read(path)
    path.write_text("{}\n")
    with pytest.raises(DatasetError, match="gzip"):
        read(path)
    path.write_bytes(gzip.compress((line(MachineFacts("m", {}, format=99)) + "\n").encode()))
    with pytest.raises(DatasetError, match="format 99"):
        read(path)


def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "points.jsonl.gz"
    with Writer(path, resume=False) as writer:
        writer.append([MACHINE, PROGRAM, point(1)])
        whole = writer.file

        class Full:
            def write(self, data: memoryview) -> int:
                if len(data) > 20:
                    return whole.write(data[:20])  # a part fits
                raise OSError(errno.ENOSPC, "No space left on device")

            def fileno(self) -> int:
                return whole.fileno()

        monkeypatch.setattr(writer, "file", Full())
        with pytest.raises(DatasetError, match="No space left on device"):
            writer.append([point(n) for n in range(9)])
        monkeypatch.setattr(writer, "file", whole)
        writer.append([point(2)])
    assert read(path).points == [point(1), point(2)]
    assert read(path).faults == []


def test_two_processes_never_write_to_one_file(tmp_path: Path) -> None:
    path = tmp_path / "points.jsonl.gz"
    with Writer(path, resume=False) as writer:
        writer.append([MACHINE])
        with pytest.raises(DatasetError, match="another process"):
            Writer(path, resume=True)


def test_a_file_of_nothing_goes_away(tmp_path: Path) -> None:
    path = tmp_path / "points.jsonl.gz"
    with Writer(path, resume=False):
        assert path.exists()
    assert not path.exists()
