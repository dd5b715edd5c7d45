"""One contestant in a process of its own: it says ``ready``, and then takes times when told to.

``python -m benchmarks.polybench.worker SPEC.json``. Lines in: ``sample WARM COUNT`` (calls without and with the clock; the arrays that
a call changes are filled again before each), ``results FILE``. Lines out: JSON.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


class Native:
    """A function of a shared object: ``int`` and ``double`` by value, arrays by address."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.inputs = {name: np.load(path) for name, path in spec["inputs"].items()}
        self.changed = spec["changed"]
        self.arrays = {n: x.copy() if n in self.changed else x for n, x in self.inputs.items()}
        self.arrays |= {name: np.zeros(shape) for name, shape in spec["outputs"].items()}
        self.wanted = spec["results"]
        self.arguments: list[Any] = []
        for kind, what in spec["arguments"]:
            if kind == "array":
                self.arguments.append(ctypes.c_void_p(self.arrays[what].ctypes.data))
            else:
                self.arguments.append(ctypes.c_int(what) if kind == "int" else ctypes.c_double(what))
        self.function = ctypes.CDLL(spec["library"])[spec["function"]]
        self.function.restype = None

    def reset(self) -> None:
        """As before the first call."""
        for name in self.changed:
            self.arrays[name][...] = self.inputs[name]

    def run(self) -> None:
        """One call."""
        self.function(*self.arguments)

    def results(self) -> list[Any]:
        """Of the last call."""
        return [self.arrays[name] for name in self.wanted]


class Ours:
    """An algorithm called with torch tensors, as a user calls it: a call makes its results and changes no input."""

    def __init__(self, spec: dict[str, Any]) -> None:
        import torch

        import unspool as us

        torch.set_num_threads(spec["threads"])
        dtype = torch.float32 if spec["dtype"] == "f32" else torch.float64
        self.inputs = {name: torch.from_numpy(np.load(path)).to(dtype) for name, path in spec["inputs"].items()}
        self.options = {**spec["steps"], "target": spec["target"]}
        torch.set_grad_enabled(False)
        self.load = lambda: us.load(spec["program"])[spec["algorithm"]]
        self.algorithm: Callable[..., Any] | None = None
        self.last: Any = None

    def reset(self) -> None:
        """Nothing is changed by a call."""

    def run(self) -> None:
        """One call; the first one reads the program and compiles it."""
        if self.algorithm is None:
            self.algorithm = self.load()
        self.last = None  # its memory is free for the new results
        self.last = self.algorithm(**self.inputs, **self.options)

    def results(self) -> list[Any]:
        """Of the last call."""
        found = self.last if isinstance(self.last, tuple) else (self.last,)
        return [x.numpy() for x in found]


def timed(contestant: Native | Ours) -> float:
    """Seconds of one call."""
    contestant.reset()
    start = time.perf_counter()
    contestant.run()
    return time.perf_counter() - start


def main() -> None:
    """Serve until the input ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL: a stopped process would outlive the harness
    spec = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what anybody prints is no answer
    contestant = Native(spec) if "library" in spec else Ours(spec)
    print(json.dumps({"first": timed(contestant)}), file=out, flush=True)
    for line in sys.stdin:
        word, *rest = line.split(" ", 2)
        if word == "sample":
            warm, count = map(int, rest)
            for _ in range(warm):
                timed(contestant)
            print(json.dumps([timed(contestant) for _ in range(count)]), file=out, flush=True)
        elif word == "results":
            np.savez(rest[0].strip(), *contestant.results())
            print(json.dumps("saved"), file=out, flush=True)
        else:
            raise ValueError(f"no such request: {line!r}")


if __name__ == "__main__":
    main()
