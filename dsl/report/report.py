"""The report of an algorithm: all sections, as one HTML file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ...backends.registry import check_usable
from ...compiler.diagnostics import CompileError
from ..api import AlgorithmHandle
from ..compile_options import CompileOptions
from ..data import read_input
from ..explain import measured
from ..session import compile_kernel, prepare
from ..stages import write
from . import buffers, candidates, dataflow, domains, host, parameters, roofline, stages
from .data import Data, parameter_values, problems
from .page import page
from .section import Section
from .subject import Subject

#: The sections in order.
SECTIONS: tuple[Callable[[Subject], Section | None], ...] = (
    host.section,
    stages.section,
    dataflow.section,
    domains.section,
    buffers.section,
    roofline.section,
    candidates.section,
    parameters.section,
)


def report(subject: Subject, program: str) -> str:
    """The HTML of a report; ``program`` is what its heading calls it."""
    found = [section(subject) for section in SECTIONS]
    return page(program, list(facts(subject)), [s for s in found if s is not None])


def facts(subject: Subject) -> Iterator[tuple[str, str]]:
    """What was compiled, and how."""
    about = subject.explained
    yield "algorithm", repr(subject.handle).removeprefix("<algorithm ").removesuffix(">")
    if about["sizes"]:
        yield "sizes", ", ".join(f"{n} = {v}" for n, v in about["sizes"].items())
    yield "real", about["dtype"]
    yield "target", about["target"]
    if subject.kernel.lead:
        yield "problems", "x".join(map(str, subject.kernel.lead))


def write_report(
    path: Path,
    program: str,
    handle: AlgorithmHandle,
    specs: Sequence[str],
    sizes: Mapping[str, int],
    lead: tuple[int, ...],
    counts: Mapping[str, int],
    chosen: CompileOptions,
    *,
    params: Sequence[str] = (),
    measure: bool,
) -> Iterator[str]:
    """Write the report of an algorithm for the inputs and parameters that ``specs`` and ``params`` name (others are made up, or start as the program
    says), and tell what the user did not say, and what cannot be done. Raises UnspoolError."""
    algorithm = handle.algorithm
    values = parameter_values(params, [p.name for p in algorithm.params])
    given = tuple(name for spec in specs for name in read_input(spec, [i.name for i in algorithm.inputs]))
    why, own = "", given or tuple(values)
    call = data = None
    if measure or own:
        why = uncalled(handle, chosen)
        if not why:
            call = prepare(handle, specs, sizes, lead, counts, chosen)
            lead = problems(call)
            call = replace(call, lead=lead)
            data = Data(call, values)
    kernel, said = compile_kernel(handle, specs, sizes, lead, counts, chosen)
    yield from (line for line in (why, said if call is None else call.said) if line)
    subject = Subject(handle, kernel, call, data, given=own, measure=measure, strict=chosen.numerics == "strict")
    if measure and call is not None and data is not None:
        subject.figures = measured(call, subject.explained, data.run)
    write(path, report(subject, program))


def uncalled(handle: AlgorithmHandle, chosen: CompileOptions) -> str:
    """Why an algorithm cannot be called here; empty if it can."""
    if handle.algorithm.modules:
        names = ", ".join(m.name for m in handle.algorithm.modules)
        return f"nothing is called: the learned operators of {handle.algorithm.name} ({names}) come from Python"
    try:
        check_usable(handle.routine(chosen).settings.target)
    except CompileError as error:
        return f"nothing is called: {error}"
    return ""
