"""How a step gets shorter with processes: a generation of ``us.evolve`` and a step of ``us.fit``, the same work in 1, 2, 4, ... processes.

``python -m benchmarks.scaling`` starts one, two, ... processes of one thread each, up to the cores of this machine (or ``--processes 1,2,8``), prints
seconds and speed-ups, and draws them (``--picture FILE``). Under ``torchrun``, on one machine or many, the processes that there are measure, and the first
prints one line of JSON; ``--gpu`` puts tensors on GPUs and takes NCCL.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

ROOT = Path(__file__).resolve().parents[1]
#: Shards, a multiple of the processes that there may be; pairs, samples and units of the network; problems of a batch and their sizes; repetitions.
SHARDS, PAIRS, SAMPLES, UNITS, PROBLEMS, M, N, REPEATS = 64, 1024, 64, 256, 4096, 60, 100, 7


def generation(device: str) -> Callable[[], object]:
    """One generation of a perceptron's population."""
    import unspool as us

    es, random = us.stdlib.es, torch.Generator().manual_seed(0)
    x = torch.randn(SAMPLES, UNITS, generator=random).to(device)
    y = torch.eye(10)[torch.randint(10, (SAMPLES,), generator=random)].to(device)
    weights = [(torch.randn(shape, generator=random) / UNITS**0.5).to(device) for shape in ((UNITS, UNITS), (10, UNITS))]
    key = us.key(0)

    def scores(now: Any, k: int, first: int, count: int) -> Any:
        return es.eggroll_scores(x, y, *now, 0.1, key, k, first, pairs=count)

    def update(now: Any, scores: Any, k: int) -> Any:
        return es.eggroll_update(scores, *now, 0.1, 1.0, key, k)

    return lambda: us.evolve(weights, scores, update, generations=1, population=PAIRS, shards=SHARDS)


def step(device: str) -> Callable[[], object]:
    """One step of learning 16 iterations of ISTA."""
    import unspool as us

    random = torch.Generator().manual_seed(0)
    A = torch.randn(M, N, generator=random) / M**0.5
    x = torch.randn(PROBLEMS, N, generator=random) * (torch.rand(PROBLEMS, N, generator=random) < 0.1)
    layer, data = us.stdlib.sparse.ista.build(A=A, K=16).to(device), ((x @ A.T).to(device), x.to(device))

    def loss(found: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return ((found - x) ** 2).sum(-1)

    return lambda: us.fit(layer, data, loss, epochs=1, batch_size=None, shards=SHARDS, progress=False)


CASES = {"a generation": generation, "a step": step}


def measured(device: str) -> dict[str, float]:
    """The least of several times of each case, in seconds, those of the slowest process."""
    found = {}
    for name, case in CASES.items():
        run, times = case(device), []
        run()
        for _ in range(REPEATS):
            if dist.is_initialized():
                dist.barrier()
            start = time.perf_counter()
            run()
            if device != "cpu":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
        slowest = torch.tensor(times, device=device)
        if dist.is_initialized():
            dist.all_reduce(slowest, dist.ReduceOp.MAX)
        found[name] = float(slowest.min())
    return found


def picture(rows: dict[int, dict[str, float]], file: str) -> None:
    """Speed-ups against processes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3), layout="constrained")
    axes = figure.subplots()
    counts = list(rows)
    axes.plot(counts, [n / counts[0] for n in counts], color="gray", linestyle="--", label="processes")
    for name in CASES:
        axes.plot(counts, [rows[counts[0]][name] / rows[n][name] for n in counts], marker="o", label=name)
    axes.set(xlabel="processes", ylabel="times as fast", xticks=counts)
    axes.legend()
    figure.savefig(file, metadata={"Date": None})


def main() -> None:
    """Measure here where torchrun has started us, else start the processes."""
    words = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    words.add_argument("--processes", default=",".join(str(2**n) for n in range(7) if 2**n <= (os.cpu_count() or 1)))
    words.add_argument("--picture", default="")
    words.add_argument("--gpu", action="store_true")
    chosen = words.parse_args()
    if "RANK" in os.environ:
        torch.set_num_threads(1)
        if chosen.gpu:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("nccl" if chosen.gpu else "gloo")
        found = measured("cuda" if chosen.gpu else "cpu")
        if dist.get_rank() == 0:
            print(json.dumps({"processes": dist.get_world_size(), **found}))
        time.sleep(0.5)  # gloo's threads let go of the last sum before the interpreter ends, or torch aborts (2.13)
        dist.destroy_process_group()
        return
    rows: dict[int, dict[str, float]] = {}
    for count in map(int, chosen.processes.split(",")):
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(count), "-m", "benchmarks.scaling"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        done = subprocess.run([*command, *(["--gpu"] if chosen.gpu else [])], env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(done.stderr)
        rows[count] = json.loads(done.stdout.splitlines()[-1])
        first = next(iter(rows.values()))
        print(f"{count:3d} processes: " + ", ".join(f"{name} {rows[count][name]:.4f} s ({first[name] / rows[count][name]:.2f}x)" for name in CASES))
    if chosen.picture:
        picture(rows, chosen.picture)


if __name__ == "__main__":
    main()
