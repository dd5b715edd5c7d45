"""The report of an algorithm: all sections, as one HTML file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...backends.registry import check_usable
from ...compiler.diagnostics import CompileError
from ..api import AlgorithmHandle
from ..compile_options import CompileOptions
from ..data import read_inputs
from ..explain import measured
from ..session import Call, compile_kernel, prepare
from ..stages import write
from . import buffers, candidates, dataflow, domains, host, parameters, roofline, stages
from .data import Data, problems
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
    gradients: bool = False,
    measure: bool,
) -> Iterator[str]:
    """Write the report of an algorithm for the inputs and parameters that ``specs`` and ``params`` name (others are made up, or start as the program
    says), and tell what the user did not say, and what cannot be done. Raises UnspoolError."""
    algorithm = handle.algorithm
    values = read_inputs(params, [p.name for p in algorithm.params], "param")
    given = read_inputs(specs, [i.name for i in algorithm.inputs])
    call, why = None, uncalled(handle, chosen) if measure or given or values else ""
    if (measure or given or values) and not why:
        call = prepare(handle, given, sizes, lead, counts, chosen)
        lead = problems(call)
    kernel, said = compile_kernel(handle, given, sizes, lead, counts, chosen)
    yield from (line for line in (why, said if call is None else call.said) if line)
    subject = Subject(
        handle, kernel, given=tuple(given or values), measure=measure, strict=chosen.numerics == "strict", gradients=gradients
    )
    write(path, report(subject if call is None else filled(subject, call, values), program))


def filled(subject: Subject, call: Call, params: Mapping[str, Any] | None = None) -> Subject:
    """A subject with the data of a call and values of parameters, measured if it is to be. Raises DataError for values that do not fit."""
    call = replace(call, lead=problems(call))
    made = replace(subject, call=call, data=Data(call, params or {}))
    if made.measure and made.data is not None:
        made.figures = measured(call, made.explained, made.data.run)
    return made


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
