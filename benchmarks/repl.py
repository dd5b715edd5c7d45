"""How long one waits for ``dsl repl``: until the first prompt at a terminal, and for a step of a schedule on the kernels of PolyBench.

``python -m benchmarks.repl`` prints what it measured as JSON; the suite's second table has it (``benchmarks/overhead.py``).
"""

from __future__ import annotations

import json
import os
import select
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STARTS = 5
#: Seconds without a word after which no prompt is expected any more.
PATIENCE = 30
#: Lines tried on every loop of a kernel, from program order; an answer is one whether the step is legal or not.
LINES = ("parallel {}", "tile {} 16", "reverse {}")
PROMPT = b"dsl>"


def first_prompt() -> float:
    """Seconds from starting ``dsl repl`` at a terminal to its prompt. Raises RuntimeError if none comes."""
    import pty

    ours, theirs = pty.openpty()
    start = time.perf_counter()
    environment = {**os.environ, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"}
    process = subprocess.Popen([sys.executable, "-m", "unspool", "repl"], cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""
    try:
        while PROMPT not in shown:
            if not select.select([ours], [], [], PATIENCE)[0]:
                raise RuntimeError(f"no prompt, but {shown!r}")
            shown += os.read(ours, 4096)
        return time.perf_counter() - start
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def steps(kernel: str, sizes: dict[str, int]) -> dict[str, float]:
    """Seconds of each answer to a step, by the line typed, on a kernel of PolyBench in program order."""
    from unspool.dsl.repl.answer import answer
    from unspool.dsl.repl.session import Session

    session = Session()
    given = " ".join(f"{name}={value}" for name, value in sizes.items())
    for line in (f"load {ROOT / 'benchmarks' / 'polybench' / kernel}.us", f"size {given}", "schedule none"):
        if (reply := answer(session, line)).failed:
            raise RuntimeError(f"{kernel}: {line}: {reply.text}")
    loops = list(session.bench.part(session.state).scheduled.loops)
    found = {}
    for line in (text.format(loop) for loop in loops for text in LINES):
        start = time.perf_counter()
        reply = answer(session, line)
        found[line] = time.perf_counter() - start
        if not reply.failed:
            answer(session, "undo")
    return found


def measure() -> dict[str, float | str]:
    """The median start, ``prompt``; of all steps the median, ``step``, and ``slowest`` with the ``line`` that it answered, and which part of them,
    ``within``, was answered in 200 ms."""
    from benchmarks.polybench.references import KERNELS

    times = {f"{name}: {line}": t for name, kernel in KERNELS.items() for line, t in steps(name, dict(kernel.sizes)).items()}
    line = max(times, key=lambda at: times[at])
    return {
        "prompt": statistics.median(first_prompt() for _ in range(STARTS)),
        "step": statistics.median(times.values()),
        "slowest": times[line],
        "line": line,
        "within": sum(t <= 0.2 for t in times.values()) / len(times),
        "steps": len(times),
        "kernels": len(KERNELS),
    }


if __name__ == "__main__":
    print(json.dumps(measure()))
