"""The source of a Triton kernel and all that a launch of it has to know."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

from ...compiler.graph.batch import batch
from ...compiler.graph.batch_sum import sum_batch
from ...compiler.graph.problem import Problem
from ...compiler.graph.simplify import simplify
from ...compiler.graph.types import Size
from ..statements import Source
from .budget import WARPS, Budget, budget
from .contract import LEAST
from .emit import Operand, emit


@dataclass(frozen=True)
class TritonSource(Source):
    """``name`` of the kernel; its ``arguments`` in order: pointers of operands, ``scratch``, ``batch``, strides, run-time integers.
    ``rows``: problems in a tile; ``scratch``: bytes of scratch memory of a program, in its integers ``n_NAME``; ``waits``: threads of a
    program hand values on through memory, so that loads may not be moved before stores."""

    name: str
    inputs: tuple[Operand, ...]
    results: tuple[Operand, ...]
    arguments: tuple[str, ...]
    rows: int
    warps: int
    scratch: Size
    strict: bool
    problem: Problem
    precision: str

    def __hash__(self) -> int:
        """That of the text, which is worked out once: every launch asks for it."""
        return hash(self.text)

    @property
    def smaller(self) -> TritonSource | None:
        """The kernel for tiles of half as many problems; None where it would lose ``tl.dot`` or there are no fewer, or the text was edited."""
        rows = self.rows // 2
        if rows < (LEAST if "tl.dot(" in self.text else 1) or _source(self.problem, self.precision, self.rows).text != self.text:
            return None
        return _source(self.problem, self.precision, rows)

    @property
    def waits(self) -> bool:
        """Whether threads of a program hand values on through memory."""
        return "tl.debug_barrier()" in self.text

    @property
    def candidates(self) -> list[dict[str, Any]]:
        """Ways to compile it, the best first: registers spilled or shared memory exceeded are reasons for the next one. A pipelined loop
        loads early, which is right only where threads hand nothing on through memory."""
        some = {"enable_fp_fusion": not self.strict}
        more = max(WARPS[0], self.warps // 2), min(WARPS[-1], 2 * self.warps)
        found = []
        for stages in (1,) if self.waits else (2, 1):
            for warps, limited in ((self.warps, False), (self.warps, True), *[(w, False) for w in more], (more[1], True)):
                most = {"maxnreg": min(255, 65536 // (32 * warps))} if limited else {}  # else the assembler decides, and may spill a few
                chosen = {**some, **most, "num_warps": warps, "num_stages": stages}
                if chosen not in found:
                    found.append(chosen)
        return found


def precision(problem: Problem) -> str:
    """Of products in single precision: what ``numerics`` says, or what the user has told torch that matrix products may be."""
    allowed = problem.tf32 or torch.get_float32_matmul_precision() != "highest"
    return "tf32" if allowed and not problem.strict else "ieee"


def source(problem: Problem) -> TritonSource:
    """The source for a graph whose operands are shared or not as the problem says. Raises CompileError with a reason."""
    return _source(problem, precision(problem), 0)


@lru_cache(maxsize=256)
def _source(problem: Problem, precision: str, rows: int) -> TritonSource:
    """The source for tiles of ``rows`` problems; 0: as many as an estimate says."""
    graph = problem.graph
    batched = simplify(sum_batch(simplify(batch(graph, problem.per_problem)), problem.own))
    inputs = tuple([Operand(v.name, v.type, own) for v, own in zip(graph.inputs, problem.per_problem, strict=True)])
    results = tuple([Operand(r, t, own) for r, t, own in zip(graph.results, graph.result_types, problem.own, strict=True)])
    chosen = Budget(rows, WARPS[0]) if rows else budget(batched)
    name = "us_" + "".join(c if c.isalnum() else "_" for c in graph.name)
    text, scratch, arguments = emit(batched, inputs, results, name=name, rows=chosen.rows, precision=precision, halves=not problem.strict)
    return TritonSource(text, (), name, inputs, results, arguments, chosen.rows, chosen.warps, scratch, problem.strict, problem, precision)
