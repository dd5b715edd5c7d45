"""Who takes part for one kernel: ours, the tools on the C files of ``c/``, and compilers on plain C of ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import unspool as us
from unspool.dsl.api import AlgorithmHandle

from . import native
from .native import SOURCES, TOOLS, BuildError
from .race import Contestant
from .references import Inputs, Kernel, Sizes

OURS = "unspool"


@dataclass(frozen=True)
class Entry:
    """A kernel at sizes with data on disk in ``folder``."""

    kernel: Kernel
    sizes: Sizes
    folder: Path
    threads: int
    inputs: Inputs

    @classmethod
    def make(cls, kernel: Kernel, sizes: Sizes, folder: Path, threads: int) -> Entry:
        """Draw the data and write it."""
        inputs = kernel.inputs(np.random.default_rng(0), sizes)
        for name, x in inputs.items():
            np.save(folder / f"{name}.npy", np.ascontiguousarray(x))
        return cls(kernel, dict(sizes), folder, threads, inputs)

    @property
    def handle(self) -> AlgorithmHandle:
        """The program."""
        return us.load(self.kernel.file)[self.kernel.name]

    @property
    def steps(self) -> dict[str, int]:
        """Sizes that are iteration counts."""
        return {name: n for name, n in self.sizes.items() if name == "T"}

    @property
    def files(self) -> dict[str, str]:
        """Where each input lies."""
        return {name: str(self.folder / f"{name}.npy") for name in self.inputs}

    def shapes(self) -> list[tuple[int, ...]]:
        """Of the results."""
        return [tuple(s.evaluate(self.sizes) for s in t.shape) for t in self.handle.algorithm.graph.result_types]

    def part(self, results: tuple[Any, ...]) -> tuple[Any, ...]:
        """What is defined of results: of cholesky, in place in C, the lower triangle."""
        if self.kernel.name == "cholesky":
            return tuple(np.tril(x) for x in results)
        return self.kernel.defined(results, self.sizes)

    # -- contestants -------------------------------------------------------------------------------------------------

    def ours(self, target: str = "c", dtype: str = "f64", variant: str = "", switches: Mapping[str, str] | None = None) -> Contestant:
        """Our program, built anew: the cache of its process is empty, and nothing was tuned. A ``variant`` has other switches (variables of the
        environment)."""
        name = OURS if (target, dtype) == ("c", "f64") else f"{OURS}, {target}, {dtype}"
        name = f"{name}, {variant}" if variant else name
        spec = {
            "program": str(self.kernel.file),
            "algorithm": self.kernel.name,
            "inputs": self.files,
            "steps": self.steps,
            "target": target,
            "dtype": dtype,
            "threads": self.threads,
        }
        own = {"UNSPOOL_CACHE": str(self.folder / f"cache-{target}-{dtype}-{variant}"), "UNSPOOL_TUNED": "off", **(switches or {})}
        return Contestant(name, spec, {**native.environment(self.threads), **own})

    def ordered(self, tool: str) -> Contestant:
        """A tool on ``c/NAME.c``. Raises BuildError."""
        source = SOURCES / f"{self.kernel.name}.c"
        call = native.call_ordered(self.kernel, source.read_text(encoding="utf-8"), self.inputs, self.shapes())
        caller = self.folder / f"{self.kernel.name}.c"
        caller.write_text(native.fixed(self.kernel, source, self.sizes), encoding="utf-8")
        return self._native(tool, tool, caller, call)

    def plain(self, tool: str) -> Contestant:
        """A tool on our plain C. Raises BuildError."""
        sizes = {name: n for name, n in self.sizes.items() if name != "T"}
        text = self.handle.compile(sizes, **self.steps, dtype="f64", schedule="", target="c").plain
        source = self.folder / f"plain_{self.kernel.name}.c"
        source.write_text(text, encoding="utf-8")
        order = [v.name for v in self.handle.algorithm.graph.inputs]
        return self._native(f"{tool} on plain C", tool, source, native.call_plain(self.kernel.name, text, order, self.shapes()))

    def _native(self, name: str, tool: str, source: Path, call: dict[str, Any]) -> Contestant:
        library = native.build(tool, source, self.folder, sizes=self.sizes, threads=self.threads)
        spec = {**call, "library": str(library), "inputs": self.files}
        return Contestant(name, spec, native.environment(self.threads))


def enter(
    entry: Entry, tools: Iterable[str], plain: Iterable[str], targets: Sequence[str], variants: Mapping[str, Mapping[str, str]] | None = None
) -> tuple[list[Contestant], dict[str, str]]:
    """The contestants, and why who cannot take part cannot: a compiler that fails is a finding, and reported as one."""
    found: list[Contestant] = []
    absent: dict[str, str] = {}
    for make, names, name in ((entry.ordered, tools, "{}"), (entry.plain, plain, "{} on plain C")):
        for tool in names:
            try:
                found.append(make(tool))
            except BuildError as error:
                absent[name.format(tool)] = str(error)
    ours = [*(entry.ours(target) for target in targets), *(entry.ours(variant=v, switches=s) for v, s in (variants or {}).items())]
    return [*found, *ours], absent


def usable(tools: Iterable[str], threads: int) -> tuple[list[str], dict[str, str]]:
    """The tools that are here, and per tool that is not, why."""
    here: list[str] = []
    absent: dict[str, str] = {}
    for tool in tools:
        try:
            native.flags(tool, threads)
        except BuildError as error:
            absent[TOOLS[tool].heading] = str(error)
        else:
            here.append(tool)
    return here, absent
