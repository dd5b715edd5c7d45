"""An algorithm compiled for given sizes: every stage can be looked at, and it is called like the algorithm."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from os import PathLike
from typing import Any

from ..compiler.diagnostics import CompileError, DataError
from ..compiler.driver import Compiled
from ..compiler.graph.text import print_graph
from ..compiler.loops.isl import safe
from ..compiler.loops.text import print_nest
from .binding import Binding, check_where
from .call import Routine, arguments_of, match
from .execute import KernelPlan
from .executor import HostPlan
from .plain_c import plain_c


class Kernel:
    """A compiled algorithm. ``graph``, ``loops``, ``schedule``, ``source`` and ``asm`` are texts; ``explain()`` sums up.

    What the target cannot express runs in the interpreter, between several kernels: then each text has a part for each.
    """

    def __init__(
        self,
        routine: Routine,
        *,
        sizes: Mapping[str, int],
        lead: tuple[int, ...],
        iterations: Mapping[str, int],
        modules: Mapping[str, Any],
        params: Mapping[str, Any],
        dtype: str,
    ) -> None:
        self._routine, self._dtype = routine, dtype
        self._sizes, self._iterations, self._modules, self._params = dict(sizes), dict(iterations), dict(modules), dict(params)
        self.lead = lead
        self._binding = complete(routine, iterations, sizes)
        check_where(routine.algorithm.name, routine.algorithm.where, self._binding)
        self._plan = routine.main.plan(dtype, self._binding.sizes)

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        """Run, with the sizes and precision it was compiled for; another batch or iteration count is fine."""
        algorithm = self._routine.algorithm
        names = [n for n, _ in arguments_of(algorithm, algorithm.graph)]
        params = {p.name for p in algorithm.params} & named.keys()
        counts = self._routine.iterations.keys() & named.keys()
        modules = {m.name for m in algorithm.modules} & named.keys()
        rest = {k: v for k, v in named.items() if k not in params | counts | modules}
        return self._routine.call(
            match(algorithm.name, names, inputs, rest),
            params={**self._params, **{n: named[n] for n in params}},
            iterations={**self._iterations, **{n: named[n] for n in counts}},
            sizes=self._sizes,
            modules={**self._modules, **{n: named[n] for n in modules}},
            dtype=self._dtype,
        )

    def save(self, path: str | PathLike[str], *, backward: bool = False) -> None:
        """Write a kernel file that ``us.load_kernel`` reads: it runs without a compiler, on processors that have this one's instructions.

        With ``backward`` the file also has the backward kernels: in the parameters, in the inputs of a call, and in all inputs.
        Values of parameters that ``compile`` was given are stored, learned operators are not. Raises CompileError for
        what is no native code (target interpreter) and DataError if the file cannot be written; there is no partial file then.
        """
        from .artifact import save_kernel

        save_kernel(
            path,
            self._routine,
            self._plan,
            real=self._dtype,
            sizes=self._binding.sizes,
            fixed=self._sizes,
            iterations=self._iterations,
            lead=self.lead,
            params=self._params,
            backward=backward,
        )

    @property
    def compiled(self) -> list[tuple[str, Compiled]]:
        """The compiled parts, by name."""
        plan = self._plan
        if isinstance(plan, KernelPlan):
            return [(self._routine.algorithm.name, _compiled(plan))]
        return [(f"{self._routine.algorithm.name}_{n}", _compiled(p)) for n, p in sorted(plan.plans.items())]

    @property
    def graph(self) -> str:
        """The dataflow graph, simplified; of a host program, the one that calls the kernels."""
        plan = self._plan
        if isinstance(plan, HostPlan):
            return print_graph(plan.program.graph)
        return print_graph(_compiled(plan).graph)

    @property
    def loops(self) -> str:
        """The statements over integer sets, in the order of the schedule; behind them those of a batch tile, if there is one."""
        return self._joined("#", [(n, print_nest(c.nest) + (f"\n{print_nest(c.tile)}" if c.tile else "")) for n, c in self.compiled])

    @property
    def schedule(self) -> str:
        """The steps of the schedule; ``compile(schedule=...)`` takes them back, edited."""
        return self._joined("", [(n, c.schedule) for n, c in self.compiled])

    @property
    def source(self) -> str:
        """The generated source."""
        comment = "//" if self.suffix == "c" else "#"
        return self._joined(comment, [(n, c.source) for n, c in self.compiled])

    @property
    def suffix(self) -> str:
        """What files of the source end in, without a dot: ``c`` or ``py``; ``c`` where the interpreter runs everything."""
        return next((c.target.suffix for _, c in self.compiled), "c")

    @property
    def plain(self) -> str:
        """The untransformed program as a C file for other compilers (see :mod:`.plain_c`), iteration counts fixed. Raises
        CompileError unless compiled with ``schedule=""`` (program order), and for what is not one nest of loops."""
        name, plan = self._routine.algorithm.name, self._plan
        if self._routine.settings.schedule != "" or not isinstance(plan, KernelPlan):
            reason = "compile with schedule='' (program order)" if isinstance(plan, KernelPlan) else "it needs library calls"
            raise CompileError(f"{name} has no plain C: {reason}")
        compiled = _compiled(plan)
        return plain_c(compiled.nest, {safe(n): self._binding.sizes[n] for n in compiled.integers})

    @cached_property
    def asm(self) -> str:
        """The assembly of the kernels."""
        return self._joined("#", [(n, c.target.assembly(c.tree, c.source)) for n, c in self.compiled])

    def explain(self) -> str:
        """What runs where, and the schedule chosen."""
        return "\n".join(self._explained())

    def _explained(self) -> Iterator[str]:
        algorithm, plan = self._routine.algorithm, self._plan
        sizes = ", ".join(f"{n} = {v}" for n, v in sorted(self._binding.sizes.items()))
        yield f"{algorithm.name} for target {self._routine.settings.target}, {self._dtype}, {sizes}"
        parts = self.compiled
        if isinstance(plan, HostPlan):
            calls = sorted({n.op for n in plan.program.graph.nodes})
            nodes = len(plan.program.graph.nodes)
            yield f"host program of {nodes} nodes run by the interpreter ({', '.join(calls)}), {len(parts)} kernels"
        for name, c in parts:
            seconds = sum(t for _, t in c.times)
            counts = f"; run-time integers {', '.join(c.integers)}" if c.integers else ""
            yield f"kernel {name}: {len(c.nest.statements)} statements, about {c.work:.3g} additions per problem{counts}"
            if c.tree.tile is not None:
                yield f"  a second body runs tiles of {c.tree.tile.size} problems side by side"
            spent = ", ".join(f"{stage} {1e3 * t:.0f} ms" for stage, t in c.times)
            yield f"  compiled in {seconds:.2f} s: {spent}" if spent else "  from a kernel file"
            yield "  schedule: " + (c.schedule.replace("\n", "\n            ") or "program order")

    def _joined(self, comment: str, parts: list[tuple[str, str]]) -> str:
        if len(parts) == 1:
            return parts[0][1]
        return "\n".join(f"{comment} kernel {name}\n{text}".lstrip() for name, text in parts)

    def __repr__(self) -> str:
        return f"<kernel {self._routine.algorithm.name}, {self._dtype}, target {self._routine.settings.target}>"


def _compiled(plan: KernelPlan) -> Compiled:
    assert plan.forward is not None  # only derivatives are interpreted
    return plan.forward.compiled


def complete(routine: Routine, iterations: Mapping[str, int], sizes: Mapping[str, int]) -> Binding:
    """A binding of all sizes. Raises DataError naming one that is missing or unknown."""
    binding = routine.base(iterations, sizes)
    algorithm = routine.algorithm
    needed = algorithm.size_names
    missing, unknown = [n for n in needed if n not in binding.sizes], sorted(sizes.keys() - set(needed))
    if missing:
        raise DataError(f"{algorithm.name} needs the size {missing[0]}: shapes={{{missing[0]!r}: ...}}")
    if unknown:
        raise DataError(f"{algorithm.name} has no size {unknown[0]!r}; it has {', '.join(needed) or 'none'}")
    return binding
