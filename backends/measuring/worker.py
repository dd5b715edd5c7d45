"""The process in which candidates run: it loads libraries, calls kernels and times them. If one crashes it, nothing else is lost.

It reads requests and writes answers, a JSON object a line, and imports nothing of this project, so that it starts at once:

    {"arrays": [{"dtype": "float32", "shape": [8, 8], "output": false}, ...], "integers": [16], "team": 2, "seed": 0}     what kernels are called with
    {"library": PATH, "name": "us_k0", "samples": 5, "sample": 0.004, "seconds": 0.2, "reference": true}                  load one and time it

The answer to the second has seconds of a call, sample by sample, and by how much the results differ from those of the reference.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import sys
import time
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Json = dict[str, Any]


class Call:
    """The arguments of the kernels: inputs that are drawn once, outputs that each kernel fills anew."""

    def __init__(self, request: Json) -> None:
        random = np.random.default_rng(request["seed"])
        self.arrays = [_made(array, random) for array in request["arrays"]]
        self.outputs = [a for a, array in zip(self.arrays, request["arrays"], strict=True) if array["output"]]
        self.team = int(request["team"])
        count = len(self.arrays)
        self.pointers = (ctypes.c_void_p * max(1, count))(*[a.ctypes.data for a in self.arrays])
        self.strides = (ctypes.c_int64 * max(1, count))()
        self.integers = (ctypes.c_int64 * max(1, len(request["integers"])))(*request["integers"])
        self.scratch = np.empty(0, np.uint8)
        self.comparable = all(array["dtype"] != "bfloat16" for array in request["arrays"] if array["output"])
        self.expected: list[Array] | None = None

    def load(self, path: str, name: str) -> Any:
        """A kernel as a function without arguments."""
        library = ctypes.CDLL(path)
        kernel, workspace = library[name], library[f"{name}_workspace"]
        integer, pointer = ctypes.c_int64, ctypes.c_void_p
        kernel.argtypes, kernel.restype = [integer, integer, integer, *[pointer] * 5], ctypes.c_int
        workspace.argtypes, workspace.restype = [integer, integer, integer, pointer], integer
        size = workspace(1, 1, self.team, ctypes.addressof(self.integers))
        if self.scratch.size < size + 64:
            self.scratch = np.zeros(size + 64, np.uint8)
        place = self.scratch.ctypes.data
        scratch = place + (-place) % 64
        arguments = [ctypes.addressof(a) for a in (self.pointers, self.strides, self.strides, self.integers)]
        return lambda: kernel(1, 1, self.team, *arguments, scratch)

    def clear(self) -> None:
        """Outputs as before the first call."""
        for output in self.outputs:
            output.fill(0)

    def differs(self) -> float | None:
        """The greatest difference from the reference, relative to its greatest element; None where there is nothing to compare."""
        if self.expected is None or not all(np.isfinite(e).all() for e in self.expected):
            return None
        worst = 0.0
        for got, want in zip(self.outputs, self.expected, strict=True):
            if not want.size:
                continue
            exact = got.astype(want.dtype)
            scale = float(np.abs(want).max()) or 1.0
            worst = max(worst, float(np.abs(exact - want).max()) / scale) if np.isfinite(exact).all() else math.inf
        return worst


def _made(array: Json, random: np.random.Generator) -> Array:
    """An array that starts a cache line. Square matrices are well-conditioned; integers are 0, which is an index of any array; numpy has no
    bfloat16, which is the upper half of a float32."""
    half = array["dtype"] == "bfloat16"
    dtype, shape = np.dtype("uint16" if half else array["dtype"]), tuple(array["shape"])
    size = math.prod(shape) * dtype.itemsize
    raw = np.zeros(size + 64, np.uint8)
    start = (-raw.ctypes.data) % 64
    made = raw[start : start + size].view(dtype).reshape(shape)
    if array["output"] or not (half or dtype.kind in "fc"):
        return made
    square = len(shape) >= 2 and shape[-1] == shape[-2]
    values = random.uniform(0.25, 1.0, shape) / (shape[-1] if square else 1)
    if square:
        values += np.eye(shape[-1])
    made[...] = values.astype(np.float32).view(np.uint32) >> 16 if half else values
    return made


def timed(call: Call, request: Json) -> Json:
    """Time one kernel: after a first call, samples of several calls each, until there are enough or the time is over."""
    run = call.load(request["library"], request["name"])
    call.clear()
    start = time.perf_counter()
    failed = run()
    first = time.perf_counter() - start
    if failed:
        return {"failed": int(failed)}
    if request.get("reference") and call.comparable:
        call.expected = [np.array(a, dtype=np.result_type(a.dtype, np.float64) if a.dtype.kind in "fc" else a.dtype) for a in call.outputs]
    differs = call.differs()
    if 0 < request["seconds"] <= first:
        return {"times": [first], "first": first, "differs": differs}
    expected = first
    if first < request["sample"]:
        start = time.perf_counter()
        run()
        expected = min(first, time.perf_counter() - start)
    calls = max(1, min(1000, math.ceil(request["sample"] / max(expected, 1e-7))))
    end = time.perf_counter() + request["seconds"]
    times: list[float] = []
    while len(times) < request["samples"] and (not times or time.perf_counter() < end):
        start = time.perf_counter()
        for _ in range(calls):
            run()
        times.append((time.perf_counter() - start) / calls)
    return {"times": times, "first": first, "differs": differs}


def main() -> None:
    """Answer requests until there are no more."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no answer
    call: Call | None = None
    for line in sys.stdin:
        request = json.loads(line)
        if "arrays" in request:
            call = Call(request)
            answer: Json = {}
        else:
            assert call is not None
            answer = timed(call, request)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
