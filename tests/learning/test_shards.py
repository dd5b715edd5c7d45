"""Shards: gradients and scores are those of one process to the bit, whoever computes them."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

import unspool as us
from tests.learning import two_processes as case
from unspool.backends import build
from unspool.backends.learning.shards import Shards

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def one_thread() -> object:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="torch has no gloo")
def test_two_processes_find_what_one_does(tmp_path: Path, one_thread: None) -> None:
    expected = case.told(2)
    store, file = tmp_path / "store", tmp_path / "found"
    command = [sys.executable, "-m", "tests.learning.two_processes", str(store), str(file), *build.FLAGS]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as other:
        dist.init_process_group("gloo", init_method=f"file://{store}", rank=0, world_size=2, timeout=timedelta(minutes=3))
        try:
            with pytest.raises(us.DataError, match="shards=3 cannot be dealt out to 2 processes: take a multiple of 2"):
                case.fitted(case.PROGRAM.mse, 3)
            found = case.told(2)
        finally:
            dist.destroy_process_group()
        said, _ = other.communicate(timeout=300)
    assert other.returncode == 0, said
    assert [found, file.read_text(encoding="utf-8")] == [expected, expected]


def test_shards_of_one_process_change_nothing_but_rounding() -> None:
    for loss in (case.PROGRAM.mse, lambda x, t: (x - t) ** 2):
        (one, before), (other, after) = case.fitted(loss, 1), case.fitted(loss, 3)
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
        assert before == pytest.approx(after, rel=1e-5)
    x, y, W, V = case.problem()
    whole = case.ES.eggroll(x, y, W, V, us.key(2), K=case.GENERATIONS, pairs=case.PAIRS, sigma=0.1, lr=0.5, target="c", schedule="")
    for shards in (1, 3):
        for a, b in zip(case.evolved(shards), whole):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_more_shards_than_problems() -> None:
    y = torch.randn(2, 4, generator=torch.Generator().manual_seed(0))
    found = []
    for shards in (1, 5):
        layer = case.PROGRAM.shrink.build(target="c", schedule="")
        us.fit(layer, (y, 0.5 * y), case.PROGRAM.mse, epochs=1, shards=shards, progress=False)
        found.append(layer.w.detach())
    torch.testing.assert_close(*found)
    assert torch.all(found[0] != 0.1)


@pytest.mark.parametrize("length", [0, 1, 5, 12])
def test_pieces_are_all_there_is_in_order(length: int) -> None:
    pieces = Shards(5).pieces(length)
    assert [i for piece in pieces for i in piece] == list(range(length))
    assert max(map(len, pieces)) - min(map(len, pieces)) <= 1


def test_what_cannot_be_dealt_out_is_an_error() -> None:
    weights = (torch.zeros(2),)

    def none(*_: object) -> Tensor:
        return torch.zeros(1)

    with pytest.raises(us.DataError, match="shards=0 cannot be dealt out to 1 processes"):
        us.fit(case.PROGRAM.shrink.build(), torch.zeros(2, 2), shards=0)
    with pytest.raises(us.DataError, match="a population of 5 cannot be cut into 2 shards of one size"):
        us.evolve(weights, none, none, generations=1, population=5, shards=2)
    with pytest.raises(us.DataError, match=r"scores of 3 members have 3 rows; these are of shape \(1,\)"):
        us.evolve(weights, none, none, generations=1, population=3)
