"""Forked and spawned workers, two processes at once, gradients averaged over processes, a process killed while it builds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .scripts import DEADLINE, HEAD, ROOT, environment, says


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_process_runs_kernels_after_its_parent_did(tmp_path: Path) -> None:
    # torch's own kernels take threads, too, and its own pool does not survive a fork: the child asks torch for one
    script = """
layer, (_, y) = make(), data()
expected = both(layer, y)
from unspool.backends import execute
assert execute._threads_started, "the test needs a kernel that takes threads"
child = os.fork()
if child == 0:
    import faulthandler
    faulthandler.dump_traceback_later(200, exit=True)
    with torch.no_grad():
        ok = torch.allclose(layer(y), expected[0], rtol=1e-4, atol=1e-5)
    torch.set_num_threads(1)
    ok = ok and same(both(layer, y), expected)
    from tests.robust.scripts import ROOT
    fresh = us.load(ROOT / "tests" / "programs" / "tv.us").tv.build(K=3, target="c")  # compiled in the child
    ok = ok and bool(torch.isfinite(fresh(torch.rand(64, 64), torch.tensor(0.1))).all())
    os._exit(0 if ok else 3)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), same(both(layer, y), expected))
"""
    assert says(script, UNSPOOL_CACHE=str(tmp_path)) == "0 True"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_fork_while_another_thread_compiles(tmp_path: Path) -> None:
    script = """
import threading
from unspool.backends import build
layer, (_, y) = make(), data()
held, go = threading.Event(), threading.Event()
def hold():
    with build._lock:
        held.set()
        go.wait()
thread = threading.Thread(target=hold)
thread.start()
held.wait()
child = os.fork()
if child == 0:
    import faulthandler
    faulthandler.dump_traceback_later(200, exit=True)
    torch.set_num_threads(1)
    with torch.no_grad():
        os._exit(0 if torch.isfinite(layer(y)).all() else 3)
go.set()
thread.join()
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert says(script, UNSPOOL_CACHE=str(tmp_path)) == "0"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_process_leaves_its_parents_files_alone(tmp_path: Path) -> None:
    script = """
from unspool.backends import build
layer, (_, y) = make(), data()
with torch.no_grad():
    layer(y)
folder = build._private_folder()
child = os.fork()
if child == 0:
    sys.exit(0)  # runs what is registered for the end of a process
os.waitpid(child, 0)
print(folder.is_dir() and any(folder.glob("*.so")))
"""
    assert says(script, UNSPOOL_CACHE="off") == "True"


WORKERS = (
    HEAD
    + """
from torch.utils.data import DataLoader, Dataset
class Denoised(Dataset):
    def __init__(self):
        self.layer, self.y = make(), data()[1]
    def __len__(self):
        return 8
    def __getitem__(self, i):
        return torch.cat([v.flatten() for v in both(self.layer, self.y[i:i + 4])])
def main():
    rows = Denoised()
    expected = both(rows.layer, rows.y)  # the parent has run its kernels with several threads
    alone = [rows[i] for i in range(8)]
    for method in sys.argv[1:]:
        loader = DataLoader(rows, batch_size=None, num_workers=2, multiprocessing_context=method, timeout=100)
        got = list(loader)
        assert len(got) == 8 and all(torch.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(got, alone)), method
    assert same(both(rows.layer, rows.y), expected)
    print("done")
if __name__ == "__main__":
    main()
"""
)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_of_a_data_loader_run_layers(tmp_path: Path, method: str) -> None:
    script = tmp_path / "workers.py"
    script.write_text(WORKERS)
    done = subprocess.run(
        [sys.executable, str(script), method],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("done\n")


def test_two_processes_compile_one_kernel_at_once(tmp_path: Path) -> None:
    script = HEAD + "layer, (_, y) = make(), data()\nprint(float(layer(y).abs().sum()))"
    command, cache = [sys.executable, "-c", script], tmp_path / "cache"
    running = [
        subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(UNSPOOL_CACHE=str(cache)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=DEADLINE) for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    assert said[0][0] == said[1][0]
    assert len(list(cache.rglob("*.so"))) == 1
    assert list(cache.rglob(".new-*")) == []


def test_a_process_killed_while_it_compiles_leaves_nothing_that_stays(tmp_path: Path) -> None:
    slow = tmp_path / "cc"
    slow.write_text('#!/bin/sh\ncase "$1" in --version) echo slow 1;; *) touch "$STARTED"; sleep 100;; esac\n')
    slow.chmod(0o755)
    started, temporary, cache = tmp_path / "started", tmp_path / "tmp", tmp_path / "cache"
    temporary.mkdir()
    script = HEAD + "make()(data()[1])"
    changes = {"UNSPOOL_CACHE": str(cache), "TMPDIR": str(temporary), "STARTED": str(started)}
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, env=environment(CC=str(slow), **changes))
    end = time.monotonic() + DEADLINE
    while not started.exists():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    left = list(temporary.glob("unspool-build-*"))
    assert len(left) == 1
    assert list(cache.rglob("*.so")) == []
    old = time.time() - 3600
    os.utime(left[0], (old, old))
    said = says("with torch.no_grad(): print(bool(torch.isfinite(make()(data()[1])).all()))", **changes)
    assert said == "True"
    assert len(list(cache.rglob("*.so"))) == 1
    assert list(temporary.glob("unspool-*")) == []


DISTRIBUTED = (
    HEAD
    + """
import time
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
rank, store = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method="file://" + store, rank=rank, world_size=2)
layer, (_, y) = make(), data()
wrapped = DistributedDataParallel(layer)
optimizer = torch.optim.SGD(wrapped.parameters(), lr=1e-3)
halves = y.chunk(2)
torch.mean(wrapped(halves[rank]) ** 2).backward()
averaged = [p.grad.clone() for p in layer.parameters()]
alone = make()
grads = []
for half in halves:
    alone.zero_grad()
    torch.mean(alone(half) ** 2).backward()
    grads.append([p.grad.clone() for p in alone.parameters()])
assert same(averaged, [(a + b) / 2 for a, b in zip(*grads)]), "not the average"
optimizer.step()
mine = torch.cat([p.detach().flatten() for p in layer.parameters()])
both_ = [torch.empty_like(mine) for _ in range(2)]
dist.all_gather(both_, mine)
assert torch.equal(*both_), "the processes have different parameters"
time.sleep(0.5)  # gloo's threads let go of the last sum before the interpreter ends, or torch aborts (2.13)
dist.destroy_process_group()
print("done")
"""
)


def test_distributed_data_parallel_averages_gradients(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch.distributed")
    if not torch.is_available() or not torch.is_gloo_available():
        pytest.skip("torch without gloo")
    changes = environment(GLOO_SOCKET_IFNAME="lo")
    running = [
        subprocess.Popen(
            [sys.executable, "-c", DISTRIBUTED, str(rank), str(tmp_path / "store")],
            cwd=ROOT,
            env=changes,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        said = [process.communicate(timeout=DEADLINE) for process in running]
    finally:
        for process in running:
            process.kill()
    assert [process.returncode for process in running] == [0, 0], said
