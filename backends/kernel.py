"""An algorithm compiled for given sizes: every stage can be looked at, and it is called like the algorithm."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from math import prod
from os import PathLike
from typing import Any

import torch

from ..compiler.diagnostics import CompileError, DataError
from ..compiler.driver import Compiled, HostProgram
from ..compiler.graph.gram.rewrite import gram
from ..compiler.graph.text import print_graph
from ..compiler.loops.isl import safe
from ..compiler.loops.text import print_nest
from ..compiler.loops.tree_text import print_tree
from ..compiler.nearest import did_you_mean
from .autograd import gradient_call
from .binding import Binding, check_where
from .call import Routine, arguments_of, match
from .execute import KernelPlan
from .executor import HostPlan
from .explain import Report, report, rewrites_report, tape_report
from .explain_text import lines
from .plain_c import plain_c
from .registry import device_type
from .replay import dependences_text, steps_text
from .roofline import roofline


class Kernel:
    """A compiled algorithm. ``graph``, ``loops``, ``dependences``, ``schedule``, ``steps``, ``tree``, ``source`` and ``asm`` are
    texts; ``explain()`` sums up.

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
        routine.bind_weights(self._binding, modules)
        check_where(routine.algorithm.name, routine.algorithm.where, self._binding)
        main, known = routine.main, self._binding.sizes
        self._chosen = main.rewritten(known, (), prod(lead), routine.shared)
        self._plan, self._once = main.planned(dtype, known, (), self._chosen)

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
        if self._routine.settings.debug:
            raise CompileError("a debug build is not stored: compile without debug=True")
        from .artifact import save_kernel

        save_kernel(
            path,
            self._routine,
            self._routine.main.plan(self._dtype, self._binding.sizes),
            real=self._dtype,
            sizes=self._binding.sizes,
            fixed=self._sizes,
            iterations=self._iterations,
            lead=self.lead,
            params=self._params,
            backward=backward,
        )

    @property
    def sizes(self) -> dict[str, int]:
        """Every size by name, iteration counts included."""
        return dict(self._binding.sizes)

    @property
    def host(self) -> HostProgram | None:
        """The host program whose parts the kernels are; None where the whole is one kernel."""
        return self._plan.program if isinstance(self._plan, HostPlan) else None

    @property
    def compiled(self) -> list[tuple[str, Compiled]]:
        """The compiled parts, by name."""
        plan = self._plan
        if isinstance(plan, KernelPlan):
            first = [(f"{self._routine.algorithm.name}_once", _compiled(self._once))] if isinstance(self._once, KernelPlan) else []
            return [*first, (self._routine.algorithm.name, _compiled(plan))]
        return [(f"{self._routine.algorithm.name}_{n}", _compiled(p)) for n, p in sorted(plan.plans.items())]

    def parts(self, *, gradients: bool = False) -> list[tuple[str, Compiled, Report | None]]:
        """The compiled parts, by name, and with ``gradients`` those of the backward pass, with what they record."""
        found: list[tuple[str, Compiled, Report | None]] = [(n, c, None) for n, c in self.compiled]
        return [*found, *self._backward()] if gradients else found

    @property
    def graph(self) -> str:
        """The dataflow graph, simplified; of a host program, the one that calls the kernels."""
        return print_graph(self.compiled[-1][1].graph if self.host is None else self.host.graph)

    @property
    def loops(self) -> str:
        """The statements over integer sets, in the order of the schedule; behind them those of a batch tile, if there is one."""
        return self._joined("#", [(n, print_nest(c.nest) + (f"\n{print_nest(c.tile)}" if c.tile else "")) for n, c in self.compiled])

    @property
    def schedule(self) -> str:
        """The steps of the schedule; ``compile(schedule=...)`` takes them back, edited."""
        return self._joined("", [(n, c.schedule) for n, c in self.compiled])

    @property
    def dependences(self) -> str:
        """The dependences of the program order: kind, array, statements, distances, and the loops that carry them."""
        return self._joined("#", [(n, dependences_text(c)) for n, c in self.compiled])

    @property
    def steps(self) -> str:
        """The loops in program order, then after each step of the schedule what it changed."""
        return self._joined("#", [(n, steps_text(c)) for n, c in self.compiled])

    @property
    def tree(self) -> str:
        """The loop tree that is printed as source: bounds, buffers, barriers."""
        return self._joined("#", [(n, print_tree(c.tree)) for n, c in self.compiled])

    @property
    def source(self) -> str:
        """The generated source."""
        comment = "//" if self.suffix in ("c", "cu") else "#"
        return self._joined(comment, [(n, c.source) for n, c in self.compiled])

    @property
    def suffix(self) -> str:
        """What files of the source end in, without a dot: ``c``, ``py`` or ``cu``; ``c`` where the interpreter runs everything."""
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
        return self._joined("#", [(n, c.assembly) for n, c in self.compiled])

    def explain(self, *, gradients: bool = False, limits: bool = False) -> str:
        """What runs where and why: statements, dependences, the schedule, storage, work, and what kept a part out of the kernels.

        With ``gradients`` also the kernels of the backward pass, in everything that can have a gradient. With ``limits`` work is held
        against what this machine can do, which takes a second to measure the first time.
        """
        return "\n".join(lines(self.report(gradients=gradients, limits=limits)))

    def report(self, *, gradients: bool = False, limits: bool = False) -> dict[str, Any]:
        """What :meth:`explain` tells, as data that JSON can hold."""
        about: dict[str, Any] = {
            "target": self._routine.settings.target,
            "dtype": self._dtype,
            "sizes": dict(sorted(self._binding.sizes.items())),
            "threads": torch.get_num_threads(),
        }
        if limits and not self.on_processor:
            raise CompileError("limits are measured on the processor: python -m benchmarks.gpu holds kernels against those of a GPU")
        rewrites = self._rewrites()
        if rewrites:
            about["rewrites"] = rewrites
        return report(self._routine.algorithm.name, about, self.parts(gradients=gradients), self.host, roofline() if limits else None)

    @property
    def on_processor(self) -> bool:
        """Whether it runs where limits can be measured."""
        return device_type(self._routine.settings.target) == "cpu"

    def _rewrites(self) -> list[Report]:
        """Products taken before loops, and those that strict numerics leaves as they are."""
        settings, main = self._routine.settings, self._routine.main
        made = self._chosen.rewrites
        if settings.strict and settings.target != "interpreter":
            made = gram(main.graph, main.setting(self._binding.sizes, prod(self.lead), self._routine.shared))[1]
        return rewrites_report(made, once=self._chosen.once is not None, strict=settings.strict)

    def _backward(self) -> Iterator[tuple[str, Compiled, Report | None]]:
        """The kernels of the gradients in all inputs that can have one, by name, with what they record; what the interpreter
        differentiates has none."""
        plan = self._plan
        if isinstance(plan, KernelPlan):
            once = frozenset[str]() if self._chosen.once is None else frozenset(self._chosen.once.results)
            call = gradient_call(plan, self._routine.shared | once, self._binding.sizes, self.lead)
            if call is not None and call.plan.compiled is not None:
                yield f"{self._routine.algorithm.name}_backward", call.plan.compiled, tape_report(call)
            return
        for (name, _), (_, one) in zip(self.compiled, sorted(plan.plans.items()), strict=True):
            wrt = tuple(i for i, flag in enumerate(one.can_differ) if flag)
            if wrt and any(one.differentiable):
                backward = one.adjoint(wrt, tuple(one.differentiable), one.kept(wrt, None))
                if backward.compiled is not None:
                    yield f"{name}_backward", backward.compiled, None

    def _joined(self, comment: str, parts: list[tuple[str, str]]) -> str:
        if len(parts) == 1:
            return parts[0][1]
        return "\n".join(f"{comment} kernel {name}\n{text}".lstrip() for name, text in parts)

    def __repr__(self) -> str:
        return f"<kernel {self._routine.algorithm.name}, {self._dtype}, target {self._routine.settings.target}>"


def _compiled(plan: KernelPlan) -> Compiled:
    assert plan.compiled is not None  # only derivatives are interpreted
    return plan.compiled


def complete(routine: Routine, iterations: Mapping[str, int], sizes: Mapping[str, int]) -> Binding:
    """A binding of all sizes. Raises DataError naming one that is missing or unknown."""
    binding = routine.base(iterations, sizes)
    algorithm = routine.algorithm
    needed = algorithm.size_names
    missing, unknown = [n for n in needed if n not in binding.sizes], sorted(sizes.keys() - set(needed) - routine.weighed)
    if missing and not unknown:
        raise DataError(f"{algorithm.name} needs the size {missing[0]}: shapes={{{missing[0]!r}: ...}}")
    if unknown:
        raise DataError(
            f"{algorithm.name} has no size {unknown[0]!r}; it has {', '.join(needed) or 'none'}{did_you_mean(unknown[0], needed)}"
        )
    return binding
